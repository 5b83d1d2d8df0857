"""Tables that are written piece by piece."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s1s2 import tables
from s1s2.schemas import CHIPS


def part(first: int, count: int) -> pa.Table:
    columns = {field.name: pa.nulls(count, field.type) for field in CHIPS}
    return pa.table(columns | {"chip": pa.array(range(first, first + count))}, schema=CHIPS)


@pytest.mark.parametrize("sizes", [[23], [5, 5, 5, 5, 3], [1] * 23, [20, 3], [7, 7, 7, 2]])
def test_the_pieces_leave_no_trace(
    tmp_path: Path, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "ROWS_A_GROUP", 7)
    pieces = (part(sum(sizes[:k]), size) for k, size in enumerate(sizes))
    tables.write_chips(tmp_path / "chips.parquet", pieces, {"a": "b"})
    file = pq.ParquetFile(tmp_path / "chips.parquet")
    assert [file.metadata.row_group(k).num_rows for k in range(4)] == [7, 7, 7, 2]
    assert file.read()["chip"].to_pylist() == list(range(23))
    tables.write_chips(tmp_path / "again.parquet", [part(0, 23)], {"a": "b"})
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "chips.parquet").read_bytes()
    assert tables.notes_of(tmp_path / "chips.parquet")["a"] == "b"


def test_a_table_without_rows(tmp_path: Path) -> None:
    tables.write_chips(tmp_path / "chips.parquet", [], {})
    assert len(tables.read_chips(tmp_path / "chips.parquet")) == 0
