"""A downloader for pooch that takes up a cut transfer where it stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift.errors import DataError, DownloadError
from landsift.runtime.progress_bar import progress_bar

if TYPE_CHECKING:
    import requests

ATTEMPTS = 5
"""Tries in a row that bring nothing new before the download is given up."""
BACKOFF = 0.5
"""Seconds before the second try; doubled before each further one."""
TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as cut."""
_CHUNK = 1 << 14  # bytes

_log = logging.getLogger("landsift")


class ResumingDownloader:
    """Downloads one URL, by HTTP Range from the end of `part` where that holds a beginning.

    `part` outlives a failed download, so that the next one, in this process or a later one, goes on from
    there, if the server still has the same file: its ETag or date is kept beside the part. pooch calls the
    object with the URL and the file to write, and checks the hash afterwards.

    Args:
        part: Where the beginning of the file is kept.
        max_bytes: Longest file that is taken.
    """

    def __init__(self, part: Path, max_bytes: int) -> None:
        self.part = part
        self.max_bytes = max_bytes
        self._version_file = part.with_name(f"{part.name}.version")

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Fetch `url` into `output_file`.

        Raises:
            DataError: the server refuses, or sends what cannot be the file.
            DownloadError: the tries are used up.
        """
        best, failures = self._have(), 0
        while True:
            try:
                self._fetch(url)
                break
            except _Retry as error:
                if self._have() >= best + _CHUNK:  # a slow line is no failure as long as it moves
                    best, failures = self._have(), 0
                failures += 1
                if failures >= ATTEMPTS:
                    raise DownloadError(
                        f"cannot download {url}: {error}",
                        "check the network and run again: it resumes, or use a mirror",
                    ) from None
                _log.info("download of %s cut (%s); trying again", url, error)
                time.sleep(BACKOFF * 2 ** (failures - 1))
        self._version_file.unlink(missing_ok=True)
        self.part.replace(output_file)

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _version(self) -> str:
        """What the server called the file that `part` is the beginning of; empty where it said nothing."""
        try:
            return self._version_file.read_text(encoding="latin-1")
        except OSError:
            return ""

    def _start_over(self) -> None:
        self.part.unlink(missing_ok=True)
        self._version_file.unlink(missing_ok=True)

    def _fetch(self, url: str) -> None:
        import requests
        import urllib3

        have = self._have()
        # identity: a range of a compressed transfer would not be a range of the file
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        if have and (version := self._version()):
            headers["If-Range"] = version
        try:
            with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
                self._receive(response, have)
        except requests.exceptions.SSLError as error:
            raise DataError(
                f"cannot download {url}: the server's certificate is not accepted ({error})",
                "check data.eurosat.base_url and the system's certificates",
            ) from None
        except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
            raise _Retry(_reason(error)) from None
        except (requests.RequestException, UnicodeError) as error:
            raise DataError(f"cannot download {url}: {error}", "check data.eurosat.base_url") from None

    def _receive(self, response: requests.Response, have: int) -> None:
        status = response.status_code
        if status == 416:  # the part is longer than the file, or complete: begin again to be sure
            self._start_over()
            raise _Retry("the server has no such range")
        if status >= 500 or status in (408, 429):
            raise _Retry(f"the server answered {status} {response.reason}")
        if status not in (200, 206):
            raise DataError(
                f"cannot download {response.url}: the server answered {status} {response.reason}",
                "check data.eurosat.base_url",
            )
        version = _version_of(response)
        resumed = status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if (status == 206 and not resumed) or (resumed and have and version != (self._version() or version)):
            self._start_over()
            raise _Retry("the server sent another range or file than asked for")
        start = have if resumed else 0
        text = response.headers.get("Content-Length", "")
        length = int(text) if text.isdecimal() and int(text) else None
        if start + (length or 0) > self.max_bytes:
            raise self._too_long(response)
        if not start:
            self._start_over()
            self._version_file.write_text(version, encoding="latin-1")
        with (
            self.part.open("ab" if resumed else "wb") as file,
            progress_bar(f"Downloading {self.part.stem}", start + length if length else None, in_bytes=True) as advance,
        ):
            advance(start)
            for chunk in _chunks(response):
                file.write(chunk)
                advance(len(chunk))
                if file.tell() > self.max_bytes:
                    break
        if self._have() > self.max_bytes:
            self._start_over()
            raise self._too_long(response)
        if length and self._have() < start + length:
            raise _Retry("the connection was cut")

    def _too_long(self, response: requests.Response) -> DataError:
        return DataError(
            f"cannot download {response.url}: it is larger than {self.max_bytes >> 20} MiB",
            "check data.eurosat.base_url",
        )


class _Retry(Exception):  # noqa: N818 (a signal to try again)
    """This try failed in a way that another may not."""


def _version_of(response: requests.Response) -> str:
    """A name of the file's content that If-Range takes: a strong ETag, else the date; empty where there is none."""
    tag: str = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """The body as it comes; raises _Retry where it comes so slowly that it would never end."""
    began, window = time.monotonic(), 0
    while chunk := response.raw.read1(_CHUNK, decode_content=False):
        window += len(chunk)
        yield chunk
        if window >= _CHUNK:
            began, window = time.monotonic(), 0
        elif time.monotonic() - began > TIMEOUT:
            raise _Retry(f"fewer than {_CHUNK:,} bytes came in {TIMEOUT:g} seconds")


def _reason(error: Exception) -> str:
    text = str(error)
    if "timed out" in text:
        return "the server does not answer"
    if "Broken" in type(error).__name__ or "broken" in text or "IncompleteRead" in text:
        return "the connection was cut"
    return "no connection to the server"
