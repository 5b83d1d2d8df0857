"""Barlow Twins (Zbontar et al. 2021, arXiv 2103.03230): projector, cross-correlation, loss.

The loss knows two tensors and one number. With several processes the embeddings of all are gathered
first, so that value and gradient are those of one process with the whole batch.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

_EPSILON = 1e-5
"""Added to a variance, as batch normalisation does."""


def projector(features: int, width: int, layers: int = 3) -> nn.Sequential:
    """Return the paper's projector: `layers` linear layers, all but the last normalised, ReLU."""
    modules: list[nn.Module] = []
    for _ in range(layers - 1):
        modules += [nn.Linear(features, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
        features = width
    return nn.Sequential(*modules, nn.Linear(features, width, bias=False))


def cross_correlation(z_a: Tensor, z_b: Tensor) -> Tensor:
    """Return the cross-correlation of two embeddings over the batch of all processes.

    Args:
        z_a: Embeddings of one view, (B, D).
        z_b: Embeddings of the other view of the same chips, (B, D).

    Returns:
        (D, D) float32: row i, column j correlates dimension i of `z_a` with j of `z_b`, each of
        zero mean and unit deviation over the batch.
    """
    # inside autocast the product would be rounded to bfloat16, and the loss with it to 2 digits
    with torch.autocast(z_a.device.type, enabled=False):
        a, b = (_standardised(gathered(z.float())) for z in (z_a, z_b))
        return a.T @ b / len(a)


def barlow_loss(c: Tensor, off_diagonal_weight: float) -> Tensor:
    """Return the loss of a cross-correlation matrix (D, D): equation 1 of the paper."""
    diagonal = torch.diagonal(c)
    invariance = (1 - diagonal).square().sum()
    redundancy = c.square().sum() - diagonal.square().sum()
    return invariance + off_diagonal_weight * redundancy


def _standardised(z: Tensor) -> Tensor:
    centred = z - z.mean(dim=0)
    return centred / (centred.square().mean(dim=0) + _EPSILON).sqrt()


def gathered(z: Tensor) -> Tensor:
    """Return the rows of all processes, in order of rank: (B, D) each to (world * B, D).

    Each process is to compute the same loss from them. The gradient that returns is the sum over
    the processes, so `DistributedDataParallel`, which takes the mean, ends with that of one.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return z
    rows: Tensor = _Gather.apply(z)  # type: ignore[no-untyped-call]
    return rows


class _Gather(torch.autograd.Function):
    """`all_gather` that lets gradients back: a plain one cuts the other processes off."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:  # noqa: ANN401  # torch's context has no type
        ctx.rows = len(z)
        parts = [torch.empty_like(z) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, z.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        total = gradient.contiguous()
        dist.all_reduce(total)
        first = dist.get_rank() * ctx.rows
        return total[first : first + ctx.rows]
