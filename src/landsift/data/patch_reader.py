"""Reading patches of an array, be it in memory or in a file."""

from __future__ import annotations

import mmap
import os
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landsift.errors import DataError


class PatchReader:
    """Reads patches of an image array; of a memory-mapped one from its file.

    Touched pages of a memory map count as this process's memory, and each first touch interrupts it; a read of the
    file copies from the system's page cache and leaves nothing behind.

    Args:
        images: [N, H, W, C] of any type.
    """

    def __init__(self, images: NDArray[Any]) -> None:
        self.images = images
        self._bytes = int(images[:1].nbytes)
        self._file: int | None = None
        whole = isinstance(getattr(images, "base", None), mmap.mmap)  # not a part of a map
        if isinstance(images, np.memmap) and whole and hasattr(os, "preadv"):
            self._name = str(images.filename)
            self._first = int(images.offset)
            self._file = os.open(self._name, os.O_RDONLY | os.O_CLOEXEC)
            weakref.finalize(self, os.close, self._file)

    def __call__(self, rows: NDArray[np.int64], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """The patches of `rows`, int64 [B], in that order: [B, H, W, C], in `out` if that is given.

        Raises:
            DataError: the file has become shorter than the array.
        """
        if out is None:
            out = np.empty((len(rows), *self.images.shape[1:]), dtype=self.images.dtype)
        if self._file is None:
            np.take(self.images, rows, axis=0, out=out)
            return out
        pixels, size = memoryview(out.data).cast("B"), self._bytes
        for place in np.argsort(rows, kind="stable").tolist():  # one pass over the file
            begin = self._first + int(rows[place]) * size
            if os.preadv(self._file, [pixels[place * size : (place + 1) * size]], begin) != size:
                raise DataError(f"{self._name} is shorter than it was", "delete the patch store; it is built again")
        return out
