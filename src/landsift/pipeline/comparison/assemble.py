"""From the trained cells to the comparison's folder, and from a finished folder to the same under other rules."""

from __future__ import annotations

import datetime
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift import runs
from landsift.data.splits import dependent_units, make_split
from landsift.data.store.patch_store import PatchStore
from landsift.errors import RunError
from landsift.evaluation.comparison import PROBE, compare_cells
from landsift.evaluation.comparison import Cell as Trained
from landsift.evaluation.compute_cost import train_seconds, work_of
from landsift.evaluation.recommendation import Rule
from landsift.pipeline.cache.results import writing
from landsift.pipeline.comparison.grid import Grid, folder_of
from landsift.reports.comparison.csv_tables import tables
from landsift.reports.comparison.page import comparison_html
from landsift.version import __version__

if TYPE_CHECKING:
    import pandas as pd

CELL_FILES = (runs.CONFIG, runs.MANIFEST, runs.METRICS, runs.EVALUATION)
_log = logging.getLogger("landsift")


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
        record = _record(found, work_of(found.config, found.manifest, found.metrics))
        records.append(place | {"state": "done", "reason": None, "cached": state["cached"]} | record)
        test = found.predictions.query("split == 'test'")
        trained.append((cell.fold, _trained(place, record, found, test, patches.classes)))
        told = {} if groups is None else {"group": groups[splits[cell.fold or 0].test]}
        predictions.append(test[["path", "label", "predicted"]].assign(**place, **told))
        with writing(folder):
            _copy(found.path, folder / "cells" / _folder_name(place))
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
        "rows": [{"name": row.name, "strategy": row.strategy, "variant": row.variant} for row in grid.rows],
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


def pooled(
    trained: Sequence[tuple[int | None, Trained]], folds: int | None
) -> tuple[list[Trained], NDArray[np.int64] | None]:
    """Of a cross-validation the trainings of all folds as one, which predicts every patch once; and each patch's fold.

    Work, seconds and figures on validation are those of all folds together. A row of which a fold has failed is left
    out at that budget and seed, and that is said.

    Args:
        trained: the fold of each training, from 0, and the training.
        folds: how many there are; None: the trainings as they are, and None.

    Raises:
        RunError: no row has all of its folds.
    """
    if folds is None:
        return [cell for _, cell in trained], None
    by_place: dict[tuple[str, int, int], dict[int, Trained]] = {}
    for fold, cell in trained:
        by_place.setdefault((cell.row, cell.budget, cell.seed), {})[fold or 0] = cell
    whole = [[found[fold] for fold in range(folds)] for found in by_place.values() if len(found) == folds]
    if (lacking := len(by_place) - len(whole)) > 0:
        _log.warning("%d rows lack a fold at a budget and seed, and are left out there", lacking)
    if not whole:
        raise RunError("no row has been trained on all folds", "look at why trainings failed")
    joined = [
        replace(
            cells[0],
            labels=np.concatenate([cell.labels for cell in cells]),
            predicted=np.concatenate([cell.predicted for cell in cells]),
            validation=sum((cell.validation for cell in cells), np.zeros_like(cells[0].validation)),
            work=sum(cell.work for cell in cells),
            train_seconds=sum(cell.train_seconds for cell in cells),
        )
        for cells in whole
    ]
    return joined, np.repeat(np.arange(folds), [len(cell.labels) for cell in whole[0]])


def write_figures(folder: Path, comparison: Mapping[str, Any]) -> None:
    """Write comparison.json and what is made from it: the CSV tables and the page."""
    for name, text in tables(comparison).items():
        runs.write_text(folder / name, text)
    runs.write_text(folder / runs.REPORT, comparison_html(comparison))
    runs.write_json(folder / runs.COMPARISON, comparison)


def evaluated_again(folder: Path, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What comparison.json of a finished folder says under the present rules of evaluation; nothing is written.

    Args:
        folder: of a comparison, of this version of landsift or of an older one.
        changes: what differs from the folder's own rule, or from the default where it has none: fields of `Rule`.

    Raises:
        RunError: a file is missing or damaged.
        ConfigError: the changes make no rule.
        ModelError: what a training computed is not noted there, and its network cannot be made here to count it.
    """
    found = runs.Comparison(folder)
    comparison, predictions = dict(found.data), found.predictions
    try:
        rule = Rule(**(comparison.get("rule", {}) | dict(changes or {})))
        keys = ["row", "budget", "seed", *(["fold"] if comparison.get("folds") else [])]
        tests = dict(iter(predictions.groupby(keys, observed=True, sort=False)))
        records, trained = [], []
        of_test: dict[int | None, NDArray[Any]] = {}
        for old in comparison["cells"]:
            if old["state"] != "done":
                records.append(old)
                continue
            place = {key: old[key] for key in keys}
            run = runs.Run.open(folder / "cells" / _folder_name(place))
            work = old.get("work")
            record = _record(run, work_of(run.config, run.manifest, run.metrics) if work is None else work)
            records.append(old | record)
            test, fold = tests[tuple(place.values())], place.get("fold")
            trained.append((fold, _trained(place, record, run, test, tuple(comparison["data"]["classes"]))))
            if "group" in test:
                of_test[fold] = test["group"].to_numpy()
        reference, may_have_groups = references(comparison["rows"]), _may_have_groups(comparison)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunError(f"{folder} is no whole comparison: {type(error).__name__}: {error}") from error
    whole, folds = pooled(trained, comparison.get("folds"))
    groups = np.concatenate([of_test[fold] for fold in sorted(of_test, key=lambda f: f or 0)]) if of_test else None
    if groups is None and may_have_groups:
        _log.warning("this comparison kept no groups of its patches: its intervals and tests are over patches")
    comparison |= {"landsift": __version__, "cells": records}
    return comparison | compare_cells(whole, reference.get, rule, groups, folds)


def _may_have_groups(comparison: Mapping[str, Any]) -> bool:
    """Whether the patches came from a table, which may have named their groups."""
    kind = comparison["config"]["data"]["split"]["kind"]
    return kind == "group" or Path(comparison["data"]["source"]).suffix.lower() in {".csv", ".parquet"}


def references(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The linear probe of each row's variant, by the row's name; rows as comparison.json has them."""
    rows = list(rows)
    probes = {row["variant"]: row["name"] for row in rows if row["strategy"] == PROBE}
    return {row["name"]: probes[row["variant"]] for row in rows if row["variant"] in probes}


def _record(run: runs.Run, work: float) -> dict[str, Any]:
    """What comparison.json says of a training."""
    test, validation, manifest = run.evaluation["test"], run.evaluation["val"], run.manifest
    phases = [{name: phase[name] for name in ("name", "epochs", "trainable")} for phase in manifest["phases"]]
    return {
        "accuracy": test["accuracy"],
        "macro_f1": test["macro_f1"],
        "ece": test["ece"],
        "f1": {name: figures["f1"] for name, figures in test["per_class"].items()},
        "val_accuracy": validation["accuracy"],
        "epochs": len(run.metrics),
        "best_epoch": run.evaluation["epoch"],
        "work": work,
        "train_seconds": train_seconds(run.config, manifest, run.metrics),
        "seconds": round(sum(row["seconds"] for row in run.metrics), 3),
        "trainable": max(phase["trainable"] for phase in phases),
        "parameters": manifest["model"]["parameters"],
        "phases": phases,
    }


def _trained(
    place: Mapping[str, Any], record: Mapping[str, Any], run: runs.Run, test: pd.DataFrame, classes: tuple[str, ...]
) -> Trained:
    return Trained(
        row=place["row"],
        budget=place["budget"],
        seed=place["seed"],
        labels=_numbers(test["label"], classes),
        predicted=_numbers(test["predicted"], classes),
        validation=np.asarray(run.evaluation["val"]["confusion"]),
        classes=classes,
        work=record["work"],
        train_seconds=record["train_seconds"],
        trainable=record["trainable"],
        parameters=record["parameters"],
    )


def _numbers(names: pd.Series, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Positions of class names; raises KeyError for others."""
    number = {name: k for k, name in enumerate(classes)}
    return np.array([number[name] for name in names], dtype=np.int64)


def _compact(predictions: list[pd.DataFrame]) -> pd.DataFrame:
    """One row per cell and test patch: row, budget, seed, path, label, predicted and, if there are groups, group."""
    import pandas as pd

    table = pd.concat(predictions, ignore_index=True)
    names = ("row", "path", "label", "predicted")
    columns = ["row", "budget", "seed", "path", "label", "predicted"]
    columns += [name for name in ("fold", "group") if name in table]
    return table.astype(dict.fromkeys(names, "category"))[columns]


def _copy(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for name in CELL_FILES:
        shutil.copy(source / name, target / name)


def _folder_name(place: Mapping[str, Any]) -> str:
    """Such as "linear_probe/500-seed0", of a cross-validation "linear_probe/500-seed0-fold0"."""
    fold = f"-fold{place['fold']}" if "fold" in place else ""
    return f"{folder_of(place['row'])}/{place['budget']}-seed{place['seed']}{fold}"
