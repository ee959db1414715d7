"""How torch's threads should wait for each other: spinning, sleeping, or a little of both.

    python benchmarks/thread_waiting.py [--sizes 64 128] [--repeats 3] [--json FILE]

Prints images per second of a MobileNetV2 training step (batch 64, channels-last, all cores, freed memory kept) on an
idle machine and beside one process that keeps one core busy, as the median over repeats. The reason for
`landsift/threads.py`.
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

WAITING = {
    "torch's default": {},
    "sleeping (OMP_WAIT_POLICY=PASSIVE)": {"OMP_WAIT_POLICY": "PASSIVE"},
    "landsift (GOMP_SPINCOUNT=1000)": {"GOMP_SPINCOUNT": "1000"},
}
STEPS = 8


def step_rate(size: int) -> float:
    """Images per second of training steps in this process."""
    import common

    common.import_timm()
    import timm
    import torch

    from landsift.runtime.memory_allocator import keep_freed_memory

    keep_freed_memory()
    network = timm.create_model("mobilenetv2_100", num_classes=10).to(memory_format=torch.channels_last).train()
    images = torch.randn(64, 3, size, size).contiguous(memory_format=torch.channels_last)
    network(images).sum().backward()
    start = time.perf_counter()
    for _ in range(STEPS):
        network(images).sum().backward()
    return STEPS * len(images) / (time.perf_counter() - start)


def spin() -> None:
    while True:
        pass


def measured(size: int, waiting: dict[str, str], *, busy: bool) -> float:
    """Images per second of a fresh process."""
    environment = {k: v for k, v in os.environ.items() if k not in {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}}
    neighbour = multiprocessing.Process(target=spin, daemon=True)
    if busy:
        neighbour.start()
    try:
        command = [sys.executable, __file__, "--one", str(size)]
        done = subprocess.run(command, env=environment | waiting, capture_output=True, text=True, check=True)
    finally:
        if busy:
            neighbour.terminate()
            neighbour.join()
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128], help="height and width in pixels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(step_rate(arguments.one))
        return
    import common

    cases = [(size, busy, name) for size in arguments.sizes for busy in (False, True) for name in WAITING]
    rates: dict[tuple[int, bool, str], list[float]] = {case: [] for case in cases}
    for _ in range(arguments.repeats):
        for size, busy, name in cases:
            rates[size, busy, name].append(measured(size, WAITING[name], busy=busy))
    medians = {case: statistics.median(found) for case, found in rates.items()}
    rows = [
        (size, "beside a busy process" if busy else "idle", *(f"{medians[size, busy, name]:.0f}" for name in WAITING))
        for size in arguments.sizes
        for busy in (False, True)
    ]
    print(common.table(("pixels", "machine", *(f"images/s, {name}" for name in WAITING)), rows))
    figures = [{"pixels": s, "busy": b, "waiting": n, "images_per_second": r} for (s, b, n), r in medians.items()]
    common.write_json(arguments.json, {"figures": figures, "repeats": arguments.repeats})


if __name__ == "__main__":
    main()
