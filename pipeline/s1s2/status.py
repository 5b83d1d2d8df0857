"""How far a corpus is, from what lies in its folder: it may be asked anywhere, at any time."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from s1s2 import journal, layout, lease, ledger, receipts, sent, tables
from s1s2.layout import Folder, StoreSpec
from s1s2.progress import duration


@dataclass(frozen=True)
class Status:
    """How far a corpus is."""

    corpus: str
    """Its folder."""
    finished: bool
    chips: int
    wanted: int
    shards: int
    """That have a receipt."""
    shards_wanted: int
    holder: str | None
    """Who works on it at this moment."""
    work: str | None
    """What is being done, as far as the diary knows: `search 120 of 300 queries`."""
    chips_per_second: float | None
    """Since the run that goes on, or the last one, began to cut."""
    seconds_left: float | None
    """None while nobody works on it, or nothing can be said yet."""
    refused: dict[str, int] = field(default_factory=dict)
    """Pairs refused on their pixels so far, by reason."""
    waits: dict[str, int] = field(default_factory=dict)
    """How often something was asked again or waited for, by cause."""
    url: str | None = None
    """Where pixels go; None if they stay in the folder."""
    sent: int | None = None
    """Shards whose pixels lie there."""
    published: bool | None = None
    """All of the corpus lies there."""


def status(folder: Folder, now: datetime | None = None) -> Status:
    """Look at a corpus, begun or finished.

    Args:
        folder: The corpus.
        now: The time it is, UTC; by default it is looked up.

    Raises:
        StoreError: If the folder holds none, or a receipt is damaged.
    """
    if not folder.recipe.exists():
        ledger.require_finished(folder)  # it says what to do
    notes = tables.notes_of(folder.points)
    wanted = int(notes.get("s1s2:n", 0))
    spec = StoreSpec(int(notes.get("s1s2:chips_per_shard", StoreSpec().chips_per_shard)))
    marks, refused = _receipts(folder)
    holder, runs = lease.holder_of(folder), journal.read(folder)
    chips = sum(count for _, count in marks)
    speed = None
    if began := _began_cutting(runs):
        speed = rate(marks, began, now or datetime.now(UTC))
    home = sent.home_of(folder)
    last = runs[-1].works[-1] if runs and runs[-1].works else None
    return Status(
        corpus=str(folder.root),
        finished=folder.corpus.exists(),
        chips=chips,
        wanted=wanted,
        shards=len(marks),
        shards_wanted=len(layout.shard_slots(wanted, spec)),
        holder=str(holder) if holder else None,
        work=f"{last.label} {last.done:,} of {last.total:,} {last.unit}" if last else None,
        chips_per_second=speed,
        seconds_left=(wanted - chips) / speed if holder and speed else None,
        refused=dict(refused.most_common()),
        waits=dict(sum((run.waits for run in runs), Counter[str]()).most_common()),
        url=home.url if home else None,
        sent=sent.count_away(folder) if home else None,
        published=home.published if home else None,
    )


def _receipts(folder: Folder) -> tuple[list[tuple[datetime, int]], Counter[str]]:
    """Return when each shard was finished and how many chips it has; and pairs refused."""
    marks, refused = [], Counter[str]()
    for shard, receipt in receipts.read_each(folder):
        written = datetime.fromtimestamp(folder.receipt(shard).stat().st_mtime, UTC)
        marks.append((written, len(receipt["rows"])))
        refused.update(pair["reason"] for pair in receipt["refused"])
    return marks, refused


def _began_cutting(runs: Sequence[journal.RunLog]) -> datetime | None:
    """Return when the newest run that cut chips began to."""
    begun = [work.begun for run in runs for work in run.works if work.label == "chip"]
    return begun[-1] if begun else None


def rate(marks: Sequence[tuple[datetime, int]], began: datetime, now: datetime) -> float | None:
    """Return chips a second from when cutting began to the last shard; None without a shard.

    Args:
        marks: When each shard was finished, and its chips.
        began: When cutting began; shards finished before do not count.
        now: The time it is.

    Examples:
        >>> from datetime import timedelta
        >>> at = datetime(2026, 1, 1, tzinfo=UTC)
        >>> rate([(at, 100), (at + timedelta(seconds=20), 50)], at, at + timedelta(seconds=30))
        2.5
    """
    new = [(at, count) for at, count in marks if began < at <= now]
    if not new:
        return None
    return sum(count for _, count in new) / (max(new)[0] - began).total_seconds()


def lines(found: Status) -> list[str]:
    """Say it in lines."""
    state = "finished" if found.finished else "unfinished"
    chips = (
        f"chips   {found.chips:,} of {found.wanted:,} · {found.shards:,} of "
        f"{found.shards_wanted:,} shards"
    )
    if found.chips_per_second:
        chips += f" · {found.chips_per_second:.2g} chips/s"
    if found.seconds_left is not None:
        chips += f" · {duration(found.seconds_left)} left"
    said = [f"corpus  {found.corpus} · {state}", f"held    {found.holder or 'by nobody'}", chips]
    if found.url:
        whole = "published" if found.published else "not published yet"
        said.append(f"pixels  {found.sent:,} of {found.shards:,} shards at {found.url} · {whole}")
    if found.holder and found.work:
        said.append(f"work    {found.work}")
    for name, counts in (("refused", found.refused), ("waits", found.waits)):
        if counts:
            said.append(f"{name:<7} " + " · ".join(f"{k} {v:,}" for k, v in counts.items()))
    return said
