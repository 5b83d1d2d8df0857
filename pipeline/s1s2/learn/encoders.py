"""Trained encoders as files anyone can open: safetensors whose header says what goes in."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open

from s1s2 import files
from s1s2.bands import Sensor
from s1s2.errors import StoreError
from s1s2.learn.resnet import ResNet, resnet
from s1s2.learn.units import BANDS, Scaling


@dataclass(frozen=True)
class Trained:
    """An encoder and what it expects."""

    sensor: Sensor
    architecture: str
    scaling: Scaling
    weights: ResNet
    cells: tuple[int, ...] = ()
    """Those it learnt from, so that an evaluation can tell what it has seen."""

    def fresh(self) -> ResNet:
        """Return an encoder of the same make with weights drawn anew."""
        return resnet(self.architecture, len(BANDS[self.sensor]))

    def copy(self) -> ResNet:
        """Return an encoder with these weights that may be trained on."""
        encoder = self.fresh()
        encoder.load_state_dict(self.weights.state_dict())
        return encoder


def encoder_path(run: Path, sensor: Sensor) -> Path:
    """Return where a run keeps a sensor's encoder."""
    return run / f"encoder-{sensor}.safetensors"


def save_encoder(path: Path, trained: Trained, facts: dict[str, Any]) -> None:
    """Write an encoder; its header holds architecture, bands, scaling, cells and further facts.

    Raises:
        StoreError: If it cannot be written.
    """
    header = {
        "sensor": str(trained.sensor),
        "architecture": trained.architecture,
        "bands": json.dumps([str(b) for b in BANDS[trained.sensor]]),
        "scaling": json.dumps(asdict(trained.scaling)),
        "cells": json.dumps(trained.cells),
        "facts": json.dumps(facts, sort_keys=True),
    }
    weights = {k: t.detach().cpu().contiguous() for k, t in trained.weights.state_dict().items()}
    files.write_bytes(path, safetensors.torch.save(weights, header))


def load_encoder(path: Path) -> Trained:
    """Read an encoder, onto the CPU.

    Raises:
        StoreError: If there is none, or it is damaged or of other bands.
    """
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata()
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dict
        sensor = Sensor(header["sensor"])
        if json.loads(header["bands"]) != [str(b) for b in BANDS[sensor]]:
            msg = f"{path}: trained on bands {header['bands']}, not on those a corpus has"
            raise StoreError(msg)
        scaling = Scaling(**{k: tuple(v) for k, v in json.loads(header["scaling"]).items()})
        cells = tuple(int(cell) for cell in json.loads(header["cells"]))
        encoder = resnet(header["architecture"], len(BANDS[sensor]))
        encoder.load_state_dict(weights)
    except FileNotFoundError as error:
        msg = f"{path}: there is no encoder; s1s2 train writes it when it is done"
        raise StoreError(msg) from error
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        msg = f"{path}: not an encoder of s1s2 train, or damaged ({error})"
        raise StoreError(msg) from error
    return Trained(sensor, header["architecture"], scaling, encoder.eval(), cells)
