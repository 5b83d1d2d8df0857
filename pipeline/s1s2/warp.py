"""Radar onto the grid of a chip where zone or lattice differ: one reprojection of linear power."""

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.warp import Resampling, reproject, transform_bounds

from s1s2.radiometry import valid_power
from s1s2.spans import Window

_HALO_PX = 16


def source_window(own: GeoBox, geobox: GeoBox) -> Window:
    """Return the window of a file that a grid of another lattice needs, with a halo around it.

    Args:
        own: The file's own grid.
        geobox: The grid wanted.
    """
    bounds = transform_bounds(str(geobox.crs), str(own.crs), *geobox.boundingbox, densify_pts=21)
    left, bottom, right, top = bounds
    columns, rows = zip(~own.affine @ (left, top), ~own.affine @ (right, bottom), strict=True)
    row, column = int(np.floor(min(rows))) - _HALO_PX, int(np.floor(min(columns))) - _HALO_PX
    stop_row = int(np.ceil(max(rows))) + _HALO_PX
    stop_column = int(np.ceil(max(columns))) + _HALO_PX
    return Window(row, column, stop_row - row, stop_column - column)


def resampled(
    power: NDArray[np.float32], own: GeoBox, window: Window, geobox: GeoBox
) -> NDArray[np.float32]:
    """Resample a window of linear power onto a grid, bilinearly; NaN where nothing was measured.

    Invalid neighbours do not take part. XSCALE=1, YSCALE=1: across zones GDAL takes the rotated
    window for a smaller scale, widens its kernel, and a pixel's value then depends on which window
    was asked for.

    Args:
        power: The window's pixels, shape (window.height, window.width).
        own: The grid of the file they come from.
        window: Where in the file they lie.
        geobox: The grid wanted.

    Returns:
        Linear power on that grid, shape (y, x).
    """
    target = np.full(geobox.shape, np.nan, dtype=np.float32)
    if not power.size:
        return target
    reproject(
        np.where(valid_power(power), power, np.float32(np.nan)),
        target,
        src_transform=own.affine @ Affine.translation(window.column, window.row),
        src_crs=str(own.crs),
        src_nodata=np.nan,
        dst_transform=geobox.affine,
        dst_crs=str(geobox.crs),
        dst_nodata=np.nan,
        resampling=Resampling.bilinear,
        XSCALE=1,
        YSCALE=1,
    )
    return target
