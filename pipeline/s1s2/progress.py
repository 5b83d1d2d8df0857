"""Progress: a bar on a terminal, a plain line every so often in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_EVERY_S = 15.0

Tick = Callable[[int], None]
"""Says that so many more are done."""


@contextmanager
def track(label: str, total: int, unit: str) -> Iterator[Tick]:
    """Show how far a piece of work has come, on standard error.

    Args:
        label: What is being done, one word.
        total: How many there are.
        unit: What they are, plural.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm  # noqa: PLC0415

        with tqdm(total=total, desc=f"{label:<7}", unit=f" {unit}", leave=False) as bar:

            def tick(count: int) -> None:
                bar.update(count)

            yield tick
        return
    yield _Lines(label, total, unit).tick


class _Lines:
    """Writes at most one line every fifteen seconds."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._done, self._last = 0, time.monotonic()

    def tick(self, count: int) -> None:
        self._done += count
        if time.monotonic() - self._last >= _EVERY_S:
            self._last = time.monotonic()
            text = f"{self._label:<7} {self._done:,} of {self._total:,} {self._unit}\n"
            sys.stderr.write(text)
            sys.stderr.flush()
