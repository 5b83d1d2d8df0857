"""From windows to bytes: every pixel once, nothing for nothing, neighbours in one request."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1s2.errors import ReadError
from s1s2.geotiff import Header
from s1s2.spans import GAP, Window, blocks_of, spans_of


def header(*, deflated: bool = True, gap: int = 8, size: int = 1000, **changes: object) -> Header:
    """Return the header of a file of 3 x 4 blocks of 64 px."""
    shape = {"width": 250, "height": 180, "block_width": 64, "block_height": 64, **changes}
    starts = 10_000 + np.arange(12, dtype=np.uint64) * np.uint64(size + gap)
    return Header(
        bands=1,
        dtype="uint16",
        bits=16,
        tiled=True,
        deflated=deflated,
        predictor=1,
        fill=0.0,
        transform=None,
        epsg=None,
        offsets=starts,
        sizes=np.full(12, size, np.uint64),
        **shape,
    )


@given(st.integers(-300, 300), st.integers(-300, 300), st.integers(0, 400), st.integers(0, 400))
def test_blocks_cover_what_lies_in_the_file_once(
    row: int, column: int, height: int, width: int
) -> None:
    file, window = header(), Window(row, column, height, width)
    seen = np.zeros((height, width), int)
    for block in blocks_of(file, window):
        rows, columns = len(block.rows), len(block.columns)
        assert rows > 0
        assert columns > 0
        seen[block.top : block.top + rows, block.left : block.left + columns] += 1
        number = (block.start - 10_000) // 1008
        y, x = divmod(number, 4)
        assert row + block.top == 64 * y + block.rows.start
        assert column + block.left == 64 * x + block.columns.start
    there = np.zeros((height, width), int)
    there[max(0, -row) : max(0, 180 - row), max(0, -column) : max(0, 250 - column)] = 1
    assert np.array_equal(seen, there)


def test_neighbours_are_fetched_together_and_strangers_are_not() -> None:
    file = header()
    assert [(s.start, s.stop) for s in spans_of(blocks_of(file, Window(0, 0, 64, 250)))] == [
        (10_000, 10_000 + 4 * 1008 - 8)
    ]
    far = header(gap=GAP + 1)
    assert len(spans_of(blocks_of(far, Window(0, 0, 64, 250)))) == 4
    large = header(size=16_000, gap=0, block_width=64)
    assert all(
        s.stop - s.start <= 8 << 20 for s in spans_of(blocks_of(large, Window(0, 0, 99, 99)))
    )


def test_missing_blocks_are_not_fetched() -> None:
    file = header()
    file.sizes[1] = 0
    blocks = blocks_of(file, Window(0, 0, 64, 128))
    assert [b.start == b.stop for b in blocks] == [False, True]
    assert [len(s.blocks) for s in spans_of(blocks)] == [1]


def test_of_blocks_that_are_not_compressed_only_the_rows_wanted_are_fetched() -> None:
    file = header(deflated=False, size=64 * 128)
    (block,) = blocks_of(file, Window(10, 5, 20, 30))
    assert (block.start - 10_000, block.stop - 10_000) == (10 * 128, 30 * 128)
    assert block.skipped == 10


def test_a_block_larger_than_any_is_refused() -> None:
    file = header(size=64 * 128 * 2 + 5000)
    with pytest.raises(ReadError, match="gives a block 21384 bytes"):
        blocks_of(file, Window(0, 0, 8, 8))
