"""Close the gaps that shards leave which ran out of points.

One's own points are given, and a region holds only so many: where too few of a shard's points make
a chip, rows would be missing in the middle of the corpus. Here the chips move up, in order, and
every shard but the last is full again. Its receipts say so (`dealt`): a shard's rows are then no
longer those of its own points, and filling any of them again means filling all.
"""

import shutil
from collections.abc import Sequence
from itertools import islice

import numpy as np

from s1s2 import receipts, sending, sent, store
from s1s2.errors import StoreError
from s1s2.fill import sums
from s1s2.layout import ArrayPlan, Folder
from s1s2.receipts import Json


def has_gaps(folder: Folder, per_shard: int) -> bool:
    """Say whether a shard with chips after it is not full."""
    counts = [len(receipt["rows"]) for _, receipt in receipts.read_each(folder)]
    return any(count < per_shard and any(counts[k + 1 :]) for k, count in enumerate(counts))


def was_dealt(folder: Folder) -> bool:
    """Say whether a corpus' chips were dealt out again."""
    return any(receipt.get("dealt") for _, receipt in receipts.read_each(folder))


def undo(folder: Folder) -> None:
    """Drop all shards of a corpus whose chips were dealt out again, receipts first."""
    shutil.rmtree(folder.receipts, ignore_errors=True)
    shutil.rmtree(folder.zarr, ignore_errors=True)


def close_gaps(
    folder: Folder, plans: Sequence[ArrayPlan], per_shard: int, notes: Json, url: str = ""
) -> None:
    """Deal all chips out again, so that rows are consecutive; does nothing where they are.

    The new shards are written beside the old ones. Then the old receipts go, the pixels are
    exchanged, and the new receipts come last: killed in between, shards merely have to be filled
    again. One process at a time may do this.

    Where pixels lie at a URL each shard is fetched when its turn comes, and takes its new place
    there at once: chips only ever move to shards that were read before. Killed in between, shards
    that were changed there are filled again.

    Args:
        folder: The corpus.
        plans: Its arrays.
        per_shard: Chips in one shard.
        notes: Attributes of the pixels.
        url: Where pixels lie; empty if here.

    Raises:
        StoreError: If a shard is damaged.
        UnreachableError: If the store does not answer now.
    """
    if not has_gaps(folder, per_shard):
        return
    total = 0
    for _, receipt in receipts.read_each(folder):
        total += len(receipt["rows"])
        for line in sent.damage(folder, receipt):
            msg = f"{folder.root}: {line}; run the same command again to fill that shard again"
            raise StoreError(msg)
    beside = Folder(folder.root / ".dense")
    shutil.rmtree(beside.root, ignore_errors=True)
    store.create(beside, plans, total, per_shard, notes)
    rows = (row for _, receipt in receipts.read_each(folder) for row in receipt["rows"])
    for shard, receipt in receipts.read_each(folder):
        part = list(islice(rows, per_shard))
        if url:
            _fetch(folder, {row["chip"] // per_shard for row in part}, url)
        dealt = _dealt(folder, beside, plans, shard, part, per_shard)
        receipts.write_receipt(beside, shard, receipt | dealt | {"dealt": True})
        if url:
            _send(folder, beside, shard, url)
    shutil.rmtree(folder.receipts)
    shutil.rmtree(folder.zarr)
    beside.zarr.rename(folder.zarr)
    beside.receipts.rename(folder.receipts)
    beside.root.rmdir()


def _fetch(folder: Folder, shards: set[int], url: str) -> None:
    """Bring back the shards that a new one is made of."""
    for shard in sorted(shards):
        receipt = receipts.read_receipt(folder, shard) or {"objects": {}}
        for line in sending.fetch(folder, receipt, url):
            msg = f"shard {shard}: {line}; run the same command again to fill that shard again"
            raise StoreError(msg)


def _send(folder: Folder, beside: Folder, shard: int, url: str) -> None:
    """Send a new shard; it and the old one, whose chips all have their new places, are freed."""
    new, old = receipts.read_receipt(beside, shard), receipts.read_receipt(folder, shard)
    if new is not None and old is not None:
        sending.send(beside, new, url, home=folder)
        sent.free(beside, new)
        sent.free(folder, old)


def _dealt(  # noqa: PLR0913, PLR0917  # where from, where to, and what
    folder: Folder,
    beside: Folder,
    plans: Sequence[ArrayPlan],
    shard: int,
    part: Sequence[Json],
    per_shard: int,
) -> Json:
    """Write one shard from chips that lie elsewhere; return what its receipt says of them."""
    if not part:
        return {"rows": [], "objects": {}, "sums": {}}
    read = [store.read_rows(folder, plans, row["chip"], 1) for row in part]
    blocks = {p.name: np.concatenate([r[p.name] for r in read]) for p in plans}
    first = shard * per_shard
    blocks["chip"] = np.arange(first, first + len(part), dtype=np.int64)
    rows = [row | {"chip": first + i} for i, row in enumerate(part)]
    objects = store.write_shard(beside, plans, shard, blocks, per_shard)
    return {"rows": rows, "objects": objects, "sums": sums(blocks, rows)}
