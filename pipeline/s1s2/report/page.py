"""The page: one file of HTML that works offline, from a finished corpus."""

import tomllib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from s1s2 import __version__, ledger, sent, tables
from s1s2.load import Corpus
from s1s2.progress import duration
from s1s2.report import facts, figures, runs, values
from s1s2.report.charts import charts
from s1s2.report.facts import Gate, percent
from s1s2.report.figures import Drawn
from s1s2.report.pictures import Thumbs, thumbs

GALLERY = 24
_IMAGES_BYTES = 3_300_000
"""What all thumbnails may take together: the page stays under 5 MB, base64 and figures included."""
_ENTIRE = 100


def render(corpus: Corpus, *, seed: int = 0) -> tuple[str, list[Drawn]]:
    """Return the page, and its figures for slides.

    Raises:
        StoreError: If a chip that is drawn, or the index, is damaged.
    """
    about, index = corpus.about, pd.DataFrame(corpus.index.drop(columns="geometry"))
    recipe = tomllib.loads(about["recipe"])
    points = tables.read_points(corpus.folder.points)["point"].to_numpy(np.int64)
    refusals = tables.read_refusals(corpus.folder.refusals)
    funnel = facts.funnel(points, refusals, index["point"].to_numpy(np.int64))
    context: dict[str, Any] = {
        **_header(corpus, index),
        "funnel": funnel,
        "most_points": max(1, funnel.points[0].left),
        "pairs_read": sum(loss.count for loss in funnel.pairs),
        "runs": runs.history(
            corpus.folder,
            int(about["wanted"]),
            pairs=sum(loss.count for loss in funnel.pairs),
            disk_bytes=_pixel_bytes(corpus),
        ),
        "seed": seed,
        "pairs": [],
        "recipe": about["recipe"],
        "version": __version__,
    }
    drawn = [figures.funnel(funnel, _funnel_words(funnel))]
    if len(index):
        drawn += _drawings(context, corpus, index, recipe)
        context |= _galleries(corpus, index, recipe, seed)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(_part("page.html.jinja"))
    style, script = Markup(_part("page.css")), Markup(_part("page.js"))  # noqa: S704  # our own
    return template.render(context, style=style, script=script), drawn


def _part(name: str) -> str:
    return files("s1s2.report").joinpath(name).read_text("utf-8")


def _header(corpus: Corpus, index: pd.DataFrame) -> dict[str, Any]:
    about = corpus.about
    chips, wanted = len(corpus), int(about["wanted"])
    shards = sum(name.startswith("receipts/") for name in about["files"])
    finished = datetime.fromtimestamp(corpus.folder.corpus.stat().st_mtime, UTC)
    return {
        "name": str(about["name"]).removesuffix(" (SIMULATED DATA)"),
        "identity": about["corpus_id"],
        "simulated": bool(about["simulated"]),
        "whole": chips == wanted,
        "proof": f"{chips:,} of {wanted:,} pairs verified · {shards:,} shards with checksums",
        "subtitle": f"Matched Sentinel-1 and Sentinel-2 · finished {finished:%Y-%m-%d %H:%M} UTC",
        "tiles": _tiles(corpus, index),
        "splits": facts.split_counts(about["splits"]),
        "sources": _sources(corpus, index),
    }


def _pixel_bytes(corpus: Corpus) -> int:
    """Return what the pixels take, here or at the URL that they went to."""
    here = sum(p.stat().st_size for p in corpus.folder.zarr.rglob("*") if p.is_file())
    return here + sent.bytes_away(corpus.folder)


def _tiles(corpus: Corpus, index: pd.DataFrame) -> list[dict[str, str]]:
    size, url = _pixel_bytes(corpus), sent.url_of(corpus.folder)
    px = corpus.size_px
    found = [
        (f"{len(corpus):,}", f"verified pairs of {px} by {px} px at 10 m"),
        (_bytes(size), f"of pixels at {url}, Zarr" if url else "of pixels on disk, Zarr"),
    ]
    if len(index):
        scenes = index["s2_id"].nunique() + index["s1_id"].nunique()
        found += [
            (f"{index['lag_hours'].abs().median():.1f} h", "median time between the sensors"),
            (percent(index["cloud_fraction"].median()), "median cloud on a chip"),
            (f"{index['cell'].nunique():,}", "cells of 278 km with a chip"),
            (f"{scenes:,}", "scenes it was cut from"),
        ]
    seconds = runs.wall_seconds(corpus.folder)
    if seconds:
        found.append((duration(seconds), "to build, all runs together"))
    return [{"value": value, "label": label} for value, label in found]


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:  # noqa: PLR2004  # the next unit
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"  # noqa: PLR2004
        count /= 1000
    return f"{count:,.1f} TB"


def _sources(corpus: Corpus, index: pd.DataFrame) -> list[tuple[str, str]]:
    about = corpus.about
    found = [
        (
            {"s1": "Sentinel-1", "s2": "Sentinel-2"}[sensor],
            f"{c['title'] or c['name']} · collection {c['collection']} · {c['licence']}",
        )
        for sensor, c in sorted(about["catalogs"].items(), reverse=True)
    ]
    if len(index):
        valid = (index[["s1_valid_fraction", "s2_valid_fraction"]].min(axis=1) == 1).mean()
        baselines = sorted(index["processing_baseline"].unique())
        first, last = index["s2_time"].min(), index["s2_time"].max()
        found += [
            ("Sensed", f"{first:%Y-%m-%d} to {last:%Y-%m-%d} UTC"),
            ("Baselines", f"{', '.join(baselines)}; the radiometric offset is removed"),
            (
                "Radar",
                f"gamma nought in dB; warped in {percent(index['s1_warped'].mean())} of the chips",
            ),
            ("Valid", f"{percent(valid)} of the chips have a value in every pixel of every band"),
        ]
    if taken := ledger.origin(about):
        found.append(("Taken", taken))
    return [*found, ("Written by", f"s1s2 {about['s1s2_version']}")]


def _drawings(
    context: dict[str, Any], corpus: Corpus, index: pd.DataFrame, recipe: Mapping[str, Any]
) -> list[Drawn]:
    """Put the figures into the page; return those for slides."""
    chips = len(index)
    step = figures.thinned(chips)
    context["map_note"] = "" if step == 1 else f" One of {step} pairs is drawn, evenly spread."
    words = f"World map of {chips:,} pairs by split"
    splits = index["split"].to_numpy(object)
    lon, lat = index["lon"].to_numpy(np.float64), index["lat"].to_numpy(np.float64)
    world_map = figures.world_map(lon, lat, splits, words)
    found = charts(index, recipe)
    some = values.sample(index)
    rows = index.set_index("chip").loc[some]
    spreads = values.spreads(rows, (corpus.read(chip) for chip in some))
    colour = figures.colours(spreads)
    context |= {
        "figures": {"map": Markup(world_map.svg())},  # noqa: S704  # drawn by us, from numbers
        "charts": [
            {"title": c.title, "figure": Markup(c.drawn.svg()), "note": c.note}  # noqa: S704
            for c in found
        ],
        "sampled": len(some),
        "groups": [
            (name, f"var(--group-{k % len(figures.GROUPS)})") for k, name in enumerate(colour)
        ],
        "bands": [
            {
                "name": spread.band,
                "unit": spread.unit,
                "figure": Markup(figures.band(spread, colour, f"Values of {spread.band}").svg()),  # noqa: S704
            }
            for spread in spreads
        ],
    }
    sheet = figures.bands(spreads, colour, "Values of every band")
    return [world_map, *(chart.drawn for chart in found), sheet]


def _galleries(
    corpus: Corpus, index: pd.DataFrame, recipe: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    gates = facts.gates(index, recipe)
    drawn = facts.gallery(index["chip"].tolist(), GALLERY, seed)
    every = sorted({*drawn, *(chip for gate in gates for chip in gate.worst)})
    images = sum(map(len, (drawn, *(gate.worst for gate in gates)))) * 2
    most = int(_IMAGES_BYTES / max(1, images))
    pictures = {chip: thumbs(corpus.read(chip), most) for chip in every}
    rows = index.set_index("chip").loc[every]
    return {
        "pairs": _pairs(drawn, rows, pictures),
        "gates": [
            {
                "key": gate.key,
                "title": gate.title,
                "note": _gate_note(gate),
                "pairs": _pairs(gate.worst, rows, pictures, gate),
            }
            for gate in gates
        ],
    }


def _gate_note(gate: Gate) -> str:
    if not gate.worst:
        return "Not one: every chip is perfect by this measure."
    allowed = "" if gate.limit is None else f" The recipe allows {gate.limit:g} {gate.unit}."
    return f"The {len(gate.worst)} worst, worst first.{allowed}"


def _pairs(
    chips: Iterable[int],
    rows: pd.DataFrame,
    pictures: Mapping[int, Thumbs],
    gate: Gate | None = None,
) -> list[dict[str, Any]]:
    return [_pair(chip, rows.loc[chip], pictures[chip], gate) for chip in chips]


def _pair(chip: int, row: Any, images: Thumbs, gate: Gate | None) -> dict[str, Any]:  # noqa: ANN401  # a row
    platform = str(row["s1_platform"]).replace("sentinel-", "S").upper()
    return {
        "chip": chip,
        "place": facts.place(row["lon"], row["lat"]),
        "s2_date": f"{row['s2_time']:%Y-%m-%d %H:%M}",
        "s1_date": f"{row['s1_time']:%Y-%m-%d %H:%M}",
        "lag": f"{row['lag_hours']:+.1f} h",
        "cloud": percent(row["cloud_fraction"]),
        "orbit": f"{platform} {row['s1_orbit_state'] or ''} {row['s1_relative_orbit']}",
        "measure": _measure(row, gate) if gate else "",
        "thumbs": images,
    }


def _measure(row: Any, gate: Gate) -> str:  # noqa: ANN401  # a row of the index
    value = {
        "cloud": lambda: _ENTIRE * row["cloud_fraction"],
        "shadow": lambda: _ENTIRE * row["shadow_fraction"],
        "radar": lambda: _ENTIRE * (1 - row["s1_valid_fraction"]),
        "optical": lambda: _ENTIRE * (1 - row["s2_valid_fraction"]),
        "lag": lambda: abs(row["lag_hours"]),
    }[gate.key]()
    return f"{value:.3g} {gate.unit}"


def _funnel_words(funnel: facts.Funnel) -> str:
    return "; ".join(f"{step.left:,} {step.label}" for step in funnel.points)
