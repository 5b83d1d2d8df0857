"""Points, matchups, chips and refusals as GeoParquet, each with a declared schema.

The schema is checked when a table is written and when it is read. Files are written whole, beside
their place and renamed, and hold nothing that differs between two runs.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import antimeridian
import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

from s1s2.errors import ContractError
from s1s2.files import write_bytes
from s1s2.receipts import damaged
from s1s2.schemas import CHIPS, MATCHUPS, POINTS, REFUSALS

ROWS_A_GROUP = 16_384  # small enough that a worker reads little more than its shard's rows


def write_points(path: Path, points: pd.DataFrame, notes: Mapping[str, str]) -> None:
    """Write the points table; `notes` go into the file's own metadata."""
    geometry = shapely.points(points["lon"].to_numpy(float), points["lat"].to_numpy(float))
    _write(path, _table(points, POINTS, geometry), notes, ["Point"])


def read_points(path: Path, shard: int | None = None) -> pd.DataFrame:
    """Read the points table, or one shard's part of it, without the geometry."""
    return _read(path, POINTS, shard).drop(columns="geometry")


def write_matchups(path: Path, parts: Iterable[pa.Table], notes: Mapping[str, str]) -> None:
    """Write ranked candidates and the reasons of points without one, in one table.

    Args:
        path: Where to.
        parts: The columns of `MATCHUPS`, with `lon` and `lat` in place of the geometry, in order;
            no more than a row group is held.
        notes: What else goes into the file's own metadata.
    """
    groups = _groups(map(_matchups, parts), MATCHUPS)
    write_groups(path, MATCHUPS, groups, notes, ["Point"])


def _matchups(part: pa.Table) -> pa.Table:
    geometry = shapely.to_wkb(shapely.points(part["lon"].to_numpy(), part["lat"].to_numpy()))
    table = part.append_column("geometry", pa.array(geometry, pa.binary()))
    return table.select(MATCHUPS.names).cast(MATCHUPS)


def read_matchups(path: Path, shard: int | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read candidates (ranked) and refusals (`point shard position reason detail`)."""
    table = _read(path, MATCHUPS, shard).drop(columns="geometry")
    refused = table["reason"].notna()
    names = ["point", "shard", "position", "reason", "detail"]
    candidates = table[~refused].drop(columns=["reason", "detail"]).astype({"epsg": "int64"})
    return candidates.reset_index(drop=True), table.loc[refused, names].reset_index(drop=True)


def read_unmatched(path: Path) -> pd.DataFrame:
    """Read the refusals alone: `point shard position reason detail`."""
    check(path, MATCHUPS)
    names = ["point", "shard", "position", "reason", "detail"]
    with readable(path):
        refused = pq.read_table(path, columns=names, filters=pc.field("rank") < 0)
        frame: pd.DataFrame = refused.to_pandas()
    return frame


def count_pairs(path: Path) -> int:
    """Return how many candidates a table of matchups holds."""
    check(path, MATCHUPS)
    with readable(path):
        return int((pq.read_table(path, columns=["rank"])["rank"].to_numpy() >= 0).sum())


def count_matched(path: Path) -> dict[int, int]:
    """Return how many points of each shard have a candidate."""
    check(path, MATCHUPS)
    with readable(path):
        best = pq.read_table(path, columns=["shard"], filters=pc.field("rank") == 0)["shard"]
    shards, counts = np.unique(best.to_numpy(), return_counts=True)
    return dict(zip(shards.tolist(), counts.tolist(), strict=True))


def chips_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return the index of chips from their rows, with each chip's outline as geometry.

    A row holds the columns of `CHIPS`, times as ISO 8601 text, and `outline`: the corners in
    degrees. An outline across the antimeridian is cut in two (RFC 7946).
    """
    frame = pd.DataFrame(rows, columns=[n for n in CHIPS.names if n != "geometry"])
    for name in ("s2_time", "s1_time"):
        frame[name] = pd.to_datetime(frame[name], utc=True, format="ISO8601")
    geometry = [antimeridian.fix_polygon(shapely.Polygon(r["outline"])) for r in rows]
    return _table(frame, CHIPS, np.array(geometry, dtype=object))


def write_chips(path: Path, parts: Iterable[pa.Table], notes: Mapping[str, str]) -> None:
    """Write the index of chips from parts of it, in order; no more than a row group is held."""
    write_groups(path, CHIPS, _groups(parts, CHIPS), notes, ["Polygon", "MultiPolygon"])


def read_chips(path: Path) -> geopandas.GeoDataFrame:
    """Read the index of chips as a GeoDataFrame, EPSG:4326."""
    check(path, CHIPS)
    with readable(path):
        return geopandas.read_parquet(path)


def write_refusals(path: Path, refusals: pa.Table, notes: Mapping[str, str]) -> None:
    """Write every point without a chip and every pair refused on its pixels."""
    _write(path, refusals, notes, None)


def read_refusals(path: Path) -> pd.DataFrame:
    """Read what `write_refusals` wrote."""
    return _read(path, REFUSALS)


def notes_of(path: Path) -> dict[str, str]:
    """Return the notes a table was written with; empty where there is no table."""
    if not path.exists():
        return {}
    metadata = _schema(path).metadata or {}
    with readable(path):
        return {k.decode(): v.decode() for k, v in metadata.items()}


def _table(frame: pd.DataFrame, schema: pa.Schema, geometry: Any) -> pa.Table:  # noqa: ANN401
    frame = frame.assign(geometry=shapely.to_wkb(geometry) if len(frame) else [])
    return pa.Table.from_pandas(frame, schema=schema, preserve_index=False)


def _groups(parts: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """Put parts of a table together to row groups, each in one piece."""
    rest = schema.empty_table()
    for part in parts:
        rest = pa.concat_tables([rest, part.replace_schema_metadata(None)])
        while len(rest) > ROWS_A_GROUP:
            yield rest.slice(0, ROWS_A_GROUP).combine_chunks()
            rest = rest.slice(ROWS_A_GROUP)
    yield rest.combine_chunks()


def _write(path: Path, table: pa.Table, notes: Mapping[str, str], kinds: list[str] | None) -> None:
    write_groups(path, table.schema, [table], notes, kinds)


def write_groups(
    path: Path,
    schema: pa.Schema,
    groups: Iterable[pa.Table],
    notes: Mapping[str, str],
    kinds: list[str] | None,
) -> None:
    """Write a table whose parts become its row groups.

    Args:
        path: Where to.
        schema: Of every part.
        groups: Parts of up to `ROWS_A_GROUP` rows, each in one piece.
        notes: What else goes into the file's own metadata.
        kinds: Types of the geometries; None for a table without any.
    """
    metadata = dict(notes)
    if kinds:
        column = {"encoding": "WKB", "geometry_types": kinds, "crs": CRS(4326).to_json_dict()}
        geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
        metadata["geo"] = json.dumps(geo)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema.with_metadata(metadata), compression="zstd") as writer:
        for group in groups:
            plain = group.replace_schema_metadata(metadata)
            writer.write_table(plain, row_group_size=ROWS_A_GROUP)
    write_bytes(path, sink.getvalue().to_pybytes())


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn whatever the readers of Parquet raise over a damaged file into a `StoreError`."""
    try:
        yield
    except (OSError, ValueError, pa.ArrowException, shapely.errors.ShapelyError) as error:
        raise damaged(path, type(error).__name__) from error


def _schema(path: Path) -> pa.Schema:
    with readable(path):
        return pq.read_schema(path)


def check(path: Path, schema: pa.Schema) -> None:
    """Make sure that a table has the columns that this version writes.

    Raises:
        StoreError: If it is no Parquet file.
        ContractError: If it has others.
    """
    found = _schema(path).remove_metadata()
    if not found.equals(schema):
        wrong = sorted(set(found.names) ^ set(schema.names)) or ["types"]
        msg = (
            f"{path}: its columns are not those this version writes ({', '.join(wrong)}); it comes "
            "from another version: use that one, or build into another folder"
        )
        raise ContractError(msg)


def _read(path: Path, schema: pa.Schema, shard: int | None = None) -> pd.DataFrame:
    check(path, schema)
    wanted = None if shard is None else pc.field("shard") == shard
    with readable(path):
        frame: pd.DataFrame = pq.read_table(path, filters=wanted).to_pandas()
    return frame
