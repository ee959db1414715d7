"""Several processes train what one with their joint batch would; what ends one of them ends all, and is told."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import distributed_process
import pytest
import torch
from interruptions import assert_equal
from small_runs import small, train

from landsift.config import RunConfig, TrainingConfig
from landsift.data.store.patch_store import PatchStore, build_store
from landsift.errors import ConfigError, ModelError, RunError
from landsift.evaluation.complete_run import complete_run
from landsift.runtime.interruption import Terminated
from landsift.runtime.threads import cores
from landsift.training import launch, worker
from landsift.training.distributed import SyncBatchNorm, lr_factor, scale_rates, weighted_mean
from landsift.training.phases import STRATEGIES

SCRIPT = distributed_process.__file__


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two ranks held after their trainings."""
    folder = tmp_path_factory.mktemp("ranks")
    launch.run_ranks([SCRIPT, "train_in_two", str(folder)], devices=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


@pytest.mark.parametrize("backbone", ["test_convnext", "test_efficientnet"])
def test_ranks_hold_the_same_weights_and_history_to_the_last_bit(ranks, backbone):
    first, second = (rank[backbone] for rank in ranks)
    assert [k for k, v in first["weights"].items() if not torch.equal(v, second["weights"][k])] == []
    assert first["rows"] == second["rows"]
    assert first["files"] == ["metrics.json"]
    assert second["files"] == []


def test_two_ranks_train_what_one_process_with_their_joint_batch_trains(ranks, tmp_path):
    alone, rows, kept = distributed_process.trained(tmp_path, "test_convnext", batch_size=8, devices=1)
    together = ranks[0]["test_convnext"]
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(together["weights"][name], value, atol=2e-5, rtol=1e-3, msg=name)
    for ours, theirs in zip(together["rows"], rows, strict=True):
        assert ours == {k: v if isinstance(v, str) else pytest.approx(v, rel=1e-4) for k, v in theirs.items()}
    assert torch.equal(together["kept"][0], kept[0])
    torch.testing.assert_close(together["kept"][1], kept[1], atol=1e-4, rtol=1e-3)
    assert ranks[1]["test_convnext"]["kept"] is None


def test_the_first_ranks_choice_is_everyones(ranks):
    assert [rank["from_first"] for rank in ranks] == ["rank 0", "rank 0"]


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


# What goes wrong


def start(what: str, folder: Path) -> None:
    launch.run_ranks([SCRIPT, what, str(folder)], devices=2)


def test_an_error_for_people_comes_back_as_itself(tmp_path):
    with pytest.raises(ModelError) as caught:
        start("raise_known", tmp_path)
    assert (caught.value.message, caught.value.hint) == ("the loss is no longer a number", "lower the rates")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (
            "raise_unknown",
            r"training process 1 of 2 failed: ZeroDivisionError: what was that\nit happened at .*\.py:\d+",
        ),
        ("die", "training process 1 of 2 was ended by SIGKILL\ndid memory run out"),
        pytest.param(
            "leave", "training process 1 of 2 ended with status 3\nno space left on device", marks=pytest.mark.slow
        ),
    ],
)
def test_a_process_that_fails_ends_the_others_and_is_named(tmp_path, what, message):
    began = time.monotonic()
    with pytest.raises(RunError, match=message):
        start(what, tmp_path)
    assert time.monotonic() - began < 60


def test_afterwards_signals_and_environment_are_as_before(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    before = dict(os.environ), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    start("environment", tmp_path)
    assert (dict(os.environ), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert (tmp_path / "1.txt").read_text() == "3"  # the user's word counts
    monkeypatch.delenv("OMP_NUM_THREADS")
    start("environment", tmp_path)
    assert int((tmp_path / "1.txt").read_text()) == max(1, cores() // 2)


def test_ranks_import_nothing_from_the_working_folder(tmp_path, monkeypatch):
    """Whose random.py would be run by each of them, in place of Python's."""
    for name in ("random", "json", "logging", "signal", "numpy", "torch"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    with pytest.raises(RunError, match=r"no-task\.json"):  # which a rank looks for when it has imported what it needs
        launch.run_ranks(["-m", worker.__name__, "no-task.json"], devices=2)
    assert not (tmp_path / "ran").exists()


def test_an_interruption_ends_the_ranks_and_interrupts_the_caller(tmp_path):
    code = f"""if True:
        import distributed_process
        from landsift.training import launch, worker
        try:
            launch.run_ranks([{SCRIPT!r}, "wait", {str(tmp_path)!r}], devices=2)
        except KeyboardInterrupt:
            print("interrupted")
    """
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=Path(SCRIPT).parent, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    while len(list(tmp_path.glob("*.pid"))) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == b"interrupted\n"
    for file in tmp_path.glob("*.pid"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.stem), 0)


# Nodes


def on_two_nodes(what: str, folder: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    nodes = [
        subprocess.Popen(
            [sys.executable, SCRIPT, what, str(folder)],
            env=os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": str(number)},
        )
        for number in (0, 1)
    ]
    assert [node.wait(timeout=60) for node in nodes] == [0, 0]


def test_two_nodes_meet_where_master_addr_says(tmp_path):
    on_two_nodes("one_node", tmp_path)
    assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {"0.txt": "3.0 of 2", "1.txt": "3.0 of 2"}


def test_other_nodes_get_the_first_ones_checkpoint_to_go_on_from(tmp_path):
    """They have no folder of their own from one attempt to the next."""
    for node in (0, 1):
        (tmp_path / f"node-{node}" / "checkpoints").mkdir(parents=True)
    for name in ("last.ckpt", "settled.json"):
        (tmp_path / "node-0" / "checkpoints" / name).write_text(f"the first's {name}")
    on_two_nodes("one_node_of_shared", tmp_path)
    found = {f.name: f.read_text() for f in (tmp_path / "node-1" / "checkpoints").iterdir()}
    assert found == {name: f"the first's {name}" for name in ("last.ckpt", "settled.json")}


def test_a_node_that_does_not_know_its_place_is_an_error(store, tmp_path, monkeypatch):
    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    config = configured("training.num_nodes=2")
    with pytest.raises(ConfigError, match="MASTER_ADDR, MASTER_PORT, NODE_RANK is not set"):
        train(config, store, tmp_path / "r")
    for name, value in (("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "29500"), ("NODE_RANK", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="NODE_RANK is a number from 0 to 1"):
        launch.join(config, store)
    monkeypatch.setenv("NODE_RANK", "1")
    with pytest.raises(ConfigError, match="the first node alone writes a run"):
        train(config, store, tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_gpus_that_are_not_there_are_an_error(store, tmp_path):
    with pytest.raises(ConfigError, match="torch sees no CUDA or ROCm GPU"):
        train(configured("training.accelerator=gpu"), store, tmp_path / "r")


# Sums and rates


def test_a_mean_is_weighted_by_patches_not_by_batches():
    values = [torch.tensor([1.0, 0.0]), torch.tensor([4.0, 1.0])]
    assert weighted_mean(values, [2, 1]) == pytest.approx([2.0, 1 / 3])


@pytest.mark.parametrize(("scaling", "factor"), [("none", 1.0), ("linear", 4.0), ("sqrt", 2.0)])
def test_rates_grow_with_the_patches_per_step(scaling, factor):
    settings = TrainingConfig(batch_size=32, devices=4, num_nodes=2, lr_scaling=scaling)
    assert lr_factor(settings) == factor
    head, tune = scale_rates(STRATEGIES["two_phase"], factor)
    assert (head.lr_head, head.lr_backbone) == (2e-3 * factor, 0.0)
    assert (tune.lr_head, tune.lr_backbone, tune.lr_min) == (1e-4 * factor, 1e-5 * factor, 1e-6 * factor)
    assert replace(tune, lr_head=1e-4, lr_backbone=1e-5, lr_min=1e-6) == STRATEGIES["two_phase"][1]


def test_batch_norms_over_all_gpus_keep_timms_activations():
    """torch's own conversion makes of a batch norm with activation one without."""
    from landsift.config import ModelConfig
    from landsift.models.backbone import create_backbone

    network = create_backbone(ModelConfig(backbone="test_efficientnet", weights="none"), 32).network.eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        before = network(images)
        names, parameters = list(network.state_dict()), [id(p) for p in network.parameters()]
        converted = SyncBatchNorm().apply(network)
        assert torch.equal(converted(images), before)
    assert any(isinstance(m, torch.nn.SyncBatchNorm) for m in converted.modules())
    assert list(converted.state_dict()) == names
    assert [id(p) for p in converted.parameters()] == parameters
