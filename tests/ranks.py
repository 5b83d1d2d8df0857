"""What each of several processes does in tests of distributed learning: children import this."""

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from s1s2.learn import barlow, resnet, train
from s1s2.learn.machine import Machine
from s1s2.learn.settings import TrainSpec
from s1s2.learn.twins import Outcome, Twins, Viewed, learn_from

NARROW = (4, 8, 8, 16)
"""Widths of a network of a hundredth of its size."""


def embeddings(count: int = 24, width: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    z = torch.randn(count, width, generator=g)
    return z, z + 0.4 * torch.randn(count, width, generator=g)


def loss_of(z_a: torch.Tensor, z_b: torch.Tensor) -> torch.Tensor:
    return barlow.barlow_loss(barlow.cross_correlation(z_a, z_b), 0.005)


def linear() -> torch.nn.Linear:
    layer = torch.nn.Linear(6, 4, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-1, 1, 24).reshape(4, 6).sin())
    return layer


def still_twins() -> Twins:
    """Both encoders, narrow; batch moments, which each process has of its own, stand still."""
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.setattr(resnet, "_WIDTHS", NARROW)
        torch.manual_seed(0)
        return Twins(TrainSpec(mode="both", projector=8)).eval()


def pieces_of(first: int, last: int, count: int) -> list[Callable[[], Viewed]]:
    """Cut the views `first` to `last` of a fixed batch of 8 into pieces."""
    g = torch.Generator().manual_seed(5)
    batch = [torch.randn(8, bands, 32, 32, generator=g) for bands in (2, 12)]
    edges = range(first, last, (last - first) // count)

    def views(at: int) -> Viewed:
        chips = [b[at : at + edges.step] for b in batch]
        return [(c, c.flip(3) + 0.1) for c in chips]

    return [lambda at=at: views(at) for at in edges]


def learnt(model: torch.nn.Module, pieces: list[Callable[[], Viewed]]) -> list[torch.Tensor]:
    """Return the losses of a batch, then every gradient."""
    model.zero_grad()
    outcome = learn_from(model, pieces, 0.005)
    return [*outcome.losses, *(p.grad.clone() for p in model.parameters())]


def learn_apart(rank: int, folder: str) -> None:
    """Take the gradient of one half of a batch in one of two processes, and leave it in a file."""
    _join(rank, folder)
    model = torch.nn.parallel.DistributedDataParallel(linear())
    x_a, x_b = (x.chunk(2)[rank] for x in embeddings())
    loss = loss_of(model(x_a), model(x_b))
    loss.backward()
    found = {"linear": [loss.detach(), model.module.weight.grad]}
    for count in (1, 2):
        twins = torch.nn.parallel.DistributedDataParallel(still_twins())
        found[f"pieces {count}"] = learnt(twins, pieces_of(4 * rank, 4 * rank + 4, count))
    machine = Machine(torch.device("cpu"), rank, 2)
    found["agree"] = [torch.tensor([machine.agree(7), machine.agree(rank)])]
    torch.save(found, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def train_apart(rank: int, folder: str, corpus: str) -> None:
    """Run one of two processes of a training as torchrun would start it; note its weights."""
    from s1s2.cli import main

    resnet._WIDTHS = NARROW
    learn = train._Run._learn

    def noting(self: train._Run, *given: object) -> Outcome:
        outcome = learn(self, *given)
        numbers = b"".join(p.detach().numpy().tobytes() for p in self.twins.parameters())
        with Path(folder, f"weights-{rank}").open("a") as file:
            file.write(sha256(numbers).hexdigest() + "\n")
        return outcome

    train._Run._learn = noting  # type: ignore[method-assign]
    torch.set_num_threads(1)
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": "2"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ["MASTER_PORT"] = Path(folder, "port").read_text()
    recipe = f"{folder}/recipe.toml"
    code = main(["train", corpus, "--recipe", recipe, "-o", f"{folder}/run"])
    Path(folder, f"code-{rank}").write_text(str(code))


def _join(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    meet = f"file://{folder}/meet"
    torch.distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
