"""The ground: what covers it, how high and steep it is, how green it is on a day.

A pure function of place, day and seed. Coasts are those of the land mask, wiggled by noise; climate
goes by latitude, height and slow noise; rivers, lakes, woods, fields and towns are made up.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from s1s2.land import land_mask
from s1s2.sandbox.covers import Cover, grain, worldcover
from s1s2.sandbox.net import Net, Patch, net_of, octaves, refine, slopes
from s1s2.sandbox.noise import Floats, hash3, key_of

METRES_A_DEGREE = 111_195.0
DISTRICT_DEGREES = 0.06
"""Height of the districts whose fields and streets share one direction, 6.7 km."""
DISTRICT_M = METRES_A_DEGREE * DISTRICT_DEGREES
PER_DEGREE, PER_METRE = 1 / DISTRICT_DEGREES, 1 / DISTRICT_M
_CELLS_A_DEGREE = 120  # of the land mask

SHORE, HEIGHT, WET, RIVER, STREAM, LAKE, WOODS, FARMS, WARP_E, WARP_N, SLOW, TEXTURE = range(12)
EAST_SLOPE, NORTH_SLOPE = 12, 13
FIELDS = 14

COARSE_WAVES: dict[int, tuple[tuple[float, float], ...]] = {
    SHORE: ((2_600, 0.75), (1_000, 0.35)),
    WET: ((1_300_000, 1.3), (260_000, 0.5), (40_000, 0.15)),
    RIVER: ((42_000, 1.0), (13_000, 0.4), (4_200, 0.16), (1_400, 0.05)),
    STREAM: ((15_000, 1.0), (4_600, 0.4), (1_400, 0.12)),
    LAKE: ((9_000, 1.0), (3_000, 0.5), (1_100, 0.2)),
    WOODS: ((14_000, 0.6), (4_500, 0.8), (1_700, 0.7)),
    FARMS: ((420_000, 1.2), (60_000, 0.6), (9_000, 0.5)),
    WARP_E: ((5_500, 2_600.0), (1_500, 600.0)),
    WARP_N: ((5_500, 2_600.0), (1_500, 600.0)),
    SLOW: ((2_200, 1.0), (800, 0.7)),
}
"""Wavelength in metres and amplitude of the octaves at coarse nodes, by field."""
FINE_WAVES: dict[int, tuple[tuple[float, float], ...]] = {
    SHORE: ((330, 0.12),),
    WOODS: ((620, 0.5), (240, 0.35)),
    TEXTURE: ((170, 1.0),),
}
"""The same at fine nodes."""
MOUNTAINS = (1_600_000, 3.2)
RELIEF = ((60_000, 2_400.0), (21_000, 1_300.0), (7_600, 620.0), (2_700, 260.0))
FINE_RELIEF = ((900, 80.0), (330, 22.0))

LATITUDES = np.array([0, 8, 18, 27, 38, 48, 58, 68, 78, 90.0])
WETNESS = np.array([0.95, 0.8, 0.35, 0.12, 0.4, 0.6, 0.65, 0.5, 0.3, 0.2])
"""Mean moisture by latitude: wet equator, dry horse latitudes, wet middle latitudes."""


WIDTHS = np.array([120.0, 160.0, 200.0, 250.0, 300.0, 360.0, 430.0, 520.0])
LENGTHS = np.array([220.0, 280.0, 340.0, 420.0, 520.0, 640.0, 800.0, 1_000.0])
"""Sides of parcels, metres: each district has its own."""
PART = 1 / 255
SINES = np.sin(np.pi * np.arange(16) / 16)
COSINES = np.cos(np.pi * np.arange(16) / 16)
"""Sixteen directions that fields and streets may have."""


@dataclass(frozen=True)
class Ground:
    """What lies on a patch on a day; every array is of shape (size, size)."""

    cover: NDArray[np.uint8]
    """A `Cover` each."""
    green: NDArray[np.uint8]
    """0 dry or leafless to 255 lush."""
    tone: NDArray[np.float32]
    """Brightness relative to the cover's mean."""
    east: NDArray[np.float32]
    """Rise per metre towards east."""
    north: NDArray[np.float32]
    """Rise per metre towards north."""


def ground(patch: Patch, day_of_year: int, seed: int) -> Ground:
    """Work out the ground of a patch.

    Args:
        patch: Which pixels.
        day_of_year: 1 to 366: decides snow and how green plants are.
        seed: The planet's.
    """
    net = net_of(patch)
    fields = node_fields(net, seed)
    shape = (patch.size, patch.size)
    out = Ground(
        np.empty(shape, np.uint8), np.empty(shape, np.uint8), np.empty(shape, np.float32),
        np.empty(shape, np.float32), np.empty(shape, np.float32),
    )  # fmt: skip
    # pixels from the first node, in fine nodes
    start = ((patch.left - net.x) / net.node_m, (net.y - patch.top) / net.node_m)
    columns = int(np.floor(patch.left / patch.gsd)), int(np.floor(-patch.top / patch.gsd))
    rows, parallels, counts = districts(net)
    _classify(
        fields, net.lon, net.lat, start, patch.gsd / net.node_m, columns,
        rows, parallels, counts, season(day_of_year), day_of_year, grain(),
        (key_of(seed, "districts"), key_of(seed, "parcels"), key_of(seed, patch.epsg, "grain")),
        out.cover, out.green, out.tone, out.east, out.north,
    )  # fmt: skip
    return out


def land_cover(patch: Patch, seed: int = 0, day_of_year: int = 200) -> NDArray[np.uint8]:
    """Return the known land cover of a patch in WorldCover's codes, uint8, shape (size, size)."""
    return worldcover()[ground(patch, day_of_year, seed).cover]


def season(day_of_year: int) -> float:
    """Return how far it is to northern summer: 1 in late July, -1 in late January."""
    return float(np.cos(2 * np.pi * (day_of_year - 205) / 365.25))


def districts(net: Net) -> tuple[int, Floats, NDArray[np.int64]]:
    """Return the first row of districts that a patch may touch, and of each row from there on the
    cosine of its latitude and how many districts go round the Earth in it.
    """
    first = int(np.floor((net.lat.min() - 0.1) / DISTRICT_DEGREES))
    last = int(np.floor((net.lat.max() + 0.1) / DISTRICT_DEGREES))
    middles = (np.arange(first, last + 1) + 0.5) * DISTRICT_DEGREES
    cosines = np.cos(np.radians(middles))
    return first, cosines, np.maximum(1, np.floor(360 * cosines / DISTRICT_DEGREES)).astype(np.int64)


def node_fields(net: Net, seed: int) -> Floats:
    """Return every field at the fine nodes, shape (fields, R, C)."""
    coarse = np.zeros((FIELDS, *net.lon.shape))
    for field, waves in COARSE_WAVES.items():
        coarse[field] = octaves(net.coarse, waves, *wave_keys(seed, field, waves))
    coarse[SHORE] += shore(net.lon, net.lat)
    coarse[WET] += np.interp(np.abs(net.lat), LATITUDES, WETNESS)
    mountains = octaves(net.coarse, (MOUNTAINS,), key_of(seed, "mountains"))
    steep = np.clip(mountains + 0.1, 0.02, 1.0)
    relief = octaves(net.coarse, RELIEF, *wave_keys(seed, HEIGHT, RELIEF))
    coarse[HEIGHT] = steep * relief
    fine = refine(coarse)
    # rivers want gentle ground: the field is kept away from zero where it is steep
    fine_steep = refine(steep[np.newaxis])[0]
    for field, waves in FINE_WAVES.items():
        fine[field] += octaves(net.fine, waves, *wave_keys(seed, -field, waves))
    fine_relief = octaves(net.fine, FINE_RELIEF, *wave_keys(seed, -HEIGHT, FINE_RELIEF))
    fine[HEIGHT] += fine_steep * fine_relief
    fine[EAST_SLOPE], fine[NORTH_SLOPE] = slopes(fine[HEIGHT], net.node_m)
    fine[HEIGHT] += 150.0 + 1_500.0 * (fine_steep - 0.02)
    return np.asarray(fine)


def wave_keys(seed: int, field: int, waves: tuple[tuple[float, float], ...]) -> list[int]:
    """Return the key of each octave of a field; fine octaves have negative field numbers."""
    return [_wave_key(seed, field, n) for n in range(len(waves))]


@lru_cache(maxsize=1024)
def _wave_key(seed: int, field: int, octave: int) -> int:
    return key_of(seed, "field", field, octave)


def shore(lon: Floats, lat: Floats) -> Floats:
    """Return the share of land around places, bilinear between the mask's cells, less a half."""
    mask = land_mask()
    x, y = lon * _CELLS_A_DEGREE - 0.5, lat * _CELLS_A_DEGREE - 0.5
    i, j = np.floor(x), np.floor(y)
    u, v = x - i, y - j

    def at(di: int, dj: int) -> Floats:
        cells = mask((i + di + 0.5) / _CELLS_A_DEGREE, (j + dj + 0.5) / _CELLS_A_DEGREE)
        return np.where(cells, 1.0, 0.0)

    south = (1 - u) * at(0, 0) + u * at(1, 0)
    north = (1 - u) * at(0, 1) + u * at(1, 1)
    return (1 - v) * south + v * north - 0.5


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _classify(fields, lon, lat, start, step, columns, rows, parallels, counts, summer, day, grains, keys, cover, green, tone, east, north):  # noqa: ANN001, ANN202, PLR0913, PLR0915, E501
    """Go over the pixels: interpolate the fields, then ask what lies there."""
    size = cover.shape[0]
    line = np.empty((FIELDS, fields.shape[2]))
    degrees = np.empty((2, lon.shape[1]))
    v = np.empty((FIELDS, size))
    lons, lats = np.empty(size), np.empty(size)
    grain = np.empty(size)
    at, at4 = _places(start[0], step, size), _places(start[0] / 4, step / 4, size)
    for r in range(size):
        fy = start[1] + (r + 0.5) * step
        _rows_between(fields, fy, line)
        _rows_between2(lon, lat, fy / 4, degrees)
        for f in range(FIELDS):
            _along(line[f], *at, v[f])
        _along(degrees[0], *at4, lons)
        _along(degrees[1], *at4, lats)
        for c in range(size):
            grain[c] = hash3(columns[0] + c, columns[1] + r, keys[2]) * (2.0 / 4294967296.0) - 1.0
            east[r, c] = v[EAST_SLOPE, c]
            north[r, c] = v[NORTH_SLOPE, c]
        for c in range(size):
            if v[SHORE, c] < 0:
                kind, lush, parcel = 0, 0.0, 0.0
            else:
                steep = np.sqrt(v[EAST_SLOPE, c] ** 2 + v[NORTH_SLOPE, c] ** 2)
                woods = v[WOODS, c] + 0.3 * v[TEXTURE, c] + 0.07 * grain[c]
                kind, lush, parcel = _what(
                    (lons[c], lats[c], steep, woods, v[HEIGHT, c], v[WET, c], v[SLOW, c]),
                    (v[LAKE, c], abs(v[RIVER, c]), abs(v[STREAM, c]), v[FARMS, c]),
                    (v[WARP_E, c], v[WARP_N, c]),
                    rows, parallels, counts, summer, day, keys,
                )  # fmt: skip
            slow = 0.6 * v[SLOW, c] + 0.7 * v[TEXTURE, c]
            cover[r, c] = kind
            green[r, c] = int(255 * min(max(lush, 0.0), 1.0))
            tone[r, c] = 1.0 + parcel + grains[kind, 0] * slow + grains[kind, 1] * grain[c]


@njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _rows_between(fields, place, out):  # noqa: ANN001, ANN202
    """Interpolate all fields between two rows of nodes."""
    i = int(place)
    v = place - i
    for f in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[f, c] = fields[f, i, c] + v * (fields[f, i + 1, c] - fields[f, i, c])


@njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _rows_between2(lon, lat, place, out):  # noqa: ANN001, ANN202
    i = int(place)
    v = place - i
    for c in range(out.shape[1]):
        out[0, c] = lon[i, c] + v * (lon[i + 1, c] - lon[i, c])
        out[1, c] = lat[i, c] + v * (lat[i + 1, c] - lat[i, c])


@njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _places(start, step, size):  # noqa: ANN001, ANN202
    """Return between which nodes each pixel of a row lies, and how far along."""
    j, u = np.empty(size, np.uint32), np.empty(size)
    for c in range(size):
        place = start + (c + 0.5) * step
        j[c] = np.uint32(place)
        u[c] = place - j[c]
    return j, u


@njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _along(nodes, j, u, out):  # noqa: ANN001, ANN202
    """Interpolate a row of nodes at the pixels' centres."""
    for c in range(out.shape[0]):
        out[c] = nodes[j[c]] + u[c] * (nodes[j[c] + np.uint32(1)] - nodes[j[c]])


@njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _what(here, waters, warp, rows, parallels, counts, summer, day, keys):  # noqa: ANN001, ANN202, C901, PLR0911, PLR0912, PLR0913
    """Return what lies at a place on land, how lush it is, and its own brightness."""
    lon, lat, steep, woods, height, wet, slow = here
    lake, river, stream, farms = waters
    north = abs(lat)
    mean = 28.0 - 0.6 * max(north - 12.0, 0.0) - 0.0065 * height
    swing = summer if lat > 0 else -summer
    now = mean + 0.3 * north * swing + 2.0 * slow
    # snow stays where the year is cold, and lies where the day is
    if mean + 0.16 * north + 4.0 * slow < -3.0 or (now < -2.0 and wet > 0.15):
        return 14, 0.0, 0.0
    boreal = max(0.0, 1.0 - abs(north - 62.0) * 0.07)
    if steep < 0.12 and lake > 0.72 - 0.36 * boreal + 0.5 * max(0.0, 0.4 - wet):
        return 1, 0.0, 0.0
    moist = min(max((wet - 0.1) * 1.6, 0.0), 1.0)
    width = 0.0012 + 0.0034 * moist
    if river < width and steep < 0.2:
        if wet < 0.18 and river > 0.3 * width:
            return 19, 0.0, 0.0
        return 2, 0.0, 0.0
    growing = min(max((now - 2.0) * 0.07, 0.0), 1.0)
    if stream < 0.0019 and steep < 0.3 and wet > 0.22:
        return 2, 0.0, 0.0
    bank = 0.9 - 0.25 * woods
    banked = river < 1.6 * width * bank or stream < 0.0075 * bank
    if banked and wet > 0.15 and mean > -4.0 and steep < 0.3:
        return 4, growing * (0.5 + 0.5 * moist), 0.0
    if steep > 0.5 + 0.2 * woods or height > 3_600.0 - 32.0 * north + 200.0 * woods:
        return 13, 0.0, 0.0
    fertile = 0.55 - abs(wet - 0.5) * 1.1 + min(mean - 3.0, 0.0) * 0.15 + 0.9 * farms
    if fertile > 0.1 and mean > 0.0 and wet > 0.22 and steep < 0.18:
        # districts: rows of equal latitude, as many in a row as fit, borders wiggled
        along = lat * PER_DEGREE + warp[1] * PER_METRE
        row = int(np.floor(along))
        n = min(max(row - rows, 0), len(counts) - 1)
        metres = DISTRICT_M * parallels[n]
        across = lon * (counts[n] / 360.0) + warp[0] / metres
        column = int(np.floor(across))
        around = column - counts[n] if column >= counts[n] else column
        around = around + counts[n] if around < 0 else around
        district = hash3(around, row, keys[0])
        du = (lon * (counts[n] / 360.0) - column - 0.5) * metres
        dv = (lat * PER_DEGREE - row - 0.5) * DISTRICT_M
        turn = district & np.uint32(15)
        pu = du * COSINES[turn] + dv * SINES[turn]
        pv = dv * COSINES[turn] - du * SINES[turn]
        lot = (district >> np.uint32(12)) & np.uint32(255)
        if lot < 70:  # a town, or more often a village
            radius = 700.0 + 250.0 * lot if lot < 9 else 130.0 + 4.0 * lot
            reach = radius * (1.0 - 0.5 * woods - 0.25 * slow)
            if reach > 0.0 and du * du + dv * dv < reach * reach:
                return _in_town(pu, pv, growing, keys)
        if fertile > 0.28 and woods < 0.36 and steep < 0.12:
            edge = min(
                min(across - column, column + 1.0 - across), min(along - row, row + 1.0 - along)
            )
            return _in_fields(pu, pv, district, lat, growing, moist, day, keys, edge)
    return _wild(woods, wet, slow, mean, steep, growing, moist, swing, lat)


@njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _wild(woods, wet, slow, mean, steep, growing, moist, swing, lat):  # noqa: ANN001, ANN202, PLR0911, PLR0913
    """Return what grows where nobody farms."""
    if mean < -6.5 + 3.0 * slow + woods:
        if wet < 0.12 or woods > 0.5:
            return 13, 0.0, 0.0
        return 18, growing * (0.4 + 0.6 * moist), 0.0
    if wet < 0.06 + 0.06 * woods:
        if steep > 0.1 or woods > 0.42:
            return 13, 0.0, 0.0
        return (19, 0.0, 0.0) if woods < -0.38 else (12, 0.0, 0.0)
    wooded = 1.3 * (wet - 0.4) + 0.42 * woods
    if wooded > 0.06:
        if mean < 4.5 + 4.0 * slow + 3.0 * woods:
            return 3, 0.4 + 0.6 * growing, 0.0
        leafy = growing if abs(lat) > 25.0 else 0.75 + 0.25 * moist
        return 4, leafy * (0.4 + 0.6 * moist), 0.0
    if wet > 0.6 and steep < 0.02 and slow < -0.22:
        return 17, growing, 0.0
    if wooded > -0.1:
        return 5, growing * moist * 1.2, 0.0
    # warm and dry: green only after rain, which comes with the warm season
    return 6, growing * moist * (0.75 + 0.35 * swing), 0.0


@njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _in_town(pu, pv, growing, keys):  # noqa: ANN001, ANN202
    """Return street, house, tree or garden."""
    i, j = pu * 0.03125, pv * 0.03125  # lots of 32 m; every fourth, and every fifth, a street
    i, j = int(np.floor(i)), int(np.floor(j))
    if pu - 128.0 * (i >> 2) < 12.0 or pv - 160.0 * (j // 5) < 12.0:
        return 16, 0.0, 0.0
    house = hash3(i, j, keys[1])
    share = (house & np.uint32(255)) * PART
    shade = ((house >> np.uint32(8)) & np.uint32(255)) * PART - 0.5
    if share < 0.5:
        return 15, 0.0, 0.5 * shade
    if share < 0.66:
        return 4, growing, 0.0
    return (10, growing, 0.1 * shade) if share < 0.85 else (16, 0.0, 0.3 * shade)


@njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _in_fields(pu, pv, district, lat, growing, moist, day, keys, edge):  # noqa: ANN001, ANN202, PLR0913
    """Return road, hedge or crop."""
    if edge < 0.0014:  # a country road along the border of the district
        return 16, 0.0, 0.0
    shape = (district >> np.uint32(4)) & np.uint32(7)
    pu *= 1.0 / WIDTHS[shape]
    i = int(np.floor(pu))
    pv = pv * (1.0 / LENGTHS[(district >> np.uint32(7)) & np.uint32(7)]) + (i & 3) * 0.37
    j = int(np.floor(pv))  # neighbouring strips do not line up
    parcel = hash3(i, j, keys[1] ^ district)
    hedge = (district >> np.uint32(10)) & np.uint32(3)
    if hedge == 0 and min((pu - i) * WIDTHS[shape], (pv - j) * 400.0) < 9.0:
        return 4, growing * (0.5 + 0.5 * moist), 0.0
    crop = (parcel & np.uint32(255)) * PART
    shade = (((parcel >> np.uint32(8)) & np.uint32(255)) * PART - 0.5) * 0.28
    late = (((parcel >> np.uint32(16)) & np.uint32(255)) * PART - 0.5) * 40.0
    today = day - late - (0.0 if lat > 0 else 182.6)
    water = 0.45 + 0.55 * moist
    if crop < 0.34:
        return 7, water * _peak(today, 145.0, 5.3e-5), shade
    if crop < 0.58:
        return 8, water * _peak(today, 215.0, 6.4e-5), shade
    if crop < 0.74:
        return 9, water * _peak(today, 225.0, 9.1e-5), shade
    if crop < 0.9:
        return 10, growing * water, shade
    return 11, 0.0, shade


@njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _peak(day, best, width):  # noqa: ANN001, ANN202
    """Return how green a crop is some days from its best one; `width` is of 1 / days squared."""
    away = day - best
    away = away - 365.25 if away > 182.6 else away
    away = away + 365.25 if away < -182.6 else away
    near = 1.0 - away * away * width
    return near * near if near > 0.0 else 0.0
