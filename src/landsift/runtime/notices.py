"""Notices on standard error: what the command line and the processes that it starts say while they work.

Standard error may be closed, a pipe that nobody reads any more, a terminal that is gone, an object that lacks half of
what a file has, or nothing at all. None of it ends the work, and no notice goes anywhere else.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

from landsift.errors import plain

GONE = frozenset({errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO})
"""Of a stream that nobody reads any more."""


class _Steady(io.TextIOBase):
    """A stream for people, which takes whatever is written and passes on what it can.

    Args:
        stream: anything with a `write`, or None.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Pass on the text, with escapes where the stream has not its letters."""
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            with contextlib.suppress(Exception):
                self._stream.write(text.encode("ascii", "backslashreplace").decode("ascii"))
        except Exception:  # noqa: BLE001, S110 (what somebody else's stream raises; there is nobody to tell)
            pass
        return len(text)

    def flush(self) -> None:
        """Flush, where there is something to."""
        with contextlib.suppress(Exception):
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether a person watches, as far as the stream can say."""
        try:
            return bool(self._stream.isatty())
        except Exception:  # noqa: BLE001 (it has no such method, or is closed)
            return False

    def fileno(self) -> int:
        """The stream's descriptor; raises OSError where it has none."""
        try:
            return int(self._stream.fileno())
        except Exception:  # noqa: BLE001 (as above)
            raise io.UnsupportedOperation("fileno") from None

    def writable(self) -> bool:
        """Whatever becomes of it."""
        return True

    def close(self) -> None:
        """Nothing: the stream is not this object's."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's."""
        return getattr(self._stream, "encoding", None) or "utf-8"


def steady(stream: Any) -> io.TextIOBase:
    """The stream, such that writing to it cannot fail."""
    return stream if isinstance(stream, _Steady) else _Steady(stream)


def put_out(text: str = "", end: str = "\n") -> None:
    """Print to standard output and empty it; where nobody reads it any more, the text is lost without a word.

    Raises:
        OSError: it cannot be written for another reason than that, such as a full disk.
    """
    try:
        print(text, end=end, flush=True)  # noqa: T201
    except OSError as error:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:  # where Python would try again when it ends
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        if error.errno not in GONE:
            raise


def watched() -> bool:
    """Whether standard error is a terminal."""
    return steady(sys.stderr).isatty()


class _ToStderr(logging.Handler):
    """Notices without prefix, warnings with one.

    They go to whatever standard error is at the moment, so that a progress bar, which stands in for it while it is
    drawn, can put them above itself.
    """

    def emit(self, record: logging.LogRecord) -> None:
        text = "\n".join(map(plain, record.getMessage().split("\n")))  # a file's name may hold a terminal's commands
        text = text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"
        steady(sys.stderr).write(f"{text}\n")
        steady(sys.stderr).flush()


def show_on_stderr(level: int = logging.INFO) -> None:
    """Have landsift's notices of this level and above shown; for a process of landsift's own."""
    sys.stderr = steady(sys.stderr)
    logger = logging.getLogger("landsift")
    if not any(isinstance(handler, _ToStderr) for handler in logger.handlers):
        logger.addHandler(_ToStderr())
    logger.setLevel(level)
    logger.propagate = False


@cache
def once(level: int, text: str) -> None:
    """Say something of the data; however often a process reads them, it says so once."""
    logging.getLogger("landsift").log(level, "%s", text)


@contextlib.contextmanager
def said_before() -> Iterator[None]:
    """Without landsift's notices: for what another stage has done already, and told."""
    logger = logging.getLogger("landsift")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def open_missing_streams() -> None:
    """Open nothing in place of standard input, output and error where they are closed; for a process of landsift's own.

    Else the first files that are opened would take their numbers, and what libraries write to standard error would go
    into one of them.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free
