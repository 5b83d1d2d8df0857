"""Stored numbers as colours to be looked at: optics in true colour, radar in false. Pure."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s1s2.bands import S2_10M, Band
from s1s2.radiometry import to_decibels, to_reflectance

Picture = NDArray[np.uint8]
"""Colours, shape (y, x, 3)."""

RANGE_DB = {"VV": (-20.0, 0.0), "VH": (-27.0, -7.0), "ratio": (2.0, 14.0)}
"""What is drawn black and what is drawn full: VV is red, VH green, VV/VH blue."""

_BRIGHTEST = (0.15, 1.0)
"""Within which limits the reflectance lies that is drawn white."""
_GAMMA = 0.7
_SQUARES = 8


def true_colour(chip: Mapping[str, NDArray[Any]]) -> Picture:
    """Return B04, B03, B02 from no reflectance to a bright one: the chip's own, within limits.

    One scale for all three from zero on, so that colours are the ground's; a stretch between
    percentiles turns an even forest neon green.
    """
    rgb = [chip["s2_10m"][S2_10M.index(b)] for b in (Band.B04, Band.B03, Band.B02)]
    reflectance = to_reflectance(np.stack(rgb, axis=-1))
    if np.isnan(reflectance).all():
        return np.zeros(reflectance.shape, dtype=np.uint8)
    bright = np.clip(np.nanpercentile(reflectance, 98), *_BRIGHTEST)
    return _stretch(np.maximum(reflectance, 0) ** _GAMMA, 0, float(bright**_GAMMA))


def radar_colour(chip: Mapping[str, NDArray[Any]]) -> Picture:
    """Return VV, VH and VV/VH as red, green and blue, over fixed ranges of dB."""
    vv, vh = to_decibels(chip["s1"])
    layers = {"VV": vv, "VH": vh, "ratio": vv - vh}
    return np.stack([_stretch(layers[k], *RANGE_DB[k]) for k in RANGE_DB], axis=-1)


def chequered(chip: Mapping[str, NDArray[Any]]) -> Picture:
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
