"""What each of several processes does in tests of distributed learning: children import this."""

import os
from pathlib import Path

import torch

from s1s2.learn import barlow


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


def learn_apart(rank: int, folder: str) -> None:
    """Take the gradient of one half of a batch in one of two processes, and leave it in a file."""
    _join(rank, folder)
    model = torch.nn.parallel.DistributedDataParallel(linear())
    x_a, x_b = (x.chunk(2)[rank] for x in embeddings())
    loss = loss_of(model(x_a), model(x_b))
    loss.backward()
    torch.save((loss.detach(), model.module.weight.grad), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def train_apart(rank: int, folder: str, corpus: str) -> None:
    """Run one of two processes of a training as torchrun would start it."""
    from s1s2.cli import main

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
