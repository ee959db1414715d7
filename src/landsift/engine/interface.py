"""The interface of all engines, and the one that needs nothing: this process."""

from __future__ import annotations

import queue
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from landsift.errors import RunError

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
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        name: Callable[[Item], str] = str,
        lost: Callable[[WorkerLostError], Result] | None = None,
    ) -> Iterator[tuple[Item, Result]]:
        """Run a function on items; each with its result, as they are done.

        Items are taken as they are needed: of a million there are a few at a time in memory.

        Args:
            function: a module's own, because it is pickled.
            items: small, and to be pickled.
            name: what notices and errors call an item.
            lost: gives the result of an item whose workers died, each time that it was tried; None: that is raised.

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
                    try:
                        result = future.result()
                    except WorkerLostError as error:
                        if lost is None:
                            raise
                        result = lost(error)
                    yield item, result
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
