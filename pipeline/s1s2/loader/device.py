"""Stored numbers to the device, and made there into what a batch holds, in one fused step.

Half the bytes of floats cross, and of bands at 20 m an eighth. On CUDA they leave from pinned
memory on a stream of their own, a batch ahead of the one in use.
"""

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch

from s1s2.loader.finish import Output, Plan
from s1s2.loader.ring import Slots

Batch = dict[str, torch.Tensor]


class Finisher:
    """Makes batches of stored numbers into what was asked for, on a device.

    Args:
        plan: What was asked for.
        device: Where.
        fused: Let torch compile one kernel of it; by default on CUDA.
    """

    def __init__(self, plan: Plan, device: torch.device, *, fused: bool | None = None) -> None:
        self._dtype = getattr(torch, plan.dtype)
        self._steps = [(o, [_Step(o, name, device) for name in _sources(o)]) for o in plan.outputs]
        on = device.type == "cuda" if fused is None else fused
        # the last batch is of another size: one kernel for any
        self._run: Callable[[Batch], Batch] = (
            torch.compile(self._finish, dynamic=True) if on else self._finish
        )

    def __call__(self, stored: Batch) -> Batch:
        """Return a finished batch.

        Args:
            stored: By array (..., band, y, x) as stored; other keys are passed on.
        """
        arrays = {step.array for _, steps in self._steps for step in steps}
        done = self._run({name: stored[name] for name in arrays})
        passed = {o.key: stored[o.key] for o, steps in self._steps if not steps}
        return done | passed | {"chip": stored["chip"]}

    def _finish(self, stored: Batch) -> Batch:
        found = {}
        for output, steps in self._steps:
            parts = [step(stored[step.array]) for step in steps]
            if not parts:
                continue
            joined = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-3)
            order = [place for step in steps for place in step.places]
            if order != sorted(order):
                joined = joined[..., torch.tensor(order, device=joined.device).argsort(), :, :]
            found[output.key] = joined.to(self._dtype) if output.dtype == "float32" else joined
        return found


def _sources(output: Output) -> list[str]:
    return list(dict.fromkeys(plane.array for plane in output.planes))


class _Step:
    """The planes of one output that come from one stored array."""

    def __init__(self, output: Output, array: str, device: torch.device) -> None:
        self.array = array
        self.places = [k for k, plane in enumerate(output.planes) if plane.array == array]
        planes = [output.planes[k] for k in self.places]
        self._rows = torch.tensor([plane.row for plane in planes], device=device)
        self._raw = output.dtype != "float32"
        self._first = planes[0]
        self._size = output.shape[-1]
        self._shift, self._scale = (
            torch.tensor(
                [getattr(p, word) for p in planes], dtype=torch.float32, device=device
            ).reshape(-1, 1, 1)
            for word in ("shift", "scale")
        )

    def __call__(self, stored: torch.Tensor) -> torch.Tensor:
        if self._raw:
            # torch can move 16 bits it may not index: the sign does not matter to that
            signed = stored.view(torch.int16)
            return self._repeated(signed.index_select(-3, self._rows)).view(stored.dtype)
        values = stored.to(torch.float32).index_select(-3, self._rows)
        wrong = values == self._first.invalid
        values = (values - self._shift) * self._scale
        if self._first.power:
            values = values.exp()
        return self._repeated(values.masked_fill(wrong, self._first.fill))

    def _repeated(self, values: torch.Tensor) -> torch.Tensor:
        times = self._size // values.shape[-1]
        if times == 1:
            return values
        return values.repeat_interleave(times, -1).repeat_interleave(times, -2)


def moved(
    batches: Iterator[Batch], device: torch.device, finisher: Finisher, slots: Slots
) -> Iterator[Batch]:
    """Move batches to a device and finish them there; on CUDA one batch ahead.

    Args:
        batches: As stored, in memory of the ring.
        device: Where to.
        finisher: What makes them what was asked for.
        slots: The ring.
    """
    if device.type != "cuda":
        for batch in batches:
            yield finisher(_sent(batch, device))
        return
    _pin(slots)
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    waiting: tuple[Batch, Batch, Any] | None = None
    try:
        for batch in batches:
            with torch.cuda.stream(stream):
                done = finisher(_sent(batch, device))
                event = stream.record_event()
            if waiting is not None:
                yield _taken(waiting[1], waiting[2], device)
                waiting[2].synchronize()  # its slot of the ring is free from here on
            waiting = (batch, done, event)
        if waiting is not None:
            yield _taken(waiting[1], waiting[2], device)
    finally:
        stream.synchronize()  # a loop left early frees slots that may still be copied from


def _sent(batch: Batch, device: torch.device) -> Batch:
    """Return a batch on the device; the chips' numbers stay, for they are for the loop."""
    return {
        key: tensor if key == "chip" else tensor.to(device, non_blocking=True)
        for key, tensor in batch.items()
    }


def _taken(batch: Batch, event: Any, device: torch.device) -> Batch:  # noqa: ANN401  # untyped
    """Let the loop's stream wait for a batch, and its memory wait for the loop's stream."""
    current = torch.cuda.current_stream(device)
    current.wait_event(event)
    for tensor in batch.values():
        if tensor.is_cuda:
            tensor.record_stream(current)
    return batch


def _pin(slots: Slots) -> None:
    """Pin the ring, once, until it is gone: the device then copies while the loop goes on."""
    if getattr(slots, "pinned", False):
        return
    memory = slots.whole()
    runtime = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    if int(runtime.cudaHostRegister(memory.ctypes.data, slots.nbytes, 0)) == 0:
        slots.pinned = True
        weakref.finalize(slots, runtime.cudaHostUnregister, memory.ctypes.data)
