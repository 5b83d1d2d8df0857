"""Radar on another grid: true to a fraction of a pixel, whatever window was read for it."""

import numpy as np
import pytest
from affine import Affine
from fakes import radar_power
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from s1s2 import warp
from s1s2.spans import Window

CHIP = GeoBox((96, 96), Affine(10, 0, 708_000, 0, -10, 5_100_000), "EPSG:32631")
"""Near the edge of its zone, where the next one's grid is turned by four degrees."""


def own_grid(epsg: int, shift_m: float = 0.0) -> GeoBox:
    x, y = Transformer.from_crs(32631, epsg, always_xy=True).transform(708_480, 5_099_520)
    left, top = round(x / 10) * 10 - 2000 + shift_m, round(y / 10) * 10 + 2000 - shift_m
    return GeoBox((400, 400), Affine(10, 0, left, 0, -10, top), f"EPSG:{epsg}")


def field(own: GeoBox) -> np.ndarray:
    """Work out the power at the centres of a grid, as a formula of the chip's own coordinates."""
    rows, columns = np.mgrid[: own.shape.y, : own.shape.x] + 0.5
    x, y = own.affine @ (columns, rows)
    epsg = int(own.crs.epsg)
    if epsg != 32631:
        x, y = Transformer.from_crs(epsg, 32631, always_xy=True).transform(x, y)
    return radar_power("VV", x, y)


def part(pixels: np.ndarray, window: Window) -> np.ndarray:
    rows = slice(window.row, window.row + window.height)
    return pixels[rows, window.column : window.column + window.width]


@pytest.mark.parametrize(
    ("epsg", "shift_m"), [(32632, 0.0), (32631, 5.0), (32631, 3.7), (32632, 1.3)]
)
def test_it_is_true_to_a_twentieth_of_a_pixel(epsg: int, shift_m: float) -> None:
    """Against the formula itself; a shift of a tenth of a pixel would be seen."""
    own = own_grid(epsg, shift_m)
    window = warp.source_window(own, CHIP)
    found = warp.resampled(part(field(own), window), own, window, CHIP)
    rows, columns = np.mgrid[:96, :96] + 0.5
    x, y = CHIP.affine @ (columns, rows)
    truth = radar_power("VV", x, y)
    slope = np.abs(radar_power("VV", x + 10, y) - truth).max()
    assert np.abs(found - truth).max() < 0.05 * slope
    shifted = radar_power("VV", x + 1, y)
    assert np.abs(found - shifted).max() > 0.09 * slope


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_a_pixel_does_not_depend_on_the_window_it_was_read_with(
    up: int, left: int, down: int, right: int
) -> None:
    own = own_grid(32632)
    speckle = np.random.default_rng(1).gamma(4, 0.03, own.shape).astype(np.float32)
    least = warp.source_window(own, CHIP)
    more = Window(
        least.row - up,
        least.column - left,
        least.height + up + down,
        least.width + left + right,
    )
    assert np.array_equal(
        warp.resampled(part(speckle, least), own, least, CHIP),
        warp.resampled(part(speckle, more), own, more, CHIP),
    )


def test_invalid_neighbours_take_no_part_and_nothing_is_invented() -> None:
    own = own_grid(32632)
    power = np.full(own.shape, 0.2, np.float32)
    power[:, ::7] = -32768
    power[::5] = 0
    window = warp.source_window(own, CHIP)
    found = warp.resampled(part(power, window), own, window, CHIP)
    assert np.allclose(found[np.isfinite(found)], 0.2)
    assert np.isfinite(found).any()
    nothing = warp.resampled(np.empty((0, 0), np.float32), own, Window(0, 0, 0, 0), CHIP)
    assert np.isnan(nothing).all()
