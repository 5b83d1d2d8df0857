"""The ground: what covers it, how high and steep it is, how green it is on a day.

A pure function of place, day and seed. Coasts are those of the land mask, wiggled by noise; climate
goes by latitude, height and slow noise; rivers, lakes, woods, fields and towns are made up.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from s1s2.land import land_mask
from s1s2.sandbox.between import phases
from s1s2.sandbox.covers import worldcover
from s1s2.sandbox.net import Net, Patch, add_octaves, net_of, octaves, refine, slopes
from s1s2.sandbox.noise import Floats, Singles, key_of
from s1s2.sandbox.rows import (
    COARSE,
    EAST_SLOPE,
    FARMS,
    FINE,
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
)
from s1s2.sandbox.rules import classify

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
_LEAST_STEEP = np.float32(0.02)
_LOWLAND_M, _HIGHLAND_M = np.float32(150.0), np.float32(1_500.0)
"""How high the plains lie, and how much higher the steepest mountains on average."""
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
    tone: NDArray[np.uint16]
    """Brightness relative to the cover's mean, in 1 / `PARTS`."""
    east: NDArray[np.int16]
    """Rise per metre towards east, in 1 / `PARTS`."""
    north: NDArray[np.int16]
    """Rise per metre towards north, in 1 / `PARTS`."""


def ground(patch: Patch, net: Net, day_of_year: int, seed: int) -> Ground:
    """Work out the ground of a patch.

    Args:
        patch: Which pixels.
        net: Its nodes.
        day_of_year: 1 to 366: decides snow and how green plants are.
        seed: The planet's.
    """
    coarse, fine = node_fields(net, seed)
    shape = (patch.size, patch.size)
    out = Ground(
        np.empty(shape, np.uint8), np.empty(shape, np.uint8), np.empty(shape, np.uint16),
        np.empty(shape, np.int16), np.empty(shape, np.int16),
    )  # fmt: skip
    # pixels from the first node, in fine nodes
    left, top, step = (
        (patch.left - net.x) / net.node_m,
        (net.y - patch.top) / net.node_m,
        patch.gsd / net.node_m,
    )
    corner = int(np.floor(patch.left / patch.gsd)), int(np.floor(-patch.top / patch.gsd))
    classify(
        (coarse, fine, net.degrees), phases(left, step), phases(left / 4, step / 4), top, step,
        corner, season(day_of_year), day_of_year,
        (key_of(seed, "districts"), key_of(seed, "parcels"), key_of(seed, patch.epsg, "grain")),
        (out.cover, out.green, out.tone, out.east, out.north),
    )  # fmt: skip
    return out


def land_cover(patch: Patch, seed: int = 0, day_of_year: int = 200) -> NDArray[np.uint8]:
    """Return the known land cover of a patch in WorldCover's codes, uint8, shape (size, size)."""
    return worldcover()[ground(patch, net_of(patch), day_of_year, seed).cover]


def season(day_of_year: int) -> float:
    """Return how far it is to northern summer: 1 in late July, -1 in late January."""
    return float(np.cos(2 * np.pi * (day_of_year - 205) / 365.25))


def node_fields(net: Net, seed: int) -> tuple[Singles, Singles]:
    """Return the fields `COARSE` at coarse nodes, and `FINE` at fine ones, shape (fields, R, C)."""
    smooth = {
        field: octaves(net.coarse, waves, *wave_keys(seed, field, waves))
        for field, waves in COARSE_WAVES.items()
    }
    lon, lat = net.degrees
    smooth[SHORE] += shore(lon, lat).astype(np.float32)
    smooth[WET] += np.interp(np.abs(lat), LATITUDES, WETNESS).astype(np.float32)
    mountains = octaves(net.coarse, (MOUNTAINS,), key_of(seed, "mountains"))
    steep = np.clip(mountains + np.float32(0.1), _LEAST_STEEP, np.float32(1.0))
    relief = octaves(net.coarse, RELIEF, *wave_keys(seed, HEIGHT, RELIEF))
    coarse = np.stack([smooth[field] for field in COARSE])
    first: Singles = np.stack([smooth[SHORE], smooth[WOODS], steep * relief])
    fine = refine(first, spare=len(FINE) - len(first))
    for field, waves in FINE_WAVES.items():
        if field != SHORE or _has_coast(smooth[SHORE]):
            out = fine[FINE.index(field)]
            add_octaves(out, net.fine, waves, *wave_keys(seed, -field, waves))
    height, steep = fine[FINE.index(HEIGHT)], refine(steep[np.newaxis])[0]
    height += steep * octaves(net.fine, FINE_RELIEF, *wave_keys(seed, -HEIGHT, FINE_RELIEF))
    slopes(height, net.node_m, fine[FINE.index(EAST_SLOPE)], fine[FINE.index(NORTH_SLOPE)])
    height += _LOWLAND_M + _HIGHLAND_M * (steep - _LEAST_STEEP)
    return coarse, fine


def _has_coast(shore: Singles) -> bool:
    """Say whether fine noise can turn land into sea somewhere, or sea into land."""
    return bool(shore.min() <= _FINE_SHORE and shore.max() >= -_FINE_SHORE)


def wave_keys(seed: int, field: int, waves: tuple[tuple[float, float], ...]) -> list[int]:
    """Return the key of each octave of a field; fine octaves have negative field numbers."""
    return [_wave_key(seed, field, n) for n in range(len(waves))]


@lru_cache(maxsize=1024)
def _wave_key(seed: int, field: int, octave: int) -> int:
    return key_of(seed, "field", field, octave)


def shore(lon: Floats, lat: Floats) -> Floats:
    """Return the share of land around places, bilinear between the mask's cells, less a half."""
    x, y = lon * _CELLS_A_DEGREE - 0.5, lat * _CELLS_A_DEGREE - 0.5
    i, j = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    u, v = x - i, y - j
    # nodes lie close: each cell of the mask is looked up once
    first, lowest = i.min(), j.min()
    columns, rows = np.arange(first, i.max() + 2), np.arange(lowest, j.max() + 2)
    cells = land_mask()(
        (columns + 0.5) / _CELLS_A_DEGREE, (rows[:, np.newaxis] + 0.5) / _CELLS_A_DEGREE
    )
    i, j = i - first, j - lowest
    south = (1 - u) * cells[j, i] + u * cells[j, i + 1]
    north = (1 - u) * cells[j + 1, i] + u * cells[j + 1, i + 1]
    return np.asarray((1 - v) * south + v * north - 0.5)
