"""What would stop a build on this machine, found before it starts: each check one line, one advice.

Nothing is changed but a file that is written into the target folder and removed again.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from secrets import token_hex
from typing import Literal
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from s1s2 import gather, recipe
from s1s2.bands import Sensor
from s1s2.catalog import Catalog
from s1s2.errors import S1S2Error, redact
from s1s2.layout import Folder
from s1s2.lease import of_corpus

State = Literal["ok", "warn", "fail"]

_PYTHONS = ((3, 11), (3, 14))
"""The first version it runs on, and the first that it was not tried with."""
_LEAST_FREE_GB, _LITTLE_FREE_GB = 1.0, 10.0
_MOST_SKEW_S = 120.0
"""Tokens are good for an hour, from a little before now."""
_TIMEOUT_S = 20
_MOST_CHARACTERS = 160
_CONTAINERS = {"sentinel2l2a01": "sentinel2-l2", "sentinel1euwestrtc": "sentinel1-grd-rtc"}
"""Where Planetary Computer keeps the two products."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    found: str
    advice: str = ""
    """What to do; empty where all is well."""

    def __str__(self) -> str:
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.state:<5}{self.name:<10}{self.found}{advice}"


def examine(target: Path, catalog: str) -> Iterator[Check]:
    """Look at this machine, at where a corpus would lie, and at its catalog, one by one.

    Args:
        target: The folder of a corpus, there or not.
        catalog: Name or path of a catalog.
    """
    yield _python(sys.version_info[:2])
    yield _gdal()
    yield _torch()
    yield _sandbox()
    yield _disk(target)
    yield _writable(target)
    try:
        loaded = recipe.load_catalog(catalog)
    except S1S2Error as error:
        yield Check("catalog", "fail", str(error))
        return
    answers = _asked("catalog", lambda: _answers(loaded))
    yield answers
    if answers.state == "fail" or loaded.sandbox:
        return
    if loaded.endpoint:
        yield _asked("clock", lambda: _clock(loaded.endpoint))
    if loaded.signing != "none":
        yield _asked("tokens", lambda: _tokens(loaded))


def _python(found: tuple[int, ...]) -> Check:
    said = ".".join(map(str, found[:2]))
    first, beyond = _PYTHONS
    if found < first:
        return Check("python", "fail", said, "use Python 3.11, 3.12 or 3.13")
    if found >= beyond:
        return Check("python", "warn", said, "not tried yet; 3.11 to 3.13 are")
    return Check("python", "ok", f"{said} · s1s2 {version('s1s2')}")


def _gdal() -> Check:
    import rasterio  # noqa: PLC0415  # what is wrong with it is told here
    from pyproj import Transformer  # noqa: PLC0415  # as above

    east, _ = Transformer.from_crs(4326, 32632, always_xy=True).transform(9.0, 48.0)
    if abs(east - 500_000) > 1:
        advice = "unset PROJ_DATA and PROJ_LIB, they point to another PROJ"
        return Check("gdal", "fail", "PROJ does not project", advice)
    return Check("gdal", "ok", f"{rasterio.__gdal_version__} · rasterio {rasterio.__version__}")


def _torch() -> Check:
    """Look whether torch loads, and whether a torchvision of another build would break it."""
    torch = _installed("torch")
    if torch is None:
        return Check("torch", "warn", "not installed", "training needs pip install 's1s2[torch]'")
    vision = _installed("torchvision")
    for module in ("torch", "torchvision") if vision else ("torch",):
        found = subprocess.run(  # noqa: S603  # our own interpreter: a crash must not be ours
            [sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False
        )
        if found.returncode:
            lines = found.stderr.strip().splitlines()
            why = lines[-1][:_MOST_CHARACTERS] if lines else f"exit code {found.returncode}"
            if module == "torchvision":
                advice = "it breaks lightning and timm too: pip uninstall torchvision"
                said = f"torchvision {vision} cannot load with torch {torch} ({why})"
                return Check("torch", "warn", said, advice)
            return Check("torch", "warn", f"torch {torch} cannot load ({why})", "install it again")
    return Check("torch", "ok", torch if vision is None else f"{torch} · torchvision {vision}")


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _sandbox() -> Check:
    lacking = [name for name in ("numba", "uvicorn", "cql2") if _installed(name) is None]
    if lacking:
        advice = "the simulated catalog needs pip install 's1s2[sandbox]'"
        return Check("sandbox", "warn", f"lacks {', '.join(lacking)}", advice)
    return Check("sandbox", "ok", "installed")


def _disk(target: Path) -> Check:
    there = _nearest(target)
    free = shutil.disk_usage(there).free / 1e9
    said = f"{free:,.1f} GB free for {target} · {os.cpu_count()} processors"
    if free < _LEAST_FREE_GB:
        return Check("disk", "fail", said, "make room; 1,000 chips take 0.7 GB")
    if free < _LITTLE_FREE_GB:
        return Check("disk", "warn", said, "1,000 chips take 0.7 GB; s1s2 plan says how much")
    return Check("disk", "ok", said)


def _nearest(target: Path) -> Path:
    """Return the folder itself, or the nearest one above it that is there."""
    return next(p for p in (target.resolve(), *target.resolve().parents) if p.is_dir())


def _writable(target: Path) -> Check:
    """Write, flush, rename and lock in the target's folder, as a build does."""
    folder = _nearest(target) / f".s1s2-doctor-{token_hex(4)}"
    try:
        with of_corpus(Folder(folder), "doctor"):
            (folder / "one").write_bytes(b"s1s2")
            (folder / "one").replace(folder / "two")
    except (OSError, S1S2Error) as error:
        return Check("target", "fail", redact(str(error)), "choose another folder with -o")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Check("target", "ok", f"{_nearest(target)} can be written and locked")


def _asked(name: str, ask: Callable[[], Check]) -> Check:
    """Ask something over the network; what goes wrong there is the answer."""
    try:
        return ask()
    except (S1S2Error, OSError, ValueError) as error:
        why = redact(" ".join(str(error).split())).partition("; run the same")[0]
        why = why[:_MOST_CHARACTERS]
        return Check(name, "fail", why, "look at the network, at HTTPS_PROXY, or try later")


def _answers(catalog: Catalog) -> Check:
    if catalog.sandbox:
        return Check("catalog", "ok", f"{catalog.name}: served by this machine, no network needed")
    began = time.monotonic()
    gather.check(dict.fromkeys(Sensor, catalog), lambda _: None)
    spent = time.monotonic() - began
    return Check("catalog", "ok", f"{catalog.name} answers ({spent:.1f} s)")


def _clock(endpoint: str) -> Check:
    request = Request(endpoint, method="HEAD")  # noqa: S310  # of a catalog that was named
    try:
        with urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310  # as above
            stated = answer.headers.get("Date")
    except HTTPError as error:  # it answers, whatever it thinks of HEAD
        stated = error.headers.get("Date")
    if not stated:
        return Check("clock", "warn", "the catalog states no time", "make sure that NTP runs")
    skew = time.time() - parsedate_to_datetime(stated).timestamp()
    said = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the catalog's"
    if abs(skew) > _MOST_SKEW_S:
        return Check("clock", "fail", said, "set it (NTP): tokens will look expired")
    return Check("clock", "ok", said)


def _tokens(catalog: Catalog) -> Check:
    """Ask for a token once; the SDK itself would try for minutes."""
    from planetary_computer.sas import Settings  # noqa: PLC0415  # 0.2 s

    account = next(name for name in catalog.hosts if "*" not in name).partition(".")[0]
    container = _CONTAINERS.get(account, "container")
    address = f"{Settings.get().sas_url.rstrip('/')}/{account}/{container}"
    with urlopen(address, timeout=_TIMEOUT_S) as answer:  # noqa: S310  # as the SDK has it
        if "token" not in json.load(answer):
            return Check("tokens", "fail", "the token service sends no token", "try later")
    return Check("tokens", "ok", "the token service answers")
