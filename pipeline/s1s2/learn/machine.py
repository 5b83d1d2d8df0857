"""Where a run takes place: its device, its place among several processes, its precision."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import cast

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from s1s2.errors import ContractError
from s1s2.learn.settings import TrainSpec


@dataclass(frozen=True)
class Machine:
    """One process of a run."""

    device: torch.device
    rank: int = 0
    world: int = 1

    def autocast(self, precision: str) -> AbstractContextManager[object]:
        """Return the context that the network runs in."""
        wanted = precision == "bfloat16" or (
            precision == "auto" and self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        )
        return torch.autocast(self.device.type, torch.bfloat16) if wanted else nullcontext()

    def wrapped(self, model: nn.Module, spec: TrainSpec) -> nn.Module:
        """Return a model that learns together with the other processes' and is compiled if asked.

        On GPUs batch normalisation takes its moments over all processes; gloo cannot do that, so on
        CPUs each process has its own.
        """
        if self.world > 1:
            if self.device.type == "cuda":
                model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
            model = DistributedDataParallel(model)
        if spec.compile and self.device.type == "cuda":
            return cast("nn.Module", torch.compile(model))
        return model

    def agree(self, number: int) -> bool:
        """Say whether all processes hold the same number."""
        if self.world == 1:
            return True
        found = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in range(self.world)]
        dist.all_gather(found, torch.tensor([number], device=self.device))
        return all(int(other) == number for other in found)

    def title(self) -> str:
        """Name the machine in a few words, for people."""
        if self.device.type == "cuda":
            return f"{self.world} x {torch.cuda.get_device_name(self.device)}"
        return f"CPU, {self.world} process(es) of {torch.get_num_threads()} threads"


@contextmanager
def this_machine() -> Iterator[Machine]:
    """Join the processes that torchrun started, or stand alone; take a GPU where there is one.

    Raises:
        ContractError: If there are other processes, but they cannot be joined.
    """
    gpu = torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    if "RANK" not in os.environ:
        yield Machine(device)
        return
    try:
        dist.init_process_group("nccl" if gpu else "gloo")
    except (ValueError, RuntimeError) as error:
        msg = f"RANK is set, but the other processes cannot be joined ({error}); start by torchrun"
        raise ContractError(msg) from error
    try:
        yield Machine(device, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
