"""How a training computes: the precision, and whether the network is compiled; both chosen by measuring."""

from __future__ import annotations

import copy
import logging
import os
import shutil
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from landsift.config import TrainingConfig
from landsift.errors import ConfigError
from landsift.training import distributed
from landsift.training.module import PatchModule
from landsift.training.phases import first_epoch

logger = logging.getLogger("landsift")

FULL, MIXED = "32-true", "bf16-mixed"
"""Lightning's names of float32 and of bfloat16 autocast."""
WINS = 0.8
"""bfloat16 is taken where its batches need at most this share of float32's time: noise does not decide."""
TRIAL_BATCH = 16
"""Patches in a trial batch on a CPU, at most; on a GPU, which small batches do not fill, as many as will train."""
WORTH_MEASURING = 0.02
"""Seconds of a trial batch below which there is nothing to gain on a CPU."""
REPEATS = 3
PAYS_AFTER = 3600.0
"""Seconds left in a phase from which `auto` compiles: that takes under a minute, which a gain of 4 % has paid back in
half of them, and which is a hundredth of them where there is none (docs/results.md)."""


def has_bfloat16(device: torch.device) -> bool:
    """Whether the processor computes in bfloat16 itself, so that it can be the faster one."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def choose_precision(config: TrainingConfig, module: PatchModule, device: torch.device) -> tuple[str, dict[str, float]]:
    """Lightning's name of the precision to train in, and the seconds per trial batch that decided it.

    Args:
        config: `precision` decides, unless it is "auto".
        module: whose network is tried on noise, in the phase that trains most of it.
        device: that trains.

    Returns:
        The name, and seconds by name; empty where nothing was measured.
    """
    if config.precision != "auto":
        return (FULL if config.precision == "32" else MIXED), {}
    if not has_bfloat16(device):
        return FULL, {}
    on_cpu = device.type == "cpu"
    patches = min(TRIAL_BATCH, config.batch_size) if on_cpu else config.batch_size
    with torch.random.fork_rng(devices=[] if on_cpu else [device.index or 0]):
        step = _trial(config, module, device, patches)
        step(FULL)
        first = step(FULL)
        if on_cpu and first < WORTH_MEASURING:
            return FULL, {}
        step(MIXED)
        trials = {FULL: first, MIXED: step(MIXED)}
        for _ in range(REPEATS - 1):
            trials = {name: min(seconds, step(name)) for name, seconds in trials.items()}
    chosen = MIXED if trials[MIXED] <= WINS * trials[FULL] else FULL
    seconds = {name: round(value, 4) for name, value in trials.items()}
    logger.info(
        "arithmetic: %s (a batch of %d takes %.0f ms in float32, %.0f ms in bfloat16)",
        "bfloat16" if chosen == MIXED else "float32",
        patches,
        1000 * trials[FULL],
        1000 * trials[MIXED],
    )
    return chosen, seconds


def _trial(config: TrainingConfig, module: PatchModule, device: torch.device, patches: int) -> Callable[[str], float]:
    """A function that runs one trial batch in a precision and returns its seconds; on a copy of the network."""
    sizes = [phase.image_size or config.image_size for phase in module.strategy]
    index = max(range(len(sizes)), key=lambda i: (module.strategy[i].trains_backbone, sizes[i]))
    most, size, present = module.strategy[index], sizes[index], module.phase_index
    module.enter_phase(index)
    classifier = copy.deepcopy(module.classifier).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    module.enter_phase(present)
    bands = module.normalize.mean.shape[1]
    images = torch.randn(patches, bands, size, size, device=device).contiguous(memory_format=torch.channels_last)

    def step(precision: str) -> float:
        _synchronise(device)
        started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == MIXED):
            loss: Tensor = classifier(images).float().square().mean()
        if most.trains_backbone:
            classifier.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
        _synchronise(device)
        return time.perf_counter() - started

    return step


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class CompileWhereItPays(Callback):
    """Compiles the backbone: at once if `training.compile` says so, else after a phase's first epoch if much is left.

    Attributes:
        compiled_at: the 0-based epoch from which the backbone was compiled; None: never.
    """

    def __init__(self, wanted: bool | Literal["auto"]) -> None:
        self.wanted = wanted
        self.compiled_at: int | None = None
        self._started = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Since when it is compiled, for the checkpoint."""
        return {"compiled_at": self.compiled_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Since when it was compiled: the arithmetic that goes on must be the same."""
        self.compiled_at = state_dict["compiled_at"]

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Compile if it is wanted by now, and start the epoch's clock."""
        assert isinstance(module, PatchModule)
        self._started = time.perf_counter()
        if module.compiled or not module.phase.trains_backbone:
            return
        if self.wanted is True and self.compiled_at is None:
            self.compiled_at = trainer.current_epoch
        if self.compiled_at is not None and trainer.current_epoch >= self.compiled_at:
            module.compile_backbone()
            logger.info("the network is compiled now, which takes about a minute")

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Decide from the epoch's time whether compiling pays for the epochs that this phase still has."""
        assert isinstance(module, PatchModule)
        if self.wanted != "auto" or self.compiled_at is not None or not module.phase.trains_backbone:
            return
        end = first_epoch(module.strategy, module.phase_index) + module.phase.epochs
        left = end - trainer.current_epoch - 1
        pays = left * (time.perf_counter() - self._started) > PAYS_AFTER
        if distributed.from_first(pays and can_compile()):
            self.compiled_at = trainer.current_epoch + 1


def can_compile() -> bool:
    """Whether there is a compiler for what torch.compile generates on this machine."""
    compilers = [os.environ.get("CXX"), os.environ.get("CC"), "g++", "clang++", "gcc", "clang"]
    found = any(shutil.which(name) for name in compilers if name)
    return found and (not torch.cuda.is_available() or find_spec("triton") is not None)


def check_compile(config: TrainingConfig) -> None:
    """Refuse to compile where there is no compiler.

    Raises:
        ConfigError: `compile` is true, and there is none.
    """
    if config.compile is True and not can_compile():
        raise ConfigError(
            "training.compile is true, but there is no C++ compiler here, or on a GPU no Triton",
            "install g++ or clang, or set training.compile=false",
        )
