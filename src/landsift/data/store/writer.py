"""Decoding all patches of a source into one .npy file, with exact statistics and the list of what cannot be read."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Container
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from landsift.bands import BandSpec
from landsift.data.decoding.decode import quiet_pillow
from landsift.data.decoding.unreadable import LeftOut, Reason, UnreadableError, in_words, summed_up
from landsift.data.sources.scanning import Scans
from landsift.data.sources.source import Source, as_stored
from landsift.data.store.statistics import BandStatistics, Sums, sums_of
from landsift.errors import DataError
from landsift.runtime.parallel import CHUNK, map_rows
from landsift.runtime.progress_bar import progress_bar

_PICTURES = BandSpec.pictures()
_CHUNK_BYTES = 2**20  # of decoded pixels that a task makes


class Decoded(NamedTuple):
    """A decoded patch with what is worked out in the decoding thread."""

    pixels: NDArray[Any]
    """[H, W, C]"""
    sha256: bytes
    """Of the pixels: equal for patches that look the same, whatever their files' bytes."""
    sums: Sums
    """What the statistics of its bands need."""

    @classmethod
    def of(cls, pixels: NDArray[Any], bands: BandSpec | None = None) -> Self:
        """Hash and count a patch [H, W, C] of some bands; None: 8-bit RGB."""
        bands = bands or _PICTURES
        pixels = as_stored(pixels, bands)
        return cls(pixels, hashlib.sha256(pixels.data).digest(), sums_of(pixels, bands))


class PatchWriter:
    """Writes patches of one shape to a .npy file whose length need not be known beforehand.

    Plain sequential writes need the memory of one patch, where a memory map of the whole array would fill it.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int], bands: BandSpec | None = None) -> None:
        self._shape = shape
        self._bands = bands or BandSpec.pictures()
        self._count = 0
        self.statistics = BandStatistics(self._bands)
        self._file = path.open("wb")
        self._write_header()

    def append(self, patch: Decoded) -> None:
        """Write the next patch."""
        self._file.write(patch.pixels.data)
        self._count += 1
        self.statistics.add(patch.sums)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[N, H, W, C] so far."""
        return (self._count, *self._shape)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if kind is None:
                end = self._file.tell()
                self._file.seek(0)
                self._write_header()  # numpy pads headers so that the first axis may grow in place
                assert (
                    end - self._file.tell() == self._count * math.prod(self._shape) * self._bands.numpy_dtype.itemsize
                )

    def _write_header(self) -> None:
        header = {"descr": self._bands.numpy_dtype.str, "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(self._file, header)


class Unreadable:
    """Files that are left out, and the share of all files that they may be."""

    def __init__(self, source: Source, limit: float) -> None:
        self._found: dict[int, Reason] = {}
        self._source = source
        self._limit = limit

    def add(self, row: int, reason: Reason) -> None:
        """Leave a record out."""
        self._found[row] = reason

    @property
    def files(self) -> list[dict[str, str]]:
        """Path, relative to the source, and reason of each file."""
        return [{"path": self._source.records.path(row), "reason": reason.text} for row, reason in self._found.items()]

    def summed_up(self, rows: Container[int] | None = None) -> list[LeftOut]:
        """By reason, the most frequent first, of all records or of some."""
        return summed_up(
            (path_of(self._source, row), reason) for row, reason in self._found.items() if rows is None or row in rows
        )

    def check(self, *, all_seen: bool) -> None:
        """Raise DataError if the files left out are more than the limit; there may be more if not all were seen."""
        total = len(self._source.records)
        if len(self._found) <= self._limit * total:
            return
        groups, least = self.summed_up(), "" if all_seen else "at least "
        raise DataError(
            f"{least}{len(self._found)} of {total} files cannot be decoded, more than "
            f"data.max_unreadable={self._limit:g} allows; {in_words(groups)}",
            f"{groups[0].reason.cause.value}; or raise data.max_unreadable, and they are left out",
        )


def path_of(source: Source, row: int) -> str:
    """The file of a record."""
    return str((source.root or Path()) / source.records.path(row))


def write_images(
    path: Path, source: Source, scans: Scans, size: tuple[int, int], unreadable: Unreadable
) -> tuple[NDArray[np.int64], NDArray[np.uint8], PatchWriter]:
    """Decode in parallel, write in order.

    Args:
        path: The .npy file to write.
        source: The patches.
        scans: Of all records of the source; those without a size are passed over.
        size: Height and width of the patches written.
        unreadable: Takes what cannot be decoded.

    Returns:
        The rows of `source.records` written, int64 [N], the SHA-256 of each one's pixels, uint8 [N, 32], and the
        closed writer.
    """
    bands = source.bands

    def decode(row: int) -> Decoded | Reason:
        try:
            return Decoded.of(source.pixels(row, size), bands)
        except UnreadableError as error:
            return error.reason

    written = scans.sizes[:, 0] > 0
    wanted = np.flatnonzero(written)
    hashes = np.empty((len(wanted), 32), dtype=np.uint8)
    chunk = min(CHUNK, max(1, _CHUNK_BYTES // (size[0] * size[1] * len(bands) * bands.numpy_dtype.itemsize)))
    with (
        PatchWriter(path, (*size, len(bands)), bands) as writer,
        quiet_pillow(),
        progress_bar("Decoding patches", len(wanted)) as advance,
    ):
        for row, patch in zip(map(int, wanted), map_rows(decode, wanted, chunk), strict=True):
            if isinstance(patch, Reason):
                unreadable.add(row, patch)
                unreadable.check(all_seen=False)
                written[row] = False
            else:
                hashes[writer.shape[0]] = np.frombuffer(patch.sha256, dtype=np.uint8)
                writer.append(patch)
            advance(1)
    return np.flatnonzero(written), hashes[: writer.shape[0]], writer
