"""From the trained cells to the comparison's folder."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift import runs
from landsift.data.group_split import group_numbers
from landsift.data.splits import make_split
from landsift.data.store.patch_store import PatchStore
from landsift.evaluation.comparison import Cell as Trained
from landsift.evaluation.comparison import compare_cells
from landsift.evaluation.compute_cost import work_of
from landsift.evaluation.finished_comparison import folder_of_cell, record_of, references, trained_cell
from landsift.evaluation.recommendation import Rule
from landsift.pipeline.comparison.grid import Grid
from landsift.reports.comparison.files import write_figures
from landsift.runtime.whole import writing
from landsift.version import __version__

if TYPE_CHECKING:
    import pandas as pd

CELL_FILES = (runs.CONFIG, runs.MANIFEST, runs.METRICS, runs.EVALUATION)


def assemble(
    folder: Path, store: Path, cells: list[Path], outline: dict[str, Any], command: list[str] | None, rule: Rule
) -> Path:
    """Fill `folder` with a complete comparison and return it.

    Args:
        folder: where the files go; must not exist.
        store: the patch store.
        cells: folders of the trained cells.
        outline: the grid and its cells' states, as `comparing.Outcome.to_json` wrote them.
        command: the command line, or None.
        rule: by what rows are chosen.

    Raises:
        RunError: a file cannot be written.
        DataError: the cells were tested on different patches.
    """
    grid, patches = Grid.from_json(outline["grid"]), PatchStore.open(store)
    split = make_split(patches, grid.base.data.split)
    groups = group_numbers(patches.column("group"))
    records: list[dict[str, Any]] = []
    trained: list[Trained] = []
    predictions: list[pd.DataFrame] = []
    for cell, state in zip(grid.cells, outline["states"], strict=True):
        place: dict[str, Any] = {"row": cell.row.name, "budget": cell.budget or len(split.train), "seed": cell.seed}
        if state["folder"] is None:
            records.append(place | {"state": "failed", "reason": state["reason"]})
            continue
        found = runs.Run.open(cells[state["folder"]])
        record = record_of(found, work_of(found.config, found.manifest, found.metrics))
        records.append(place | {"state": "done", "reason": None, "cached": state["cached"]} | record)
        test = found.predictions.query("split == 'test'")
        trained.append(trained_cell(place, record, found, test, patches.classes))
        told = {} if groups is None else {"group": groups[split.test]}
        predictions.append(test[["path", "label", "predicted"]].assign(**place, **told))
        target = folder / "cells" / folder_of_cell(place)
        with writing(target):
            target.mkdir(parents=True)
            for name in CELL_FILES:
                shutil.copy(found.path / name, target / name)
    comparison: dict[str, Any] = {
        "landsift": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "data": {
            "source": grid.base.data.source,
            "fingerprint": patches.fingerprint,
            "patches": len(patches),
            "classes": list(patches.classes),
            "split": {"train": len(split.train), "val": len(split.val), "test": len(split.test)},
        },
        "config": grid.base.to_dict(),
        "rows": [{"name": row.name, "strategy": row.strategy, "variant": row.variant} for row in grid.rows],
        "budgets": sorted({record["budget"] for record in records}),
        "seeds": list(grid.seeds),
        "cells": records,
    }
    of_test = None if groups is None else groups[split.test]
    comparison |= compare_cells(trained, references(comparison["rows"]).get, rule, of_test)
    runs.write_text(folder / runs.CONFIG, grid.base.to_yaml())
    runs.write_parquet(folder / runs.PREDICTIONS, _compact(predictions))
    write_figures(folder, comparison)
    return folder


def _compact(predictions: list[pd.DataFrame]) -> pd.DataFrame:
    """One row per cell and test patch: row, budget, seed, path, label, predicted and, if there are groups, group."""
    import pandas as pd

    table = pd.concat(predictions, ignore_index=True)
    names = ("row", "path", "label", "predicted")
    columns = ["row", "budget", "seed", "path", "label", "predicted", *(["group"] if "group" in table else [])]
    return table.astype(dict.fromkeys(names, "category"))[columns]
