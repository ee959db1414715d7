"""Batches of decoded patches: an index operation on the store's array, no loader and no worker processes.

Where several processes train together, each takes its share of every step, so that together they see what one process
with their joint batch size would see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from landsift.data.patch_reader import PatchReader
from landsift.errors import DataError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

T = TypeVar("T")

READ_BYTES = 64 * 2**20
"""How much is read at once of what goes to a device."""
DEVICE_SHARE = 0.25
"""Share of a GPU's free memory that the patches of one split may take; the rest is for the network."""


@dataclass(frozen=True)
class Batch:
    """Patches on their way into a model.

    Attributes:
        images: of the store's type, [B, H, W, C].
        labels: int64 [B].
        rows: int64 [B], the patches' row numbers in the store; stays on the CPU.
        start: where this batch begins in the global batch, which all processes together train a step on.
        total: patches in the global batch; None: this batch is all of it.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    start: int = 0
    total: int | None = None

    @property
    def part(self) -> tuple[int, int]:
        """Where this batch begins in the global batch, and how many patches that has."""
        return self.start, len(self) if self.total is None else self.total

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The batch on another device (Lightning calls this)."""
        images = self.images.to(device, non_blocking=non_blocking)
        if images is self.images:
            return self
        return replace(self, images=images, labels=self.labels.to(device, non_blocking=non_blocking))

    def __len__(self) -> int:
        return len(self.labels)


class EpochOrder:
    """The rows of an epoch in their order; drawn ones depend on (seed, epoch) alone, so a resumed run repeats them.

    Args:
        rows: int64 [N].
        shuffle: draw a new order every epoch; else it is that of `rows`.
        seed: of the draws.
        labels: int64 [N], of `rows`: an epoch draws N of them with as many of each class, some more than once.
    """

    def __init__(
        self, rows: NDArray[np.int64], *, shuffle: bool, seed: int = 0, labels: NDArray[np.int64] | None = None
    ) -> None:
        self.rows = rows
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0
        self._classes = None if labels is None else [rows[labels == label] for label in np.unique(labels)]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (Lightning calls this before each)."""
        self.epoch = epoch

    def __call__(self) -> NDArray[np.int64]:
        """Row numbers of this epoch, int64 [N]."""
        if not self.shuffle:
            return self.rows
        rng = np.random.default_rng([self.seed, self.epoch])
        return rng.permutation(self.rows if self._classes is None else balanced_draw(self._classes, rng))


def balanced_draw(classes: Sequence[NDArray[np.int64]], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw N of N rows with as many of each class; a row comes again when all of its class have come as often.

    Args:
        classes: the rows of each class, int64 [n_k], none empty; N in all.
        rng: draws which rows, and which classes have the one more where N is no multiple of their number.

    Returns:
        int64 [N], class by class.
    """
    each, more = divmod(sum(len(rows) for rows in classes), len(classes))
    drawn = []
    for rows, one_more in zip(classes, rng.permutation(len(classes)) < more, strict=True):
        count = each + int(one_more)
        rounds = np.tile(rows, (-(-count // len(rows)), 1))
        drawn.append(rng.permuted(rounds, axis=1).ravel()[:count])
    return np.concatenate(drawn)


class PatchBatches:
    """Batches of the given rows of an image array; what Lightning's trainer takes for a loader.

    With W processes, step i of an epoch takes the next `batch_size` × W rows of its order, and process r the r-th
    slice of them. What is left for the last step is divided as evenly as can be. While training (`shuffle`) all
    processes make the same number of steps, and a last step that has not two patches for each, which batch norm needs,
    is left out; its patches have their turn in another epoch. Otherwise every row is seen once, by one of them, and
    some may make one step less than others.

    Args:
        images: [N, H, W, C] of a type that a store has, usually memory-mapped.
        labels: int64 [N].
        rows: int64 [M], which patches.
        batch_size: patches per batch and process.
        shuffle: draw a new order every epoch.
        balanced: an epoch draws as many rows as there are, the same number of every class; with `shuffle`.
        seed: of the draws; the same in all processes.
        rank: number of this process, from 0.
        world: how many processes share the rows.
        device: where the batches are used. On a GPU the patches live where there is room for all rows; where not, they
            stream through pinned memory, one batch ahead. None: batches are on the CPU.

    Raises:
        DataError: there are too few rows for each process to have a batch.
    """

    batch_sampler = None  # with `sampler`, the part of a DataLoader's interface that Lightning reads

    def __init__(
        self,
        images: NDArray[Any],
        labels: NDArray[np.int64],
        rows: NDArray[np.int64],
        *,
        batch_size: int,
        shuffle: bool = False,
        balanced: bool = False,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        device: torch.device | None = None,
    ) -> None:
        least = (2 if shuffle else 1) * world
        if world > 1 and len(rows) < least:
            kind = "training" if shuffle else "validation"
            raise DataError(
                f"{world} processes need at least {least} {kind} patches, there are {len(rows)}",
                "set fewer training.devices",
            )
        self.labels = labels
        self.batch_size = batch_size
        self.rank = rank
        self.world = world
        self.device = device if device is not None and device.type == "cuda" else None
        # Lightning calls its set_epoch.
        self.sampler = EpochOrder(rows, shuffle=shuffle, seed=seed, labels=labels[rows] if balanced else None)
        self.with_images = True
        """False leaves the images out, [B, 0, 0, 0], where only labels and rows are wanted."""
        self._read = PatchReader(images)
        self._resident: Resident | None = None
        self._skipped = 0

    def __len__(self) -> int:
        """How many batches this process has per epoch."""
        full, rest = divmod(len(self.sampler.rows), self.batch_size * self.world)
        if self.sampler.shuffle:
            return full + (rest >= 2 * self.world or (rest > 0 and full == 0))
        return full + (rest > self.rank)

    def skip(self, count: int) -> None:
        """Leave out the first `count` batches of the next epoch, which an interrupted training has seen."""
        self._skipped = count

    def __iter__(self) -> Iterator[Batch]:
        if self.device is None or not self.with_images:
            return self._batches()
        if self._resident is None and fits(self._bytes(), self.device):
            self._resident = Resident(self._read, self.labels, self.sampler.rows, self.device)
        if self._resident is not None:
            return self._resident_batches(self._resident)
        return self._streamed(self.device)

    def _shares(self) -> Iterator[tuple[NDArray[np.int64], int, int]]:
        """Of each step: this process's rows, where they begin in the global batch, and how many that has."""
        order = self.sampler()
        size = self.batch_size * self.world
        first, self._skipped = self._skipped, 0
        for i in range(first, len(self)):
            rows = order[i * size : (i + 1) * size]
            each, more = divmod(len(rows), self.world)
            start = self.rank * each + min(self.rank, more)
            yield rows[start : start + each + (self.rank < more)], start, len(rows)

    def _batches(self, *, pinned: bool = False) -> Iterator[Batch]:
        import torch

        for rows, start, total in self._shares():
            shape = self._read.images.shape[1:] if self.with_images else (0, 0, 0)
            images = torch.empty((len(rows), *shape), dtype=torch_dtype(self._read.images), pin_memory=pinned)
            if self.with_images:
                self._read(rows, images.numpy())
            yield Batch(images, torch.from_numpy(self.labels[rows]), torch.from_numpy(rows), start, total)

    def _streamed(self, device: torch.device) -> Iterator[Batch]:
        for batch in one_ahead(self._batches(pinned=True)):
            yield batch.to(device, non_blocking=True)

    def _resident_batches(self, resident: Resident) -> Iterator[Batch]:
        import torch

        for rows, start, total in self._shares():
            images, labels = resident(rows)
            yield Batch(images, labels, torch.from_numpy(rows), start, total)

    def _bytes(self) -> int:
        return len(self.sampler.rows) * int(self._read.images[:1].nbytes)


class Resident:
    """Patches that live on a device as they are stored, where a batch is an index operation.

    Args:
        read: reads the patches.
        labels: int64 [N].
        rows: int64 [M], the rows that are to live there, each once.
        device: where.
    """

    def __init__(
        self, read: PatchReader, labels: NDArray[np.int64], rows: NDArray[np.int64], device: torch.device
    ) -> None:
        import torch

        self.rows = np.sort(rows)
        self.images = torch.empty((len(rows), *read.images.shape[1:]), dtype=torch_dtype(read.images), device=device)
        step = max(1, READ_BYTES // max(1, int(read.images[:1].nbytes)))
        for start in range(0, len(rows), step):
            part = self.rows[start : start + step]
            self.images[start : start + len(part)] = torch.from_numpy(read(part))
        self.labels = torch.from_numpy(labels[self.rows]).to(device)

    def __call__(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Images, [B, H, W, C], and labels, int64 [B], of `rows`, int64 [B]."""
        import torch

        places = torch.from_numpy(np.searchsorted(self.rows, rows))
        if self.images.is_cuda:  # so that the copy does not wait for the kernels before it
            places = places.pin_memory()
        places = places.to(self.images.device, non_blocking=True)
        return as_movable(self.images)[places].view(self.images.dtype), self.labels[places]


def torch_dtype(images: NDArray[Any]) -> torch.dtype:
    """Torch's name of an array's type."""
    import torch

    found: torch.dtype = getattr(torch, images.dtype.name)
    return found


def as_movable(images: Tensor) -> Tensor:
    """The same bytes in a type whose elements torch moves on every device: it lacks much of uint16."""
    import torch

    return images.view(torch.int16) if images.dtype == torch.uint16 else images


def fits(size: int, device: torch.device) -> bool:
    """Whether `size` bytes are at most a quarter of the GPU's free memory."""
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return size <= DEVICE_SHARE * free


def one_ahead(items: Iterator[T]) -> Iterator[T]:
    """The items in their order, each made by a thread while the one before it is used; the thread ends with this."""
    end = object()
    with ThreadPoolExecutor(1, "landsift-batches") as pool:
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item  # type: ignore[misc]
