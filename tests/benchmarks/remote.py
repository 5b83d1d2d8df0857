"""How fast chips come from object storage that takes its time: ours beside zarr-python's ways.

A server on loopback, in a process of its own, answers every request 30 ms late. The same made-up
chips lie there in shards of 128; all read each chip's three arrays as they are stored, from some
thousand chips, so that one drawn at random seldom has a neighbour that is wanted soon. Runs are
interleaved, each in a process of its own, for some seconds, ours after indices are known. `one by
one` is a loop over chips; `gather` asks for 128 chips at once, by asyncio.

Run it with `make bench SUITE=remote` (two minutes of two idle cores); it prints a table and writes
build/bench.json.
"""

import argparse
import asyncio
import hashlib
import json
import mmap
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import table
from loader import NATIVE, PER_SHARD, SIZE, made_up, shard_file, write_ours

WRITTEN, LINKED = 2, 64
"""Shards that are written, and names that they get: the page cache holds them all."""
CHIPS = LINKED * PER_SHARD
BATCH, GATHERED, GROUP = 32, 128, 4 * PER_SHARD
BUCKET = "bucket"
Body = bytes | memoryview


# ---- the store ----


def publish(root: Path) -> None:
    """Write shards, under many names, and what stands in for their receipts."""
    write_ours(root, made_up(WRITTEN * PER_SHARD), "lz4")
    for path in (root / "chips.zarr").glob("*/zarr.json"):
        document = json.loads(path.read_text())
        document["shape"][0] = CHIPS
        path.write_text(json.dumps(document))
    (root / "receipts").mkdir()
    for shard in range(LINKED):
        for name in NATIVE:
            path = shard_file(root, name, shard)
            if shard >= WRITTEN:
                path.parent.mkdir(parents=True)
                path.hardlink_to(shard_file(root, name, shard % WRITTEN))
        paths = [shard_file(root, name, shard) for name in NATIVE]
        said = {p.relative_to(root).as_posix(): {"size": p.stat().st_size} for p in paths}
        (root / f"receipts/{shard:05d}.json").write_text(json.dumps({"objects": said}))


class Bucket(asyncio.Protocol):
    """As much of S3 as readers of shards need: GET and HEAD of objects, whole or by range."""

    counts = [0, 0]  # noqa: RUF012  # of all connections

    def __init__(self, root: Path, wait_s: float) -> None:
        self.root, self.wait_s, self.asked = root, wait_s, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.asked += data
        while b"\r\n\r\n" in self.asked:
            head, _, self.asked = self.asked.partition(b"\r\n\r\n")
            asyncio.get_running_loop().call_later(self.wait_s, self.answer, head)

    def answer(self, head: bytes) -> None:
        method, target, _ = head.split(b" ", 2)
        name = target.decode().split("?")[0].split("/", 2)[2]
        if name == "counts":
            self.send("200 OK", " ".join(map(str, self.counts)).encode())
            self.counts[:] = [0, 0]
            return
        self.counts[0] += 1
        whole = content(self.root / name)
        if whole is None:
            self.send("404 Not Found", b"")
            return
        first, end = span(head, len(whole))
        said = f"bytes {first}-{end - 1}/{len(whole)}"
        headers = f'ETag: "{len(whole)}"\r\nAccept-Ranges: bytes\r\nContent-Range: {said}\r\n'
        if method == b"HEAD":
            self.send("200 OK", b"", headers, len(whole))
            return
        self.counts[1] += end - first
        status = "206 Partial Content" if b"bytes=" in head else "200 OK"
        self.send(status, whole[first:end], headers)

    def send(self, status: str, body: Body, headers: str = "", length: int = 0) -> None:
        length = length or len(body)
        if not self.transport.is_closing():
            self.transport.write(
                f"HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n".encode()
            )
            self.transport.write(body)


@lru_cache
def content(path: Path) -> memoryview | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def span(head: bytes, size: int) -> tuple[int, int]:
    """Return which bytes of an object are asked for: from, and up to."""
    found = re.search(rb"(?i)\r\nrange: bytes=(\d*)-(\d*)", head)
    if not found:
        return 0, size
    if not found[1]:
        return max(0, size - int(found[2])), size
    return int(found[1]), min(int(found[2] or size) + 1, size)


async def serve(root: Path, wait_s: float) -> None:
    loop = asyncio.get_running_loop()
    made = partial(Bucket, root, wait_s)
    server = await loop.create_server(made, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


@contextmanager
def served(root: Path, wait_ms: float) -> Iterator[str]:
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(root), "--wait-ms", str(wait_ms)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.stdin.close()
        server.wait(20)


def counts(endpoint: str) -> tuple[int, int]:
    """Return requests and bytes since it was asked last."""
    with urllib.request.urlopen(f"{endpoint}/-/counts") as answer:  # noqa: S310  # the server above
        requests, nbytes = map(int, answer.read().split())
        return requests, nbytes


# ---- reading it ----


def ours(told: Mapping[str, Any]) -> Iterator[int]:
    """Yield how many chips came, batch by batch, epoch after epoch."""
    from s1s2.loader.batches import Feed
    from s1s2.loader.chips import Remote
    from s1s2.loader.finish import View, plan
    from s1s2.loader.hosts import Source
    from s1s2.loader.loader import Loader
    from s1s2.loader.order import Choice, Cut, Items, Orders
    from s1s2.loader.shards import described

    root = Path(told["root"])
    zarrs = {k: root / "chips.zarr" / k / "zarr.json" for k in NATIVE}
    forms = [described(k, json.loads(path.read_text())) for k, path in zarrs.items()]
    receipts = [(root / f"receipts/{k:05d}.json").read_bytes() for k in range(LINKED)]
    proofs = {k: hashlib.sha256(content).hexdigest() for k, content in enumerate(receipts)}
    chips = np.arange(CHIPS)
    loader = Loader(
        Source(
            tuple(form for form in forms if form is not None),
            f"s3://{BUCKET}",
            PER_SHARD,
            lambda _: {},
            Remote(proofs),
        ),
        plan(View("raw", size="native"), SIZE, {}),
        Choice(chips[:, None], Items(chips // PER_SHARD, chips), Orders(told["shuffle"], 1)),
        Cut(BATCH),
        Feed(process=told["process"], threads=told["threads"]),
    )
    with loader:
        while True:
            for batch in loader:
                yield len(batch["chip"])


def arrays(*, lazily: bool) -> dict[str, Any]:
    import zarr
    from obstore.store import from_url
    from zarr.api import asynchronous

    store = zarr.storage.ObjectStore(
        from_url(f"s3://{BUCKET}/chips.zarr", client_options={"allow_http": True}), read_only=True
    )
    if lazily:
        return {k: asynchronous.open_array(store=store, path=k, zarr_format=3) for k in NATIVE}
    return {k: zarr.open_array(store, path=k, mode="r", zarr_format=3) for k in NATIVE}


def one_by_one(told: Mapping[str, Any]) -> Iterator[int]:
    opened = arrays(lazily=False)
    for chip in np.random.default_rng(told["seed"]).permutation(CHIPS).tolist():
        for array in opened.values():
            np.asarray(array[chip])
        yield 1


def gathered(told: Mapping[str, Any]) -> Iterator[int]:
    """Zarr's own calls, as many at once as it is asked for."""
    waiting = arrays(lazily=True)
    order = np.random.default_rng(told["seed"]).permutation(CHIPS).tolist()
    with asyncio.Runner() as runner:

        async def opened() -> list[Any]:
            return [await array for array in waiting.values()]

        async def some(found: list[Any], chips: list[int]) -> None:
            await asyncio.gather(*(array.getitem(chip) for chip in chips for array in found))

        found = runner.run(opened())
        for first in range(0, CHIPS, GATHERED):
            runner.run(some(found, order[first : first + GATHERED]))
            yield GATHERED


WAYS: dict[str, tuple[Callable[[Mapping[str, Any]], Iterator[int]], dict[str, Any]]] = {
    "s1s2, full": (ours, {"shuffle": "full", "process": True, "threads": 2}),
    "s1s2, block": (ours, {"shuffle": "block", "process": True, "threads": 2}),
    "zarr, gather": (gathered, {}),
    "zarr, one by one": (one_by_one, {}),
}


def run(told: Mapping[str, Any]) -> dict[str, float]:
    read, _ = WAYS[told["way"]]
    chips = read(told)
    warmed = 0
    while warmed < told["warm"]:  # indices, connections, and every slot of a ring
        warmed += next(chips)
    counts(told["endpoint"])
    many, since = 0, time.perf_counter()
    # a group of shards is fetched while that before it ends: count from one middle to another
    while (spent := time.perf_counter() - since) < told["seconds"] or many % told["step"]:
        many += next(chips)
    requests, nbytes = counts(told["endpoint"])
    return {"rate": many / spent, "gets": requests / many, "kb": nbytes / many / 1e3}


def apart(told: Mapping[str, Any]) -> dict[str, float]:
    """Do one run in a process of its own."""
    environment = os.environ | {
        "AWS_ENDPOINT_URL": told["endpoint"],
        "AWS_ALLOW_HTTP": "true",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_REGION": "nowhere",
    }
    line = [sys.executable, __file__, "--run", json.dumps(told)]
    done = subprocess.run(
        line, capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    if done.returncode:
        print(f"  {told['way']} failed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return {}
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--wait-ms", type=float, default=30)
    parser.add_argument("--who", nargs="*", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--out", type=Path, default=table.PLACE)
    parser.add_argument("--run", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.serve:
        asyncio.run(serve(told.serve, told.wait_ms / 1000))
        return
    if told.run:
        print(json.dumps(run(told.run)), flush=True)
        os._exit(0)  # what asyncio began in obstore aborts at the end of a program
    with tempfile.TemporaryDirectory() as folder:
        publish(Path(folder))
        with served(Path(folder), told.wait_ms) as endpoint:
            results = measured(folder, endpoint, told)
    rows = [row_of(way, runs, told.wait_ms) for way, runs in results.items() if runs]
    table.keep("remote", rows, told.out)
    show(rows)


def measured(
    folder: str, endpoint: str, told: argparse.Namespace
) -> dict[str, list[dict[str, float]]]:
    results: dict[str, list[dict[str, float]]] = {way: [] for way in told.who}
    for number in range(told.rounds):
        for way in random.sample(told.who, len(told.who)):
            slow = way.startswith("zarr")
            case = WAYS[way][1] | {
                "way": way, "root": folder, "endpoint": endpoint, "seconds": told.seconds,
                "seed": number, "warm": 1 if slow else 5 * GROUP // 2, "step": 1 if slow else GROUP,
            }  # fmt: skip
            if result := apart(case):
                results[way].append(result)
    return results


def row_of(way: str, runs: list[dict[str, float]], wait_ms: float) -> dict[str, Any]:
    who, _, how = way.partition(", ")
    middle = {key: statistics.median(r[key] for r in runs) for key in runs[0]}
    setting = f"{wait_ms:g} ms an answer, {how}"
    return {"setting": setting, "who": who, "rates": [r["rate"] for r in runs], **middle}


def show(rows: list[dict[str, Any]]) -> None:
    print(f"{'setting':34} {'who':6} {'chips/s':>8} {'GETs':>6} {'kB':>6} {'x gather':>9}")
    base = next((r["rate"] for r in rows if r["setting"].endswith("gather")), None)
    for row in rows:
        ratio = f"{row['rate'] / base:9.2f}" if base else ""
        print(
            f"{row['setting']:34} {row['who']:6} {row['rate']:8.0f} {row['gets']:6.2f} "
            f"{row['kb']:6.0f} {ratio}"
        )


if __name__ == "__main__":
    main()
