"""Object stores, and whatever else fsspec knows by a URL: s3://bucket/folder, memory://, file://.

Credentials and endpoints are those of the environment, as the libraries read them.
"""

from __future__ import annotations

import functools
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple, TypeVar, cast

from landsift.data.decoding.decode import MAX_BYTES
from landsift.data.decoding.unreadable import Cause, UnreadableError
from landsift.data.unlabelled.entries import Entry, is_url
from landsift.errors import DataError
from landsift.extras import needs
from landsift.runtime.notices import once

T = TypeVar("T")

TRIES = 3
"""How often a request is made before a store counts as out of reach; s3fs repeats each some times itself."""
WAIT = 0.5
"""Seconds before the second try; twice as many before each further one."""
SILENCE = 60.0
"""Seconds without a byte after which a web server counts as out of reach; s3fs has limits of its own."""
PAGE = 1000
"""Objects that are listed with a request, the most that S3 gives."""
_BLOCK = 2**23  # bytes that are fetched at a time of an archive
_GLOB = frozenset("*?[")
_REACH = "check network, endpoint and credentials, and run it again"
_GONE, _FORBIDDEN = frozenset({404, 410}), frozenset({401, 403})  # statuses of HTTP
_OF_OBJECT = frozenset({"AccessDenied", "AllAccessDisabled", "InvalidObjectState", "403"})  # S3's errors


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

    options: dict[str, Any] = {}
    if scheme in ("http", "https"):
        needs("s3fs", extra="cloud", what=f"{scheme}://")  # with it comes aiohttp
        from aiohttp import ClientTimeout

        # Its own limit is of the whole answer, which a large file on a slow line does not keep.
        options["client_kwargs"] = {"timeout": ClientTimeout(total=None, sock_connect=SILENCE / 4, sock_read=SILENCE)}
    try:
        if scheme in ("s3", "s3a"):  # where Flyte is imported, fsspec has another for it, with settings of its own
            from s3fs import S3FileSystem

            return S3FileSystem(), S3FileSystem._strip_protocol(url)
        system, path = url_to_fs(url, **options)
    except ImportError as error:
        raise DataError(
            f"cannot read {url}: {' '.join(str(error).split())}", f"install what reads {scheme}://"
        ) from None
    except ValueError as error:
        raise DataError(f"cannot read {url}: {' '.join(str(error).split())}", "such as s3://bucket/folder") from None
    except Exception as error:  # noqa: BLE001 (of their libraries: some connect at once)
        raise DataError(f"cannot reach {url}: {_reason(error)}", _REACH) from None
    return system, str(path)


def objects(url: str) -> Iterator[Found]:
    """What a URL names: the object, those below a folder, or those that a pattern fits; in the order of their names.

    Raises:
        DataError: there is none, or the store cannot be reached.
    """
    system, path = file_system(url)
    there = None if url.endswith("/") else _looked_up(url, system, path)
    if there is not None and there["type"] == "file":
        found: Iterator[Found] = iter([_found(system, there)])
    elif is_pattern(url):
        found = (
            _found(system, info)
            for _, info in sorted(_asked(url, lambda: system.glob(path, detail=True)).items())
            if info["type"] == "file"
        )
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


def is_pattern(url: str) -> bool:
    """Whether a URL is a pattern; in one of the web `?` begins a query."""
    return bool((_GLOB - {"?"} if _is_web(url) else _GLOB) & set(url.partition("://")[2]))


def name_of(url: str) -> str:
    """The name of the file that a URL leads to, without a query such as a signature."""
    return (url.partition("?")[0] if _is_web(url) else url).rpartition("/")[2]


def _is_web(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _looked_up(url: str, system: Any, path: str) -> dict[str, Any] | None:
    """What a store knows of a name; None where there is no object of it, but perhaps others below it."""

    def ask() -> dict[str, Any] | None:
        try:
            info: dict[str, Any] = system.info(path)
        except Exception as error:
            # S3 hides whether there is an object from those who may list alone; they are told when they do.
            if _is_missing(error) or (isinstance(error, PermissionError) and hasattr(system, "call_s3")):
                return None
            raise
        page = info.get("mimetype") == "text/html" and "." not in name_of(url)  # a folder's, with links
        return info | {"type": "directory"} if page else info

    return _asked(url, ask)


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
        if not name.startswith(root):  # a link of a web page to what lies elsewhere
            continue
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
    """What a store answers, asked again where it does not; raises DataError."""
    wait = WAIT
    for tried in range(1, TRIES + 1):
        try:
            return ask()
        except (DataError, ImportError):
            raise
        except Exception as error:
            reason = _reason(error)
            if _is_missing(error):
                raise DataError(f"no such file or folder: {url}") from None
            if isinstance(error, PermissionError) or _status(error) in _FORBIDDEN:
                hint = "check the credentials in the environment, or the URL's own, and run it again"
                raise DataError(f"{url} may not be read: {reason}", hint) from None
            if tried == TRIES or isinstance(error, ValueError) or type(error).__name__ == "NoCredentialsError":
                raise DataError(f"cannot reach {url}: {reason}", _REACH) from error
            store = "/".join(url.split("/", 3)[:3])
            once(logging.INFO, f"{store} does not answer: {reason}; asking again")
        time.sleep(wait)
        wait *= 2
    raise AssertionError


def _reason(error: Exception) -> str:
    cause = error.__cause__
    told = cause if isinstance(error, FileNotFoundError) and isinstance(cause, Exception) else error
    return " ".join(str(told).split())[:160] or type(told).__name__


def _status(error: BaseException) -> int | None:
    """The status of HTTP that a server answered with."""
    each = (getattr(found, "status", None) for found in (error, error.__cause__))
    return next((status for status in each if isinstance(status, int)), None)


def _is_missing(error: Exception) -> bool:
    """Whether a store says that there is no such object; fsspec says so as well where a web server does not answer."""
    if not isinstance(error, FileNotFoundError):
        return _status(error) in _GONE
    cause, status = error.__cause__, _status(error)
    if status is not None:
        return status in _GONE
    return cause is None or isinstance(cause, FileNotFoundError) or hasattr(cause, "response")  # of S3


def _is_closed(error: Exception) -> bool:
    """Whether an object alone may not be read; not so where credentials have expired, in the middle of the work."""
    if not isinstance(error, PermissionError):
        return False
    answer = getattr(error.__cause__, "response", None) or {}
    return answer.get("Error", {}).get("Code", "AccessDenied") in _OF_OBJECT


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
        except Exception as error:
            if _is_missing(error):
                return UnreadableError("the file does not exist", Cause.MISSING)
            if _is_closed(error):
                return UnreadableError(f"may not be read: {_reason(error)}", Cause.ACCESS)
            raise

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
