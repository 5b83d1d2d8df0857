"""Shards whose files lie below a URL and no longer here: what is remembered and proven of them.

`sent/to.json` names the URL; `sent/SHARD.json` holds size and hash of every file of a shard that
was read back there. A file goes from here only after that record is on disk.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import Any

from s1s2 import receipts
from s1s2.errors import RecipeError, StoreError
from s1s2.files import write_bytes
from s1s2.layout import FORMAT_VERSION, Folder
from s1s2.receipts import Json

_SHARED = 4
"""Folders above a file of pixels that other shards use too, from `c` upwards."""


@dataclass(frozen=True)
class Home:
    """Where the pixels of a folder go."""

    url: str
    token: str
    """Drawn at random once: the claim at the URL names it as long as the corpus is built."""
    corpora: tuple[str, ...] = ()
    """Hashes of every `corpus.json` that was published there from here."""
    published: bool = False
    """The last of them stands there, with all that it proves."""


@dataclass(frozen=True)
class Record:
    """What of a shard lies at the URL."""

    objects: Mapping[str, Json] = field(default_factory=dict)
    """By name, size and sha256 of what was read back there the last time."""
    begun: Mapping[str, list[str]] = field(default_factory=dict)
    """By name, hashes of what was begun to be sent since; empty once all of it is proven."""

    def owns(self, name: str, digest: str) -> bool:
        """Say whether an object there is one that this folder sent, so that it may be replaced."""
        return name in self.objects or digest in self.begun.get(name, ())

    @property
    def names(self) -> set[str]:
        """What may lie there."""
        return {*self.objects, *self.begun}


def home_of(folder: Folder) -> Home | None:
    """Return where a folder's pixels go; None if they stay.

    Raises:
        StoreError: If what says so is damaged.
    """
    path = folder.sent / "to.json"
    if not path.is_file():
        return None
    said = _read(path)
    return Home(said["url"], said["token"], tuple(said["corpora"]), said["published"])


def write_home(folder: Folder, home: Home) -> None:
    """Remember where a folder's pixels go."""
    said = {"format_version": FORMAT_VERSION, **asdict(home), "corpora": list(home.corpora)}
    write_bytes(folder.sent / "to.json", receipts.to_json(receipts.sealed(said)))


def url_of(folder: Folder, wanted: str = "") -> str:
    """Return the URL that a folder's pixels go to; nothing if they stay.

    Args:
        folder: The corpus.
        wanted: What this command was told; a folder that goes elsewhere refuses it.

    Raises:
        RecipeError: If the folder's pixels go to another URL.
    """
    home, wanted = home_of(folder), wanted.rstrip("/")
    if home is None:
        return wanted
    if wanted not in {"", home.url}:
        msg = (
            f"{folder.root} sends its pixels to {home.url}, asked for {wanted}: name the same URL, "
            "or build into another folder"
        )
        raise RecipeError(msg)
    return home.url


def new_home(url: str) -> Home:
    """Return a home that no other folder has."""
    return Home(url.rstrip("/"), token_hex(8))


def record_of(folder: Folder, shard: int) -> Record:
    """Return what of a shard lies at the URL; nothing where its record is lost or damaged.

    A lost record loses no pixels: objects there are read back before anything is cut again.
    """
    path = folder.sent_record(shard)
    if not path.is_file():
        return Record()
    with suppress(StoreError, KeyError):
        said = _read(path)
        return Record(said["objects"], said["begun"])
    return Record()


def write_record(folder: Folder, shard: int, record: Record) -> None:
    """Write what of a shard lies at the URL."""
    said = {"format_version": FORMAT_VERSION, "shard": shard, **asdict(record)}
    write_bytes(folder.sent_record(shard), receipts.to_json(receipts.sealed(said)))


def begin(folder: Folder, receipt: Json) -> Record:
    """Note what is about to be sent, before it is: killed meanwhile, it is known as ours."""
    before = record_of(folder, receipt["shard"])
    begun = {name: list(known) for name, known in before.begun.items()}
    for name, said in receipt["objects"].items():
        if said["sha256"] not in begun.setdefault(name, []):
            begun[name].append(said["sha256"])
    record = replace(before, begun=begun)
    if record != before:
        write_record(folder, receipt["shard"], record)
    return record


def is_away(folder: Folder, receipt: Json) -> bool:
    """Say whether all files of a receipt are proven to lie at the URL."""
    if not folder.sent_record(receipt["shard"]).is_file():
        return False
    record = record_of(folder, receipt["shard"])
    return not record.begun and record.objects == receipt["objects"]


def is_there(folder: Folder, receipt: Json) -> bool:
    """Say whether the files of a receipt are here and of their size, or proven to be away."""
    return receipts.is_there(folder, receipt) or is_away(folder, receipt)


def damage(folder: Folder, receipt: Json) -> list[str]:
    """Return what is wrong with the files of a receipt, unless they are proven to be away."""
    return [] if is_away(folder, receipt) else receipts.damage(folder, receipt)


def free(folder: Folder, receipt: Json) -> None:
    """Remove a shard's files here, and the folders that held them alone; its record is on disk."""
    for name in receipt["objects"]:
        path = folder.root / name
        path.unlink(missing_ok=True)
        with suppress(OSError):  # not there, or not empty
            for above in path.parents[: len(Path(name).parents) - _SHARED]:
                above.rmdir()


def sweep(folder: Folder) -> None:
    """Free what was left here of shards that are away, by whoever was killed in between."""
    for _, receipt in receipts.read_each(folder):
        if is_away(folder, receipt):
            free(folder, receipt)


def count_away(folder: Folder) -> int:
    """Return how many shards with a receipt are away."""
    return sum(is_away(folder, receipt) for _, receipt in receipts.read_each(folder))


def bytes_away(folder: Folder) -> int:
    """Return how many bytes of pixels are away."""
    if home_of(folder) is None:
        return 0
    return sum(
        int(said["size"])
        for _, receipt in receipts.read_each(folder)
        if is_away(folder, receipt)
        for said in receipt["objects"].values()
    )


def _read(path: Path) -> dict[str, Any]:
    said = receipts.read_json(path)
    try:
        receipts.check_seal(said)
    except ValueError as error:
        msg = f"{path}: damaged ({error}); put it back from a copy, or build into another folder"
        raise StoreError(msg) from error
    return said
