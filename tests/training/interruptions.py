"""Interrupting a training at a chosen step, and what must be the same in two runs."""

import contextlib
import itertools
import json
import math
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook


class Killed(BaseException):
    """Stands for a process that is gone: nothing is put in order."""


def sigterm() -> None:
    """What a machine sends that is about to be taken back."""
    signal.raise_signal(signal.SIGTERM)


def kill() -> None:
    """End the training where it is."""
    raise Killed


@contextlib.contextmanager
def after_steps(count: int, happens: Callable[[], None]) -> Iterator[None]:
    """While this lasts, something happens after the `count`-th step of any optimizer, counted from 1."""
    steps = itertools.count(1)

    def look(*_: Any) -> None:
        if next(steps) == count:
            happens()

    handle = register_optimizer_step_post_hook(look)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def in_validation(number: int, happens: Callable[[], None]) -> Iterator[None]:
    """While this lasts, something happens in the `number`-th batch that a head validates, counted from 1."""
    batches = itertools.count(1)

    def look(module: torch.nn.Module, _: Any) -> None:
        is_head = isinstance(module, torch.nn.Linear) and module.out_features == 6
        if is_head and not torch.is_grad_enabled() and next(batches) == number:
            happens()

    handle = register_module_forward_pre_hook(look)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def numbers_lost(steps: set[int]) -> Iterator[None]:
    """While this lasts, a head gets no numbers in some of the batches that it trains on, counted from 1."""
    batches = itertools.count(1)

    def spoil(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        is_head = isinstance(module, torch.nn.BatchNorm1d) and module.training
        return (inputs[0] * math.nan,) if is_head and torch.is_grad_enabled() and next(batches) in steps else None

    handle = register_module_forward_pre_hook(spoil)
    try:
        yield
    finally:
        handle.remove()


def results(folder: Path) -> dict[str, Any]:
    """All that a run directory holds but what tells of time and place."""
    import pandas as pd

    found: dict[str, Any] = {"files": sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())}
    rows = json.loads((folder / "metrics.json").read_text())
    found["metrics"] = [{k: v for k, v in row.items() if "seconds" not in k} for row in rows]
    for name in ("evaluation.json", "model/model.json", "config.yaml"):
        found[name] = (folder / name).read_text()
    for name in ("predictions.parquet", "embeddings.parquet"):
        found[name] = pd.read_parquet(folder / name).to_dict("list")
    found["weights"] = (folder / "model" / "model.safetensors").read_bytes()
    manifest = json.loads((folder / "manifest.json").read_text())
    found["best"] = manifest["best"]
    return found


def weights(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """The tensors of every checkpoint."""
    files = sorted((folder / "checkpoints").glob("*.ckpt"))
    return {file.name: torch.load(file, weights_only=True)["state_dict"] for file in files}


def differences(ours: Path, theirs: Path) -> list[str]:
    """What two run directories do not have in common, bit for bit."""
    mine, other = results(ours), results(theirs)
    names, expected = mine.pop("files"), other.pop("files")
    found = [f"has {name}, which the other has not" for name in names if name not in expected]
    found += [f"has no {name}" for name in expected if name not in names]
    found += [name for name in other if mine[name] != other[name]]
    first, second = weights(ours), weights(theirs)
    found += [f"checkpoint {name}" for name in first.keys() ^ second.keys()]
    for name in first.keys() & second.keys():
        found += [f"{name}: {k}" for k, v in second[name].items() if not torch.equal(v, first[name][k])]
    return found


def assert_equal(ours: Path, theirs: Path) -> None:
    """Check that two run directories hold the same, bit for bit."""
    assert differences(ours, theirs) == []
