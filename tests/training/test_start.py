"""A training in several processes leaves one run, goes on after an interruption, and is refused where it cannot be."""

import json
import os
import signal
import threading
import time

import distributed_process
import pytest
import torch
from interruptions import assert_equal
from small_runs import small, train

from landsift.config import RunConfig
from landsift.data.store.patch_store import PatchStore, build_store
from landsift.errors import ConfigError
from landsift.evaluation.complete_run import complete_run
from landsift.runtime.interruption import Terminated
from landsift.training import launch, start

SCRIPT = distributed_process.__file__


# The whole way


class Recorded:
    """Stands in for a Weights & Biases run."""

    def __init__(self):
        self.config = self
        self.logged = []

    def setdefaults(self, values):
        assert values["training"]["devices"] == 2

    def log(self, values):
        self.logged.append(values)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return build_store(configured().data, tmp_path_factory.mktemp("store") / "s")


def configured(*changes: str) -> RunConfig:
    settings = (
        "data.synthetic.patches=132",
        "training.batch_size=4",
        "training.devices=2",
        "training.ema=0.9",
        "training.augment.color_jitter=[0, 0, 0, 0]",
        "strategy=[{epochs: 1, lr_head: 5.0e-3}, {epochs: 1, lr_head: 2.0e-3, lr_backbone: 2.0e-3, blocks: all}]",
    )
    return small(*settings, *changes)


def test_two_processes_leave_one_complete_run(store, tmp_path):
    experiment = Recorded()
    run = train(configured(), store, tmp_path / "r", experiment)
    assert run.config == configured()
    assert [row["epoch"] for row in run.metrics] == [0, 1]
    best = run.metrics[run.manifest["best"]["epoch"]]
    assert run.evaluation["val"]["accuracy"] == pytest.approx(best["val_acc"], abs=1e-6)
    assert run.embeddings.groupby("epoch").size().to_dict() == {0: 30, 1: 30}
    assert len(run.checkpoints) == 2
    assert [phase["feature_seconds"] is not None for phase in run.manifest["phases"]] == [True, False]
    assert not (run.path / "features").exists()
    assert [row["val_loss"] for row in experiment.logged if "val_loss" in row] == [r["val_loss"] for r in run.metrics]


# Interruptions


def test_two_processes_go_on_together_to_the_same_bits(tmp_path):
    """SIGTERM of one is for both, at the same step; each has its own random numbers and batch norms."""
    config = configured(
        "strategy=[{epochs: 1, lr_head: 5.0e-3, blocks: 1, lr_backbone: 1.0e-3},"
        "{epochs: 2, lr_head: 2.0e-3, lr_backbone: 2.0e-3, blocks: all}]",
        "training.augment.mixup=0.2",
        "training.early_stopping={patience: 9}",
    )
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    build_store(config.data, tmp_path / "store")
    launch.run_ranks([SCRIPT, "interrupted_in_two", str(tmp_path)], devices=2)
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == ["3", "3"]
    for name in ("again", "whole"):
        complete_run(config, PatchStore.open(tmp_path / "store"), tmp_path / name)
    assert_equal(tmp_path / "again", tmp_path / "whole")


def test_sigterm_ends_all_processes_with_a_checkpoint(store, tmp_path):
    """It comes to the one that waits for them, or to a whole group of processes at once."""
    config = configured("strategy=[{epochs: 2000, lr_head: 5.0e-3}]")

    def terminate():
        while not (tmp_path / "r" / "checkpoints" / "last.ckpt").is_file():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=terminate, daemon=True).start()
    with pytest.raises(Terminated):
        train(config, store, tmp_path / "r")
    assert signal.getsignal(signal.SIGTERM) == before
    saved = torch.load(tmp_path / "r" / "checkpoints" / "last.ckpt", weights_only=True)
    rows = json.loads((tmp_path / "r" / "metrics.json").read_text())
    done = saved["landsift"]["steps"]
    assert (saved["epoch"], len(saved["landsift"]["ranks"])) == (len(rows) - (done is None), 2)


# Nodes and GPUs


def test_a_node_that_does_not_know_its_place_is_an_error(store, tmp_path, monkeypatch):
    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    config = configured("training.num_nodes=2")
    with pytest.raises(ConfigError, match="MASTER_ADDR, MASTER_PORT, NODE_RANK is not set"):
        train(config, store, tmp_path / "r")
    for name, value in (("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "29500"), ("NODE_RANK", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="NODE_RANK is a number from 0 to 1"):
        start.join(config, store)
    monkeypatch.setenv("NODE_RANK", "1")
    with pytest.raises(ConfigError, match="only the first node writes a run"):
        train(config, store, tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_gpus_that_are_not_there_are_an_error(store, tmp_path):
    with pytest.raises(ConfigError, match="torch sees no CUDA or ROCm GPU"):
        train(configured("training.accelerator=gpu"), store, tmp_path / "r")
