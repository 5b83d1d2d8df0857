"""The ground: what covers it, how high and steep it is, how green it is on a day.

A pure function of place, day and seed. Coasts are those of the land mask, wiggled by noise; climate
goes by latitude, height and slow noise; rivers, lakes, woods, fields and towns are made up.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from s1s2.land import land_mask
from s1s2.sandbox.covers import grain, worldcover
from s1s2.sandbox.net import Net, Patch, net_of, octaves, refine, refine_some, slopes
from s1s2.sandbox.noise import Floats, key_of
from s1s2.sandbox.rules import (
    DISTRICT_DEGREES,
    EAST_SLOPE,
    FARMS,
    FIELDS,
    HEIGHT,
    LAKE,
    NORTH_SLOPE,
    RIVER,
    SHORE,
    SLOW,
    STREAM,
    TEXTURE,
    WARP_E,
    WARP_N,
    WET,
    WOODS,
    classify,
)

_CELLS_A_DEGREE = 120  # of the land mask

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
_FINE_SHORE = 0.12
_COARSE_ONLY = np.array([WET, RIVER, STREAM, LAKE, FARMS, WARP_E, WARP_N, SLOW])
MOUNTAINS = (1_600_000, 3.2)
RELIEF = ((60_000, 2_400.0), (21_000, 1_300.0), (7_600, 900.0), (2_700, 380.0))
FINE_RELIEF = ((900, 110.0), (330, 30.0))

LATITUDES = np.array([0, 8, 18, 27, 38, 48, 58, 68, 78, 90.0])
WETNESS = np.array([0.95, 0.8, 0.35, 0.12, 0.4, 0.6, 0.65, 0.5, 0.3, 0.2])
"""Mean moisture by latitude: wet equator, dry horse latitudes, wet middle latitudes."""


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
    classify(
        fields, net.lon, net.lat, start, patch.gsd / net.node_m, columns,
        rows, parallels, counts, season(day_of_year), day_of_year, grain().astype(np.float32),
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
    """Return which districts a patch may touch.

    Returns:
        The first row of districts; of each row from there on the cosine of its latitude, and how
        many districts go round the Earth in it.
    """
    first = int(np.floor((net.lat.min() - 0.1) / DISTRICT_DEGREES))
    last = int(np.floor((net.lat.max() + 0.1) / DISTRICT_DEGREES))
    middles = (np.arange(first, last + 1) + 0.5) * DISTRICT_DEGREES
    cosines = np.cos(np.radians(middles))
    return (
        first,
        cosines,
        np.maximum(1, np.floor(360 * cosines / DISTRICT_DEGREES)).astype(np.int64),
    )


def node_fields(net: Net, seed: int) -> NDArray[np.float32]:
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
    fine = np.empty((FIELDS, *net.fine[0].shape), dtype=np.float32)
    refine_some(coarse, _COARSE_ONLY, fine)
    height, fine_steep = refine(np.stack([coarse[HEIGHT], steep]))
    for field, waves in FINE_WAVES.items():
        smooth = refine(coarse[field][np.newaxis])[0]
        low, high = coarse[SHORE].min(), coarse[SHORE].max()
        if field == SHORE and (low > _FINE_SHORE or high < -_FINE_SHORE):
            fine[field] = smooth  # no coast here; only the sign counts
            continue
        fine[field] = smooth + octaves(net.fine, waves, *wave_keys(seed, -field, waves))
    fine_relief = octaves(net.fine, FINE_RELIEF, *wave_keys(seed, -HEIGHT, FINE_RELIEF))
    height += fine_steep * fine_relief
    fine[EAST_SLOPE], fine[NORTH_SLOPE] = slopes(height, net.node_m)
    fine[HEIGHT] = height + (150.0 + 1_500.0 * (fine_steep - 0.02))
    return fine


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
