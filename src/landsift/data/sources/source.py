"""What a source of patches is, and the two kinds of them: patches in files, and generated ones."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from landsift.bands import BandSpec
from landsift.config import SyntheticConfig, digest
from landsift.data.decoding.decode import read_bytes, resize
from landsift.data.decoding.file_bands import NOWHERE, PICTURE, FileBands, Place
from landsift.data.decoding.gdal import has_company
from landsift.data.decoding.patches import Patches
from landsift.data.decoding.unreadable import Reason, UnreadableError
from landsift.data.decoding.wanted import Wanted
from landsift.data.sources import synthetic
from landsift.data.sources.records import Record, Records
from landsift.data.sources.scan_memo import Found, ScanMemo
from landsift.data.sources.walk import PassedOver


class Scan(NamedTuple):
    """What one reading of a file's bytes tells."""

    sha256: str
    """Of the bytes; empty where there are none."""
    size: tuple[int, int] | None
    """Height and width in pixels; None where the header cannot be read."""
    reason: Reason | None = None
    """Why `size` is missing."""
    notes: tuple[str, ...] = ()
    """What is to be said of how the file is read."""
    bands: FileBands = PICTURE
    """What the file says of its bands."""
    place: Place = NOWHERE


class Source(Protocol):
    """Labelled patches that can be decoded."""

    name: str
    """`synthetic`, `eurosat`, `folder` or `table`."""
    root: Path | None
    """The folder that the records' paths are relative to; None where there are no files."""
    records: Records
    """All patches, sorted by class and path."""
    left_out: Sequence[PassedOver]
    """Files and folders of the source that are no records, and might have been; paths as in `records`."""
    known_content: str | None
    """What all patches amount to, where that is known without reading them."""
    bands: BandSpec
    """What the numbers of a patch mean; of files that is known when they were scanned."""

    def scan(self, row: int) -> Scan:
        """Read a record's bytes once: their hash, and height and width from the header."""

    def pixels(self, row: int, size: tuple[int, int]) -> NDArray[Any]:
        """Decode a record to [H, W, C] of the bands' type and the given height and width; raises UnreadableError."""


class FileSource:
    """Patches in files.

    Args:
        name: The kind of source.
        root: The folder that the records' paths are relative to.
        records: All patches, in any order.
        left_out: Files and folders that are no records.
        content: What identifies the content, where that is known without reading the files.
        wanted: What is wanted of the bands.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        records: Records,
        left_out: Sequence[PassedOver] = (),
        content: str | None = None,
        wanted: Wanted = Wanted(),  # noqa: B008 (immutable)
    ) -> None:
        self.name = name
        self.root: Path | None = root
        self.records = records.sorted()
        self.left_out = left_out
        self.known_content = content
        self.patches = Patches(wanted)
        self.bands = self.patches.spec

    def scan(self, row: int, memo: ScanMemo | None = None) -> Scan:
        """Read a record's bytes once: their hash, and height and width from the header; not what `memo` knows."""
        sha256, file = "", self._file(row)
        state = _state(file) if memo is not None else None
        if memo is not None and state is not None and (known := _known(memo, row, file, state)):
            return Scan(known.sha256, known.size, None, known.notes, known.bands, known.place)
        try:
            raw = read_bytes(file)
            sha256 = hashlib.sha256(raw).hexdigest()
            seen = self.patches.look(file, raw)
            if seen.beside:
                sha256 = hashlib.sha256(f"{sha256} {seen.beside}".encode()).hexdigest()
            elif memo is not None and state is not None:  # files beside it may change while it stays
                memo.note(row, str(file), state, Found(sha256, seen.size, seen.notes, seen.bands, seen.place))
            return Scan(sha256, seen.size, None, seen.notes, seen.bands, seen.place)
        except UnreadableError as error:
            return Scan(sha256, None, error.reason)

    def pixels(self, row: int, size: tuple[int, int]) -> NDArray[Any]:
        """Decode a record to [H, W, C] of the bands' type and the given height and width; raises UnreadableError."""
        file = self._file(row)
        return self.patches.read(file, size, read_bytes(file)).array

    def _file(self, row: int) -> Path:
        assert self.root is not None
        return self.root / self.records.path(row)


class SyntheticSource:
    """Patches generated on demand."""

    def __init__(self, config: SyntheticConfig) -> None:
        self.name = "synthetic"
        self.root: Path | None = None
        self.left_out: Sequence[PassedOver] = ()
        self._config = config
        total, classes = synthetic.count(config), len(synthetic.CLASSES)
        self._numbers = np.concatenate([np.arange(c, total, classes) for c in range(classes)])
        self.records = Records.of(
            Record(synthetic.file_name(i, config.bands), synthetic.class_of(i)) for i in self._numbers
        )
        told = config.model_dump(mode="json") | {"patches": len(self.records)}
        if config.bands == "rgb":
            del told["bands"]  # which fingerprints of pictures do not say
        self.known_content: str | None = digest(told)
        self.bands = synthetic.bands_of(config)

    def scan(self, row: int) -> Scan:
        """The size of a patch; there are no bytes to hash."""
        return Scan("", (self._config.size, self._config.size))

    def pixels(self, row: int, size: tuple[int, int]) -> NDArray[Any]:
        """Generate a record as [H, W, C] of the bands' type and the given height and width."""
        from landsift.resampling import resample_patch

        patch = synthetic.patch(self._config, int(self._numbers[row]))
        return resize(patch, size) if patch.dtype == np.uint8 else resample_patch(patch, size)


def as_stored(pixels: NDArray[Any], bands: BandSpec) -> NDArray[Any]:
    """Pixels [H, W, C] as a store keeps them: in one piece, in this machine's byte order, equal ones of equal bytes."""
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    pixels = np.array(pixels, dtype=bands.numpy_dtype, order="C")
    if pixels.dtype.kind == "f":
        pixels[np.isnan(pixels)] = np.nan  # of which there are many
        pixels += 0.0  # -0 becomes 0
    return pixels


def _known(memo: ScanMemo, row: int, file: Path, state: os.stat_result) -> Found | None:
    """What is known of a file; not of a raster beside which something was put since."""
    found = memo.find(row, str(file), state)
    return None if found is not None and not found.bands.pillow and has_company(file) else found


def _state(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except (OSError, ValueError):
        return None
