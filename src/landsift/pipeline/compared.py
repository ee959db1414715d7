"""From the trained cells to the comparison's folder: figures, tables and the report."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift import runs
from landsift.data.splits import make_split
from landsift.data.store import PatchStore
from landsift.evaluation.comparison import PROBE, compare_cells
from landsift.evaluation.comparison import Cell as Trained
from landsift.pipeline.artifacts import writing
from landsift.pipeline.grid import Cell, Grid, Row
from landsift.reports.comparison import comparison_html
from landsift.reports.tables import tables
from landsift.version import __version__

if TYPE_CHECKING:
    import pandas as pd

CELL_FILES = (runs.CONFIG, runs.MANIFEST, runs.METRICS, runs.EVALUATION)


def assemble(folder: Path, store: Path, cells: list[Path], outline: dict[str, Any], command: list[str] | None) -> Path:
    """Fill `folder` with a complete comparison and return it.

    Args:
        folder: where the files go; must not exist.
        store: the patch store.
        cells: folders of the trained cells.
        outline: the grid and its cells' states, as `comparing.Outcome.to_json` wrote them.
        command: the command line, or None.

    Raises:
        RunError: a file cannot be written.
        DataError: the cells were tested on different patches.
    """
    grid, patches = Grid.from_json(outline["grid"]), PatchStore.open(store)
    split = make_split(patches, grid.base.data.split)
    records: list[dict[str, Any]] = []
    trained: list[Trained] = []
    predictions: list[pd.DataFrame] = []
    for cell, state in zip(grid.cells, outline["states"], strict=True):
        place: dict[str, Any] = {"row": cell.row.name, "budget": cell.budget or len(split.train), "seed": cell.seed}
        if state["folder"] is None:
            records.append(place | {"state": "failed", "reason": state["reason"]})
            continue
        found = runs.Run.open(cells[state["folder"]])
        record = _record(found)
        records.append(place | {"state": "done", "reason": None, "cached": state["cached"]} | record)
        test = found.predictions.query("split == 'test'")
        trained.append(_trained(place, record, test, patches.classes))
        predictions.append(test[["path", "label", "predicted"]].assign(**place))
        with writing(folder):
            _copy(found.path, folder / "cells" / _folder_name(cell, place["budget"]))
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
    comparison |= compare_cells(trained, references(grid.rows).get)
    runs.write_text(folder / runs.CONFIG, grid.base.to_yaml())
    runs.write_parquet(folder / runs.PREDICTIONS, _compact(predictions))
    for name, text in tables(comparison).items():
        runs.write_text(folder / name, text)
    runs.write_text(folder / runs.REPORT, comparison_html(comparison))
    runs.write_json(folder / runs.COMPARISON, comparison)
    return folder


def references(rows: tuple[Row, ...]) -> dict[str, str]:
    """The linear probe of each row's variant, by the row's name."""
    probes = {row.variant: row.name for row in rows if row.strategy == PROBE}
    return {row.name: probes[row.variant] for row in rows if row.variant in probes}


def _record(run: runs.Run) -> dict[str, Any]:
    """What comparison.json says of a training."""
    test, manifest = run.evaluation["test"], run.manifest
    phases = [{name: phase[name] for name in ("name", "epochs", "trainable")} for phase in manifest["phases"]]
    return {
        "accuracy": test["accuracy"],
        "macro_f1": test["macro_f1"],
        "ece": test["ece"],
        "f1": {name: figures["f1"] for name, figures in test["per_class"].items()},
        "epochs": len(run.metrics),
        "best_epoch": run.evaluation["epoch"],
        "train_seconds": round(sum(row["seconds"] - row["val_seconds"] for row in run.metrics), 3),
        "seconds": round(sum(row["seconds"] for row in run.metrics), 3),
        "trainable": max(phase["trainable"] for phase in phases),
        "parameters": manifest["model"]["parameters"],
        "phases": phases,
    }


def _trained(place: dict[str, Any], record: dict[str, Any], test: pd.DataFrame, classes: tuple[str, ...]) -> Trained:
    number = {name: k for k, name in enumerate(classes)}
    return Trained(
        **place,
        labels=test["label"].map(number).to_numpy(np.int64),
        predicted=test["predicted"].map(number).to_numpy(np.int64),
        classes=classes,
        train_seconds=record["train_seconds"],
        trainable=record["trainable"],
        parameters=record["parameters"],
    )


def _compact(predictions: list[pd.DataFrame]) -> pd.DataFrame:
    """One row per cell and test patch: row, budget, seed, path, label, predicted; names as categories."""
    import pandas as pd

    table = pd.concat(predictions, ignore_index=True)
    names = ("row", "path", "label", "predicted")
    return table.astype(dict.fromkeys(names, "category"))[["row", "budget", "seed", "path", "label", "predicted"]]


def _copy(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for name in CELL_FILES:
        shutil.copy(source / name, target / name)


def _folder_name(cell: Cell, budget: int) -> str:
    """Such as "linear_probe/500-seed0"."""
    return f"{cell.row.folder}/{budget}-seed{cell.seed}"
