"""What a corpus will cost, before the first byte: requests, bytes, hours, memory, and the basis.

Sizes follow from the files: which blocks of 512 pixels a chip's window touches, and how many bits
each holds. What was measured is named as such, with what it was measured on.
"""

from dataclasses import dataclass

from s1s2.bands import OPTICAL, RADAR, Band
from s1s2.catalog import Budget
from s1s2.grid import GridSpec
from s1s2.layout import Codec, bytes_per_chip

_BLOCK_PX = 512
_OPTICAL_BITS, _RADAR_BITS, _SCL_BITS = 15, 32, 8
_OPENING_BYTES = 16_384
_PACKED = 0.8
"""Deflated size of a block over its raw size, Planetary Computer's files."""
_ON_DISK: dict[Codec, float] = {"lz4": 0.65, "zstd": 0.58, "none": 1.0}
"""Size of a chip on disk over its raw size: measured on the sandbox, real ground is alike."""
_CLOUDY_PAIRS_A_CHIP = 0.9
"""Pairs whose scene classification is read, and refused, for every chip."""
_REQUESTS_A_CHIP, _REQUESTS_A_REFUSAL = 35, 3.5
_CPU_S_A_CHIP, _SERVER_CPU_S_A_CHIP = 0.10, 0.16
"""Processor seconds of the builder, and of the sandbox's server if there is one."""
_BUSY = 0.8
"""Share of its time that a processor is busy while chips are cut."""
_START_CPU_S, _REPORT_CPU_S, _SERVER_START_CPU_S = 2.0, 6.0, 3.3
_SECONDS_A_SEARCH = 3.0
_SECONDS_A_SANDBOX_SEARCH = 0.05
_LINK_MB_A_SECOND = 25.0
_BASE_MB, _MB_A_THREAD, _SHARD_COPIES, _SHARDS_AT_ONCE = 250, 15, 5.4, 1.35


@dataclass(frozen=True)
class Estimate:
    """What to expect of a build."""

    n: int
    points: int
    searches: int
    pairs: int
    """Pairs of scenes whose pixels are looked at."""
    chips: int
    reads: int
    """Requests for parts of files."""
    read_gb: float
    disk_gb: float
    """Pixels in the folder, at most at a time."""
    store_gb: float
    """Pixels that leave it, for object storage."""
    search_hours: float
    chip_hours: float
    hours: float
    """All of it, from the command to the report."""
    memory_mb: int
    """Most that one process takes; the sandbox's server takes as much again."""
    basis: tuple[str, ...]
    """What each of them rests on."""


@dataclass(frozen=True)
class Machine:
    """Where it will run."""

    workers: int = 1
    threads: int = 16
    processors: int = 2
    speed: float = 1.0
    """Of one processor; 1 is that of the machine that the figures were measured on."""


def read_bytes(spec: GridSpec, *, packed: float = 1.0) -> tuple[float, float]:
    """Return how many bytes are read for a chip, and for a pair that its clouds refuse.

    Args:
        spec: The size of a chip.
        packed: Size of a block over its raw size; 1 in the sandbox, whose blocks are stored.
    """
    bits = dict.fromkeys(OPTICAL, _OPTICAL_BITS) | dict.fromkeys(RADAR, _RADAR_BITS)
    sizes = {band: _window_bytes(spec.size_m, band, count) for band, count in bits.items()}
    scl = _window_bytes(spec.size_m, Band.SCL, _SCL_BITS) * packed + 2 * _OPENING_BYTES
    rest = sum(sizes.values()) * packed + len(sizes) * _OPENING_BYTES
    return scl + rest, scl


def _window_bytes(size_m: float, band: Band, bits: int) -> float:
    """Return the raw bytes of the blocks that a window touches, on average over where it lies."""
    blocks = (size_m / band.gsd_m / _BLOCK_PX + 1) ** 2
    return blocks * _BLOCK_PX**2 * bits / 8


def estimate(  # noqa: PLR0913  # what a build depends on
    n: int,
    *,
    points: int,
    searches: int,
    budget: Budget | None,
    spec: GridSpec,
    chips_per_shard: int,
    machine: Machine,
    sandbox: bool = False,
    codec: Codec = "lz4",
    away: bool = False,
) -> Estimate:
    """Estimate a build of `n` chips.

    Args:
        n: Chips wanted.
        points: Points to be searched for them.
        searches: Queries to the catalogs; each is a page or more.
        budget: The search budget; None for items on disk.
        spec: The size of a chip.
        chips_per_shard: Chips that are held in memory at once.
        machine: Where it will run.
        sandbox: Whether this machine makes up the pixels as well.
        codec: How pixels are packed.
        away: Whether each shard's pixels leave the folder once it is filled.

    Examples:
        >>> cost = estimate(
        ...     1000,
        ...     points=1500,
        ...     searches=900,
        ...     budget=Budget(),
        ...     spec=GridSpec(),
        ...     chips_per_shard=128,
        ...     machine=Machine(),
        ... )
        >>> round(cost.read_gb), cost.pairs
        (13, 1900)
    """
    refused = n * _CLOUDY_PAIRS_A_CHIP
    whole, cloudy = read_bytes(spec, packed=1.0 if sandbox else _PACKED)
    read_gb = (n * whole + refused * cloudy) / 1e9
    area = whole / read_bytes(GridSpec(), packed=1.0 if sandbox else _PACKED)[0]
    search_s = _search_seconds(searches, budget, machine, sandbox=sandbox)
    chip_s = _chip_seconds(n * area, read_gb, machine, sandbox=sandbox)
    start_s = (_START_CPU_S + _REPORT_CPU_S + sandbox * _SERVER_START_CPU_S) / machine.speed
    shard_chips = min(n, chips_per_shard * _SHARDS_AT_ONCE)
    shard_mb = shard_chips * bytes_per_chip(spec) * _SHARD_COPIES / 1e6
    pixels_gb = n * bytes_per_chip(spec) * _ON_DISK[codec] / 1e9
    in_hands = min(1.0, chips_per_shard * machine.workers / max(1, n))
    return Estimate(
        n=n,
        points=points,
        searches=searches,
        pairs=round(n + refused),
        chips=n,
        reads=round(n * _REQUESTS_A_CHIP + refused * _REQUESTS_A_REFUSAL),
        read_gb=read_gb,
        disk_gb=pixels_gb * in_hands if away else pixels_gb,
        store_gb=pixels_gb if away else 0.0,
        search_hours=search_s / 3600,
        chip_hours=chip_s / 3600,
        hours=(start_s + search_s + chip_s) / 3600,
        memory_mb=round(_BASE_MB + machine.threads * _MB_A_THREAD * area + shard_mb),
        basis=_basis(budget, machine, sandbox=sandbox),
    )


def _search_seconds(
    searches: int, budget: Budget | None, machine: Machine, *, sandbox: bool
) -> float:
    if budget is None:
        return 0.0
    each = _SECONDS_A_SANDBOX_SEARCH / machine.speed if sandbox else _SECONDS_A_SEARCH
    return searches / min(budget.per_second, budget.in_flight / each)


def _chip_seconds(chips: float, read_gb: float, machine: Machine, *, sandbox: bool) -> float:
    """Return what takes longest: one processor a worker, all of them together, or the link."""
    builder = chips * _CPU_S_A_CHIP / machine.speed
    server = chips * _SERVER_CPU_S_A_CHIP / machine.speed if sandbox else 0.0
    everybody = (builder + server) / machine.processors / _BUSY
    link = 0.0 if sandbox else read_gb * 1000 / _LINK_MB_A_SECOND
    return max(builder / min(machine.workers, machine.processors), everybody, link)


def _basis(budget: Budget | None, machine: Machine, *, sandbox: bool) -> tuple[str, ...]:
    search = "read from disk" if budget is None else f"{_SECONDS_A_SEARCH:g} s a query assumed"
    link = f"{_LINK_MB_A_SECOND:g} MB/s assumed; the provider may give less"
    if sandbox:
        search = f"{_SECONDS_A_SANDBOX_SEARCH:g} s a query, measured"
        link = "loopback: the processors decide"
    kind = "stored" if sandbox else f"packed to {_PACKED:.0%}"
    return (
        (
            f"pairs: {_CLOUDY_PAIRS_A_CHIP:g} are refused for every chip, as on the sandbox at "
            "10 % cloud; a cloudy region may take four"
        ),
        f"bytes: the blocks of {_BLOCK_PX} px that windows touch, {kind}",
        f"search: {search}",
        (
            f"chips: {_CPU_S_A_CHIP:g} processor seconds each, measured; this machine's are "
            f"{machine.speed:.1f} times as fast; {machine.processors} processors"
        ),
        f"link: {link}",
        f"memory: {_BASE_MB} MB, {_MB_A_THREAD} MB a thread, {_SHARD_COPIES:g} times a shard",
    )
