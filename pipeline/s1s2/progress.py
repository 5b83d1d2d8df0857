"""How a command speaks: lines on standard output, a bar on a terminal, a line at times in a log.

With `--json` everything is one JSON object a line on standard output; with `--quiet` only errors
are left. Colour is rich's affair: it follows `NO_COLOR` and is never written into a file. What is
said goes into the corpus' diary too, if one is kept.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from s1s2.journal import Journal
    from s1s2.layout import Folder

EVERY_S = 30.0
"""Between two lines in a log."""
_PEAK_UNITS_A_MB = 1_000_000 if sys.platform == "darwin" else 1000

Tick = Callable[[int], None]
"""Says that so many more are done."""


@dataclass
class _Voice:
    """How this process speaks; set once by the command line."""

    as_json: bool = False
    quiet: bool = False
    journal: "Journal | None" = None


_voice = _Voice()


def speak(*, as_json: bool = False, quiet: bool = False) -> None:
    """Choose how this process speaks from here on; no diary is kept yet."""
    _voice.as_json, _voice.quiet, _voice.journal = as_json, quiet, None


@contextmanager
def diary(folder: "Folder", command: str, **said: Any) -> Iterator[None]:  # noqa: ANN401  # JSON
    """Write what is said meanwhile into a corpus' diary.

    Args:
        folder: The corpus.
        command: What is being done there.
        said: What else its first line says: `workers`, `estimate`.
    """
    from s1s2.journal import Journal  # noqa: PLC0415  # help must come in a blink

    journal = _voice.journal = Journal(folder)
    journal.write("begin", command=command, **said)
    how = "done"
    try:
        yield
    except BaseException as error:
        how = type(error).__name__
        raise
    finally:
        journal.write("end", how=how, peak_mb=peak_mb())
        _voice.journal = None


def peak_mb() -> float:
    """Return the most memory that this process has taken, megabytes."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _PEAK_UNITS_A_MB, 1)


def say(text: str) -> None:
    """Say a line on standard output."""
    if _voice.journal:
        _voice.journal.write("line", text=text)
    if _voice.as_json:
        _object("line", text=text)
    elif not _voice.quiet:
        print(text, flush=True)  # noqa: T201  # how lines get out


def result(**facts: Any) -> None:  # noqa: ANN401  # whatever JSON holds
    """Say what came out of a command, with `--json` only: people have been told in lines."""
    if _voice.as_json:
        _object("result", **facts)


def note(text: str) -> None:
    """Say on standard error why something takes longer; the diary counts causes."""
    if _voice.journal:
        _voice.journal.write("wait", cause=cause_of(text), text=text)
    if _voice.as_json:
        _object("wait", text=text)
    elif not _voice.quiet:
        _to_log(text)


def count_reads(requests: int, n_bytes: int, again: Mapping[str, int]) -> None:
    """Note in the diary what was asked of servers for pixels.

    Args:
        requests: For parts of files.
        n_bytes: That came.
        again: Requests that were made once more, by cause.
    """
    if requests and _voice.journal:
        _voice.journal.write("reads", requests=requests, bytes=n_bytes, again=again)


def cause_of(text: str) -> str:
    """Return what is the same in all lines about waits of one kind.

    Examples:
        >>> cause_of("search  waits 2 s: catalog earth-search answered 503; attempt 2 of 8")
        'catalog earth-search answered 503'
    """
    return text.partition(": ")[2].partition(";")[0] or text


@contextmanager
def track(label: str, total: int, unit: str) -> Iterator[Tick]:
    """Show how far a piece of work has come.

    Args:
        label: What is being done, one word.
        total: How many there are.
        unit: What they are, plural.
    """
    work = _Work(label, total, unit)
    with _shown(work) as show:

        def tick(count: int) -> None:
            work.done += count
            show()
            work.write_down()

        work.write_down()
        try:
            yield tick
        finally:
            work.write_down(last=True)


class _Work:
    """A piece of work and how far it has come."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done, self._began = 0, time.monotonic()

    def write_down(self, *, last: bool = False) -> None:
        if _voice.journal:
            said = self.label, self.unit, self.done, self.total
            _voice.journal.progress(*said, last=last)

    def line(self) -> str:
        text = f"{self.label:<7} {self.done:,} of {self.total:,} {self.unit}"
        spent = time.monotonic() - self._began
        if self.done and spent:
            left = duration((self.total - self.done) * spent / self.done)
            text += f" · {self.done / spent:.2g}/s · {left} left"
        return text


@contextmanager
def _shown(work: _Work) -> Iterator[Callable[[], None]]:
    """Yield what shows the work's progress: a bar, a line now and then, an object, or nothing."""
    if _voice.quiet:
        yield lambda: None
    elif _voice.as_json:
        said = {"work": work.label, "unit": work.unit, "total": work.total}
        yield lambda: _object("progress", **said, done=work.done)
    elif sys.stderr.isatty():
        with _bar(work) as show:
            yield show
    else:
        yield _Lines(work).show


@contextmanager
def _bar(work: _Work) -> Iterator[Callable[[], None]]:
    from rich.console import Console  # noqa: PLC0415  # a tenth of a second to import
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(f"{work.label:<7}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(work.unit),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(work.label, total=work.total)
        yield lambda: bar.update(task, completed=work.done)


class _Lines:
    """Writes a line every so often."""

    def __init__(self, work: _Work) -> None:
        self._work, self._last = work, time.monotonic()

    def show(self) -> None:
        if time.monotonic() - self._last >= EVERY_S:
            self._last = time.monotonic()
            _to_log(self._work.line())


def duration(seconds: float) -> str:
    """Write a time as a reader would say it.

    Examples:
        >>> duration(42.4), duration(261), duration(7260)
        ('42 s', '4 min 21 s', '2 h 01 min')
    """
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004  # a minute
        return f"{whole} s"
    if whole < 3600:  # noqa: PLR2004  # an hour
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _to_log(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _object(event: str, **said: Any) -> None:  # noqa: ANN401  # whatever JSON holds
    line = json.dumps({"event": event, **said}, ensure_ascii=False, default=str)
    print(line, flush=True)  # noqa: T201  # how lines get out
