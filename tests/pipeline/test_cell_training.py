"""A comparison's trainings are alike in all that is not compared."""

import json

import pytest
from pipeline_helpers import TINY

from landsift.config import RunConfig
from landsift.data.store import build_store
from landsift.pipeline.cell_training import train_here
from landsift.training import arithmetic


@pytest.mark.parametrize(("asked", "used"), [("auto", "32-true"), ("bf16", "bf16-mixed")])
def test_cells_do_not_choose_their_arithmetic_by_timing(asked, used, tmp_path, monkeypatch):
    """Beside other work a trial batch took one of 88 cells to bfloat16."""
    monkeypatch.setattr(arithmetic, "has_bfloat16", lambda device: True)
    monkeypatch.setattr(arithmetic, "WORTH_MEASURING", 0.0)
    monkeypatch.setattr(arithmetic, "WINS", 1e9)
    config = RunConfig.load(None, [*TINY, f"training.precision={asked}", "training.accelerator=cpu"])
    build_store(config.data, tmp_path / "store")
    train_here(config, tmp_path / "store", tmp_path / "cell", "a cell", "a comparison")
    hardware = json.loads((tmp_path / "cell" / "manifest.json").read_text())["hardware"]
    assert hardware["precision"] == used
    assert hardware["precision_trials"] == {}
