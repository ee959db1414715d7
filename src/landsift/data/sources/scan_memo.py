"""Files that were scanned before are recognised by path, size, times and inode, and not read again.

    CACHE/scans/SOURCE.npz    a row per file: which it is, the hash of its bytes, its size in pixels, its place, what is
                              to be said, what it says of its bands

It saves seconds and decides nothing: without it, or where it is damaged, files are read. A file that was changed within
the clock's resolution before it was read could be changed again without a trace (Git calls that "racily clean"), so
that it is not noted; nor is one that could not be read.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from landsift.config import cache_folder
from landsift.data import decoding
from landsift.data.decoding.file_bands import FileBands, Place
from landsift.data.decoding.gdal import installed
from landsift.data.decoding.places import PROJ
from landsift.errors import LandsiftError
from landsift.runtime.whole import write_whole

FOLDER = "scans"
RESOLUTION = 2_000_000_000
"""Nanoseconds: the coarsest clock of a file system in use, that of FAT."""
NOTHING = -1
"""In place of the number of a file's notes: the file is not known."""
FORMAT = 2
"""Of the file, and of what a scan finds; with another one it is not read."""
_ROW = np.dtype(
    [("one", "<u8"), ("two", "<u8"), ("sha256", "u1", 32), ("height", "<i4"), ("width", "<i4"), ("notes", "<i4"),
     ("lon", "<f8"), ("lat", "<f8"), ("gsd", "<f8")]
)  # fmt: skip


class Found(NamedTuple):
    """What is known of a file."""

    sha256: str
    """Of the bytes."""
    size: tuple[int, int]
    """Height and width."""
    notes: tuple[str, ...]
    """What is to be said of how the file is read."""
    bands: FileBands
    place: Place


_Texts = tuple[tuple[str, ...], FileBands]
"""Notes and bands, which are the same for many files."""


class ScanMemo:
    """What is known of the files of one source; from any thread.

    Args:
        name: of the kind of source.
        root: the folder that its files lie in.
        code: what a scan depends on beside the file: another value makes all that was noted count for nothing.
        count: how many files the source has now.
    """

    def __init__(self, name: str, root: Path, code: str, count: int) -> None:
        whose = hashlib.sha256(f"{name}\0{os.fsencode(root)!r}".encode()).hexdigest()
        self._file: Path | None = None
        with suppress(LandsiftError):  # nobody's home
            self._file = cache_folder() / FOLDER / f"{whose}.npz"
        self._code = f"{FORMAT} {code}"
        self._known, self._texts = _read(self._file, self._code)
        self._ones = np.ascontiguousarray(self._known["one"])
        self._present = np.zeros(count, _ROW)
        self._present["notes"] = NOTHING
        self._numbers = {text: i for i, text in enumerate(self._texts)}
        self._lock = threading.Lock()
        self._new = len(self._known) != count

    def find(self, row: int, path: str, state: os.stat_result) -> Found | None:
        """What is known of the file that `row` of the source is; None if it must be read."""
        one, two = _key(path, state)
        at = int(self._ones.searchsorted(np.uint64(one)))
        if at == len(self._ones):
            return None
        known = self._known[at]
        known_one, known_two, sha256, height, width, notes, *place = known.item()
        if (known_one, known_two) != (one, two):
            return None
        self._present[row] = known
        texts, bands = self._texts[notes]
        return Found(bytes(sha256).hex(), (height, width), texts, bands, Place(*place))

    def note(self, row: int, path: str, state: os.stat_result, found: Found) -> None:
        """Note what was found in a file.

        Args:
            row: of the source.
            path: of the file.
            state: of the file, from before it was read.
            found: in it.
        """
        if time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) <= RESOLUTION:
            return
        sha256, (height, width), notes, bands, place = found
        with self._lock:
            number = self._numbers.setdefault((notes, bands), len(self._numbers))
            self._new = True
        hashed = np.frombuffer(bytes.fromhex(sha256), "u1")
        self._present[row] = (*_key(path, state), hashed, height, width, number, *place)

    def keep(self) -> None:
        """Write what was found and noted in this scan, if that is not what was known."""
        if not self._new or self._file is None:
            return
        rows = self._present[self._present["notes"] != NOTHING]
        rows = rows[np.argsort(rows["one"])]
        texts = [[notes, bands.to_json()] for notes, bands in self._numbers]
        about = json.dumps({"code": self._code, "texts": texts})

        def write(partial: Path) -> None:
            with partial.open("wb") as file:
                np.savez(file, rows=rows, about=np.array(about))

        with suppress(LandsiftError):  # a full disk costs seconds, no more
            write_whole(self._file, write)


def code_of_scans() -> str:
    """What decides what a scan finds in a file: the code that reads headers, Pillow, rasterio, and where PROJ looks."""
    hashed = hashlib.sha256(f"{version('pillow')} {version('rasterio') if installed() else None}".encode())
    hashed.update(repr([os.environ.get(name) for name in PROJ]).encode())
    for file in sorted(Path(decoding.__file__).parent.glob("*.py")):
        hashed.update(file.read_bytes())
    return hashed.hexdigest()


def _key(path: str, state: os.stat_result) -> tuple[int, int]:
    """Two numbers that stand for a file in one state; the inode's own time tells of an edit whose time was put back."""
    what = (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, state.st_dev)
    hashed = hashlib.blake2b(os.fsencode(path) + repr(what).encode(), digest_size=16).digest()
    return int.from_bytes(hashed[:8], "little"), int.from_bytes(hashed[8:], "little")


def _read(file: Path | None, code: str) -> tuple[NDArray[np.void], list[_Texts]]:
    """The rows of a memo, sorted, and its texts; nothing where there is none, of this code, undamaged."""
    with suppress(Exception):  # numpy's errors are of many bases; an archive holds its own checksums
        assert file is not None
        with np.load(file, allow_pickle=False) as stored:
            about = json.loads(str(stored["about"]))
            rows = stored["rows"]
            texts = [(tuple(map(str, notes)), FileBands.from_json(bands)) for notes, bands in about["texts"]]
        sound = rows.dtype == _ROW and rows.ndim == 1 and about["code"] == code
        sound = sound and bool(np.all(rows["one"][1:] >= rows["one"][:-1]))
        if sound and bool(np.all((rows["notes"] >= 0) & (rows["notes"] < len(texts)))):
            return rows, texts
    return np.empty(0, _ROW), []
