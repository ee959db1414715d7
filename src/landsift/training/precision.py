"""How a training computes: the precision, and whether the network is compiled."""

from __future__ import annotations

import logging
import os
import shutil
import time
from importlib.util import find_spec
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from landsift.config import TrainingConfig
from landsift.errors import ConfigError
from landsift.training import ranks
from landsift.training.phases import first_epoch
from landsift.training.trainable import Compiling, Trainable

logger = logging.getLogger("landsift")

FULL, MIXED = "32-true", "bf16-mixed"
"""Lightning's names of float32 and of bfloat16 autocast."""
PAYS_AFTER = 3600.0
"""Seconds left in a phase from which `auto` compiles: that takes under a minute, which a gain of 4 % has paid back in
half of them, and which is a hundredth of them where there is none (docs/results-speed.md)."""


def choose_precision(config: TrainingConfig, device: torch.device) -> str:
    """Lightning's name of the precision to train in.

    `auto` is float32 on a CPU, and bfloat16 on a GPU that computes in it: what a timing would choose differs from run
    to run, and with it every figure.

    Args:
        config: `precision` decides, unless it is "auto".
        device: that trains.
    """
    if config.precision == "auto":
        return MIXED if has_bfloat16(device) else FULL
    return FULL if config.precision == "32" else MIXED


def has_bfloat16(device: torch.device) -> bool:
    """Whether it is a GPU that computes in bfloat16 itself, so that this is the faster one."""
    return device.type == "cuda" and bool(torch.cuda.is_bf16_supported(including_emulation=False))


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

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Say so where compiling is asked for and the module has nothing to compile."""
        if self.wanted is True and not isinstance(module, Compiling):
            logger.warning("training.compile changes nothing: %s has no backbone to compile", type(module).__name__)

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Compile if it is wanted by now, and start the epoch's clock."""
        assert isinstance(module, Trainable)
        self._started = time.perf_counter()
        if not isinstance(module, Compiling) or module.compiled or not module.phase.trains_backbone:
            return
        if self.wanted is True and self.compiled_at is None:
            self.compiled_at = trainer.current_epoch
        if self.compiled_at is not None and trainer.current_epoch >= self.compiled_at:
            module.compile_backbone()
            logger.info("compiling the network, which takes about a minute")

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Decide from the epoch's time whether compiling pays for the epochs that this phase still has."""
        assert isinstance(module, Trainable)
        if not isinstance(module, Compiling) or not module.phase.trains_backbone:
            return
        if self.wanted != "auto" or self.compiled_at is not None:
            return
        end = first_epoch(module.strategy, module.phase_index) + module.phase.epochs
        left = end - trainer.current_epoch - 1
        pays = left * (time.perf_counter() - self._started) > PAYS_AFTER
        if ranks.from_first(pays and can_compile()):
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
