"""Two processes of one machine at the same work: of a result of the cache one waits, of an output one is refused.

The locks are the system's own (flock), so that a killed process holds none. They lie in `CACHE/locks`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from landsift.config import cache_folder
from landsift.errors import RunError
from landsift.pipeline.cache import results

logger = logging.getLogger("landsift")

LOOK_EVERY = 0.2
"""Seconds between tries for a lock that another process holds."""


@contextlib.asynccontextmanager
async def turn(folder: Path, what: str) -> AsyncIterator[bool]:
    """Be the only process of this machine that makes a result of the cache; wait until no other does.

    Args:
        folder: the result's place.
        what: what people call it.

    Yields:
        Whether another process has made it meanwhile.

    Raises:
        RunError: the cache folder cannot be written.
    """
    began, waited = time.time(), False
    lock = _lock(folder, folder.parents[1])
    while not _taken(lock):
        if not waited:
            logger.info("another process is making %s; waiting for it", what)
        waited = True
        await asyncio.sleep(LOOK_EVERY)
    try:
        yield waited and folder.is_dir() and folder.stat().st_mtime > began and not results.damage(folder)
    finally:
        lock.release()


@contextlib.contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Be the only process of this machine that writes to an output folder.

    Raises:
        RunError: another one does, or the cache folder cannot be written.
    """
    lock = _lock(out, cache_folder())
    if not _taken(lock):
        raise RunError(f"another run is writing to {out}", "wait until it has ended, or give --out another folder")
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def using(cache: Path) -> Iterator[None]:
    """Have the results in the cache folder stay where they are; any number of processes at once.

    Waits while a `landsift cache prune` deletes. Where the folder cannot be written, nobody can delete either.

    Args:
        cache: the cache folder.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            file = stack.enter_context(_in_use(cache))
            waited = False
            while not _flock(file, fcntl.LOCK_SH):
                if not waited:
                    logger.info("results are being deleted from %s; waiting until that is done", cache)
                waited = True
                time.sleep(LOOK_EVERY)
        yield


@contextlib.contextmanager
def nobody_else(cache: Path) -> Iterator[None]:
    """Be the only process of this machine that knows the results in the cache folder.

    Raises:
        RunError: others are at work with them, or the folder cannot be written.
    """
    with results.writing(cache / "locks"):
        opened = _in_use(cache)
    with opened as file:
        if not _flock(file, fcntl.LOCK_EX):
            raise RunError(f"another landsift process is using the results in {cache}", "try again when it has ended")
        yield


def _in_use(cache: Path) -> IO[bytes]:
    (cache / "locks").mkdir(parents=True, exist_ok=True)
    return (cache / "locks" / "in-use").open("ab")


def _flock(file: IO[bytes], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock(path: Path, root: Path) -> FileLock:
    name = hashlib.sha256(str(path).encode(errors="surrogateescape")).hexdigest()[:32]
    return FileLock(root / "locks" / f"{name}.lock")


def _taken(lock: FileLock) -> bool:
    """Take the lock if it is free."""
    with results.writing(Path(lock.lock_file)):
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
    return True
