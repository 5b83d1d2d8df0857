"""Learning as a user begins it: the command line, several processes, a loop of one's own."""

import shutil
from pathlib import Path

import pytest

from s1s2.cli import main
from s1s2.errors import ContractError

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 's1s2[learn]'")
pytest.importorskip("safetensors.torch")

from lessons import RECIPE, assert_same  # noqa: E402

from s1s2.learn.machine import this_machine  # noqa: E402

FEW = "[evaluate]\nleast_steps = 2\nmost_steps = 2\nresamples = 10\nbatch_size = 4\n"


def test_the_command_line_trains_and_judges(
    corpus: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text(RECIPE.format(mode="s2", pieces=1) + FEW)
    run, out, mine = (str(tmp_path / name) for name in ("run", "out", "mine.toml"))
    common = ["--recipe", mine, "--labels", str(labels)]
    assert main(["train", str(corpus), "--epochs", "1", "-o", run, *common]) == 0
    assert main(["evaluate", run, "-o", out, "--percent", "50", "--seeds", "1", *common]) == 0
    assert "labels.png" in capsys.readouterr().out
    assert (Path(out) / "tables.md").read_text().startswith("**all:")
    assert main(["evaluate", run, "-o", out, "--percent", "half", *common]) == 2
    assert "expected numbers with commas" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "none"), "-o", out]) == 2
    assert "no pre-training run there" in capsys.readouterr().err
    assert main(["evaluate", run, "-o", out, "--data", str(tmp_path)]) == 2
    assert f"{tmp_path}: holds no corpus, BigEarthNet or EuroSAT" in capsys.readouterr().err
    unfinished = shutil.copytree(corpus, tmp_path / "unfinished")
    (unfinished / "corpus.json").unlink()
    assert main(["evaluate", run, "-o", out, "--data", str(unfinished)]) == 2
    assert "run the same s1s2 build again to go on" in capsys.readouterr().err
    about = Path(run, "run.json")
    about.write_text(about.read_text().replace(str(corpus), str(corpus) + "-moved"))
    assert main(["evaluate", run, "-o", out]) == 2
    assert "say with --data where it lies now" in capsys.readouterr().err


def test_what_was_pushed_is_learnt_from_where_it_lies(
    corpus: Path, labels: Path, tmp_path: Path
) -> None:
    pytest.importorskip("obstore", reason="obstore is not installed: pip install 's1s2[storage]'")
    url, mine = f"file://{tmp_path}/pushed", tmp_path / "mine.toml"
    mine.write_text(RECIPE.format(mode="s1", pieces=1) + FEW)
    assert main(["push", str(corpus), url]) == 0
    near, far, out = (str(tmp_path / name) for name in ("near", "far", "out"))
    common = ["--recipe", str(mine), "--labels", str(labels)]
    for place, run in ((str(corpus), near), (url, far)):
        assert main(["train", place, "--epochs", "1", "-o", run, *common]) == 0
    assert_same(Path(near), Path(far))
    judge = ["evaluate", far, "-o", out, "--percent", "50", "--seeds", "1"]
    assert main([*judge, *common]) == 0


def test_processes_that_cannot_be_joined_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(ContractError, match=r"WORLD_SIZE.*start by torchrun"), this_machine():
        pass


def test_alone_a_run_joins_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with this_machine() as machine:
        assert (machine.rank, machine.world) == (0, 1)


def test_a_loop_of_ones_own_is_plain_torch(corpus: Path) -> None:
    """The loop of docs/own-loop.md, word for word but for the corpus and its size."""
    page = Path(__file__).parents[3] / "docs/own-loop.md"
    code = page.read_text().split("```python\n")[1].split("```")[0]
    code = code.replace("corpora/sandbox-100", str(corpus)).replace("loader(64", "loader(4")
    names: dict[str, object] = {}
    exec(compile(code.replace("range(10)", "range(2)"), str(page), "exec"), names)  # noqa: S102
    loss = names["loss"]
    assert isinstance(loss, torch.Tensor)
    assert torch.isfinite(loss)
    assert names["epoch"] == 1
