"""Which chunks travel together: the one that is needed, no stranger, little that nobody wants."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from s1s2.loader.chips.runs import MOST, Lying


def lying(lengths: list[int], order: list[int]) -> Lying:
    """Chunks without gaps, in some order."""
    index = np.empty((len(lengths), 2), np.int64)
    at = 0
    for place in order:
        index[place] = at, lengths[place]
        at += lengths[place]
    return Lying(index)


@st.composite
def asked(draw: st.DrawFn) -> tuple[Lying, list[int], set[int], int, int]:
    many = draw(st.integers(1, 40))
    lengths = draw(st.lists(st.integers(1, 50), min_size=many, max_size=many))
    file = lying(lengths, draw(st.permutations(range(many))))
    wanted = draw(st.sets(st.integers(0, many - 1)))
    return file, lengths, wanted, draw(st.integers(0, many - 1)), draw(st.integers(-50, 900))


@given(asked())
def test_a_run_holds_what_is_needed_and_stays_within_bounds(
    given_: tuple[Lying, list[int], set[int], int, int],
) -> None:
    file, lengths, wanted, place, room = given_
    run = file.run(place, wanted.__contains__, room)
    assert place in run
    assert len(run) == len(set(run)) <= MOST
    assert set(run) <= wanted | {place}
    assert [int(file.starts[one]) for one in run] == sorted(int(file.starts[one]) for one in run)
    start, length = file.span(run)
    used = sum(lengths[one] for one in run)
    assert start == file.starts[run[0]]
    assert length - used <= used / 4
    assert used - lengths[place] <= max(0, room)


def test_all_of_a_file_that_is_wanted_comes_in_full_runs() -> None:
    file = lying([10] * 50, list(range(50)))
    left = set(range(50))
    runs = []
    for place in (20, 3, 49, 40):
        runs.append(file.run(place, left.__contains__, 1000))
        left -= set(runs[-1])
    assert [len(run) for run in runs] == [16, 16, 2, 16]
    assert not left


def test_a_few_that_nobody_wants_are_bridged_and_many_are_not() -> None:
    file = lying([10] * 16, list(range(16)))
    most = set(range(16)) - {4, 9}
    assert file.run(0, most.__contains__, 1000) == sorted(most)
    assert file.run(8, {0, 1, 7, 15}.__contains__, 1000) == [7, 8]


def test_what_there_is_room_for_comes_next_to_it() -> None:
    file = lying([10] * 16, list(range(16)))
    everything = set(range(16))
    assert file.run(5, everything.__contains__, 25) == [5, 6, 7]
    assert file.run(15, everything.__contains__, 25) == [13, 14, 15]
    assert file.run(5, everything.__contains__, 0) == [5]
