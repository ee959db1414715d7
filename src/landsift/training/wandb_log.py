"""What Weights & Biases is told of a training."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from landsift.config import RunConfig

LOOK_EVERY = 1.0
"""Seconds between looks at metrics.json of a training in other processes."""
UNTRACKED = frozenset({"phase_name", "seconds", "val_seconds"})
"""What of a row of metrics.json is not for W&B."""


def logger_of(experiment: Any | None, config: RunConfig) -> Any:
    """Lightning's logger into a W&B run, or False where there is none."""
    if experiment is None:
        return False
    from lightning.pytorch.loggers import WandbLogger

    experiment.config.setdefaults(config.to_dict())  # whoever made the run may know more of it than a training does
    return WandbLogger(experiment=experiment, log_model=False)


@contextlib.contextmanager
def following(metrics: Path, experiment: Any | None, config: RunConfig) -> Iterator[None]:
    """Log the rows of metrics.json to W&B as they appear, in a thread."""
    if experiment is None:
        yield
        return
    experiment.config.setdefaults(config.to_dict())
    before = json.loads(metrics.read_text(encoding="utf-8")) if metrics.is_file() else []  # of an earlier attempt
    ended = threading.Event()

    def follow() -> None:
        logged, last = len(before), False
        while not last:
            last = ended.wait(LOOK_EVERY)  # look once more after the end
            rows = json.loads(metrics.read_text(encoding="utf-8")) if metrics.is_file() else []
            for row in rows[logged:]:
                experiment.log({key: value for key, value in row.items() if key not in UNTRACKED})
            logged = len(rows)

    thread = threading.Thread(target=follow, name="landsift-tracking", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
