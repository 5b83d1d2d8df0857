"""How fast a training loop is fed, ours beside the formats people convert to, in one run.

Every loader serves the same made-up chips (12 optical and 2 radar bands) in batches of one size,
fully shuffled where it can, from the page cache, pinned to one core, each run in a process of its
own, the runs of all interleaved. Peers store all bands at 10 m, as people do; ours stores 20 m
bands as they are: `default` is lz4, `compressed` zstd, `uncompressed` none. With `normalised` each
makes float32 at 10 m of them. Limits: decoding our chunks alone; a positioned read of plain ones.
`huge pages` is torch's THP_MEM_ALLOC_ENABLE=1 for all: without it most of what peers do is touching
fresh memory. An epoch of ours has each chip eight times: it reads ahead within one, and real ones
are long. What is compared with a limit runs three times, the rest once.

Run it with `make bench SUITE=loader` (twelve minutes of two idle cores); it prints a table and
writes build/bench.json. A peer that is not installed is left out, and named: pip install
's1s2[bench]'.
"""

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import table

SIZE, PER_SHARD, MEASURE_S = 256, 128, 1.0
TIMES = 8
"""So often each chip comes in an epoch of ours; four batches would be mostly their beginning."""
MEAN, STD = 1500.0, 700.0
NATIVE = {"s2_10m": (4, SIZE), "s2_20m": (8, SIZE // 2), "s1": (2, SIZE)}
FULL = {"s2": (12, SIZE), "s1": (2, SIZE)}
NEEDS = {
    "WebDataset": "webdataset",
    "litData": "litdata",
    "MosaicML Streaming": "streaming",
    "Hugging Face parquet": "datasets",
    "xbatcher": "xbatcher",
}
LIMITS = ("limit: decode", "limit: decode compressed", "limit: read uncompressed")
Sample = dict[str, np.ndarray]
Served = Iterable[Mapping[str, Any]]


# ---- the chips ----


def made_up(n: int) -> dict[str, np.ndarray]:
    """Return chips that compress as real ones do: a smooth surface, texture, sensor noise."""
    random = np.random.default_rng(0)
    found = {}
    for name, (bands, size) in NATIVE.items():
        kind = np.int16 if name == "s1" else np.uint16
        found[name] = np.empty((n, bands, size, size), kind)
        for chip in found[name]:
            steps = random.normal(0, 60, (2, bands, size, 1)).cumsum(axis=2)
            surface = 1500 + steps[0] + steps[1].reshape(bands, 1, size)
            noise = random.normal(0, 220 if name == "s1" else 60, chip.shape)
            chip[:] = (-1200 + noise) if name == "s1" else np.clip(surface + noise, 1, 15_000)
    return found


def at_10m(chips: Mapping[str, np.ndarray], k: int) -> Sample:
    coarse = chips["s2_20m"][k].repeat(2, axis=1).repeat(2, axis=2)
    return {"s2": np.concatenate([chips["s2_10m"][k], coarse]), "s1": chips["s1"][k]}


# ---- writing them in each format ----


def write_ours(root: Path, chips: Mapping[str, np.ndarray], codec: str) -> None:
    from s1s2 import layout, store
    from s1s2.grid import GridSpec

    plans = [p for p in layout.arrays(GridSpec(SIZE), codec) if p.name in chips]
    n, folder = len(chips["s1"]), layout.Folder(root)
    store.create(folder, plans, n, PER_SHARD, {})
    for shard in range(-(-n // PER_SHARD)):
        rows = slice(shard * PER_SHARD, (shard + 1) * PER_SHARD)
        blocks = {name: block[rows] for name, block in chips.items()}
        store.write_shard(folder, plans, shard, blocks, PER_SHARD)


def shard_file(root: Path, name: str, shard: int) -> Path:
    return root / "chips.zarr" / name / "c" / str(shard) / "0" / "0" / "0"


def write_memmap(root: Path, chips: Mapping[str, np.ndarray]) -> None:
    n = len(chips["s1"])
    for name, (bands, size) in FULL.items():
        kind = chips["s1" if name == "s1" else "s2_10m"].dtype
        file = np.lib.format.open_memmap(root / f"{name}.npy", "w+", kind, (n, bands, size, size))
        for k in range(n):
            file[k] = at_10m(chips, k)[name]


def write_webdataset(root: Path, chips: Mapping[str, np.ndarray]) -> None:
    import webdataset

    for first in range(0, len(chips["s1"]), PER_SHARD):
        with webdataset.TarWriter(str(root / f"{first:06d}.tar")) as tar:
            for k in range(first, min(first + PER_SHARD, len(chips["s1"]))):
                full = at_10m(chips, k)
                tar.write({"__key__": f"{k:06d}", "s2.npy": full["s2"], "s1.npy": full["s1"]})


def write_litdata(root: Path, chips: Mapping[str, np.ndarray], compression: str | None) -> None:
    from litdata.streaming.writer import BinaryWriter

    writer = BinaryWriter(str(root), chunk_bytes="128MB", compression=compression)
    for k in range(len(chips["s1"])):
        writer[k] = at_10m(chips, k)
    writer.done()
    writer.merge()


def write_mosaic(root: Path, chips: Mapping[str, np.ndarray]) -> None:
    from streaming import MDSWriter

    shape = f"12,{SIZE},{SIZE}", f"2,{SIZE},{SIZE}"
    columns = {"s2": f"ndarray:uint16:{shape[0]}", "s1": f"ndarray:int16:{shape[1]}"}
    with MDSWriter(out=str(root), columns=columns) as writer:
        for k in range(len(chips["s1"])):
            writer.write(at_10m(chips, k))


def write_parquet(root: Path, chips: Mapping[str, np.ndarray]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for first in range(0, len(chips["s1"]), PER_SHARD):
        rows = [at_10m(chips, k) for k in range(first, min(first + PER_SHARD, len(chips["s1"])))]
        table = pa.table({key: pa.array([r[key].tobytes() for r in rows]) for key in FULL})
        pq.write_table(
            table, root / f"{first:06d}.parquet", compression="none", use_dictionary=False
        )


def write_geotiff(root: Path, chips: Mapping[str, np.ndarray]) -> None:
    import rasterio
    from rasterio.transform import from_origin

    for k in range(len(chips["s1"])):
        for name, pixels in at_10m(chips, k).items():
            profile = {
                "driver": "GTiff", "width": SIZE, "height": SIZE, "count": len(pixels),
                "dtype": pixels.dtype, "crs": "EPSG:32631", "compress": "deflate", "predictor": 2,
                "transform": from_origin(500_000, 5_000_000, 10, 10),
            }  # fmt: skip
            with rasterio.open(root / f"{k:06d}_{name}.tif", "w", **profile) as file:
                file.write(pixels)


WRITERS: dict[str, Callable[[Path, Mapping[str, np.ndarray]], None]] = {
    "s1s2": lambda root, chips: write_ours(root, chips, "lz4"),
    "s1s2 compressed": lambda root, chips: write_ours(root, chips, "zstd"),
    "s1s2 uncompressed": lambda root, chips: write_ours(root, chips, "none"),
    "memmap": write_memmap,
    "WebDataset": write_webdataset,
    "litData": lambda root, chips: write_litdata(root, chips, None),
    "litData compressed": lambda root, chips: write_litdata(root, chips, "zstd"),
    "MosaicML Streaming": write_mosaic,
    "Hugging Face parquet": write_parquet,
    "GeoTIFF per chip": write_geotiff,
}
READS = {
    "naive Zarr": "s1s2",
    "xbatcher": "s1s2",
    "limit: decode": "s1s2",
    "limit: decode compressed": "s1s2 compressed",
    "limit: read uncompressed": "s1s2 uncompressed",
}
"""Those that read what another wrote."""


# ---- reading them ----


def finished(sample: Sample, *, normal: bool) -> dict[str, Any]:
    """Make tensors of a sample, as a dataset's `__getitem__` would."""
    import torch

    if not normal:
        return {key: torch.from_numpy(array) for key, array in sample.items()}
    floats = {key: array.astype(np.float32) for key, array in sample.items()}
    for array in floats.values():
        np.subtract(array, MEAN, out=array)
        np.multiply(array, 1 / STD, out=array)
    return {key: torch.from_numpy(array) for key, array in floats.items()}


class Items:
    """A map-style dataset of one function."""

    def __init__(self, n: int, get: Callable[[int], Sample], *, normal: bool) -> None:
        self._n, self._get, self._normal = n, get, normal

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, k: int) -> dict[str, Any]:
        return finished(self._get(k), normal=self._normal)


def torch_loader(items: object, batch: int, workers: int, *, shuffle: bool = True) -> Served:
    from torch.utils.data import DataLoader

    return DataLoader(
        items, batch, shuffle=shuffle, num_workers=workers, persistent_workers=workers > 0
    )


def ours(
    root: Path, n: int, batch: int, workers: int, *, normal: bool, times: int = TIMES
) -> Served:
    from s1s2.bands import OPTICAL, RADAR
    from s1s2.loader.batches import Feed
    from s1s2.loader.finish import View, plan
    from s1s2.loader.hosts import Source
    from s1s2.loader.loader import Loader
    from s1s2.loader.order import Choice, Cut, Items, Orders
    from s1s2.loader.shards import described

    zarrs = {k: root / "chips.zarr" / k / "zarr.json" for k in NATIVE}
    forms = [described(k, json.loads(path.read_text())) for k, path in zarrs.items()]
    known = tuple(form for form in forms if form is not None)

    def said_of(shard: int) -> dict[str, tuple[str, int]]:
        paths = {name: shard_file(root, name, shard) for name in NATIVE}
        return {name: (str(path), path.stat().st_size) for name, path in paths.items()}

    statistics_ = {str(b): {"mean": MEAN, "std": STD} for b in (*OPTICAL, *RADAR)}
    chips = np.tile(np.arange(n), times)
    return Loader(
        Source(known, str(root), PER_SHARD, said_of),
        plan(View("normalised") if normal else View("raw", size="native"), SIZE, statistics_),
        Choice(chips[:, None], Items(chips // PER_SHARD, np.arange(len(chips))), Orders("full", 1)),
        Cut(batch),
        Feed(process=workers > 0, threads=max(1, workers)),
    )


def memmap(root: Path, n: int, batch: int, workers: int, *, normal: bool) -> Served:
    files = {name: np.load(root / f"{name}.npy", mmap_mode="r") for name in FULL}

    def get(k: int) -> Sample:
        return {name: np.array(file[k]) for name, file in files.items()}

    return torch_loader(Items(n, get, normal=normal), batch, workers)


def naive_zarr(root: Path, n: int, batch: int, workers: int, *, normal: bool) -> Served:
    import zarr

    arrays = {name: zarr.open_array(root / "chips.zarr" / name, mode="r") for name in NATIVE}

    def get(k: int) -> Sample:
        stored = {name: np.asarray(array[k]) for name, array in arrays.items()}
        return (
            at_10m({name: array[None] for name, array in stored.items()}, 0) if normal else stored
        )

    return torch_loader(Items(n, get, normal=normal), batch, workers)


def geotiff(root: Path, n: int, batch: int, workers: int, *, normal: bool) -> Served:
    import rasterio

    def get(k: int) -> Sample:
        found = {}
        for name in FULL:
            with rasterio.open(root / f"{k:06d}_{name}.tif") as file:
                found[name] = file.read()
        return found

    return torch_loader(Items(n, get, normal=normal), batch, workers)


def parquet(root: Path, n: int, batch: int, workers: int, *, normal: bool) -> Served:
    import datasets

    del n
    kinds = {"s2": np.dtype("uint16"), "s1": np.dtype("int16")}

    def shaped(rows: Mapping[str, list[bytes]]) -> dict[str, list[Any]]:
        arrays = {
            key: [
                np.frombuffer(bytearray(r), kinds[key]).reshape(-1, SIZE, SIZE) for r in rows[key]
            ]
            for key in FULL
        }
        done = [
            finished({key: arrays[key][k] for key in FULL}, normal=normal)
            for k in range(len(arrays["s1"]))
        ]
        return {key: [sample[key] for sample in done] for key in FULL}

    files = sorted(str(p) for p in root.glob("*.parquet"))
    table = datasets.Dataset.from_parquet(files, cache_dir=str(root / "cache"))
    return torch_loader(table.with_transform(shaped), batch, workers)


def webdataset_(root: Path, n: int, batch: int, workers: int, *, normal: bool) -> Served:
    import webdataset

    del n
    tars = sorted(str(p) for p in root.glob("*.tar"))
    samples = (
        webdataset.WebDataset(tars, shardshuffle=len(tars), empty_check=False)
        .shuffle(512)
        .decode()
        .map(lambda s: finished({"s2": s["s2.npy"], "s1": s["s1.npy"]}, normal=normal))
    )
    return torch_loader(samples, batch, workers, shuffle=False)


def litdata_(root: Path, n: int, batch: int, workers: int, *, normal: bool) -> Served:
    import litdata

    del n
    dataset = litdata.StreamingDataset(
        str(root), shuffle=True, transform=lambda s: finished(s, normal=normal)
    )
    return litdata.StreamingDataLoader(dataset, batch_size=batch, num_workers=workers)


def mosaic(root: Path, n: int, batch: int, workers: int, *, normal: bool) -> Served:
    import streaming

    del n

    class Normal(streaming.StreamingDataset):
        def __getitem__(self, k: int) -> dict[str, Any]:
            return finished(super().__getitem__(k), normal=normal)

    return torch_loader(
        Normal(local=str(root), shuffle=True, batch_size=batch), batch, workers, shuffle=False
    )


def xbatcher_(root: Path, n: int, batch: int, workers: int, *, normal: bool) -> Served:
    """Aligned blocks, in order: it has no shuffle of samples."""
    import xarray
    import xbatcher

    del workers, n
    data = xarray.open_zarr(
        root / "chips.zarr", consolidated=False, chunks=None, mask_and_scale=False
    )
    blocks = xbatcher.BatchGenerator(data, dict(data.sizes) | {"chip": batch})

    class Epochs:
        def __iter__(self) -> Iterator[Any]:
            for block in blocks:
                stored = {name: block[name].to_numpy() for name in NATIVE}
                if normal:
                    coarse = stored["s2_20m"].repeat(2, axis=2).repeat(2, axis=3)
                    stored = {
                        "s2": np.concatenate([stored["s2_10m"], coarse], 1),
                        "s1": stored["s1"],
                    }
                yield finished(stored, normal=normal)

    return Epochs()


def decode_limit(root: Path, n: int, batch: int, workers: int, *, normal: bool) -> Served:
    """Our chunks, already in memory, decoded into one batch that is used again and again."""
    import numcodecs.blosc

    del workers, normal
    numcodecs.blosc.use_threads = False
    frames: list[dict[str, bytes]] = [{} for _ in range(n)]
    for name in NATIVE:
        for shard in range(-(-n // PER_SHARD)):
            content = shard_file(root, name, shard).read_bytes()
            index = np.frombuffer(content[-16 * PER_SHARD - 4 : -4], "<u8").reshape(-1, 2).tolist()
            for place, (offset, length) in enumerate(index):
                if shard * PER_SHARD + place < n:
                    frames[shard * PER_SHARD + place][name] = content[offset : offset + length - 4]
    into = {
        name: np.zeros((batch, bands, size, size), np.uint16)
        for name, (bands, size) in NATIVE.items()
    }

    class Epochs:
        def __iter__(self) -> Iterator[Any]:
            order = np.random.default_rng(0).permutation(n)
            for k in range(0, n, batch):
                for row, chip in enumerate(order[k : k + batch]):
                    for name, frame in frames[chip].items():
                        numcodecs.blosc.decompress(frame, into[name][row])
                yield {"s1": into["s1"][: len(order[k : k + batch])]}

    return Epochs()


def read_limit(root: Path, n: int, batch: int, workers: int, *, normal: bool) -> Served:
    """Plain chunks, read by position into one batch that is used again and again, unchecked."""
    del workers, normal
    into = {
        name: np.zeros((batch, bands, size, size), np.uint16)
        for name, (bands, size) in NATIVE.items()
    }
    files = {
        (name, shard): os.open(shard_file(root, name, shard), os.O_RDONLY)
        for name in NATIVE
        for shard in range(-(-n // PER_SHARD))
    }

    class Epochs:
        def __iter__(self) -> Iterator[Any]:
            order = np.random.default_rng(0).permutation(n).tolist()
            for k in range(0, n, batch):
                for row, chip in enumerate(order[k : k + batch]):
                    shard, place = divmod(chip, PER_SHARD)
                    for name, rows in into.items():
                        out = rows[row]
                        offset = place * (out.nbytes + 4)
                        os.preadv(files[name, shard], [memoryview(out).cast("B")], offset)
                yield {"s1": into["s1"][: len(order[k : k + batch])]}

    return Epochs()


READERS: dict[str, Callable[..., Any]] = {
    "s1s2": ours,
    "s1s2 compressed": ours,
    "s1s2 uncompressed": ours,
    "memmap": memmap,
    "WebDataset": webdataset_,
    "litData": litdata_,
    "litData compressed": litdata_,
    "MosaicML Streaming": mosaic,
    "Hugging Face parquet": parquet,
    "GeoTIFF per chip": geotiff,
    "naive Zarr": naive_zarr,
    "xbatcher": xbatcher_,
    "limit: decode": decode_limit,
    "limit: decode compressed": decode_limit,
    "limit: read uncompressed": read_limit,
}
OURS = ("s1s2", "s1s2 compressed", "s1s2 uncompressed")
NO_WORKERS = {"xbatcher", *LIMITS}


# ---- one run, in a process of its own ----


def busy_seconds() -> float:
    """Return the CPU time of this process and of those it started."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = time.process_time()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def run(told: Mapping[str, Any]) -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    begun = time.perf_counter()
    loader = READERS[told["who"]](
        Path(told["root"]), told["n"], told["batch"], told["workers"], normal=told["normal"]
    )
    first = 0.0
    for batch in loader:  # the first epoch warms caches, and every slot of a ring
        first = first or time.perf_counter() - begun
        float(batch["s1"][0, 0, 0, 0])
    rate, cpu_ms = paced(loader, 0.0)
    if told["busy"]:  # nearly as long a step, in pure Python, as a batch takes to read
        rate, cpu_ms = paced(loader, 0.9 * told["batch"] / rate)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1024
    return {"rate": rate, "cpu_ms": cpu_ms, "peak_mb": peak, "first_s": first}


def paced(loader: Served, step_s: float) -> tuple[float, float]:
    """Return chips a second, and CPU ms a chip, of a loop whose steps hold the interpreter."""
    chips, cpu, since = 0, busy_seconds(), time.perf_counter()
    while time.perf_counter() - since < MEASURE_S:
        for batch in loader:
            chips += len(batch["s1"])
            until = time.perf_counter() + step_s
            while time.perf_counter() < until:
                pass
    return chips / (time.perf_counter() - since), (busy_seconds() - cpu) / chips * 1e3


def apart(told: Mapping[str, Any], *, cores: int, huge: bool) -> dict[str, float]:
    """Do one run in a process of its own, on some cores."""
    pinned = sorted(os.sched_getaffinity(0))[-cores:]
    environment = os.environ | {
        "THP_MEM_ALLOC_ENABLE": "1" if huge else "0",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, __file__, "--run", json.dumps(told)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=environment,
        preexec_fn=lambda: os.sched_setaffinity(0, pinned),
    )
    if done.returncode:
        print(f"  {told['who']} failed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return {}
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


# ---- all of them ----


def cases(who: list[str]) -> list[dict[str, Any]]:
    """Return every setting of every loader; those with `often` are run in every round."""
    found: list[dict[str, Any]] = []
    for name in who:
        limit = name in LIMITS
        for huge in (False, True)[: 1 if limit else 2]:
            words = ["huge pages"] * huge
            found.append({"who": name, "huge": huge, "words": words, "often": True})
            if not limit:
                normal = ["normalised", *words]
                found.append({"who": name, "huge": huge, "words": normal, "normal": True})
        if name not in NO_WORKERS:  # for peers they change little
            found += [
                {
                    "who": name,
                    "workers": w,
                    "words": [f"{w} worker{'s' * (w > 1)}"],
                    "often": name in OURS,
                }
                for w in ((1, 2) if name in OURS else (2,))
            ]
        if name == "s1s2":
            two = {"who": name, "workers": 1, "cores": 2, "often": True}
            found += [
                {**two, "words": ["two cores"]},
                {**two, "words": ["two cores", "busy loop"], "busy": True},
            ]
    return found


def measured(where: Path, n: int, batch: int, rounds: int, who: list[str]) -> list[dict[str, Any]]:
    everything = cases(who)
    results: list[list[dict[str, float]]] = [[] for _ in everything]
    random = np.random.default_rng(int(time.time()))
    for number in range(rounds):
        for k in random.permutation(len(everything)):
            case = everything[k]
            if number and not case.get("often"):
                continue
            root = where / READS.get(case["who"], case["who"])
            told = {
                "who": case["who"], "root": str(root), "n": n, "batch": batch,
                "workers": case.get("workers", 0), "normal": case.get("normal", False),
                "busy": case.get("busy", False),
            }  # fmt: skip
            cores = case.get("cores", max(1, min(2, told["workers"])))
            if result := apart(told, cores=cores, huge=case.get("huge", False)):
                results[k].append(result)
        print(f"round {number + 1} of {rounds} done", file=sys.stderr)
    found = zip(everything, results, strict=True)
    rows = [row_of(case, runs, where, n) for case, runs in found if runs]
    return [row | {"of_limit": share(row, rows)} for row in rows]


def row_of(
    case: dict[str, Any], runs: list[dict[str, float]], where: Path, n: int
) -> dict[str, Any]:
    name = case["who"]
    root = where / READS.get(name, name)
    middle = {key: statistics.median(r[key] for r in runs) for key in runs[0]}
    kind = next((word for word in ("uncompressed", "compressed") if name.endswith(word)), "default")
    files = (p for p in root.rglob("*") if p.is_file() and "cache" not in p.parts)
    return {
        "setting": ", ".join([kind, *case["words"]]),
        "who": name.removesuffix(f" {kind}"),
        "rate": middle["rate"],
        "cpu_ms": middle["cpu_ms"],
        "peak_mb": middle["peak_mb"],
        "bytes": sum(p.stat().st_size for p in files) / n,
        "first_s": middle["first_s"],
    }


def share(row: Mapping[str, Any], rows: list[dict[str, Any]]) -> float | None:
    """Return the limit's processor time over ours, on one core, without normalisation.

    On an idle machine that is our rate over the limit's; on a loaded one it still holds.
    """
    more = ("normalised", "two cores", "2 workers")
    if row["who"] != "s1s2" or any(word in row["setting"] for word in more):
        return None
    kind = row["setting"].partition(",")[0]
    limits = (r["cpu_ms"] for r in rows if r["who"].startswith("limit") and r["setting"] == kind)
    limit = next(limits, None)
    return limit / row["cpu_ms"] if limit else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chips", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--who", nargs="*", default=list(READERS), choices=list(READERS))
    parser.add_argument("--out", type=Path, default=table.PLACE)
    parser.add_argument("--run", type=json.loads, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.run:
        print(json.dumps(run(told.run)))
        return
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        there = written(where, told.chips, told.who)
        rows = measured(where, told.chips, told.batch, told.rounds, there)
    table.keep("loader", rows, told.out)
    show(rows)


def written(where: Path, n: int, who: list[str]) -> list[str]:
    """Write the chips in every format that is wanted, and return who can read them."""
    chips, there = made_up(n), []
    for name in who:
        word = name.removesuffix(" compressed")
        if word in NEEDS and importlib.util.find_spec(NEEDS[word]) is None:
            print(f"{name}: left out, for {NEEDS[word]} is not installed", file=sys.stderr)
            continue
        source = READS.get(name, name)
        root = where / source
        if not root.exists():
            root.mkdir()
            try:
                WRITERS[source](root, chips)
            except Exception as error:  # noqa: BLE001  # whatever a peer finds to complain of
                print(f"{name}: left out, for it cannot write: {error}", file=sys.stderr)
                shutil.rmtree(root)
                continue
        there.append(name)
    return there


def show(rows: list[dict[str, Any]]) -> None:
    print(
        f"{'setting':32} {'who':22} {'chips/s':>8} {'CPU ms':>7} {'kB':>6} {'MB':>6} {'limit':>6}"
    )
    for row in sorted(rows, key=lambda r: (r["setting"], -r["rate"])):
        limit = "" if row["of_limit"] is None else f"{row['of_limit']:.2f}"
        print(
            f"{row['setting']:32} {row['who']:22} {row['rate']:8.0f} {row['cpu_ms']:7.2f} "
            f"{row['bytes'] / 1e3:6.0f} {row['peak_mb']:6.0f} {limit:>6}"
        )


if __name__ == "__main__":
    main()
