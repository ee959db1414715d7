"""Comparisons: what trains, what is kept, what a failure, a dead process and an interrupt leave behind."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from pipeline_helpers import TINY

from landsift.config import cache_folder
from landsift.engine import EngineOptions
from landsift.errors import DataError, ModelError, RunError
from landsift.pipeline.comparison.compare import run_grid, submit_comparison
from landsift.pipeline.comparison.grid import Grid, load_base
from landsift.pipeline.comparison.progress import Progress

OWN = (
    "strategies={quick: [{name: head, epochs: 1, lr_head: 0.002}], "
    "all: [{name: all, epochs: 1, lr_head: 0.002, blocks: all, lr_backbone: 0.001}], "
    "twin: [{name: head, epochs: 1, lr_head: 0.002}], "
    "bad: [{name: bad, epochs: 3, lr_head: 1.0e+30, blocks: all, lr_backbone: 1.0e+30}], "
    "long: [{name: long, epochs: 100000, lr_head: 0.002}]}"
)
COMPARED = [s for s in TINY if not s.startswith("strategy=")]


def grid(strategies=("quick", "all"), budgets=(12, 24), seeds=(0,), *settings):
    base, _ = load_base(None, [*COMPARED, OWN])
    return Grid.of(base.replace(*settings), strategies, budgets, seeds)


def cell_processes() -> list[int]:
    """Processes that train cells into this test's cache folder; other comparisons may run beside it."""
    home, found = f"LANDSIFT_HOME={cache_folder()}".encode(), []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                trains = b"spawn_main" in (folder / "cmdline").read_bytes()
                if trains and home in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def files_of(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_comparison_trains_each_cell_once_and_never_again(tmp_path, caplog):
    caplog.set_level(logging.INFO, "landsift")
    first = run_grid(grid(), tmp_path / "out", EngineOptions(workers=2))
    assert [c["cached"] for c in first.data["cells"]] == [False] * 4
    assert "quick, 12 labels, seed 0: " in caplog.text
    assert "4 of 4" in caplog.text
    cells = [f"{r}/{b}-seed0/{f}" for r in ("all", "quick") for b in (12, 24)
             for f in ("config.yaml", "evaluation.json", "manifest.json", "metrics.json")]  # fmt: skip
    tables = ["cells.csv", "pairs.csv", "per_class.csv", "strategies.csv"]
    others = ["comparison.json", "config.yaml", "predictions.parquet", "report.html"]
    assert files_of(first.path) == sorted([*(f"cells/{c}" for c in cells), *tables, *others])
    kept = {p.name for p in (cache_folder() / "cells").glob("*/*")}
    assert kept == {"config.yaml", "evaluation.json", "manifest.json", "metrics.json", "predictions.parquet",
                    "stage.json"}  # fmt: skip

    found = first.data
    assert found["budgets"] == [12, 24]
    assert found["data"]["split"] == {"train": 36, "val": 12, "test": 12}
    assert {r["row"]: r["trainable"] for r in found["results"]}.keys() == {"quick", "all"}
    predictions = pd.read_parquet(first.path / "predictions.parquet")
    assert len(predictions) == 4 * 12
    for cell in found["cells"]:
        rows = predictions.query("row == @cell['row'] and budget == @cell['budget']")
        assert (rows["label"].astype(str) == rows["predicted"].astype(str)).mean() == pytest.approx(cell["accuracy"])
    assert len({tuple(g["path"]) for _, g in predictions.groupby(["row", "budget"], observed=True)}) == 1

    again = run_grid(grid(), tmp_path / "out")  # the same folder: an older comparison is replaced
    assert [c["cached"] for c in again.data["cells"]] == [True] * 4
    assert again.data["results"] == found["results"]
    more = run_grid(grid(seeds=(0, 1), budgets=(12,)), tmp_path / "more")
    assert [(c["row"], c["seed"], c["cached"]) for c in more.data["cells"]] == [
        ("quick", 0, True),
        ("all", 0, True),
        ("quick", 1, False),
        ("all", 1, False),
    ]


def test_seeds_share_the_test_patches_and_draw_their_own_labels(tmp_path):
    from landsift.data.splits import make_split
    from landsift.data.store.patch_store import PatchStore

    compared = run_grid(grid(("quick",), (12, 24), (0, 1)), tmp_path / "out")
    store = PatchStore.open(next((cache_folder() / "stores").iterdir()))
    splits = {}
    for cell in grid(("quick",), (12, 24), (0, 1)).cells:
        data = cell.config.data
        splits[cell.budget, cell.seed] = make_split(store, data.split, data.budget, data.budget_seed)
    assert len({tuple(s.test) for s in splits.values()}) == 1
    assert set(splits[12, 0].train) < set(splits[24, 0].train)
    assert set(splits[12, 0].train) != set(splits[12, 1].train)
    assert compared.data["seeds"] == [0, 1]


def test_a_cell_that_fails_is_named_and_the_others_go_on(tmp_path, caplog):
    compared = run_grid(grid(("quick", "bad")), tmp_path / "out")
    states = {(c["row"], c["budget"]): c for c in compared.data["cells"]}
    assert {k: c["state"] for k, c in states.items()} == {
        ("quick", 12): "done",
        ("quick", 24): "done",
        ("bad", 12): "failed",
        ("bad", 24): "failed",
    }
    assert "the loss is not finite" in states["bad", 12]["reason"]
    assert "\n" not in states["bad", 12]["reason"]
    assert "bad, 12 labels, seed 0 failed: " in caplog.text
    assert "the loss is not finite" in (tmp_path / "out" / "report.html").read_text()
    with pytest.raises(RunError, match=r"all 1 trials failed; the first: .*the loss is not finite"):
        run_grid(grid(("bad",), (12,)), tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")
def test_a_process_that_dies_is_replaced_and_its_training_repeated(tmp_path):
    killed = []

    def kill_one() -> None:
        while not killed:
            for pid in cell_processes():
                if any((cache_folder() / "unfinished").glob("*")):  # it has begun to train
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    return
            time.sleep(0.01)

    thread = threading.Thread(target=kill_one, daemon=True)
    thread.start()
    compared = run_grid(grid(), tmp_path / "out", EngineOptions(workers=2))
    thread.join()
    assert killed
    assert [c["state"] for c in compared.data["cells"]] == ["done"] * 4
    assert cell_processes() == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")
def test_an_interrupted_comparison_goes_on_where_it_stopped(tmp_path):
    settings = [part for s in [*COMPARED, OWN] for part in ("--set", s)]

    def command(strategies):
        options = ["--budgets", "12", "--seeds", "0", "--workers", "2", "--out", str(tmp_path / "out"), "--json"]
        return [sys.executable, "-m", "landsift", "compare", "--strategies", strategies, *options, *settings]

    with subprocess.Popen(command("quick,long"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("quick, 12 labels, seed 0: "):
                break
        training = cell_processes()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert training
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "interrupted", errors
    assert not (tmp_path / "out").exists()
    assert cell_processes() == []
    assert len([p for p in (cache_folder() / "cells").iterdir() if not p.name.startswith(".")]) == 1
    done = subprocess.run(command("quick,all"), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert (found["cached"], found["trained"], found["failed"]) == (1, 1, [])


def test_what_cannot_be_had_is_refused_before_anything_trains(tmp_path):
    with pytest.raises(DataError, match="1000 is more than the 36 patches in train"):
        run_grid(grid(budgets=(12, 1000)), tmp_path / "out")
    with pytest.raises(DataError, match="all labels of the training split are 36"):
        run_grid(grid(budgets=(36, None)), tmp_path / "out")
    with pytest.raises(ModelError, match="no_such_net"):
        run_grid(grid(("quick",), (12,), (0,), "model.backbone=no_such_net"), tmp_path / "out")
    assert not (cache_folder() / "cells").exists()
    assert list(tmp_path.iterdir()) == []


def test_equal_strategies_of_two_names_are_trained_once(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(Progress, "started", lambda _, label: started.append(label))
    compared = run_grid(grid(("quick", "twin"), (12,)), tmp_path / "out", EngineOptions(workers=2))
    assert started == ["quick, 12 labels, seed 0"]
    first, second = compared.data["cells"]
    assert first["accuracy"] == second["accuracy"]


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    out = tmp_path / "out"
    run_grid(grid(("quick",), (12,)), out)
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match=r"also thesis\.txt"):
        run_grid(grid(("quick",), (12,)), out)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty"):
        run_grid(grid(("quick",), (12,)), tmp_path / "full")
    assert (out / "thesis.txt").read_text() == "mine"


def test_a_damaged_result_in_the_cache_is_made_again(tmp_path):
    run_grid(grid(("quick",), (12,)), tmp_path / "out")
    (file,) = (cache_folder() / "cells").glob("*/evaluation.json")
    file.unlink()
    again = run_grid(grid(("quick",), (12,)), tmp_path / "again")
    assert [c["cached"] for c in again.data["cells"]] == [False]


def test_a_comparison_can_be_sent_to_a_cluster(tmp_path):
    remote = tmp_path / "flyte.yaml"
    remote.write_text("admin:\n  endpoint: dns:///127.0.0.1:9\n  insecure: true\n")
    base, _ = load_base(None, ["model.weights=none"])
    bundle = submit_comparison(Grid.of(base, ["full"], [100]), remote, bundle_to=tmp_path)
    assert Path(bundle).is_file()
