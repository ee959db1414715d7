"""Locks that processes of one machine take from each other by a file.

They are the system's own (flock), which a process holds no longer than it lives, however it ends. One that has it alone
takes the file away when it is done. `docs/decisions/0011-cache.md` says why no library's locks are used.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from landsift.errors import RunError
from landsift.runtime.whole import writing

logger = logging.getLogger("landsift")

LOOK_EVERY = 0.2
"""Seconds between tries for a lock that another process holds."""
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
_NONE_HERE = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}
"""What file systems answer that know no locks, such as a network's without its lock service."""


class Lock:
    """A lock, not taken yet.

    Args:
        file: which processes share; made, with the folders above it, where it is taken.
        shared: to be had by any number at once, while nobody has it alone.
    """

    def __init__(self, file: Path, *, shared: bool = False) -> None:
        self.file = file
        self._shared = shared
        self._opened = -1

    def take(self) -> bool:
        """Take it if it is free.

        Raises:
            OSError: the file cannot be made.
            RunError: the file system has no locks.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        while self._opened < 0:
            opened = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                if not self._locked(opened):
                    return False
                if self._still_there(opened):  # else who had it took the file away meanwhile
                    self._opened, opened = opened, -1
            finally:
                if opened >= 0:
                    os.close(opened)
        return True

    def release(self) -> None:
        """Give it back."""
        if not self._shared:
            with contextlib.suppress(OSError):  # it may lie there
                self.file.unlink()
        fcntl.flock(self._opened, fcntl.LOCK_UN)  # a forked process has the opened file too
        os.close(self._opened)
        self._opened = -1

    def _locked(self, opened: int) -> bool:
        try:
            fcntl.flock(opened, (fcntl.LOCK_SH if self._shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                return False
            if error.errno in _NONE_HERE:
                hint = "set LANDSIFT_HOME, or data.eurosat.root, to a folder on a disk of this machine"
                raise RunError(f"the file system of {self.file.parent} has no locks ({error.strerror})", hint) from None
            raise
        return True

    def _still_there(self, opened: int) -> bool:
        try:
            return os.path.samestat(self.file.stat(), os.fstat(opened))
        except FileNotFoundError:
            return False


@contextlib.contextmanager
def held(lock: Lock, refusal: RunError) -> Iterator[None]:
    """Hold a lock.

    Raises:
        RunError: `refusal`, because another process has it, or the file cannot be made.
    """
    with writing(lock.file):
        taken = lock.take()
    if not taken:
        raise refusal
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def waited_for(lock: Lock, said: str) -> Iterator[None]:
    """Hold a lock as soon as no other process does; `said` tells, once, that it is waited for."""
    if not lock.take():
        logger.info("%s", said)
        while not lock.take():
            time.sleep(LOOK_EVERY)
    try:
        yield
    finally:
        lock.release()
