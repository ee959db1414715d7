"""The bytes of entries, and what GDAL needs to read those that are no files of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from landsift.data.decoding import gdal
from landsift.data.decoding.decode import read_bytes
from landsift.data.decoding.headers import JPEG_MAGIC, PNG_MAGIC
from landsift.data.decoding.tiff_directories import MAGIC
from landsift.data.decoding.unreadable import Cause, UnreadableError
from landsift.data.unlabelled.entries import Entry, is_url
from landsift.data.unlabelled.stores import read_object

_DEPTH_OF_PNG = 24  # where a PNG says its bits per band


def read_entry(entry: Entry) -> bytes:
    """The bytes of a file or an object; a member of an archive is read by `Archives`.

    Raises:
        UnreadableError: it cannot be read.
        DataError: an object store cannot be reached.
    """
    return read_object(entry) if is_url(entry.path) else read_bytes(Path(entry.path))


@contextmanager
def as_file(entry: Entry, raw: bytes) -> Iterator[Path]:
    """A path by which GDAL finds an entry's bytes: its own, or one in memory where it is no file of this machine.

    Raises:
        UnreadableError: it leads to other files, as a VRT does, which it cannot from there.
    """
    if not entry.archive and not is_url(entry.path):
        yield Path(entry.path)
        return
    name = Path(os.devnull, entry.path.rpartition("/")[2])  # nothing lies beside it
    if raw[:512].lstrip().startswith(gdal.VRT_ROOT):
        raise UnreadableError("a VRT, whose sources are no plain files on this machine", Cause.SOURCES)
    if not _perhaps_for_gdal(raw) or not gdal.installed():
        yield name
        return
    from rasterio.io import MemoryFile

    with MemoryFile(raw, ext=name.suffix or ".bin") as memory:
        yield Path(memory.name)


def _perhaps_for_gdal(raw: bytes) -> bool:
    if raw.startswith(PNG_MAGIC):
        return raw[_DEPTH_OF_PNG : _DEPTH_OF_PNG + 1] == b"\x10"
    return raw.startswith(MAGIC) or not (raw.startswith((JPEG_MAGIC, b"BM")) or raw[8:12] == b"WEBP")
