"""Orders, ranks and positions: every item once, whoever reads it, however often resumed."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1s2.errors import ContractError
from s1s2.loader.order import (
    Choice,
    Cut,
    Items,
    Orders,
    Position,
    batches,
    epoch_order,
)
from s1s2.loader.sampler import BatchSampler


def items(n: int, per_shard: int = 16, cells: int = 10) -> Items:
    return Items(np.arange(n) // per_shard, np.arange(n) % cells)


@pytest.mark.parametrize("shuffle", ["none", "full", "block", "spread"])
def test_every_item_comes_once_an_epoch_and_seeds_decide(shuffle: str) -> None:
    orders = Orders(shuffle, seed=5)  # type: ignore[arg-type]
    first, again = (epoch_order(items(203), orders, 2) for _ in range(2))
    assert sorted(first.tolist()) == list(range(203))
    assert first.tolist() == again.tolist()
    if shuffle != "none":
        others = [
            epoch_order(items(203), orders, 3),
            epoch_order(items(203), Orders(shuffle, seed=6), 2),  # type: ignore[arg-type]
        ]
        assert all(other.tolist() != first.tolist() for other in others)


def test_block_shuffle_reads_few_shards_at_a_time_and_mixes_them() -> None:
    order = epoch_order(items(160), Orders("block", 1, block_shards=2), 0) // 16
    groups = order.reshape(5, 32)
    assert all(len(set(group)) == 2 for group in groups.tolist())
    assert len({frozenset(group) for group in groups.tolist()}) == 5
    assert all((np.diff(group) != 0).sum() > 8 for group in groups), "mixed, not one by one"


def test_spread_keeps_the_chips_of_a_cell_apart() -> None:
    uneven = np.repeat(np.arange(30), [40] * 3 + [2] * 27)
    several = Items(np.zeros(len(uneven), np.int64), uneven)
    order = epoch_order(several, Orders("spread", 3), 0)
    counts = [Counter(uneven[order[k : k + 16]].tolist()) for k in range(0, 160, 16)]
    # each large cell is 40 of 174: a fair share of 16 is 3.7
    assert max(max(count.values()) for count in counts) <= 5
    mixed = epoch_order(several, Orders("full", 3), 0)
    runs = [Counter(uneven[mixed[k : k + 16]].tolist()) for k in range(0, 160, 16)]
    assert max(max(count.values()) for count in runs) > 5, "what full shuffling does"


def test_weights_draw_with_replacement_in_proportion() -> None:
    weights = np.zeros(100)
    weights[:4] = [1, 1, 1, 7]
    weighted = Items(np.zeros(100, np.int64), np.arange(100), weights)
    drawn = np.concatenate([epoch_order(weighted, Orders("full", 2), e) for e in range(40)])
    counts = np.bincount(drawn, minlength=100)
    assert counts[4:].sum() == 0
    assert counts[3] / counts[:3].mean() == pytest.approx(7, rel=0.15)


@pytest.mark.parametrize(
    "weights", [np.ones(3), np.array([1.0, -1, 1, 1]), np.zeros(4), np.full(4, np.nan)]
)
def test_weights_that_cannot_be_are_refused(weights: np.ndarray) -> None:
    with pytest.raises(ContractError, match="weights: expected"):
        Items(np.zeros(4, np.int64), np.zeros(4, np.int64), weights)


@pytest.mark.parametrize("world", range(1, 9))
@pytest.mark.parametrize("n", [1, 7, 31, 64, 65, 127])
def test_ranks_get_as_many_batches_and_share_every_item(world: int, n: int) -> None:
    order = epoch_order(items(n), Orders("full", 1), 0)
    for uneven in ("pad", "drop"):
        for drop_last in (False, True):
            cuts = [Cut(4, rank, world, drop_last, uneven) for rank in range(world)]  # type: ignore[arg-type]
            shares = [list(batches(order, cut)) for cut in cuts]
            assert {len(share) for share in shares} == {cuts[0].batches(n)}
            lengths = [[len(b) for b in share] for share in shares]
            assert lengths == [lengths[0]] * world, "in step, also in the last batch"
            seen = Counter(int(i) for share in shares for b in share for i in b)
            if uneven == "pad" and not drop_last:
                assert set(seen) == set(range(n))
                assert seen.total() - n == cuts[0].repeated(n) < world
            else:
                assert set(seen.values()) <= {1}, "dropping repeats nothing"
                left = n % (4 * world) if drop_last else n % (4 * world) % world
                assert n - seen.total() == left


def test_all_ranks_together_read_what_one_would() -> None:
    order = epoch_order(items(96), Orders("full", 1), 0)
    one = [set(b.tolist()) for b in batches(order, Cut(12))]
    three = [list(batches(order, Cut(4, rank, 3))) for rank in range(3)]
    assert one == [set(np.concatenate(parts).tolist()) for parts in zip(*three, strict=True)]


@given(
    st.integers(1, 200), st.integers(1, 8), st.integers(1, 9), st.integers(1, 8), st.integers(1, 9),
    st.integers(0, 30),
)  # fmt: skip
def test_resumed_with_other_ranks_and_batches_what_was_left_comes(
    n: int, world: int, size: int, new_world: int, new_size: int, stop: int
) -> None:
    order = epoch_order(items(n), Orders("full", 4), 0)
    position, seen = Position(), Counter[int]()
    cuts = [Cut(size, rank, world) for rank in range(world)]
    shares = [list(batches(order, cut)) for cut in cuts]
    for k in range(min(stop, cuts[0].batches(n) - 1)):
        seen.update(int(i) for share in shares for i in share[k])
        position = position.after(n, cuts[0])
    assert position == Position(0, seen.total()), "nothing repeats before the last batch"
    rest = Counter[int]()
    for rank in range(new_world):
        for batch in batches(order, Cut(new_size, rank, new_world), position.done):
            rest.update(batch.tolist())
    assert set(rest) == set(range(n)) - set(seen)
    assert rest.total() - len(rest) < new_world, "repeats only to keep ranks in step"


def test_the_last_batch_ends_the_epoch() -> None:
    position, cut = Position(3), Cut(4)
    for _ in range(3):
        position = position.after(10, cut)
    assert position == Position(4)
    assert Position(3, 8).after(10, Cut(4, drop_last=True)) == Position(4)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Orders("sorted"), "shuffle 'sorted'"),  # type: ignore[arg-type]
        (lambda: Orders("block", block_shards=0), "block_shards 0"),
        (lambda: Cut(0), "batch_size 0"),
        (lambda: Orders("full", -1), "seed -1"),
        (lambda: Cut(2, 3, 3), "rank 3 of 3"),
        (lambda: Cut(2, uneven="crop"), "uneven 'crop'"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_is_refused(make: object, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        make()  # type: ignore[operator]


def test_a_batch_sampler_keeps_its_place() -> None:
    chips = np.arange(20)[:, None]
    choice = Choice(chips, items(20), Orders("full", 9))
    whole = list(BatchSampler(choice, Cut(3)))
    first = BatchSampler(choice, Cut(3))
    begun = iter(first)
    had = [next(begun) for _ in range(2)]
    second = BatchSampler(choice, Cut(3))
    second.load_state_dict(first.state_dict())
    assert had + list(second) == whole
    assert sorted(place for batch in second for place in batch) == list(range(20)), (
        "then the next epoch, whole"
    )
    for other in (
        Choice(chips, items(20), Orders("full", 8)),
        Choice(chips, items(20), Orders("spread", 9)),
        Choice(chips + 1, items(20), Orders("full", 9)),
    ):
        with pytest.raises(ContractError, match="over other chips, or with another seed"):
            BatchSampler(other, Cut(3)).load_state_dict(first.state_dict())
