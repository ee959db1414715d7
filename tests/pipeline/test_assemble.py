"""A finished comparison is evaluated again under other rules, from its folder alone."""

import json
import logging
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pipeline_helpers import TINY
from typer.testing import CliRunner

from landsift import runs
from landsift.cli.main import app
from landsift.data.store.patch_store import build_store
from landsift.errors import ConfigError, RunError
from landsift.evaluation.finished_comparison import evaluated_again
from landsift.evaluation.recommendation import Rule
from landsift.pipeline.comparison.assemble import assemble
from landsift.pipeline.comparison.cell import train_here
from landsift.pipeline.comparison.grid import Grid, load_base
from landsift.reports.comparison.files import write_figures

OWN = (
    "strategies={quick: [{name: head, epochs: 1, lr_head: 0.002}], "
    "all: [{name: all, epochs: 1, lr_head: 0.002, blocks: all, lr_backbone: 0.001}]}"
)
TABLES = {"strategies.csv", "per_class.csv", "pairs.csv", "cells.csv"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A comparison of two strategies with two seeds on a table with groups, one training of which has failed."""
    folder = tmp_path_factory.mktemp("compared")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(80):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        rows.append({"path": f"{i}.png", "label": "ab"[i % 2], "group": f"scene {i // 4}"})
    pd.DataFrame(rows).to_csv(folder / "patches.csv", index=False)
    settings = [s for s in TINY if not s.startswith("strategy=")]
    base, _ = load_base(None, [*settings, OWN, f"data.source={folder / 'patches.csv'}", "training.accelerator=cpu"])
    grid = Grid.of(base, ["quick", "all"], [20], [0, 1])
    build_store(base.data, folder / "store")
    cells, states = [], []
    for i, cell in enumerate(grid.cells):
        if (cell.row.name, cell.seed) == ("all", 1):
            states.append({"folder": None, "reason": "out of memory", "cached": False})
            continue
        train_here(cell.config, folder / "store", folder / f"cell{i}", cell.label, "group")
        states.append({"folder": len(cells), "reason": None, "cached": False})
        cells.append(folder / f"cell{i}")
    outline = {"grid": grid.to_json(), "states": states}
    return assemble(folder / "out", folder / "store", cells, outline, ["landsift", "compare"], Rule())


@pytest.fixture
def folder(made, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(made, tmp_path / "out")


def read(folder):
    return json.loads((folder / runs.COMPARISON).read_text())


def of_before(folder):
    """Make of it what an older landsift wrote: no rule, no work, no groups, nothing of the validation."""
    comparison = read(folder)
    for key in ("rule", "groups", "patches", "results", "pairs", "trends", "recommendations", "findings"):
        del comparison[key]
    for cell in comparison["cells"]:
        for key in ("work", "val_accuracy"):
            cell.pop(key, None)
    runs.write_json(folder / runs.COMPARISON, comparison)
    predictions = pd.read_parquet(folder / runs.PREDICTIONS).drop(columns="group")
    runs.write_parquet(folder / runs.PREDICTIONS, predictions)


def test_groups_work_and_validation_stand_in_the_comparison(made):
    found = read(made)
    assert found["groups"] == found["patches"] / 4
    assert {r["covers"] for r in found["results"]} == {"seeds and groups", "groups"}
    assert found["rule"] == {"criterion": "accuracy", "margin": 0.01, "alpha": 0.05}
    done = [cell for cell in found["cells"] if cell["state"] == "done"]
    assert all(cell["work"] > 0 and 0 <= cell["val_accuracy"] <= 1 for cell in done)
    work = {r["row"]: r["work"] for r in found["results"]}
    assert work["all"] > work["quick"]
    assert set(pd.read_parquet(made / runs.PREDICTIONS).columns) >= {"row", "path", "predicted", "group"}


def test_the_same_rule_gives_the_same_figures(made):
    assert evaluated_again(made) == read(made)


def test_a_folder_of_before_gets_the_same_choice_over_patches_and_says_so(made, folder, caplog):
    of_before(folder)
    with caplog.at_level(logging.WARNING, "landsift"):
        again = evaluated_again(folder)
    assert "has no groups of its patches" in caplog.text
    first = read(made)
    assert again["groups"] is None
    for name in ("accuracy", "validation", "work", "train_seconds", "f1"):
        assert [r[name] for r in again["results"]] == [r[name] for r in first["results"]]
    assert [r["best"] for r in again["recommendations"]] == [r["best"] for r in first["recommendations"]]
    assert [c for c in again["cells"] if c["state"] == "failed"] == [
        c for c in first["cells"] if c["state"] == "failed"
    ]


def test_another_criterion_and_margin_are_kept_and_nothing_is_written_before_they_are_known(folder):
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    with pytest.raises(ConfigError, match="unknown criterion 'f1'"):
        evaluated_again(folder, {"criterion": "f1"})
    again = evaluated_again(folder, {"criterion": "macro_f1", "margin": 0.05})
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before
    write_figures(folder, again)
    assert read(folder)["rule"] == {"criterion": "macro_f1", "margin": 0.05, "alpha": 0.05}
    assert evaluated_again(folder, {"margin": 0.02})["rule"]["criterion"] == "macro_f1"
    changed = {p.name for p in folder.iterdir() if p.is_file() and p.read_bytes() != before[p.name]}
    assert {"comparison.json", "report.html"} <= changed <= {"comparison.json", "report.html", *TABLES}
    assert "Sorted by test macro F1, the highest first" in (folder / "report.html").read_text()


def test_what_is_missing_or_broken_is_named(folder):
    comparison = read(folder)
    cells = [{k: v for k, v in cell.items() if k != "seed"} for cell in comparison["cells"]]
    for broken in (
        comparison | {"data": comparison["data"] | {"classes": ["x", "y"]}},
        {k: v for k, v in comparison.items() if k != "rows"},
        comparison | {"rule": "accuracy"},
        comparison | {"cells": cells},
    ):
        runs.write_json(folder / runs.COMPARISON, broken)
        with pytest.raises(RunError, match="is not a complete comparison"):
            evaluated_again(folder)
    runs.write_json(folder / runs.COMPARISON, comparison)
    (folder / "cells" / "quick" / "20-seed0" / "evaluation.json").unlink()
    with pytest.raises(RunError, match=r"quick/20-seed0/evaluation\.json is missing"):
        evaluated_again(folder)
    (folder / runs.PREDICTIONS).unlink()
    with pytest.raises(RunError, match=r"cannot read .*predictions\.parquet"):
        evaluated_again(folder)


def test_the_command_evaluates_a_folder_again_or_writes_its_page_elsewhere(folder, tmp_path):
    def report(*arguments, status=0):
        done = CliRunner().invoke(app, ["report", *map(str, arguments)])
        assert done.exit_code == status, done.output
        return done

    of_before(folder)
    page = tmp_path / "page.html"
    report(folder, "--out", page, "--margin", "3")
    assert "at most 3 points worse" in page.read_text()
    assert "rule" not in read(folder)
    found = json.loads(report(folder, "--criterion", "balanced_accuracy", "--json").stdout)
    assert found["recommendations"] == read(folder)["recommendations"]
    assert read(folder)["rule"]["criterion"] == "balanced_accuracy"
    assert "val_balanced_accuracy" in (folder / "strategies.csv").read_text()
    run = folder / "cells" / "quick" / "20-seed0"
    assert "is not a comparison" in report(run, "--criterion", "macro_f1", status=2).stderr
