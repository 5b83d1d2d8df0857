"""The corpus on paper: its files, its arrays, its shards. Pure; `store` makes it so."""

from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any, Literal, get_args

from s1s2.bands import RADAR, S2_10M, S2_20M
from s1s2.errors import RecipeError
from s1s2.grid import GridSpec
from s1s2.radiometry import DB_INVALID, DB_PER_COUNT

FORMAT_VERSION = 2
"""Version of everything written; a corpus of another version is refused."""


Codec = Literal["lz4", "zstd", "none"]
"""How chunks of pixels are packed: lz4 reads fastest, zstd is smallest; crc32c stands in each."""


@dataclass(frozen=True)
class StoreSpec:
    """How chips are stored."""

    chips_per_shard: int = 128
    """Chips in one shard file of each array: the unit of work, retry and resume."""
    codec: Codec = "lz4"
    """How pixels are packed; it changes no pixel."""

    def __post_init__(self) -> None:
        if self.chips_per_shard < 1:
            msg = f"chips_per_shard {self.chips_per_shard}: expected 1 or more"
            raise RecipeError(msg)
        if self.codec not in get_args(Codec):
            msg = f"codec {self.codec!r}: expected one of {', '.join(get_args(Codec))}"
            raise RecipeError(msg)


@dataclass(frozen=True)
class ArrayPlan:
    """One Zarr array whose first axis is `chip`."""

    name: str
    tail: tuple[int, ...]
    """Shape of one chip's part."""
    dtype: str
    dimensions: tuple[str, ...]
    fill: float
    attributes: dict[str, Any]
    sharded: bool = True
    """Image arrays hold a chunk a chip, many to a shard; columns hold a chunk a shard."""
    codec: Codec = "none"
    """How the chunks of an image array are packed."""


def arrays(spec: GridSpec, codec: Codec = "lz4") -> tuple[ArrayPlan, ...]:
    """Return every array of `chips.zarr`, in the order they are written."""
    images = (replace(plan, codec=codec) for plan in _images(spec))
    return (*images, *_columns())


def _images(spec: GridSpec) -> tuple[ArrayPlan, ...]:
    full, half = spec.size_px, spec.size_px // 2
    return (
        ArrayPlan(
            "s2_10m",
            (len(S2_10M), full, full),
            "uint16",
            ("chip", "band_10m", "y", "x"),
            0,
            _optical([str(b) for b in S2_10M]),
        ),
        ArrayPlan(
            "s2_20m",
            (len(S2_20M), half, half),
            "uint16",
            ("chip", "band_20m", "y_20m", "x_20m"),
            0,
            _optical([str(b) for b in S2_20M])
            | {"comment": "B01 and B09 are 60 m pixels, repeated onto the 20 m grid"},
        ),
        ArrayPlan(
            "s1",
            (len(RADAR), full, full),
            "int16",
            ("chip", "polarisation", "y", "x"),
            DB_INVALID,
            {
                "bands": [str(b) for b in RADAR],
                "long_name": "radar backscatter, gamma nought, terrain corrected",
                "units": "dB",
                "scale_factor": DB_PER_COUNT,
                "_FillValue": DB_INVALID,
            },
        ),
        ArrayPlan(
            "scl",
            (half, half),
            "uint8",
            ("chip", "y_20m", "x_20m"),
            0,
            {"long_name": "Sentinel-2 scene classification (Sen2Cor)", "nodata": 0},
        ),
    )


def _columns() -> tuple[ArrayPlan, ...]:
    return (
        _column("chip", "int64", -1, "row of the chip; -1 where a row holds none"),
        _column("point", "int64", -1, "the land point it was cut around"),
        _column("epsg", "int32", 0, "UTM zone"),
        _column("s2_time", "int64", 0, "Sentinel-2 sensing time", time=True),
        _column("s1_time", "int64", 0, "Sentinel-1 sensing time", time=True),
        ArrayPlan(
            "transform",
            (6,),
            "float64",
            ("chip", "affine"),
            0.0,
            {"long_name": "affine a b c d e f: pixel corner to UTM metres"},
            sharded=False,
        ),
    )


def _optical(bands: list[str]) -> dict[str, Any]:
    return {
        "bands": bands,
        "long_name": "surface reflectance x 10,000, radiometric offset removed",
        "nodata": 0,
    }


def _column(name: str, dtype: str, fill: int, meaning: str, *, time: bool = False) -> ArrayPlan:
    attributes = {"long_name": meaning}
    if time:
        attributes |= {
            "units": "milliseconds since 1970-01-01 00:00:00",
            "calendar": "proleptic_gregorian",
        }
    return ArrayPlan(name, (), dtype, ("chip",), fill, attributes, sharded=False)


def shard_slots(n: int, spec: StoreSpec) -> dict[int, int]:
    """Return how many chips each shard of a corpus of `n` holds.

    Examples:
        >>> shard_slots(300, StoreSpec(chips_per_shard=128))
        {0: 128, 1: 128, 2: 44}
    """
    per = spec.chips_per_shard
    return {k: min(per, n - k * per) for k in range(ceil(n / per))}


BESIDE = ("README.md", "croissant.json", "report.html", "report", "logs")
"""What lies in a corpus' folder and is no part of it: nothing reads it, and no hash covers it."""

_RECEIPTS = "receipts"


def receipt_name(shard: int) -> str:
    """Return the name of a shard's receipt, below its corpus.

    Examples:
        >>> receipt_name(7)
        'receipts/00007.json'
    """
    return f"{_RECEIPTS}/{shard:05d}.json"


def shard_of(name: str) -> int | None:
    """Return whose receipt a file of a corpus is, by its name; None if it is none.

    Examples:
        >>> shard_of("receipts/00007.json"), shard_of("points.parquet")
        (7, None)
    """
    folder, _, file = name.partition("/")
    return int(file.removesuffix(".json")) if folder == _RECEIPTS else None


def array_of(name: str) -> str:
    """Return the array that a file of pixels belongs to, by its name below the corpus.

    Examples:
        >>> array_of("chips.zarr/s1/c/0/0/0/0")
        's1'
    """
    return name.split("/")[1]


def bytes_per_chip(spec: GridSpec) -> int:
    """Return the raw size of one chip in bytes; about half of it on disk (see the notes)."""
    pixels = spec.size_px**2
    return 2 * len(S2_10M) * pixels + 2 * len(S2_20M) * pixels // 4 + 4 * pixels + pixels // 4


@dataclass(frozen=True)
class Folder:
    """Where everything of one corpus lies."""

    root: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe: every value spelled out."""
        return self.root / "recipe.toml"

    @property
    def points(self) -> Path:
        """Points, their cells, splits and shards."""
        return self.root / "points.parquet"

    @property
    def answers(self) -> Path:
        """Answers of the catalog, one file a request, until `scenes.parquet` holds them."""
        return self.root / "answers"

    @property
    def scenes(self) -> Path:
        """Scenes of both sensors, as stac-geoparquet."""
        return self.root / "scenes.parquet"

    @property
    def matchups(self) -> Path:
        """Ranked pairs of scenes for each point, or the reason for none."""
        return self.root / "matchups.parquet"

    @property
    def zarr(self) -> Path:
        """The pixels."""
        return self.root / "chips.zarr"

    @property
    def chips(self) -> Path:
        """The index: one row a chip."""
        return self.root / "chips.parquet"

    @property
    def refusals(self) -> Path:
        """Every point without a chip and every pair refused on its pixels, with the reason."""
        return self.root / "refusals.parquet"

    @property
    def receipts(self) -> Path:
        """One receipt a shard."""
        return self.root / _RECEIPTS

    @property
    def corpus(self) -> Path:
        """Written last: a folder without it is an unfinished corpus."""
        return self.root / "corpus.json"

    @property
    def sent(self) -> Path:
        """Where pixels went, one record a shard, if they do not lie here."""
        return self.root / "sent"

    def receipt(self, shard: int) -> Path:
        """Return the receipt of one shard."""
        return self.root / receipt_name(shard)

    def sent_record(self, shard: int) -> Path:
        """Return what says that the files of one shard lie elsewhere."""
        return self.sent / f"{shard:05d}.json"
