"""How torch's threads should wait for each other: spinning or sleeping, on an idle machine and beside other work.

    python benchmarks/thread_waiting.py [--json] [--repeats 3]

Prints images per second of a MobileNetV2 training step (batch 64, 128 pixels, channels-last, all cores), as the median
over repeats. "Beside other work" means one process that keeps one core busy. The reason for `OMP_WAIT_POLICY=PASSIVE`
in `landsift/cli/main.py`.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time

POLICIES = ("ACTIVE", "PASSIVE")


def step_rate() -> float:
    """Images per second of training steps in this process."""
    import timm
    import torch

    network = timm.create_model("mobilenetv2_100", num_classes=10).to(memory_format=torch.channels_last).train()
    images = torch.randn(64, 3, 128, 128).contiguous(memory_format=torch.channels_last)
    network(images).sum().backward()
    start = time.perf_counter()
    for _ in range(3):
        network(images).sum().backward()
    return 3 * len(images) / (time.perf_counter() - start)


def spin() -> None:
    while True:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(step_rate())
        return
    rates: dict[str, list[float]] = {}
    for _ in range(arguments.repeats):
        for busy in (False, True):
            for policy in POLICIES:
                neighbour = multiprocessing.Process(target=spin, daemon=True)
                if busy:
                    neighbour.start()
                done = subprocess.run(
                    [sys.executable, __file__, "--one"],
                    env=os.environ | {"OMP_WAIT_POLICY": policy},
                    capture_output=True,
                    text=True,
                    check=True,
                )
                if busy:
                    neighbour.terminate()
                    neighbour.join()
                name = f"{'beside other work' if busy else 'idle machine'}, {policy}"
                rates.setdefault(name, []).append(float(done.stdout))
    medians = {name: round(statistics.median(values), 1) for name, values in rates.items()}
    if arguments.json:
        print(json.dumps({"images_per_second": medians, "repeats": arguments.repeats, "cores": os.cpu_count()}))
        return
    for name, rate in medians.items():
        print(f"{name:<28} {rate:8.1f} images/s")


if __name__ == "__main__":
    main()
