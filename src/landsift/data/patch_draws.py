"""Random numbers of patches that depend on the patch alone, and not on its batch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class PatchDraws:
    """What `augment` draws its parameters from in place of a batch's generator: one generator for each patch.

    So a view of a patch is the same in every batch, order and number of processes.

    Args:
        seed: of the training.
        rows: store rows of the patches of the batch, int64 [B].
        view: which view of them, from 0.
        drawing: how many times views were drawn before.
    """

    def __init__(self, seed: int, rows: Tensor, view: int, drawing: int = 0) -> None:
        # The last number keeps these from the draws of batches and orders: trailing zeros change no seed of numpy.
        self._of_patches = [np.random.default_rng([seed, row, view, drawing, 1]) for row in rows.tolist()]

    def uniform(self, *shape: int) -> Tensor:
        """Numbers in [0, 1), float32 [B, *shape]."""
        return torch.from_numpy(np.stack([own.random(shape, dtype=np.float32) for own in self._of_patches]))

    def integers(self, high: int) -> Tensor:
        """Numbers from 0 to `high` - 1, int64 [B]."""
        return torch.tensor([own.integers(high) for own in self._of_patches], dtype=torch.int64)
