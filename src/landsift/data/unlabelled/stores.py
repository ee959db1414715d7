"""Object stores, and whatever else fsspec knows by a URL: s3://bucket/folder, memory://, file://.

Credentials and endpoints are those of the environment, as the libraries read them.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple, TypeVar, cast

from landsift.data.decoding.decode import MAX_BYTES
from landsift.data.decoding.unreadable import Cause, UnreadableError
from landsift.data.unlabelled.entries import Entry, is_url
from landsift.errors import DataError
from landsift.extras import needs

T = TypeVar("T")

TRIES = 3
"""How often a request is made before a store counts as out of reach; s3fs repeats each some times itself."""
WAIT = 0.5
"""Seconds before the second try; twice as many before each further one."""
PAGE = 1000
"""Objects that are listed with a request, the most that S3 gives."""
_BLOCK = 2**23  # bytes that are fetched at a time of an archive
_GLOB = frozenset("*?[")


class Found(NamedTuple):
    """An object."""

    url: str
    size: int
    stamp: int | str
    below: str = ""
    """Its name from the folder on that was named; "": it is named itself, or by a pattern."""


def file_system(url: str) -> tuple[Any, str]:
    """Fsspec's file system of a URL, and the path in it.

    Raises:
        DataError: there is no such kind of URL, or what reads it is not installed.
        MissingExtraError: fsspec is not installed, or s3fs where it is needed.
    """
    scheme = url.partition("://")[0]
    if scheme in ("s3", "s3a"):
        needs("fsspec", "s3fs", extra="cloud", what=f"{scheme}://")
    needs("fsspec", extra="cloud", what=f"{scheme}://")
    from fsspec.core import url_to_fs

    try:
        if scheme in ("s3", "s3a"):  # where Flyte is imported, fsspec has another for it, with settings of its own
            from s3fs import S3FileSystem

            return S3FileSystem(), S3FileSystem._strip_protocol(url)
        system, path = url_to_fs(url)
    except ImportError as error:
        raise DataError(
            f"cannot read {url}: {' '.join(str(error).split())}", f"install what reads {scheme}://"
        ) from None
    except ValueError as error:
        raise DataError(f"cannot read {url}: {' '.join(str(error).split())}", "such as s3://bucket/folder") from None
    return system, str(path)


def objects(url: str) -> Iterator[Found]:
    """What a URL names: the object, those below a folder, or those that a pattern fits; in the order of their names.

    Raises:
        DataError: there is none, or the store cannot be reached.
    """
    system, path = file_system(url)
    if _GLOB & set(path):
        found: Iterator[Found] = (
            _found(system, info)
            for _, info in sorted(_asked(url, lambda: system.glob(path, detail=True)).items())
            if info["type"] == "file"
        )
    elif _asked(url, lambda: system.isfile(path)):
        found = iter([_found(system, _asked(url, lambda: system.info(path)))])
    elif hasattr(system, "call_s3"):
        found = _pages(url, system, path)
    else:
        found = _below(url, system, path, path.rstrip("/"))
    empty = True
    for each in found:
        empty = False
        yield each
    if empty:
        raise DataError(f"no such file or folder, or an empty one: {url}", "check the name, and what may be read there")


def _pages(url: str, system: Any, path: str) -> Iterator[Found]:
    """The objects below a prefix of S3, a page at a time; fsspec's own functions hold all of a folder's."""
    bucket, _, prefix = path.partition("/")
    prefix = f"{prefix.rstrip('/')}/" if prefix else ""
    asked: dict[str, str | int] = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": PAGE}
    while True:
        page = _asked(url, functools.partial(system.call_s3, "list_objects_v2", **asked))
        for item in page.get("Contents", ()):
            if not item["Key"].endswith("/"):
                key = str(item["Key"])
                stamp = str(item["ETag"]).strip('"')
                yield Found(f"s3://{bucket}/{key}", int(item["Size"]), stamp, key.removeprefix(prefix))
        if not page.get("IsTruncated"):
            return
        asked["ContinuationToken"] = page["NextContinuationToken"]


def _below(url: str, system: Any, path: str, root: str) -> Iterator[Found]:
    """The objects below a folder, one folder after another."""
    infos = _asked(url, lambda: system.ls(path, detail=True)) if _asked(url, lambda: system.exists(path)) else []
    inner = []
    for info in sorted(infos, key=lambda info: str(info["name"])):
        name = str(info["name"])
        if info["type"] == "file":
            yield _found(system, info)._replace(below=name.removeprefix(root).lstrip("/"))
        elif name.rstrip("/") != path.rstrip("/"):
            inner.append(name)
    for folder in inner:
        yield from _below(url, system, folder, root)


def _found(system: Any, info: dict[str, Any]) -> Found:
    stamp = info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("created") or 0
    return Found(str(system.unstrip_protocol(info["name"])), int(info.get("size") or 0), str(stamp).strip('"'))


def _asked(url: str, ask: Callable[[], T]) -> T:
    """What a store answers, asked again where it does not; raises DataError, FileNotFoundError and PermissionError."""
    wait = WAIT
    for tried in range(1, TRIES + 1):
        try:
            return ask()
        except FileNotFoundError:
            raise DataError(f"no such file or folder: {url}") from None
        except PermissionError as error:
            reason = " ".join(str(error).split())[:160]
            raise DataError(f"{url} may not be read: {reason}", "check the credentials in the environment") from None
        except Exception as error:
            if tried == TRIES or type(error).__name__ == "NoCredentialsError":
                reason = " ".join(str(error).split())[:160] or type(error).__name__
                raise DataError(
                    f"cannot reach {url}: {reason}", "check network, endpoint and credentials, and run it again"
                ) from error
        time.sleep(wait)
        wait *= 2
    raise AssertionError


def read_object(entry: Entry) -> bytes:
    """The bytes of an object.

    Raises:
        UnreadableError: it is not there any more, is empty, too large, or may not be read.
        DataError: the store cannot be reached.
    """
    if entry.size > MAX_BYTES:
        raise UnreadableError(f"the file is larger than {MAX_BYTES >> 20} MiB", Cause.TOO_LARGE)
    system, path = file_system(entry.path)

    def ask() -> bytes | UnreadableError:
        try:
            return cast(bytes, system.cat_file(path))
        except FileNotFoundError:
            return UnreadableError("the file does not exist", Cause.MISSING)
        except PermissionError as error:
            return UnreadableError(f"may not be read: {' '.join(str(error).split())[:160]}", Cause.ACCESS)

    raw = _asked(entry.path, ask)
    if isinstance(raw, UnreadableError):
        raise raw
    if not raw:
        raise UnreadableError("the file is empty", Cause.DAMAGED)
    return raw


def open_url(url: str) -> IO[bytes]:
    """An object, to read from any place of it; raises DataError."""
    system, path = file_system(url)
    return cast(IO[bytes], _asked(url, lambda: system.open(path, "rb", block_size=_BLOCK)))


def stamp_of(path: str) -> str:
    """What changes where a file or an object is written again: its size, and its time or tag."""
    if not is_url(path):
        try:
            status = os.stat(path)  # noqa: PTH116 (a text)
        except OSError as error:
            raise DataError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None
        return f"{status.st_size} {status.st_mtime_ns}"
    system, name = file_system(path)
    found = _found(system, _asked(path, lambda: system.info(name)))
    return f"{found.size} {found.stamp}"
