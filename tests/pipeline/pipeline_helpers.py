"""Processes that run the pipeline on tiny data, as a user's commands would."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import landsift

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
LIBRARIES = ["torch", "torchvision", "timm", "lightning.pytorch", "sklearn.manifold", "torchmetrics", "pandas"]


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


class Processes:
    """Runs of the pipeline in processes that share one cache folder.

    `source` holds the package that runs. `fork` saves the seconds that loading torch takes: each process is forked
    from one that has loaded it, and nothing of landsift.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.person = folder / "person"
        self.person.mkdir()
        self.started: list[subprocess.Popen[str]] = []
        self._fork = multiprocessing.get_context("forkserver")
        self._fork.set_forkserver_preload(LIBRARIES)

    def run(self, *steps: dict[str, Any], cwd: Path | None = None) -> Outcome:
        """Take the steps of `pipeline_process.py` in one process, as a person starts it."""
        start = time.monotonic()
        process = self.start(steps, cwd=cwd)
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        return Outcome([json.loads(line) for line in output.splitlines()], errors, time.monotonic() - start)

    def start(self, steps: Sequence[dict[str, Any]], cwd: Path | None = None) -> "subprocess.Popen[str]":
        """Start such a process."""
        program = [sys.executable, str(Path(__file__).with_name("pipeline_process.py")), json.dumps(steps)]
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.started.append(subprocess.Popen(program, env=self._env(PACKAGE.parent), cwd=cwd or self.folder, **pipes))
        return self.started[-1]

    def end(self) -> None:
        """End what still runs after a test that failed."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def fork(self, *steps: dict[str, Any], source: Path = PACKAGE.parent) -> Outcome:
        """Take the steps in a forked process."""
        from pipeline_process import forked

        start = time.monotonic()
        answer, question = self._fork.Pipe(duplex=False)
        errors = self.folder / f"errors-{start}.txt"
        arguments = (list(steps), self._env(source), str(self.folder), str(errors), question)
        process = self._fork.Process(target=forked, args=arguments)
        process.start()
        question.close()
        process.join(120)
        assert process.exitcode == 0, errors.read_text()
        return Outcome(answer.recv(), errors.read_text(), time.monotonic() - start)

    def _env(self, source: Path) -> dict[str, str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "FLYTE", "DO_NOT_TRACK"))}
        return env | {"LANDSIFT_HOME": str(self.home), "HOME": str(self.person), "PYTHONPATH": str(source)}
