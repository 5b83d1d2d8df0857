"""Where suites keep their figures: build/bench.json, a list of rows that reports draw from.

A row holds `suite`; `setting` in plain words; `who`, `s1s2` for ours; `rate` a second; `cpu_ms` a
piece; `peak_mb`; `of_limit`, the share of what the machine allows; and whatever else it measures.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PLACE = Path("build/bench.json")
WORDS = ("suite", "setting", "who")
FIGURES = ("rate", "cpu_ms", "peak_mb", "of_limit")


def keep(suite: str, rows: Iterable[Mapping[str, Any]], place: Path = PLACE) -> None:
    """Replace the rows of one suite, and keep those of the others.

    Args:
        suite: Whose rows they are.
        rows: Its rows, without `suite`; figures that were not measured may be left out.
        place: The file.
    """
    there = json.loads(place.read_text()) if place.exists() else []
    ours = [{"suite": suite, **dict.fromkeys(FIGURES), **row} for row in rows]
    for row in ours:
        assert row["suite"] == suite, row
        assert all(isinstance(row[word], str) for word in WORDS), row
        assert all(isinstance(row[name], int | float | None) for name in FIGURES), row
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".{place.name}.partial")
    beside.write_text(json.dumps([r for r in there if r["suite"] != suite] + ours, indent=1) + "\n")
    beside.replace(place)
