"""Files of a corpus on their way to a URL and back: one PUT each, read back, proven both ways.

A shard's files go as soon as it is filled; then its record is written (`sent`), then they are freed
here. An object is only ever replaced if this folder sent it.
"""

from pathlib import Path

from s1s2 import receipts, sent
from s1s2.errors import StoreError
from s1s2.files import write_bytes
from s1s2.layout import Folder
from s1s2.receipts import Json
from s1s2.remote import Place, side_by_side
from s1s2.sent import Record

_MOST_BYTES = 5_000_000_000
"""What every store takes in one PUT."""


def deliver(  # noqa: PLR0913  # what, where to, and how
    place: Place, name: str, path: Path, sha256: str, *, replace: bool, trust: bool = False
) -> str:
    """Send one file, once it is proven here, and prove it there.

    Args:
        place: Where to.
        name: Of the object.
        path: Of the file.
        sha256: What both must be.
        replace: Write over what is there.
        trust: Believe a store that it holds what it took.

    Returns:
        What is wrong; nothing if all is well.

    Raises:
        UnreachableError, StoreError, FullError: As `Place.put`.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        return f"{receipts.unread(error)} here"
    if receipts.sha256(content) != sha256:
        return "is not what its proof says, here"
    if (size := len(content)) > _MOST_BYTES:
        return f"{size:,} bytes, more than one PUT takes ({_MOST_BYTES:,})"
    new = place.put(name, content, replace=replace)
    del content  # it is read back in pieces
    # an object that was there all at once may be ours, where the answer was lost, or another's
    if (trust and new) or place.sha256(name) == sha256:
        return ""
    return "read back from there it is another"


def settle(folder: Folder, shard: int, url: str, *, again: bool = False) -> None:
    """Bring a filled shard's files to the URL, unless they are there; then free them here.

    Args:
        folder: The corpus; whoever calls holds it, or the shard.
        shard: Which; it has a receipt.
        url: Where to; claimed for this folder.
        again: Look at what is there, whatever its record says.

    Raises:
        StoreError: If another object lies there, or one is neither here nor there.
        UnreachableError: If the store does not answer now; nothing is freed.
    """
    if (receipt := receipts.read_receipt(folder, shard)) is None:
        return
    if again or not sent.is_away(folder, receipt):
        send(folder, receipt, url, home=folder)
    sent.free(folder, receipt)


def send(files: Folder, receipt: Json, url: str, *, home: Folder) -> None:
    """Bring the files of a receipt to the URL, and write the record of it.

    Args:
        files: The folder that they lie in.
        receipt: What proves them.
        url: Where to.
        home: The corpus whose record it is.

    Raises:
        StoreError, UnreachableError: As `settle`.
    """
    place, shard = Place(url, make=True), receipt["shard"]
    record = sent.begin(home, receipt)

    def one(item: tuple[str, Json]) -> str:
        name, said = item
        what = _bring(place, files, name, said["sha256"], record)
        return f"{name}: {what}" if what else ""

    for problem in side_by_side(receipt["objects"].items(), one):
        if problem:
            msg = f"{place.url}: shard {shard}: {problem}"
            raise StoreError(msg)
    for name in sorted(record.names - set(receipt["objects"])):  # chips were dealt out again
        place.remove(name)
    sent.write_record(home, shard, Record(receipt["objects"]))


def _bring(place: Place, files: Folder, name: str, sha256: str, record: Record) -> str:
    """Bring one file there, unless it is there; return what is wrong."""
    path = files.root / name
    # what was never sent before is not asked for: the store says if there is one already
    asked = name in record.objects or len(record.begun.get(name, ())) > 1 or not path.is_file()
    found = place.sha256(name) if asked else None
    if found == sha256:
        return ""
    if found is not None and not record.owns(name, found):
        return "another object lies there that was not sent from here; name another URL"
    return deliver(place, name, path, sha256, replace=found is not None)


def fetch(folder: Folder, receipt: Json, url: str) -> list[str]:
    """Bring the files of a receipt back that are not here, each proven before it takes its place.

    Returns:
        What is wrong with those that are neither here nor there, a line each.

    Raises:
        UnreachableError, StoreError, FullError: As `Place.get`; or if there is no room here.
    """
    place = Place(url)

    def one(item: tuple[str, Json]) -> str:
        name, said = item
        path = folder.root / name
        if path.is_file() and receipts.sha256_of(path) == said["sha256"]:
            return ""
        content = place.get(name)
        if content is None:
            return f"{name}: missing at {place.url}"
        if receipts.sha256(content) != said["sha256"]:
            return f"{name}: content differs from its receipt at {place.url}"
        write_bytes(path, content)
        return ""

    return [line for line in side_by_side(receipt["objects"].items(), one) if line]


def read(folder: Folder, receipt: Json, url: str) -> dict[str, bytes | str]:
    """Read the files of a receipt where they lie now.

    Args:
        folder: The corpus.
        receipt: What names them.
        url: Where pixels of this corpus go; empty if nowhere.

    Returns:
        By name the content, whatever that is; or why there is none.

    Raises:
        UnreachableError, StoreError: As `Place.get`.
    """
    if not url:
        return {name: _content(folder.root / name) for name in receipt["objects"]}
    place, away = Place(url), sent.is_away(folder, receipt)

    def one(name: str) -> tuple[str, bytes | str]:
        if not away and (folder.root / name).is_file():
            return name, _content(folder.root / name)
        found = place.get(name)
        return name, "missing" if found is None else found

    return dict(side_by_side(receipt["objects"], one))


def _content(path: Path) -> bytes | str:
    try:
        return path.read_bytes()
    except OSError as error:
        return receipts.unread(error)
