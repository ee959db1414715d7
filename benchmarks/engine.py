"""What the engine costs: the trials of a comparison, empty tasks, and a scheduler with very many workers.

    python benchmarks/engine.py compare [--workers 2] [--json FILE]
    python benchmarks/engine.py tasks [--workers 2] [--tasks 2000]
    python benchmarks/engine.py scheduler [--simulated 10 100 1000] [--tasks 5000]

`compare` trains 24 small trials (4 strategies, 2 budgets, 3 seeds, generated patches of 16 pixels) with the command and
prints the time of the whole, and what each trial takes beside its own seconds. An older landsift is measured with
PYTHONPATH set to its source. `tasks` starts an engine on this machine and
runs tasks that do nothing. `scheduler` starts a scheduler in a process of its own, and workers that share one event
loop in another: they answer each task without a thread or a process of their own, so that the scheduler is what is
measured. Processor seconds are given beside wall seconds, because they depend less on what else a machine does.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import common

TINY = (
    "data.source=synthetic",
    "data.synthetic.patches=60",
    "data.synthetic.size=16",
    "model.backbone=test_resnet",
    "model.weights=none",
    "training.image_size=32",
    "training.batch_size=16",
    "tracking.tsne_every=0",
    "tracking.wandb=disabled",
    "strategies={" + ", ".join(f"s{n}: [{{name: head, epochs: 1, lr_head: 0.00{n}}}]" for n in range(1, 5)) + "}",
)


def empty(number: int) -> int:
    return number


class _Processors(threading.Thread):
    """Adds up the processor seconds of a process and all below it, looked at four times a second: some are never waited
    for, so that the kernel's own sum lacks them."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.used, self.most = pid, {}, 0

    def run(self) -> None:
        while Path(f"/proc/{self.pid}").exists():
            found = common._tree(self.pid)
            self.most = max(self.most, len(found))
            for pid in found:
                with contextlib.suppress(OSError, IndexError):  # it has ended since
                    self.used[pid] = _processor_seconds_of(pid)
            time.sleep(0.25)


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    settings = [part for setting in TINY for part in ("--set", setting)]
    grid = [
        "--strategies",
        "s1,s2,s3,s4",
        "--budgets",
        "12,24",
        "--seeds",
        "0,1,2",
        "--workers",
        str(arguments.workers),
    ]
    with tempfile.TemporaryDirectory(prefix="landsift-engine-") as folder:
        command = [sys.executable, "-m", "landsift", "compare", "--out", f"{folder}/out", *grid, *settings]
        began = time.perf_counter()
        process = subprocess.Popen(command, env=os.environ | {"LANDSIFT_HOME": f"{folder}/home"}, stdout=sys.stderr)
        watch = _Processors(process.pid)
        watch.start()
        if process.wait():
            sys.exit(process.returncode)
        wall = time.perf_counter() - began
        files = Path(folder, "home", "cells").glob("*/stage.json")
        trials = sorted(json.loads(file.read_text())["seconds"] for file in files)
    return {
        "trials": len(trials),
        "workers": arguments.workers,
        "wall_seconds": round(wall, 1),
        "processor_seconds": round(sum(watch.used.values()), 1),
        "processes": watch.most,
        "median_seconds_of_a_trial": statistics.median(trials),
        "overhead_seconds_per_trial": round((wall * arguments.workers - sum(trials)) / len(trials), 2),
    }


def tasks(arguments: argparse.Namespace) -> dict[str, Any]:
    from landsift import engine

    began = time.perf_counter()
    with engine.open(workers=arguments.workers) as e:
        list(e.unordered(empty, range(2)))
        started = time.perf_counter() - began
        list(e.unordered(empty, range(100)))
        began, used = time.perf_counter(), time.process_time()
        count = sum(1 for _ in e.unordered(empty, range(arguments.tasks)))
        wall, processor = time.perf_counter() - began, time.process_time() - used
        memory = [round(common._kib(pid, "smaps_rollup", "Pss:") / 1024) for pid in common._tree(os.getpid())]
        began = time.perf_counter()
    return {
        "workers": arguments.workers,
        "start_seconds": round(started, 2),
        "tasks_per_second": round(count / wall),
        "client_and_scheduler_processor_ms_per_task": round(1000 * processor / count, 2),
        "mib_of_each_process": memory,
        "end_seconds": round(time.perf_counter() - began, 2),
    }


def scheduler(arguments: argparse.Namespace) -> dict[str, Any]:
    return {str(count): _simulated(count, arguments.tasks) for count in arguments.simulated}


def _simulated(count: int, tasks: int) -> dict[str, float]:
    """Tasks per second of a scheduler with so many workers, and how busy it is."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "scheduler.json")
        where = [
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--dashboard-address",
            "127.0.0.1:0",
            "--scheduler-file",
            str(file),
        ]
        run = "from distributed.cli.dask_scheduler import main; main()"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started = [subprocess.Popen([sys.executable, "-c", run, *where], **quiet)]
        try:
            while not file.exists():
                time.sleep(0.1)
            address = json.loads(file.read_text())["address"]
            began = time.perf_counter()
            started.append(subprocess.Popen([sys.executable, __file__, "workers", address, str(count)], **quiet))
            from distributed import Client

            with Client(address, set_as_default=False) as client:
                client.wait_for_workers(count, timeout=600)
                joined = time.perf_counter() - began
                client.gather(client.map(empty, range(2 * count), pure=False))
                used = _processor_seconds_of(started[0].pid)
                began = time.perf_counter()
                client.gather(client.map(empty, range(tasks), pure=False))
                wall = time.perf_counter() - began
                busy = _processor_seconds_of(started[0].pid) - used
        finally:
            for process in started:
                process.kill()
                process.wait()
    return {
        "joined_after_seconds": round(joined, 1),
        "tasks_per_second": round(tasks / wall),
        "scheduler_processor_ms_per_task": round(1000 * busy / tasks, 3),
    }


def _processor_seconds_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def workers(address: str, count: int) -> None:
    """Workers in one event loop: of a task they run the function at once, in the loop."""
    import dask
    from dask.local import SynchronousExecutor
    from distributed import Worker

    logging.disable(logging.CRITICAL)
    # What a worker's process does for itself, a thousand in one would do a thousand times.
    dask.config.set({"distributed.admin.system-monitor.interval": "1h", "distributed.worker.profile.enabled": False})
    dask.config.set({"distributed.worker.http.routes": [], "distributed.worker.memory.terminate": False})

    async def serve() -> None:
        made = []
        for start in range(0, count, 50):
            number = range(start, min(start + 50, count))
            options = {"nthreads": 1, "memory_limit": 0, "host": "127.0.0.1", "executor": SynchronousExecutor()}
            made += await asyncio.gather(*(Worker(address, **options) for _ in number))
        await asyncio.gather(*(worker.finished() for worker in made))

    asyncio.run(serve())


def main() -> None:
    if sys.argv[1:2] == ["workers"]:
        workers(sys.argv[2], int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["compare", "tasks", "scheduler"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--simulated", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    found = {"compare": compare, "tasks": tasks, "scheduler": scheduler}[arguments.part](arguments)
    print(json.dumps(found, indent=2))
    common.write_json(arguments.json, found)


if __name__ == "__main__":
    main()
