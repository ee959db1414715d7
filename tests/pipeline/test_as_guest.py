"""`landsift.run` in somebody's program, beside somebody's batch system."""

import io
import json
import logging
import os
import random
import signal
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
from pipeline_helpers import TINY
from wandb_offline import read_offline_run

from foreign_variables import FOREIGN, OF_FLYTE
from landsift.config import RunConfig, cache_folder
from landsift.errors import RunError
from landsift.pipeline.run import run
from landsift.runtime import surroundings

CONFIG = RunConfig.load(None, [*TINY, "tracking.wandb=offline", "training.accelerator=cpu", "training.precision=32"])


class Tee:
    """What scripts put in place of standard error to have it in a file as well."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


def surrounding():
    return {
        "environment": dict(os.environ),
        "filters": [*warnings.filters],
        "root": (logging.root.level, [*logging.root.handlers]),
        "ours": (logging.getLogger("landsift").level, [*logging.getLogger("landsift").handlers]),
        "signals": {s: signal.getsignal(s) for s in signal.valid_signals()},
        "threads": torch.get_num_threads(),
        "path": [*sys.path],
        "stderr": sys.stderr,
        "hooks": (sys.excepthook, threading.excepthook),
    }


def drawn():
    return random.random(), float(np.random.random()), float(torch.rand(1))  # noqa: NPY002 (the global one)


def result(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    return (
        [{k: v for k, v in row.items() if "seconds" not in k} for row in metrics],
        (folder / "evaluation.json").read_text(),
        (folder / "predictions.parquet").read_bytes(),
        (folder / "model" / "model.safetensors").read_bytes(),
    )


def history(home):
    (folder,) = (home / "tracking" / "wandb").glob("offline-run-*")
    kept = ("train_loss_step", "train_loss", "val_loss", "val_acc", "epoch", "trainer/global_step")
    return [{k: row[k] for k in kept if k in row} for row in read_offline_run(folder)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run in a program that has drawn random numbers; what was there before and after, and its result."""
    folder = tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANDSIFT_HOME", str(folder / "home"))
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(1)
        expected = drawn()
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(1)
        before = surrounding()
        run(CONFIG, folder / "out")
        return folder, before, surrounding(), (expected, drawn())


def test_a_run_leaves_its_callers_program_as_it_was(plain):
    _, before, after, (expected, drawn) = plain
    assert after == before
    assert drawn == expected


def test_a_run_beside_a_batch_system_and_without_a_real_standard_error_is_the_same(plain, tmp_path, monkeypatch):
    """Every launcher's and Flyte's variables at once, Lightning loaded under them, and a Tee for standard error."""
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    for name, value in (FOREIGN | OF_FLYTE).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LANDSIFT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(rank_zero_only, "rank", 3)
    tee = Tee()
    monkeypatch.setattr(sys, "stderr", tee)
    finished = run(CONFIG, tmp_path / "out")
    assert result(finished.path) == result(plain[0] / "out")
    assert history(tmp_path / "home") == history(plain[0] / "home")
    assert len(history(tmp_path / "home")) > 1
    assert rank_zero_only.rank == 3
    assert "Traceback" not in tee.text


def test_what_wandbs_variables_ask_for_is_said_to_be_unused(caplog):
    from landsift.pipeline import tracking

    with caplog.at_level("INFO", logger="landsift"):
        tracking.say_what_is_unused(CONFIG.tracking, surroundings.wandb_variables(FOREIGN))
    (said,) = caplog.messages
    assert "WANDB_RUN_ID" in said
    assert "WANDB_SWEEP_ID" in said
    assert "WANDB_SERVICE" not in said


def test_a_second_run_in_the_same_process_is_refused_before_anything_is_written(tmp_path):
    """Two in two threads disturb each other's random numbers, and the result would be kept under the right key."""
    errors = []

    def second():
        try:
            run(CONFIG, tmp_path / "out")
        except RunError as error:
            errors.append(error)

    with surroundings.alone("landsift run"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert "another landsift run is active in this process" in errors[0].message
    assert list(tmp_path.iterdir()) == []
    assert list(cache_folder().iterdir()) == []


@pytest.mark.parametrize("stderr", [None, io.StringIO()])
def test_without_a_standard_error_there_is_an_error_all_the_same(tmp_path, monkeypatch, capsys, stderr):
    if stderr is not None:
        stderr.close()
    monkeypatch.setattr(sys, "stderr", stderr)
    (tmp_path / "full").touch()
    with pytest.raises(RunError, match="not empty"):
        run(CONFIG, tmp_path)
    assert sys.stderr is stderr
    assert capsys.readouterr().out == ""
