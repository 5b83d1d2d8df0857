"""From stored numbers to what a batch holds: which planes, in which units. NumPy; no torch.

One description serves both machines: here NumPy follows it plane by plane, each small enough for
the processor's own cache; `device` follows it in one fused step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import log
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from s1s2.bands import OPTICAL, RADAR, S2_10M, S2_20M, Band
from s1s2.errors import ContractError
from s1s2.radiometry import DB_INVALID, DB_PER_COUNT, DN_PER_REFLECTANCE

Arrays = Mapping[str, NDArray[Any]]
Statistics = Mapping[str, Mapping[str, float] | None]
"""By band, in stored numbers: `mean` and `std`."""
Values = Literal["physical", "normalised", "raw"]
"""What a batch holds: reflectance and dB; zero mean and unit deviation; or the stored numbers."""
Radar = Literal["db", "linear"]
Optical = Literal["reflectance", "dn"]
Size = Literal["10m", "native"]
Float = Literal["float32", "float16", "bfloat16"]
Style = Literal["s1s2", "torchgeo"]

_ARRAY_OF = {
    **{band: ("s2_10m", row) for row, band in enumerate(S2_10M)},
    **{band: ("s2_20m", row) for row, band in enumerate(S2_20M)},
    **{band: ("s1", row) for row, band in enumerate(RADAR)},
}
_RAW_TYPE = {"s2": "uint16", "s1": "int16"}


@dataclass(frozen=True)
class View:
    """What a batch should hold."""

    values: Values = "physical"
    """`physical`: invalid pixels are NaN. `normalised`: less the mean, over the deviation of the
    train split, invalid pixels 0. `raw`: as stored."""
    bands: tuple[str, ...] = tuple(str(b) for b in (*OPTICAL, *RADAR))
    """Bands of both sensors, by name, in the order wanted."""
    optical: Optical = "reflectance"
    """Unit of physical optical values."""
    radar: Radar = "db"
    """Unit of physical radar values."""
    size: Size = "10m"
    """`10m`: every band at the chip's full size, coarse pixels repeated, as `s2` and `s1`;
    `native`: as stored, as `s2_10m`, `s2_20m` and `s1`."""
    dtype: Float = "float32"
    """Of physical and normalised values."""
    scl: bool = False
    """Add the scene classification, `scl`, uint8 at half size."""
    style: Style = "s1s2"
    """`torchgeo`: one tensor `image` of all bands, optical first."""

    def __post_init__(self) -> None:
        _one_of("values", self.values, get_args(Values))
        _one_of("optical", self.optical, get_args(Optical))
        _one_of("radar", self.radar, get_args(Radar))
        _one_of("size", self.size, get_args(Size))
        _one_of("dtype", self.dtype, get_args(Float))
        _one_of("style", self.style, get_args(Style))
        for band in self.bands:
            _one_of("band", band, [str(b) for b in _ARRAY_OF])
        if not self.bands or len(set(self.bands)) < len(self.bands):
            msg = f"bands {self.bands}: expected one or more, each once"
            raise ContractError(msg)
        if self.style == "torchgeo" and (self.size, self.values) not in {
            ("10m", "physical"),
            ("10m", "normalised"),
        }:
            msg = "style='torchgeo' is one image: use size='10m', and values other than 'raw'"
            raise ContractError(msg)


def _one_of(name: str, value: str, words: Sequence[str]) -> None:
    if value not in words:
        msg = f"{name} {value!r}: expected one of {', '.join(words)}"
        raise ContractError(msg)


@dataclass(frozen=True)
class Plane:
    """One band of a batch: (stored - shift) * scale, or e to the power of that."""

    array: str
    row: int
    """Which band of the stored array."""
    shift: float = 0.0
    scale: float = 1.0
    invalid: int = 0
    """The stored number of a pixel that was not measured."""
    fill: float = float("nan")
    """What such a pixel becomes."""
    power: bool = False


@dataclass(frozen=True)
class Output:
    """One tensor of a batch, without its first axis."""

    key: str
    shape: tuple[int, ...]
    dtype: str
    planes: tuple[Plane, ...] = ()
    """None: the stored array of that name as it is."""


@dataclass(frozen=True)
class Plan:
    """How a chip becomes one row of a batch."""

    stored: dict[str, tuple[tuple[int, ...], str]]
    """Arrays to read: shape of a chip's part, and dtype."""
    outputs: tuple[Output, ...]
    dtype: str = "float32"
    """What floating outputs are to be; NumPy finishes them in float32 where it lacks it."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain words and numbers, to be sent to another process."""
        return asdict(self)

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "Plan":
        """Return what `to_json` was made of."""
        outputs = tuple(
            Output(o["key"], tuple(o["shape"]), o["dtype"], tuple(Plane(**p) for p in o["planes"]))
            for o in said["outputs"]
        )
        stored = {k: (tuple(shape), dtype) for k, (shape, dtype) in said["stored"].items()}
        return cls(stored, outputs, said["dtype"])


def plan(view: View, size_px: int, statistics: Statistics) -> Plan:
    """Work out how chips become batches.

    Args:
        view: What a batch should hold.
        size_px: Size of a chip on the 10 m grid.
        statistics: Of the train split; needed for `normalised` alone.

    Raises:
        ContractError: If there are no statistics to normalise by.
    """
    half = size_px // 2
    sizes = {"s2_10m": size_px, "s2_20m": half, "s1": size_px}
    outputs = []
    for key, bands in _tensors(view).items():
        planes = tuple(_plane(band, view, statistics) for band in bands)
        size = sizes[planes[0].array] if view.size == "native" else size_px
        dtype = _RAW_TYPE[key[:2]] if view.values == "raw" else "float32"
        outputs.append(Output(key, (len(planes), size, size), dtype, planes))
    used = {p.array for o in outputs for p in o.planes}
    stored: dict[str, tuple[tuple[int, ...], str]] = {
        name: ((rows, sizes[name], sizes[name]), dtype)
        for name, rows, dtype in (
            ("s2_10m", len(S2_10M), "uint16"),
            ("s2_20m", len(S2_20M), "uint16"),
            ("s1", len(RADAR), "int16"),
        )
        if name in used
    }
    if view.scl:
        stored["scl"] = ((half, half), "uint8")
        outputs.append(Output("scl", (half, half), "uint8"))
    return Plan(stored, tuple(_as_stored(o, stored) for o in outputs), view.dtype)


def _tensors(view: View) -> dict[str, list[Band]]:
    """Return which bands go into which tensor."""
    optical = [Band(b) for b in view.bands if Band(b) not in RADAR]
    radar = [Band(b) for b in view.bands if Band(b) in RADAR]
    if view.style == "torchgeo":
        return {"image": [*optical, *radar]}
    if view.size == "10m":
        groups = {"s2": optical, "s1": radar}
    else:
        fine = [b for b in optical if b in S2_10M]
        groups = {"s2_10m": fine, "s2_20m": [b for b in optical if b not in S2_10M], "s1": radar}
    return {key: bands for key, bands in groups.items() if bands}


def _plane(band: Band, view: View, statistics: Statistics) -> Plane:
    array, row = _ARRAY_OF[band]
    invalid = DB_INVALID if band in RADAR else 0
    if view.values == "raw":
        return Plane(array, row)
    if view.values == "normalised":
        said = statistics.get(str(band))
        if not said:
            msg = (
                f"no chip is in the train split, so there are no statistics of {band} to "
                "normalise by; use values='physical'"
            )
            raise ContractError(msg)
        return Plane(array, row, said["mean"], 1 / max(said["std"], 1.0), invalid, 0.0)
    if band not in RADAR:
        scale = 1 / DN_PER_REFLECTANCE if view.optical == "reflectance" else 1.0
        return Plane(array, row, scale=scale, invalid=invalid)
    if view.radar == "db":
        return Plane(array, row, scale=DB_PER_COUNT, invalid=invalid)
    return Plane(array, row, scale=DB_PER_COUNT * log(10) / 10, invalid=invalid, power=True)


def _as_stored(output: Output, stored: Mapping[str, tuple[tuple[int, ...], str]]) -> Output:
    """Drop the planes of an output that is a stored array as it is."""
    shape, dtype = stored.get(output.key, ((), ""))
    rows = [p.row for p in output.planes]
    plain = output.dtype == dtype and output.shape == shape and rows == sorted(rows)
    return Output(output.key, shape, dtype) if plain else output


def finish(wanted: Plan, chip: Arrays, out: Arrays) -> None:
    """Make one row of a batch of a stored chip.

    Args:
        wanted: How.
        chip: Its arrays as stored.
        out: By key of the outputs where to; those that are stored arrays are passed over.
    """
    for output in wanted.outputs:
        for plane, into in zip(output.planes, out[output.key], strict=False):
            source = chip[plane.array][plane.row]
            repeat = into.shape[-1] // source.shape[-1]
            if output.dtype != "float32":
                _repeat(source, into, repeat)
            elif repeat == 1:
                _compute(plane, source, into)
            else:
                small = np.empty(source.shape, np.float32)
                _compute(plane, source, small)
                _repeat(small, into, repeat)


def _compute(plane: Plane, source: NDArray[Any], into: NDArray[np.float32]) -> None:
    if plane.shift:
        np.subtract(source, np.float32(plane.shift), out=into)
        into *= np.float32(plane.scale)
    else:
        np.multiply(source, np.float32(plane.scale), out=into)
    if plane.power:
        np.exp(into, out=into)
    # nearly every chip is wholly valid, and to look is ten times as fast as to fill; the number of
    # an invalid pixel is the smallest there is
    if source.min() == plane.invalid:
        np.copyto(into, np.float32(plane.fill), where=source == plane.invalid)


def _repeat(source: NDArray[Any], into: NDArray[Any], times: int) -> None:
    """Repeat every pixel `times` times along both axes."""
    if times == 1:
        into[:] = source
        return
    rows, columns = source.shape
    lines = into.reshape(rows, times, columns * times)
    for k in range(times):  # half the time of one assignment along four axes
        lines[:, 0, k::times] = source
    lines[:, 1:] = lines[:, :1]
