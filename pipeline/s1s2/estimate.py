"""What a corpus will cost, before the first byte: requests, bytes, hours, and what is unsure. Pure.

The figures behind it were measured on full-size files in Planetary Computer's layout.
"""

from dataclasses import dataclass

from s1s2.catalog import Budget
from s1s2.grid import GridSpec
from s1s2.layout import bytes_per_chip

_READ_MB, _REFERENCE_PX = 12.5, 256
_REQUESTS_A_CHIP = 51
_CHIPS_A_SECOND_AND_WORKER = 3.5
_SECONDS_A_SEARCH = 3.0
_LINK_MB_A_SECOND = 25.0
_DISK_SHARE = 0.75
_TRIES = 1.3
_TILE_PX = 512


@dataclass(frozen=True)
class Estimate:
    """What to expect of a build."""

    points: int
    searches: int
    search_hours: float
    reads: int
    read_gb: float
    read_hours: float
    disk_gb: float
    unsure: tuple[str, ...]


def estimate(  # noqa: PLR0913  # what a build depends on
    n: int, *, points: int, searches: int, budget: Budget | None, spec: GridSpec, workers: int
) -> Estimate:
    """Estimate a build of `n` chips.

    Args:
        n: Chips wanted.
        points: Points to be searched for them.
        searches: Queries to the catalogs; each is a page or more.
        budget: The search budget; None for items on disk.
        spec: The size of a chip.
        workers: Processes that read.

    Examples:
        >>> cost = estimate(
        ...     1000, points=1500, searches=9000, budget=Budget(), spec=GridSpec(), workers=1
        ... )
        >>> cost.read_gb
        16.25
    """
    # a window touches about (size / 512 + 1)^2 blocks of a file
    area = ((spec.size_px / _TILE_PX + 1) / (_REFERENCE_PX / _TILE_PX + 1)) ** 2
    chips = n * _TRIES
    megabytes = chips * _READ_MB * area
    per_second = 1.0
    if budget is not None:
        per_second = min(budget.per_second, budget.in_flight / _SECONDS_A_SEARCH)
    by_cpu = chips * area / (_CHIPS_A_SECOND_AND_WORKER * workers)
    unsure = (
        f"tries: {_TRIES} candidates read for each chip; clouds decide (1 to 3)",
        f"link: {_LINK_MB_A_SECOND:g} MB/s assumed; the provider may give less",
        f"search: {_SECONDS_A_SEARCH:g} s a query assumed; bad days take ten times that",
    )
    return Estimate(
        points=points,
        searches=searches,
        search_hours=searches / per_second / 3600 if budget else 0.0,
        reads=round(chips * _REQUESTS_A_CHIP * area),
        read_gb=megabytes / 1000,
        read_hours=max(by_cpu, megabytes / _LINK_MB_A_SECOND) / 3600,
        disk_gb=n * bytes_per_chip(spec) * _DISK_SHARE / 1e9,
        unsure=unsure,
    )
