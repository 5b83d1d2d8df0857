"""The label-efficiency proof: what pre-training is worth with few labels, for each sensor and both.

Every job (a way to learn, a sensor, a share of the labels, a seed) leaves its test scores in a file
of its own, so a sweep that was stopped goes on, and tables can be made anew without training.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from s1s2 import files
from s1s2.bands import Sensor
from s1s2.errors import ContractError
from s1s2.learn.classify import Trainer
from s1s2.learn.encoders import Trained, encoder_path, load_encoder
from s1s2.learn.labelled import Labelled, held
from s1s2.learn.probe import features_of, probe
from s1s2.learn.settings import EvaluateSpec, digest

Scores = NDArray[np.float32]
_MEMORY_BYTES = 4 * 2**30
_READ_AT_ONCE = 256
_LEAST_LABELLED = 2
"""Batch normalisation needs more than one chip."""
SENSORS: dict[str, tuple[Sensor, ...]] = {
    "s1": (Sensor.S1,),
    "s2": (Sensor.S2,),
    "fusion": (Sensor.S1, Sensor.S2),
}
"""Encoders of each kind of model."""


@dataclass(frozen=True)
class Job:
    """One model to be trained and judged."""

    run: str
    """Which pre-training; empty for none."""
    way: str
    """`scratch`, `probe` or `finetune`."""
    sensor: str
    """`s1`, `s2` or `fusion`."""
    fraction: float
    seed: int

    @property
    def title(self) -> str:
        """Way and run in a word, for tables."""
        return f"{self.way}:{self.run}" if self.run else self.way

    @property
    def percent(self) -> str:
        """Share of the labels, for people."""
        return percent(self.fraction)


def percent(fraction: float) -> str:
    """Return a share in percent, with the digits it has.

    Examples:
        >>> [percent(share) for share in (0.005, 0.07, 1.0)]
        ['0.5%', '7%', '100%']
    """
    return f"{100 * fraction:g}%"


@dataclass(frozen=True)
class Judged:
    """A job and its logits of the test chips, (chip, class)."""

    job: Job
    scores: Scores


def evaluate(
    runs: list[Path], data: Labelled, out: Path, spec: EvaluateSpec, say: Callable[[str], None]
) -> list[Judged]:
    """Do every job of a sweep that `out` does not hold yet, and return all of them.

    Args:
        runs: Folders of pre-training runs, compared with each other.
        data: What is learnt and judged.
        out: Where the scores of each job are kept.
        spec: How.
        say: Told of each job.

    Raises:
        ContractError: If two runs are of one name, or none has an encoder of a sensor wanted.
        StoreError: If an encoder is missing or damaged, or nothing can be written.
    """
    if len(data.rows("train")) < _LEAST_LABELLED:
        msg = f"{data.name}: one chip in split train; an evaluation needs two or more to learn from"
        raise ContractError(msg)
    test = data.rows("test")
    data = held(data, _MEMORY_BYTES)
    trained = {path.name: _encoders(path) for path in runs}
    if len(trained) < len(runs):
        msg = f"runs {', '.join(map(str, runs))}: two are called the same; rename one folder"
        raise ContractError(msg)
    jobs = list(_jobs(trained, data, spec))
    if not jobs:
        msg = (
            f"{data.name} shows {' and '.join(data.sensors)}: no run has the encoders that "
            f"{', '.join(spec.sensors)} would need; nothing to do"
        )
        raise ContractError(msg)
    for name, encoders in trained.items():
        if seen := seen_before(data, encoders.values()):
            say(
                f"seen    {seen:,} of {len(test):,} test chips lie in cells that {name} learnt "
                "from: its scores flatter it"
            )
    sweep = _Sweep(data, trained, out, spec, say, {})
    found: list[Judged] = []
    for number, job in enumerate(jobs, 1):
        found.append(Judged(job, sweep.scores(job)))
        say(f"judged  {number:,} of {len(jobs):,} · {job.title} · {job.sensor} · {job.percent}")
    return found


def label_subset(data: Labelled, fraction: float, seed: int) -> NDArray[np.int64]:
    """Return the train rows whose labels may be used: a smaller share is part of a larger one."""
    order = np.random.default_rng([seed, 1]).permutation(data.rows("train"))
    return np.sort(order[: max(_LEAST_LABELLED, round(fraction * len(order)))])


def seen_before(data: Labelled, encoders: Iterable[Trained]) -> int:
    """Return how many test chips lie in cells that some encoder learnt from.

    Splits go by cells, so there are none, unless a run took another split than `train`, or learnt
    from a corpus with a smaller share of test cells. BigEarthNet v2 has no cells to be told by.
    """
    learnt = {cell for encoder in encoders for cell in encoder.cells}
    return int(np.isin(data.cell[data.rows("test")], list(learnt)).sum())


def _encoders(run: Path) -> dict[Sensor, Trained]:
    found = {s: load_encoder(encoder_path(run, s)) for s in Sensor if encoder_path(run, s).exists()}
    return found or {s: load_encoder(encoder_path(run, s)) for s in Sensor}  # says what is missing


def _jobs(
    trained: dict[str, dict[Sensor, Trained]], data: Labelled, spec: EvaluateSpec
) -> Iterator[Job]:
    for fraction in spec.fractions:
        for seed in range(spec.seeds):
            for sensor in spec.sensors:
                able = [
                    name
                    for name, encoders in trained.items()
                    if set(SENSORS[sensor]) <= set(encoders) & set(data.sensors)
                ]
                for way in spec.ways:
                    names = [""][: len(able)] if way == "scratch" else able
                    yield from (Job(name, way, sensor, fraction, seed) for name in names)


@dataclass(frozen=True)
class _Sweep:
    data: Labelled
    trained: dict[str, dict[Sensor, Trained]]
    out: Path
    spec: EvaluateSpec
    say: Callable[[str], None]
    features: dict[tuple[str, Sensor], torch.Tensor]
    """Of all rows, by run and sensor, once worked out."""

    def scores(self, job: Job) -> Scores:
        path = self.out / "jobs" / f"{self._name(job)}.npy"
        if (kept := self._kept(path)) is not None:
            return kept
        found = self._probed(job) if job.way == "probe" else self._trained(job)
        content = BytesIO()
        np.save(content, found, allow_pickle=False)
        files.write_bytes(path, content.getvalue())
        return found

    def _kept(self, path: Path) -> Scores | None:
        """Return the scores that an earlier sweep left; None if it did not, or they are damaged."""
        if not path.exists():
            return None
        try:
            found: Scores = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            found = np.empty(0, dtype=np.float32)
        if found.shape == (len(self.data.rows("test")), len(self.data.classes)):
            return found
        self.say(f"damaged {path}: not the scores of this job; judged again")
        return None

    def _name(self, job: Job) -> str:
        """Name a job's file by all that decides its scores."""
        makes = [t.architecture for t in self._of(job).values()]
        weights = [_fingerprint(t) for t in self._of(job).values()] if job.run else makes
        scaling = [asdict(t.scaling) for t in self._of(job).values()]
        usual = EvaluateSpec()  # in place of what decides no job's scores
        free = replace(
            self.spec, fractions=usual.fractions, sensors=usual.sensors, ways=usual.ways,
            seeds=usual.seeds, resamples=usual.resamples, cloudy_from=usual.cloudy_from,
        )  # fmt: skip
        mark = digest(free, job, {"data": self.data.mark, "of": weights, "scaling": scaling})
        return f"{job.way}-{job.sensor}-{job.fraction:g}-{job.seed}-{mark}"

    def _of(self, job: Job) -> dict[Sensor, Trained]:
        wanted = SENSORS[job.sensor]
        able = [e for e in self.trained.values() if set(wanted) <= set(e)]
        encoders = self.trained[job.run] if job.run else able[0]
        return {s: encoders[s] for s in wanted}

    def _trained(self, job: Job) -> Scores:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        trainer = Trainer(self.data, self._of(job), self.spec, device)
        rows = label_subset(self.data, job.fraction, job.seed)
        return trainer.scores(rows, job.seed, fresh=job.way == "scratch")

    def _probed(self, job: Job) -> Scores:
        columns = [self._features(job.run, s, t) for s, t in self._of(job).items()]
        features = torch.cat(columns, dim=1)
        rows = label_subset(self.data, job.fraction, job.seed)
        targets = torch.from_numpy(self.data.truth[rows])
        unseen = features[self.data.rows("test")]
        logits = probe(
            features[rows],
            targets,
            unseen,
            self.spec.probe_penalty,
            exclusive=self.data.exclusive,
        )
        found: Scores = logits.numpy()
        return found

    def _features(self, run: str, sensor: Sensor, trained: Trained) -> torch.Tensor:
        if (run, sensor) not in self.features:
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            rows = np.arange(len(self.data.truth))
            parts = np.array_split(rows, -(-len(rows) // _READ_AT_ONCE))
            size = self.spec.size_px
            batches = (self.data.batch(p, sensor, trained.scaling, size) for p in parts)
            encoder = trained.copy().to(device)
            self.features[run, sensor] = features_of(encoder, batches, device)
        return self.features[run, sensor]


def _fingerprint(trained: Trained) -> str:
    whole = sha256()
    for name, tensor in trained.weights.state_dict().items():
        whole.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return whole.hexdigest()
