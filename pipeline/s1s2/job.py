"""One band of a scene on its way to a grid: which window of its file, which bytes, which pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from s1s2 import decode, warp
from s1s2.bands import RADAR, Band
from s1s2.errors import ContractError, ReadError
from s1s2.geotiff import Header
from s1s2.radiometry import valid_power
from s1s2.spans import Block, Span, Window, blocks_of, spans_of
from s1s2.wire import Part, Place

_ALIGNED = 1e-6


@dataclass(frozen=True)
class Pixels:
    """One band on a chip's grid."""

    data: NDArray[Any]
    """Numbers as in the file, shape (y, x); linear power where radar."""
    valid: NDArray[np.bool_]
    """True where a measurement lies, shape (y, x)."""
    warped: bool = False
    """True where radar had to be resampled onto the grid."""


@dataclass(frozen=True)
class Job:
    """One band of a scene on its way to a grid."""

    band: Band
    place: Place
    header: Header
    window: Window
    """What of the file is read; it may stick out of it."""
    out: NDArray[Any]
    """The window's pixels, shape (y, x); 0 outside of the file."""
    spans: Sequence[Span]
    """What is to be fetched."""
    target: GeoBox | None = None
    """The grid that the window is resampled onto; None where the window is the grid."""

    def take(self, span: Span, part: Part) -> None:
        """Decode the blocks of a span into their places."""
        if len(part.data) < span.n_bytes:
            msg = f"is cut off: a block of it ends at byte {span.stop}, the file at {part.size}"
            raise ReadError(msg, "asset_corrupt")
        data = memoryview(part.data)
        for block in span.blocks:
            own = data[block.start - span.start : block.stop - span.start]
            decode.paste(self.out, block, own, self.header, proven=self.place.proven)

    def pixels(self) -> Pixels:
        """Return what was read, on the grid that was asked for."""
        if self.target is not None:
            power = warp.resampled(self.out, grid_of(self.header), self.window, self.target)
            return Pixels(power, valid_power(power), warped=True)
        return Pixels(self.out, valid_power(self.out) if self.band in RADAR else self.out != 0)


def plan(band: Band, place: Place, header: Header, geobox: GeoBox) -> Job:
    """Decide which window of a file a grid needs, and which bytes hold it."""
    own = grid_of(header)
    window, target = _window_of(own, geobox), None
    if window is None:
        if band not in RADAR:
            raise ContractError(_off_lattice(own, geobox))
        window, target = warp.source_window(own, geobox).inside(header), geobox
    out = np.zeros((window.height, window.width), dtype=header.dtype)
    blocks: list[Block] = [] if header.odd else blocks_of(header, window)
    for block in blocks:
        if block.start == block.stop:
            decode.fill(out, block, header)
    return Job(band, place, header, window, out, spans_of(blocks), target)


def _window_of(own: GeoBox, geobox: GeoBox) -> Window | None:
    """Return where a grid lies in a file as whole pixels, or None if it does not."""
    if own.crs != geobox.crs or own.affine.a != geobox.affine.a:
        return None
    column, row = ~own.affine @ (geobox.affine.c, geobox.affine.f)
    if abs(column - round(column)) > _ALIGNED or abs(row - round(row)) > _ALIGNED:
        return None
    height, width = geobox.shape
    return Window(round(row), round(column), height, width)


def grid_of(header: Header) -> GeoBox:
    """Return a file's own grid; its header must have been checked."""
    shape = (header.height, header.width)
    return GeoBox(shape, header.transform or Affine.identity(), f"EPSG:{header.epsg}")


def _off_lattice(own: GeoBox, geobox: GeoBox) -> str:
    return (
        f"its pixels start at {own.affine.c:g}, {own.affine.f:g} in {own.crs}, off the lattice of "
        f"the chip at {geobox.affine.c:g}, {geobox.affine.f:g} in {geobox.crs}; expected one "
        "lattice for all bands of a scene"
    )


def checked(header: Header, band: Band) -> Header:
    """Return a header if it is what its band promises.

    Raises:
        ContractError: If it is not.
    """
    wanted = "float32" if band in RADAR else "uint8" if band is Band.SCL else "uint16"
    place, gsd = header.transform, band.gsd_m
    problem = ""
    if header.bands != 1 or header.dtype != wanted:
        problem = f"holds {header.bands} band(s) of {header.dtype}, expected one of {wanted}"
    elif header.epsg is None:
        problem = "has no projected CRS with an EPSG code, expected UTM"
    elif place is None:
        problem = "does not say where its pixels lie"
    elif place.b or place.d or place.a != gsd or place.e != -gsd:
        problem = f"has pixels of {place.a:g} x {-place.e:g} m, expected {gsd} m, north up"
    if problem:
        msg = f"the file {problem}"
        raise ContractError(msg)
    return header
