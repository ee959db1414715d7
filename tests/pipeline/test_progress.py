"""What a comparison says while it trains."""

import io

import pytest
from rich.console import Console

from landsift.config import RunConfig
from landsift.pipeline.comparison.grid import Grid
from landsift.pipeline.comparison.progress import Progress


@pytest.fixture
def grid() -> Grid:
    return Grid.of(RunConfig(), ["linear_probe", "full"], [100, 200], [0, 1])


def test_the_time_left_is_measured_on_cells_like_those_that_are_left(grid):
    progress = Progress(grid, processes=2)
    cells = {cell.label: cell for cell in grid.cells}
    assert progress.seconds_left() is None
    progress.done(cells["linear_probe, 100 labels, seed 0"], 0.9, 10.0, cached=False)
    # of 7: 3 with 100 labels at 10 s, 4 with 200 at 20 s, two at a time
    assert progress.seconds_left() == pytest.approx((3 * 10 + 4 * 20) / 2)
    progress.done(cells["full, 100 labels, seed 0"], 0.9, 30.0, cached=True)
    progress.failed(cells["linear_probe, 200 labels, seed 0"], "the reason")
    # left: probe 100, probe 200, full 100, full 200 twice
    assert progress.seconds_left() == pytest.approx((10 + 20 + 30 + 2 * 60) / 2)


def test_the_grid_shows_means_and_a_mark_for_each_cell_that_is_not_done(grid):
    progress = Progress(grid, processes=1)
    cells = {cell.label: cell for cell in grid.cells}
    progress.started("full, 200 labels, seed 1")
    progress.done(cells["linear_probe, 100 labels, seed 0"], 0.9, 10.0, cached=False)
    progress.done(cells["linear_probe, 100 labels, seed 1"], 0.8, 10.0, cached=False)
    progress.failed(cells["full, 100 labels, seed 0"], "the reason")
    console = Console(file=io.StringIO(), width=100)
    console.print(progress.table())
    lines = console.file.getvalue().splitlines()
    assert lines[0].startswith("3 of 8, about ")
    (probe,) = (line.split() for line in lines if "linear_probe" in line)
    (full,) = (line.split() for line in lines if "full" in line)
    assert [w for w in probe if w != "│"] == ["linear_probe", "85.0", "··"]
    assert [w for w in full if w != "│"] == ["full", "✗·", "·▸"]
