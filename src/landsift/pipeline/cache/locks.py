"""Two processes of one machine at the same work: of a result of the cache one waits, of an output one is refused."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from landsift.config import cache_folder
from landsift.errors import RunError
from landsift.pipeline.cache import results
from landsift.runtime.locks import LOOK_EVERY, Lock, held, waited_for
from landsift.runtime.whole import writing

logger = logging.getLogger("landsift")


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
    with writing(lock.file):
        while not lock.take():
            if not waited:
                logger.info("another process is making %s; waiting for it", what)
            waited = True
            await asyncio.sleep(LOOK_EVERY)
    try:
        yield waited and folder.is_dir() and folder.stat().st_mtime > began and not results.damage(folder)
    finally:
        lock.release()


def sole_maker(folder: Path, what: str) -> AbstractContextManager[None]:
    """The same outside of an event loop; whoever waited looks himself whether `folder` is there now."""
    lock = _lock(folder, folder.parents[1])
    return waited_for(lock, f"another process is making {what}; waiting for it")


def only_writer(out: Path) -> AbstractContextManager[None]:
    """Be the only process of this machine that writes to an output folder.

    Raises:
        RunError: another one does, or the cache folder cannot be written.
    """
    hint = "wait until it has ended, or give --out another folder"
    return held(_lock(out, cache_folder()), RunError(f"another run is writing to {out}", hint))


@contextlib.contextmanager
def using(cache: Path) -> Iterator[None]:
    """Have the results in the cache folder stay where they are; any number of processes at once.

    Waits while a `landsift cache prune` deletes. Where the folder cannot be written, nobody can delete either.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            said = f"results are being deleted from {cache}; waiting until that is done"
            stack.enter_context(waited_for(_in_use(cache, shared=True), said))
        yield


def nobody_else(cache: Path) -> AbstractContextManager[None]:
    """Be the only process of this machine that knows the results in the cache folder.

    Raises:
        RunError: others are at work with them, or the folder cannot be written.
    """
    refusal = RunError(f"another landsift process is using the results in {cache}", "try again when it has ended")
    return held(_in_use(cache), refusal)


def _in_use(cache: Path, *, shared: bool = False) -> Lock:
    return Lock(cache / "locks" / "in-use", shared=shared)


def _lock(path: Path, root: Path) -> Lock:
    name = hashlib.sha256(str(path).encode(errors="surrogateescape")).hexdigest()[:32]
    return Lock(root / "locks" / f"{name}.lock")
