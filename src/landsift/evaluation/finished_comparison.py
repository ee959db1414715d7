"""What a finished comparison's folder says of its trainings, and the same comparison under other rules."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift import runs
from landsift.errors import RunError
from landsift.evaluation.comparison import PROBE, Cell, compare_cells
from landsift.evaluation.compute_cost import train_seconds, work_of
from landsift.evaluation.recommendation import Rule
from landsift.version import __version__

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger("landsift")


def evaluated_again(folder: Path, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What comparison.json of a finished folder says under the present rules of evaluation; nothing is written.

    Args:
        folder: of a comparison, of this version of landsift or of an older one.
        changes: what differs from the folder's own rule, or from the default where it has none: fields of `Rule`.

    Raises:
        RunError: a file is missing or damaged, or no row has all of its folds.
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
            run = runs.Run.open(folder / "cells" / folder_of_cell(place))
            work = old.get("work")
            record = record_of(run, work_of(run.config, run.manifest, run.metrics) if work is None else work)
            records.append(old | record)
            test, fold = tests[tuple(place.values())], place.get("fold")
            trained.append((fold, trained_cell(place, record, run, test, tuple(comparison["data"]["classes"]))))
            if "group" in test:
                of_test[fold] = test["group"].to_numpy()
        reference, may_have_groups = references(comparison["rows"]), _may_have_groups(comparison)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunError(f"{folder} is not a complete comparison: {type(error).__name__}: {error}") from error
    whole, folds = pooled(trained, comparison.get("folds"))
    groups = np.concatenate([of_test[fold] for fold in sorted(of_test, key=lambda f: f or 0)]) if of_test else None
    if groups is None and may_have_groups:
        _log.warning("this comparison has no groups of its patches: its intervals and tests are over patches")
    comparison |= {"landsift": __version__, "cells": records}
    return comparison | compare_cells(whole, reference.get, rule, groups, folds)


def pooled(
    trained: Sequence[tuple[int | None, Cell]], folds: int | None
) -> tuple[list[Cell], NDArray[np.int64] | None]:
    """The trials of all folds of a cross-validation as one, which predicts every patch once; and each patch's fold.

    Compute, seconds and validation results are those of all folds together. A row of which a fold has failed is left
    out at that budget and seed, with a warning.

    Args:
        trained: the fold of each trial, from 0, and the trial.
        folds: how many there are; None: the trials as they are, and None.

    Raises:
        RunError: no row has all of its folds.
    """
    if folds is None:
        return [cell for _, cell in trained], None
    by_place: dict[tuple[str, int, int], dict[int, Cell]] = {}
    for fold, cell in trained:
        by_place.setdefault((cell.row, cell.budget, cell.seed), {})[fold or 0] = cell
    whole = [[found[fold] for fold in range(folds)] for found in by_place.values() if len(found) == folds]
    if (lacking := len(by_place) - len(whole)) > 0:
        _log.warning("%d rows lack a fold at a budget and seed, and are left out there", lacking)
    if not whole:
        raise RunError("no row has been trained on all folds", "look at why trials failed")
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


def _may_have_groups(comparison: Mapping[str, Any]) -> bool:
    """Whether the patches came from a table, which may have named their groups."""
    kind = comparison["config"]["data"]["split"]["kind"]
    return kind == "group" or Path(comparison["data"]["source"]).suffix.lower() in {".csv", ".parquet"}


def references(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The linear probe of each row's variant, by the row's name; rows as comparison.json has them."""
    rows = list(rows)
    probes = {row["variant"]: row["name"] for row in rows if row["strategy"] == PROBE}
    return {row["name"]: probes[row["variant"]] for row in rows if row["variant"] in probes}


def record_of(run: runs.Run, work: float) -> dict[str, Any]:
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


def trained_cell(
    place: Mapping[str, Any], record: Mapping[str, Any], run: runs.Run, test: pd.DataFrame, classes: tuple[str, ...]
) -> Cell:
    """A training as `compare_cells` takes it.

    Args:
        place: its `row`, `budget`, `seed` and, in a cross-validation, `fold`.
        record: `record_of` it.
        run: its files.
        test: one row per test patch: label, predicted.
        classes: K names.

    Raises:
        KeyError: a label is of another class.
    """
    return Cell(
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


def folder_of_cell(place: Mapping[str, Any]) -> str:
    """Where a training's files lie below `cells`, such as "linear_probe/500-seed0" or, of a fold, "...-seed0-fold0"."""
    fold = f"-fold{place['fold']}" if "fold" in place else ""
    return f"{folder_of(place['row'])}/{place['budget']}-seed{place['seed']}{fold}"


def folder_of(name: str) -> str:
    """A row's name as that of a folder: what no file system takes becomes a dash."""
    return re.sub(r"[^\w.,-]+", "-", name)
