"""Items out of a file of stac-geoparquet: only what may answer is read of it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from s1s2.catalog import Product
from s1s2.errors import CatalogError
from s1s2.items import fields_read
from s1s2.scene import continuous

_HALF_TURN = 180.0
_EVERYWHERE = shapely.box(-180, -90, 180, 90)
_FRAME, _ROWS_AT_ONCE = ("type", "bbox"), 1024
"""Columns that items are made of besides those we read, and how many are made at once."""


class Places:
    """Points to be hit by footprints, whichever way round the Earth these are written."""

    def __init__(self, places: tuple[tuple[float, float], ...]) -> None:
        self._tree = shapely.STRtree(shapely.points(np.array(places, dtype=float).reshape(-1, 2)))

    def hit(self, footprints: NDArray[np.object_]) -> NDArray[np.bool_]:
        """Say which footprints hold a place; None holds none."""
        west, _, east, _ = shapely.bounds(footprints).reshape(-1, 4).T
        found = np.zeros(len(footprints), dtype=bool)
        for turn, there in (
            (0, np.isfinite(west)),
            (360, west < -_HALF_TURN),
            (-360, east > _HALF_TURN),
        ):
            rows = np.flatnonzero(there)
            turned = shapely.transform(footprints[rows], lambda xy, by=turn: np.add(xy, (by, 0)))
            found[rows[self._tree.query(turned, predicate="intersects")[0]]] = True
        return found


def items_of(
    path: Path, product: Product, places: Places, begins: datetime, ends: datetime
) -> Iterator[dict[str, Any]]:
    """Read the row groups, rows and columns of a file that may answer.

    Args:
        path: The file.
        product: Which collection, and which assets are read of its items.
        places: One of them lies in the footprint.
        begins: The earliest time of an item.
        ends: A time after the last.

    Raises:
        CatalogError: If it is no stac-geoparquet.
    """
    import stac_geoparquet.arrow  # noqa: PLC0415  # 0.3 s, needed only where such a file is

    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
        wanted = _filter(schema, product.collection, begins, ends)
        asked = [name for name in ("collection", "datetime", "geometry") if name in schema.names]
        needed = [*_FRAME, *(name.removeprefix("properties.") for name in fields_read(product))]
        for number in _row_groups(file, begins, ends):
            keys = file.read_row_group(number, asked).append_column("", _numbers(file, number))
            keys = keys.filter(wanted)
            rows = keys[""].filter(pa.array(places.hit(_footprints(keys["geometry"]))))
            if not len(rows):
                continue
            table = file.read_row_group(number, needed).take(rows)
            for start in range(0, len(table), _ROWS_AT_ONCE):
                part = table.slice(start, _ROWS_AT_ONCE).combine_chunks()
                yield from stac_geoparquet.arrow.stac_table_to_items(part)
    except (
        OSError,
        pa.ArrowException,
        shapely.errors.GEOSException,
        KeyError,
        ValueError,
    ) as error:
        msg = f"{path} is not stac-geoparquet ({error})"
        raise CatalogError(msg) from error


def _row_groups(file: pq.ParquetFile, begins: datetime, ends: datetime) -> Iterator[int]:
    """Yield the row groups that may hold items of a time; all where none says its times."""
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        columns = map(group.column, range(group.num_columns))
        told = next((c.statistics for c in columns if c.path_in_schema == "datetime"), None)
        if told is None or not told.has_min_max or _overlap(told.min, told.max, begins, ends):
            yield number


def _overlap(first: object, last: object, begins: datetime, ends: datetime) -> bool:
    """Say whether a span of times, UTC where they do not say, may meet another; texts may."""
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        return True
    one, other = (t if t.tzinfo else t.replace(tzinfo=UTC) for t in (first, last))
    return one < ends and other >= begins


def _numbers(file: pq.ParquetFile, number: int) -> pa.Array:
    """Return the numbers of a row group's rows."""
    return pa.array(np.arange(file.metadata.row_group(number).num_rows))


def _footprints(geometry: pa.ChunkedArray) -> NDArray[np.object_]:
    """Return footprints that do not jump at the antimeridian; few of them need be rewritten.

    The whole Earth stands for one that cannot be written so: its item is passed on, to be refused.
    """
    footprints = np.asarray(
        shapely.from_wkb(geometry.combine_chunks().to_numpy(zero_copy_only=False)), dtype=object
    )
    west, _, east, _ = shapely.bounds(footprints).reshape(-1, 4).T
    narrow = (east - west <= _HALF_TURN) & (shapely.get_num_geometries(footprints) == 1)
    for row in np.flatnonzero(~narrow):
        try:
            footprints[row] = continuous(footprints[row])
        except ValueError:
            footprints[row] = _EVERYWHERE
    return footprints


def _filter(schema: pa.Schema, collection: str, begins: datetime, ends: datetime) -> pc.Expression:
    wanted = pc.field("collection") == collection
    if "datetime" in schema.names and pa.types.is_timestamp(schema.field("datetime").type):
        kind = schema.field("datetime").type
        first, after = (pa.scalar(time).cast(kind) for time in (begins, ends))
        wanted &= (pc.field("datetime") >= first) & (pc.field("datetime") < after)
    return wanted
