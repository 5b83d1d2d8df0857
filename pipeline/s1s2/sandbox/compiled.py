"""Compile what renders pixels once, in a process of its own.

The compiler takes a hundred megabytes that a process never gives back: a server reads what is
compiled from disk instead. numba notices a change in the file of a function but not in those it
calls, so all of it is compiled anew when any source has changed.

`python -m s1s2.sandbox.compiled` is that process.
"""

import hashlib
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from shapely.geometry import box

from s1s2.errors import CatalogError
from s1s2.sandbox import noise
from s1s2.sandbox.archive import Archive
from s1s2.sandbox.blocks import encode
from s1s2.sandbox.files import RenderedFiles

_PLACE, _BEGINS, _ENDS = (
    box(10, 48, 11, 49),
    datetime(2021, 6, 1, tzinfo=UTC),
    datetime(2021, 6, 9, tzinfo=UTC),
)
_ASSETS = {
    "sentinel-2-l2a": ("SCL", "B02", "B05", "B01"),
    "sentinel-1-rtc": ("vv", "vh"),
    "sandbox-land-cover": ("map",),
}
"""Of every kind of file one: together they take all ways through the compiled functions."""
_PATIENCE_S = 300


def ensure_compiled() -> None:
    """Compile, unless that was done for these sources.

    Raises:
        CatalogError: If it does not work.
    """
    # numba has no other way to ask
    cache = noise.add_octave._cache  # type: ignore[attr-defined]  # noqa: SLF001
    folder = Path(cache.cache_path)
    done = folder / f"{_fingerprint()}.compiled"
    if done.exists():
        return
    for old in (*folder.glob("*.nb[ci]"), *folder.glob("*.compiled")):
        old.unlink(missing_ok=True)
    line = [sys.executable, "-m", __name__]
    child = subprocess.run(  # noqa: S603  # our own module
        line, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
    )
    if child.returncode:
        said = (child.stderr.strip().splitlines() or ["no reason given"])[-1]
        msg = f"the sandbox cannot be compiled ({said})"
        raise CatalogError(msg)
    if folder.is_dir():  # absent where nothing may be kept: then every process compiles
        done.touch()


def _fingerprint() -> str:
    """Return what the compiled code depends on, as a hash."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(f"{version('numba')} {sys.version}".encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def main() -> None:
    """Render a block of every kind of file."""
    archive = Archive(0)
    scenes = {name: next(archive.scenes(name, _PLACE, _BEGINS, _ENDS)) for name in _ASSETS}
    files = RenderedFiles(lambda _, name, asset: (scenes[name], asset), 0)
    for name, assets in _ASSETS.items():
        for asset in assets:
            file = files.find("", name, asset)
            if file is None:
                msg = f"no file {asset} in {name}"
                raise LookupError(msg)
            middle = [side // 2 // 512 for side in (file.raster.height, file.raster.width)]
            encode(file.raster.sample, file.block(0, *middle))


if __name__ == "__main__":
    main()
