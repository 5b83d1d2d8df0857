"""Checkpoints: whole or not there, proven by a hash, without pickle.

A checkpoint is a safetensors file of every weight and every state of the optimiser, and beside it a
small JSON with its hash, written after it. One that is damaged is passed over for the one before.
"""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from s1s2 import files
from s1s2.errors import StoreError

_KEPT = 2
_WEIGHTS, _STATE = "weights/", "state/"


class Checkpoints:
    """The checkpoints of one run: `save`, `restore`."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder, self._say = folder, say

    def save(self, step: int, model: nn.Module, optimiser: Optimizer) -> None:
        """Write the state after `step` steps; the last two are kept.

        Raises:
            StoreError: If it cannot be written.
        """
        tensors, kept = _flat(model, optimiser)
        content = safetensors.torch.save(tensors, {"optimiser": json.dumps(kept)})
        path = self._path(step)
        files.write_bytes(path, content)
        proof = {"step": step, "sha256": sha256(content).hexdigest(), "bytes": len(content)}
        files.write_bytes(path.with_suffix(".json"), json.dumps(proof).encode())
        for old in self._steps()[:-_KEPT]:
            self._path(old).with_suffix(".json").unlink(missing_ok=True)
            self._path(old).unlink(missing_ok=True)

    def restore(self, model: nn.Module, optimiser: Optimizer) -> int:
        """Load the newest undamaged checkpoint and return its step; 0 where there is none yet.

        Raises:
            StoreError: If there are checkpoints, but every one is damaged.
        """
        steps = self._steps()
        for step in reversed(steps):
            path = self._path(step)
            if (why := _damage(path)) is None:
                _load(path, model, optimiser)
                return step
            self._say(f"damaged {path}: {why}; using the one before")
        if steps:
            msg = (
                f"{self.folder}: every checkpoint is damaged; remove the folder to begin this run "
                "anew"
            )
            raise StoreError(msg)
        return 0

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}.safetensors"

    def _steps(self) -> list[int]:
        return sorted(int(p.stem.removeprefix("step-")) for p in self.folder.glob("step-*.json"))


def _damage(path: Path) -> str | None:
    """Say what is wrong with a checkpoint; None if nothing is."""
    try:
        expected = json.loads(path.with_suffix(".json").read_bytes())["sha256"]
        content = path.read_bytes()
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"cannot be read ({error})"
    return (
        None if sha256(content).hexdigest() == expected else "its content is not what was written"
    )


def _flat(model: nn.Module, optimiser: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return every tensor of model and optimiser by name, and the optimiser's plain numbers."""
    tensors = {_WEIGHTS + name: t.contiguous() for name, t in model.state_dict().items()}
    state = optimiser.state_dict()
    for number, entry in state["state"].items():
        tensors |= {f"{_STATE}{number}/{key}": t.contiguous() for key, t in entry.items()}
    return tensors, {"param_groups": state["param_groups"]}


def _load(path: Path, model: nn.Module, optimiser: Optimizer) -> None:
    with safe_open(path, "pt") as file:
        kept = json.loads(file.metadata()["optimiser"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dict
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(_STATE):
            number, key = name.removeprefix(_STATE).split("/")
            state.setdefault(int(number), {})[key] = tensor
    weights = {n.removeprefix(_WEIGHTS): t for n, t in tensors.items() if n.startswith(_WEIGHTS)}
    model.load_state_dict(weights)
    optimiser.load_state_dict({"state": state, "param_groups": kept["param_groups"]})
