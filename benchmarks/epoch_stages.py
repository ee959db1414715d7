"""Where the time of a training epoch goes: how much of it is outside the network's forward and backward pass?

    python benchmarks/epoch_stages.py --store STORE [--image-size 64] [--batch-size 64] [--epochs 3]
                                      [--set key=value]... [--json FILE]

STORE is what `landsift data build` made. `train` runs as it is for users, with a profiler in Lightning's trainer that
charges every moment to the innermost thing that runs: Lightning names its own steps and each callback, and what
landsift does to a batch is wrapped. So the stages add up to the epochs' time, from an epoch's first callback to the
next one's (checkpoints and history included), and nothing counts twice. The first epoch is left out.

In: forward and backward of the network. Counted apart: the optimizer's step, and validation with all in it. Out: the
rest, that is batches, augmentation, resizing, normalisation, the loss, averaged weights, callbacks, checkpoints and
Lightning's loop. On a GPU the device is waited for at every change of stage, which takes away the overlap; the last
lines compare with the same epochs without a profiler.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import logging
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import common
from landsift.runtime.threads import spin_briefly

spin_briefly()  # as the command line does, before torch is loaded

STRATEGY = "strategy=[{name: everything, epochs: EPOCHS, blocks: all, lr_head: 1.0e-4, lr_backbone: 1.0e-5}]"
BATCH_WORK = (
    ("landsift.training.views", ("flips_and_turns", "augment")),
    ("landsift.training.module", ("mix",)),
    ("landsift.models.preprocess", ("to_float", "resize")),
)
"""What is called on a batch before the network sees it, by module."""
STAGES = {
    "batch indexing": r"train_dataloader_next",
    "to the device": r"batch_to_device|transfer_batch|batch_transfer",
    "flips and turns": r"^flips_and_turns$",
    "jitter, crops, mixing": r"^(augment|mix)$",
    "to float": r"^to_float$",
    "resize": r"^resize$",
    "normalisation": r"^normalize$",
    "forward": r"^forward$",
    "loss and rest of the step": r"training_step",
    "backward": r"\[Strategy\].*\.backward",
    "optimizer": r"\.optimizer_step|optimizer_zero_grad|lr_scheduler_step",
    "averaged weights": r"PatchModule\.on_train_batch_end",
    "validation": r"^validation$",
    "checkpoints": r"Checkpoint|save_checkpoint",
    "other callbacks": r"\[Callback\]",
    "Lightning's loop": r"",
}
"""Stages and the names that Lightning's profiler and ours give to what belongs to them; the first that fits."""
IN, APART = ("forward", "backward"), ("optimizer", "validation")


class ExclusiveTimes:
    """Seconds by what ran, charged to the innermost; validation is one thing with all that is in it."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self.wait = wait
        self.epoch = -1
        self.seconds: dict[tuple[int, str], float] = defaultdict(float)
        self._stack: list[str] = []
        self._last = 0.0

    def start(self, name: str) -> None:
        self.charge()
        self._stack.append(name)

    def stop(self) -> None:
        self.charge()
        self._stack.pop()

    def charge(self) -> None:
        """Charge the time since the last change to what ran."""
        self.wait()
        now = time.perf_counter()
        innermost = "validation" if "validation" in self._stack else (self._stack or ["outside"])[-1]
        self.seconds[self.epoch, innermost] += now - self._last
        self._last = now

    @contextmanager
    def during(self, name: str) -> Iterator[None]:
        self.start(name)
        try:
            yield
        finally:
            self.stop()

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.during(name):
                return function(*args, **kwargs)

        return timed


def train_and_time(config: Any, store: Any) -> tuple[ExclusiveTimes, list[dict[str, Any]]]:
    """Train with every stage timed; the times, and the rows of metrics.json."""
    import lightning as L
    import torch
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.profilers import Profiler

    from landsift.training import start

    times = ExclusiveTimes(torch.cuda.synchronize if torch.cuda.is_available() else lambda: None)

    class Exclusive(Profiler):
        def start(self, action_name: str) -> None:
            times.start(action_name)

        def stop(self, action_name: str) -> None:
            times.stop()

    class Watch(Callback):
        """Stands before all other callbacks."""

        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            validation = trainer.fit_loop.epoch_loop.val_loop
            validation.run = times.wrap("validation", validation.run)
            classifier = pl_module.classifier
            for name, part in (("forward", classifier), ("normalize", pl_module.preprocess.normalize)):
                part.register_forward_pre_hook(lambda *_, name=name: times.start(name))
                part.register_forward_hook(lambda *_: times.stop())

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            times.charge()
            times.epoch = trainer.current_epoch

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            times.charge()
            times.epoch = -1

    plain = L.Trainer
    modules = [(importlib.import_module(module), names) for module, names in BATCH_WORK]
    originals = [(module, name, getattr(module, name)) for module, names in modules for name in names]

    def trainer_with_profiler(*args: Any, callbacks: list[Any], **kwargs: Any) -> Any:
        return plain(*args, callbacks=[Watch(), *callbacks], profiler=Exclusive(), **kwargs)

    try:
        L.Trainer = trainer_with_profiler
        for module, name, function in originals:
            setattr(module, name, times.wrap(name, function))
        with tempfile.TemporaryDirectory(prefix="landsift-bench-") as scratch:
            return times, start.train(config, store, Path(scratch) / "run").metrics
    finally:
        L.Trainer = plain
        for module, name, function in originals:
            setattr(module, name, function)


def stages_of(times: ExclusiveTimes, epochs: int) -> dict[str, float]:
    """Seconds per epoch by stage, as the mean over all epochs but the first."""
    counted = range(min(1, epochs - 1), epochs)
    seconds = dict.fromkeys(STAGES, 0.0)
    for (epoch, name), spent in times.seconds.items():
        if epoch in counted:
            stage = next(stage for stage, pattern in STAGES.items() if re.search(pattern, name))
            seconds[stage] += spent / len(counted)
    return seconds


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    common.import_timm()
    from landsift.config import RunConfig
    from landsift.data.store.patch_store import PatchStore
    from landsift.training.start import train

    store = PatchStore.open(arguments.store)
    settings = [
        f"training.image_size={arguments.image_size}",
        f"training.batch_size={arguments.batch_size}",
        f"model.backbone={arguments.backbone}",
        f"model.weights={arguments.weights}",
        "tracking.tsne_every=0",
        STRATEGY.replace("EPOCHS", str(arguments.epochs)),
        *arguments.set,
    ]
    config = RunConfig.load(None, settings)
    times, rows = train_and_time(config, store)
    with tempfile.TemporaryDirectory(prefix="landsift-bench-") as scratch:
        run = train(config, store, Path(scratch) / "run")
        bare, split = run.metrics, run.manifest["data"]["split"]

    seconds = stages_of(times, len(rows))
    training = sum(seconds.values()) - seconds["validation"]
    outside = training - sum(seconds[name] for name in (*IN, "optimizer"))
    return {
        "config": config.to_dict(),
        "images": split,
        "precision": run.manifest["hardware"]["precision"],
        "seconds": seconds,
        "training_seconds": training,
        "optimizer_share": seconds["optimizer"] / training,
        "outside_share": outside / training,
        "outside_share_with_optimizer": (outside + seconds["optimizer"]) / training,
        "epoch_seconds": {
            "timed": common.steady([row["seconds"] for row in rows]),
            "without the profiler": common.steady([row["seconds"] for row in bare]),
        },
        "actions": {
            name: spent
            for (epoch, name), spent in sorted(times.seconds.items(), key=lambda item: -item[1])
            if epoch == len(rows) - 1
        },
    }


def show(result: dict[str, Any]) -> None:
    training = result["training_seconds"]
    rows = []
    for name, spent in result["seconds"].items():
        kind = "in" if name in IN else "apart" if name in APART else "out"
        share = "–" if name == "validation" else f"{100 * spent / training:.1f} %"
        rows.append((name, kind, f"{spent:.3f}", share))
    print(common.table(("stage", "", "s per epoch", "share of training"), rows))
    images = result["images"]
    print(f"training: {training:.2f} s for {images['train']:,} patches, {images['train'] / training:,.0f} images/s")
    print(f"outside forward and backward: {100 * result['outside_share']:.1f} %", end=", ")
    print(f"and the optimizer {100 * result['optimizer_share']:.1f} %")
    for name, spent in result["epoch_seconds"].items():
        print(f"an epoch with its validation, {name}: {spent:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, metavar="STORE")
    parser.add_argument("--image-size", type=int, default=64, help="of the network's input in pixels")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--weights", default="none", help="random will do: they do not change the time")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    result = measure(arguments)
    show(result)
    common.write_json(arguments.json, result)


if __name__ == "__main__":
    main()
