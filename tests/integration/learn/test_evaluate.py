"""Judging runs on a small corpus: by few labels, again and again, with what can be wrong."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from s1s2 import Corpus
from s1s2.bands import Sensor
from s1s2.errors import ContractError, StoreError

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 's1s2[learn]'")
pytest.importorskip("safetensors.torch")

from lessons import CPU, probed, recipe, run_to, spec  # noqa: E402

from s1s2.learn import classify, evaluate, labelled, results  # noqa: E402
from s1s2.learn.encoders import encoder_path, load_encoder  # noqa: E402


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
