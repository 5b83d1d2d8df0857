"""Land points from a seed: evenly over the Earth, prefix-stable, with their cells and splits. Pure.

The R2 low-discrepancy sequence (M. Roberts, "The Unreasonable Effectiveness of Quasirandom
Sequences", 2018) goes through the equal-area map of the sphere, so every square kilometre is as
likely as any other, and the first points are the same however many are asked for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from math import ceil

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from s1s2.errors import RecipeError
from s1s2.scene import EARTH_RADIUS_M

Floats = NDArray[np.float64]
Accept = Callable[[Floats, Floats], NDArray[np.bool_]]
"""Which of some places (longitudes, latitudes in degrees) may become points."""

_PLASTIC = 1.32471795724474602596
_CHUNK = 1 << 20
_MOST_DRAWS = 1 << 28
_CELL_DEGREES = 2.5
_PERCENT = 100
_MOST_RESERVE, _MOST_SPACING_KM = 1000, 2000
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class SampleSpec:
    """Where points may lie, and how they are split."""

    south: float = -60.0
    """No points south of this latitude, degrees; -60 leaves out Antarctica."""
    north: float = 84.0
    """No points north of this latitude, degrees; Sentinel-2 sees no land beyond 84."""
    spacing_km: float = 3.75
    """Least great-circle distance between two points, so that chips cannot overlap."""
    reserve: float = 1.5
    """Points searched for every chip wanted, before a further round is drawn."""
    within: str = ""
    """A vector file (any format GDAL reads); points lie inside its polygons. Empty: all land."""
    points: str = ""
    """A file of one's own points (vector file, or CSV with lon and lat); empty: they are drawn."""
    val_percent: int = 10
    """Share of the cells that go to validation."""
    test_percent: int = 10
    """Share of the cells that go to test."""

    def __post_init__(self) -> None:
        if not -90 <= self.south < self.north <= 90:  # noqa: PLR2004  # the poles
            msg = f"south {self.south} and north {self.north}: expected -90 <= south < north <= 90"
            raise RecipeError(msg)
        if not (1 <= self.reserve <= _MOST_RESERVE and 0 <= self.spacing_km <= _MOST_SPACING_KM):
            msg = (
                f"reserve {self.reserve} must be 1 to {_MOST_RESERVE} and spacing_km "
                f"{self.spacing_km} 0 to {_MOST_SPACING_KM}"
            )
            raise RecipeError(msg)
        held_out = self.val_percent + self.test_percent
        if min(self.val_percent, self.test_percent) < 0 or held_out > _PERCENT:
            msg = f"val {self.val_percent} % and test {self.test_percent} % leave no room for train"
            raise RecipeError(msg)


def sequence(seed: int, start: int, count: int) -> tuple[Floats, Floats]:
    """Return elements [start, start + count) of the R2 sequence, each in [0, 1).

    The seed sets the sequence's offset, by a hash: it does not depend on any random generator.
    """
    digest = blake2b(f"s1s2/{seed}".encode(), digest_size=16).digest()
    offsets = np.frombuffer(digest, dtype="<u8") / 2.0**64
    index = np.arange(start, start + count, dtype=np.float64)
    steps = (1 / _PLASTIC, 1 / _PLASTIC**2)
    first, second = (np.mod(s + index * a, 1.0) for s, a in zip(offsets, steps, strict=True))
    return first, second


def to_sphere(
    u: Floats, v: Floats, bounds: tuple[float, float, float, float] = (-180, -90, 180, 90)
) -> tuple[Floats, Floats]:
    """Map the unit square to longitudes and latitudes, equal areas to equal areas.

    Args:
        u: Position from west to east, in [0, 1).
        v: Position from south to north, in [0, 1).
        bounds: West, south, east, north in degrees.

    Examples:
        >>> lon, lat = to_sphere(np.array([0.5, 0.0]), np.array([0.75, 0.5]))
        >>> lon.round(6), lat.round(6)
        (array([   0., -180.]), array([30.,  0.]))
    """
    west, south, east, north = bounds
    low, high = np.sin(np.radians([south, north]))
    return west + (east - west) * u, np.degrees(np.arcsin(low + (high - low) * v))


def draw_places(
    spec: SampleSpec,
    seed: int,
    count: int,
    accept: Accept,
    bounds: tuple[float, float, float, float] = (-180, -90, 180, 90),
) -> pd.DataFrame:
    """Draw the first `count` acceptable places of a seed.

    Args:
        spec: Where places may lie.
        seed: Any integer; another one gives other places.
        count: How many to draw.
        accept: Which places may be points (land, region).
        bounds: West, south, east, north of the region, degrees; sets the sequence's square.

    Returns:
        Columns `point` (sequence index, int64), `lon`, `lat` (degrees). Fewer than `count` rows
        only if the region holds no more at the asked spacing.
    """
    box = (bounds[0], max(bounds[1], spec.south), bounds[2], min(bounds[3], spec.north))
    room = _room(box, spec.spacing_km)
    # a block's pairs closer than the spacing number about block^2 / room: keep that in memory
    block = int(min(_CHUNK, max(256.0, (2e5 * room) ** 0.5), max(4096, 8 * count)))
    most = int(min(_MOST_DRAWS, max(_CHUNK, 30 * room)))
    kept = pd.DataFrame({"point": [], "lon": [], "lat": []}).astype({"point": "int64"})
    for start in range(0, most, block):
        lon, lat = to_sphere(*sequence(seed, start, block), bounds=box)
        good = np.flatnonzero(accept(lon, lat))
        found = pd.DataFrame({"point": start + good, "lon": lon[good], "lat": lat[good]})
        found = found[_far_apart(kept, found, spec.spacing_km)]
        kept = pd.concat([kept, found], ignore_index=True) if len(kept) else found
        if len(kept) >= count:
            break
    return kept.head(count).reset_index(drop=True)


def _room(box: tuple[float, float, float, float], spacing_km: float) -> float:
    """Return how many squares of the spacing a region has."""
    west, south, east, north = box
    band = float(np.diff(np.sin(np.radians([south, north])))[0])
    area_km2 = np.radians(east - west) * band * (EARTH_RADIUS_M / 1000) ** 2
    return float(area_km2 / max(spacing_km, 0.1) ** 2)


def _far_apart(before: pd.DataFrame, places: pd.DataFrame, spacing_km: float) -> NDArray[np.bool_]:
    """Say which places lie far enough from every one kept before, here or in earlier draws."""
    keep = np.ones(len(places), dtype=bool)
    if spacing_km == 0 or not len(places):
        return keep
    chord = 2 * np.sin(spacing_km * 1000 / EARTH_RADIUS_M / 2)
    here = _unit_vectors(places)
    if len(before):
        # a tree that is not balanced is built three times as fast, and answers the same
        tree = cKDTree(_unit_vectors(before), balanced_tree=False, compact_nodes=False)
        nearest = tree.query(here, distance_upper_bound=chord)[0]
        keep = np.asarray(~np.isfinite(nearest))
    rows = np.flatnonzero(keep)
    pairs = rows[cKDTree(here[rows]).query_pairs(chord, output_type="ndarray")]
    pairs = np.sort(pairs.reshape(-1, 2), axis=1)
    for first, second in pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))].tolist():
        if keep[first]:
            keep[second] = False
    return keep


def _unit_vectors(places: pd.DataFrame) -> Floats:
    lon, lat = np.radians(places["lon"].to_numpy()), np.radians(places["lat"].to_numpy())
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def rank_of(shard: int, position: NDArray[np.int64], block: int) -> NDArray[np.int64]:
    """Say which place of the sequence is the n-th of a shard's own stream.

    The sequence is cut into blocks. Shard k owns blocks 2k, 4k+1, 8k+3, ...: every block belongs to
    one shard, so streams never share a place, none depends on how many shards there are, and none
    runs dry.

    Examples:
        >>> rank_of(0, np.array([0, 1, 2, 3]), block=2), rank_of(1, np.array([0, 1, 2]), block=2)
        (array([0, 1, 2, 3]), array([ 4,  5, 10]))
    """
    number, offset = np.divmod(position, block)
    return ((2**number) * (2 * shard + 1) - 1) * block + offset


def draw_points(  # noqa: PLR0913  # what is drawn, for whom, from where
    spec: SampleSpec,
    seed: int,
    wanted: Mapping[int, int],
    *,
    block: int,
    accept: Accept,
    bounds: tuple[float, float, float, float] = (-180, -90, 180, 90),
) -> pd.DataFrame:
    """Draw the first points of every shard's stream.

    Args:
        spec: Where points may lie.
        seed: The recipe's seed.
        wanted: How many points of each shard.
        block: Points a block of `rank_of` holds.
        accept: Which places may be points.
        bounds: West, south, east, north of the region, degrees.

    Returns:
        Columns `point lon lat cell split shard position`, sorted by shard and position.
    """
    ranks = {k: rank_of(k, np.arange(n, dtype=np.int64), block) for k, n in wanted.items() if n}
    if not ranks:
        names = ["point", "lon", "lat", "shard", "position"]
        return with_cells(pd.DataFrame(columns=names, dtype=float), spec)
    shards = sorted(ranks)
    rank = np.concatenate([ranks[k] for k in shards])
    shard = np.repeat(shards, [len(ranks[k]) for k in shards])
    position = np.concatenate([np.arange(len(ranks[k])) for k in shards])
    places = draw_places(spec, seed, int(rank.max()) + 1, accept, bounds)
    there = rank < len(places)  # ranks grow with the position, so what is missing is a stream's end
    found = places.iloc[rank[there]].reset_index(drop=True)
    return with_cells(found.assign(shard=shard[there], position=position[there]), spec)


def share_points(places: pd.DataFrame, slots: Mapping[int, int], spec: SampleSpec) -> pd.DataFrame:
    """Give one's own points to the shards in order, to each by how many chips it wants.

    Args:
        places: Columns `lon`, `lat`; the row number becomes the point's id.
        slots: Chips wanted in each shard.
        spec: How they are split.

    Returns:
        The columns of `draw_points`.
    """
    number = np.arange(len(places))
    wanted = np.cumsum([0, *(slots[shard] for shard in sorted(slots))])
    edges = wanted * len(places) // wanted[-1]
    shard = np.searchsorted(edges, number, side="right") - 1
    table = places[["lon", "lat"]].reset_index(drop=True)
    return with_cells(table.assign(point=number, shard=shard, position=number - edges[shard]), spec)


def wanted_points(slots: int, spec: SampleSpec) -> int:
    """Return how many points to search for so many chips, the first time."""
    return ceil(slots * spec.reserve)


def with_cells(points: pd.DataFrame, spec: SampleSpec) -> pd.DataFrame:
    """Add each point's cell and split, in the columns and types of the points table."""
    cells = cell_of(points["lon"].to_numpy(float), points["lat"].to_numpy(float))
    unique, inverse = np.unique(cells, return_inverse=True)
    splits = np.array([split_of(int(c), spec) for c in unique], dtype=object)
    table = points.assign(cell=cells, split=splits[inverse] if len(unique) else [])
    columns = ["point", "lon", "lat", "cell", "split", "shard", "position"]
    types = dict.fromkeys(["point", "cell", "shard", "position"], "int64")
    return table[columns].astype({**types, "lon": float, "lat": float, "split": str})


def cell_of(lon: Floats, lat: Floats) -> NDArray[np.int64]:
    """Return the cell of each place: rows of 2.5 degrees, columns so that areas are near equal.

    A cell is about 278 km wide, wider than a Sentinel-2 tile and a Sentinel-1 scene, so that most
    chips that share a scene share a cell.

    Examples:
        >>> cell_of(np.array([-180.0, 179.9, 0.0]), np.array([0.1, 0.1, 60.1]))
        array([3600000, 3600143, 6000034])
    """
    row = np.clip(np.floor((lat + 90) / _CELL_DEGREES), 0, 180 / _CELL_DEGREES - 1)
    middle = np.radians((row + 0.5) * _CELL_DEGREES - 90)
    columns = np.maximum(1, np.rint(360 / _CELL_DEGREES * np.cos(middle)))
    column = np.floor(np.mod(lon + 180, 360) / 360 * columns)
    return (row * 100_000 + column).astype(np.int64)


def split_of(cell: int, spec: SampleSpec) -> str:
    """Return the split of a cell, from the cell alone: the same in every corpus of any seed."""
    percent = int.from_bytes(blake2b(f"s1s2/{cell}".encode(), digest_size=8).digest()) % _PERCENT
    if percent < spec.test_percent:
        return "test"
    return "val" if percent < spec.test_percent + spec.val_percent else "train"
