"""The interface of all engines, and the one that needs nothing: this process."""

from __future__ import annotations

import contextlib
import logging
import queue
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from landsift.engine.options import LOCAL, EngineOptions
from landsift.errors import LandsiftError, RunError
from landsift.extras import needs

if TYPE_CHECKING:
    from landsift.engine.cluster import Cluster

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_AHEAD = 64
"""Tasks that are handed over beyond one for each worker."""
_END: Any = object()


class WorkerLostError(RunError):
    """A task's workers died, again and again."""


class EngineLostError(RunError):
    """What runs the tasks is gone: no task can be run any more."""


class Engine(ABC):
    """Runs a function on items, in any order; from `open`."""

    @property
    @abstractmethod
    def slots(self) -> int:
        """Tasks that run at the same time; at an address it changes as workers come and go."""

    @abstractmethod
    def submit(self, function: Callable[[Item], Result], item: Item, name: str) -> Future[Result]:
        """Have a function run on an item; `name` is what notices and errors call the item.

        The future raises what the function raises; also

            WorkerLostError: the workers that ran it died, each time that it was tried.
            EngineLostError: the scheduler or the processes are gone.
        """

    @abstractmethod
    def close(self) -> None:
        """End what runs, at once."""

    @property
    def ahead(self) -> int:
        """Tasks that are handed over at the same time: enough that no worker waits, few enough for a scheduler."""
        return self.slots + min(self.slots, MOST_AHEAD)

    def unordered(
        self, function: Callable[[Item], Result], items: Iterable[Item], name: Callable[[Item], str] = str
    ) -> Iterator[tuple[Item, Result]]:
        """Run a function on items; each with its result, as they are done.

        Items are taken as they are needed: of a million there are a few at a time in memory.

        Args:
            function: a module's own, because it is pickled.
            items: small, and to be pickled.
            name: what notices and errors call an item.

        Raises:
            Exception: what the function raised; what runs is ended.
            RunError: as `submit`.
        """
        done: queue.SimpleQueue[tuple[Item, Future[Result]]] = queue.SimpleQueue()
        running: set[Future[Result]] = set()
        rest = iter(items)
        try:
            left = True
            while left or running:
                while left and len(running) < self.ahead:
                    item = next(rest, _END)
                    if item is _END:
                        left = False
                        break
                    future = self.submit(function, item, name(item))
                    running.add(future)
                    future.add_done_callback(lambda future, item=item: done.put((item, future)))  # type: ignore[misc]
                if running:
                    item, future = done.get()
                    running.discard(future)
                    yield item, future.result()
        finally:
            for future in running:
                future.cancel()


class InProcess(Engine):
    """This process, one item after the other."""

    slots = ahead = 1

    def submit(self, function: Callable[[Item], Result], item: Item, name: str) -> Future[Result]:
        """Run it, here and now; an interrupt is raised where it meets it."""
        future: Future[Result] = Future()
        try:
            future.set_result(function(item))
        except Exception as error:  # noqa: BLE001 (it is the future's)
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Nothing runs."""


class _OnDemand(Engine):
    """An engine that is started at the first task, because all may be done already, or one item be all there is."""

    def __init__(self, options: EngineOptions, start: Callable[[], Cluster]) -> None:
        self._options = options
        self._start = start
        self._started: Cluster | None = None

    @property
    def slots(self) -> int:
        """Of an address: one, until it is known."""
        if self._started is not None:
            return self._started.slots
        return self._options.count if self._options.is_local else 1

    def submit(self, function: Callable[[Item], Result], item: Item, name: str) -> Future[Result]:
        """As `Engine.submit`."""
        return self._cluster().submit(function, item, name)

    def unordered(
        self, function: Callable[[Item], Result], items: Iterable[Item], name: Callable[[Item], str] = str
    ) -> Iterator[tuple[Item, Result]]:
        """As `Engine.unordered`; for a single item no process is started."""
        if self._started is None:
            rest = iter(items)
            first = list(islice(rest, 2))
            items = chain(first, rest)
            if not first or (len(first) == 1 and self._options.is_local):
                return InProcess().unordered(function, items, name)
        return self._cluster().unordered(function, items, name)

    def close(self) -> None:
        """End it, if it has begun."""
        if self._started is not None:
            self._started.close()

    def _cluster(self) -> Cluster:
        if self._started is None:
            try:
                self._started = self._start()
            except LandsiftError as error:  # no task can be run, and no other will fare better
                raise EngineLostError(error.message, error.hint) from None
        return self._started


@contextlib.contextmanager
def open(
    address: str = LOCAL,
    *,
    workers: int | None = None,
    threads: int | None = None,
    gpus: int | None = None,
    shared: Sequence[Path | str] = (),
    notices: int = logging.INFO,
) -> Iterator[Engine]:
    """An engine, for as long as this lasts. It starts with the first task; one process of this machine starts nothing.

    Args:
        address: as of `EngineOptions`, as are the next three.
        workers: processes of this machine.
        threads: that each of them computes in.
        gpus: for each of them alone.
        shared: files and folders that workers at an address must see at the same path. They are asked.
        notices: landsift's notices from this level on reach the user from where tasks run.

    Raises:
        ConfigError: as `EngineOptions`.
        RunError: at the first task: there is no scheduler, or workers are of another version or miss what is shared.
        MissingExtraError: several processes are asked for, and `distributed` is not installed.
    """
    options = EngineOptions(address, workers, threads, gpus)
    engine = InProcess() if options.in_process else _OnDemand(options, _starter(options, shared, notices))
    try:
        yield engine
    finally:
        engine.close()


def check(options: EngineOptions, shared: Sequence[Path | str] = ()) -> None:
    """Find out early what `open` would find at the first task: of an address, whether it can be worked with.

    Raises:
        RunError: as `open`.
        MissingExtraError: as `open`.
    """
    if options.in_process:
        return
    start = _starter(options, shared, logging.CRITICAL, wait=False)
    if not options.is_local:
        start().close()


def _starter(
    options: EngineOptions, shared: Sequence[Path | str], notices: int, *, wait: bool = True
) -> Callable[[], Cluster]:
    """What starts the workers or finds them, where what it needs is installed."""
    needs("cryptography", "distributed", extra="cluster", what="work in several processes or on several machines")

    def start() -> Cluster:
        from landsift.engine.cluster import Cluster

        cluster = Cluster(options, [Path(path) for path in shared], notices)
        cluster.start(wait=wait)
        return cluster

    return start
