"""Notices on standard error: what the command line and the processes that it starts say while they work."""

from __future__ import annotations

import logging
import sys
from functools import cache

from landsift.errors import plain


class _ToStderr(logging.Handler):
    """Notices without prefix, warnings with one.

    They go to whatever standard error is at the moment, so that a progress bar, which stands in for it while it is
    drawn, can put them above itself.
    """

    def emit(self, record: logging.LogRecord) -> None:
        text = "\n".join(map(plain, record.getMessage().split("\n")))  # a file's name may hold a terminal's commands
        print(text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}", file=sys.stderr)  # noqa: T201


def show_on_stderr(level: int = logging.INFO) -> None:
    """Have landsift's notices of this level and above shown; for a process of landsift's own."""
    logger = logging.getLogger("landsift")
    logger.addHandler(_ToStderr())
    logger.setLevel(level)
    logger.propagate = False


@cache
def once(level: int, text: str) -> None:
    """Say something of the data; however often a process reads them, it says so once."""
    logging.getLogger("landsift").log(level, "%s", text)
