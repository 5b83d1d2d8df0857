"""What differs between two finished corpora: recipe, catalogs, chips, statistics."""

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from s1s2 import ledger, tables
from s1s2.bands import OPTICAL
from s1s2.layout import Folder
from s1s2.radiometry import DB_PER_COUNT, DN_PER_REFLECTANCE
from s1s2.receipts import Json

_SCENES = ["s2_id", "s1_id"]
_NAMED = 5


def diff(one: Folder, other: Folder) -> list[str]:
    """Say what differs between two corpora, a line each; nothing if they are the same.

    Raises:
        StoreError: If one of the folders holds no finished corpus.
    """
    left, right = ledger.open_corpus(one), ledger.open_corpus(other)
    if left["corpus_id"] == right["corpus_id"]:
        return []
    return [
        f"id      {left['corpus_id'][:12]} · {right['corpus_id'][:12]}",
        *_recipes(left, right),
        *_values("", left, right, ("s1s2_version", "wanted", "simulated")),
        *_values("refused ", left["refused"], right["refused"]),
        *chips(tables.read_chips(one.chips), tables.read_chips(other.chips)),
        *_statistics(left, right),
    ]


def _recipes(left: Json, right: Json) -> Iterator[str]:
    before, after = (dict(_flat(tomllib.loads(d["recipe"]))) for d in (left, right))
    yield from _values("recipe  ", before, after)
    for sensor in ("s2", "s1"):
        sides = left["catalogs"][sensor], right["catalogs"][sensor]
        yield from _values(f"catalog {sensor}.", *sides, ("name", "collection", "offset"))


def _flat(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", v) for inner, v in value.items())
        else:
            yield key, value


def _values(
    label: str, left: Mapping[str, Any], right: Mapping[str, Any], keys: tuple[str, ...] = ()
) -> Iterator[str]:
    for key in keys or sorted({*left, *right}):
        before, after = left.get(key), right.get(key)
        if before != after:
            yield f"{label}{key}: {before} · {after}"


def chips(left: pd.DataFrame, right: pd.DataFrame) -> list[str]:
    """Compare two indexes, point by point.

    Args:
        left: `point s2_id s1_id sha256` of one corpus.
        right: The same of the other.

    Examples:
        >>> one = pd.DataFrame(
        ...     {
        ...         "point": [1, 2, 3],
        ...         "s2_id": list("abc"),
        ...         "s1_id": list("xyz"),
        ...         "sha256": list("012"),
        ...     }
        ... )
        >>> other = one.assign(point=[1, 2, 4], s1_id=list("xwz"))
        >>> for line in chips(one, other):
        ...     print(line)
        chips   1 the same · 1 of other scenes (2) · 0 of other pixels
        only in the first: 1 points (3)
        only in the second: 1 points (4)
    """
    both = left.merge(right, on="point", suffixes=("", "_other"))
    scenes = (both[_SCENES].to_numpy() != both[[f"{n}_other" for n in _SCENES]].to_numpy()).any(1)
    pixels = ~scenes & (both["sha256"] != both["sha256_other"]).to_numpy()
    same = len(both) - scenes.sum() - pixels.sum()
    said = [
        (
            f"chips   {same:,} the same · {scenes.sum():,} of other scenes{_some(both[scenes])} · "
            f"{pixels.sum():,} of other pixels{_some(both[pixels])}"
        )
    ]
    for side, ours, theirs in (("first", left, right), ("second", right, left)):
        alone = ours[~ours["point"].isin(theirs["point"])]
        if len(alone):
            said.append(f"only in the {side}: {len(alone):,} points{_some(alone)}")
    return said


def _some(rows: pd.DataFrame) -> str:
    """Name the first few points of some rows."""
    if rows.empty:
        return ""
    names = ", ".join(str(point) for point in rows["point"].head(_NAMED))
    return f" ({names}{', ...' if len(rows) > _NAMED else ''})"


def _statistics(left: Json, right: Json) -> Iterator[str]:
    """Yield how far the means of the train splits lie apart, in deviations: shifts leap out."""
    for band, before in left["statistics"].items():
        after = right["statistics"].get(band)
        if not before or not after or before == after:
            continue
        optical = band in map(str, OPTICAL)
        unit = 1 / DN_PER_REFLECTANCE if optical else DB_PER_COUNT
        means = before["mean"] * unit, after["mean"] * unit
        shift = (after["mean"] - before["mean"]) / max(before["std"], 1)
        digits = 4 if optical else 2
        yield (
            f"mean    {band}: {means[0]:.{digits}f} · {means[1]:.{digits}f}"
            f"{'' if optical else ' dB'} ({shift:+.2f} deviations)"
        )
