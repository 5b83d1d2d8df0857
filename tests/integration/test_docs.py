"""README and tutorial do what they say: their blocks are run, in order, on the simulated planet."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes import Scenes

from s1s2 import recipe
from s1s2.arguments import parser
from s1s2.sandbox.faults import load_faults
from s1s2.sandbox.process import running

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"(?:`(?P<name>[\w.]+)`:\n\n)?```(?P<kind>\w+)\n(?P<text>.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One block of a document: its language, its text, and the file it is, if it is one."""

    kind: str
    text: str
    name: str | None


def blocks(document: str) -> list[Block]:
    text = (ROOT / document).read_text()
    return [Block(m["kind"], m["text"], m["name"]) for m in _BLOCK.finditer(text)]


@pytest.fixture(scope="module")
def surroundings() -> Iterator[dict[str, str]]:
    """The environment of somebody who has activated the virtual environment."""
    with running() as address:
        yield os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "S1S2_SANDBOX": address,
        }


def run(line: list[str], folder: Path, surroundings: dict[str, str]) -> str:
    found = subprocess.run(line, cwd=folder, env=surroundings, capture_output=True, text=True)  # noqa: PLW1510
    assert found.returncode == 0, f"{line[-1]}\n{found.stdout}\n{found.stderr}"
    return found.stdout


@pytest.mark.slow
def test_the_tutorial_runs_from_top_to_bottom(tmp_path: Path, surroundings: dict[str, str]) -> None:
    said = []
    for block in blocks("docs/tutorial.md"):
        if block.name:
            (tmp_path / block.name).write_text(block.text)
        elif block.kind == "bash":
            said.append(run(["bash", "-euo", "pipefail", "-c", block.text], tmp_path, surroundings))
        elif block.kind == "python":
            pytest.importorskip("torch")
            said.append(run([sys.executable, "-c", block.text], tmp_path, surroundings))
        else:
            pytest.fail(f"nobody knows what to do with a block of {block.kind}")
    assert (tmp_path / "corpora/alps/report.html").exists()
    assert "epoch 1: " in "".join(said)
    assert said[-1] == "16\n"


def test_the_tutorials_catalog_loads(tmp_path: Path) -> None:
    Scenes(tmp_path / "catalog")
    (tmp_path / "items.json").write_text('{"type": "FeatureCollection", "features": []}')
    (block,) = [b for b in blocks("docs/tutorial.md") if b.name == "archive.toml"]
    (tmp_path / "archive.toml").write_text(block.text)
    loaded = recipe.load_catalog(str(tmp_path / "archive.toml"))
    assert loaded.title == "My archive"
    assert loaded.folders == (str(tmp_path),)


def commands(block: Block) -> Iterator[list[str]]:
    """Yield the commands of a block: after a prompt in a console, every line in bash."""
    for line in block.text.splitlines():
        if block.kind == "console" and not line.startswith("$ "):
            continue  # what it answers
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words and words[0] == "sbatch":
            words = shlex.split(
                words[words.index("--wrap") + 1].replace("$SLURM_ARRAY_TASK_ID", "1")
            )
        if words and words[0] != ".":
            yield words


def made(words: list[str]) -> list[str]:
    """Return what `make` would run."""
    line = ["make", "--no-print-directory", "-n", "-o", ".venv/.ready", *words[1:]]
    plan = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    return shlex.split(plan.stdout.strip().splitlines()[-1])


def readme_commands() -> list[list[str]]:
    shown = [b for b in blocks("README.md") if b.kind in {"console", "bash"}]
    found = [words for block in shown for words in commands(block)]
    return [made(words) if words[0] == "make" else words for words in found]


def test_every_command_of_the_readme_is_one() -> None:
    found = readme_commands()
    assert len(found) >= 4
    for words in found:
        assert Path(words[0]).name == "s1s2", words
        assert parser().parse_args(words[1:]).command


def test_the_readmes_faults_are_faults(tmp_path: Path) -> None:
    for block in blocks("README.md"):
        if block.kind == "toml" and "[[fault]]" in block.text:
            (tmp_path / "faults.toml").write_text(block.text)
            assert load_faults(tmp_path / "faults.toml").faults


@pytest.mark.slow
def test_the_readme_builds_and_trains(tmp_path: Path, surroundings: dict[str, str]) -> None:
    """Its sandbox builds, then its Python, which finds what they built."""
    pytest.importorskip("torch")
    for words in readme_commands():
        if "sandbox" in words and "build" in words:
            said = run([sys.executable, "-m", "s1s2", *words[1:]], tmp_path, surroundings)
            assert "100 verified pairs" in said
    code = [block.text for block in blocks("README.md") if block.kind == "python"]
    assert code
    for text in code:
        run([sys.executable, "-c", text], tmp_path, surroundings)


def test_the_readme_shows_the_picture_that_is_there() -> None:
    for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / name).is_file(), name
