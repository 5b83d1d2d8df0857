"""What the diary of a corpus says of how it was built: time, throughput, waits, estimate."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from s1s2 import journal
from s1s2.journal import RunLog
from s1s2.layout import Folder
from s1s2.progress import duration

_MOST_ROWS = 12


@dataclass(frozen=True)
class History:
    """How a corpus was built, as tables of text and lines below them."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    compared: tuple[tuple[str, str, str], ...]
    """What was expected, in words; the estimate; what it was. Empty where nothing was estimated."""
    notes: tuple[str, ...]


def wall_seconds(folder: Folder) -> float:
    """Return how long the runs on a corpus took together; 0 where nobody kept a diary."""
    return sum(run.seconds for run in journal.read(folder))


def history(folder: Folder, wanted: int, *, pairs: int, disk_bytes: int) -> History | None:
    """Return how a corpus was built; None where nobody kept a diary.

    Args:
        folder: The corpus.
        wanted: How many chips were asked for.
        pairs: Pairs whose pixels were looked at.
        disk_bytes: What its pixels take.
    """
    found = journal.read(folder)
    if not found:
        return None
    heads = ("run", "began (UTC)", "took", "workers", "queries", "chips", "chips/s", "memory")
    rows = tuple(_row(run) for run in found[-_MOST_ROWS:])
    estimated = next((run.estimate for run in found if run.estimate), None)
    compared: tuple[tuple[str, str, str], ...] = ()
    if estimated and estimated.get("n") == wanted:
        compared = _compared(estimated, found, pairs, disk_bytes)
    waits = sum((run.waits for run in found), Counter[str]())
    causes = " · ".join(f"{cause} {count:,}" for cause, count in waits.most_common())
    return History(heads, rows, compared, (f"Asked again or waited: {causes or 'never'}.",))


def _compared(
    estimated: Mapping[str, Any], found: Sequence[RunLog], pairs: int, disk_bytes: int
) -> tuple[tuple[str, str, str], ...]:
    queries = sum(w.done for run in found for w in run.works if w.label == "search")
    peak = max((run.peak_mb or 0 for run in found), default=0)
    return (
        ("queries to the catalog", f"{estimated['searches']:,}", f"{queries:,}"),
        ("pairs looked at", f"{estimated['pairs']:,}", f"{pairs:,}"),
        *_read(estimated, found),
        ("pixels on disk", f"{estimated['disk_gb']:.2f} GB", f"{disk_bytes / 1e9:.2f} GB"),
        ("most memory", f"{estimated['memory_mb']:,} MB", f"{peak:,.0f} MB"),
        (
            "time",
            duration(3600 * float(estimated["hours"])),
            duration(sum(run.seconds for run in found)),
        ),
    )


def _read(estimated: Mapping[str, Any], found: Sequence[RunLog]) -> Iterator[tuple[str, str, str]]:
    """Yield what was read, where that went over HTTP."""
    requests, read_bytes = sum(r.requests for r in found), sum(r.read_bytes for r in found)
    if requests:
        yield "requests for pixels", f"{estimated['reads']:,}", f"{requests:,}"
        yield "pixels read", f"{estimated['read_gb']:.1f} GB", f"{read_bytes / 1e9:.1f} GB"


def _row(run: RunLog) -> tuple[str, ...]:
    chips = [work for work in run.works if work.label == "chip"]
    seconds, cut = sum(w.seconds for w in chips), sum(w.done for w in chips)
    return (
        run.command,
        f"{run.begun:%Y-%m-%d %H:%M}",
        duration(run.seconds),
        str(run.workers),
        f"{sum(w.done for w in run.works if w.label == 'search'):,}",
        f"{cut:,}",
        f"{cut / seconds:.1f}" if seconds and cut else "-",
        f"{run.peak_mb:,.0f} MB" if run.peak_mb else "-",
    )
