"""Trials of a comparison side by side, on an engine: as many at the same time as it has room for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path

from landsift import engine
from landsift.config import WEIGHTS_BY_NAME, RunConfig, cache_folder
from landsift.models import own_networks
from landsift.pipeline.comparison import cell
from landsift.pipeline.comparison.grid import Grid

Train = Callable[[RunConfig, Path, Path, str, str], Awaitable[None]]
"""Trains; the arguments are those of `cell.train_here`."""
LOOK_EVERY = 0.02
"""Seconds between looks whether an engine has room; a trial takes many of them."""
_current: ContextVar[_Trials | None] = ContextVar("_current", default=None)


def shared_files(grid: Grid) -> list[Path]:
    """What workers on other machines must see at the same path: the cache folder, and files that settings name."""
    found = {cache_folder()}
    for row in grid.rows:
        model = own_networks.by_file(row.config).model
        named = [model.module, None if model.weights in WEIGHTS_BY_NAME else model.weights]
        found |= {path for name in named if name and (path := Path(name).expanduser().absolute()).exists()}
    return sorted(found)


@contextlib.asynccontextmanager
async def side_by_side(
    options: engine.EngineOptions, shared: list[Path], started: Callable[[str], None]
) -> AsyncIterator[engine.Engine]:
    """While this lasts, the trials of this task and of those that it starts train on an engine.

    Args:
        options: where.
        shared: `shared_files`.
        started: called with a trial's label when its training begins.
    """
    with engine.open(**options.to_dict(), shared=shared, notices=logging.WARNING) as running_on:
        token = _current.set(_Trials(running_on, started))
        try:
            yield running_on
        finally:
            _current.reset(token)


@contextlib.asynccontextmanager
async def turn_for(label: str) -> AsyncIterator[Train]:
    """What trains the trial of this label, as soon as there is room for it; without an engine, this process does."""
    trials = _current.get()
    if trials is None:
        yield _train_here
        return
    async with trials.turn(label):
        yield trials.train


async def _train_here(config: RunConfig, store: Path, folder: Path, label: str, group: str) -> None:
    cell.train_here(config, store, folder, label, group)


class _Trials:
    def __init__(self, running_on: engine.Engine, started: Callable[[str], None]) -> None:
        self.engine = running_on
        self._started = started
        self._running = 0
        self._next = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def turn(self, label: str) -> AsyncIterator[None]:
        """Wait for room; who waits longest is next."""
        async with self._next:
            while self._running >= self.engine.slots:
                await asyncio.sleep(LOOK_EVERY)
            self._running += 1
        try:
            self._started(label)
            yield
        finally:
            self._running -= 1

    async def train(self, config: RunConfig, store: Path, folder: Path, label: str, group: str) -> None:
        """Have one trial trained; raises what went wrong."""
        trial = cell.Trial(own_networks.by_file(config).model_dump_json(), str(store), str(folder), label, group)
        try:
            await asyncio.wrap_future(self.engine.submit(cell.train_trial, trial, label))
        except asyncio.CancelledError:  # all are ending: who tidies up the folder next must be alone with it
            self.engine.close()
            cell.wait_until_left(folder)
            raise
