"""How many cores there are to work with, and how torch's threads wait for each other."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

SPINS = "1000"
THREADS = "OMP_NUM_THREADS"
_CPU = ("cpu", "cpu,cpuacct", "cpuacct,cpu")
"""Names of the folder that version 1 of cgroups is mounted at for the processor."""

_settled = False
"""Whether the number of threads in the environment is ours."""
_forked = False
"""Whether this process was forked from one that had loaded torch."""


def settle() -> None:
    """Settle how many threads torch will have and how they wait; to be called before torch is loaded.

    What the user has set in the environment stays.
    """
    global _settled
    spin_briefly()
    if THREADS not in os.environ and cores() < _allowed():
        os.environ[THREADS] = str(cores())  # torch counts the machine's cores, and knows of no quota
        _settled = True


def _note_fork() -> None:
    global _forked
    _forked = "torch" in sys.modules


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def after_fork() -> None:
    """Have torch compute in one thread where this process was forked from one that had loaded it.

    A fork copies no thread but its own, and torch would wait for the others for ever.
    """
    global _forked
    if not _forked:
        return
    _forked = False
    import torch

    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)
        logging.getLogger("landsift").warning(
            "this process was forked from one that had loaded torch, and has none of its threads: it computes in one; "
            "multiprocessing.get_context('spawn') starts processes that have all"
        )


def given() -> int:
    """Threads to compute in: as the environment says, else a thread for each core."""
    text = os.environ.get(THREADS, "").split(",")[0].strip()
    return int(text) if text.isdecimal() and int(text) > 0 else cores()


def share(processes: int) -> str:
    """Threads for each of several processes side by side, as text for their environments.

    What the user has set in this one's stays.
    """
    given = os.environ.get(THREADS)
    return str(max(1, cores() // processes)) if given is None or _settled else given


def spin_briefly() -> None:
    """Have waiting threads look for work for some microseconds and then sleep; to be called before torch is loaded.

    By default they spin for milliseconds, which slows a machine that does other work as well; to sleep at once slows an
    idle one, because a small network's step is hundreds of short waits (benchmarks/thread_waiting.py,
    docs/results-speed.md). What the user has set in the environment stays.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS


def cores(root: Path = Path("/")) -> int:
    """How many cores this process may use: those that it may run on, and no more than its quota of time pays for.

    A quota is what containers and batch systems set by cgroups of version 1 (`cpu.cfs_quota_us`) or 2 (`cpu.max`). A
    part of a core counts as one.

    Args:
        root: of the file system that says so.
    """
    return max(1, min([_allowed(), *(math.ceil(quota) for quota in _quotas(root))]))


def _allowed() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """The quotas, in cores, of this process's cgroups and of those above them."""
    mounted = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0":  # version 2, which may be mounted beside version 1
            for folder in _upwards(mounted, group):
                yield from _quota(*_text(folder / "cpu.max").split()[:2])
            for folder in _upwards(mounted / "unified", group):
                yield from _quota(*_text(folder / "cpu.max").split()[:2])
        elif "cpu" in controllers.split(","):
            for name in _CPU:
                for folder in _upwards(mounted / name, group):
                    yield from _quota(_text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us"))


def _upwards(mounted: Path, group: str) -> Iterator[Path]:
    """The folders of a group and of those above it; of a group that is named from outside a container, its own."""
    parts = [part for part in group.split("/") if part not in {"", "..", "."}]
    for count in range(len(parts), -1, -1):
        yield mounted.joinpath(*parts[:count])


def _quota(time: str = "", period: str = "") -> Iterator[float]:
    """Cores, of microseconds that may be used in each period of so many; none where there is no limit."""
    time, period = time.strip(), period.strip()
    if time.isdecimal() and period.isdecimal() and int(time) > 0 and int(period) > 0:
        yield int(time) / int(period)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
