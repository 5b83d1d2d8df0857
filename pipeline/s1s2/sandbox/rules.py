"""The rules that turn the fields of a place into what lies there, compiled.

Row by row, in short loops in single precision, which the compiler vectorises. The order of the
rules is the order of precedence, the later overruling.
"""

import numpy as np

from s1s2.sandbox.between import advance, between
from s1s2.sandbox.covers import grain
from s1s2.sandbox.noise import hash_row, inlined, kernel, part_of_kernel
from s1s2.sandbox.rows import (
    BROADLEAF,
    CLIMATE,
    COARSE,
    CONIFER,
    EAST_SLOPE,
    FARMS,
    FERTILE,
    FIELDS,
    FINE,
    GRASS,
    GRAVEL,
    GROWING,
    HEIGHT,
    LAKE,
    LAKE_WATER,
    LATITUDE,
    MEAN,
    MOIST,
    NORTH_SLOPE,
    NOW,
    RIVER,
    RIVER_WATER,
    ROCK,
    SAND,
    SEA,
    SHORE,
    SHRUB,
    SLOW,
    SNOW,
    STEEP,
    STREAM,
    SWING,
    TEXTURE,
    TUNDRA,
    WET,
    WETLAND,
    WOODS,
)
from s1s2.sandbox.settle import HOME, USE, WHOLE, is_inhabited, settle

_ALL_FINE, _ALL_COARSE = (np.array(list(enumerate(fields))) for fields in (FINE, COARSE))
_SMOOTH, _WARPS = _ALL_COARSE[:-2].copy(), _ALL_COARSE[-2:].copy()
_LONGITUDES, _LATITUDES = np.array([[0, 0]]), np.array([[1, 1]])
"""Which fields go where in a row; warps and longitudes are asked for only where people live."""
GRAINS = grain().astype(np.float32)
PARTS = 8192.0
"""Tone and slopes are kept as whole numbers of this part: half as much to move about."""
_U, _F, _I = np.uint32, np.float32, np.int32
# where nobody can live: -1 - kind
_NO_SEA, _NO_LAKE, _NO_RIVER, _NO_BROADLEAF, _NO_ROCK, _NO_SNOW, _NO_GRAVEL = (
    _I(-1 - kind) for kind in (SEA, LAKE_WATER, RIVER_WATER, BROADLEAF, ROCK, SNOW, GRAVEL)
)


@kernel
def classify(nodes, columns, columns4, top, step, corner, summer, day, keys, out):
    """Go over the pixels row by row: interpolate the fields, then ask what lies there.

    In single precision and in short loops over a row: those the compiler vectorises.

    Args:
        nodes: The fields `COARSE` at coarse nodes, `FINE` at fine ones, degrees at coarse ones.
        columns: How columns of pixels lie between fine nodes; see `between.phases`.
        columns4: The same between coarse ones.
        top: Where the first row of pixels starts, in fine nodes from the first one.
        step: Side of a pixel in fine nodes.
        corner: Column and row of the first pixel in its zone.
        summer: See `planet.season`.
        day: 1 to 366.
        keys: Of districts, parcels and grain.
        out: Cover, green, tone and slopes to east and north, to be filled; see `planet.Ground`.
    """
    coarse, fine, degrees = nodes
    cover, green, tone, east, north = out
    size = cover.shape[0]
    j, first, u, _ = columns
    j4, first4, u4, u4_double = columns4
    fine_rows = np.empty((2, fine.shape[0], size + u.size), np.float32)
    coarse_rows = np.empty((2, coarse.shape[0], size + u4.size), np.float32)
    degree_rows = np.empty((2, 2, size + u4.size))
    i = i4 = np.int64(-2)  # not a literal, for which all would be compiled once more
    v, place = np.empty((FIELDS, size), np.float32), np.empty((2, size))
    rough, parcel = np.empty(size, np.float32), np.empty(size, np.float32)
    kind, lush = np.empty(size, np.int32), np.empty(size, np.float32)
    chance = np.empty(size, np.uint32)
    climate = np.empty((CLIMATE, size), np.float32)
    home = np.empty((HOME, size), np.float32)
    whole = np.empty((WHOLE, size), np.int32)
    for r in range(size):
        y = top + (r + 0.5) * step
        advance(fine, i, int(y), j, u, fine_rows)
        advance(coarse, i4, int(y / 4), j4, u4, coarse_rows)
        advance(degrees, i4, int(y / 4), j4, u4_double, degree_rows)
        i, i4 = np.int64(y), np.int64(y / 4)
        t, t4 = y - i, y / 4 - i4
        between(fine_rows, first, _F(t), v, _ALL_FINE)
        between(coarse_rows, first4, _F(t4), v, _SMOOTH)
        between(degree_rows, first4, t4, place, _LATITUDES)
        hash_row(corner[0], corner[1] + r, keys[2], chance)
        for c in range(size):
            rough[c] = _F(_I(chance[c] >> _U(8))) * _F(2.0 / 16777216.0) - _F(1.0)
        for c in range(size):
            v[WOODS, c] += _F(0.3) * v[TEXTURE, c] + _F(0.07) * rough[c]
        for c in range(size):
            climate[LATITUDE, c] = place[1, c]
        _climate_of(v, _F(summer), climate)
        _wild(v, climate, kind, lush)
        _waters(v, climate, kind, lush)
        if is_inhabited(climate, kind, whole[USE], parcel):
            between(coarse_rows, first4, _F(t4), v, _WARPS)
            between(degree_rows, first4, t4, place, _LONGITUDES)
            settle(v, climate, place, day, keys, home, whole, kind, lush, parcel)
        for c in range(size):
            kind[c] = kind[c] if kind[c] >= 0 else -1 - kind[c]
        for c in range(size):
            cover[r, c] = kind[c]
        for c in range(size):
            green[r, c] = _I(_F(255.0) * min(max(lush[c], _F(0.0)), _F(1.0)))
        for c in range(size):
            slow = _F(0.6) * v[SLOW, c] + _F(0.7) * v[TEXTURE, c]
            parcel[c] += GRAINS[_U(kind[c]), 0] * slow + GRAINS[_U(kind[c]), 1] * rough[c]
        for c in range(size):
            tone[r, c] = _parts(_F(1.0) + parcel[c], _F(0.0), _F(65_535.0))
        for c in range(size):
            east[r, c] = _parts(v[EAST_SLOPE, c], _F(-32_768.0), _F(32_767.0))
            north[r, c] = _parts(v[NORTH_SLOPE, c], _F(-32_768.0), _F(32_767.0))


@inlined
def _parts(value, least, most):
    """Count in `PARTS`, towards 0."""
    return _I(min(max(value * _F(PARTS), least), most))


@part_of_kernel
def _climate_of(v, summer, climate):
    """Work out a row's climate: warmth, moisture, growth, steepness, use for people."""
    for c in range(v.shape[1]):
        north = abs(climate[LATITUDE, c])
        swing = summer if climate[LATITUDE, c] > _F(0.0) else -summer
        mean = _F(28.0) - _F(0.6) * max(north - _F(12.0), _F(0.0)) - _F(0.0065) * v[HEIGHT, c]
        climate[MEAN, c] = mean
        climate[SWING, c] = swing
        climate[NOW, c] = mean + _F(0.3) * north * swing + _F(2.0) * v[SLOW, c]
    for c in range(v.shape[1]):
        e, n = v[EAST_SLOPE, c], v[NORTH_SLOPE, c]
        climate[STEEP, c] = e * e + n * n
    for c in range(v.shape[1]):
        wet, now = v[WET, c], climate[NOW, c]
        climate[MOIST, c] = min(max((wet - _F(0.1)) * _F(1.6), _F(0.0)), _F(1.0))
        climate[GROWING, c] = min(max((now - _F(2.0)) * _F(0.07), _F(0.0)), _F(1.0))
    for c in range(v.shape[1]):
        wet, mean = v[WET, c], climate[MEAN, c]
        good = _F(0.55) - abs(wet - _F(0.5)) * _F(1.1) + _F(0.9) * v[FARMS, c]
        good += min(mean - _F(3.0), _F(0.0)) * _F(0.15)
        bad = (mean <= _F(0.0)) | (wet <= _F(0.22)) | (climate[STEEP, c] >= _F(0.0324))
        climate[FERTILE, c] = _F(-1.0) if bad else good


@part_of_kernel
def _wild(v, climate, kind, lush):
    """Say what grows where nobody farms, and how green it is; the later rule overrules."""
    for c in range(v.shape[1]):
        woods, wet, slow = v[WOODS, c], v[WET, c], v[SLOW, c]
        growing, moist = climate[GROWING, c], climate[MOIST, c]
        # warm and dry: green only after rain, which comes with the warm season
        wooded = wet - _F(0.42) + _F(0.6) * woods
        what = GRASS
        green = growing * moist * (_F(0.75) + _F(0.35) * climate[SWING, c])
        shrub = wooded > _F(-0.1)
        what = SHRUB if shrub else what
        green = growing * moist * _F(1.2) if shrub else green
        marsh = (wet > _F(0.6)) & (climate[STEEP, c] < _F(0.0004)) & (slow < _F(-0.22))
        what = WETLAND if marsh else what
        green = growing if marsh else green
        wood = wooded > _F(0.06)
        leafy = growing if climate[MEAN, c] < _F(20.0) else _F(0.75) + _F(0.25) * moist
        what = BROADLEAF if wood else what
        green = leafy * (_F(0.4) + _F(0.6) * moist) if wood else green
        cool = climate[MEAN, c] < _F(4.5) + _F(4.0) * slow + _F(3.0) * woods
        what = CONIFER if wood & cool else what
        kind[c] = what
        lush[c] = _F(0.4) + _F(0.6) * growing if wood & cool else green
    for c in range(v.shape[1]):
        woods, wet, slow = v[WOODS, c], v[WET, c], v[SLOW, c]
        what, green = kind[c], lush[c]
        dry = wet < _F(0.06) + _F(0.06) * woods
        what = SAND if dry else what
        what = GRAVEL if dry & (woods < _F(-0.38)) else what
        what = ROCK if dry & ((climate[STEEP, c] > _F(0.01)) | (woods > _F(0.42))) else what
        cold = climate[MEAN, c] < _F(-6.5) + _F(3.0) * slow + woods
        what = TUNDRA if cold else what
        moss = climate[GROWING, c] * (_F(0.4) + _F(0.6) * climate[MOIST, c])
        green = moss if cold else green
        what = ROCK if cold & ((wet < _F(0.12)) | (woods > _F(0.5))) else what
        kind[c] = what
        lush[c] = green


@part_of_kernel
def _waters(v, climate, kind, lush):
    """Overrule with rock, banks, water, snow and sea, where nobody can live: kinds get negative."""
    for c in range(v.shape[1]):
        woods, wet, steep = v[WOODS, c], v[WET, c], climate[STEEP, c]
        moist = climate[MOIST, c]
        river, stream = abs(v[RIVER, c]), abs(v[STREAM, c])
        width = _F(0.0012) + _F(0.0034) * moist
        what, green = kind[c], lush[c]
        wall = _F(0.5) + _F(0.2) * woods
        high = _F(3600.0) + _F(53.0) * (climate[MEAN, c] - climate[NOW, c]) + _F(200.0) * woods
        what = _NO_ROCK if (steep > wall * wall) | (v[HEIGHT, c] > high) else what
        bank = _F(0.9) - _F(0.25) * woods
        near = (river < _F(1.6) * width * bank) | (stream < _F(0.0075) * bank)
        near &= (wet > _F(0.15)) & (climate[MEAN, c] > _F(-4.0)) & (steep < _F(0.09))
        what = _NO_BROADLEAF if near else what
        green = climate[GROWING, c] * (_F(0.5) + _F(0.5) * moist) if near else green
        brook = (stream < _F(0.0019)) & (steep < _F(0.09)) & (wet > _F(0.22))
        what = _NO_RIVER if brook else what
        flow = (river < width) & (steep < _F(0.04))
        what = _NO_RIVER if flow else what
        what = _NO_GRAVEL if flow & (wet < _F(0.18)) & (river > _F(0.3) * width) else what
        kind[c] = what
        lush[c] = green
    for c in range(v.shape[1]):
        mean, slow = climate[MEAN, c], v[SLOW, c]
        # degrees north, back from the mean and the height
        north = (_F(28.0) - _F(0.0065) * v[HEIGHT, c] - mean) * _F(1.0 / 0.6) + _F(12.0)
        boreal = max(_F(0.0), _F(1.0) - abs(north - _F(62.0)) * _F(0.07))
        level = _F(0.72) - _F(0.36) * boreal + _F(0.5) * max(_F(0.0), _F(0.4) - v[WET, c])
        what = _NO_LAKE if (climate[STEEP, c] < _F(0.0144)) & (v[LAKE, c] > level) else kind[c]
        # snow stays where the year is cold, and lies where the day is
        year = mean + _F(0.16) * north + _F(4.0) * slow < _F(-3.0)
        today = (climate[NOW, c] < _F(-2.0)) & (v[WET, c] > _F(0.15))
        what = _NO_SNOW if year | today else what
        kind[c] = _NO_SEA if v[SHORE, c] < _F(0.0) else what
