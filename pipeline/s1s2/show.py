"""Draw pairs side by side, to be looked at: is the radar where the optics are?"""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from s1s2 import ledger
from s1s2.colours import chequered, radar_colour, true_colour
from s1s2.errors import RecipeError
from s1s2.files import write_bytes
from s1s2.load import Corpus
from s1s2.sample import SPLITS

_GAP, _TEXT, _LEAST_PX = 8, 60, 192


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
    if taken := ledger.origin(about):
        lines.append(f"taken   {taken}")
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
