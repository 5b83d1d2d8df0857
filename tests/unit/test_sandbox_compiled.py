"""What renders pixels is compiled once, before a server needs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RENDER = """
from s1s2.sandbox.compiled import ensure_compiled, main
ensure_compiled()
main()
"""


def kept(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in folder.rglob("*.nb[ci]")}


@pytest.mark.slow
def test_compiled_once_and_anew_where_sources_changed(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    line = [sys.executable, "-c", RENDER]
    subprocess.run(line, env=environment, check=True)
    first = kept(tmp_path)
    assert first
    subprocess.run(line, env=environment, check=True)
    assert kept(tmp_path) == first
    (done,) = tmp_path.rglob("*.compiled")
    done.rename(done.with_name("of-other-sources.compiled"))
    subprocess.run(line, env=environment, check=True)
    assert kept(tmp_path).keys() == first.keys()
    assert all(kept(tmp_path)[name] > when for name, when in first.items())
    assert [p.name for p in tmp_path.rglob("*.compiled")] == [done.name]
