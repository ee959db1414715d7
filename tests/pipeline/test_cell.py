"""A comparison's trainings are alike in all that is not compared."""

import json

import pytest
from pipeline_helpers import TINY

from landsift.config import RunConfig
from landsift.data.store.patch_store import build_store
from landsift.pipeline.comparison.cell import train_here
from landsift.training import precision


@pytest.mark.parametrize(("asked", "compiled_from"), [("auto", None), ("true", 0)])
def test_cells_do_not_choose_their_arithmetic_by_timing(asked, compiled_from, tmp_path, monkeypatch):
    """Some of them would be compiled after a slow epoch, and others not."""
    monkeypatch.setattr(precision, "PAYS_AFTER", 0.0)
    monkeypatch.setattr(precision, "can_compile", lambda: True)
    monkeypatch.setattr("torch.nn.Module.compile", lambda self, **kwargs: None)
    phases = "strategy=[{epochs: 2, lr_head: 5.0e-3, blocks: all, lr_backbone: 1.0e-3}]"
    settings = [*TINY, phases, f"training.compile={asked}", "training.accelerator=cpu"]
    config = RunConfig.load(None, settings)
    build_store(config.data, tmp_path / "store")
    train_here(config, tmp_path / "store", tmp_path / "cell", "a cell", "a comparison")
    hardware = json.loads((tmp_path / "cell" / "manifest.json").read_text())["hardware"]
    assert hardware["compiled_from_epoch"] == compiled_from
