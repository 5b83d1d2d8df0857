"""Statistics of a shard: whole numbers, exact, whatever the pixels are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1s2 import fill
from s1s2.radiometry import DB_INVALID


def plain(values: np.ndarray, nodata: int) -> list[int]:
    """Return the same in Python's own numbers, which have no end."""
    known = [number for number in values.ravel().tolist() if number != nodata]
    return [len(known), sum(known), sum(number * number for number in known)]


@pytest.mark.parametrize(
    ("dtype", "value", "nodata"), [("uint16", 65_535, 0), ("int16", -32_767, DB_INVALID)]
)
def test_the_largest_numbers_add_up_exactly(dtype: str, value: int, nodata: int) -> None:
    values = np.full((3, 151, 151), value, dtype)
    values[1, 2, 3] = nodata
    assert fill._moments(values, nodata) == plain(values, nodata)


@given(
    st.lists(st.integers(0, 65_535), min_size=1, max_size=50), st.sampled_from(["uint16", "int16"])
)
def test_any_numbers_do(numbers: list[int], dtype: str) -> None:
    values = np.array(numbers, np.uint16).view(dtype)[None, None]
    nodata = 0 if dtype == "uint16" else DB_INVALID
    assert fill._moments(values, nodata) == plain(values, nodata)


def test_a_shard_without_a_valid_pixel_has_nothing_to_add() -> None:
    assert fill._moments(np.zeros((2, 4, 4), np.uint16), 0) == [0, 0, 0]
