"""The dataset card: `README.md` of a corpus, with the front matter that Hugging Face reads.

Everything in it comes from `corpus.json` and the tables, so the same corpus has the same card.
"""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from itertools import pairwise
from typing import Any

import jinja2
import pandas as pd

from s1s2 import ledger
from s1s2.bands import Sensor
from s1s2.report import facts, world
from s1s2.report.facts import percent

_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))
_HALF, _NOTABLE, _ANTARCTICA = 0.5, 0.005, -60
_OFFSETS = {
    "baseline": "ESA's offset of +1000 (processing baseline 04.00 and later) is removed by the "
    "baseline of each scene, never by its date; `dn_offset` in `chips.parquet` records it",
    "applied": "the provider has already removed ESA's offset; `dn_offset` is 0",
}


def attribution(about: Mapping[str, Any], index: pd.DataFrame) -> list[str]:
    """Return what must be said of the sources wherever the corpus goes, each line once.

    Args:
        about: `corpus.json`.
        index: One row a chip, as in `chips.parquet`.
    """
    said = [str(c["licence"]) for _, c in sorted(about["catalogs"].items()) if c["licence"]]
    if not about["simulated"] and len(index):
        years = sorted({*index["s2_time"].dt.year, *index["s1_time"].dt.year})
        said.insert(0, f"Contains modified Copernicus Sentinel data {', '.join(map(str, years))}.")
    return list(dict.fromkeys(said)) or ["The catalog states no licence."]


def card(about: Mapping[str, Any], index: pd.DataFrame, refusals: pd.DataFrame) -> str:
    """Write the card.

    Args:
        about: `corpus.json`.
        index: One row a chip, as in `chips.parquet`.
        refusals: `point stage reason`, as in `refusals.parquet`.
    """
    recipe, chips = tomllib.loads(about["recipe"]), int(about["chips"])
    environment = jinja2.Environment(  # noqa: S701  # Markdown, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["percent"] = percent
    template = environment.from_string(
        files("s1s2.report").joinpath("card.md.jinja").read_text("utf-8")
    )
    counts = facts.split_counts(about["splits"])
    return template.render(
        about=about,
        recipe=recipe,
        name=" ".join(str(about["name"]).split()),
        px=int(about["chip_size_px"]),
        size=next((text for most, text in _SIZES if chips < most), "n>1M"),
        splits=", ".join(f"{split} {count:,}" for split, count in counts),
        where=_where(index, recipe["sample"]),
        products=[(s.title, about["catalogs"][s]) for s in (Sensor.S2, Sensor.S1)],
        baselines=_baselines(index),
        offset=_OFFSETS[about["catalogs"]["s2"]["offset"]],
        sampling=_sampling(recipe),
        lag=_lag(index, recipe["match"]["max_lag_hours"]),
        holes=_holes(about, index, refusals, recipe["sample"]),
        attribution=attribution(about, index),
        taken=ledger.origin(dict(about)),
    )


def _where(index: pd.DataFrame, sample: Mapping[str, Any]) -> str:
    cells = f" in {index['cell'].nunique():,} cells" if len(index) else ""
    if sample["points"]:
        return f"points of its author's choice{cells}"
    region = "a region" if sample["within"] else "all land"
    return f"{region} between {sample['south']:g} and {sample['north']:g} degrees latitude{cells}"


def _baselines(index: pd.DataFrame) -> str:
    counts = index["processing_baseline"].value_counts().sort_index()
    return ", ".join(f"{name} in {count:,} chips" for name, count in counts.items()) or "none"


def _sampling(recipe: Mapping[str, Any]) -> str:
    if recipe["sample"]["points"]:
        return "the author's own points, in their order"
    return (
        f"the R2 sequence (seed {recipe['seed']}) through the equal-area map of the sphere, on "
        f"land, at least {recipe['sample']['spacing_km']:g} km apart: every square kilometre is as "
        "likely as any other"
    )


def _lag(index: pd.DataFrame, most_hours: float) -> str:
    if not len(index):
        return f"at most {most_hours:g} h"
    quarter, half, most = index["lag_hours"].abs().quantile([0.25, 0.5, 0.95])
    return (
        f"of |S1 - S2|, a quarter below {quarter:.1f} h, half below {half:.1f} h, 95 % below "
        f"{most:.1f} h; at most {most_hours:g} h"
    )


def _holes(
    about: Mapping[str, Any],
    index: pd.DataFrame,
    refusals: pd.DataFrame,
    sample: Mapping[str, Any],
) -> list[str]:
    lost = refusals[~refusals["point"].isin(index["point"])].drop_duplicates("point", keep="last")
    lines = [
        f"{count:,} points have no chip: {facts.MEANINGS.get(str(reason), reason)} (`{reason}`)."
        for reason, count in lost["reason"].value_counts().items()
    ] or ["No point that was tried is without a chip."]
    if about["chips"] < about["wanted"]:
        lines.append(f"{about['wanted']:,} chips were wanted, {about['chips']:,} were found.")
    if not (sample["points"] or sample["within"]) and len(index):
        lines += _thin_latitudes(index, sample)
    if not sample["points"] and sample["south"] >= _ANTARCTICA:
        lines.append("Antarctica is left out.")
    return lines


def _thin_latitudes(index: pd.DataFrame, sample: Mapping[str, Any]) -> list[str]:
    """Name the latitudes that have less than half the chips their land would give them."""
    shares = facts.latitudes(index["lat"])
    ideal = world.land_by_latitude(shares.edges, sample["south"], sample["north"])
    bands = zip(pairwise(shares.edges), shares.counts, ideal, strict=True)
    return [
        f"Between {low:g} and {high:g} degrees of latitude lie {percent(share)} of the chips and "
        f"{percent(land)} of the land."
        for (low, high), share, land in bands
        if land > _NOTABLE and share < _HALF * land
    ]
