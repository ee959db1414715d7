"""From the trained cells to the comparison's folder."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift import runs
from landsift.data.splits import dependent_units, make_split
from landsift.data.store.patch_store import PatchStore
from landsift.evaluation.comparison import Cell as Trained
from landsift.evaluation.comparison import compare_cells
from landsift.evaluation.compute_cost import work_of
from landsift.evaluation.finished_comparison import folder_of_cell, pooled, record_of, references, trained_cell
from landsift.evaluation.recommendation import Rule
from landsift.pipeline.comparison.grid import Grid
from landsift.pipeline.comparison.winner import training_command
from landsift.reports.comparison.files import write_figures
from landsift.runtime.notices import said_before
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
    with said_before():
        splits = [make_split(patches, split) for split in grid.splits]
    groups = dependent_units(patches, grid.base.data.split)
    sizes = {part: round(fmean(len(getattr(split, part)) for split in splits)) for part in ("train", "val", "test")}
    records: list[dict[str, Any]] = []
    trained: list[tuple[int | None, Trained]] = []
    predictions: list[pd.DataFrame] = []
    for cell, state in zip(grid.cells, outline["states"], strict=True):
        place: dict[str, Any] = {"row": cell.row.name, "budget": cell.budget or sizes["train"], "seed": cell.seed}
        if cell.fold is not None:
            place["fold"] = cell.fold
        if state["folder"] is None:
            records.append(place | {"state": "failed", "reason": state["reason"]})
            continue
        found = runs.Run.open(cells[state["folder"]])
        record = record_of(found, work_of(found.config, found.manifest, found.metrics))
        records.append(place | {"state": "done", "reason": None, "cached": state["cached"]} | record)
        test = found.predictions.query("split == 'test'")
        trained.append((cell.fold, trained_cell(place, record, found, test, patches.classes)))
        told = {} if groups is None else {"group": groups[splits[cell.fold or 0].test]}
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
            "split": sizes,
        },
        "config": grid.base.to_dict(),
        "rows": [
            {"name": row.name, "strategy": row.strategy, "variant": row.variant, "command": training_command(row)}
            for row in grid.rows
        ],
        "budgets": sorted({record["budget"] for record in records}),
        "seeds": list(grid.seeds),
        "folds": grid.folds,
        "cells": records,
    }
    of_test = None if groups is None else groups[np.concatenate([split.test for split in splits])]
    whole, folds = pooled(trained, grid.folds)
    comparison |= compare_cells(whole, references(comparison["rows"]).get, rule, of_test, folds)
    runs.write_text(folder / runs.CONFIG, grid.base.to_yaml())
    runs.write_parquet(folder / runs.PREDICTIONS, _compact(predictions))
    write_figures(folder, comparison)
    return folder


def _compact(predictions: list[pd.DataFrame]) -> pd.DataFrame:
    """One row per cell and test patch: row, budget, seed, path, label, predicted and, if there are groups, group."""
    import pandas as pd

    table = pd.concat(predictions, ignore_index=True)
    names = ("row", "path", "label", "predicted")
    columns = ["row", "budget", "seed", "path", "label", "predicted"]
    columns += [name for name in ("fold", "group") if name in table]
    return table.astype(dict.fromkeys(names, "category"))[columns]
