"""Opening an engine: the one that is enough for what is asked, and no sooner than it is needed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from landsift.engine.interface import Engine, EngineLostError, InProcess, WorkerLostError
from landsift.engine.options import LOCAL, EngineOptions
from landsift.errors import LandsiftError
from landsift.extras import needs

if TYPE_CHECKING:
    from landsift.engine.cluster import Cluster

Item = TypeVar("Item")
Result = TypeVar("Result")


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
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        name: Callable[[Item], str] = str,
        lost: Callable[[WorkerLostError], Result] | None = None,
    ) -> Iterator[tuple[Item, Result]]:
        """As `Engine.unordered`; for a single item no process is started."""
        if self._started is None:
            rest = iter(items)
            first = list(islice(rest, 2))
            items = chain(first, rest)
            if not first or (len(first) == 1 and self._options.is_local):
                return InProcess().unordered(function, items, name, lost)
        return self._cluster().unordered(function, items, name, lost)

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
    if options.is_local and not options.in_process:
        from landsift.engine.scratch import remove_left_behind  # with what `landsift --help` does not need

        remove_left_behind()
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
