"""A downloader for pooch that takes up a cut transfer where it stopped."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift.data.progress import progress_bar
from landsift.errors import DataError, DownloadError

if TYPE_CHECKING:
    import requests

ATTEMPTS = 5
"""Tries in a row that bring nothing new before the download is given up."""
BACKOFF = 0.5
"""Seconds before the second try; doubled before each further one."""
TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as cut."""
_CHUNK = 1 << 14  # bytes; as much is lost when a connection is cut

_log = logging.getLogger("landsift")


class ResumingDownloader:
    """Downloads one URL, by HTTP Range from the end of `part` where that holds a beginning.

    `part` outlives a failed download, so that the next one, in this process or a later one, goes on from
    there. pooch calls the object with the URL and the file to write, and checks the hash afterwards.

    Args:
        part: Where the beginning of the file is kept.
    """

    def __init__(self, part: Path) -> None:
        self.part = part

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Fetch `url` into `output_file`.

        Raises:
            DataError: the server refuses.
            DownloadError: the tries are used up.
        """
        best, failures = self._have(), 0
        while True:
            try:
                self._fetch(url)
                break
            except _Retry as error:
                if self._have() > best:  # a slow line is no failure as long as it moves
                    best, failures = self._have(), 0
                failures += 1
                if failures >= ATTEMPTS:
                    raise DownloadError(
                        f"cannot download {url}: {error}",
                        "check the network and run again: it resumes, or use a mirror",
                    ) from None
                _log.info("download of %s cut (%s); trying again", url, error)
                time.sleep(BACKOFF * 2 ** (failures - 1))
        self.part.replace(output_file)

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _fetch(self, url: str) -> None:
        import requests

        have = self._have()
        # identity: a range of a compressed transfer would not be a range of the file
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        try:
            with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
                self._receive(response, have)
        except requests.exceptions.SSLError as error:
            raise DataError(
                f"cannot download {url}: the server's certificate is not accepted ({error})",
                "check data.eurosat.base_url and the system's certificates",
            ) from None
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            raise _Retry(_reason(error)) from None
        except requests.RequestException as error:
            raise DataError(f"cannot download {url}: {error}", "check data.eurosat.base_url") from None

    def _receive(self, response: requests.Response, have: int) -> None:
        status = response.status_code
        if status == 416:  # the part is longer than the file, or complete: begin again to be sure
            self.part.unlink()
            raise _Retry("the server has no such range")
        if status >= 500 or status in (408, 429):
            raise _Retry(f"the server answered {status} {response.reason}")
        if status not in (200, 206):
            raise DataError(
                f"cannot download {response.url}: the server answered {status} {response.reason}",
                "check data.eurosat.base_url",
            )
        resumed = status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if status == 206 and not resumed:
            self.part.unlink()
            raise _Retry("the server sent another range than asked for")
        length = int(response.headers.get("Content-Length", 0)) or None
        start = have if resumed else 0
        with (
            self.part.open("ab" if resumed else "wb") as file,
            progress_bar(f"Downloading {self.part.stem}", start + length if length else None, in_bytes=True) as advance,
        ):
            advance(start)
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                advance(len(chunk))
        if length and self._have() < start + length:
            raise _Retry("the connection was cut")


class _Retry(Exception):  # noqa: N818 (a signal to try again)
    """This try failed in a way that another may not."""


def _reason(error: Exception) -> str:
    text = str(error)
    if "timed out" in text:
        return "the server does not answer"
    if "Broken" in type(error).__name__ or "broken" in text or "IncompleteRead" in text:
        return "the connection was cut"
    return "no connection to the server"
