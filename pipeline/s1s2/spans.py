"""From a window of a file to the bytes that hold it: blocks, and neighbouring ones in one go."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from s1s2.errors import ReadError
from s1s2.geotiff import Header

GAP = 65_536
"""Bytes between two blocks that are rather fetched than asked around: a request costs more."""
_LARGEST_SPAN = 8 << 20
"""Where merging stops; one block alone may be larger."""
_SLACK = 4096


class Window(NamedTuple):
    """Whole pixels of a file; it may stick out of it."""

    row: int
    column: int
    height: int
    width: int

    def inside(self, header: Header) -> "Window":
        """Return the part that lies in a file; its height or width may be 0."""
        row, column = max(0, self.row), max(0, self.column)
        stop_row = max(row, min(header.height, self.row + self.height))
        stop_column = max(column, min(header.width, self.column + self.width))
        return Window(row, column, stop_row - row, stop_column - column)


@dataclass(frozen=True)
class Block:
    """The part of one block that a window wants."""

    start: int
    """First byte to fetch; `start == stop` where the file leaves the block out."""
    stop: int
    rows: range
    """Of the block, those wanted."""
    columns: range
    top: int
    """Row of the window where the first of `rows` goes."""
    left: int
    n_rows: int
    """That the block holds."""
    skipped: int
    """Rows of the block that lie before `start`; 0 where it is compressed."""


@dataclass(frozen=True)
class Span:
    """Bytes fetched by one request, and the blocks in them."""

    start: int
    stop: int
    blocks: tuple[Block, ...]

    @property
    def n_bytes(self) -> int:
        """Of the request."""
        return self.stop - self.start


def blocks_of(header: Header, window: Window) -> list[Block]:
    """Return the blocks that a window touches, row by row of blocks.

    Raises:
        ReadError: If the file claims more bytes for a block than it can have.
    """
    inside = window.inside(header)
    if not inside.height or not inside.width:
        return []
    high, wide = header.block_height, header.block_width
    return [
        _block(header, window, inside, y, x)
        for y in range(inside.row // high, (inside.row + inside.height - 1) // high + 1)
        for x in range(inside.column // wide, (inside.column + inside.width - 1) // wide + 1)
    ]


def _block(header: Header, window: Window, inside: Window, y: int, x: int) -> Block:
    rows = _overlap(y * header.block_height, header.block_height, inside.row, inside.height)
    columns = _overlap(x * header.block_width, header.block_width, inside.column, inside.width)
    place = y * header.across + x
    start, size = int(header.offsets[place]), int(header.sizes[place])
    n_rows, skipped = header.rows_of(y), 0
    if size > 2 * n_rows * header.row_bytes + _SLACK:
        msg = f"cannot be decoded: its header gives a block {size} bytes"
        raise ReadError(msg, "asset_corrupt")
    stop = start + size
    if size and not header.deflated:
        skipped = rows.start
        stop = min(stop, start + rows.stop * header.row_bytes)
        start = min(stop, start + rows.start * header.row_bytes)
    return Block(
        start=start,
        stop=stop,
        rows=rows,
        columns=columns,
        top=y * header.block_height + rows.start - window.row,
        left=x * header.block_width + columns.start - window.column,
        n_rows=n_rows,
        skipped=skipped,
    )


def _overlap(begin: int, length: int, start: int, wanted: int) -> range:
    """Return which rows (or columns) of a block a window wants.

    Examples:
        >>> _overlap(512, 512, 600, 256)
        range(88, 344)
    """
    return range(max(start - begin, 0), min(start + wanted - begin, length))


def spans_of(blocks: Sequence[Block]) -> list[Span]:
    """Return what to fetch for blocks, neighbours in one request; those left out need nothing.

    Examples:
        >>> def block(start, stop):
        ...     return Block(start, stop, range(1), range(1), 0, 0, 1, 0)
        >>> found = spans_of([block(500_000, 600_000), block(0, 0), block(100, 490_000)])
        >>> [(span.start, span.stop, len(span.blocks)) for span in found]
        [(100, 600000, 2)]
    """
    spans: list[Span] = []
    for block in sorted((b for b in blocks if b.start < b.stop), key=lambda b: b.start):
        last = spans[-1] if spans else None
        if last and block.start - last.stop <= GAP and block.stop - last.start <= _LARGEST_SPAN:
            stop = max(last.stop, block.stop)
            spans[-1] = Span(last.start, stop, (*last.blocks, block))
        else:
            spans.append(Span(block.start, block.stop, (block,)))
    return spans
