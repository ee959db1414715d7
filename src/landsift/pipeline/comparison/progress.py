"""How far a comparison is: a grid on standard error for a person who watches, a line per training for a log."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from statistics import median
from typing import TYPE_CHECKING, Self

from landsift.pipeline.comparison.grid import Cell, Grid
from landsift.reports.wording import duration
from landsift.runtime.notices import watched

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

logger = logging.getLogger("landsift")

WAITING, RUNNING, FAILED = "·", "▸", "✗"
ALL_LABELS = 10**9
"""What stands for "all labels" where budgets are compared."""


class Progress:
    """Shows the grid where standard error is a terminal, else logs a line per training; a context manager.

    Args:
        grid: what is trained.
        processes: how many train at once.
    """

    def __init__(self, grid: Grid, processes: int) -> None:
        self.grid = grid
        self.cells = grid.cells
        self.slots: Callable[[], int] = lambda: processes
        """Trials that train at once; of workers elsewhere it changes."""
        self._seconds: dict[tuple[str, int], list[float]] = {}
        self._accuracies: dict[str, float] = {}
        self._running: set[str] = set()
        self._failed: set[str] = set()
        self._since = 0.0
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self._since = time.monotonic()
        if watched():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), get_renderable=self.table, refresh_per_second=2)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def started(self, label: str) -> None:
        """Mark the cell as training."""
        self._running.add(label)

    def done(self, cell: Cell, accuracy: float, seconds: float, *, cached: bool) -> None:
        """Count the cell, and learn from it how long the others take."""
        self._running.discard(cell.label)
        self._accuracies[cell.label] = accuracy
        self._seconds.setdefault((cell.row.name, _labels(cell)), []).append(seconds)
        taken = "from the cache" if cached else f"{seconds:.1f} s"
        if self._live is None:
            logger.info("%s: %.2f %%  %s  (%s)", cell.label, 100 * accuracy, taken, self._summary())

    def failed(self, cell: Cell, reason: str) -> None:
        """Name the reason at once, and again in the report."""
        self._running.discard(cell.label)
        self._failed.add(cell.label)
        logger.warning("%s failed: %s", cell.label, reason)

    def seconds_left(self) -> float | None:
        """How long the rest takes, by what was measured of cells like them; None before the first."""
        if not self._seconds:
            return None
        rest = [c for c in self.cells if c.label not in self._accuracies and c.label not in self._failed]
        return sum(self._expected(cell) for cell in rest) / self.slots()

    def _expected(self, cell: Cell) -> float:
        """Seconds of a cell: those of the same row and budget, else of the row's nearest budget, else of any row's.

        A training's time grows in proportion to its labels at most, so that another budget's is scaled by their ratio.
        """
        labels = _labels(cell)
        known = {(row, n): median(s) for (row, n), s in self._seconds.items()}
        own = {n: s for (row, n), s in known.items() if row == cell.row.name}
        others: dict[int, list[float]] = {}
        for (_, n), seconds in known.items():
            others.setdefault(n, []).append(seconds)
        from_ = own or {n: median(s) for n, s in others.items()}
        nearest = min(from_, key=lambda n: abs(math.log(n / labels)))
        ratio = 1.0 if ALL_LABELS in (nearest, labels) else max(labels / nearest, 0.25)
        return from_[nearest] * ratio

    def _summary(self) -> str:
        finished, left = len(self._accuracies) + len(self._failed), self.seconds_left()
        time_left = f", about {duration(left)} left" if left else ""
        return f"{finished} of {len(self.cells)}{time_left}"

    def table(self) -> Table:
        """The grid: a row per strategy, a column per budget, with the mean accuracy so far and a mark per seed."""
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=f"{self._summary()}, {duration(time.monotonic() - self._since)} so far", title_justify="left"
        )
        table.add_column("test accuracy, %")
        for budget in self.grid.budgets:
            table.add_column("all labels" if budget is None else f"{budget:,}", justify="right")
        by_place: dict[tuple[str, int | None], list[Cell]] = {}
        for cell in self.cells:
            by_place.setdefault((cell.row.name, cell.budget), []).append(cell)
        for row in self.grid.rows:
            places = (by_place.get((row.name, budget), []) for budget in self.grid.budgets)
            table.add_row(Text(row.name), *(self._place(cells) for cells in places))
        return table

    def _place(self, cells: Iterable[Cell]) -> str:
        cells = list(cells)
        marks = "".join(
            FAILED if c.label in self._failed else RUNNING if c.label in self._running else WAITING
            for c in cells
            if c.label not in self._accuracies
        )
        found = [self._accuracies[c.label] for c in cells if c.label in self._accuracies]
        mean = f"{100 * sum(found) / len(found):.1f}" if found else ""
        return f"{mean} {marks}".strip()


def _labels(cell: Cell) -> int:
    return ALL_LABELS if cell.budget is None else cell.budget
