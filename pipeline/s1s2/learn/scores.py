"""Mean average precision and accuracy, weighted so that chips may be resampled: intervals."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Score = Callable[[NDArray[np.float32], NDArray[np.bool_], Floats], Floats]
"""Scores (chip, class), truth (chip, class), weights (draw, chip) to one number a draw."""
_PERCENTILES = (2.5, 97.5)


def mean_average_precision(
    scores: NDArray[np.float32], truth: NDArray[np.bool_], weights: Floats
) -> Floats:
    """Return the mean over classes of the average precision, once for each line of weights.

    As scikit-learn's `average_precision_score` with `sample_weight`; classes that no weighted chip
    has are left out.

    Args:
        scores: (chip, class), larger for more likely.
        truth: (chip, class).
        weights: (draw, chip), how often each chip counts.

    Examples:
        >>> scores = np.array([[0.9], [0.8], [0.1]], dtype="float32")
        >>> mean_average_precision(scores, np.array([[True], [False], [True]]), np.ones((1, 3)))
        array([0.83333333])
    """
    by_class = [_average_precision(scores[:, k], truth[:, k], weights) for k in _present(truth)]
    if not by_class:
        return np.full(len(weights), np.nan)
    found = np.array(by_class)
    known = np.isfinite(found)
    total = np.where(known, found, 0).sum(axis=0)
    return _quotient(total, known.sum(axis=0).astype(float))


def _present(truth: NDArray[np.bool_]) -> list[int]:
    return [int(k) for k in np.flatnonzero(truth.any(axis=0))]


def _average_precision(
    scores: NDArray[np.float32], truth: NDArray[np.bool_], weights: Floats
) -> Floats:
    order = np.argsort(-scores, kind="stable")
    ranked = -scores[order]
    last = np.searchsorted(ranked, ranked, side="right") - 1  # ties are taken all at once
    drawn = weights[:, order]
    positive = drawn * truth[order]
    above = np.cumsum(drawn, axis=1)[:, last]
    hits = np.cumsum(positive, axis=1)
    precision = np.divide(hits[:, last], above, out=np.zeros_like(above), where=above > 0)
    total = hits[:, -1]
    return _quotient((precision * positive).sum(axis=1), total)


def label_accuracy(
    scores: NDArray[np.float32], truth: NDArray[np.bool_], weights: Floats
) -> Floats:
    """Return the share of (chip, class) said rightly, `scores` being logits."""
    right = ((scores > 0) == truth).mean(axis=1)
    return _weighted(right, weights)


def top_accuracy(scores: NDArray[np.float32], truth: NDArray[np.bool_], weights: Floats) -> Floats:
    """Return the share of chips whose one class has the largest score."""
    right = truth[np.arange(len(truth)), scores.argmax(axis=1)].astype(float)
    return _weighted(right, weights)


def _weighted(right: Floats, weights: Floats) -> Floats:
    return _quotient(weights @ right, weights.sum(axis=1))


def _quotient(parts: Floats, wholes: Floats) -> Floats:
    """Return parts over wholes; NaN where there is no whole."""
    found = np.full(len(wholes), np.nan)
    np.divide(parts, wholes, out=found, where=wholes > 0)
    return found


@dataclass(frozen=True)
class Draws:
    """Bootstrap draws: how often each test chip and each seed counts, the first being all once."""

    chips: Floats
    """(draw, chip)."""
    seeds: Floats
    """(draw, seed), each line sums to 1."""


def draw(cells: NDArray[np.int64], seeds: int, resamples: int) -> Draws:
    """Draw cells and seeds with replacement: chips of one cell are not independent of each other.

    The same arguments give the same draws, so that two results may be compared draw by draw.
    """
    generator = np.random.default_rng(0)
    names, inverse = np.unique(cells, return_inverse=True)
    of_cells = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), resamples)
    of_seeds = generator.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds
    return Draws(
        np.vstack([np.ones(len(cells)), of_cells[:, inverse]]),
        np.vstack([np.full(seeds, 1 / seeds), of_seeds]),
    )


def over_draws(
    score: Score, by_seed: list[NDArray[np.float32]], truth: NDArray[np.bool_], draws: Draws
) -> Floats:
    """Return a score's mean over seeds for each draw; the first is the estimate itself."""
    found = np.array([score(scores, truth, draws.chips) for scores in by_seed])
    mean: Floats = (found.T * draws.seeds).sum(axis=1)
    return mean


def interval(values: Floats) -> tuple[float, float, float]:
    """Return an estimate with the ends of its 95 % interval, of a score's draws."""
    if not np.isfinite(values[0]):
        return float("nan"), float("nan"), float("nan")
    low, high = np.nanpercentile(values[1:], _PERCENTILES)
    return float(values[0]), float(low), float(high)
