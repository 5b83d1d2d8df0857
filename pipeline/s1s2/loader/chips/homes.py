"""Where a finished corpus lies: in a folder, or below a URL; and its proven files from there."""

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from s1s2 import layout, ledger, receipts, store, tables
from s1s2.errors import StoreError
from s1s2.layout import FORMAT_VERSION, Folder
from s1s2.loader.chips import Remote, Said
from s1s2.loader.chips.ahead import AheadReader
from s1s2.loader.chips.objects import Published
from s1s2.loader.shards import ArrayForm, Scratch, described
from s1s2.proof import ProvenPixels, proven
from s1s2.receipts import Json
from s1s2.remote import SCHEMES, Place

if TYPE_CHECKING:
    import geopandas

_PATIENCE_S = 60.0
"""How long to try for one small file."""
_AT_A_TIME = 4
"""Requests of one who looks at single chips: its arrays, side by side."""
_NEEDED = ("corpus_id", "chips", "chips_per_shard", "chip_size_px", "files", "splits", "statistics")


@dataclass(frozen=True)
class Pixels:
    """How to read the pixels of a corpus, wherever the program is by then."""

    forms: tuple[ArrayForm, ...]
    """How its arrays lie in their shards; none where zarr-python must read them."""
    root: str
    """Its folder, or its URL."""
    said_of: Callable[[int], Said]
    """Of a shard, by array: its file, and the size its receipt says; not asked of a URL."""
    remote: Remote | None = None
    """What reading below a URL needs; None for a folder."""


class Home(Protocol):
    """Where a corpus lies."""

    about: Json
    """Its `corpus.json`, proven."""
    where: str
    """What people call it."""

    @property
    def folder(self) -> Folder:
        """Its folder.

        Raises:
            StoreError: If it has none.
        """
        ...

    def index(self) -> "geopandas.GeoDataFrame":
        """Read one row a chip, proven."""
        ...

    def pixels(self) -> Pixels:
        """Return what another process needs to read its pixels, once their description is proven.

        Raises:
            StoreError: If that is missing, or not what the corpus was finished with.
        """
        ...

    def read(self, chip: int) -> dict[str, NDArray[Any]]:
        """Return one chip as it is stored, by array."""
        ...


def home_of(path: str | Path) -> Home:
    """Return where a corpus lies.

    Raises:
        StoreError: If there is none, or an unfinished one, or `corpus.json` is damaged.
        RecipeError: If it is a URL that cannot be.
        UnreachableError: If it is one, and the store does not answer.
    """
    if isinstance(path, str) and "://" in path:
        return Away(path)
    return AtHome(Path(path))


class AtHome:
    """A corpus in a folder."""

    def __init__(self, path: Path) -> None:
        if not path.exists() and path.parts and path.parts[0] in {f"{s}:" for s in SCHEMES}:
            msg = f"{path}: this needs a folder, no URL; s1s2 pull URL FOLDER fetches the corpus"
            raise StoreError(msg)
        self.folder, self.where = Folder(path), str(path)
        self.about = ledger.open_corpus(self.folder)
        self._pixels = ProvenPixels(self.folder, self.about)

    def index(self) -> "geopandas.GeoDataFrame":
        """Read one row a chip, proven."""
        proven(self.folder, self.about, self.folder.chips.name)
        return tables.read_chips(self.folder.chips)

    def pixels(self) -> Pixels:
        """Return what another process needs to read its pixels."""
        # the program may change its folder before that process begins
        root = self.folder.root.absolute()
        pixels = ProvenPixels(Folder(root), self.about)
        return Pixels(_known(pixels.metadata()), str(root), pixels.said_of)

    def read(self, chip: int) -> dict[str, NDArray[Any]]:
        """Return one chip as it is stored, by array."""
        return self._pixels.read(chip)


class Away:
    """A corpus below a URL; its small files are fetched when needed, proven, and kept in memory."""

    def __init__(self, url: str) -> None:
        place = Place(url, patience_s=_PATIENCE_S)
        self.where = place.url
        self.about = self._opened(place.get(Folder(Path()).corpus.name))
        self._pixels: Pixels | None = None
        self._reader: tuple[int, AheadReader] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_reader": None}

    @property
    def folder(self) -> Folder:
        """Nothing.

        Raises:
            StoreError: Always.
        """
        msg = f"{self.where}: this needs a folder; s1s2 pull {self.where} FOLDER fetches the corpus"
        raise StoreError(msg)

    def index(self) -> "geopandas.GeoDataFrame":
        """Fetch and read one row a chip, proven."""
        with tempfile.TemporaryDirectory(prefix="s1s2-") as folder:
            path = Folder(Path(folder)).chips
            path.write_bytes(self._proven(path.name))
            return tables.read_chips(path)

    def pixels(self) -> Pixels:
        """Return what another process needs to read its pixels.

        Raises:
            StoreError: If they lie in a way that only zarr-python reads.
        """
        if self._pixels is None:
            names = {image: f"chips.zarr/{image}/zarr.json" for image in store.IMAGES}
            known = _known({i: receipts.parse(self._proven(n)) for i, n in names.items()})
            if not known:
                msg = (
                    f"{self.where}: its pixels are stored in a way that is read in a folder alone; "
                    f"s1s2 pull {self.where} FOLDER fetches the corpus"
                )
                raise StoreError(msg)
            files = {layout.shard_of(name): digest for name, digest in self.about["files"].items()}
            proofs = {shard: digest for shard, digest in files.items() if shard is not None}
            self._pixels = Pixels(known, self.where, _no_file, Remote(proofs))
        return self._pixels

    def read(self, chip: int) -> dict[str, NDArray[Any]]:
        """Return one chip as it is stored, by array."""
        pixels = self.pixels()
        if self._reader is None or self._reader[0] != os.getpid():
            proofs = {} if pixels.remote is None else pixels.remote.proofs
            corpus = Published(pixels.root, pixels.forms, proofs, _PATIENCE_S)
            reader = AheadReader(corpus, pixels.forms, 0, _AT_A_TIME, 2 * _PATIENCE_S)
            self._reader = os.getpid(), reader
        into = {form.name: np.empty(form.tail, form.dtype) for form in pixels.forms}
        self._reader[1].read(chip, into, Scratch())
        return into

    def _opened(self, content: bytes | None) -> Json:
        """Return what `corpus.json` says, proven by its own hash."""
        if content is None:
            msg = f"{self.where}: holds no corpus, or one whose s1s2 push is not finished"
            raise StoreError(msg)
        try:
            document = receipts.parse(content)
            receipts.check_seal(document)
            version = document.get("format_version")
            _check_complete(document)
        except ValueError as error:
            msg = (
                f"{self.where}/corpus.json: damaged ({error}); push the corpus again, from where "
                "it is whole"
            )
            raise StoreError(msg) from error
        if version != FORMAT_VERSION:
            msg = f"{self.where}: format version {version}, this s1s2 reads {FORMAT_VERSION}"
            raise StoreError(msg)
        return document

    def _proven(self, name: str) -> bytes:
        """Fetch a file that `corpus.json` holds the hash of."""
        content = Place(self.where, patience_s=_PATIENCE_S).get(name)
        if content is None or receipts.sha256(content) != self.about["files"].get(name):
            what = "missing" if content is None else "not the one this corpus was finished with"
            msg = (
                f"{self.where}/{name}: {what}; open the corpus again, if another was published; "
                "s1s2 push, from where it is whole, mends it"
            )
            raise StoreError(msg)
        return content


def _known(metadata: Mapping[str, Json]) -> tuple[ArrayForm, ...]:
    """Return how the arrays lie in their shards, if all do as they are read here."""
    found = [described(name, said) for name, said in metadata.items()]
    known = tuple(form for form in found if form is not None)
    return known if len(known) == len(found) else ()


def _no_file(shard: int) -> Said:
    """Say that no file holds a shard: whoever reads below a URL fetches its receipt there."""
    msg = f"shard {shard} lies below a URL"
    raise StoreError(msg)


def _check_complete(document: Mapping[str, Any]) -> None:
    for key in _NEEDED:
        if key not in document:
            msg = f"it does not say {key}"
            raise ValueError(msg)
