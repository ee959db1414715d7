"""Cross-validation, end to end: every patch is tested once, and the folder says so and can be evaluated again."""

import json
import logging

import numpy as np
import pandas as pd
import pytest
from pipeline_helpers import TINY
from test_assemble import OWN

from landsift.errors import ConfigError, RunError
from landsift.evaluation.comparison import Cell as Trained
from landsift.evaluation.finished_comparison import evaluated_again, pooled
from landsift.pipeline.comparison.compare import compare
from landsift.pipeline.comparison.grid import Grid, load_base


def test_a_cross_validation_tests_every_patch_once(tmp_path, monkeypatch):
    monkeypatch.setenv("LANDSIFT_HOME", str(tmp_path / "home"))
    settings = [s for s in TINY if not s.startswith("strategy=")]
    base, _ = load_base(None, [*settings, OWN, "training.accelerator=cpu"])
    found = compare(base, tmp_path / "out", strategies=["quick", "all"], seeds=[0], folds=3, workers=1)
    data = found.data
    assert data["folds"] == 3
    assert [cell["state"] for cell in data["cells"]] == ["done"] * 6
    assert sorted(cell["fold"] for cell in data["cells"]) == [0, 0, 1, 1, 2, 2]
    table = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    for _, of_row in table.groupby("row", observed=True):
        assert sorted(of_row["path"]) == sorted(set(table["path"]))
        assert len(of_row) == data["data"]["patches"] == 60
    right = table["label"].astype(str) == table["predicted"].astype(str)
    for result in data["results"]:
        assert result["accuracy"] == pytest.approx(right[table["row"] == result["row"]].mean())
        assert result["covers"] == "folds"
    assert data["pairs"][0]["test"] == "folds"
    again = evaluated_again(tmp_path / "out")
    assert again["results"] == data["results"]
    assert again["pairs"] == data["pairs"]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "3 folds" in page
    assert "Every patch is a test patch in one fold" in page
    assert "fold" in (tmp_path / "out" / "cells.csv").read_text().splitlines()[0].split(",")


def test_a_grid_of_folds_is_written_and_read_and_one_without_is_as_before():
    base, _ = load_base(None, [*TINY])
    grid = Grid.of(base, ["linear_probe"], [None], [0, 1], folds=4)
    assert len(grid.cells) == 8
    assert len({cell.label for cell in grid.cells}) == 8
    assert Grid.from_json(grid.to_json()) == grid
    assert [split.fold for split in grid.splits] == [0, 1, 2, 3]
    plain = Grid.of(base, ["linear_probe"], [None], [0])
    assert json.loads(plain.to_json())["folds"] is None
    assert plain.cells[0].config.data.split == base.data.split


def cell(row, fold, patches):
    labels = np.arange(patches) % 2
    return fold, Trained(row, 20, 0, labels, labels, np.eye(2), ("a", "b"), 10.0, 1.0 + fold, 10, 100)


def test_a_row_that_lacks_a_fold_is_left_out_and_that_is_said(caplog):
    trained = [cell("quick", 1, 6), cell("all", 0, 5), cell("quick", 0, 5)]
    with caplog.at_level(logging.WARNING, "landsift"):
        [whole], folds = pooled(trained, 2)
    assert (whole.row, whole.work, whole.train_seconds, whole.validation.sum()) == ("quick", 20.0, 3.0, 4)
    assert folds.tolist() == [0] * 5 + [1] * 6
    assert whole.labels.tolist() == [*np.arange(5) % 2, *np.arange(6) % 2]
    assert "1 rows lack a fold" in caplog.text
    with pytest.raises(RunError, match="no row has been trained on all folds"):
        pooled(trained, 3)


def test_another_number_of_folds_in_the_configuration_is_refused():
    base, _ = load_base(None, [*TINY, "data.split.folds=4", "data.split.fold=1"])
    with pytest.raises(ConfigError, match=r"3 folds and data\.split\.folds=4"):
        Grid.of(base, ["linear_probe"], folds=3)
    assert [split.fold for split in Grid.of(base, ["linear_probe"], folds=4).splits] == [0, 1, 2, 3]


def test_lists_and_rows_have_no_folds():
    base, _ = load_base(None, [*TINY, "data.split.rows=a.csv"])
    with pytest.raises(ConfigError, match="a given split has no folds"):
        Grid.of(base, ["linear_probe"], folds=3)
