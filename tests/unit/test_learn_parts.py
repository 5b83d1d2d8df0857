"""Networks, optimisers, scores, settings: the parts of learning that need no corpus."""

from pathlib import Path

import numpy as np
import pytest

from s1s2.errors import RecipeError

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 's1s2[learn]'")

from s1s2.learn import (  # noqa: E402
    classify,
    evaluate,
    labelled,
    optimise,
    probe,
    results,
    scores,
    settings,
)
from s1s2.learn.resnet import resnet  # noqa: E402


@pytest.mark.parametrize(
    ("architecture", "keys", "numbers", "features"),
    [("resnet18", 120, 11_176_512, 512), ("resnet50", 318, 23_508_032, 2048)],
)
def test_weights_are_named_and_shaped_as_torchvisions(
    architecture: str, keys: int, numbers: int, features: int
) -> None:
    """torchvision's own counts, less `fc` (513,000 and 2,049,000 numbers, two keys)."""
    encoder = resnet(architecture, 3)
    assert len(encoder.state_dict()) == keys
    assert sum(p.numel() for p in encoder.parameters()) == numbers
    assert encoder.features == features
    names = set(encoder.state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer2.0.downsample.0.weight"} <= names
    assert {"layer4.1.bn2.num_batches_tracked", "layer3.1.conv2.weight"} <= names
    assert encoder(torch.zeros(2, 3, 64, 64)).shape == (2, features)


def test_any_number_of_channels_and_a_name_that_is_none() -> None:
    assert resnet("resnet18", 12)(torch.zeros(2, 12, 32, 32)).shape == (2, 512)
    with pytest.raises(RecipeError, match="expected one of resnet18, resnet50"):
        resnet("resnet34", 3)


def test_lars_scales_steps_to_the_weights_and_leaves_biases_alone() -> None:
    layer = torch.nn.Linear(4, 4)
    spec = settings.TrainSpec(optimiser="lars", learning_rate=1.0, weight_decay=0.0)
    optimiser = optimise.optimiser_of(layer, spec)
    before, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    layer(torch.ones(2, 4)).square().sum().backward()
    layer.weight.grad *= 1_000  # the size of the gradient does not matter
    gradient = layer.bias.grad.clone()
    optimiser.step()
    moved = (layer.weight.detach() - before).norm() / before.norm()
    assert float(moved) == pytest.approx(0.001, rel=1e-3)
    optimise.set_rate(optimiser, 0.5)
    assert [g["lr"] for g in optimiser.param_groups] == pytest.approx([0.5, 0.012])
    torch.testing.assert_close(layer.bias.detach(), bias - gradient)


def naive_average_precision(score: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> float:
    """Step by step over thresholds, as its definition says."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(score.tolist()), reverse=True):
        chosen = score >= threshold
        recall = (weight * truth * chosen).sum() / (weight * truth).sum()
        precision = (weight * truth * chosen).sum() / max((weight * chosen).sum(), 1e-12)
        total, before = total + (recall - before) * precision, recall
    return total


def test_average_precision_is_its_definition_with_ties_and_weights() -> None:
    g = np.random.default_rng(0)
    score = np.round(g.normal(size=(40, 3)), 1).astype("float32")
    truth = g.random((40, 3)) < 0.3
    weights = g.integers(0, 3, (5, 40)).astype(float)
    found = scores.mean_average_precision(score, truth, weights)
    expected = [
        np.mean([naive_average_precision(score[:, k], truth[:, k], w) for k in range(3)])
        for w in weights
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_class_that_nobody_has_is_left_out() -> None:
    score, truth = np.array([[0.9, 0.1], [0.1, 0.2]], "float32"), np.array([[1, 0], [0, 0]], bool)
    assert scores.mean_average_precision(score, truth, np.ones((1, 2)))[0] == 1
    assert np.isnan(scores.mean_average_precision(score, truth[::-1] & False, np.ones((1, 2))))[0]


def test_accuracies() -> None:
    score = np.array([[2.0, -1.0], [-1.0, 3.0]], "float32")
    truth = np.array([[True, False], [True, False]])
    ones = np.ones((1, 2))
    assert scores.top_accuracy(score, truth, ones)[0] == 0.5
    assert scores.label_accuracy(score, truth, ones)[0] == 0.5
    assert scores.top_accuracy(score, truth, np.array([[3.0, 1.0]]))[0] == 0.75


def test_chips_of_a_cell_are_drawn_together() -> None:
    cells = np.array([7, 7, 9, 9, 9, 11])
    draws = scores.draw(cells, 3, 200)
    assert (draws.chips[0] == 1).all()
    for cell in (7, 9):
        assert (np.ptp(draws.chips[:, cells == cell], axis=1) == 0).all()
    np.testing.assert_allclose(draws.seeds.sum(axis=1), 1)
    again = scores.draw(cells, 3, 200)
    np.testing.assert_array_equal(draws.chips, again.chips)


def test_an_interval_holds_the_estimate_and_widens_with_fewer_chips() -> None:
    g = np.random.default_rng(1)

    def width(count: int) -> float:
        truth = g.random((count, 2)) < 0.4
        score = (truth + g.normal(size=truth.shape)).astype("float32")
        drawn = scores.draw(np.arange(count), 1, 300)
        at, low, high = scores.interval(
            scores.over_draws(scores.mean_average_precision, [score], truth, drawn)
        )
        assert low <= at <= high
        return high - low

    assert width(40) > 2 * width(1_000)


def test_a_probe_finds_what_is_linear() -> None:
    g = torch.Generator().manual_seed(0)
    features = torch.randn(200, 8, generator=g) * 5 + 100
    truth = torch.stack([features[:, 0] > 100, features[:, 3] > 103], dim=1)
    logits = probe.probe(features[:150], truth[:150], features[150:], 1e-3, exclusive=False)
    assert ((logits > 0) == truth[150:]).float().mean() > 0.95
    classes = torch.nn.functional.one_hot((features[:, 0] > 100).long(), 2).bool()
    logits = probe.probe(features[:150], classes[:150], features[150:], 1e-3, exclusive=True)
    assert (logits.argmax(1) == classes[150:].int().argmax(1)).float().mean() > 0.95


def test_frozen_features_are_of_the_chip_alone_and_leave_the_network_as_it_was() -> None:
    """Batch normalisation stands still: neither a chip's neighbours nor the probe move it."""
    encoder = resnet("resnet18", 2).train()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    chips = torch.randn(6, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    device = torch.device("cpu")
    whole = probe.features_of(encoder, [chips], device)
    parts = probe.features_of(encoder, list(chips.split(2)), device)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)
    assert encoder.training
    assert all(torch.equal(before[name], t) for name, t in encoder.state_dict().items())


def test_clear_and_cloudy_chips_are_scored_apart() -> None:
    truth = np.random.default_rng(0).random((60, 3)) < 0.5
    cloudy = np.arange(60) % 3 == 0
    split = np.where(np.arange(60) < 20, "train", "test")
    data = labelled.Labelled(
        "made up", "1", (), ("a", "b", "c"), False, truth, split, np.arange(60), cloudy,
        lambda _: {},
    )  # fmt: skip
    right = np.where(truth, 1.0, -1.0).astype("float32")
    logits = np.where(cloudy[:, None], -right, right)[20:]  # all wrong under clouds
    job = evaluate.Job("run", "probe", "s2", 1.0, 0)
    spec = settings.EvaluateSpec(seeds=1, resamples=10)
    summed = results.summarise([evaluate.Judged(job, logits)], data, spec)
    assert summed.chips == {"all": 40, "clear": 27, "cloudy": 13}
    table = summed.table().set_index(["subset", "metric"])["score"]
    assert (table["clear", "accuracy"], table["cloudy", "accuracy"]) == (1, 0)
    assert table["all", "accuracy"] == pytest.approx(27 / 40, abs=1e-4)
    assert table["clear", "mAP"] == 1 > table["all", "mAP"] > table["cloudy", "mAP"]


def test_nearest_finds_itself_first_and_its_twin_next() -> None:
    features = torch.randn(10, 16, generator=torch.Generator().manual_seed(0))
    features[7] = features[2] * 1.01
    assert probe.nearest(features, torch.tensor([2]), 2).tolist() == [[2, 7]]


def test_both_sensors_are_turned_alike() -> None:
    picture = torch.arange(16.0).reshape(1, 1, 4, 4)
    for seed in range(6):
        turned = classify.turned({"s1": picture, "s2": picture}, np.random.default_rng(seed))
        assert torch.equal(turned["s1"], turned["s2"])


def test_every_shipped_recipe_is_valid_and_published_is_as_published() -> None:
    assert {"published", "paper", "small"} <= set(settings.recipe_names())
    for name in settings.recipe_names():
        settings.read_recipe(name, {})
    spec = settings.read_recipe("published", {}).train
    assert (spec.epochs, spec.batch_size, spec.learning_rate) == (1000, 1024, 1e-3)
    assert (spec.warmup_epochs, spec.optimiser, spec.architecture) == (10, "adam", "resnet18")


def test_flags_override_a_recipe() -> None:
    assert settings.read_recipe("published", {"train.epochs": 3}).train.epochs == 3
    assert settings.read_recipe(None, {"train.epochs": None}).train.epochs == 200


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[train]\nepoch = 3", "unknown key train.epoch; did you mean epochs"),
        ("[train]\nmode = 's3'", "train.mode"),
        ("[train]\nbatch_size = 1", "batch_size 1: expected 2 or more"),
        ("[views]\ncloud = 2", "cloud 2.0: expected 0 to 1"),
        ("[train]\narchitecture = 'resnet34'", "'resnet18' or 'resnet50'"),
        ("[train]\nlearning_rate = nan", "learning_rate nan: expected more than 0"),
        ("[train]\nseed = -1", "seed -1: expected 0 or more"),
        ("[views]\nleast_share = 0", "least_share 0.0: expected more than 0"),
        ("[views]\ngain_db = inf", "gain_db inf: expected 0 or more"),
        ("[evaluate]\nfractions = [0.0]", "expected shares above 0"),
        ("[evaluate]\nfractions = [0.1, 0.1]", "fractions 0.1, 0.1: expected one or more, each"),
        ("[evaluate]\nways = []", "expected one or more, each once"),
        ("[evaluate]\nbatch_size = 1", "batch_size 1: expected 2 or more"),
        ("[evaluate]\nfinetune_rate = -1.0", "finetune_rate -1.0: expected more than 0"),
        ("[train", "not TOML"),
    ],
)
def test_a_wrong_recipe_is_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=told) as caught:
        settings.read_recipe(str(path), {})
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_names_those_there_are() -> None:
    with pytest.raises(RecipeError, match="expected one of paper, published, small"):
        settings.read_recipe("publishd", {})
