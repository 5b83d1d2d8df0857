"""Chips in WebDataset's tars."""

import tarfile
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s1s2.export_forms.sample import Sample, said


def tar(part: str, samples: Iterable[Sample]) -> Iterator[tuple[str, bytes]]:
    """Yield one tar: of every chip its arrays at native resolution, and its row as JSON.

    Args:
        part: The name of the tar, without its suffix.
        samples: The chips of it.
    """
    content = BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as file:
        for sample in samples:
            for name, array in sample.arrays.items():
                _add(file, f"{sample.key}.{name}.npy", _npy(array))
            _add(file, f"{sample.key}.json", said(sample))
    yield f"{part}.tar", content.getvalue()


def _add(file: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # of nobody, at the beginning of time
    member.size = len(content)
    file.addfile(member, BytesIO(content))


def _npy(array: NDArray[Any]) -> bytes:
    content = BytesIO()
    np.lib.format.write_array(content, np.ascontiguousarray(array), version=(1, 0))
    return content.getvalue()
