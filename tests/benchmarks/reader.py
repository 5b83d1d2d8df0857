"""How fast chips are cut: ours beside rasterio, rioxarray, odc-stac, stackstac and async-geotiff.

Files of full size behind a server that waits before each answer: `15-bit` as on Planetary Computer
(512 px blocks), `predictor` as on Earth Search (16 bit, predictor 2, 1,024 px blocks); radar is
float32 with predictor 3 in both. Readers take turns, this process on one processor, and must read
the same pixels. Every chip is of another scene unless a setting says otherwise. `s1s2` reads as
over TLS, which vouches for its bytes; `s1s2, checksums` as over plain HTTP, where every block is
inflated to its end. `s1s2 chip` judges, packs and writes a shard besides. Ratios tell more than
times, which are the machine's.

Run it with `make bench SUITE=reader` (a quarter of an hour of two idle processors); it prints
tables and writes `build/bench.json`. Peers: `pip install -e '.[bench]'`.
"""

import hashlib
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from threading import Barrier
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))

import cogs
import peers
from cogs import OURS, PROCESSORS, Archive, Work, catalog_of, counts
from floor import Floor
from table import keep

from s1s2 import fill, layout, store
from s1s2.bands import Sensor
from s1s2.chip import ChipRules
from s1s2.fill import ShardTask, fill_shard
from s1s2.grid import GridSpec
from s1s2.layout import Folder
from s1s2.reader import CogReader

ROUNDS, CHIPS, OFTEN = 3, 12, 6
"""Peers read twelve chips a round, ours those of as many scenes more often: it is done too soon."""
THREADS = 16
"""Chips under way at once."""


@dataclass(frozen=True)
class Setting:
    """What is measured beside each other."""

    layout: str
    wait_ms: int
    per_scene: int = 1
    mbit: int = 0
    whom: tuple[str, ...] = ()
    """Readers; all of them where none is named."""

    @property
    def in_flight(self) -> int:
        return 256 if self.wait_ms > 30 else 64

    def __str__(self) -> str:
        scenes = f", {self.per_scene} chips a scene" if self.per_scene > 1 else ""
        line = f", {self.mbit} Mbit/s" if self.mbit else ""
        return f"{self.layout}, {self.wait_ms} ms{scenes}{line}"


SETTINGS = (
    Setting("15-bit", 30),
    Setting("15-bit", 0),
    Setting("15-bit", 80),
    Setting("15-bit", 30, per_scene=12, whom=("s1s2", "rasterio", "odc-stac")),
    Setting("15-bit", 30, mbit=200, whom=("s1s2", "rasterio")),
    Setting("predictor", 30),
    Setting("predictor", 0),
    Setting("predictor", 80),
)


@dataclass
class Figures:
    """What each round took."""

    rate: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)
    n_bytes: list[float] = field(default_factory=list)
    grown_mb: list[float] = field(default_factory=list)

    def middle(self, name: str) -> float:
        return statistics.median(getattr(self, name))


Way = Callable[[str, Sequence[Work]], list[str]]
"""Reads chips; returns the hashes of their pixels, of as many as it has them for."""


def hashed(arrays: Mapping[Any, Any]) -> str:
    found = hashlib.sha256()
    for band in sorted(arrays):
        found.update(arrays[band].tobytes())
    return found.hexdigest()


def through(read: Callable[..., Mapping[Any, Any]], works: Sequence[Work]) -> list[str]:
    """Read all bands of chips, some chips at once."""

    def one(work: Work) -> str:
        own = {Sensor.S2: work.pair.s2, Sensor.S1: work.pair.s1}
        return hashed({b: a for s in Sensor for b, a in read(own[s], work.of(s)).items()})

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, works))


def ours(url: str, works: Sequence[Work], in_flight: int, *, proven: bool = True) -> list[str]:
    vouched = cogs.as_over_tls() if proven else nullcontext()
    with vouched, CogReader({"bench": catalog_of(url)}, in_flight) as reader:

        def read(*asked: Any) -> Mapping[Any, Any]:  # noqa: ANN401  # a scene and its grids
            return {band: pixels.data for band, pixels in reader.read(*asked).items()}

        return through(read, works)


def theirs(peer: type, _: str, works: Sequence[Work]) -> list[str]:
    return through(peer([work.pair.s2 for work in works] + [w.pair.s1 for w in works]).read, works)


def whole(url: str, works: Sequence[Work]) -> list[str]:
    """Fill a shard, as `s1s2 chip` does."""
    with tempfile.TemporaryDirectory() as name, cogs.as_over_tls():
        folder, spec = Folder(Path(name)), GridSpec()
        store.create(folder, layout.arrays(spec), len(works), len(works), {})
        task = ShardTask(
            0, len(works), len(works), folder, spec, ChipRules(), len(works),
            {"bench": catalog_of(url)},
        )  # fmt: skip
        places = [fill.Place(n, 0, "train", (work.pair,)) for n, work in enumerate(works)]
        with mock.patch.object(fill, "places_of", return_value=places):
            report = fill_shard(task)
        assert report.chips == len(works), report
    return []


def ways(setting: Setting) -> dict[str, Way]:
    flight = setting.in_flight
    every: dict[str, Way] = {
        "s1s2": lambda url, works: ours(url, works, flight),
        "s1s2, checksums": lambda url, works: ours(url, works, flight, proven=False),
        "s1s2 chip": whole,
    }
    for peer in peers.PEERS:
        if find_spec(peer.module) and setting.layout in peer.layouts:
            every[peer.name] = partial(theirs, peer)
    return {name: way for name, way in every.items() if not setting.whom or name in setting.whom}


def measure(way: Way, url: str, works: Sequence[Work], into: Figures) -> list[str]:
    counts(url)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that of this round
    before = memory("VmRSS")
    begun, cpu = time.perf_counter(), time.process_time()
    hashes = way(url, works)
    into.rate.append(len(works) / (time.perf_counter() - begun))
    into.cpu_ms.append((time.process_time() - cpu) / len(works) * 1000)
    into.grown_mb.append(memory("VmHWM") - before)
    requests, n_bytes = counts(url)
    into.requests.append(requests / len(works))
    into.n_bytes.append(n_bytes / len(works))
    return hashes


def memory(which: str) -> float:
    """Return this process' memory now (VmRSS) or at its highest (VmHWM), MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1000


def compare(setting: Setting, archive: Archive) -> Iterator[tuple[str, Figures, Floor, float]]:
    """Let all ways read the same chips in turn; yield what they took, and the least there is."""
    figures: dict[str, Figures] = {}
    with cogs.served(archive.folder, setting.wait_ms, setting.mbit) as url:
        every = ways(setting)
        pixels = set()
        for _ in range(ROUNDS):
            for name, way in every.items():
                often = 1 if setting.mbit or not name.startswith("s1s2") else OFTEN
                works = archive.works(url, CHIPS, often, per_scene=setting.per_scene)
                found = measure(way, url, works, figures.setdefault(name, Figures()))
                pixels |= {tuple(found[at : at + CHIPS]) for at in range(0, len(found), CHIPS)}
        assert len(pixels) == 1, "all read the same pixels"
        floor = Floor(archive.folder, archive.works(url, CHIPS))
    with cogs.served(archive.folder, 0) as url:
        cpu_ms = floor.cpu_ms(url)
    for name, own in figures.items():
        yield name, own, floor, cpu_ms


def side_by_side(archive: Archive, wait_ms: int) -> tuple[float, float]:
    """Return how many chips a second one process reads, and two, each on a processor of its own."""
    rates = []
    context = multiprocessing.get_context("spawn")
    with cogs.served(archive.folder, wait_ms) as url:
        for n in (1, 2):
            with context.Manager() as manager, ProcessPoolExecutor(n, context) as pool:
                gate = manager.Barrier(n)
                jobs = [pool.submit(worker, archive, url, gate, p) for p in sorted(PROCESSORS)[-n:]]
                spans = [job.result() for job in jobs]
            took = max(end for _, end in spans) - min(begun for begun, _ in spans)
            rates.append(n * CHIPS * OFTEN / took)
    return rates[0], rates[1]


def worker(archive: Archive, url: str, gate: Barrier, processor: int) -> tuple[float, float]:
    os.sched_setaffinity(0, {processor})
    cogs.NAMES = iter(range(processor * 1_000_000, (processor + 1) * 1_000_000))
    ours(url, archive.works(url, 2), 64)
    works = archive.works(url, CHIPS, OFTEN)
    gate.wait(60)
    begun = time.monotonic()
    ours(url, works, 64)
    return begun, time.monotonic()


def run(settings: Sequence[Setting] = SETTINGS) -> None:
    rows: list[dict[str, Any]] = []
    names = ("numpy", *(peer.name for peer in peers.PEERS if find_spec(peer.module)))
    has = [f"{name} {version(name)}" for name in names]
    print(f"{datetime.now(UTC):%Y-%m-%d} · Python {platform.python_version()} · {', '.join(has)}")
    for name in dict.fromkeys(s.layout for s in settings):
        with tempfile.TemporaryDirectory() as folder:
            archive = cogs.archive(Path(folder), name)
            os.sched_setaffinity(0, {OURS})
            for setting in (s for s in settings if s.layout == name):
                rows += tabled(setting, compare(setting, archive))
            os.sched_setaffinity(0, PROCESSORS)
            if len(PROCESSORS) > 1:
                pairs = [side_by_side(archive, 30) for _ in range(ROUNDS)]
                gain = statistics.median(two / one for one, two in pairs)
                print(f"\n{name}, 30 ms: two processes read {gain:.2f} times as many as one")
                rate = statistics.median(two for _, two in pairs)
                rows.append({"setting": f"{name}, 30 ms, two workers", "who": "s1s2", "rate": rate})
    keep("reader", rows)


def tabled(
    setting: Setting, found: Iterator[tuple[str, Figures, Floor, float]]
) -> Iterator[dict[str, Any]]:
    """Print a setting's table, and yield its rows."""
    lines = list(found)
    best = [own.middle("rate") for name, own, *_ in lines if not name.startswith("s1s2")]
    _, _, floor, cpu_ms = lines[0]
    limit = min(1000 / cpu_ms, setting.mbit * 1e6 / 8 / floor.n_bytes if setting.mbit else 1e9)
    print(
        f"\n{setting} · at least {floor.requests:.1f} requests, {floor.n_bytes / 1e6:.2f} MB, "
        f"{cpu_ms:.1f} ms a chip: {limit:.1f} chips/s\n"
        f"{'':16} chips/s  of limit  x best peer CPU ms (x)     requests (x)  MB (x)       peak MB"
    )
    for name, own, *_ in lines:
        rate, cpu = own.middle("rate"), own.middle("cpu_ms")
        requests, n_bytes = own.middle("requests"), own.middle("n_bytes")
        print(
            f"{name:16} {rate:8.2f} {rate / limit:8.2f} {rate / max(best):11.2f}  "
            f"{cpu:6.1f} ({cpu / cpu_ms:5.2f})  {requests:6.1f} ({requests / floor.requests:4.2f}) "
            f"{n_bytes / 1e6:6.2f} ({n_bytes / floor.n_bytes:4.2f}) {max(own.grown_mb):8.0f}"
        )
        yield {
            "setting": str(setting), "who": name, "rate": rate, "cpu_ms": cpu,
            "requests": requests, "bytes": n_bytes, "peak_mb": max(own.grown_mb),
            "of_limit": rate / limit,
        }  # fmt: skip


if __name__ == "__main__":
    run([s for s in SETTINGS if not sys.argv[1:] or str(s) in sys.argv[1:]])
