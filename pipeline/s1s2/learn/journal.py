"""What a run writes for people to look at: scalars and pictures in TensorBoard's format."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from s1s2.bands import OPTICAL, Band, Sensor
from s1s2.learn.batches import Raw
from s1s2.learn.probe import nearest
from s1s2.learn.units import to_decibels, to_power, to_reflectance

_LARGEST = 512
_COLOURS = [OPTICAL.index(b) for b in (Band.B04, Band.B03, Band.B02)]
_BRIGHTEST = 0.3  # reflectance shown as white
_DECIBELS = ((-20.0, 0.0), (-26.0, -6.0), (2.0, 14.0))
"""Range of VV, VH and VV - VH shown as dark to bright."""


class Journal:
    """The TensorBoard log of a run."""

    def __init__(self, folder: Path, steps_done: int) -> None:
        """Go on after `steps_done`; what was logged of later steps is to be done again."""
        self._writer = SummaryWriter(str(folder), purge_step=steps_done + 1)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Write numbers by name."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def correlation(self, step: int, name: str, c: Tensor) -> None:
        """Write a cross-correlation matrix as a picture: black -1 to white 1, at most 512 wide."""
        shown = c[:_LARGEST, :_LARGEST].float().cpu().add(1).div(2).clamp(0, 1)
        self._writer.add_image(f"correlation/{name}", shown[None], step)

    def gallery(self, step: int, name: str, picture: Tensor) -> None:
        """Write a picture (3, y, x) of 0 to 1."""
        self._writer.add_image(f"nearest/{name}", picture, step)

    def close(self) -> None:
        """Bring what is buffered to disk."""
        self._writer.close()


def gallery(raw: Raw, sensor: Sensor, features: Tensor, queries: Sequence[int]) -> Tensor:
    """Draw for each query a line of chips: itself, then those whose features are nearest.

    Returns:
        (3, y, x), 0 to 1.
    """
    count = min(8, len(features))
    found = nearest(features, torch.tensor(queries), count)
    pictures = _colours(raw[sensor][found.flatten()], sensor)
    height, width = pictures.shape[2:]
    tiled = pictures.reshape(len(queries), count, 3, height, width).permute(2, 0, 3, 1, 4)
    return tiled.reshape(3, len(queries) * height, count * width)


def _colours(raw: Tensor, sensor: Sensor) -> Tensor:
    """Return chips as colours (B, 3, y, x), 0 to 1; invalid pixels black."""
    if sensor is Sensor.S2:
        values, valid = to_reflectance(raw)
        return (values[:, _COLOURS] / _BRIGHTEST).clamp(0, 1) * valid
    power, valid = to_power(raw)
    vv, vh = to_decibels(power).unbind(dim=1)
    shown = [
        (band - low) / (high - low)
        for band, (low, high) in zip((vv, vh, vv - vh), _DECIBELS, strict=True)
    ]
    return torch.stack(shown, dim=1).clamp(0, 1) * valid
