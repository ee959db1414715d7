"""Processes that run the pipeline on tiny data, as a user's commands would."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import landsift
from landsift.config import RunConfig

TINY = (
    "data.synthetic.patches=60",
    "data.synthetic.size=16",
    "model.backbone=test_efficientnet",
    "model.weights=none",
    "strategy=[{name: head, epochs: 1, lr_head: 0.002}]",
    "training.image_size=32",
    "training.batch_size=16",
    "tracking.tsne_every=0",
    "tracking.wandb=disabled",
)
PACKAGE = Path(landsift.__file__).parent


@pytest.fixture
def tiny() -> RunConfig:
    return RunConfig.load(None, TINY)


class Processes:
    """Runs of the pipeline in processes that share one cache folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"

    def run(self, *steps: dict[str, Any], cwd: Path | None = None, source: Path = PACKAGE.parent) -> "Outcome":
        """Take the steps of `pipeline_process.py` in one process; `source` holds the package that runs."""
        start = time.monotonic()
        process = self.start(steps, cwd=cwd, source=source)
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        return Outcome([json.loads(line) for line in output.splitlines()], errors, time.monotonic() - start)

    def start(
        self, steps: Sequence[dict[str, Any]], cwd: Path | None = None, source: Path = PACKAGE.parent
    ) -> "subprocess.Popen[str]":
        env = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "FLYTE", "DO_NOT_TRACK"))}
        cwd = cwd or self.folder
        (self.folder / "person").mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("pipeline_process.py")), json.dumps(steps)],
            env=env | {"LANDSIFT_HOME": str(self.home), "HOME": str(self.folder / "person"), "PYTHONPATH": str(source)},
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


class Outcome:
    """What the steps of one process said."""

    def __init__(self, steps: list[dict[str, Any]], errors: str, seconds: float) -> None:
        self.steps = steps
        self.errors = errors
        self.seconds = seconds

    @property
    def cached(self) -> list[tuple[bool, bool]]:
        """Per step: whether the store and the training came from the cache."""
        stages = [step["stages"] for step in self.steps]
        return [(s["load_dataset"]["cached"], s["train_model"]["cached"]) for s in stages]


@pytest.fixture
def processes(tmp_path) -> Processes:
    return Processes(tmp_path)
