"""Build again just what is damaged in a finished corpus, from what is proven.

What takes a catalog is left to `remake`; index, refusals, Zarr's metadata and `corpus.json` follow
from the receipts.
"""

from collections.abc import Collection, Sequence

from s1s2 import away, dense, layout, lease, ledger, receipts, sending, sent, store, tables, verify
from s1s2.errors import StoreError
from s1s2.files import write_bytes
from s1s2.grid import GridSpec
from s1s2.layout import Folder
from s1s2.receipts import Json
from s1s2.remake import TABLES, Job, Means, aside, make_again
from s1s2.run import Run, about
from s1s2.verify import Problem

_FINISHED = {"chips.parquet", "refusals.parquet"}


def repair(folder: Folder, means: Means) -> list[Problem]:
    """Build again just what is damaged in a finished corpus.

    Args:
        folder: The corpus.
        means: What may be used.

    Returns:
        What is still wrong: empty if the corpus is proven now.

    Raises:
        StoreError: If the folder holds no finished corpus, or too much is lost.
        HeldError: If another works on this corpus.
        ReadError, UnreachableError: If what is needed for it cannot be read now.
    """
    ledger.require_finished(folder)
    with lease.of_corpus(folder, "repair"):
        receipts.sweep(folder)
        problems = verify.verify(folder)
        if any(problem.name == folder.corpus.name for problem in problems):
            _write_document(Job(folder, means, folder.corpus.read_bytes(), None))
            problems = verify.verify(folder)
        if problems:
            document = ledger.open_corpus(folder)
            job = Job(folder, means, folder.corpus.read_bytes(), document)
            _mend(job, document, [problem for problem in problems if not problem.away])
            if url := sent.url_of(folder):
                _send_again(job, problems, url)
            problems = verify.verify(folder)
    return problems


def _send_again(job: Job, problems: Sequence[Problem], url: str) -> None:
    """Send what was mended here, and what is no longer what it was at the URL of the pixels."""
    for shard in sorted({p.shard for p in problems if p.shard is not None}):
        try:
            sending.settle(job.folder, shard, url, again=True)
        except StoreError as error:
            job.tell(str(error))
            return
    for problem in away.publish(job.folder).problems:
        job.tell(str(problem))
    job.tell(f"{url}: what was mended is there")


def _mend(job: Job, document: Json, problems: Sequence[Problem]) -> None:
    """Mend what is wrong with a corpus whose `corpus.json` is proven."""
    for problem in problems:
        if problem.extra:
            _put_away(job, problem.name)
    wrong = {problem.name for problem in problems if not problem.extra}
    if job.folder.recipe.name in wrong:
        write_bytes(job.folder.recipe, document["recipe"].encode())
        job.tell(f"{job.folder.recipe.name}: written again from corpus.json")
    lost = [shard for shard in verify.shards_of(document) if layout.receipt_name(shard) in wrong]
    broken = {p.shard for p in problems if p.shard is not None} - {*lost}
    make_again(job, [name for name in TABLES if name in wrong], lost, sorted(broken))
    _describe_again(job, document, [n for n in wrong if n.endswith("/zarr.json")])
    # its receipts and tables get their hashes anew, so none of them may be a wrong one
    if (job.changed or wrong & _FINISHED) and not job.failed:
        spec = GridSpec(int(document["chip_size_px"]))
        ledger.finish(job.folder, spec, document["wanted"], ledger.said(document))
        job.tell("chips.parquet, refusals.parquet, corpus.json: written again from the receipts")


def _write_document(job: Job) -> None:
    """Write a damaged `corpus.json` again, from receipts and tables that it still vouches for.

    Raises:
        StoreError: If they are damaged, too, and cannot be made again.
    """
    if not job.folder.recipe.is_file():
        try:
            text = str(receipts.parse(job.said)["recipe"])
        except (ValueError, KeyError):
            msg = (
                f"{job.folder.root}: corpus.json is damaged and recipe.toml missing; put back one "
                "of them from a copy"
            )
            raise StoreError(msg) from None
        write_bytes(job.folder.recipe, text.encode())
    wrong = [name for name in TABLES if not job.vouches_for(name)]
    with aside(job, wrong) as run:
        lost, told = _unproven_receipts(job, run), about(run)
    make_again(job, wrong, lost, [])
    if job.failed:
        msg = f"{job.folder.root}: corpus.json is damaged, and so is {min(job.failed)}"
        raise StoreError(msg)
    grid, per_shard = run.recipe.grid, run.recipe.store.chips_per_shard
    plans = layout.arrays(grid, run.recipe.store.codec)
    end = _end(job.folder)
    described = store.metadata(plans, end or run.n, per_shard, told, whole=end > 0)
    store.mend(job.folder, described, store.differing(job.folder, described))
    last = b'"last": false' not in job.said and not dense.has_gaps(job.folder, per_shard)
    noted = _noted_id(job)
    document = ledger.finish(job.folder, grid, run.n, told | {"last": last})
    known = document["corpus_id"] == noted or document["corpus_id"].encode() in job.said
    sure = "as before" if known else "whether that is the one before cannot be told any more"
    job.tell(
        f"corpus.json: written again from the receipts · id {document['corpus_id'][:12]}, {sure}"
    )


def _unproven_receipts(job: Job, run: Run) -> list[int]:
    """Return the shards whose receipt is missing, or not vouched for by a damaged `corpus.json`."""
    tally, names = ledger.Tally(), {shard: layout.receipt_name(shard) for shard in run.slots}
    try:
        for shard, content, receipt in receipts.read_proven(job.folder):
            tally.add(shard, content, receipt)
    except (StoreError, KeyError, TypeError):
        pass  # one that cannot be read: the others are judged one by one
    else:
        if tally.corpus_id == _noted_id(job) or tally.corpus_id.encode() in job.said:
            return []
    return [shard for shard, name in names.items() if not job.vouches_for(name)]


def _noted_id(job: Job) -> str | None:
    """Return the identity that the index was written with, if that can be read."""
    try:
        return tables.notes_of(job.folder.chips).get("s1s2:corpus_id")
    except StoreError:
        return None


def _end(folder: Folder) -> int:
    """Return one more than the last chip's number."""
    for shard in reversed(receipts.numbers(folder)):
        receipt = receipts.read_receipt(folder, shard)
        if receipt is not None and receipt["rows"]:
            return int(receipt["rows"][-1]["chip"]) + 1
    return 0


def _put_away(job: Job, name: str) -> None:
    """Move a file that is none of the corpus' out of its way; it may be dear to somebody."""
    target = job.folder.root / "put-away" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    (job.folder.root / name).replace(target)
    job.tell(f"{name}: is none of the corpus' files; moved to {target}")


def _describe_again(job: Job, document: Json, names: Collection[str]) -> None:
    """Write Zarr's metadata again."""
    if not names:
        return
    told = {key: value for key, value in ledger.said(document).items() if key != "last"}
    plans = layout.arrays(GridSpec(int(document["chip_size_px"])), document["codec"])
    end = _end(job.folder)
    per_shard = int(document["chips_per_shard"])
    described = store.metadata(plans, end or document["wanted"], per_shard, told, whole=end > 0)
    top = f"{job.folder.zarr.name}/"
    store.mend(job.folder, described, [name.removeprefix(top) for name in names])
    for name in sorted(names):
        job.tell(f"{name}: written again")
        job.changed |= not job.vouches_for(name)
