"""Linear probes: what a frozen encoder's features are worth, by logistic regression."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F  # noqa: N812  # its name everywhere
from torch import Tensor, nn

_ROUNDS = 100


@torch.no_grad()
def features_of(encoder: nn.Module, batches: Iterable[Tensor], device: torch.device) -> Tensor:
    """Return the features (chip, feature) float32, on the CPU, of normalised batches."""
    before = encoder.training
    encoder.eval()
    found = [encoder(batch.to(device)).float().cpu() for batch in batches]
    encoder.train(before)
    return torch.cat(found)


def probe(
    features: Tensor, targets: Tensor, unseen: Tensor, penalty: float, *, exclusive: bool
) -> Tensor:
    """Fit a logistic regression to features and return logits of unseen ones.

    Args:
        features: (n, feature) float32; brought to zero mean and unit deviation first.
        targets: (n, class) bool.
        unseen: (m, feature).
        penalty: Of the mean square of the weights.
        exclusive: One class a chip (softmax) rather than any number (sigmoids).

    Returns:
        (m, class) float32.
    """
    mean, deviation = features.mean(dim=0), features.std(dim=0, correction=0).clamp(min=1e-6)
    known, other = ((x - mean).double() / deviation for x in (features, unseen))
    weights = torch.zeros(known.shape[1], targets.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(targets.shape[1], dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([weights, bias], max_iter=_ROUNDS, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        solver.zero_grad()
        loss = classification_loss(known @ weights + bias, targets, exclusive=exclusive)
        loss = loss + penalty * weights.square().sum() / 2
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(objective)  # type: ignore[no-untyped-call]
    return (other @ weights + bias).detach().float()


def classification_loss(logits: Tensor, targets: Tensor, *, exclusive: bool) -> Tensor:
    """Return cross-entropy of one class a chip, or of each class by itself, summed over classes."""
    if exclusive:
        return F.cross_entropy(logits, targets.int().argmax(dim=1))
    wanted = targets.to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(dim=1).mean()


def nearest(features: Tensor, queries: Tensor, count: int) -> Tensor:
    """Return for each query row the rows nearest to it by cosine, itself first: (query, count)."""
    unit = F.normalize(features - features.mean(dim=0))
    likeness: Tensor = unit[queries] @ unit.T
    return likeness.topk(count, dim=1).indices
