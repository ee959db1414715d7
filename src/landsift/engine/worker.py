"""A task, where it runs: in a process of a Dask worker."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from landsift.engine import checks
from landsift.runtime import threads

RELAYED = "relayed_by_landsift"
"""Set in records of the log that come from a worker."""
_LOOK_EVERY = 0.5
_UNWANTED = 3
"""Exit status of a worker's process that was computing what nobody waits for any more."""

_turn = threading.Lock()
"""A worker runs one of landsift's tasks at a time: a task computes in all of its threads, and changes its process."""
_fit: dict[str, str] = {}
"""What was found of this process, by the run that asked."""
_running: list[tuple[Any, str]] = []
"""The worker and the key of the task that this process computes; watched by a thread."""


class UnfitError(Exception):
    """A worker cannot run tasks of this client."""


@dataclass(frozen=True)
class Terms:
    """What all tasks of a run are sent with.

    Attributes:
        run: the run's name, which is also the topic of its notices.
        here: `checks.described` of the client.
        shared: as of `checks.unseen`.
        notices: the level from which notices are sent.
        threads: whether the worker's threads are to be set: those of this machine have their environment.
    """

    run: str
    here: dict[str, str]
    shared: tuple[tuple[str, str], ...]
    notices: int
    threads: bool


def asked(terms: Terms) -> str:
    """What is wrong with this process as a worker; "" if nothing."""
    if terms.run not in _fit:
        differences = checks.different(terms.here, checks.described())
        missing = [] if differences else checks.unseen(terms.shared)
        _fit[terms.run] = ", ".join(differences) or (f"it does not see {missing[0]}" if missing else "")
    return _fit[terms.run]


def call(terms: Terms, work: bytes, name: str) -> Any:
    """Run a pickled function on the item pickled with it.

    Raises:
        UnfitError: `asked` has found something.
        Exception: what the function raises.
    """
    from distributed import get_worker

    worker = get_worker()
    if wrong := asked(terms):
        raise UnfitError(worker.address, wrong)
    with _turn, _notices(worker, terms, name), _watched(worker):
        if terms.threads and worker.nanny:
            _compute_in(worker.state.nthreads)
        function, item = pickle.loads(work)  # noqa: S301 (of the client, whose code this process is there to run)
        try:
            return function(item)
        except (SystemExit, KeyboardInterrupt) as error:  # Dask would end the worker for it
            raise RuntimeError(f"{name} ended its process: {error!r}") from None


_COUNTS = (threads.THREADS, "MKL_NUM_THREADS")
"""What libraries read when they are loaded; Dask sets each to one."""


def _compute_in(count: int) -> None:
    """Have torch compute in the threads that the worker was started with; Dask tells libraries to use one."""
    if torch := sys.modules.get("torch"):
        if torch.get_num_threads() != count:
            torch.set_num_threads(count)
    else:
        os.environ.update(dict.fromkeys(_COUNTS, str(count)))
        threads.spin_briefly()


class _ToClient(logging.Handler):
    def __init__(self, worker: Any, terms: Terms, name: str) -> None:
        super().__init__(terms.notices)
        self._worker, self._run, self._name = worker, terms.run, name

    def emit(self, record: logging.LogRecord) -> None:
        if not hasattr(record, RELAYED):
            with contextlib.suppress(Exception):  # a scheduler that is gone
                said = {"level": record.levelno, "text": record.getMessage(), "name": self._name}
                self._worker.log_event(self._run, said)


@contextlib.contextmanager
def _notices(worker: Any, terms: Terms, name: str) -> Iterator[None]:
    """Send landsift's notices to the client while this lasts."""
    logger, handler = logging.getLogger("landsift"), _ToClient(worker, terms, name)
    before = logger.level
    logger.addHandler(handler)
    if worker.nanny:  # else the logger is somebody's
        logger.setLevel(terms.notices)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


@contextlib.contextmanager
def _watched(worker: Any) -> Iterator[None]:
    """End the process when nobody waits for the task any more: a thread cannot be ended, and it would write on.

    That is so where the client has ended, or this host is cut off from the scheduler. The process's nanny starts
    another one; without one, the task goes on to its end.
    """
    if not worker.nanny:
        yield
        return
    if not any(thread.name == _watch.__name__ for thread in threading.enumerate()):
        threading.Thread(target=_watch, name=_watch.__name__, daemon=True).start()
    task = (worker, worker.get_current_task())
    _running.append(task)
    try:
        yield
    finally:
        _running.remove(task)


def _watch() -> None:
    while True:
        time.sleep(_LOOK_EVERY)
        for worker, key in list(_running):
            task = worker.state.tasks.get(key)
            wanted = task is not None and task.state in ("executing", "long-running")
            if (worker, key) in _running and not (wanted and worker.status.name in ("running", "paused")):
                os._exit(_UNWANTED)
