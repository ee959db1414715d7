"""Zip and tar archives: their members listed and read one after another, nothing unpacked to disk.

Names in an archive are names and no more: they stand in the table of predictions, and nothing is opened by them.
"""

from __future__ import annotations

import bz2
import gzip
import io
import logging
import lzma
import stat
import struct
import tarfile
import threading
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

from landsift.data.decoding.decode import MAX_BYTES
from landsift.data.decoding.unreadable import Cause, UnreadableError
from landsift.data.sources.met import Met
from landsift.data.sources.walk import PassedOver, verdict
from landsift.data.unlabelled import stores
from landsift.data.unlabelled.entries import Entry, is_url
from landsift.errors import DataError

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
"""Endings (lower case) of archives."""

_COPY = "copy or download it again"
_COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_BLOCK = 512  # bytes of a tar's header
_LOCAL = struct.Struct("<4s22xHH")  # of a zip's member: mark, and the lengths of its name and of what else is said
_ENCRYPTED, _UTF8 = 1, 0x800  # bits of a zip member's flags
_UNIX = 3  # the system that wrote a zip member, whose mode is the upper half of its attributes
_UNICODE_PATH = 0x7075  # of a zip member's extra fields: its name in UTF-8
_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, struct.error,
    NotImplementedError, OverflowError, UnicodeDecodeError,
)  # fmt: skip
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}

logger = logging.getLogger("landsift")


def is_archive(path: str) -> bool:
    """Whether a name is that of an archive."""
    return path.lower().endswith(ARCHIVE_SUFFIXES)


def members(archive: str, endings: Collection[str]) -> Iterator[Entry | PassedOver]:
    """The images in an archive, in its own order, and what else lies there and is not read.

    Of members of one name those that were replaced by a later one, as they are when it is unpacked, come too.

    Args:
        archive: path or URL.
        endings: (lower case) of members that are images.

    Raises:
        DataError: it cannot be read, is cut off, damaged, or of a kind that is not read.
    """
    stamp = stores.stamp_of(archive)
    seen, junk, odd, old = 0, 0, 0, 0
    try:
        with opened(archive) as stream:
            each = _of_zip(stream) if _is_zip(archive, stream) else _of_tar(archive, stream)
            for name, size, at, why, guessed in each:
                seen += 1
                old += guessed
                name = "/".join(part for part in name.split("/") if part not in ("", "."))
                text = name.encode(errors="backslashreplace").decode()
                odd += text != name
                path = f"{archive}/{text}"
                if is_archive(name):
                    yield PassedOver(path, "an archive within an archive, which is not read")
                    continue
                said = verdict(name, endings)
                if said is None:
                    junk += 1
                elif said or why:
                    yield PassedOver(path, said or why)
                elif size > MAX_BYTES:
                    yield PassedOver(path, f"the file is larger than {MAX_BYTES >> 20} MiB")
                else:
                    yield Entry(path, size, stamp, archive, at)
    except _DAMAGED as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(f"{archive} is damaged or cut off, after {seen:,} members: {reason}", _COPY) from None
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 (a store's library has errors of its own)
        raise _unread(archive, error, _COPY) from None
    if not seen:
        raise DataError(f"{archive} is an empty archive", "leave it out")
    if junk:
        logger.info("%s: %d members are passed over: hidden ones, of macOS, notes and tables", archive, junk)
    if odd:
        logger.info("%s: names of %d members are not valid UTF-8, and stand with escapes", archive, odd)
    if old:
        message = "%s: names of %d members are in an encoding that it does not say, and stand as in code page 437"
        logger.warning(message, archive, old)


def repeated(archive: str, endings: Collection[str]) -> dict[str, int]:
    """Names of images that stand more than once in an archive, and how often."""
    met, count = Met(), Counter[str]()
    for each in members(archive, endings):
        if isinstance(each, Entry) and met.again(each.path):
            count[each.path] += 1
    return {path: times + 1 for path, times in count.items()}


def _unread(archive: str, error: Exception, hint: str) -> DataError:
    """What to say where the system, or a store's library, does not give the bytes of an archive."""
    reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
    if is_url(archive) and isinstance(error, ValueError):  # of fsspec: a server that does not give parts of a file
        hint = "download it first"
    elif not is_url(archive) and not isinstance(error, OSError | ValueError):
        raise error
    return DataError(f"cannot read {archive}: {' '.join(reason.split())[:200]}", hint)


def _of_tar(archive: str, stream: IO[bytes]) -> Iterator[tuple[str, int, tuple[int, ...], str, bool]]:
    """Name, size and place of each member but folders, why it is not read, and whether its name is a guess."""
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # else it keeps all
            why = ""
            if member.size < 0:  # the next member would lie before this one
                raise tarfile.ReadError("a member's size is negative")
            if member.isdir():
                continue
            if member.issym() or member.islnk():
                why = f"a link to {member.linkname.encode(errors='backslashreplace').decode()}, not followed"
            elif not member.isreg() or member.issparse():
                why = "not a plain file"
            yield member.name, member.size, (member.offset_data,), why, False
        end = tar.offset
    stream.seek(end)
    mark = stream.read(_BLOCK)
    if mark.strip(b"\0"):
        raise tarfile.ReadError("what follows is no header of a member")
    if len(mark) < _BLOCK:
        logger.warning("%s ends without the mark of an archive's end: it may be cut off", archive)
    while block := stream.read(2**20):
        if block.strip(b"\0"):
            logger.warning("%s: something follows after the archive's end, and is not read", archive)
            break


def _of_zip(stream: IO[bytes]) -> Iterator[tuple[str, int, tuple[int, ...], str, bool]]:
    with zipfile.ZipFile(stream) as archive:
        for info in archive.filelist:
            if info.is_dir():
                continue
            why = ""
            if info.flag_bits & _ENCRYPTED:
                why = "encrypted"
            elif info.create_system == _UNIX and stat.S_ISLNK(info.external_attr >> 16):
                why = "a link, not followed"
            elif info.compress_type not in _METHODS:
                why = f"compressed with method {info.compress_type} of zip, which is not read"
            name, guessed = _zip_name(info)
            name = name if "/" in name else name.replace("\\", "/")
            at = (info.header_offset, info.compress_size, info.compress_type, info.CRC)
            yield name, info.file_size, at, why, guessed


def _zip_name(info: zipfile.ZipInfo) -> tuple[str, bool]:
    """A member's name, and whether its encoding is a guess.

    Where a zip does not say that names are UTF-8, Python reads them in code page 437. Most that are written today are
    UTF-8 all the same (those of macOS), or have the name in UTF-8 as well.
    """
    if info.flag_bits & _UTF8 or info.filename.isascii():
        return info.filename, False
    raw, extra = info.orig_filename.encode("cp437"), info.extra
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == _UNICODE_PATH and field[1:5] == struct.pack("<L", zlib.crc32(raw)):
            return field[5:].decode(errors="replace"), False
    try:
        return raw.decode().partition("\0")[0], False
    except UnicodeDecodeError:
        return info.filename, True


def _is_zip(archive: str, stream: IO[bytes]) -> bool:
    start = stream.read(_BLOCK)
    stream.seek(0)
    is_tar = start[257:262] == b"ustar"
    return not is_tar and (start.startswith(b"PK") or archive.lower().endswith(".zip"))


@contextmanager
def opened(archive: str) -> Iterator[IO[bytes]]:
    """The bytes of an archive, unpacked where all of it is compressed; raises DataError and OSError."""
    raw = stores.open_url(archive) if is_url(archive) else open(archive, "rb")  # noqa: SIM115 (closed below)
    with raw:
        start = raw.read(6)
        raw.seek(0)
        if not start:
            raise DataError(f"{archive} is empty", _COPY)
        if start.startswith(b"\x28\xb5\x2f\xfd"):
            raise DataError(f"{archive} is compressed with zstd, which is not read", "unpack it with zstd -d")
        unpack: Any = next((how for magic, how in _COMPRESSED.items() if start.startswith(magic)), None)
        if unpack is None:
            yield raw
            return
        with unpack(raw, "rb") as unpacked:
            yield cast(IO[bytes], io.BufferedReader(unpacked, 2**16))


class Archives:
    """Reads members; the archive of the last one stays open, and members in their order are read in one pass."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._name, self._stamp = "", ""
        self._stream: IO[bytes] | None = None
        self._open: Any = None

    def read(self, entry: Entry) -> bytes:
        """The bytes of a member.

        Raises:
            UnreadableError: it is damaged.
            DataError: the archive is not there any more, or is another one.
        """
        with self._lock:
            try:
                stream = self._opened(entry)
                raw = _zip_member(stream, entry) if len(entry.at) > 1 else _tar_member(stream, entry)
            except _DAMAGED as error:
                reason = " ".join(str(error).split())[:160] or type(error).__name__
                raise UnreadableError(f"damaged: {reason}", Cause.DAMAGED) from None
            except DataError:
                raise
            except Exception as error:  # noqa: BLE001 (as above)
                self.close()
                raise _unread(entry.archive, error, "run the command again") from None
        if len(raw) < entry.size:
            raise UnreadableError("damaged: cut off", Cause.DAMAGED)
        if not raw:
            raise UnreadableError("the file is empty", Cause.DAMAGED)
        return raw

    def _opened(self, entry: Entry) -> IO[bytes]:
        if self._stream is None or (self._name, self._stamp) != (entry.archive, str(entry.stamp)):
            self.close()
            if stores.stamp_of(entry.archive) != entry.stamp:
                raise DataError(f"{entry.archive} was changed while it was read", "run the command again")
            self._open = opened(entry.archive)
            self._stream = self._open.__enter__()
            self._name, self._stamp = entry.archive, str(entry.stamp)
        return self._stream

    def close(self) -> None:
        """Let go of the archive."""
        if self._open is not None:
            self._open.__exit__(None, None, None)
        self._open = self._stream = None


def _tar_member(stream: IO[bytes], entry: Entry) -> bytes:
    stream.seek(entry.at[0])
    return stream.read(entry.size)


def _zip_member(stream: IO[bytes], entry: Entry) -> bytes:
    begin, packed, method, check = entry.at
    stream.seek(begin)
    mark, name, more = _LOCAL.unpack(stream.read(_LOCAL.size))
    if mark != b"PK\x03\x04":
        raise zipfile.BadZipFile("no header of a member where its archive says")
    stream.seek(name + more, 1)
    info = zipfile.ZipInfo("member")
    info.compress_size, info.compress_type, info.CRC, info.file_size = packed, method, check, entry.size
    with zipfile.ZipExtFile(stream, "r", info) as member:
        return member.read()
