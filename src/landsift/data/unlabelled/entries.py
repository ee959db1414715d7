"""What is to be read: a file, an object of a store, or a member of an archive; and lists of them, on disk if long."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

_IN_MEMORY = 2**22
"""Bytes of a list that are kept in memory; a longer one lies on disk, without a name."""


class Entry(NamedTuple):
    """An image that is to be read."""

    path: str
    """As the table of predictions names it; of a member of an archive ARCHIVE/MEMBER."""
    size: int
    """In bytes, as it was when it was listed; -1: not known."""
    stamp: int | str = 0
    """What changes where it is written again: the time in nanoseconds, or an object store's tag; of a member, its
    archive's."""
    archive: str = ""
    """Path or URL of the archive that it lies in; "": none."""
    at: tuple[int, ...] = ()
    """Where in the archive: as the one who reads that kind of archive has it."""

    def within(self, folder: str) -> Entry:
        """With paths from a folder on, where they are relative ones of this machine."""
        if self.archive:
            return self if is_url(self.archive) else self._replace(archive=os.path.join(folder, self.archive))
        return self if is_url(self.path) else self._replace(path=os.path.join(folder, self.path))

    def line(self) -> bytes:
        """As a line of a list."""
        return json.dumps(self, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def of(cls, line: bytes) -> Entry:
        """From a line of a list."""
        path, size, stamp, archive, at = json.loads(line)
        return cls(path, size, stamp, archive, tuple(at))


def is_url(path: object) -> bool:
    """Whether a path names an object store, or another place that fsspec knows."""
    return isinstance(path, str) and "://" in path


class Entries:
    """A list of entries in their order.

    Args:
        folder: on whose disk it lies where it is long; None: the system's for temporary files.
        marked_every: entries between two places at which reading may begin.

    Attributes:
        count: of the entries.
    """

    def __init__(self, folder: Path | None, marked_every: int) -> None:
        place = None if folder is None else str(folder)
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=place)  # noqa: SIM115 (closed below)
        self._every = marked_every
        self._marks = array("Q")
        self.count = 0

    def add(self, entry: Entry) -> None:
        """One more."""
        if self.count % self._every == 0:
            self._marks.append(self._file.tell())
        self._file.write(entry.line())
        self.count += 1

    def place(self) -> tuple[int, int]:
        """The end, for `back_to`."""
        return self.count, self._file.tell()

    def back_to(self, place: tuple[int, int]) -> None:
        """Forget all that was added since."""
        self.count, end = place
        self._file.seek(end)
        self._file.truncate()
        del self._marks[-(-self.count // self._every) :]

    def __iter__(self) -> Iterator[Entry]:
        self._file.seek(0)
        yield from map(Entry.of, self._file)

    def digest(self) -> str:
        """SHA-256 of all of it, hexadecimal."""
        self._file.seek(0)
        hashed = hashlib.sha256()
        while block := self._file.read(2**20):
            hashed.update(block)
        return hashed.hexdigest()

    def write(self, file: Path) -> None:
        """Write it to a file."""
        self._file.seek(0)
        with file.open("wb") as out:
            while block := self._file.read(2**20):
                out.write(block)

    def slices(self) -> list[tuple[int, int]]:
        """The parts between two marks: where each begins in the written file, in bytes, and its number of entries."""
        return [(start, min(self._every, self.count - i * self._every)) for i, start in enumerate(self._marks)]

    def flush(self) -> None:
        """Have the system take all of it; raises OSError, as `add` does, where its disk is full."""
        self._file.flush()

    def close(self) -> None:
        """Let go of the file."""
        with contextlib.suppress(OSError):  # of a full disk: nobody reads it any more
            self._file.close()


def read_slice(file: Path, start: int, count: int) -> list[Entry]:
    """Some entries of a written list; raises OSError."""
    with file.open("rb") as lines:
        lines.seek(start)
        return [Entry.of(lines.readline()) for _ in range(count)]
