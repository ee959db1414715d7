"""Where patches come from: a name (`synthetic`, `eurosat`), a folder of class folders, or a table.

A source lists its records, sorted by class and path, before any pixel is decoded, and gives a record's
pixels when asked, from any thread. Its fingerprint tells whether a store or a run made from it still
holds; it does not depend on where the files lie.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from landsift.config import DataConfig, SyntheticConfig, digest
from landsift.data import eurosat, synthetic
from landsift.data.decode import UnreadableError, decode, image_size, quiet_pillow, read_bytes, resize
from landsift.data.folder import read_folder
from landsift.data.parallel import map_rows
from landsift.data.progress import progress_bar
from landsift.data.table import TABLE_SUFFIXES, Record, read_table
from landsift.errors import DataError, nearest

NAMES = ("synthetic", "eurosat")
_KNOWN = "known sources: synthetic, eurosat, a folder with one folder per class, or a CSV or Parquet table"
STORE_FORMAT = 1
"""Version of what a store holds; part of every fingerprint."""


class Scan(NamedTuple):
    """What one reading of a file's bytes tells."""

    sha256: str
    """Of the bytes; empty where there are none."""
    size: tuple[int, int] | None
    """Height and width in pixels; None where the header cannot be read."""
    reason: str = ""
    """Why `size` is missing."""


class Source(Protocol):
    """Labelled patches that can be decoded."""

    name: str
    """`synthetic`, `eurosat`, `folder` or `table`."""
    root: Path | None
    """The folder that the records' paths are relative to; None where there are no files."""
    records: list[Record]
    """All patches, sorted by class and path."""

    def scan(self, row: int) -> Scan:
        """Read a record's bytes once: their hash, and height and width from the header."""

    def pixels(self, row: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Decode a record to uint8 [H, W, 3] of the given height and width; raises UnreadableError."""

    def content(self, scans: list[Scan]) -> str:
        """What all bytes, paths, labels, splits and groups amount to, in one string."""


class FileSource:
    """Patches in files.

    Args:
        name: The kind of source.
        root: The folder that the records' paths are relative to.
        records: All patches, in any order.
        content: What identifies the content, where that is known without reading the files.
    """

    def __init__(self, name: str, root: Path, records: Iterable[Record], content: str | None = None) -> None:
        self.name = name
        self.root: Path | None = root
        self.records = sorted(records, key=lambda r: (r.label, r.path))
        self.known_content = content

    def scan(self, row: int) -> Scan:
        """Read a record's bytes once: their hash, and height and width from the header."""
        sha256 = ""
        try:
            raw = read_bytes(self._file(row))
            sha256 = hashlib.sha256(raw).hexdigest()
            return Scan(sha256, image_size(raw))
        except UnreadableError as error:
            return Scan(sha256, None, str(error))

    def pixels(self, row: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Decode a record to uint8 [H, W, 3] of the given height and width; raises UnreadableError."""
        return decode(read_bytes(self._file(row)), size)

    def content(self, scans: list[Scan]) -> str:
        """What all bytes, paths, labels, splits and groups amount to, in one string."""
        if self.known_content is not None:
            return self.known_content
        return digest([[*record, scan.sha256] for record, scan in zip(self.records, scans, strict=True)])

    def _file(self, row: int) -> Path:
        assert self.root is not None
        return self.root / self.records[row].path


class SyntheticSource:
    """Patches generated on demand."""

    def __init__(self, config: SyntheticConfig) -> None:
        self.name = "synthetic"
        self.root: Path | None = None
        self._config = config
        total, classes = synthetic.count(config), len(synthetic.CLASSES)
        self._numbers = [i for c in range(classes) for i in range(c, total, classes)]
        self.records = [Record(synthetic.file_name(i), synthetic.class_of(i)) for i in self._numbers]

    def scan(self, row: int) -> Scan:
        """The size of a patch; there are no bytes to hash."""
        return Scan("", (self._config.size, self._config.size))

    def pixels(self, row: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Generate a record as uint8 [H, W, 3] of the given height and width."""
        return resize(synthetic.patch(self._config, self._numbers[row]), size)

    def content(self, scans: list[Scan]) -> str:
        """The settings, which decide every pixel."""
        return digest(self._config.model_dump(mode="json") | {"patches": len(self.records)})


def open_source(data: DataConfig) -> Source:
    """List the patches of `data.source`; downloads EuroSAT if need be.

    Raises:
        DataError: there is no such source, or it holds no usable patches.
    """
    if data.source == "synthetic":
        return SyntheticSource(data.synthetic)
    if data.source == "eurosat":
        folder = eurosat.ensure(data.eurosat)
        return FileSource("eurosat", folder, read_folder(folder), eurosat.known_content(data.eurosat, folder))
    if not data.source.strip():
        raise DataError("data.source is empty", _KNOWN)
    path = _path(data.source)
    if path.is_dir():
        return FileSource("folder", path, read_folder(path))
    if path.suffix.lower() in TABLE_SUFFIXES and path.exists():
        return FileSource("table", path.parent, read_table(path))
    raise _unknown(data.source, path)


def root_of(data: DataConfig) -> Path | None:
    """The folder that the paths of `data.source` are relative to, as far as it is there; None where there is none."""
    if data.source in NAMES:
        return eurosat.find(data.eurosat) if data.source == "eurosat" else None
    path = _path(data.source)
    return path if path.is_dir() else path.parent


def content_fingerprint(data: DataConfig) -> str:
    """A hex digest that changes when what a store is built from changes.

    That is any file's bytes, name, label, split or group, or a setting that shapes the store. Generated
    patches are known by their settings, and the EuroSAT archive, unpacked by landsift or not yet downloaded, by
    its checksum; nothing is downloaded.

    Raises:
        DataError: there is no such source, or it holds no usable patches.
    """
    if data.source == "eurosat" and eurosat.find(data.eurosat) is None:
        return fingerprint_of(data, "eurosat", eurosat.archive_content(data.eurosat))
    source = open_source(data)
    return fingerprint_of(data, source.name, source.content(scan(source)))


def fingerprint_of(data: DataConfig, name: str, content: str) -> str:
    """The fingerprint of a source's content together with the settings that shape the store."""
    return digest({"format": STORE_FORMAT, "source": name, "patch_size": data.patch_size, "content": content})


def scan(source: Source) -> list[Scan]:
    """Scan all records of a source in parallel, in order."""
    rows = range(len(source.records))
    with quiet_pillow(), progress_bar("Scanning patches", len(rows)) as advance:
        return [advance(1) or result for result in map_rows(source.scan, rows)]


def _path(source: str) -> Path:
    return Path(os.path.abspath(Path(source).expanduser()))


def _unknown(name: str, path: Path) -> DataError:
    if path.exists():
        return DataError(f"{path} is neither a folder nor a CSV or Parquet table", _KNOWN)
    if os.sep in name or path.suffix:
        return DataError(f"data source {path} does not exist", "check the path; " + _KNOWN)
    return DataError(
        f"unknown data source '{name}': no source and no folder of that name", nearest(name.lower(), NAMES) or _KNOWN
    )
