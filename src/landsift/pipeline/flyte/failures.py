"""How errors cross Flyte, which carries a code and a text and loses the exception."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from landsift.errors import DownloadError, LandsiftError, RunError

_last: list[Exception] = []
"""The exception that ended a stage in this process."""


@contextmanager
def carried() -> Iterator[None]:
    """Around the body of a task: remember the exception, and tell Flyte that trying again will not help.

    A failed download may go better the second time, so it is left for Flyte to retry.
    """
    import flyte.errors

    try:
        yield
        _last.clear()  # a download that went well the second time
    except flyte.errors.BaseRuntimeError:  # a stage's error on its way through the orchestrator
        raise
    except Exception as raised:
        error = _in_words(raised)
        _last[:] = [error]
        if isinstance(error, DownloadError):
            raise
        raise flyte.errors.NonRecoverableError(str(error), type(error).__name__) from error


def _in_words(error: Exception) -> Exception:
    """What somebody can do something about of the errors that libraries raise; else the error itself."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return RunError(f"the disk is full ({error.filename or 'while writing'})", "free some space and run again")
    text = " ".join(str(error).split())
    if isinstance(error, ImportError | ValueError) and "proxy" in text.lower():  # httpx, of what it finds there
        hint = "check ALL_PROXY, HTTPS_PROXY and HTTP_PROXY, or unset them"
        return RunError(f"the proxy that the environment names cannot be used: {text[:200]}", hint)
    return error


def forget() -> None:
    """Drop what an earlier run left."""
    _last.clear()


def original(error: Exception) -> Exception:
    """The exception behind one that came out of Flyte: the stage's own, else `error` itself."""
    return _last[-1] if _last else error


def reason(error: Exception) -> str:
    """What went wrong with one of several stages that run side by side, in a line."""
    text = error.message if isinstance(error, LandsiftError) else str(error)
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
