"""Scenes as an Arrow table, and as stac-geoparquet on disk, without an object for every scene.

A search finds some sixty scenes for every point, of which a few become pairs: only these are made
`Scene`s again. The table's rows are sorted by sensor, id and catalog.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

from s1s2 import tables
from s1s2.bands import Band, Sensor, bands_of
from s1s2.items import deduplicate
from s1s2.scene import Scene
from s1s2.schemas import SCENES
from s1s2.side import Bools, Floats, Ints, Side

_EXTENSIONS = [
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("projection/v2.0.0", "sat/v1.0.0", "eo/v1.1.0")
]
_SIDE = (
    *("id", "s1s2:catalog", "s1s2:acquisition", "eo:cloud_cover", "datetime", "proj:code"),
    *("proj:bbox", "bbox", "geometry"),
)
_BOX = ("xmin", "ymin", "xmax", "ymax")


def table_of(scenes: Sequence[Scene]) -> pa.Table:
    """Return scenes as a table of the schema `SCENES`, in their order."""
    geometry = np.array([s.footprint for s in scenes], dtype=object)
    edges = shapely.bounds(geometry).reshape(-1, 4).T
    columns: dict[str, Any] = {
        "type": ["Feature"] * len(scenes),
        "stac_version": ["1.1.0"] * len(scenes),
        "stac_extensions": [_EXTENSIONS] * len(scenes),
        "id": [s.id for s in scenes],
        "collection": [s.collection for s in scenes],
        "datetime": [s.sensed_at for s in scenes],
        "platform": [s.platform for s in scenes],
        "proj:code": [f"EPSG:{s.epsg}" for s in scenes],
        "proj:bbox": [s.bounds for s in scenes],
        "sat:orbit_state": [s.orbit_state for s in scenes],
        "sat:relative_orbit": [s.relative_orbit for s in scenes],
        "eo:cloud_cover": [
            None if s.cloud_fraction is None else s.cloud_fraction * 100 for s in scenes
        ],
        "s2:mgrs_tile": [s.tile for s in scenes],
        "s2:processing_baseline": [s.processing_baseline for s in scenes],
        "s1s2:catalog": [s.catalog for s in scenes],
        "s1s2:sensor": [str(s.sensor) for s in scenes],
        "s1s2:acquisition": [s.acquisition for s in scenes],
        "s1s2:version": [s.version for s in scenes],
        "links": [[]] * len(scenes),
        "assets": _assets(scenes),
        "bbox": pa.StructArray.from_arrays(list(map(pa.array, edges)), fields=_fields("bbox")),
        "geometry": shapely.to_wkb(geometry),
    }
    return pa.table([pa.array(columns[f.name], type=f.type) for f in SCENES], schema=SCENES)


def _fields(column: str) -> list[pa.Field]:
    return list(SCENES.field(column).type)


def _assets(scenes: Sequence[Scene]) -> pa.StructArray:
    """Return the column of hrefs; a band that a scene lacks has no asset."""
    assets = []
    for field in _fields("assets"):
        band = Band(field.name)
        hrefs = pa.array([s.hrefs.get(band) for s in scenes], pa.string())
        asset = pa.StructArray.from_arrays([hrefs], fields=list(field.type), mask=hrefs.is_null())
        assets.append(asset)
    return pa.StructArray.from_arrays(assets, fields=_fields("assets"))


def latest(table: pa.Table, order: Ints | None = None) -> pa.Table:
    """Return one version of each recording, sorted.

    Args:
        table: Scenes; one may come several times.
        order: Row numbers; of a scene that comes several times, the last in this order counts.
            As they come, where there is none.
    """
    names = ("id", "s1s2:catalog", "datetime", "s1s2:acquisition", "s2:mgrs_tile", "s1s2:version")
    columns = [table[name].to_pylist() for name in names]
    sensors = map(Sensor, table["s1s2:sensor"].to_pylist())
    rows = [_Row(*r) for r in zip(*columns, sensors, range(len(table)), strict=True)]
    ordered = rows if order is None else [rows[n] for n in order.tolist()]
    last = {(row.id, row.catalog): row for row in ordered}
    return _taken(table, np.array([row.number for row in deduplicate(last.values())], np.int64))


def last_of_each(table: pa.Table) -> pa.Table:
    """Return the scenes sorted by id; of one that comes several times, the last."""
    last = {identity: row for row, identity in enumerate(table["id"].to_pylist())}
    return _taken(table, np.array([last[identity] for identity in sorted(last)], dtype=np.int64))


def _taken(table: pa.Table, rows: Ints) -> pa.Table:
    """Return some rows of a table of many pieces, as pieces of a row group's size.

    pyarrow joins all pieces before it takes, which needs the table's memory once more.
    """
    batches, step = table.to_batches(), tables.ROWS_A_GROUP
    starts = np.cumsum([0, *map(len, batches)])
    groups = [_group(batches, starts, rows[n : n + step]) for n in range(0, len(rows), step)]
    return pa.concat_tables([SCENES.empty_table(), *groups])


def _group(batches: Sequence[pa.RecordBatch], starts: Ints, rows: Ints) -> pa.Table:
    """Return some rows, in one piece."""
    piece = np.searchsorted(starts, rows, side="right") - 1
    parts = [batches[n].take(pa.array(rows[piece == n] - starts[n])) for n in np.unique(piece)]
    there = np.empty_like(rows)
    there[np.argsort(piece, kind="stable")] = np.arange(len(rows))
    return pa.Table.from_batches(parts).combine_chunks().take(pa.array(there)).combine_chunks()


class _Row(NamedTuple):
    """A scene's version; see `items.Version`."""

    id: str
    catalog: str
    sensed_at: datetime
    acquisition: str
    tile: str | None
    version: str
    sensor: Sensor
    number: int


def count(table: pa.Table, sensor: Sensor) -> int:
    """Return how many scenes of a sensor there are."""
    return int(pc.sum(pc.equal(table["s1s2:sensor"], str(sensor))).as_py() or 0)


def lacking(table: pa.Table, sensor: Sensor) -> set[Band]:
    """Return the bands that no scene of a sensor has; none where there is no scene."""
    ours = table.filter(pc.equal(table["s1s2:sensor"], str(sensor)))["assets"]
    assets = {b: pc.struct_field(ours, str(b)) for b in bands_of(sensor)}
    return {b for b, asset in assets.items() if len(asset) and asset.null_count == len(asset)}


def write_scenes(path: Path, table: pa.Table, notes: Mapping[str, str]) -> None:
    """Write a table of scenes as stac-geoparquet; hrefs are unsigned."""
    stac = {"stac-geoparquet": json.dumps({"version": "1.0.0"})}
    step = tables.ROWS_A_GROUP
    groups = (
        table.slice(start, step).combine_chunks() for start in range(0, len(table) or 1, step)
    )
    kinds = ["Polygon", "MultiPolygon"]
    tables.write_groups(path, SCENES, groups, {**stac, **notes}, kinds)


def give_back() -> None:
    """Give memory that tables have taken and freed back to the system: Arrow keeps it for later."""
    pa.default_memory_pool().release_unused()


def read_table(path: Path) -> pa.Table:
    """Read the table that `write_scenes` wrote."""
    tables.check(path, SCENES)
    with tables.readable(path):
        return pq.read_table(path).replace_schema_metadata(None)


def count_rows(path: Path) -> int:
    """Return how many scenes a file holds."""
    with tables.readable(path):
        return int(pq.read_metadata(path).num_rows)


def read_scenes(path: Path, ids: Collection[str] | None = None) -> list[Scene]:
    """Read scenes back, equal to those that were written; all, or those of some ids."""
    tables.check(path, SCENES)
    wanted = None if ids is None else pa.array(sorted(ids), pa.string())
    with tables.readable(path):
        return [scene for batch in _batches(path, wanted) for scene in scenes_of(batch)]


def _batches(path: Path, wanted: pa.Array | None) -> Iterator[pa.RecordBatch]:
    """Read a file a part at a time: all its hrefs at once take gigabytes where points are many."""
    for batch in pq.ParquetFile(path).iter_batches(use_threads=False):
        yield batch if wanted is None else batch.filter(pc.is_in(batch["id"], wanted))


def scenes_of(table: pa.Table | pa.RecordBatch) -> list[Scene]:
    """Return the scenes of a table."""
    return [_scene(row) for row in table.to_pylist()]


def _scene(row: Mapping[str, Any]) -> Scene:
    cloud = row["eo:cloud_cover"]
    bounds = row["proj:bbox"]
    return Scene(
        id=row["id"],
        catalog=row["s1s2:catalog"],
        collection=row["collection"],
        sensor=Sensor(row["s1s2:sensor"]),
        platform=row["platform"],
        sensed_at=row["datetime"].astimezone(UTC),
        footprint=shapely.from_wkb(row["geometry"]),
        epsg=_epsg(row["proj:code"]),
        hrefs={Band(b): a["href"] for b, a in row["assets"].items() if a},
        acquisition=row["s1s2:acquisition"],
        relative_orbit=row["sat:relative_orbit"],
        orbit_state=row["sat:orbit_state"],
        tile=row["s2:mgrs_tile"],
        cloud_fraction=None if cloud is None else cloud / 100,
        processing_baseline=row["s2:processing_baseline"],
        version=row["s1s2:version"],
        bounds=None if bounds is None else tuple(bounds),
    )


def _epsg(code: str) -> int:
    return int(code.removeprefix("EPSG:"))


def read_side(path: Path, sensor: Sensor) -> Side:
    """Read what matching asks of one sensor's scenes."""
    tables.check(path, SCENES)
    ours = pc.field("s1s2:sensor") == str(sensor)
    with tables.readable(path):
        table = pq.read_table(path, columns=list(_SIDE), filters=ours).combine_chunks()
        columns = {name: _only_chunk(table[name]) for name in _SIDE}
        edges = [_only_chunk(pc.struct_field(table["bbox"], name)) for name in _BOX]
        return Side.from_columns(
            id=columns["id"],
            catalog=columns["s1s2:catalog"],
            recording=columns["s1s2:acquisition"],
            feet=columns["geometry"],
            box=np.column_stack([edge.to_numpy() for edge in edges]),
            complete=_complete(path, sensor),
            cloud=columns["eo:cloud_cover"].to_numpy(zero_copy_only=False).astype(float) / 100,
            seconds=columns["datetime"].cast(pa.int64()).to_numpy() / 1000,
            epsg=_epsgs(columns["proj:code"]),
            bounds=_bounds(columns["proj:bbox"]),
        )


def _only_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _epsgs(codes: pa.Array) -> Ints:
    """Return the numbers of `EPSG:` codes; there are few different ones."""
    names = codes.dictionary_encode()
    numbers = np.array([_epsg(code) for code in names.dictionary.to_pylist()], dtype=np.int64)
    return np.asarray(numbers[names.indices.to_numpy()])


def _bounds(lists: pa.Array) -> Floats:
    """Return the bounds of files, shape (n, 4); NaN where there are none."""
    bounds = np.full((len(lists), len(_BOX)), np.nan)
    known = lists.is_valid().to_numpy(zero_copy_only=False)
    bounds[known] = lists.flatten().to_numpy().reshape(-1, len(_BOX))
    return bounds


def _complete(path: Path, sensor: Sensor) -> Bools:
    """Say which of a sensor's scenes have every band.

    Row groups say how many hrefs they lack: only where some are missing, they are looked at.
    """
    file = pq.ParquetFile(path)
    parts = [_complete_in(file, number, sensor) for number in range(file.num_row_groups)]
    return np.concatenate([np.empty(0, dtype=bool), *parts])


def _complete_in(file: pq.ParquetFile, number: int, sensor: Sensor) -> Bools:
    """Say it of a row group."""
    group = file.metadata.row_group(number)
    told = {c.path_in_schema: c.statistics for c in map(group.column, range(group.num_columns))}
    names = [f"assets.{band}.href" for band in bands_of(sensor)]
    of = told["s1s2:sensor"]
    alike = of is not None and of.has_min_max and of.min == of.max
    if alike and of.min != str(sensor):
        return np.empty(0, dtype=bool)
    if alike and all(told[n] is not None and told[n].null_count == 0 for n in names):
        return np.ones(group.num_rows, dtype=bool)
    table = file.read_row_group(number, ["s1s2:sensor", *names])
    ours = pc.equal(table["s1s2:sensor"], str(sensor))
    assets = table["assets"].filter(ours)
    complete = np.ones(len(assets), dtype=bool)
    for band in bands_of(sensor):
        hrefs = pc.struct_field(assets, [str(band), "href"])
        complete &= pc.is_valid(hrefs).to_numpy()
    return complete
