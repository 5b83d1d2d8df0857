"""The rules that turn the fields of a place into what lies there, compiled.

Row by row: short loops in single precision, which the compiler vectorises, and one scalar function
for towns and fields. The order of the rules is the order of precedence, the later overruling.
"""

import numpy as np

from s1s2.sandbox.noise import hash3, inlined, kernel, part_of_kernel

SHORE, HEIGHT, WET, RIVER, STREAM, LAKE, WOODS, FARMS, WARP_E, WARP_N, SLOW, TEXTURE = range(12)
EAST_SLOPE, NORTH_SLOPE = 12, 13
FIELDS = 14
"""Fields at the nodes: land above 0; metres; moisture; distances to water; woods and farms; metres
that borders are wiggled by; slow and fine texture; rise per metre."""
METRES_A_DEGREE = 111_195.0
DISTRICT_DEGREES = 0.06
"""Height of the districts whose fields and streets share one direction, 6.7 km."""
DISTRICT_M = METRES_A_DEGREE * DISTRICT_DEGREES
PER_DEGREE, PER_METRE = 1 / DISTRICT_DEGREES, 1 / DISTRICT_M
WIDTHS = np.array([120.0, 160.0, 200.0, 250.0, 300.0, 360.0, 430.0, 520.0])
LENGTHS = np.array([220.0, 280.0, 340.0, 420.0, 520.0, 640.0, 800.0, 1_000.0])
"""Sides of parcels, metres: each district has its own."""
PART = 1 / 255
_U, _F = np.uint32, np.float32
_CONIFER, _BROADLEAF, _SHRUB, _GRASS, _WHEAT, _MAIZE, _SOY, _MEADOW, _FALLOW, _SAND, _ROCK = (
    np.int32(k) for k in range(3, 14)
)
_ROOF, _STREET, _WETLAND, _TUNDRA, _GRAVEL = (np.int32(k) for k in range(15, 20))
# where nobody can live: -1 - kind
_NO_SEA, _NO_LAKE, _NO_RIVER = np.int32(-1), np.int32(-2), np.int32(-3)
_NO_BROADLEAF, _NO_ROCK, _NO_SNOW, _NO_GRAVEL = (np.int32(-1 - k) for k in (4, 13, 14, 19))
SINES = np.sin(np.pi * np.arange(16) / 16)
COSINES = np.cos(np.pi * np.arange(16) / 16)
"""Sixteen directions that fields and streets may have."""


@kernel
def classify(
    fields,
    lon,
    lat,
    start,
    step,
    columns,
    rows,
    parallels,
    counts,
    summer,
    day,
    grains,
    keys,
    cover,
    green,
    tone,
    east,
    north,
):
    """Go over the pixels row by row: interpolate the fields, then ask what lies there.

    In single precision and in short loops over a row: those the compiler vectorises.
    """
    size = cover.shape[0]
    line = np.empty((FIELDS, fields.shape[2]), np.float32)
    degrees = np.empty((2, lon.shape[1]))
    lats = np.empty(size)
    grain, parcel = np.empty(size, np.float32), np.empty(size, np.float32)
    kind, lush = np.empty(size, np.int32), np.empty(size, np.float32)
    climate = np.empty((_CLIMATE, size), np.float32)
    at, at4 = _places(start[0], step, size), _places(start[0] / 4, step / 4, size)
    v = np.empty((FIELDS, size), np.float32)
    for r in range(size):
        fy = start[1] + (r + 0.5) * step
        _rows_between(fields, fy, line)
        _rows_between2(lon, lat, fy / 4, degrees)
        for f in range(FIELDS):
            if f not in (WARP_E, WARP_N):  # those are asked for where people live
                _along(line[f], at[0], at[2], v[f])
        _along(degrees[1], at4[0], at4[1], lats)
        for c in range(size):
            h = hash3(columns[0] + c, columns[1] + r, keys[2])
            grain[c] = _F(np.int32(h >> _U(8))) * _F(2.0 / 16777216.0) - _F(1.0)
        for c in range(size):
            v[WOODS, c] += _F(0.3) * v[TEXTURE, c] + _F(0.07) * grain[c]
        _climate_of(v, lats, _F(summer), climate)
        _wild(v, climate, kind, lush)
        _waters(v, climate, kind, lush)
        for c in range(size):
            parcel[c] = _F(0.0)
            if climate[_FERTILE, c] > _F(0.1) and kind[c] >= 0:
                kind[c], lush[c], parcel[c] = _inhabited(
                    (
                        _one(degrees[0], at4[0][c], at4[1][c]), lats[c],
                        _one(line[WARP_E], at[0][c], at[2][c]),
                        _one(line[WARP_N], at[0][c], at[2][c]),
                    ),
                    (v[WOODS, c], v[SLOW, c], climate[_FERTILE, c], climate[_STEEP, c]),
                    (climate[_GROWING, c], climate[_MOIST, c]),
                    (rows, parallels, counts), day, keys, kind[c], lush[c],
                )  # fmt: skip
        for c in range(size):
            kind[c] = kind[c] if kind[c] >= 0 else -1 - kind[c]
        for c in range(size):
            cover[r, c] = kind[c]
        for c in range(size):
            green[r, c] = np.int32(_F(255.0) * min(max(lush[c], _F(0.0)), _F(1.0)))
        for c in range(size):
            slow = _F(0.6) * v[SLOW, c] + _F(0.7) * v[TEXTURE, c]
            parcel[c] += grains[kind[c], 0] * slow + grains[kind[c], 1] * grain[c]
        for c in range(size):
            tone[r, c] = _F(1.0) + parcel[c]
            east[r, c] = v[EAST_SLOPE, c]
            north[r, c] = v[NORTH_SLOPE, c]


@part_of_kernel
def _rows_between(fields, place, out):
    """Interpolate all fields between two rows of nodes."""
    i = int(place)
    v = _F(place - i)
    for f in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[f, c] = fields[f, i, c] + v * (fields[f, i + 1, c] - fields[f, i, c])


@part_of_kernel
def _rows_between2(lon, lat, place, out):
    """Interpolate degrees between two rows of coarse nodes, in double precision."""
    i = int(place)
    v = place - i
    for c in range(out.shape[1]):
        out[0, c] = lon[i, c] + v * (lon[i + 1, c] - lon[i, c])
        out[1, c] = lat[i, c] + v * (lat[i + 1, c] - lat[i, c])


@part_of_kernel
def _places(start, step, size):
    """Return between which nodes each pixel of a row lies, and how far, in both precisions."""
    j, u = np.empty(size, np.uint32), np.empty(size)
    for c in range(size):
        place = start + (c + 0.5) * step
        j[c] = np.uint32(place)
        u[c] = place - j[c]
    return j, u, u.astype(np.float32)


@part_of_kernel
def _along(nodes, j, u, out):
    """Interpolate a row of nodes at the pixels' centres."""
    for c in range(out.shape[0]):
        out[c] = nodes[j[c]] + u[c] * (nodes[j[c] + _U(1)] - nodes[j[c]])


@inlined
def _one(nodes, j, u):
    """Interpolate a row of nodes at one pixel's centre."""
    return nodes[j] + u * (nodes[j + _U(1)] - nodes[j])


_MEAN, _SWING, _MOIST, _GROWING, _STEEP, _FERTILE, _NOW = range(7)
_CLIMATE = 7


@part_of_kernel
def _climate_of(v, lats, summer, climate):
    """Work out a row's climate: warmth, moisture, growth, steepness, use for people."""
    for c in range(v.shape[1]):
        north = _F(abs(lats[c]))
        swing = summer if lats[c] > 0 else -summer
        mean = _F(28.0) - _F(0.6) * max(north - _F(12.0), _F(0.0)) - _F(0.0065) * v[HEIGHT, c]
        climate[_MEAN, c] = mean
        climate[_SWING, c] = swing
        climate[_NOW, c] = mean + _F(0.3) * north * swing + _F(2.0) * v[SLOW, c]
    for c in range(v.shape[1]):
        e, n = v[EAST_SLOPE, c], v[NORTH_SLOPE, c]
        climate[_STEEP, c] = e * e + n * n
    for c in range(v.shape[1]):
        wet, now = v[WET, c], climate[_NOW, c]
        climate[_MOIST, c] = min(max((wet - _F(0.1)) * _F(1.6), _F(0.0)), _F(1.0))
        climate[_GROWING, c] = min(max((now - _F(2.0)) * _F(0.07), _F(0.0)), _F(1.0))
    for c in range(v.shape[1]):
        wet, mean = v[WET, c], climate[_MEAN, c]
        good = _F(0.55) - abs(wet - _F(0.5)) * _F(1.1) + _F(0.9) * v[FARMS, c]
        good += min(mean - _F(3.0), _F(0.0)) * _F(0.15)
        bad = (mean <= _F(0.0)) | (wet <= _F(0.22)) | (climate[_STEEP, c] >= _F(0.0324))
        climate[_FERTILE, c] = _F(-1.0) if bad else good


@part_of_kernel
def _wild(v, climate, kind, lush):
    """Say what grows where nobody farms, and how green it is; the later rule overrules."""
    for c in range(v.shape[1]):
        woods, wet, slow = v[WOODS, c], v[WET, c], v[SLOW, c]
        growing, moist = climate[_GROWING, c], climate[_MOIST, c]
        # warm and dry: green only after rain, which comes with the warm season
        wooded = wet - _F(0.42) + _F(0.6) * woods
        what = _GRASS
        green = growing * moist * (_F(0.75) + _F(0.35) * climate[_SWING, c])
        shrub = wooded > _F(-0.1)
        what = _SHRUB if shrub else what
        green = growing * moist * _F(1.2) if shrub else green
        marsh = (wet > _F(0.6)) & (climate[_STEEP, c] < _F(0.0004)) & (slow < _F(-0.22))
        what = _WETLAND if marsh else what
        green = growing if marsh else green
        wood = wooded > _F(0.06)
        leafy = growing if climate[_MEAN, c] < _F(20.0) else _F(0.75) + _F(0.25) * moist
        what = _BROADLEAF if wood else what
        green = leafy * (_F(0.4) + _F(0.6) * moist) if wood else green
        cool = climate[_MEAN, c] < _F(4.5) + _F(4.0) * slow + _F(3.0) * woods
        what = _CONIFER if wood & cool else what
        kind[c] = what
        lush[c] = _F(0.4) + _F(0.6) * growing if wood & cool else green
    for c in range(v.shape[1]):
        woods, wet, slow = v[WOODS, c], v[WET, c], v[SLOW, c]
        what, green = kind[c], lush[c]
        dry = wet < _F(0.06) + _F(0.06) * woods
        what = _SAND if dry else what
        what = _GRAVEL if dry & (woods < _F(-0.38)) else what
        what = _ROCK if dry & ((climate[_STEEP, c] > _F(0.01)) | (woods > _F(0.42))) else what
        cold = climate[_MEAN, c] < _F(-6.5) + _F(3.0) * slow + woods
        what = _TUNDRA if cold else what
        moss = climate[_GROWING, c] * (_F(0.4) + _F(0.6) * climate[_MOIST, c])
        green = moss if cold else green
        what = _ROCK if cold & ((wet < _F(0.12)) | (woods > _F(0.5))) else what
        kind[c] = what
        lush[c] = green


@part_of_kernel
def _waters(v, climate, kind, lush):
    """Overrule with rock, banks, water, snow and sea, where nobody can live: kinds get negative."""
    for c in range(v.shape[1]):
        woods, wet, steep = v[WOODS, c], v[WET, c], climate[_STEEP, c]
        moist = climate[_MOIST, c]
        river, stream = abs(v[RIVER, c]), abs(v[STREAM, c])
        width = _F(0.0012) + _F(0.0034) * moist
        what, green = kind[c], lush[c]
        wall = _F(0.5) + _F(0.2) * woods
        high = _F(3600.0) + _F(53.0) * (climate[_MEAN, c] - climate[_NOW, c]) + _F(200.0) * woods
        what = _NO_ROCK if (steep > wall * wall) | (v[HEIGHT, c] > high) else what
        bank = _F(0.9) - _F(0.25) * woods
        near = (river < _F(1.6) * width * bank) | (stream < _F(0.0075) * bank)
        near &= (wet > _F(0.15)) & (climate[_MEAN, c] > _F(-4.0)) & (steep < _F(0.09))
        what = _NO_BROADLEAF if near else what
        green = climate[_GROWING, c] * (_F(0.5) + _F(0.5) * moist) if near else green
        brook = (stream < _F(0.0019)) & (steep < _F(0.09)) & (wet > _F(0.22))
        what = _NO_RIVER if brook else what
        flow = (river < width) & (steep < _F(0.04))
        what = _NO_RIVER if flow else what
        what = _NO_GRAVEL if flow & (wet < _F(0.18)) & (river > _F(0.3) * width) else what
        kind[c] = what
        lush[c] = green
    for c in range(v.shape[1]):
        mean, slow = climate[_MEAN, c], v[SLOW, c]
        # degrees north, back from the mean and the height
        north = (_F(28.0) - _F(0.0065) * v[HEIGHT, c] - mean) * _F(1.0 / 0.6) + _F(12.0)
        boreal = max(_F(0.0), _F(1.0) - abs(north - _F(62.0)) * _F(0.07))
        level = _F(0.72) - _F(0.36) * boreal + _F(0.5) * max(_F(0.0), _F(0.4) - v[WET, c])
        what = _NO_LAKE if (climate[_STEEP, c] < _F(0.0144)) & (v[LAKE, c] > level) else kind[c]
        # snow stays where the year is cold, and lies where the day is
        year = mean + _F(0.16) * north + _F(4.0) * slow < _F(-3.0)
        today = (climate[_NOW, c] < _F(-2.0)) & (v[WET, c] > _F(0.15))
        what = _NO_SNOW if year | today else what
        kind[c] = _NO_SEA if v[SHORE, c] < _F(0.0) else what


@inlined
def _inhabited(place, here, growth, grid, day, keys, kind, lush):
    """Return town or field, or what grows there without people."""
    lon, lat, warp_e, warp_n = place
    woods, slow, fertile, steep = here
    rows, parallels, counts = grid
    # districts: rows of equal latitude, as many in a row as fit, borders wiggled
    along = lat * PER_DEGREE + warp_n * PER_METRE
    row = int(np.floor(along))
    n = min(max(row - rows, 0), len(counts) - 1)
    metres = DISTRICT_M * parallels[n]
    across = lon * (counts[n] / 360.0) + warp_e / metres
    column = int(np.floor(across))
    around = column - counts[n] if column >= counts[n] else column
    around = around + counts[n] if around < 0 else around
    district = hash3(around, row, keys[0])
    du = (lon * (counts[n] / 360.0) - column - 0.5) * metres
    dv = (lat * PER_DEGREE - row - 0.5) * DISTRICT_M
    turn = district & _U(15)
    pu = du * COSINES[turn] + dv * SINES[turn]
    pv = dv * COSINES[turn] - du * SINES[turn]
    lot = (district >> _U(12)) & _U(255)
    if lot < 70:  # a town, or more often a village
        radius = 700.0 + 250.0 * lot if lot < 9 else 130.0 + 4.0 * lot
        reach = radius * (1.0 - 0.5 * woods - 0.25 * slow)
        if reach > 0.0 and du * du + dv * dv < reach * reach:
            return _in_town(pu, pv, growth[0], keys)
    if fertile > 0.2 and woods < 0.36 and steep < 0.0144:
        edge = min(across - column, column + 1.0 - across, along - row, row + 1.0 - along)
        return _in_fields(pu, pv, district, lat, growth[0], growth[1], day, keys, edge)
    return kind, lush, _F(0.0)


@inlined
def _in_town(pu, pv, growing, keys):
    """Return street, house, tree or garden."""
    i, j = pu * 0.03125, pv * 0.03125  # lots of 32 m; every fourth, and every fifth, a street
    i, j = int(np.floor(i)), int(np.floor(j))
    if pu - 128.0 * (i >> 2) < 12.0 or pv - 160.0 * (j // 5) < 12.0:
        return _STREET, _F(0.0), _F(0.0)
    house = hash3(i, j, keys[1])
    share = (house & _U(255)) * PART
    shade = ((house >> _U(8)) & _U(255)) * PART - 0.5
    if share < 0.5:
        return _ROOF, _F(0.0), _F(0.5 * shade)
    if share < 0.66:
        return _BROADLEAF, growing, _F(0.0)
    if share < 0.85:
        return _MEADOW, growing, _F(0.1 * shade)
    return _STREET, _F(0.0), _F(0.3 * shade)


@inlined
def _in_fields(pu, pv, district, lat, growing, moist, day, keys, edge):
    """Return road, hedge or crop."""
    if edge < 0.0014:  # a country road along the border of the district
        return _STREET, _F(0.0), _F(0.0)
    shape = (district >> _U(4)) & _U(7)
    pu *= 1.0 / WIDTHS[shape]
    i = int(np.floor(pu))
    pv = pv * (1.0 / LENGTHS[(district >> _U(7)) & _U(7)]) + (i & 3) * 0.37
    j = int(np.floor(pv))  # neighbouring strips do not line up
    parcel = hash3(i, j, keys[1] ^ district)
    hedge = (district >> _U(10)) & _U(3)
    if hedge == 0 and min((pu - i) * WIDTHS[shape], (pv - j) * 400.0) < 9.0:
        return _BROADLEAF, _F(growing * (0.5 + 0.5 * moist)), _F(0.0)
    crop = (parcel & _U(255)) * PART
    shade = (((parcel >> _U(8)) & _U(255)) * PART - 0.5) * 0.28
    late = (((parcel >> _U(16)) & _U(255)) * PART - 0.5) * 40.0
    today = day - late - (0.0 if lat > 0 else 182.6)
    water = 0.45 + 0.55 * moist
    if crop < 0.34:
        return _WHEAT, _F(water * _peak(today, 145.0, 5.3e-5)), _F(shade)
    if crop < 0.58:
        return _MAIZE, _F(water * _peak(today, 215.0, 6.4e-5)), _F(shade)
    if crop < 0.74:
        return _SOY, _F(water * _peak(today, 225.0, 9.1e-5)), _F(shade)
    if crop < 0.9:
        return _MEADOW, _F(growing * water), _F(shade)
    return _FALLOW, _F(0.0), _F(shade)


@inlined
def _peak(day, best, width):
    """Return how green a crop is some days from its best one; `width` is of 1 / days squared."""
    away = day - best
    away = away - 365.25 if away > 182.6 else away
    away = away + 365.25 if away < -182.6 else away
    near = 1.0 - away * away * width
    return near * near if near > 0.0 else 0.0
