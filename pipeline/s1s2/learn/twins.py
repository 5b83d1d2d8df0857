"""What is pre-trained: an encoder and a projector for each sensor, and one step of learning."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from s1s2.bands import Sensor
from s1s2.learn.barlow import barlow_loss, cross_correlation, projector
from s1s2.learn.resnet import ResNet, resnet
from s1s2.learn.settings import Mode, TrainSpec
from s1s2.learn.units import BANDS

Viewed = list[tuple[Tensor, Tensor]]
"""Two views of a batch for each pair of a mode, or their embeddings."""

PAIRS: dict[Mode, tuple[tuple[Sensor, Sensor], ...]] = {
    "s1": ((Sensor.S1, Sensor.S1),),
    "s2": ((Sensor.S2, Sensor.S2),),
    "both": ((Sensor.S1, Sensor.S1), (Sensor.S2, Sensor.S2)),
    "cross": ((Sensor.S1, Sensor.S2),),
}
"""Whose views are compared, by mode."""


def sensors_of(mode: Mode) -> tuple[Sensor, ...]:
    """Return the sensors that a mode trains an encoder for."""
    return tuple(s for s in Sensor if any(s in pair for pair in PAIRS[mode]))


def title_of(pair: tuple[Sensor, Sensor]) -> str:
    """Return the name of a pair in logs: `s1`, `s2` or `s1-s2`."""
    return "-".join(dict.fromkeys(str(sensor) for sensor in pair))


class Twins(nn.Module):
    """One encoder and one projector a sensor; views in, embeddings out."""

    def __init__(self, spec: TrainSpec) -> None:
        super().__init__()
        self.pairs = PAIRS[spec.mode]
        encoders = {str(s): _encoder(spec, s) for s in sensors_of(spec.mode)}
        self.encoders = nn.ModuleDict(encoders)
        self.projectors = nn.ModuleDict(
            {name: projector(e.features, spec.projector) for name, e in encoders.items()}
        )

    def forward(self, views: Viewed) -> Viewed:
        """Return the embeddings (B, D) of both views of each pair."""
        return [
            (self._embed(a, of_a), self._embed(b, of_b))
            for (a, b), (of_a, of_b) in zip(views, self.pairs, strict=True)
        ]

    def _embed(self, view: Tensor, sensor: Sensor) -> Tensor:
        embedding: Tensor = self.projectors[sensor](self.encoders[sensor](view))
        return embedding


def _encoder(spec: TrainSpec, sensor: Sensor) -> ResNet:
    return resnet(spec.architecture, len(BANDS[sensor]))


@dataclass(frozen=True)
class Outcome:
    """What one step found, detached: one entry a pair."""

    losses: list[Tensor]
    correlations: list[Tensor]


def learn_from(
    model: nn.Module, pieces: Sequence[Callable[[], Viewed]], off_diagonal: float
) -> Outcome:
    """Put the gradient of one batch's loss into the weights' `grad`.

    The loss is that of the whole batch, however many pieces it goes through the network in: the
    embeddings of all come first, without gradient; then each piece goes through once more and takes
    its part of the gradient with respect to them. Batch normalisation sees a piece at a time.

    Args:
        model: A `Twins`, bare or wrapped.
        pieces: Each makes the views of one piece, the same whenever it is called.
        off_diagonal: Weight of the redundancy term.
    """
    if len(pieces) == 1:
        embeddings = _float32(model(pieces[0]()))
        loss, outcome = _loss(embeddings, off_diagonal)
        loss.backward()  # type: ignore[no-untyped-call]
        return outcome
    with torch.no_grad():
        parts = [_float32(model(piece())) for piece in pieces]
    whole = [_whole(list(pair)) for pair in zip(*parts, strict=True)]
    loss, outcome = _loss(whole, off_diagonal)
    loss.backward()  # type: ignore[no-untyped-call]
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        with nullcontext() if last else _unsynchronised(model):
            _take_part(_float32(model(piece())), whole, number)
    return outcome


def _loss(embeddings: Viewed, off_diagonal: float) -> tuple[Tensor, Outcome]:
    correlations = [cross_correlation(a, b) for a, b in embeddings]
    losses = [barlow_loss(c, off_diagonal) for c in correlations]
    outcome = Outcome([x.detach() for x in losses], [c.detach() for c in correlations])
    return torch.stack(losses).sum(), outcome


def _float32(embeddings: Viewed) -> Viewed:
    return [(a.float(), b.float()) for a, b in embeddings]


def _whole(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Join the pieces' embeddings, as leaves that gather a gradient."""
    a, b = (torch.cat(side).requires_grad_() for side in zip(*parts, strict=True))
    return a, b


def _take_part(embeddings: Viewed, whole: Viewed, number: int) -> None:
    parts: list[Tensor] = []
    for pair, joined in zip(embeddings, whole, strict=True):
        for z, leaf in zip(pair, joined, strict=True):
            gradient = leaf.grad[number * len(z) : (number + 1) * len(z)]  # type: ignore[index]
            parts.append((z * gradient).sum())
    torch.stack(parts).sum().backward()  # type: ignore[no-untyped-call]


def _unsynchronised(model: nn.Module) -> AbstractContextManager[object]:
    """Return a context in which gradients stay in this process until the last piece."""
    if isinstance(model, DistributedDataParallel):
        return model.no_sync()
    return nullcontext()
