"""torch, NumPy and Lightning as a training means them, whatever the program has set that it is called from."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator

from landsift.runtime import threads


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
    with contextlib.ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        stack.enter_context(_quiet_lightning())
        yield


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
