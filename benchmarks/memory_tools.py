"""Peak memory of a stage in a fresh process, for memory.py."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MIB = 2**20


def memory_now() -> dict[str, int]:
    """Bytes of this process by the names in Linux's /proc/self/status, such as VmHWM and RssAnon."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = (line.split() for line in lines if line.endswith(" kB"))
    return {name.rstrip(":"): 1024 * int(value) for name, value, _ in fields}


def measured(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` returns, with its seconds and this process's peak memory.

    `peak` is all resident memory, `anonymous` the part that is not pages of a mapped file (which the system may take
    back at any time), sampled every 20 ms.
    """
    done = threading.Event()
    anonymous = 0

    def sample() -> None:
        nonlocal anonymous
        while True:
            anonymous = max(anonymous, memory_now()["RssAnon"])
            if done.wait(0.02):
                return

    sampler = threading.Thread(target=sample)
    sampler.start()
    start = time.perf_counter()
    try:
        result = work()
    finally:
        seconds = time.perf_counter() - start
        done.set()
        sampler.join()
    # not getrusage: its peak counts the process this one was started from
    return {"seconds": seconds, "peak": memory_now()["VmHWM"], "anonymous": anonymous} | result


def in_fresh_process(script: str, *arguments: object) -> dict[str, Any]:
    """Run a script in a new interpreter; what it prints last is a JSON object."""
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))
