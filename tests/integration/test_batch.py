"""Workers as jobs of a batch system: a stand-in for Slurm that runs each job's script at once."""

import os
import re
from pathlib import Path

import pytest
from fakes import Scenes, lonlat, points_file

from s1s2.batch import Batch
from s1s2.cli import main
from s1s2.recipe import load_batch

SBATCH = """#!/bin/sh
cp "$1" {folder}/script-$$
setsid sh {folder}/script-$$ > {folder}/$$.log 2>&1 &
echo $! >> {folder}/jobs
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
echo "$1" >> {folder}/ended
kill -TERM -- "-$1"
"""
TOML = """
kind = "slurm"
jobs = 2
cores = 2
memory = "1GB"
walltime = "00:10:00"
queue = "long"
interface = "lo"
directives = ["--constraint=fast"]
prologue = ["export FROM_PROLOGUE=1"]
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `sbatch` and `scancel`, first on the path."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (folder / name).write_text(text.format(folder=folder))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.fixture
def command(scenes: Scenes, tmp_path: Path) -> list[str]:
    """A build of two shards."""
    scenes.s2(size_m=12_000)
    scenes.s1(size_m=16_000)
    places = [lonlat(501_500 + 1500 * i, 4_998_000, 32631) for i in range(4)]
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[store]\nchips_per_shard = 2\n")
    (tmp_path / "slurm.toml").write_text(TOML)
    return [
        *("build", str(recipe), "--catalog", str(scenes.save()), "--chip-size", "128"),
        *("--points", str(points_file(tmp_path / "points.geojson", places))),
        *("--start", "2021-01-01", "--end", "2023-12-31"),
    ]


def test_jobs_cut_the_same_corpus(slurm: Path, command: list[str], tmp_path: Path) -> None:
    assert main([*command, "-o", str(tmp_path / "here")]) == 0
    cluster = ("--cluster", str(tmp_path / "slurm.toml"))
    assert main([*command, "-o", str(tmp_path / "there"), *cluster]) == 0
    receipts = [sorted((tmp_path / k / "receipts").iterdir()) for k in ("here", "there")]
    assert len(receipts[0]) == 2
    assert [p.read_bytes() for p in receipts[0]] == [p.read_bytes() for p in receipts[1]]
    jobs = (slurm / "jobs").read_text().split()
    assert len(jobs) == 2
    assert sorted((slurm / "ended").read_text().split()) == sorted(jobs), "none is left behind"
    script = next(slurm.glob("script-*")).read_text()
    for part in ("-p long", "-t 00:10:00", "--constraint=fast", "export FROM_PROLOGUE=1"):
        assert part in script
    assert re.findall(r"--nthreads (\d)", script) == ["2", "1"], "the last counts: one shard each"


def test_a_batch_system_that_takes_no_jobs_is_one_line(
    slurm: Path, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said at once: dask alone logs it, and waits for ever for workers that never come."""
    (slurm / "sbatch").write_text('#!/bin/sh\necho "sbatch: error: no such queue" >&2\nexit 1\n')
    cluster = ("--cluster", str(tmp_path / "slurm.toml"))
    assert main([*command, "-o", str(tmp_path / "out"), *cluster]) == 3
    assert capsys.readouterr().err.strip() == (
        "s1s2: --cluster: slurm takes no jobs (sbatch: error: no such queue); run the same "
        "command again"
    )


def test_a_machine_without_the_batch_system_is_one_line(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    cluster = ("--cluster", str(tmp_path / "slurm.toml"))
    assert main([*command, "-o", str(tmp_path / "out"), *cluster]) == 3
    assert "slurm is not on this machine (no sbatch)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('kind = "slurm"\njobs = 1\nmemory = "1GB"\ncoers = 2', "unknown key coers; did you mean"),
        ('kind = "torque"\njobs = 1\nmemory = "1GB"', "kind: Input should be 'slurm'"),
        ('kind = "slurm"\njobs = 0\nmemory = "1GB"', "jobs 0, cores 1 and alone_s 120: expected"),
        ('kind = "slurm"', "jobs"),
        ("kind =", "not TOML"),
    ],
)
def test_a_wrong_description_is_one_line(
    text: str, said: str, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    assert main([*command, "-o", str(tmp_path / "out"), "--cluster", str(path)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"s1s2: cluster {path}: ")
    assert said in line
    assert not (tmp_path / "out").exists()


def test_the_example_of_the_docs_is_right(tmp_path: Path) -> None:
    text = Path("docs/cluster.md").read_text()
    (tmp_path / "slurm.toml").write_text(text.split("```toml\n")[1].split("```")[0])
    assert isinstance(load_batch(tmp_path / "slurm.toml"), Batch)
