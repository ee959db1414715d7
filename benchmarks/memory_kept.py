"""What does it cost that the C library gives every large freed block back to the system?

Trains and applies MobileNetV2 on random images, in fresh processes that keep freed memory and that do not, in turn:

    python benchmarks/memory_kept.py
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import common

STEP = """
import json, resource, sys, time
sys.path.insert(0, sys.argv.pop(1))
import common
common.import_timm()
import timm, torch
from landsift.runtime.memory_allocator import keep_freed_memory

keep, size, batch, steps = sys.argv[1] == "kept", *map(int, sys.argv[2:])
if keep:
    keep_freed_memory()
network = timm.create_model("mobilenetv2_100", num_classes=10).to(memory_format=torch.channels_last)
images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
labels = torch.randint(0, 10, (batch,))
optimizer = torch.optim.AdamW(network.parameters(), fused=True)

def train():
    loss = torch.nn.functional.cross_entropy(network.train()(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

def apply():
    with torch.inference_mode():
        network.eval()(images)

result = {}
for name, step in (("training", train), ("inference", apply)):
    step(), step()
    seconds, faults = [], resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    faults = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults) / steps
    result[name] = {"images_per_second": batch / sorted(seconds)[steps // 2], "page_faults_per_step": faults}
result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps(result))
"""


def main() -> None:
    """Print images per second, page faults and peak memory, with freed memory kept and given back."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128], help="height and width in pixels")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    figures = []
    for size in options.sizes:
        runs: dict[str, list[dict]] = {"given back": [], "kept": []}
        for _ in range(options.repeats):
            for mode in runs:
                arguments = [str(common.HERE), mode, str(size), str(options.batch), str(options.steps)]
                done = subprocess.run(
                    [sys.executable, "-c", STEP, *arguments], capture_output=True, check=True, text=True
                )
                runs[mode].append(json.loads(done.stdout))
        for work in ("training", "inference"):
            row: dict[str, float | str] = {"pixels": size, "work": work}
            for mode, results in runs.items():
                for what in ("images_per_second", "page_faults_per_step"):
                    row[f"{what}, {mode}"] = round(statistics.median(r[work][what] for r in results), 1)
                row[f"peak MiB, {mode}"] = round(statistics.median(r["peak_mib"] for r in results))
            figures.append(row)
            faster = row["images_per_second, kept"] / row["images_per_second, given back"]  # type: ignore[operator]
            print(f"{size} px {work}: {faster:.2f} times as fast with freed memory kept", row, sep="\n  ", flush=True)
    common.write_json(options.json, {"figures": figures, "repeats": options.repeats})


if __name__ == "__main__":
    main()
