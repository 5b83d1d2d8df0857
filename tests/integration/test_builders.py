"""Several builders and one folder; and how a builder is stopped."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fakes import Scenes, lonlat, points_file

from s1s2 import lease
from s1s2.cli import main
from s1s2.layout import BESIDE, Folder


@pytest.fixture
def command(scenes: Scenes, tmp_path: Path) -> list[str]:
    """A build of six chips in three shards."""
    scenes.s2(size_m=12_000)
    scenes.s1(size_m=16_000)
    places = [lonlat(501_500 + 1500 * i, 4_998_000 - 1200 * i, 32631) for i in range(6)]
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[store]\nchips_per_shard = 2\n")
    points = points_file(tmp_path / "points.geojson", places)
    period = ["--start", "2021-01-01", "--end", "2023-12-31"]
    what = ["--catalog", str(scenes.save()), "--points", str(points), "--chip-size", "128"]
    return ["build", str(recipe), *what, *period, "-o", str(tmp_path / "out")]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "out")


def tree(folder: Folder) -> dict[str, bytes]:
    files = (p for p in sorted(folder.root.rglob("*")) if p.is_file())
    names = {p.relative_to(folder.root): p for p in files}
    return {n.as_posix(): p.read_bytes() for n, p in names.items() if n.parts[0] not in BESIDE}


def start(command: list[str]) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "s1s2", *command]
    # a shell starts what runs in the background deaf to Ctrl-C, and children inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path) -> None:
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not appear"
        time.sleep(0.02)


def test_second_builder_is_told_and_changes_nothing(
    command: list[str], folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    with lease.of_corpus(folder, "build"):
        before = tree(folder)
        assert main(command) == 6
        assert tree(folder) == before
    said = capsys.readouterr().err
    assert f"held: build, process {os.getpid()} on " in said
    assert "help with --join" in said
    assert len(said.splitlines()) == 1


def test_builders_that_join_make_the_same_corpus(command: list[str], folder: Folder) -> None:
    with start(command) as first:
        wait_for(folder.root / ".leases")
        assert main([*command, "--join"]) == 0
        first.communicate()
        assert first.returncode == 0
    both = tree(folder)
    alone = [*command[:-1], str(folder.root.with_name("alone"))]
    assert main(alone) == 0
    assert both == tree(Folder(Path(alone[-1])))


def test_who_joins_fills_shards_and_takes_over(command: list[str], folder: Folder) -> None:
    out = ["-o", str(folder.root)]
    assert main(["sample", *command[1:], "-n", "6"]) == 0
    assert main(["search", *out]) == main(["match", *out]) == 0
    assert main(["chip", *out, "--part", "1/3"]) == 0
    codes = []
    joined = threading.Thread(target=lambda: codes.append(main([*command, "--join"])))
    with lease.of_corpus(folder, "build"):
        joined.start()
        for shard in (1, 2):
            wait_for(folder.receipt(shard))
        assert not folder.corpus.exists()
    joined.join()
    assert codes == [0]
    assert folder.corpus.exists()


def test_shard_that_another_fills_is_waited_for(
    command: list[str], folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:

    def other() -> None:
        with lease.of_shard(folder, 1):
            wait_for(folder.receipt(2))
            time.sleep(1)  # so that the builder meets it

    thread = threading.Thread(target=other)
    thread.start()
    wait_for(folder.root / ".leases" / "00001")
    assert main(command) == 0
    thread.join()
    assert "waits for 1 shards: " in capsys.readouterr().out


def test_job_of_an_array_leaves_a_held_shard_alone(
    command: list[str], folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", *command[1:], "-n", "6"]) == 0
    out = ["-o", str(folder.root)]
    assert main(["search", *out]) == main(["match", *out]) == 0
    with lease.of_shard(folder, 0):
        assert main(["chip", *out, "--part", "1/2"]) == 6
        assert "held: shard 0, process" in capsys.readouterr().err
    assert folder.receipt(2).exists()
    assert not folder.receipt(0).exists()
    assert main(["chip", *out, "--part", "1/2"]) == main(["chip", *out, "--part", "2/2"]) == 0
    assert folder.corpus.exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_builder_says_one_line_and_lets_go(
    command: list[str], folder: Folder, number: signal.Signals, code: int
) -> None:
    with lease.of_shard(folder, 1):
        with start(command) as builder:
            wait_for(folder.receipt(2))
            builder.send_signal(number)
            said = builder.communicate(timeout=10)[1]
        assert builder.returncode == code
        assert said == "s1s2: stopped; run the same command again to go on\n"
        assert lease.holder_of(folder) is None
    assert main(command) == 0


def test_full_disk_is_code_7_and_gone_on_with(
    command: list[str],
    folder: Folder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("s1s2.files.os.fsync", full)
        assert main(command) == 7
    said = capsys.readouterr().err
    assert "no room for it (No space left on device)" in said
    assert len(said.splitlines()) == 1
    assert main(command) == 0
    assert not list(folder.root.rglob("*.partial"))
