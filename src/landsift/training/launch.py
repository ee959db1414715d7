"""Starting the processes of a training on this machine, and waiting for them.

torch's elastic agent starts fresh Python processes, watches them, and ends all of them when one fails. What ended it
comes back as the error it was.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift import errors, runs
from landsift.config import RunConfig, TrainingConfig
from landsift.errors import ConfigError, LandsiftError, RunError
from landsift.runtime import surroundings
from landsift.runtime.interruption import ENDING, STATUS, Terminated, interruptible

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    from landsift.data.store.patch_store import PatchStore

logger = logging.getLogger("landsift")

MEETING = 900
"""Seconds that nodes wait for each other at the start."""
LOOK_EVERY = 1.0
"""Seconds between looks at metrics.json for the tracking."""
TRACKED = ("epoch", "phase", "train_loss", "val_loss", "val_acc", "lr_head", "lr_backbone")


def needed(settings: TrainingConfig) -> bool:
    """Whether this process has to start others to train: several are asked for, and it is not one of them."""
    return settings.devices * settings.num_nodes > 1 and not surroundings.in_rank()


def train(
    config: RunConfig,
    store: PatchStore,
    folder: Path,
    experiment: Any | None = None,
    repeats: Mapping[str, Any] | None = None,
) -> None:
    """Train in `training.devices` processes; the first writes what `fit.train` does.

    With `training.num_nodes` above 1 this is for the first node; the others call `join`.

    Args:
        config: the complete configuration.
        store: the decoded patches; the processes open it anew.
        folder: where the files go.
        experiment: a Weights & Biases run, which stays in this process and is fed from metrics.json;
            or None.
        repeats: as in `fit.train`.

    Raises:
        LandsiftError: what one of the processes raised.
        RunError: one of them died, or raised something else.
        Terminated: a signal has come that ends it.
    """
    check_devices(config.training)
    if node_rank(config.training):
        raise ConfigError("NODE_RANK is not 0 here, but the first node alone writes a run", "call join on other nodes")
    try:
        with _following(folder / runs.METRICS, experiment, config):
            _train_along(config, store, folder, repeats)
    finally:
        shutil.rmtree(folder / runs.FEATURES, ignore_errors=True)  # which a process that was killed leaves behind


def join(config: RunConfig, store: PatchStore) -> None:
    """Take part in a training as another node than the first; write nothing.

    Raises:
        LandsiftError: as `train`.
    """
    check_devices(config.training)
    with (
        interruptible(),
        surroundings.alone("training"),
        surroundings.as_guest(surroundings.MEETING),
        tempfile.TemporaryDirectory(prefix="landsift-") as folder,
    ):
        _train_along(config, store, Path(folder))


def check_devices(settings: TrainingConfig) -> None:
    """Refuse more processes than there are GPUs, and nodes that cannot know of each other.

    Raises:
        ConfigError: too few GPUs, or MASTER_ADDR, MASTER_PORT and NODE_RANK are not set.
    """
    import torch

    from landsift.training.distributed import on_gpu

    if settings.accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError(
            f"training.devices is {settings.devices} with training.accelerator gpu, but torch sees no CUDA or ROCm GPU",
            "use training.accelerator=cpu, or one device",
        )
    if on_gpu(settings) and settings.devices > torch.cuda.device_count():
        raise ConfigError(
            f"training.devices is {settings.devices}, but this machine has {torch.cuda.device_count()} GPUs",
            "lower training.devices, or set training.accelerator=cpu",
        )
    node_rank(settings)


def node_rank(settings: TrainingConfig) -> int:
    """The number of this node, from $NODE_RANK; 0 where there is one node.

    Raises:
        ConfigError: there are several, and NODE_RANK, MASTER_ADDR or MASTER_PORT is missing or wrong.
    """
    if settings.num_nodes == 1:
        return 0
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if not os.environ.get(name)]
    if missing:
        raise ConfigError(
            f"training.num_nodes is {settings.num_nodes}, but {', '.join(missing)} is not set",
            "set address and a free port of the first node, and this node's number from 0 (docs/scaling.md)",
        )
    number, port = os.environ["NODE_RANK"], os.environ["MASTER_PORT"]
    if not number.isdecimal() or int(number) >= settings.num_nodes or not port.isdecimal():
        raise ConfigError(
            f"NODE_RANK={number} and MASTER_PORT={port} do not fit training.num_nodes={settings.num_nodes}",
            f"NODE_RANK is a number from 0 to {settings.num_nodes - 1}, MASTER_PORT a port",
        )
    return int(number)


def _train_along(config: RunConfig, store: PatchStore, folder: Path, repeats: Mapping[str, Any] | None = None) -> None:
    from landsift.models import own_networks
    from landsift.training import worker

    with tempfile.TemporaryDirectory(prefix="landsift-") as scratch:
        task = Path(scratch) / "task.json"
        level = logger.getEffectiveLevel()
        asked = {
            "config": own_networks.by_file(config).to_dict(),
            "store": str(store.folder),
            "folder": str(folder),
            "level": level,
        }
        runs.write_json(task, asked | {"root": store.info["root"], "repeats": repeats and dict(repeats)})
        run_ranks(["-m", worker.__name__, str(task)], config.training.devices, config.training.num_nodes)


def run_ranks(arguments: Sequence[str], devices: int, nodes: int = 1) -> None:
    """Run `python ARGUMENTS` in `devices` processes here, each with its RANK and WORLD_SIZE, until all have ended.

    The first process of each node shares this one's standard output and error, the others' are kept for the reason of
    a failure. A process names its reason with `worker.reporting`.

    Args:
        arguments: of Python.
        devices: processes on this machine.
        nodes: machines; with more than one, $MASTER_ADDR, $MASTER_PORT and $NODE_RANK say where and which.

    Raises:
        LandsiftError: what a process reported.
        RunError: a process died or ended with another error, or the nodes did not come together.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    rank = 0
    place: dict[str, Any] = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "local_addr": "127.0.0.1"}
    if nodes > 1:
        rank = int(os.environ["NODE_RANK"])
        endpoint = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        place = {"rdzv_backend": "static", "rdzv_endpoint": endpoint, "rdzv_configs": {"rank": rank}}
        place["rdzv_configs"]["timeout"] = MEETING
    stopped: int | None = None
    with tempfile.TemporaryDirectory(prefix="landsift-") as scratch, _environment(devices), _own_signals(), _quiet():
        kept = dict.fromkeys(range(1, devices), Std.ALL) or Std.NONE
        launch = LaunchConfig(
            min_nodes=nodes,
            max_nodes=nodes,
            nproc_per_node=devices,
            run_id="landsift",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(scratch, redirects=kept),
            # Not SIGINT: a second one, while the agent ends its processes for the first, would leave some at work.
            signals_to_handle=",".join(s.name for s in (*ENDING, signal.SIGQUIT)),
            **place,
        )
        try:
            elastic_launch(launch, sys.executable)(*arguments)
        except SignalException as error:
            stopped = error.sigval
        except ChildFailedError as error:
            if all(failure.exitcode == STATUS for failure in error.failures.values()):
                raise Terminated from None
            raise _cause(error.failures, devices * nodes, Path(scratch)) from None
        except (RendezvousError, RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())[:300]
            where = f"at {place['rdzv_endpoint']} within {MEETING} s" if nodes > 1 else "on this machine"
            raise RunError(f"the training processes could not meet {where}: {reason}", "is the address free?") from None
    if stopped in ENDING:
        raise Terminated(stopped)
    if stopped is not None:  # as it would have been without the agent in between
        signal.raise_signal(stopped)
        raise KeyboardInterrupt


@contextlib.contextmanager
def _environment(devices: int) -> Iterator[None]:
    """What the processes inherit."""
    before = dict(os.environ)
    os.environ.update(surroundings.environment_for(devices))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Put back the signal handlers that the agent replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.getsignal(s) for s in (*ENDING, signal.SIGQUIT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The agent logs what it does to failing processes; the error that is raised says it all."""
    import torch.distributed.elastic as agent

    names = [name for name in logging.Logger.manager.loggerDict if name.startswith(agent.__name__)]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _cause(failures: dict[int, ProcessFailure], world: int, logs: Path) -> LandsiftError:
    """The error that ended the training: one failing process takes others along, which then fail in their own ways."""

    def order(item: tuple[int, ProcessFailure]) -> tuple[int, float]:
        report = item[1].error_file_data.get("landsift")
        if report:
            return (0 if report["kind"] else 2), report["time"]
        # Without a report it died; by SIGTERM most likely at the agent's hands, because of another.
        return (3 if item[1].exitcode == -signal.SIGTERM else 1), 0.0

    rank, failure = min(failures.items(), key=order)
    report = failure.error_file_data.get("landsift")
    who = f"training process {rank} of {world}"
    if report:
        if not report["kind"]:
            logger.debug("%s", report["traceback"])
        return errors.from_record(report, who)
    if failure.exitcode < 0:
        hint = "did memory run out? a smaller training.batch_size or fewer training.devices need less"
        return RunError(f"{who} was ended by {failure.signal_name()}", hint)
    return RunError(f"{who} ended with status {failure.exitcode}", _last_line(logs, failure.local_rank))


def _last_line(logs: Path, local_rank: int) -> str:
    """The last line that a process wrote to standard error; "" where it went to this process's."""
    for file in logs.glob(f"**/{local_rank}/stderr.log"):
        lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
    return ""


@contextlib.contextmanager
def _following(metrics: Path, experiment: Any | None, config: RunConfig) -> Iterator[None]:
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
                experiment.log({key: row[key] for key in TRACKED})
            logged = len(rows)

    thread = threading.Thread(target=follow, name="landsift-tracking", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
