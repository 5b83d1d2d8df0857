"""A sweep as tables and a figure: scores with intervals, and differences of paired draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s1s2 import files
from s1s2.learn.evaluate import Judged, percent
from s1s2.learn.labelled import Labelled
from s1s2.learn.scores import (
    Floats,
    Score,
    draw,
    interval,
    label_accuracy,
    mean_average_precision,
    over_draws,
    top_accuracy,
)
from s1s2.learn.settings import EvaluateSpec

SUBSETS = ("all", "clear", "cloudy")
_METRICS = {"mAP": "mean average precision", "accuracy": "accuracy"}
_LEAST_CHIPS = 10
"""A subset of fewer test chips is not scored."""


@dataclass(frozen=True)
class Results:
    """Draws of every score of a sweep: the first is the estimate, the rest its resamples."""

    draws: dict[tuple[str, str, str, str, float], Floats]
    """By subset, metric, title, sensor and fraction."""
    chips: dict[str, int]
    """Test chips by subset."""

    def table(self) -> pd.DataFrame:
        """Return one row a score: subset, metric, way, sensor, fraction, score, low, high."""
        names = ["subset", "metric", "way", "sensor", "fraction"]
        rows = [
            (*key, *(round(v, 4) for v in interval(values))) for key, values in self.draws.items()
        ]
        return pd.DataFrame(rows, columns=[*names, "score", "low", "high"])

    def differences(self) -> pd.DataFrame:
        """Return what each way is ahead of scratch, and fusion of each sensor, with intervals.

        Both sides of a difference share their resamples, so what hits both alike cancels.
        """
        rows = []
        for (subset, metric, way, sensor, fraction), values in self.draws.items():
            rivals = {"scratch": (subset, metric, "scratch", sensor, fraction)}
            if sensor == "fusion":
                rivals |= {s: (subset, metric, way, s, fraction) for s in ("s1", "s2")}
            for rival, key in rivals.items():
                if key in self.draws and self.draws[key] is not values:
                    ahead = interval(values - self.draws[key])
                    place = (subset, metric, way, sensor, fraction, rival)
                    rows.append((*place, *(round(v, 4) for v in ahead)))
        names = ["subset", "metric", "way", "sensor", "fraction", "ahead_of", "by", "low", "high"]
        return pd.DataFrame(rows, columns=names)


def summarise(judged: Sequence[Judged], data: Labelled, spec: EvaluateSpec) -> Results:
    """Score every job on all test chips, the clear ones and the cloudy ones."""
    test = data.rows("test")
    masks = _subsets(data.cloudy[test])
    metrics: dict[str, Score] = {
        "mAP": mean_average_precision,
        "accuracy": top_accuracy if data.exclusive else label_accuracy,
    }
    found: dict[tuple[str, str, str, str, float], Floats] = {}
    for subset, mask in masks.items():
        drawn = draw(data.cell[test][mask], spec.seeds, spec.resamples)
        for (title, sensor, fraction), by_seed in _grouped(judged).items():
            scores = [s[mask] for s in by_seed]
            for metric, score in metrics.items():
                key = (subset, metric, title, sensor, fraction)
                found[key] = over_draws(score, scores, data.truth[test][mask], drawn)
    return Results(found, {name: int(mask.sum()) for name, mask in masks.items()})


def _subsets(cloudy: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    masks = {"all": np.ones_like(cloudy), "clear": ~cloudy, "cloudy": cloudy}
    return {k: m for k, m in masks.items() if m.sum() >= _LEAST_CHIPS or k == "all"}


def _grouped(
    judged: Sequence[Judged],
) -> dict[tuple[str, str, float], list[NDArray[np.float32]]]:
    """Return the scores of all seeds by way, sensor and fraction, in order of seed."""
    groups: dict[tuple[str, str, float], list[NDArray[np.float32]]] = {}
    for one in sorted(judged, key=lambda j: j.job.seed):
        key = (one.job.title, one.job.sensor, one.job.fraction)
        groups.setdefault(key, []).append(one.scores)
    return groups


def write(results: Results, out: Path, title: str) -> list[Path]:
    """Write `scores.csv`, `differences.csv`, `tables.md` and `labels.png`; return where.

    Raises:
        StoreError: If they cannot be written.
    """
    table = results.table()
    tables = [
        _markdown(table, subset, chips, metric)
        for metric in _METRICS
        for subset, chips in results.chips.items()
    ]
    contents = {
        "scores.csv": table.to_csv(index=False).encode(),
        "differences.csv": results.differences().to_csv(index=False).encode(),
        "tables.md": "\n\n".join(tables).encode(),
        "labels.png": figure(table, title),
    }
    for name, content in contents.items():
        files.write_bytes(out / name, content)
    return [out / name for name in contents]


def _markdown(table: pd.DataFrame, subset: str, chips: int, metric: str) -> str:
    """Return one subset's scores: a line a model, a column a share of labels."""
    chosen = table[(table["subset"] == subset) & (table["metric"] == metric)]
    fractions = sorted(chosen["fraction"].unique())
    lines = [
        f"**{subset}: {chips:,} test chips, {_METRICS[metric]} (95 % interval)**",
        "",
        "| sensor | way | " + " | ".join(map(percent, fractions)) + " |",
        "|---" * (2 + len(fractions)) + "|",
    ]
    for (sensor, way), rows in chosen.groupby(["sensor", "way"], sort=False):
        cells = [
            f"{r.score:.3f} ({r.low:.3f}-{r.high:.3f})"
            for r in rows.sort_values("fraction").itertuples()
        ]
        lines.append(f"| {sensor} | {way} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def figure(table: pd.DataFrame, title: str) -> bytes:
    """Draw share of labels against mean average precision, a panel a subset and sensor, as PNG."""
    from matplotlib.figure import Figure  # noqa: PLC0415  # needed by this alone

    chosen = table[table["metric"] == "mAP"]
    subsets = [s for s in SUBSETS if (chosen["subset"] == s).any()]
    sensors = list(dict.fromkeys(chosen["sensor"]))
    page = Figure(figsize=(3.6 * len(sensors), 3.1 * len(subsets)), layout="constrained")
    panels = page.subplots(len(subsets), len(sensors), sharex=True, sharey="row", squeeze=False)
    for subset, row in zip(subsets, panels, strict=True):
        for sensor, panel in zip(sensors, row, strict=True):
            here = chosen[(chosen["subset"] == subset) & (chosen["sensor"] == sensor)]
            for way, line in here.groupby("way", sort=False):
                points = line.sort_values("fraction")
                panel.plot(100 * points["fraction"], points["score"], marker="o", ms=3, label=way)
                panel.fill_between(
                    100 * points["fraction"], points["low"], points["high"], alpha=0.15
                )
            panel.set(xscale="log", title=f"{sensor}, {subset} chips")
            panel.grid(alpha=0.3)
    for panel in panels[-1]:
        panel.set_xlabel("labels used, % of train chips")
    for row in panels:
        row[0].set_ylabel("mean average precision")
    panels[0][0].legend(fontsize=8)
    page.suptitle(title, fontsize=10)
    content = BytesIO()
    page.savefig(content, format="png", dpi=130)
    return content.getvalue()
