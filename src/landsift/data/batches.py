"""Batches of decoded patches: an index operation on the store's array, no loader and no workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Patches on their way into a model.

    Attributes:
        images: uint8 [B, H, W, C].
        labels: int64 [B].
        rows: int64 [B], the patches' row numbers in the store.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor

    def to(self, device: object, non_blocking: bool = False) -> Batch:
        """The batch on another device (Lightning calls this)."""
        moved = (t.to(device, non_blocking=non_blocking) for t in (self.images, self.labels, self.rows))  # type: ignore[call-overload]
        return Batch(*moved)

    def __len__(self) -> int:
        return len(self.labels)


class EpochOrder:
    """The order of an epoch's rows; a shuffled one depends on (seed, epoch) alone, so a resumed run repeats it."""

    def __init__(self, rows: NDArray[np.int64], *, shuffle: bool, seed: int = 0) -> None:
        self.rows = rows
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (Lightning calls this before each)."""
        self.epoch = epoch

    def __call__(self) -> NDArray[np.int64]:
        """Row numbers of this epoch, int64 [N]."""
        if not self.shuffle:
            return self.rows
        return np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)


class PatchBatches:
    """Batches of the given rows of an image array; what Lightning's trainer takes for a loader.

    Args:
        images: uint8 [N, H, W, C], usually memory-mapped.
        labels: int64 [N].
        rows: int64 [M], which patches.
        batch_size: patches per batch.
        shuffle: draw a new order every epoch. A last batch of a single patch is then left out (that patch has its
            turn in another epoch), because batch norm cannot train on one.
        seed: of the shuffling.
    """

    batch_sampler = None  # with `sampler`, the part of a DataLoader's interface that Lightning reads

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        rows: NDArray[np.int64],
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
    ) -> None:
        self.images = images
        self.labels = labels
        self.batch_size = batch_size
        self.sampler = EpochOrder(rows, shuffle=shuffle, seed=seed)  # Lightning calls its set_epoch

    def __len__(self) -> int:
        full, rest = divmod(len(self.sampler.rows), self.batch_size)
        return full + (rest > 1 if self.sampler.shuffle and full else rest > 0)

    def __iter__(self) -> Iterator[Batch]:
        import torch

        order = self.sampler()
        for i in range(len(self)):
            rows = order[i * self.batch_size : (i + 1) * self.batch_size]
            ascending = np.sort(rows)  # one pass over the memory map
            back = np.searchsorted(ascending, rows)
            images = self.images[ascending][back]
            yield Batch(torch.from_numpy(images), torch.from_numpy(self.labels[rows]), torch.from_numpy(rows))
