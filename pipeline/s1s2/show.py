"""Draw pairs side by side, to be looked at: is the radar where the optics are?"""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from s1s2.bands import S2_10M, Band
from s1s2.errors import RecipeError
from s1s2.files import write_bytes
from s1s2.load import Corpus, Stored
from s1s2.radiometry import to_decibels, to_reflectance
from s1s2.sample import SPLITS

Picture = NDArray[np.uint8]
"""Colours, shape (y, x, 3)."""

_RANGE_DB = {"VV": (-20.0, 0.0), "VH": (-27.0, -7.0), "ratio": (2.0, 14.0)}
_GAP, _TEXT, _SQUARES, _LEAST_PX = 8, 60, 8, 192


_BRIGHTEST = (0.15, 1.0)
"""Within which limits the reflectance lies that is drawn white."""
_GAMMA = 0.7


def true_colour(chip: Stored) -> Picture:
    """Return B04, B03, B02 from no reflectance to a bright one: the chip's own, within limits.

    One scale for all three from zero on, so that colours are the ground's; a stretch between
    percentiles turns an even forest neon green.
    """
    rgb = [chip["s2_10m"][S2_10M.index(b)] for b in (Band.B04, Band.B03, Band.B02)]
    reflectance = to_reflectance(np.stack(rgb, axis=-1))
    bright = np.clip(np.nanpercentile(reflectance, 98), *_BRIGHTEST)
    return _stretch(np.maximum(reflectance, 0) ** _GAMMA, 0, float(bright**_GAMMA))


def radar_colour(chip: Stored) -> Picture:
    """Return VV, VH and VV/VH as red, green and blue, over fixed ranges of dB."""
    vv, vh = to_decibels(chip["s1"])
    layers = {"VV": vv, "VH": vh, "ratio": vv - vh}
    return np.stack([_stretch(layers[k], *_RANGE_DB[k]) for k in _RANGE_DB], axis=-1)


def chequered(chip: Stored) -> Picture:
    """Return squares of optics (near infrared) and radar (VV) in turn: edges must run on across."""
    infrared = to_reflectance(chip["s2_10m"][S2_10M.index(Band.B08)])
    low, high = np.nanpercentile(infrared, [2, 98])
    vv = to_decibels(chip["s1"])[0]
    bottom, top = np.nanpercentile(vv, [2, 98])
    size = infrared.shape[0]
    square = np.arange(size) * _SQUARES // size
    mask = (square[:, None] + square[None, :]) % 2 == 0
    grey = np.where(mask, _stretch(infrared, low, high), _stretch(vv, bottom, top))
    return np.repeat(grey[..., None], 3, axis=-1).astype(np.uint8)


def _stretch(values: NDArray[Any], low: float, high: float) -> Picture:
    scaled = (np.nan_to_num(values, nan=low) - low) / max(high - low, 1e-6)
    return np.asarray(np.clip(scaled, 0, 1) * 255, dtype=np.uint8)


def draw_pairs(corpus: Corpus, chips: list[int]) -> Image.Image:
    """Draw some chips, one a row: true colour, radar, and both in a chequered square."""
    scale = -(-_LEAST_PX // corpus.size_px)
    size, count = corpus.size_px * scale, len(chips)
    sheet = Image.new(
        "RGB", (3 * size + 4 * _GAP, count * (size + _TEXT + _GAP) + _GAP + _TEXT), "white"
    )
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    mark = " · SIMULATED" if corpus.about.get("simulated") else ""
    title = f"{corpus.about['name']} · {corpus.about['catalogs']['s2']['name']}{mark}"
    pen.text((_GAP, _GAP), f"{title} · {len(corpus)} chips", "black", font)
    heads = ("Sentinel-2 true colour", "Sentinel-1 VV, VH, VV/VH", "Sentinel-2 and 1 in turn")
    for column, text in enumerate(heads):
        pen.text((_GAP + column * (size + _GAP), _GAP + 18), text, "dimgrey", font)
    rows = corpus.index.set_index("chip")
    for number, chip in enumerate(chips):
        top = _GAP + _TEXT + number * (size + _TEXT + _GAP)
        stored = corpus.read(chip)
        for column, picture in enumerate((true_colour, radar_colour, chequered)):
            image = Image.fromarray(picture(stored)).resize((size, size), Image.Resampling.NEAREST)
            sheet.paste(image, (_GAP + column * (size + _GAP), top))
        pen.text((_GAP, top + size + 4), _caption(chip, rows.loc[chip]), "black", font, spacing=3)
    return sheet


def _caption(chip: int, row: Any) -> str:  # noqa: ANN401  # a row of the index
    warped = " · radar warped" if row["s1_warped"] else ""
    return (
        f"chip {chip} · {row['lat']:.3f}, {row['lon']:.3f} · {row['s2_time']:%Y-%m-%d} · "
        f"lag {row['lag_hours']:+.1f} h · cloud {row['cloud_fraction']:.0%}{warped}\n"
        f"{row['s2_id']}\n{row['s1_id']}"
    )


def save_pairs(corpus: Corpus, chips: list[int], path: Path) -> None:
    """Write the drawing of some chips as PNG."""
    content = BytesIO()
    draw_pairs(corpus, chips).save(content, format="PNG")
    write_bytes(path, content.getvalue())


def pick(corpus: Corpus, wanted: str | None, count: int = 6) -> list[int]:
    """Return the chips to draw: those named (`3,14`), or some evenly spread over the corpus.

    Raises:
        RecipeError: If one is named that is not there.
    """
    there = corpus.index["chip"].to_numpy()
    if wanted is None:
        rows = np.unique(np.linspace(0, len(there) - 1, count).round().astype(int))
        return [int(there[r]) for r in rows]
    names = [name.strip() for name in wanted.split(",")]
    wrong = [name for name in names if not name.isdigit() or int(name) not in there]
    if wrong:
        msg = f"--chips {wanted}: no chip {wrong[0]}; the corpus has {there.min()} to {there.max()}"
        raise RecipeError(msg)
    return [int(name) for name in names]


def summary(corpus: Corpus) -> list[str]:
    """Say in a few lines what a corpus holds."""
    about, index = corpus.about, corpus.index
    names = " + ".join(dict.fromkeys(c["title"] or c["name"] for c in about["catalogs"].values()))
    simulated = " · SIMULATED DATA" if about.get("simulated") else ""
    size, identity = corpus.size_px, about["corpus_id"][:12]
    lines = [
        f"corpus  {about['name']} · {names}{simulated}",
        f"chips   {len(corpus):,} of {size} px · id {identity}",
    ]
    if len(index):
        lag, first, last = index["lag_hours"].abs(), index["s2_time"].min(), index["s2_time"].max()
        when = f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
        cloud, water = index["cloud_fraction"].mean(), index["water_fraction"].mean()
        warped = index["s1_warped"].mean()
        lines += [
            f"time    {when} · |lag| median {lag.median():.1f} h, greatest {lag.max():.1f} h",
            f"pixels  cloud {cloud:.1%} · water {water:.1%} · radar warped in {warped:.0%}",
        ]
    lines.append("splits  " + " · ".join(f"{k} {about['splits'][k]:,}" for k in SPLITS))
    if about["refused"]:
        lines.append("refused " + " · ".join(f"{k} {v:,}" for k, v in about["refused"].items()))
    return lines
