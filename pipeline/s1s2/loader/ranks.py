"""Which processes of a training share the chips out."""

from dataclasses import dataclass

from s1s2.loader.order import Cut, Uneven


@dataclass(frozen=True)
class Ranks:
    """How the processes of a training share the chips out."""

    rank: int
    world: int
    uneven: Uneven = "pad"
    """A rest that cannot be shared evenly: `pad` repeats some, `drop` leaves some out."""


def cut(batch_size: int, ranks: Ranks | None, *, drop_last: bool) -> Cut:
    """Return this process's share of every batch, by default as torch.distributed has it."""
    ranks = ranks or _distributed()
    return Cut(batch_size, ranks.rank, ranks.world, drop_last, ranks.uneven)


def _distributed() -> Ranks:
    """Return the ranks of torch.distributed, or the only one where it was not begun."""
    from torch import distributed  # noqa: PLC0415  # a second to import

    if distributed.is_available() and distributed.is_initialized():
        return Ranks(distributed.get_rank(), distributed.get_world_size())
    return Ranks(0, 1)
