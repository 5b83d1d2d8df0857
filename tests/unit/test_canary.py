"""The finder of signatures that got out finds one, wherever it was planted."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from canary import escaped

from s1s2.sandbox.tokens import CANARY

PLANTS = {
    "nothing": ("pass", 0),
    "a file": ("(tmp_path / 'log').write_text('?sig=' + CANARY)", 1),
    "its output": ("print(CANARY)", 1),
    "its log": ("import logging; logging.getLogger().warning(CANARY)", 1),
}
TEST = "from s1s2.sandbox.tokens import CANARY\ndef test_it(tmp_path):\n    {}\n"


@pytest.mark.parametrize("plant", PLANTS)
def test_a_session_that_lets_one_out_fails(plant: str, tmp_path: Path) -> None:
    line, code = PLANTS[plant]
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_planted.py").write_text(TEST.format(line))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "canary", "--basetemp", tmp_path / "temp"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    planted = tmp_path / "temp"
    for path in planted.rglob("log"):
        path.unlink()  # or the session that we are in would find it
    said = done.stdout.replace(CANARY, "*")
    assert done.returncode == code, said
    assert "1 passed" in said, "the test itself is fine"
    assert ("got out into" in said) == bool(code)


def test_one_in_a_compressed_table_is_found(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"href": [f"http://host/a.tif?sig={CANARY}"] * 1000}), path)
    assert list(escaped(tmp_path)) == [path]
    path.unlink()
    assert not list(escaped(tmp_path))
