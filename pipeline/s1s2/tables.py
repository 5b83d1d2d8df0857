"""Points, scenes, matchups, chips and refusals as GeoParquet, each with a declared schema.

The schema is checked when a table is written and when it is read. Files are written whole, beside
their place and renamed, and hold nothing that differs between two runs.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
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
from shapely.geometry.base import BaseGeometry

from s1s2.bands import Band, Sensor
from s1s2.errors import ContractError, StoreError
from s1s2.files import write_bytes
from s1s2.scene import Scene
from s1s2.schemas import CHIPS, MATCHUPS, POINTS, REFUSALS, SCENES

_EXTENSIONS = [
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("projection/v2.0.0", "sat/v1.0.0", "eo/v1.1.0")
]
_ROWS_A_GROUP = 16_384  # small enough that a worker reads little more than its shard's rows


def write_points(path: Path, points: pd.DataFrame, notes: Mapping[str, str]) -> None:
    """Write the points table; `notes` go into the file's own metadata."""
    geometry = shapely.points(points["lon"].to_numpy(float), points["lat"].to_numpy(float))
    _write(path, _table(points, POINTS, geometry), notes, ["Point"])


def read_points(path: Path, shard: int | None = None) -> pd.DataFrame:
    """Read the points table, or one shard's part of it, without the geometry."""
    return _read(path, POINTS, shard).drop(columns="geometry")


def write_matchups(
    path: Path,
    candidates: pd.DataFrame,
    refusals: pd.DataFrame,
    points: pd.DataFrame,
    notes: Mapping[str, str],
) -> None:
    """Write ranked candidates and the reasons of points without one, in one table."""
    parts = [t for t in (candidates, refusals.assign(rank=-1)) if len(t)]
    columns = [name for name in MATCHUPS.names if name != "geometry"]
    table = pd.concat(parts) if parts else pd.DataFrame(columns=columns)
    table = table.sort_values(["shard", "position", "rank"]).reindex(columns=columns)
    places = points.set_index("point")[["lon", "lat"]].reindex(table["point"].astype("int64"))
    geometry = shapely.points(places["lon"].to_numpy(float), places["lat"].to_numpy(float))
    _write(path, _table(table, MATCHUPS, geometry), notes, ["Point"])


def read_matchups(path: Path, shard: int | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read candidates (ranked) and refusals (`point shard position reason detail`)."""
    table = _read(path, MATCHUPS, shard).drop(columns="geometry")
    refused = table["reason"].notna()
    names = ["point", "shard", "position", "reason", "detail"]
    candidates = table[~refused].drop(columns=["reason", "detail"]).astype({"epsg": "int64"})
    return candidates.reset_index(drop=True), table.loc[refused, names].reset_index(drop=True)


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


def write_chips(path: Path, chips: pa.Table, notes: Mapping[str, str]) -> None:
    """Write the index of chips."""
    _write(path, chips, notes, ["Polygon", "MultiPolygon"])


def read_chips(path: Path) -> geopandas.GeoDataFrame:
    """Read the index of chips as a GeoDataFrame, EPSG:4326."""
    _check(path, CHIPS)
    return geopandas.read_parquet(path)


def write_refusals(path: Path, refusals: pd.DataFrame, notes: Mapping[str, str]) -> None:
    """Write every point without a chip and every pair refused on its pixels."""
    table = pa.Table.from_pandas(refusals, schema=REFUSALS, preserve_index=False)
    _write(path, table, notes, None)


def read_refusals(path: Path) -> pd.DataFrame:
    """Read what `write_refusals` wrote."""
    return _read(path, REFUSALS)


def write_scenes(path: Path, scenes: Sequence[Scene], notes: Mapping[str, str]) -> None:
    """Write scenes as stac-geoparquet; hrefs are unsigned."""
    rows = [_scene_row(s) for s in scenes]
    geometry = np.array([s.footprint for s in scenes], dtype=object)
    columns = {name: [row[name] for row in rows] for name in SCENES.names if name != "geometry"}
    columns["geometry"] = list(shapely.to_wkb(geometry)) if rows else []
    table = pa.table([pa.array(columns[f.name], type=f.type) for f in SCENES], schema=SCENES)
    stac = {"stac-geoparquet": json.dumps({"version": "1.0.0"})}
    _write(path, table, {**stac, **notes}, ["Polygon", "MultiPolygon"])


def read_scenes(path: Path, ids: Collection[str] | None = None) -> list[Scene]:
    """Read scenes back, equal to those that were written; all, or those of some ids."""
    _check(path, SCENES)
    wanted = None if ids is None else pc.field("id").isin(pa.array(sorted(ids), pa.string()))
    return [_scene(row) for row in pq.read_table(path, filters=wanted).to_pylist()]


def _scene_row(scene: Scene) -> dict[str, Any]:
    xmin, ymin, xmax, ymax = scene.footprint.bounds
    cloud = scene.cloud_fraction
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": _EXTENSIONS,
        "id": scene.id,
        "collection": scene.collection,
        "datetime": scene.sensed_at,
        "platform": scene.platform,
        "proj:code": f"EPSG:{scene.epsg}",
        "proj:bbox": None if scene.bounds is None else list(scene.bounds),
        "sat:orbit_state": scene.orbit_state,
        "sat:relative_orbit": scene.relative_orbit,
        "eo:cloud_cover": None if cloud is None else cloud * 100,
        "s2:mgrs_tile": scene.tile,
        "s2:processing_baseline": scene.processing_baseline,
        "s1s2:catalog": scene.catalog,
        "s1s2:sensor": str(scene.sensor),
        "s1s2:acquisition": scene.acquisition,
        "s1s2:version": scene.version,
        "links": [],
        "assets": {str(b): {"href": h} for b, h in scene.hrefs.items()},
        "bbox": {"xmin": xmin, "ymin": ymin, "xmax": xmax, "ymax": ymax},
    }


def _scene(row: Mapping[str, Any]) -> Scene:
    cloud = row["eo:cloud_cover"]
    bounds = row["proj:bbox"]
    return Scene(
        id=row["id"],
        catalog=row["s1s2:catalog"],
        collection=row["collection"],
        sensor=Sensor(row["s1s2:sensor"]),
        platform=row["platform"],
        sensed_at=_utc(row["datetime"]),
        footprint=_geometry(row["geometry"]),
        epsg=int(row["proj:code"].removeprefix("EPSG:")),
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


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _geometry(wkb: bytes) -> BaseGeometry:
    geometry: BaseGeometry = shapely.from_wkb(wkb)
    return geometry


def notes_of(path: Path) -> dict[str, str]:
    """Return the notes a table was written with; empty where there is no table."""
    if not path.exists():
        return {}
    metadata = _schema(path).metadata or {}
    return {k.decode(): v.decode() for k, v in metadata.items()}


def _table(frame: pd.DataFrame, schema: pa.Schema, geometry: Any) -> pa.Table:  # noqa: ANN401
    frame = frame.assign(geometry=shapely.to_wkb(geometry) if len(frame) else [])
    return pa.Table.from_pandas(frame, schema=schema, preserve_index=False)


def _write(path: Path, table: pa.Table, notes: Mapping[str, str], kinds: list[str] | None) -> None:
    metadata = dict(notes)
    if kinds:
        column = {"encoding": "WKB", "geometry_types": kinds, "crs": CRS(4326).to_json_dict()}
        geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
        metadata["geo"] = json.dumps(geo)
    sink = pa.BufferOutputStream()
    plain = table.replace_schema_metadata(metadata)
    pq.write_table(plain, sink, compression="zstd", row_group_size=_ROWS_A_GROUP)
    write_bytes(path, sink.getvalue().to_pybytes())


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowInvalid) as error:
        msg = f"{path}: not a readable Parquet file ({error}); delete it and run the stage again"
        raise StoreError(msg) from error


def _check(path: Path, schema: pa.Schema) -> None:
    found = _schema(path).remove_metadata()
    if not found.equals(schema):
        wrong = sorted(set(found.names) ^ set(schema.names)) or ["types"]
        msg = (
            f"{path}: its columns are not those this version writes ({', '.join(wrong)}); it comes "
            "from another version: use that one, or build into another folder"
        )
        raise ContractError(msg)


def _read(path: Path, schema: pa.Schema, shard: int | None = None) -> pd.DataFrame:
    _check(path, schema)
    wanted = None if shard is None else pc.field("shard") == shard
    frame: pd.DataFrame = pq.read_table(path, filters=wanted).to_pandas()
    return frame
