"""Training on a small corpus: stop, go on, be damaged, be refused."""

import itertools
import json
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from s1s2 import Corpus
from s1s2.bands import Sensor
from s1s2.cli import main
from s1s2.errors import ContractError, RecipeError, StoreError

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 's1s2[learn]'")
safetensors_torch = pytest.importorskip("safetensors.torch")

from lessons import CPU, RECIPE, assert_same, recipe, run_to  # noqa: E402
from ranks import train_apart  # noqa: E402

from s1s2.learn import batches, online, train, units  # noqa: E402
from s1s2.learn.encoders import load_encoder  # noqa: E402


def test_a_run_leaves_encoders_card_and_log(corpus: Path, whole: Path) -> None:
    card = (whole / "README.md").read_text()
    assert Corpus(corpus).about["corpus_id"] in card
    assert "encoder-s1.safetensors" in card
    encoder = load_encoder(whole / "encoder-s2.safetensors")
    with torch.no_grad():
        assert encoder.weights(torch.zeros(1, 12, 64, 64)).shape == (1, 16)
    assert len(encoder.scaling.mean) == 12
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = accumulators.EventAccumulator(str(whole / "log")).Reload().Tags()
    assert {"loss/s1", "loss/s2", "rate/learning", "rate/chips_a_second"} <= set(log["scalars"])
    images = {"correlation/s1", "correlation/s2", "nearest/s1", "nearest/s2"}
    assert images <= set(log["images"])


@pytest.mark.parametrize("stop_at", [2, 5])
def test_a_stopped_run_ends_with_the_weights_of_one_that_was_not(
    corpus: Path, whole: Path, tmp_path: Path, stop_at: int
) -> None:
    """Step 2 lies within the first epoch of four steps, step 5 within the second."""
    run_to(corpus, tmp_path / "run", recipe(), stop_at)
    assert not (tmp_path / "run/README.md").exists()
    said = run_to(corpus, tmp_path / "run", recipe())
    assert any(f"step {stop_at} of 8" in line for line in said)
    assert_same(tmp_path / "run", whole)


def test_a_run_that_goes_on_keeps_its_log_whole(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 4, the end of the first epoch, was logged and kept: it is not done again."""
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    writers = pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    # files are read in order of their names: by the second, and within one 10 comes before 9
    seconds = SimpleNamespace(time=itertools.count(1_700_000_000).__next__)
    monkeypatch.setattr(writers, "time", seconds)
    run_to(corpus, tmp_path / "run", recipe("s1", probe_epochs=0), 4)
    run_to(corpus, tmp_path / "run", recipe("s1", probe_epochs=0))
    log = accumulators.EventAccumulator(str(tmp_path / "run/log")).Reload()
    assert [event.step for event in log.Scalars("loss/s1")] == [4, 8]


def test_a_damaged_checkpoint_is_passed_over_in_one_line(
    corpus: Path, whole: Path, tmp_path: Path
) -> None:
    run_to(corpus, tmp_path / "run", recipe(), 5)
    newest = max((tmp_path / "run/checkpoints").glob("*.safetensors"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    said = run_to(corpus, tmp_path / "run", recipe())
    assert [line for line in said if line.startswith("damaged")] == [
        f"damaged {newest}: its content is not what was written; using the one before"
    ]
    assert any("step 4 of 8" in line for line in said)
    assert_same(tmp_path / "run", whole)


def test_when_every_checkpoint_is_damaged_it_says_so(corpus: Path, tmp_path: Path) -> None:
    run_to(corpus, tmp_path / "run", recipe(), 3)
    for path in (tmp_path / "run/checkpoints").glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StoreError, match="every checkpoint is damaged"):
        run_to(corpus, tmp_path / "run", recipe())


def test_a_checkpoint_is_no_pickle_and_two_are_kept(corpus: Path, tmp_path: Path) -> None:
    run_to(corpus, tmp_path / "run", recipe(), 5)
    names = sorted(p.name for p in (tmp_path / "run/checkpoints").iterdir())
    assert names == [f"step-00000000{n}.{end}" for n in (4, 5) for end in ("json", "safetensors")]
    for path in (tmp_path / "run/checkpoints").glob("*.safetensors"):
        assert safetensors_torch.load_file(path)


def test_a_folder_of_another_run_is_refused_and_says_what_differs(
    corpus: Path, whole: Path
) -> None:
    with pytest.raises(RecipeError, match=r"learning_rate \(0.001 there, 0.01 here\)"):
        run_to(corpus, whole, recipe(learning_rate=0.01))
    assert run_to(corpus, whole, recipe()) == [f"train   {whole} is done: {whole / 'README.md'}"]


@pytest.mark.parametrize(
    ("mode", "sensors"), [("s1", ["s1"]), ("s2", ["s2"]), ("cross", ["s1", "s2"])]
)
def test_every_mode_trains_its_encoders(
    corpus: Path, tmp_path: Path, mode: str, sensors: Sequence[str]
) -> None:
    run_to(corpus, tmp_path / "run", recipe(mode, pieces=2, epochs=1, probe_epochs=0))
    made = [p.name for p in sorted((tmp_path / "run").glob("*.safetensors"))]
    assert made == [f"encoder-{s}.safetensors" for s in sensors]


def test_two_sensors_see_one_ground_across_and_one_sensor_two(corpus: Path, tmp_path: Path) -> None:
    """In mode cross both views are cut alike; with one sensor each view is cut by itself."""
    drawn: dict[str, list[torch.Tensor]] = {}
    of = train.Views.of

    for mode in ("cross", "s2"):
        seen = drawn.setdefault(mode, [])

        def noting(self, raw, sensor, geometry, strength, g, seen=seen):  # noqa: ANN001, ANN202
            seen.append(geometry)
            return of(self, raw, sensor, geometry, strength, g)

        train.Views.of = noting  # type: ignore[method-assign]
        try:
            run_to(corpus, tmp_path / mode, recipe(mode, epochs=1, probe_epochs=0), 1)
        finally:
            train.Views.of = of  # type: ignore[method-assign]
    assert torch.equal(*drawn["cross"][:2])
    assert not torch.equal(*drawn["s2"][:2])


def test_a_run_reads_chips_of_its_split_alone(
    corpus: Path, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the loop nor the online probe looks at a chip of another split."""
    learnt, probed = [], []

    def loop(opened: Corpus, chips: np.ndarray) -> Iterator[batches.Raw]:
        learnt.extend(chips.ravel().tolist())
        return batches.batches(opened, chips)

    def look(opened: Corpus, rows: np.ndarray) -> batches.Raw:
        probed.extend(opened.index["chip"].to_numpy()[rows].tolist())
        return batches.read_rows(opened, rows)

    monkeypatch.setattr(train, "batches", loop)
    monkeypatch.setattr(online, "read_rows", look)
    around = train.Around(CPU, lambda _: None, labels)
    own = set(Corpus(corpus).chips("train").tolist())
    train.train(Corpus(corpus), tmp_path / "run", recipe("s1", epochs=2, split="train"), around)
    assert len(own) < len(Corpus(corpus))
    assert set(learnt) <= own
    first = learnt[: len(learnt) // 2]
    assert len(set(first)) == len(first) == len(own) // 4 * 4
    assert set(probed) == own


def test_what_normalises_is_the_train_split(corpus: Path) -> None:
    opened = Corpus(corpus)
    known = (opened.index["split"] == "train").to_numpy()
    raw = batches.read_rows(opened, np.arange(len(known)))
    for sensor, convert in [(Sensor.S2, units.to_reflectance), (Sensor.S1, units.to_power)]:
        values = convert(raw[sensor])[0]
        values = (units.to_decibels(values) if sensor is Sensor.S1 else values).double().numpy()
        scaling = units.Scaling.of_corpus(opened.about, sensor)
        seen, unseen = (values[rows].mean(axis=(0, 2, 3)) for rows in (known, ~known))
        np.testing.assert_allclose(scaling.mean, seen, rtol=2e-5)
        np.testing.assert_allclose(scaling.deviation, values[known].std(axis=(0, 2, 3)), rtol=1e-3)
        assert (np.abs(unseen / seen - 1) > 1e-4).all()  # so that they could be told apart


def test_too_few_chips_for_a_batch_are_told_before_anything_is_written(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["train", str(corpus), "--batch-size", "512", "-o", str(out)]) == 2
    assert "fewer than one batch of 512; give a smaller --batch-size" in capsys.readouterr().err
    assert not out.exists()


def test_pieces_too_small_for_batch_moments_are_told(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="1 x 4, with 2 chips or more in each"):
        run_to(corpus, tmp_path / "run", recipe(pieces=4))


def test_a_loss_that_is_no_number_stops_the_run(corpus: Path, tmp_path: Path) -> None:
    wild = recipe("s2", learning_rate=1e30, warmup_epochs=0.0, probe_epochs=0)
    with pytest.raises(ContractError, match="the loss or a weight is not finite"):
        run_to(corpus, tmp_path / "run", wild)
    kept = list((tmp_path / "run/checkpoints").glob("*.safetensors"))
    assert kept
    for path in kept:
        assert all(t.isfinite().all() for t in safetensors_torch.load_file(path).values())


@pytest.mark.slow
def test_two_processes_train_one_model(corpus: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (tmp_path / "port").write_text(str(free.getsockname()[1]))
    text = RECIPE.format(mode="s1", pieces=1).replace("probe_epochs = 2", "probe_epochs = 0")
    text = text.replace("checkpoint_minutes = 0.0", "checkpoint_minutes = 10.0")
    (tmp_path / "recipe.toml").write_text(text)
    torch.multiprocessing.spawn(train_apart, args=(str(tmp_path), str(corpus)), nprocs=2)
    assert [(tmp_path / f"code-{rank}").read_text() for rank in (0, 1)] == ["0", "0"]
    steps, others = ((tmp_path / f"weights-{rank}").read_text().split() for rank in (0, 1))
    assert steps == others  # though each process sees views of its own
    assert len(set(steps)) == 8
    assert (tmp_path / "run/encoder-s1.safetensors").stat().st_size
    assert json.loads((tmp_path / "run/run.json").read_text())["processes"] == 2
