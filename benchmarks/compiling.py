"""What does torch.compile cost and gain, and after how many patches has it paid for itself?

Trains and applies a network on random images as landsift compiles it (the backbone, for one size of batch), in fresh
processes, first as it is and then compiled, without inductor's cache:

    python benchmarks/compiling.py [--backbone mobilenetv2_100] [--sizes 64 128] [--repeats 3] [--json FILE]
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import common

STEP = """
import json, sys, time
sys.path.insert(0, sys.argv.pop(1))
import common
common.import_timm()
import timm, torch
from landsift.runtime.memory_allocator import keep_freed_memory

name, (size, batch, steps) = sys.argv[1], map(int, sys.argv[2:])
keep_freed_memory()
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
network = timm.create_model(name, num_classes=10).to(device, memory_format=torch.channels_last)
images = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
labels = torch.randint(0, 10, (batch,), device=device)
optimizer = torch.optim.AdamW(network.parameters(), fused=True)

def train():
    loss = torch.nn.functional.cross_entropy(network.train()(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

def apply():
    with torch.inference_mode():
        network.eval()(images)

def seconds(step):
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start

result = {}
works = {"training": train, "inference": apply}
for work, step in works.items():
    seconds(step), seconds(step)
    result[work] = {"eager": sorted(seconds(step) for _ in range(steps))[steps // 2]}
network.compile(dynamic=False)
for work, step in works.items():
    result[work]["compiling"] = seconds(step) + seconds(step)
    result[work]["compiled"] = sorted(seconds(step) for _ in range(steps))[steps // 2]
print(json.dumps(result))
"""


def main() -> None:
    """Print patches per second without and with it, the seconds it takes, and the patches after which it pays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128], help="height and width in pixels")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    figures = []
    for size in options.sizes:
        arguments = [str(common.HERE), options.backbone, str(size), str(options.batch), str(options.steps)]
        runs = []
        for _ in range(options.repeats):
            environment = os.environ | {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
            command = [sys.executable, "-c", STEP, *arguments]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=environment)
            runs.append(json.loads(done.stdout.splitlines()[-1]))
        for work in ("training", "inference"):
            eager, compiled, cost = (
                common.median(run[work][what] for run in runs) for what in ("eager", "compiled", "compiling")
            )
            assert eager is not None
            assert compiled is not None
            assert cost is not None
            gain = eager - compiled
            figures.append(
                {
                    "pixels": size,
                    "work": work,
                    "eager_patches_per_second": options.batch / eager,
                    "compiled_patches_per_second": options.batch / compiled,
                    "ratio": eager / compiled,
                    "compiling_seconds": cost,
                    "pays_after_patches": options.batch * cost / gain if gain > 0 else None,
                }
            )
    rows = [
        (
            figure["pixels"],
            figure["work"],
            common.number(figure["eager_patches_per_second"], 0),
            common.number(figure["compiled_patches_per_second"], 0),
            common.number(figure["ratio"], 2),
            common.number(figure["compiling_seconds"]),
            common.number(figure["pays_after_patches"], 0),
        )
        for figure in figures
    ]
    headers = ("pixels", "work", "patches/s", "compiled patches/s", "ratio", "compiling s", "pays after patches")
    print(common.table(headers, rows))
    common.write_json(options.json, {"figures": figures, "repeats": options.repeats})


if __name__ == "__main__":
    main()
