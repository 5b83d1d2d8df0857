"""Pre-training: the loop, from whatever checkpoint there is to the model card.

Nothing random is kept between steps: order follows from seed and epoch, views from seed and step.
So a run that is gone on with in the middle of an epoch ends with the weights it would have had.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from math import isfinite
from pathlib import Path

import torch
from torch import Generator, nn
from torch.optim import Optimizer

from s1s2.bands import Sensor
from s1s2.errors import ContractError, StoreError
from s1s2.learn.batches import Order, Raw, batches
from s1s2.learn.checkpoints import Checkpoints
from s1s2.learn.journal import Journal
from s1s2.learn.machine import Machine
from s1s2.learn.online import OnlineProbe
from s1s2.learn.optimise import optimiser_of, set_rate, share_of_rate
from s1s2.learn.run_folder import RunFolder
from s1s2.learn.settings import LearnRecipe
from s1s2.learn.twins import Outcome, Twins, Viewed, learn_from, title_of
from s1s2.learn.units import Scaling
from s1s2.learn.views import Views, draw_geometry
from s1s2.load import Corpus

Say = Callable[[str], None]
_LOG_STEPS = 10
_LEAST_PIECE = 2
"""Batch normalisation needs more than one chip."""


@dataclass(frozen=True)
class Around:
    """What a run has around it and what does not decide its weights."""

    machine: Machine
    say: Say
    labels: Path | None = None
    """The user's own labels for the online probe."""


def train(corpus: Corpus, out: Path, recipe: LearnRecipe, around: Around) -> None:
    """Pre-train on a corpus, or go on where an earlier call stopped.

    Raises:
        RecipeError: If the folder holds a run of other settings.
        ContractError: If the corpus has too few chips, or the loss stops being a number.
        StoreError: If the corpus or every checkpoint is damaged, or nothing can be written.
    """
    machine, folder = around.machine, RunFolder(out)
    say = around.say if machine.rank == 0 else _silent
    order = _order(corpus, recipe, machine)
    steps = order.steps
    if machine.rank == 0:
        folder.begin(recipe, corpus, machine.world)
    if folder.card.exists():
        say(f"train   {out} is done: {folder.card}")
        return
    run = _begin(corpus, folder, recipe, around, say)
    say(
        f"train   {recipe.train.mode} · {recipe.train.architecture} · {machine.title()} · "
        f"{recipe.train.epochs} epochs of {steps} steps · step {run.step:,} of {run.total(steps):,}"
    )
    began = time.monotonic()
    for epoch in range(run.step // steps, recipe.train.epochs):
        run.epoch(epoch, corpus, order)
    run.save()
    if machine.rank == 0:
        run.journal_closed()
        seconds = time.monotonic() - began
        folder.finish(run.twins, corpus, recipe, seconds, machine.title())
        say(f"trained {out} · {seconds / 60:.1f} min · {folder.card}")


def _silent(_: str) -> None:
    """Say nothing: another process speaks."""


def _order(corpus: Corpus, recipe: LearnRecipe, machine: Machine) -> Order:
    spec = recipe.train
    parts = machine.world * spec.pieces
    if spec.batch_size % parts or spec.batch_size // parts < _LEAST_PIECE:
        msg = (
            f"batch_size {spec.batch_size}: expected a multiple of processes x pieces, "
            f"{machine.world} x {spec.pieces}, with {_LEAST_PIECE} chips or more in each"
        )
        raise ContractError(msg)
    chips = corpus.chips(None if spec.split == "all" else spec.split)
    return Order(chips, spec.batch_size, spec.seed, machine.rank, machine.world)


def _begin(
    corpus: Corpus, folder: RunFolder, recipe: LearnRecipe, around: Around, say: Say
) -> "_Run":
    machine = around.machine
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.train.seed)
        twins = Twins(recipe.train)
    twins.to(machine.device)
    optimiser = optimiser_of(twins, recipe.train)
    checkpoints = Checkpoints(folder.checkpoints, say)
    step = checkpoints.restore(twins, optimiser)
    if not machine.agree(step):
        msg = (
            f"{folder.root}: the processes do not find the same checkpoint there; put it on a disk "
            "that all of them share"
        )
        raise StoreError(msg)
    main = machine.rank == 0
    return _Run(
        recipe, machine, twins, machine.wrapped(twins, recipe.train), optimiser, checkpoints,
        Views(recipe.views, {s: Scaling.of_corpus(corpus.about, s) for s in Sensor}), say,
        Journal(folder.log, step) if main else None,
        OnlineProbe.of(corpus, recipe, around.labels, say) if main else None, step,
    )  # fmt: skip


@dataclass
class _Run:
    """A run between two steps."""

    recipe: LearnRecipe
    machine: Machine
    twins: Twins
    model: nn.Module
    """`twins`, wrapped."""
    optimiser: Optimizer
    checkpoints: Checkpoints
    views: Views
    say: Say
    journal: Journal | None
    probe: OnlineProbe | None
    step: int
    """Steps done."""
    saved_at: float = field(default_factory=time.monotonic)
    chips_since: int = 0
    since: float = field(default_factory=time.monotonic)

    def total(self, steps: int) -> int:
        """Return the steps of the whole run."""
        return steps * self.recipe.train.epochs

    def epoch(self, epoch: int, corpus: Corpus, order: Order) -> None:
        """Do what is left of an epoch."""
        spec, steps = self.recipe.train, order.steps
        first = self.step - epoch * steps
        outcome = None
        self.model.train()
        for raw in batches(corpus, order.epoch(epoch)[first:]):
            share = share_of_rate(self.step, self.total(steps), round(spec.warmup_epochs * steps))
            set_rate(self.optimiser, share)
            outcome = self._learn(raw, self.step / steps)
            self.step += 1
            self.chips_since += spec.batch_size
            if self.step % _LOG_STEPS == 0 or self.step == (epoch + 1) * steps:
                self._note(outcome, share)
            if time.monotonic() - self.saved_at > 60 * spec.checkpoint_minutes:
                self.save()
        last = epoch + 1 == spec.epochs
        if outcome and self.journal and (last or _due(epoch, spec.probe_epochs)):
            self._look(outcome)
        if outcome and self.probe and (last or _due(epoch, spec.probe_epochs)):
            self.probe.look(self.twins, self.step, self.journal, self.machine.device)
        self._tell(epoch, outcome)

    def _learn(self, raw: Raw, epochs_done: float) -> Outcome:
        self.optimiser.zero_grad(set_to_none=True)
        pieces = self._pieces(raw, epochs_done)
        with self.machine.autocast(self.recipe.train.precision):
            outcome = learn_from(self.model, pieces, self.recipe.train.off_diagonal)
        self.optimiser.step()
        return outcome

    def _pieces(self, raw: Raw, epochs_done: float) -> Sequence[Callable[[], Viewed]]:
        ramp = self.recipe.views.ramp_epochs
        strength = min(1.0, epochs_done / ramp) if ramp else 1.0
        count = self.recipe.train.pieces
        parts = {sensor: batch.chunk(count) for sensor, batch in raw.items()}
        return [
            partial(self._view, {s: p[number] for s, p in parts.items()}, number, strength)
            for number in range(count)
        ]

    def _view(self, raw: Raw, number: int, strength: float) -> Viewed:
        """Return the views of one piece: the same whenever it is asked for."""
        device = self.machine.device
        here = {sensor: batch.to(device, non_blocking=True) for sensor, batch in raw.items()}
        g = _generator(device, self.recipe.train.seed, self.step, self.machine.rank, number)
        count = len(here[Sensor.S1])
        share = self.recipe.views.least_share
        first, second = (draw_geometry(count, share, g) for _ in range(2))
        with torch.autocast(device.type, enabled=False):
            return [
                (
                    self.views.of(here[a], a, first, strength, g),
                    # across sensors both look at the same ground
                    self.views.of(here[b], b, second if a == b else first, strength, g),
                )
                for a, b in self.twins.pairs
            ]

    def _note(self, outcome: Outcome, share: float) -> None:
        """Log losses, rate and throughput, and stop when the loss is no number."""
        losses = _losses(self.twins, outcome)
        if not all(isfinite(value) for value in losses.values()):
            raise _diverged(self.step)
        now = time.monotonic()
        rate = self.chips_since / max(now - self.since, 1e-9)
        self.chips_since, self.since = 0, now
        if self.journal:
            scalars = {f"loss/{name}": value for name, value in losses.items()}
            scalars |= {"rate/learning": share * self.recipe.train.learning_rate}
            self.journal.scalars(self.step, scalars | {"rate/chips_a_second": rate})

    def _look(self, outcome: Outcome) -> None:
        for pair, c in zip(self.twins.pairs, outcome.correlations, strict=True):
            if self.journal:
                self.journal.correlation(self.step, title_of(pair), c)

    def _tell(self, epoch: int, outcome: Outcome | None) -> None:
        if outcome:
            losses = " · ".join(f"{k} {v:.2f}" for k, v in _losses(self.twins, outcome).items())
            self.say(f"epoch   {epoch + 1} of {self.recipe.train.epochs} · loss {losses}")

    def save(self) -> None:
        """Write a checkpoint, from the first process.

        Raises:
            ContractError: If a weight is no number: the checkpoints before stay.
        """
        if self.machine.rank == 0:
            if not all(bool(t.isfinite().all()) for t in self.twins.state_dict().values()):
                raise _diverged(self.step)
            self.checkpoints.save(self.step, self.twins, self.optimiser)
        self.saved_at = time.monotonic()

    def journal_closed(self) -> None:
        """Bring the log to disk."""
        if self.journal:
            self.journal.close()


def _diverged(step: int) -> ContractError:
    return ContractError(
        f"step {step}: the loss or a weight is not finite; a smaller learning_rate or a longer "
        "warm-up helps, in another folder"
    )


def _due(epoch: int, every: int) -> bool:
    return bool(every) and (epoch + 1) % every == 0


def _losses(twins: Twins, outcome: Outcome) -> dict[str, float]:
    named = zip(twins.pairs, outcome.losses, strict=True)
    return {title_of(pair): float(loss) for pair, loss in named}


def _generator(device: torch.device, *parts: int) -> Generator:
    """Return a generator whose numbers follow from `parts` alone."""
    key = blake2b(":".join(map(str, parts)).encode(), digest_size=7).digest()
    return Generator(device=device).manual_seed(int.from_bytes(key))
