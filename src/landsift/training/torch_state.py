"""torch, NumPy and Lightning as a training means them, whatever the program has set that it is called from."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from typing import Any

from landsift.runtime import threads

READ_ONCE = (
    "NVIDIA_TF32_OVERRIDE",
    "CUBLAS_EMULATE_SINGLE_PRECISION",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_DEFAULT_FPMATH_MODE",
)
"""Variables by which the libraries below torch compute float32 in fewer bits. They are read as these libraries are
loaded, so that nothing can be settled later: a training's key and its manifest name those that are set."""


def read_once() -> dict[str, str]:
    """Those of `READ_ONCE` that are set."""
    return {name: os.environ[name] for name in READ_ONCE if os.environ.get(name)}


def stated() -> dict[str, Any]:
    """How torch computes in a training, for the manifest: as `as_meant` has settled it."""
    import torch

    backends: Any = torch.backends
    return {
        "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "float32_matmul": backends.cuda.matmul.fp32_precision,
        "float32_convolution": backends.cudnn.conv.fp32_precision,
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "variables": read_once(),
    }


@contextlib.contextmanager
def as_meant() -> Iterator[None]:
    """Compute as a fresh process does, so that a result does not depend on who asked for it, and quietly.

    `landsift.runtime.surroundings.as_guest` around it puts back what the caller had set.
    """
    import numpy as np
    import torch

    if threads.THREADS not in os.environ and torch.get_num_threads() > threads.cores():
        torch.set_num_threads(threads.cores())  # torch counts the machine's cores, and knows of no quota
    if torch.get_default_dtype() != torch.float32:
        torch.set_default_dtype(torch.float32)
    if torch.get_default_device().type != "cpu":
        torch.set_default_device(None)
    torch.set_grad_enabled(True)
    _settle_float32()
    with contextlib.ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        stack.enter_context(_quiet_lightning())
        yield


def _settle_float32() -> None:
    """Products of matrices in float32 as such, convolutions on a GPU in TF32: torch's own choice.

    A caller may have set it in torch's older words or its newer ones, which do not go together: both are set.
    """
    import torch

    backends: Any = torch.backends
    backends.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    backends.cudnn.allow_tf32 = True
    for part in (backends.mkldnn.conv, backends.mkldnn.rnn):
        part.fp32_precision = "none"
    torch.set_deterministic_debug_mode("default")
    backends.mkldnn.enabled = True
    backends.cudnn.enabled, backends.cudnn.benchmark, backends.cudnn.deterministic = True, False, False
    for allow in ("allow_fp16_reduced_precision_reduction", "allow_bf16_reduced_precision_reduction"):
        setattr(backends.cuda.matmul, allow, True)


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning's hints are for developers of training loops; errors still come through.

    It also learns that this is no other process than it is: when it is loaded it asks the environment for a rank.
    """
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    from landsift.training import ranks

    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning")]
    before = [logger.level for logger in loggers]
    rank = rank_zero_only.rank
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    for about in (
        ".*in eval mode at the start.*",
        ".*log_every_n_steps.*",
        ".*exists and is not empty.*",
        ".*your dataloader is not resumable.*",  # ours is: resume.Continuation has it skip what was seen
        ".*LeafSpec.*",
    ):
        warnings.filterwarnings("ignore", about)
    rank_zero_only.rank = ranks.rank()
    try:
        yield
    finally:
        rank_zero_only.rank = rank
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
