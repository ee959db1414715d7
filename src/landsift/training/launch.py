"""Starting the processes of a training on this machine, and waiting for them.

torch's elastic agent starts fresh Python processes, watches them, and ends all of them when one fails. What ended it
comes back as the error it was.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift import errors
from landsift.errors import LandsiftError, ProcessError, RunError
from landsift.runtime import surroundings
from landsift.runtime.interruption import ENDING, STATUS, Terminated

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

logger = logging.getLogger("landsift")

MEETING = 900
"""Seconds that nodes wait for each other at the start."""


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
        return ProcessError(f"{who} was ended by {failure.signal_name()}", hint)
    return ProcessError(f"{who} exited with {failure.exitcode}", _last_line(logs, failure.local_rank))


def _last_line(logs: Path, local_rank: int) -> str:
    """The last line that a process wrote to standard error; "" where it went to this process's."""
    for file in logs.glob(f"**/{local_rank}/stderr.log"):
        lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
    return ""
