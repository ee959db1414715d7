"""The folder of temporary files that an engine of this machine has while it runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from landsift.errors import RunError
from landsift.runtime.locks import Lock

PREFIX = "landsift-engine-"
LOCK = "lock"
"""Held by the command whose folder it is; the system takes it from one that is killed."""


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for as long as this lasts.

    Raises:
        RunError: there can be none.
    """
    try:
        made = Path(tempfile.mkdtemp(prefix="landsift-"))
    except OSError as error:
        hint = "free some space, or set TMPDIR to another folder"
        raise RunError(f"no folder for temporary files can be made: {error.strerror or error}", hint) from None
    folder = made
    with contextlib.ExitStack() as closing:
        closing.callback(lambda: shutil.rmtree(folder, ignore_errors=True))
        with contextlib.suppress(OSError, RunError):  # without locks it stays where the command is killed
            lock = Lock(made / LOCK)
            if lock.take():
                closing.callback(lock.release)
                # Under this name it is another's to delete where the lock is free, so that it has the name last.
                folder = made.rename(made.with_name(PREFIX + made.name.removeprefix("landsift-")))
        yield folder


def remove_left_behind() -> None:
    """Delete the folders of this user's commands that were killed, as far as that can be done."""
    with contextlib.suppress(OSError):
        for each in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError, RunError):
                if each.is_symlink() or each.stat().st_uid != os.getuid() or not (each / LOCK).is_file():
                    continue
                lock = Lock(each / LOCK)
                if lock.take():
                    shutil.rmtree(each, ignore_errors=True)
                    lock.release()
