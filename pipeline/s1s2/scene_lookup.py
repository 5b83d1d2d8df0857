"""Scenes by their ids, for whoever fills shard after shard.

A shard's points lie all over the Earth, so that no row group of `scenes.parquet` can be left out,
and unpacking all of them for every shard takes time that grows with the square of the points. So a
large table is unpacked once, into a copy that is mapped: a shard touches its own rows alone. The
copy is no part of the corpus, and who finds none that fits reads the table itself.
"""

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from secrets import token_hex

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from s1s2 import scene_tables, tables
from s1s2.files import unwritable
from s1s2.layout import Folder
from s1s2.scene import Scene
from s1s2.schemas import SCENES

_FEW = 65_536
"""So many scenes are read from the table: a fifth of a second."""
_OF = b"s1s2:copy-of"


def prepare(folder: Folder) -> None:
    """Copy a large table of scenes, where there is no copy of it yet.

    Raises:
        StoreError: If the table is damaged, or the copy cannot be written.
        FullError: If there is no room for it: some 4 kB a scene.
    """
    if scene_tables.count_rows(folder.scenes) <= _FEW or _mapped(folder) is not None:
        return
    copy = _copy(folder)
    beside = copy.with_name(f".{copy.name}.{token_hex(4)}.partial")
    schema = SCENES.with_metadata({_OF: _identity(folder.scenes)})
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            with pa.ipc.new_file(file, schema) as writer:
                for batch in _unpacked(folder.scenes):
                    writer.write_batch(batch.replace_schema_metadata(schema.metadata))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(copy)
    except OSError as error:
        raise unwritable(copy, error) from error
    finally:
        beside.unlink(missing_ok=True)
        scene_tables.give_back()


def discard(folder: Folder) -> None:
    """Remove the copy."""
    _copy(folder).unlink(missing_ok=True)


def read_scenes(folder: Folder, ids: Collection[str]) -> list[Scene]:
    """Read the scenes of some ids, in the order of the table.

    Raises:
        StoreError: If the table is damaged.
        ContractError: If another version wrote it.
    """
    copy = _mapped(folder)
    if copy is None:
        return scene_tables.read_scenes(folder.scenes, ids)
    wanted = pa.array(sorted(ids), pa.string())
    try:
        batches = map(copy.get_batch, range(copy.num_record_batches))
        found = [b.take(pc.indices_nonzero(pc.is_in(b["id"], wanted))) for b in batches]
    except (OSError, pa.ArrowException):  # the copy is damaged: it is nobody's only one
        return scene_tables.read_scenes(folder.scenes, ids)
    return [scene for batch in found for scene in scene_tables.scenes_of(batch)]


def _copy(folder: Folder) -> Path:
    return folder.root / ".leases" / "scenes.arrow"


def _identity(path: Path) -> str:
    """Return what another table in its place would have otherwise."""
    there = path.stat()
    return f"{there.st_size}/{there.st_mtime_ns}"


def _unpacked(path: Path) -> Iterator[pa.RecordBatch]:
    tables.check(path, SCENES)
    with tables.readable(path):
        yield from pq.ParquetFile(path).iter_batches(tables.ROWS_A_GROUP, use_threads=False)


def _mapped(folder: Folder) -> pa.ipc.RecordBatchFileReader | None:
    """Open the copy, or return None where there is none of this very table."""
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(_copy(folder))))
        of = (reader.schema.metadata or {}).get(_OF)
        fits = of == _identity(folder.scenes).encode()
    except (OSError, pa.ArrowInvalid):
        return None
    return reader if fits and reader.schema.remove_metadata().equals(SCENES) else None
