"""What an attempt at a training hands to the next one on a cluster, where each has a machine of its own.

There Flyte keeps one checkpoint per task, an archive of the unfinished run directory; on one machine that directory
itself stays (`results.continuing`).
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from landsift.pipeline.cache.results import LAST_CHECKPOINT
from landsift.pipeline.flyte import transfer
from landsift.runs import FEATURES

_log = logging.getLogger("landsift")

LOOK_EVERY = 5.0
"""Seconds between looks for a new checkpoint."""


@contextmanager
def kept(folder: Path) -> Iterator[None]:
    """On a cluster: begin from what the attempt before has left, and leave to the next what this one has.

    Args:
        folder: of the unfinished run; made if need be.
    """
    import flyte

    context = None if transfer.is_local() else flyte.ctx()
    checkpoint = context and context.checkpoint
    if checkpoint is None:
        yield
        return
    found = checkpoint.load_sync()
    if found is not None and (found / LAST_CHECKPOINT).is_file():
        shutil.copytree(found, folder, dirs_exist_ok=True)
    ended, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=_send_new, args=(folder, checkpoint, ended, done), name="landsift-checkpoints")
    thread.start()
    try:
        yield
        done.set()
    finally:
        ended.set()
        thread.join()


def _send_new(folder: Path, checkpoint: Any, ended: threading.Event, done: threading.Event) -> None:
    """Send the folder whenever its last checkpoint is a new one, until the training has ended; for a thread.

    Args:
        folder: of the unfinished run.
        checkpoint: Flyte's.
        ended: the training has ended; once it has, look once more.
        done: it has succeeded, and nothing will resume from it.
    """
    sent, last = _version(folder), False
    while not last and not done.is_set():
        last = ended.wait(LOOK_EVERY)
        version = _version(folder)
        if version in {sent, 0} or done.is_set():
            continue
        try:
            with tempfile.TemporaryDirectory(prefix="landsift-", dir=folder.parent) as scratch:
                checkpoint.save_sync(_snapshot(folder, Path(scratch) / "run"))
            sent = version
        except Exception as error:  # noqa: BLE001 (whatever the object store raises, the training continues)
            _log.warning("the checkpoint could not be saved for another attempt: %s", " ".join(str(error).split()))


def _version(folder: Path) -> int:
    file = folder / LAST_CHECKPOINT
    return file.stat().st_mtime_ns if file.is_file() else 0


def _snapshot(folder: Path, to: Path) -> Path:
    """Links to the folder's files; the last checkpoint first, because it knows of those that were there before it."""
    (to / LAST_CHECKPOINT).parent.mkdir(parents=True)
    os.link(folder / LAST_CHECKPOINT, to / LAST_CHECKPOINT)
    for file in sorted(folder.rglob("*")):
        place = to / file.relative_to(folder)
        if not file.is_file() or file.name.endswith(".partial") or file.is_relative_to(folder / FEATURES):
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            os.link(file, place)
    return to
