"""Learning from a small corpus: train, stop, go on, be damaged, be judged."""

import dataclasses
import json
import shutil
import socket
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fakes import Scenes, lonlat, points_file

from s1s2 import Corpus
from s1s2.bands import Sensor
from s1s2.cli import main
from s1s2.errors import ContractError, RecipeError, StoreError

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 's1s2[learn]'")
safetensors_torch = pytest.importorskip("safetensors.torch")

from ranks import NARROW, train_apart  # noqa: E402

from s1s2.learn import (  # noqa: E402
    batches,
    classify,
    evaluate,
    labelled,
    online,
    resnet,
    results,
    settings,
    train,
    units,
)
from s1s2.learn.encoders import encoder_path, load_encoder  # noqa: E402
from s1s2.learn.machine import Machine, this_machine  # noqa: E402

CPU = Machine(torch.device("cpu"))
RECIPE = """
[train]
mode = "{mode}"
projector = 16
epochs = 2
batch_size = 4
pieces = {pieces}
warmup_epochs = 1.0
split = "all"
checkpoint_minutes = 0.0
probe_epochs = 2
[views]
size_px = 32
"""


@pytest.fixture(scope="module", autouse=True)
def _narrow() -> Iterator[None]:
    """Networks of a hundredth of their size: nothing here depends on how wide they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resnet, "_WIDTHS", NARROW)
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 chips of 64 px in three zones; two cells train, the third is made the test split."""
    root = tmp_path_factory.mktemp("learn")
    scenes = Scenes(root / "catalog")
    places = []
    for number, (epsg, tile) in enumerate([(32631, "31TFK"), (32633, "33TFK"), (32640, "40TFK")]):
        scenes.s2(epsg=epsg, tile=tile, size_m=12_000, baseline="05.00")
        scenes.s1(epsg=epsg, size_m=14_000, slice_number=number)
        places += [lonlat(501_500 + 1_700 * i, 4_998_000 - 1_700 * i, epsg) for i in range(6)]
    recipe = root / "recipe.toml"
    recipe.write_text("[sample]\nval_percent = 0\ntest_percent = 40\n")
    build = ["build", str(recipe), "--catalog", str(scenes.save()), "--start", "2021-07-01"]
    build += ["--points", str(points_file(root / "p.geojson", places)), "--end", "2021-07-02"]
    assert main([*build, "--chip-size", "64", "-n", "18", "-o", str(root / "out")]) == 0
    return root / "out"


@pytest.fixture(scope="module")
def labels(corpus: Path) -> Path:
    """Two classes: one that follows from the picture, one that does not."""
    opened = Corpus(corpus)
    bright = [opened.read(int(c))["s2_10m"].mean() for c in opened.index["chip"]]
    table = pd.DataFrame({"chip": opened.index["chip"]})
    table["bright"] = (np.array(bright) > np.median(bright)).astype("float32")
    table["every other"] = (np.arange(len(table)) % 2).astype("float32")
    path = corpus.parent / "labels.parquet"
    table.to_parquet(path)
    return path


def recipe(mode: str = "both", pieces: int = 1, **changes: object) -> settings.LearnRecipe:
    document = tomllib.loads(RECIPE.format(mode=mode, pieces=pieces))
    document["train"] |= changes
    return settings.LearnRecipe.model_validate(document)


class StoppedError(Exception):
    """Stands for a kill."""


def run_to(
    corpus: Path, out: Path, wanted: settings.LearnRecipe, stop_at: int | None = None
) -> list[str]:
    """Train; with `stop_at`, die in the middle of the step after it."""
    said: list[str] = []
    learnt = train._Run._learn

    def dying(self: train._Run, raw: batches.Raw, epochs_done: float) -> object:
        if self.step == stop_at:
            raise StoppedError
        return learnt(self, raw, epochs_done)

    train._Run._learn = dying  # type: ignore[method-assign]
    try:
        train.train(Corpus(corpus), out, wanted, train.Around(CPU, said.append))
    except StoppedError:
        pass
    finally:
        train._Run._learn = learnt  # type: ignore[method-assign]
    return said


def weights(run: Path) -> dict[str, "torch.Tensor"]:
    found = {}
    for path in sorted(run.glob("encoder-*.safetensors")):
        for name, tensor in safetensors_torch.load_file(path).items():
            found[f"{path.stem}/{name}"] = tensor
    return found


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both sensors that was never stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    run_to(corpus, out, recipe())
    return out


def assert_same(one: Path, other: Path) -> None:
    mine, theirs = weights(one), weights(other)
    assert mine.keys() == theirs.keys()
    assert mine
    for name, tensor in mine.items():
        assert torch.equal(tensor, theirs[name]), name


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


def test_a_run_that_goes_on_keeps_its_log_whole(corpus: Path, tmp_path: Path) -> None:
    """Step 4, the end of the first epoch, was logged and kept: it is not done again."""
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
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


def spec(**changes: object) -> settings.EvaluateSpec:
    small = {"fractions": (0.5, 1.0), "seeds": 2, "least_steps": 2, "most_steps": 3}
    return settings.EvaluateSpec(**{**small, "batch_size": 4, "resamples": 20, **changes})


def probed(
    runs: list[Path], data: labelled.Labelled, out: Path, **changes: object
) -> tuple[list[evaluate.Judged], list[str]]:
    """Judge S2 by a probe on all labels; return that and what was said."""
    said: list[str] = []
    alone = spec(fractions=(1.0,), seeds=1, ways=("probe",), sensors=("s2",), **changes)
    return evaluate.evaluate(runs, data, out, alone, said.append), said


@pytest.fixture(scope="module")
def data(corpus: Path, labels: Path) -> labelled.Labelled:
    return labelled.of_corpus(corpus, spec(), labels, print)


def test_a_sweep_judges_every_job_and_goes_on_where_it_stopped(
    whole: Path, data: labelled.Labelled, tmp_path: Path
) -> None:
    found = evaluate.evaluate([whole], data, tmp_path, spec(), lambda _: None)
    assert len(found) == 2 * 2 * 3 * 3  # fractions, seeds, sensors, ways
    assert all(j.scores.shape == (len(data.rows("test")), 2) for j in found)
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "jobs").iterdir()}
    assert len(files) == len(found)
    lost = min(files)
    lost.unlink()
    again = evaluate.evaluate([whole], data, tmp_path, spec(), lambda _: None)
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)
    for path, when in files.items():
        assert (path.stat().st_mtime_ns == when) == (path != lost)


def test_scores_of_other_labels_are_not_taken_for_these(
    whole: Path, data: labelled.Labelled, tmp_path: Path
) -> None:
    first, _ = probed([whole], data, tmp_path)
    turned = dataclasses.replace(data, truth=~data.truth)
    second, _ = probed([whole], turned, tmp_path)
    assert not np.array_equal(first[0].scores, second[0].scores)
    assert len(list((tmp_path / "jobs").iterdir())) == 2
    probed([whole], data, tmp_path, cloudy_from=0.5)  # decides no score: nothing is done anew
    assert len(list((tmp_path / "jobs").iterdir())) == 2


def test_damaged_scores_are_judged_again(
    whole: Path, data: labelled.Labelled, tmp_path: Path
) -> None:
    first, _ = probed([whole], data, tmp_path)
    path = next((tmp_path / "jobs").iterdir())
    for content in (path.read_bytes()[:-4], b"", b"no array"):
        path.write_bytes(content)
        again, said = probed([whole], data, tmp_path)
        assert f"damaged {path}: not the scores of this job; judged again" in said
        np.testing.assert_array_equal(again[0].scores, first[0].scores)


def test_it_is_said_when_a_run_has_seen_places_of_the_test(
    corpus: Path, whole: Path, data: labelled.Labelled, tmp_path: Path
) -> None:
    """`whole` learnt from all splits; a run of the train split alone has seen none of the test."""
    test = len(data.rows("test"))
    _, said = probed([whole], data, tmp_path / "o")
    told = f"seen    {test} of {test} test chips lie in cells that run learnt from: its scores"
    assert any(line.startswith(told) for line in said)
    clean = tmp_path / "clean"
    run_to(corpus, clean, recipe("s2", epochs=1, probe_epochs=0, split="train"))
    _, said = probed([clean], data, tmp_path / "o")
    assert not any(line.startswith("seen") for line in said)


def test_one_labelled_chip_is_too_few(whole: Path, data: labelled.Labelled, tmp_path: Path) -> None:
    split = np.where(np.arange(len(data.split)) == data.rows("train")[0], "train", "test")
    with pytest.raises(ContractError, match="one chip in split train; an evaluation needs two"):
        probed([whole], dataclasses.replace(data, split=split), tmp_path)


def test_tables_hold_every_score_with_its_interval(
    whole: Path, data: labelled.Labelled, tmp_path: Path
) -> None:
    judged = evaluate.evaluate([whole], data, tmp_path, spec(ways=("probe",)), lambda _: None)
    summed = results.summarise(judged, data, spec())
    table = summed.table()
    assert set(table["sensor"]) == {"s1", "s2", "fusion"}
    assert set(table["metric"]) == {"mAP", "accuracy"}
    assert (table["low"] <= table["score"] + 1e-9).all()
    ahead = summed.differences()
    fused = ahead[(ahead["sensor"] == "fusion") & (ahead["ahead_of"] == "s2")].iloc[0]
    scores = table.set_index(["subset", "metric", "way", "sensor", "fraction"])["score"]
    key = (fused["subset"], fused["metric"], fused["way"])
    expected = scores[(*key, "fusion", fused["fraction"])] - scores[(*key, "s2", fused["fraction"])]
    assert fused["by"] == pytest.approx(expected, abs=2e-4)
    paths = results.write(summed, tmp_path / "out", "a title")
    assert [p.name for p in paths] == ["scores.csv", "differences.csv", "tables.md", "labels.png"]
    assert (tmp_path / "out/labels.png").read_bytes().startswith(b"\x89PNG")
    written = paths[2].read_text()
    for subset, metric in [("all", "mean average precision"), ("clear", "accuracy")]:
        assert f"**{subset}: {summed.chips[subset]:,} test chips, {metric} (95 %" in written
    assert "| sensor | way | 50% | 100% |" in written


def test_label_subsets_are_nested_and_of_train_alone(data: labelled.Labelled) -> None:
    train_rows = set(data.rows("train").tolist())
    for seed in range(3):
        before: set[int] = set()
        for fraction in (0.2, 0.5, 1.0):
            rows = set(evaluate.label_subset(data, fraction, seed).tolist())
            assert before <= rows <= train_rows
            before = rows
        assert before == train_rows
    one, other = (evaluate.label_subset(data, 0.5, seed).tolist() for seed in (0, 1))
    assert one != other


def test_cloud_and_shadow_together_make_a_chip_cloudy(
    corpus: Path, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hidden(Corpus):
        @property
        def index(self):  # noqa: ANN202
            return super().index.assign(
                cloud_fraction=[0.0, 0.08, 0.2, 0.0, *[0.0] * 14],
                shadow_fraction=[0.0, 0.05, 0.0, 0.09, *[0.0] * 14],
            )

    monkeypatch.setattr(labelled, "Corpus", Hidden)
    found = labelled.of_corpus(corpus, spec(cloudy_from=0.1), labels, print)
    assert found.cloudy.tolist() == [False, True, True, *[False] * 15]


def test_scratch_starts_anew_and_fine_tuning_from_the_run(
    whole: Path, data: labelled.Labelled, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[dict[str, torch.Tensor]] = []

    def noting(_: object, model: torch.nn.Module, *__: object) -> None:
        begun.append({k: t.clone() for k, t in model.encoders["s2"].state_dict().items()})

    monkeypatch.setattr(classify.Trainer, "_fit", noting)
    trained = load_encoder(encoder_path(whole, Sensor.S2))
    trainer = classify.Trainer(data, {Sensor.S2: trained}, spec(), CPU.device)
    for seed, fresh in [(0, False), (0, True), (0, True), (1, True)]:
        trainer.scores(data.rows("train"), seed, fresh=fresh)
    tuned, scratch, same, other = (weights["conv1.weight"] for weights in begun)
    assert torch.equal(tuned, trained.weights.state_dict()["conv1.weight"])
    assert not torch.equal(scratch, tuned)
    assert torch.equal(scratch, same)
    assert not torch.equal(scratch, other)


def test_a_chip_is_judged_by_itself(
    whole: Path, data: labelled.Labelled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch normalisation stands still: which chips are judged together does not matter."""
    found = []
    for at_once in (256, 3):
        monkeypatch.setattr(classify, "_JUDGED_AT_ONCE", at_once)
        trained = {Sensor.S1: load_encoder(encoder_path(whole, Sensor.S1))}
        trainer = classify.Trainer(data, trained, spec(), CPU.device)
        found.append(trainer.scores(data.rows("train"), 0, fresh=False))
    assert np.ptp(found[0], axis=0).min() > 0
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-6)


def test_splits_share_no_cell(data: labelled.Labelled) -> None:
    cells = {s: set(data.cell[data.split == s].tolist()) for s in ("train", "test")}
    assert cells["train"]
    assert cells["test"]
    assert not cells["train"] & cells["test"]


def test_chips_held_in_memory_are_those_on_disk(data: labelled.Labelled) -> None:
    held = labelled.held(data, 300_000)  # room for some of them
    rows = np.array([5, 0, 5, 11])
    for _ in range(2):
        for sensor, pixels in held.read(rows).items():
            assert torch.equal(pixels.to(torch.int32), data.read(rows)[sensor].to(torch.int32))


def test_labels_must_be_there_and_fit(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="no labels are known for real imagery; give --labels"):
        labelled.of_corpus(corpus, spec(), None, print)
    path = tmp_path / "few.parquet"
    pd.DataFrame({"chip": [0], "wood": [0.5]}).to_parquet(path)
    with pytest.raises(ContractError, match="names every chip"):
        labelled.of_corpus(corpus, spec(), path, print)
    numbers = np.repeat(Corpus(corpus).index["chip"].to_numpy(), 2)
    pd.DataFrame({"chip": numbers, "wood": 0.5}).to_parquet(path)
    with pytest.raises(ContractError, match="a chip comes twice"):
        labelled.of_corpus(corpus, spec(), path, print)


def test_a_damaged_encoder_is_named(whole: Path, tmp_path: Path, data: labelled.Labelled) -> None:
    broken = shutil.copytree(whole, tmp_path / "broken", ignore=lambda *_: ["checkpoints", "log"])
    path = encoder_path(Path(broken), next(iter(data.sensors)))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(StoreError, match="not an encoder of s1s2 train, or damaged"):
        evaluate.evaluate([Path(broken)], data, tmp_path / "o", spec(), lambda _: None)


def test_the_command_line_trains_and_judges(
    corpus: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text(
        RECIPE.format(mode="s2", pieces=1) + "[evaluate]\nleast_steps = 2\nmost_steps = 2\n"
        "resamples = 10\nbatch_size = 4\n"
    )
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
    page = Path(__file__).parents[2] / "docs/own-loop.md"
    code = page.read_text().split("```python\n")[1].split("```")[0]
    code = code.replace("corpora/sandbox-100", str(corpus)).replace("loader(64", "loader(4")
    names: dict[str, object] = {}
    exec(compile(code.replace("range(10)", "range(2)"), str(page), "exec"), names)  # noqa: S102
    loss = names["loss"]
    assert isinstance(loss, torch.Tensor)
    assert torch.isfinite(loss)
    assert names["epoch"] == 1
