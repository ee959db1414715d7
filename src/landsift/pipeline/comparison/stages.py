"""How a comparison goes: what is to be trained, the trainings side by side, and what became of each."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift.config import cache_folder
from landsift.data.sources.base import content_fingerprint
from landsift.data.splits import make_split
from landsift.data.store.patch_store import PatchStore
from landsift.engine import EngineLostError, EngineOptions, check
from landsift.errors import DataError, RunError
from landsift.pipeline import preflight
from landsift.pipeline.cache import keys, results
from landsift.pipeline.comparison import trials
from landsift.pipeline.comparison.cell import in_one_arithmetic
from landsift.pipeline.comparison.grid import Cell, Grid
from landsift.pipeline.comparison.progress import Progress
from landsift.pipeline.flyte import failures, transfer
from landsift.pipeline.stage_table import CELL
from landsift.runs import Run
from landsift.runtime.notices import said_before

if TYPE_CHECKING:
    from flyte.io import Dir

logger = logging.getLogger("landsift")


@dataclass(frozen=True)
class Outcome:
    """What became of the cells.

    Attributes:
        grid: what was asked for.
        states: per cell of the grid: `folder` (its position in `folders`, or None), `reason` (why it failed), `cached`.
        folders: the results of those that did not fail.
    """

    grid: Grid
    states: list[dict[str, Any]]
    folders: list[Dir]

    def to_json(self) -> str:
        """The grid and the states as text."""
        return json.dumps({"grid": self.grid.to_json(), "states": self.states})


def plan(grid: Grid, options: EngineOptions) -> tuple[str, str, list[str]]:
    """What the stages are called with; refuses what cannot train before any data is decoded for it.

    Args:
        grid: what is asked for.
        options: where it trains.

    Returns:
        The fingerprint of the patches, the key of their store, and one key per cell of the grid.

    Raises:
        LandsiftError: a row of the grid cannot train, or the patches cannot be used.
    """
    fingerprint = content_fingerprint(grid.base.data)
    store_key = keys.store_key(grid.base.data, fingerprint)
    cell_keys = keys.cell_keys([in_one_arithmetic(cell.config) for cell in grid.cells], store_key)
    if transfer.is_local() and not all(results.place(CELL, k, local=True).is_dir() for k in cell_keys):
        for row in grid.rows:
            preflight.check_training(row.config)
        cache_folder().mkdir(parents=True, exist_ok=True)
        check(options, trials.shared_files(grid))
    return fingerprint, store_key, cell_keys


async def check_budgets(grid: Grid, store: Dir) -> None:
    """Refuse budgets that the training split cannot give, or gives twice; raises DataError."""
    patches = PatchStore.open(await transfer.fetch(store))
    for split in grid.splits:
        make_split(patches, split)  # which says what there is to say of it
        with said_before():
            sizes = [len(make_split(patches, split, budget).train) for budget in grid.budgets]
        if len(set(sizes)) < len(sizes):
            message = f"all labels of the training split are {sizes[-1]:,}, which is one of the budgets as well"
            raise DataError(message, "leave one of the two out")


async def train_all(
    grid: Grid, cell_keys: list[str], train: Callable[[Cell, str], Awaitable[Dir]], run: str, options: EngineOptions
) -> Outcome:
    """Train all cells of the grid, as many at once as there are processes or machines for.

    Args:
        grid: what is to be trained.
        cell_keys: one per cell.
        train: trains one.
        run: name of the Flyte run; a result that another run made was cached.
        options: where they train; on a Flyte cluster it counts for nothing.

    Raises:
        RunError: all of them failed.
        EngineLostError: what they train on is gone; those that are done are kept.
    """
    folders: list[Dir] = []
    same: dict[str, asyncio.Lock] = {}  # strategies of other names may be equal: they are trained once
    progress = Progress(grid, options.count) if transfer.is_local() else None

    async def one(cell: Cell, key: str) -> dict[str, Any]:
        try:
            async with same.setdefault(key, asyncio.Lock()):
                folder = await train(cell, key)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is reported and the other trials continue)
            original = failures.original(error)
            if isinstance(original, EngineLostError):  # none of the others can be trained either
                raise original from None
            reason = failures.reason(error)
            if progress is not None:
                progress.failed(cell, reason)
            return {"folder": None, "reason": reason, "cached": False}
        cached = False
        if progress is not None:
            record = results.stage_record(transfer.path_of(folder))
            cached = record["run"] != run
            progress.done(cell, _accuracy(transfer.path_of(folder)), record["seconds"], cached=cached)
        folders.append(folder)
        return {"folder": len(folders) - 1, "reason": None, "cached": cached}

    cells = grid.cells
    trainings = [one(cell, key) for cell, key in zip(cells, cell_keys, strict=True)]
    if progress is None:
        states = await asyncio.gather(*trainings)
    else:
        async with trials.side_by_side(options, trials.shared_files(grid), progress.started) as room:
            progress.slots = lambda: room.slots
            with progress:
                states = await asyncio.gather(*trainings)
    if not folders:
        raise RunError(f"all {len(cells)} trials failed; the first: {states[0]['reason']}")
    return Outcome(grid, list(states), folders)


def _accuracy(folder: Path) -> float:
    return float(Run.open(folder).evaluation["test"]["accuracy"])
