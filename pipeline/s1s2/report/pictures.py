"""Thumbnails of chips, small enough that a page full of them can be mailed."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from s1s2.colours import Picture, radar_colour, true_colour

_MOST_PX = 256
_QUALITIES = (82, 70, 58, 46, 34, 22)


@dataclass(frozen=True)
class Thumbs:
    """One chip as a page shows it: two images as data addresses."""

    optical: str
    radar: str


def thumbs(chip: Mapping[str, NDArray[Any]], most_bytes: int) -> Thumbs:
    """Draw a chip in both sensors' colours.

    Args:
        chip: As it is stored.
        most_bytes: What one image may take; a busy one is packed harder.
    """
    return Thumbs(*(_address(colour(chip), most_bytes) for colour in (true_colour, radar_colour)))


def _address(picture: Picture, most_bytes: int) -> str:
    image = Image.fromarray(picture)
    image.thumbnail((_MOST_PX, _MOST_PX), Image.Resampling.BOX)
    for quality in _QUALITIES:
        content = BytesIO()
        image.save(content, format="WEBP", quality=quality, method=4)
        if content.tell() <= most_bytes:
            break
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"
