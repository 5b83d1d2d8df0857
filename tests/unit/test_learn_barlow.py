"""The loss: the paper's equations, what it must not depend on, and several processes."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 's1s2[learn]'")

from ranks import (  # noqa: E402
    embeddings,
    learn_apart,
    learnt,
    linear,
    loss_of,
    pieces_of,
    still_twins,
)
from torch import multiprocessing as mp  # noqa: E402

from s1s2.learn import barlow  # noqa: E402


def paper_loss(z_a: np.ndarray, z_b: np.ndarray, weight: float) -> float:
    """Equations 1 and 2 of arXiv 2103.03230, term by term."""
    a = (z_a - z_a.mean(0)) / z_a.std(0)
    b = (z_b - z_b.mean(0)) / z_b.std(0)
    total = 0.0
    for i in range(a.shape[1]):
        for j in range(a.shape[1]):
            norms = np.sqrt((a[:, i] ** 2).sum()) * np.sqrt((b[:, j] ** 2).sum())
            c = (a[:, i] * b[:, j]).sum() / norms
            total += (1 - c) ** 2 if i == j else weight * c**2
    return total


def test_the_loss_is_that_of_the_paper() -> None:
    z_a, z_b = embeddings()
    expected = paper_loss(z_a.double().numpy(), z_b.double().numpy(), 0.005)
    assert float(loss_of(z_a, z_b)) == pytest.approx(expected, rel=1e-3)


def test_affine_changes_of_the_embeddings_do_not_change_the_loss() -> None:
    z_a, z_b = embeddings()
    scale = torch.tensor([2.0, 0.5, 3.0, 7.0, 1.5, 0.8])
    changed = loss_of(z_a * scale + 5, z_b / scale - 2)
    assert float(changed) == pytest.approx(float(loss_of(z_a, z_b)), rel=5e-3)


def test_the_loss_keeps_its_digits_where_the_network_is_in_bfloat16() -> None:
    z_a, z_b = (z.bfloat16() for z in embeddings())
    with torch.autocast("cpu", torch.bfloat16):
        found = loss_of(z_a, z_b)
        correlation = barlow.cross_correlation(z_a, z_b)
    assert correlation.dtype == torch.float32
    assert float(found) == pytest.approx(float(loss_of(z_a.float(), z_b.float())), rel=1e-6)


def test_equal_and_independent_dimensions_cost_nothing() -> None:
    z = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    z = z - z.mean(0)
    z = torch.linalg.qr(z)[0] * 8
    assert float(loss_of(z, z)) == pytest.approx(0, abs=1e-3)


def test_the_projector_is_that_of_the_paper() -> None:
    kinds = [type(m).__name__ for m in barlow.projector(512, 64)]
    linear = ["Linear", "BatchNorm1d", "ReLU"]
    assert kinds == [*linear, *linear, "Linear"]
    assert all(m.bias is None for m in barlow.projector(512, 64) if isinstance(m, torch.nn.Linear))


def test_two_processes_have_the_loss_and_gradient_of_one(tmp_path: Path) -> None:
    mp.spawn(learn_apart, args=(str(tmp_path),), nprocs=2)
    model = linear()
    z_a, z_b = embeddings()
    alone = loss_of(model(z_a), model(z_b))
    alone.backward()
    whole = learnt(still_twins(), pieces_of(0, 8, 1))
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        loss, gradient = found["linear"]
        assert float(loss) == pytest.approx(float(alone.detach()), rel=1e-5)
        torch.testing.assert_close(gradient, model.weight.grad, rtol=1e-4, atol=1e-6)
        for count in (1, 2):
            torch.testing.assert_close(found[f"pieces {count}"], whole, rtol=1e-3, atol=1e-4)
        assert found["agree"][0].tolist() == [True, False]


def test_pieces_have_the_loss_and_gradient_of_the_whole_batch() -> None:
    whole = learnt(still_twins(), pieces_of(0, 8, 1))
    for count in (2, 4):
        pieces = learnt(still_twins(), pieces_of(0, 8, count))
        torch.testing.assert_close(pieces, whole, rtol=1e-3, atol=1e-4)
