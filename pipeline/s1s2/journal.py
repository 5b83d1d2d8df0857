"""The diary of a corpus: `logs/run-*.jsonl`, what each command did there, when, and how long.

It is no part of the corpus: nothing in it decides a pixel, and nothing needs it. One file a
process, appended to, one JSON object a line, text redacted. What cannot be written is given up:
a diary never stops a build.
"""

import json
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from s1s2.errors import redact
from s1s2.layout import Folder

_EVERY_S = 5.0


@dataclass
class Work:
    """One piece of work in a run, as far as it came."""

    label: str
    unit: str
    total: int
    begun: datetime
    done: int = 0
    seconds: float = 0.0


@dataclass
class RunLog:
    """What the diary says of one run."""

    begun: datetime
    command: str = ""
    workers: int = 1
    host: str = ""
    seconds: float = 0.0
    """From the first line to the last."""
    ended: str = ""
    """`done`, or the error that ended it; empty while it runs, and of one that was killed."""
    works: list[Work] = field(default_factory=list)
    waits: Counter[str] = field(default_factory=Counter)
    """How often something was asked again, or waited for, by cause."""
    requests: int = 0
    """For parts of files."""
    read_bytes: int = 0
    """That these brought."""
    estimate: dict[str, Any] | None = None
    peak_mb: float | None = None
    """Most memory the process took, megabytes; without its children."""


class Journal:
    """Writes the diary of one process; nothing at all where there was nothing to do."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        now = datetime.now(UTC)
        name = f"run-{now:%Y%m%dT%H%M%S%f}-{socket.gethostname()}-{os.getpid()}.jsonl"
        self._path = logs(folder) / name
        self._kept: list[str] = []
        self._last = 0.0
        self._worth = False

    def write(self, event: str, **said: Any) -> None:  # noqa: ANN401  # whatever JSON holds
        """Note an event; it is kept in memory until the corpus and some work on it have begun."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"at": at, "event": event, **said}, ensure_ascii=False)
        self._kept.append(redact(line))
        self._worth |= event == "wait" or bool(said.get("done"))
        if not (self._worth and self._folder.recipe.exists()):
            return
        try:
            self._path.parent.mkdir(exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(f"{kept}\n" for kept in self._kept)
        except OSError:
            pass  # the build itself will say that a disk is full
        self._kept.clear()

    def progress(self, label: str, unit: str, done: int, total: int, *, last: bool) -> None:
        """Note how far a piece of work has come; not more often than every few seconds."""
        now = time.monotonic()
        if last or not done or now - self._last >= _EVERY_S:
            self._last = now
            self.write("progress", work=label, unit=unit, done=done, total=total)


def logs(folder: Folder) -> Path:
    """Return where the diary of a corpus lies."""
    return folder.root / "logs"


def read(folder: Folder) -> list[RunLog]:
    """Read the diary of a corpus, oldest run first; lines that make no sense are left out."""
    paths = sorted(logs(folder).glob("run-*.jsonl"))
    runs = [parse(list(_lines(path))) for path in paths]
    return sorted((run for run in runs if run is not None), key=lambda run: run.begun)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue  # half a line of a process that was killed
        if isinstance(said, dict) and {"at", "event"} <= said.keys():
            yield said


def parse(lines: list[dict[str, Any]]) -> RunLog | None:
    """Put the lines of one run together; None if there is none.

    Examples:
        >>> at = "2026-01-01T00:00:0{}+00:00".format
        >>> log = parse(
        ...     [
        ...         {"at": at(0), "event": "begin", "command": "build", "workers": 2},
        ...         {
        ...             "at": at(1),
        ...             "event": "progress",
        ...             "work": "chip",
        ...             "unit": "chips",
        ...             "done": 0,
        ...             "total": 9,
        ...         },
        ...         {
        ...             "at": at(4),
        ...             "event": "progress",
        ...             "work": "chip",
        ...             "unit": "chips",
        ...             "done": 9,
        ...             "total": 9,
        ...         },
        ...         {"at": at(5), "event": "end", "how": "done"},
        ...     ]
        ... )
        >>> log.seconds, log.works[0].done, log.works[0].seconds, log.ended
        (5.0, 9, 3.0, 'done')
    """
    if not lines:
        return None
    times = [datetime.fromisoformat(line["at"]) for line in lines]
    run = RunLog(times[0], seconds=(times[-1] - times[0]).total_seconds())
    for at, line in zip(times, lines, strict=True):
        match line["event"]:
            case "begin":
                run.command, run.workers = str(line.get("command", "")), int(line.get("workers", 1))
                run.host, run.estimate = str(line.get("host", "")), line.get("estimate")
            case "progress":
                _progress(run, at, line)
            case "wait":
                run.waits[str(line.get("cause", "unknown"))] += 1
            case "reads":
                run.requests += int(line.get("requests", 0))
                run.read_bytes += int(line.get("bytes", 0))
                for cause, count in line.get("again", {}).items():
                    run.waits[f"pixels: {cause}"] += count
            case "end":
                run.ended, run.peak_mb = str(line.get("how", "")), line.get("peak_mb")
    return run


def _progress(run: RunLog, at: datetime, line: Mapping[str, Any]) -> None:
    label, done = str(line.get("work", "")), int(line.get("done", 0))
    work = next((w for w in reversed(run.works) if w.label == label), None)
    if work is None or done < work.done:  # another round of it
        work = Work(label, str(line.get("unit", "")), int(line.get("total", 0)), at)
        run.works.append(work)
    work.done, work.seconds = done, (at - work.begun).total_seconds()
