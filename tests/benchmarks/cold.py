"""How fast the loader reads files that the system has in its cache, and files that it has not.

    python tests/benchmarks/cold.py [--chips N] [--threads T,T] [--passes P] [--folder FOLDER]

Made-up chips (lz4, raw and native), fully shuffled, read once warm, then by turns warm and with
every file dropped from the cache just before (cold). Of each the median of the passes is printed,
in chips and in MB of files a second, and the ratio. Dropping takes no rights; a file system that
lies in memory forgets nothing, and is refused: name a folder on a disk. What is below the system, a
disk's own cache or a host's, is not dropped.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from loader import Served, made_up, ours, write_ours

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--chips", type=int, default=1024)
    parser.add_argument("--threads", default="1,2,8")
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write the chips for a while")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        root = Path(name)
        write_ours(root, made_up(asked.chips), "lz4")
        files = [path for path in root.rglob("*") if path.is_file()]
        total_mb = sum(path.stat().st_size for path in files) / 1e6
        print(f"{asked.chips:,} chips, {total_mb:,.0f} MB, batches of {BATCH}")
        print("threads  warm chips/s   MB/s   cold chips/s   MB/s   cold/warm")
        for threads in map(int, asked.threads.split(",")):
            warm, cold = rates(root, files, asked.chips, threads, asked.passes)
            a_chip = total_mb / asked.chips
            print(
                f"{threads:7}  {warm:12,.0f}  {warm * a_chip:5,.0f}   {cold:12,.0f}  "
                f"{cold * a_chip:5,.0f}   {cold / warm:9.2f}",
                flush=True,
            )


def rates(root: Path, files: list[Path], n: int, threads: int, passes: int) -> tuple[float, float]:
    """Return the medians of chips a second: warm, cold."""
    found = ours(root, n, BATCH, threads, normal=False, times=1)
    timed(found)  # begins the reading process, and warms the cache
    warm, cold = [], []
    for _ in range(passes):
        for path in files:
            drop(path)
        cold.append(n / timed(found))
        warm.append(n / timed(found))
    return statistics.median(warm), statistics.median(cold)


def timed(epoch: Served) -> float:
    since = time.perf_counter()
    for _ in epoch:
        pass
    return time.perf_counter() - since


def drop(path: Path) -> None:
    """Drop a file from the system's cache, and make sure of it."""
    for _ in range(20):  # the loader may have let the system fetch a little more than it read
        if not path.stat().st_size or dropped(path):
            return
        time.sleep(0.05)
    msg = f"{path} is still in the system's cache; name a --folder on a disk"
    raise SystemExit(msg)


def dropped(path: Path) -> bool:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)  # what is not on the disk yet is never dropped
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.preadv(file, [bytearray(1)], path.stat().st_size // 2, os.RWF_NOWAIT)
    except BlockingIOError:  # as it should be: it would have to ask the disk
        return True
    except OSError:
        return False
    finally:
        os.close(file)
    return False


if __name__ == "__main__":
    main()
