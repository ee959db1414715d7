"""The directories of a TIFF: which tags there are, and their values (Adobe, "TIFF Revision 6.0", 1992; BigTIFF)."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from landsift.data.decoding.unreadable import Cause, UnreadableError

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

Buffer = bytes | mmap.mmap
"""The bytes of a file, in memory or, of a large one, mapped."""

MAX_PAGES = 1000
"""Directories that are looked at."""

_NUMBERS = {1: "u1", 3: "u2", 4: "u4", 6: "i1", 8: "i2", 9: "i4", 13: "u4", 16: "u8", 17: "i8", 18: "u8"}
_BYTES = {2: "u1", 7: "u1"}  # text, undefined
_OTHERS = {5: "u8", 10: "u8", 11: "f4", 12: "f8"}  # fractions and floating point, of which the size alone matters


def damaged(what: str) -> UnreadableError:
    """The error for a TIFF that contradicts itself or ends early."""
    return UnreadableError(f"damaged: {what}", Cause.DAMAGED)


class _Entry(NamedTuple):
    kind: int
    values: int
    """How many."""
    at: int
    """Where its values lie."""


class Tags:
    """The tags of one directory."""

    def __init__(self, raw: Buffer, order: str, entries: dict[int, _Entry]) -> None:
        self._raw, self._order, self._entries = raw, order, entries

    @property
    def end(self) -> int:
        """Where the file ends."""
        return len(self._raw)

    def numbers(self, tag: int) -> NDArray[np.int64]:
        """A tag's whole numbers; none where it is missing."""
        return self._read(tag, _NUMBERS).astype(np.int64)

    def number(self, tag: int, default: int) -> int:
        """A tag's first number."""
        found = self._read(tag, _NUMBERS)
        return int(found[0]) if len(found) else default

    def content(self, tag: int) -> bytes:
        """A tag's text or bytes."""
        return self._read(tag, _BYTES).tobytes()

    def _read(self, tag: int, kinds: dict[int, str]) -> NDArray[np.generic]:
        if (entry := self._entries.get(tag)) is None:
            return np.empty(0, dtype=np.int64)
        if entry.kind not in kinds:
            raise damaged(f"tag {tag} holds values of a type that it cannot have")
        dtype = np.dtype(self._order + kinds[entry.kind])
        if entry.at + entry.values * dtype.itemsize > len(self._raw):
            raise damaged(f"the values of tag {tag} lie beyond the end of the file")
        return np.frombuffer(self._raw, dtype, entry.values, entry.at)


def directories(raw: Buffer) -> Iterator[Tags]:
    """The directories of a TIFF, one for each page, thumbnail or mask; a circle of them ends."""
    order = "<" if raw[:2] == b"II" else ">"
    big = b"+" in raw[2:4]
    number, offset, entry = ("Q", "Q", "HHQ8s") if big else ("H", "I", "HHI4s")
    inline = 8 if big else 4
    size, step = struct.calcsize(order + number), struct.calcsize(order + entry)
    sizes = _NUMBERS | _BYTES | _OTHERS
    seen: set[int] = set()
    try:
        (at,) = struct.unpack_from(order + offset, raw, 8 if big else 4)
        while at and at not in seen and len(seen) < MAX_PAGES:
            seen.add(at)
            (count,) = struct.unpack_from(order + number, raw, at)
            start, end = at + size, at + size + count * step
            (following,) = struct.unpack_from(order + offset, raw, end)
            entries: dict[int, _Entry] = {}
            for place in range(start, end, step):
                tag, kind, values, _ = struct.unpack_from(order + entry, raw, place)
                width = np.dtype(sizes.get(kind, "u1")).itemsize
                here = place + step - inline
                if values * width > inline:
                    (here,) = struct.unpack_from(order + offset, raw, here)
                entries.setdefault(tag, _Entry(kind, values, here))
            yield Tags(raw, order, entries)
            at = following
    except (struct.error, OverflowError):  # the second for places that no file reaches
        raise damaged("the file ends before its directory does") from None
