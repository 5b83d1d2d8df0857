"""Optimisers and the schedule of their learning rate."""

from collections.abc import Iterable
from math import cos, pi
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from s1s2.learn.settings import TrainSpec

_BIAS_RATE = 0.024
"""LARS: rate of biases and normalisations over that of weights; the paper's 0.0048 over 0.2."""
_TRUST = 0.001
_MOMENTUM = 0.9


class Lars(Optimizer):
    """Stochastic gradient descent whose steps are scaled to each weight's norm (You et al. 2017).

    A group with `adapt` false (biases, normalisations) is neither scaled nor decayed.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, weight_decay: float) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "adapt": True})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step."""
        del closure  # gradients are there already
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad, group)

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        if group["adapt"]:
            gradient = gradient + group["weight_decay"] * weight
            scale = _TRUST * weight.norm() / gradient.norm()
            gradient = gradient * torch.where(scale.isfinite() & (scale > 0), scale, 1.0)
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].mul_(_MOMENTUM).add_(gradient)
        weight.sub_(group["lr"] * momentum)


def optimiser_of(model: nn.Module, spec: TrainSpec) -> Optimizer:
    """Return the optimiser of a run; each group's `highest` is its rate after the warm-up."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    rate = spec.learning_rate
    if spec.optimiser == "adam":
        groups = [{"params": weights + others, "highest": rate}]
        return Adam(groups, lr=rate, weight_decay=spec.weight_decay)
    groups = [
        {"params": weights, "highest": rate, "adapt": True},
        {"params": others, "highest": rate * _BIAS_RATE, "adapt": False},
    ]
    return Lars(groups, rate, spec.weight_decay)


def share_of_rate(step: int, steps: int, warmup_steps: int) -> float:
    """Return the learning rate of a step over its highest: a line up, then half a cosine down.

    Examples:
        >>> [round(share_of_rate(s, 10, 2), 2) for s in (0, 1, 2, 6, 9)]
        [0.5, 1.0, 1.0, 0.5, 0.04]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    return (1 + cos(pi * done)) / 2


def set_rate(optimiser: Optimizer, share: float) -> None:
    """Set every group's rate to a share of its highest."""
    for group in optimiser.param_groups:
        group["lr"] = group["highest"] * share
