"""Answers of a search, kept while it goes on, so that nothing is asked twice.

A few answers at a time become a file of their own, written whole: who is stopped loses the last
few. Jobs of an array share the folder; what two of them were answered does no harm.
"""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from s1s2.errors import StoreError
from s1s2.files import write_bytes
from s1s2.scene_tables import latest
from s1s2.schemas import SCENES

_ANSWERS, _NUMBER = b"s1s2:answers", "s1s2:answer"
_SCHEMA = SCENES.append(pa.field(_NUMBER, pa.int32()))
_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


@dataclass(frozen=True)
class Answer:
    """What a catalog answered to one query."""

    key: str
    """Names the query."""
    scenes: pa.Table
    """Of the schema `SCENES`."""
    refused: Mapping[str, int]
    """How many items were refused for which reason."""


class Answers:
    """A folder of answers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def known(self) -> set[str]:
        """Return the keys of the queries that were answered."""
        return {key for path in self._files() for key, _ in _contents(path)}

    def keep(self, answers: Sequence[Answer]) -> None:
        """Write some answers into a file.

        Raises:
            StoreError: If it cannot be written.
        """
        if not answers:
            return
        number = np.repeat(np.arange(len(answers)), [len(a.scenes) for a in answers])
        rows = pa.concat_tables([a.scenes for a in answers])
        rows = rows.append_column(_SCHEMA.field(_NUMBER), pa.array(number, pa.int32()))
        contents = json.dumps([(a.key, dict(a.refused)) for a in answers])
        schema = _SCHEMA.with_metadata({_ANSWERS: contents})
        sink = io.BytesIO()
        with pa.ipc.new_file(sink, schema, options=_OPTIONS) as writer:
            writer.write_table(rows.replace_schema_metadata(schema.metadata).combine_chunks())
        name = hashlib.sha256(contents.encode()).hexdigest()[:20]
        write_bytes(self._folder / f"{name}.arrow", sink.getvalue())

    def together(self, keys: Sequence[str]) -> tuple[pa.Table, Counter[str]] | None:
        """Join the answers to some queries.

        Returns:
            The scenes, one version of each recording, and how many items were refused for which
            reason; None while an answer is missing. Of a scene that was answered several times,
            the one of the last query counts.

        Raises:
            StoreError: If a file of answers cannot be read.
        """
        left, refused = {key: n for n, key in enumerate(keys)}, Counter[str]()
        parts, places = [SCENES.empty_table()], [np.empty(0, dtype=np.int64)]
        for path in self._files():
            contents = _contents(path)
            place = np.array([left.pop(key, -1) for key, _ in contents], dtype=np.int64)
            for (_, counts), wanted in zip(contents, place >= 0, strict=True):
                refused.update(counts if wanted else {})
            if (place >= 0).any():
                rows = _rows(path)
                of_row = place[rows[_NUMBER].to_numpy()]
                parts.append(rows.drop_columns(_NUMBER).filter(pa.array(of_row >= 0)))
                places.append(of_row[of_row >= 0])
        if left:
            return None
        order = np.argsort(np.concatenate(places), kind="stable")
        return latest(pa.concat_tables(parts), order), refused

    def _files(self) -> Iterator[Path]:
        return iter(sorted(self._folder.glob("*.arrow")))


def _contents(path: Path) -> list[tuple[str, dict[str, int]]]:
    """Return the keys of a file's answers, each with what was refused."""
    with _opened(path) as reader:
        contents: list[tuple[str, dict[str, int]]] = json.loads(reader.schema.metadata[_ANSWERS])
        return contents


def _rows(path: Path) -> pa.Table:
    with _opened(path) as reader:
        return reader.read_all().replace_schema_metadata(None)


def _opened(path: Path) -> pa.ipc.RecordBatchFileReader:
    try:
        reader = pa.ipc.open_file(path.read_bytes())
    except (OSError, pa.ArrowInvalid) as error:
        msg = f"{path}: not a readable file of answers ({error}); delete it and search again"
        raise StoreError(msg) from error
    if not reader.schema.remove_metadata().equals(_SCHEMA):
        msg = f"{path}: answers kept by another version; delete it and search again"
        raise StoreError(msg)
    return reader
