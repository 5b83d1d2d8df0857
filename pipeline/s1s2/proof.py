"""Nothing is read of a finished corpus that is not proven to be what it was finished with."""

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from s1s2 import layout, ranged, receipts, sent, store
from s1s2.errors import StoreError
from s1s2.grid import GridSpec
from s1s2.layout import Folder
from s1s2.ranged import ChunksError, ShardFile
from s1s2.receipts import Json
from s1s2.remote import Place, side_by_side

if TYPE_CHECKING:
    import zarr


class ProvenPixels:
    """The arrays of one corpus, opened on first use, so that every worker process opens its own.

    Where pixels lie at a URL, single chips are read there; who reads many opens the URL itself.

    Nothing is read that is not proven: Zarr's metadata by `corpus.json`, a shard's files by its
    receipt, that by `corpus.json`, and each chunk by its checksum.
    """

    def __init__(self, folder: Folder, about: Json) -> None:
        """Open nothing yet.

        Args:
            folder: The corpus.
            about: Its `corpus.json`, proven.
        """
        self._folder, self._about = folder, about
        self._group: zarr.Group | None = None
        self._shards: dict[int, dict[str, Json]] = {}
        self._url: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_group": None, "_shards": {}}

    def read(self, chip: int) -> dict[str, NDArray[Any]]:
        """Return one chip as it is stored, by array.

        Raises:
            StoreError: If it, or the proof of it, is missing or damaged.
        """
        if self._group is None:
            self.metadata()
            self._group = store.open_pixels(self._folder)
        shard = chip // int(self._about["chips_per_shard"])
        if shard not in self._shards:
            self._shards[shard] = self._files_for(shard, chip)
        files = self._shards[shard]
        if url := self._away(files):
            return self._read_there(url, files, chip)
        return store.read_chip(self._folder, self._group, files, chip)

    def _away(self, files: dict[str, Json]) -> str:
        """Return the URL that a shard's files lie at; empty if they are here, or nowhere."""
        if self._url is None:
            self._url = sent.url_of(self._folder)
        names = (name for said in files.values() for name in said)
        if self._url and all((self._folder.root / name).is_file() for name in names):
            return ""
        return self._url

    def _read_there(self, url: str, files: dict[str, Json], chip: int) -> dict[str, NDArray[Any]]:
        per_shard = int(self._about["chips_per_shard"])
        shard, place = divmod(chip, per_shard)
        plans = layout.arrays(GridSpec(int(self._about["chip_size_px"])), self._about["codec"])
        store_ = Place(url)

        def one(plan: layout.ArrayPlan) -> tuple[str, NDArray[Any]]:
            (said,) = files[plan.name].values()
            file = ShardFile(plan, shard, said["size"], per_shard)
            return plan.name, ranged.fetch(store_, file, [place])[0][0]

        try:
            return dict(side_by_side([plan for plan in plans if plan.name in files], one))
        except ChunksError as error:
            msg = (
                f"{url}/{error.name}: chip {chip} is damaged ({error}); "
                f"s1s2 verify {self._folder.root} tells what else is, with --repair it mends it"
            )
            raise StoreError(msg) from error

    def metadata(self) -> dict[str, Json]:
        """Return by array what Zarr's metadata says of it.

        Raises:
            StoreError: If it is missing, or not what the corpus was finished with.
        """
        zarr_ = self._folder.zarr.name
        proven(self._folder, self._about, f"{zarr_}/zarr.json")
        return {
            image: receipts.parse(proven(self._folder, self._about, f"{zarr_}/{image}/zarr.json"))
            for image in store.IMAGES
        }

    def said_of(self, shard: int) -> dict[str, tuple[str, int]]:
        """Return by array a shard's file, and how many bytes its receipt says it has.

        Raises:
            StoreError: If the receipt is missing, or not what the corpus was finished with; or if
                the pixels lie at a URL.
        """
        found = self.files_of(shard)
        if url := self._away(found):
            msg = f"{self._folder.root}: its pixels lie at {url}; open Corpus({url!r}) to read them"
            raise StoreError(msg)
        return {
            image: (str(self._folder.root / name), int(said["size"]))
            for image, files in found.items()
            for name, said in files.items()
        }

    def files_of(self, shard: int) -> dict[str, Json]:
        """Return by array what a shard's receipt says of its files.

        Raises:
            StoreError: If the receipt is missing, or not what the corpus was finished with.
        """
        name = layout.receipt_name(shard)
        objects = receipts.parse(proven(self._folder, self._about, name))["objects"]
        images = {layout.array_of(file): {file: said} for file, said in objects.items()}
        return {image: images[image] for image in store.IMAGES}

    def _files_for(self, shard: int, chip: int) -> dict[str, Json]:
        try:
            return self.files_of(shard)
        except StoreError as error:
            msg = f"chip {chip} (shard {shard}) is not proven: {error}"
            raise StoreError(msg) from error


def proven(folder: Folder, about: Json, name: str) -> bytes:
    """Read a file that `corpus.json` holds the hash of.

    Raises:
        StoreError: If it is missing or another one.
    """
    mend = f"s1s2 verify {folder.root} --repair mends it"
    try:
        content = (folder.root / name).read_bytes()
    except OSError as error:
        msg = f"{folder.root / name}: {receipts.unread(error)}; {mend}"
        raise StoreError(msg) from error
    if receipts.sha256(content) != about["files"].get(name):
        msg = (
            f"{folder.root / name}: not the one this corpus was finished with; if it is damaged, "
            f"{mend}; if the corpus was built on since it was opened, open it again"
        )
        raise StoreError(msg)
    return content
