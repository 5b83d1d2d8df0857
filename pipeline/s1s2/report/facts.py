"""What a report says, worked out from the tables of a corpus: counts and histograms. Pure."""

import calendar
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s1s2.match import REASONS
from s1s2.sample import SPLITS

Floats = NDArray[np.float64]

MEANINGS = REASONS | {
    "cloud": "too much cloud on the chip itself",
    "shadow": "too much cloud shadow on the chip itself",
    "s2_nodata": "pixels without optical data",
    "s1_invalid": "pixels without a radar measurement",
    "asset_missing": "a file its catalog names is not there",
    "asset_corrupt": "a file that cannot be decoded",
    "bad_asset": "a file that is not what its catalog promises",
    "not_needed": "held in reserve: enough chips were found before their turn",
}
"""What each reason means, in words for somebody who sees it for the first time."""

_DAYS_BY_WEEK = 120
_BINS = 24
_BAND_DEGREES = 5
_FEW_PERCENT = 10
WORST = 12
"""Chips shown at the end of each gate."""


@dataclass(frozen=True)
class Loss:
    """How many were lost at a step of the funnel, and why."""

    reason: str
    count: int

    @property
    def meaning(self) -> str:
        """The reason in words."""
        return MEANINGS.get(self.reason, self.reason)


@dataclass(frozen=True)
class Step:
    """One step of the funnel: how many are left, and what the others were lost to."""

    label: str
    left: int
    lost: tuple[Loss, ...] = ()


@dataclass(frozen=True)
class Funnel:
    """Where candidates went."""

    points: tuple[Step, ...]
    """From points drawn to chips."""
    pairs: tuple[Loss, ...]
    """What became of every pair whose pixels were read; `kept` first."""
    astray: int
    """Points counted twice, or known to one table alone; 0 unless the tables are damaged."""


@dataclass(frozen=True)
class Bars:
    """A histogram: counts between edges."""

    edges: Floats
    counts: Floats


@dataclass(frozen=True)
class Named:
    """Counts by name, in order."""

    names: tuple[str, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Gate:
    """A measure of every chip, and the chips that are the worst by it."""

    key: str
    title: str
    unit: str
    worst: tuple[int, ...]
    """Chips, worst first; empty where every chip is perfect."""
    limit: float | None
    """What the recipe allows, in the unit."""


def funnel(points: NDArray[np.int64], refusals: pd.DataFrame, kept: NDArray[np.int64]) -> Funnel:
    """Follow every point from being drawn to its chip, or to the reason why it has none.

    Args:
        points: Every point that was drawn.
        refusals: `point stage reason`, as in `refusals.parquet`.
        kept: The points of the chips.

    Examples:
        >>> lost = pd.DataFrame(
        ...     {
        ...         "point": [1, 2, 3],
        ...         "stage": ["match", "chip", "chip"],
        ...         "reason": ["lag"] + 2 * ["cloud"],
        ...     }
        ... )
        >>> found = funnel(np.arange(5), lost, np.array([0, 3]))
        >>> [step.left for step in found.points], found.astray
        ([5, 4, 3, 2], 0)
    """
    unmatched = refusals[refusals["stage"] == "match"]
    tried = refusals[refusals["stage"] == "chip"]
    last = tried.drop_duplicates("point", keep="last")
    failed = last[~last["point"].isin(kept)]
    known = np.concatenate([unmatched["point"], failed["point"], kept])
    reserve = len(np.setdiff1d(points, known))
    looked = len(kept) + len(failed)
    return Funnel(
        (
            Step("points drawn", len(points)),
            Step("have a pair of scenes", looked + reserve, _losses(unmatched["reason"])),
            Step(
                "tried on their pixels",
                looked,
                (Loss("not_needed", reserve),) if reserve else (),
            ),
            Step("chips", len(kept), _losses(failed["reason"])),
        ),
        (Loss("kept", len(kept)), *_losses(tried["reason"])),
        astray=abs(len(points) - len(known) - reserve),
    )


def _losses(reasons: "pd.Series[str]") -> tuple[Loss, ...]:
    counts = reasons.value_counts()
    return tuple(Loss(str(reason), int(count)) for reason, count in counts.items())


def bars(values: "pd.Series[float]", low: float, high: float, bins: int = _BINS) -> Bars:
    """Count values in even steps from `low` to `high`; what lies outside counts at the ends."""
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    inside = np.clip(values.to_numpy(np.float64), edges[0], edges[-1])
    return Bars(edges, np.histogram(inside, edges)[0].astype(np.float64))


def latitudes(lat: "pd.Series[float]") -> Bars:
    """Return which share of the chips lies in every five degrees of latitude."""
    edges = np.arange(-90, 91, _BAND_DEGREES, dtype=np.float64)
    counts = np.histogram(lat.to_numpy(np.float64), edges)[0]
    return Bars(edges, counts / max(1, counts.sum()))


def when(times: "pd.Series[pd.Timestamp]") -> Named:
    """Count sensing times by week where they span a season, by month of the year where more.

    Examples:
        >>> days = pd.Series(pd.to_datetime(["2019-08-01", "2019-08-02", "2019-08-09"], utc=True))
        >>> when(days)
        Named(names=('1 Aug', '8 Aug'), counts=(2, 1))
    """
    first = times.min().normalize()
    if (times.max() - first).days <= _DAYS_BY_WEEK:
        week = ((times - first).dt.days // 7).to_numpy(np.int64)
        counts = np.bincount(week)
        starts = [first + pd.Timedelta(weeks=k) for k in range(len(counts))]
        return Named(tuple(f"{t.day} {t:%b}" for t in starts), tuple(map(int, counts)))
    counts = np.bincount(times.dt.month.to_numpy(np.int64), minlength=13)[1:]
    names = calendar.month_abbr[1:]
    return Named(tuple(names), tuple(map(int, counts)))


def orbits(index: pd.DataFrame) -> Named:
    """Count chips by what flew over: the radar's platform and the direction of its pass."""
    names = index["s1_platform"].str.replace("sentinel-", "S", regex=False).str.upper()
    both = (names + " " + index["s1_orbit_state"].fillna("orbit unknown")).value_counts()
    both = both.sort_index()
    return Named(tuple(map(str, both.index)), tuple(map(int, both)))


def split_counts(splits: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the splits and their chips, in the usual order."""
    return [(name, int(splits.get(name, 0))) for name in SPLITS]


def gates(index: pd.DataFrame, recipe: Mapping[str, Any]) -> list[Gate]:
    """Find the worst chips by every measure that a chip was let in by.

    Args:
        index: One row a chip, as in `chips.parquet`.
        recipe: The resolved recipe, as its TOML reads.
    """
    rules, match = recipe.get("chip", {}), recipe.get("match", {})
    measures = (
        ("cloud", "Most cloud", "%", index["cloud_fraction"] * 100,
         _percent(rules.get("max_cloud_fraction"))),
        ("shadow", "Most cloud shadow", "%", index["shadow_fraction"] * 100,
         _percent(rules.get("max_shadow_fraction"))),
        ("radar", "Most pixels without radar", "%", (1 - index["s1_valid_fraction"]) * 100,
         _percent(rules.get("min_s1_valid_fraction"), rest=True)),
        ("optical", "Most pixels without optics", "%", (1 - index["s2_valid_fraction"]) * 100,
         _percent(rules.get("min_s2_valid_fraction"), rest=True)),
        ("lag", "Farthest apart in time", "h", index["lag_hours"].abs(),
         match.get("max_lag_hours")),
    )  # fmt: skip
    return [
        Gate(key, title, unit, _worst(index["chip"], values), limit)
        for key, title, unit, values, limit in measures
    ]


def _percent(share: float | None, *, rest: bool = False) -> float | None:
    if share is None:
        return None
    return round(100 * (1 - share if rest else share), 6)


def _worst(chips: "pd.Series[int]", values: "pd.Series[float]") -> tuple[int, ...]:
    above = pd.DataFrame({"chip": chips, "value": values})
    above = above[above["value"] > 0].sort_values(["value", "chip"], ascending=[False, True])
    return tuple(int(chip) for chip in above["chip"].head(WORST))


def percent(share: float) -> str:
    r"""Write a share as a percentage, in few digits.

    Examples:
        >>> percent(0.8123), percent(0.0047), percent(0.0), percent(0.999)
        ('81\xa0%', '0.5\xa0%', '0\xa0%', '99.9\xa0%')
    """
    value = 100 * float(share)
    whole = value == round(value) or _FEW_PERCENT <= value <= 100 - _FEW_PERCENT
    digits = 0 if whole else 1
    return f"{value:.{digits}f}\N{NO-BREAK SPACE}%"


def place(lon: float, lat: float) -> str:
    """Write a place as a reader would say it.

    Examples:
        >>> place(-71.2, 46.8136)
        '46.814° N, 71.200° W'
    """
    return f"{abs(lat):.3f}° {'S' if lat < 0 else 'N'}, {abs(lon):.3f}° {'W' if lon < 0 else 'E'}"


def gallery(chips: Sequence[int], count: int, seed: int) -> list[int]:
    """Draw some chips at random: the same ones for the same seed."""
    some = np.random.default_rng(seed).permutation(np.asarray(chips, dtype=np.int64))[:count]
    return [int(chip) for chip in some]
