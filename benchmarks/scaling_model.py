"""What training on 8, 32 and 64 GPUs can gain: time of an all-reduce of the gradients against time of a step.

    python benchmarks/scaling_model.py [--step NAME=MS ...] [--network 400 12.5] [--compressed] [--json FILE]

A model, not a measurement. Of a ring all-reduce over n GPUs each sends 2 (n - 1) / n times the gradients (Patarasuk &
Yuan 2009) over the slowest link of the ring: NVLink within a node, a node's network between nodes. Latency is left
out, so that small gradients on many GPUs take longer than said here. DDP overlaps the all-reduce with the backward
pass, two thirds of a step, but for the bucket that is ready last (25 MB at most; Li et al. 2020). The two efficiencies
are those without any overlap and with the best. Bandwidths are assumptions, in GB/s and one direction; measure yours
with NVIDIA's nccl-tests.

--step gives a model's measured time of a step on one GPU, in ms, without communication, such as resnet50=85.
"""

import argparse
from pathlib import Path

import common

MODELS = ("mobilenetv2_100", "efficientnet_b0", "resnet50", "vit_base_patch16_224")
GPUS = (8, 32, 64)
BUCKET = 25 * 2**20
"""Bytes; DistributedDataParallel's default."""
BACKWARD = 2 / 3
"""Share of a step: a backward pass has twice the arithmetic of a forward pass."""


def all_reduce(size: float, gpus: int, per_node: int, nvlink: float, network: float) -> float:
    """Seconds for `size` bytes over a ring of `gpus`; bandwidths in bytes per second, `network` a node's in all."""
    slowest = nvlink if gpus <= per_node else min(nvlink, network)
    return 2 * (gpus - 1) / gpus * size / slowest


def exposed(communication: float, size: float, step: float) -> float:
    """Seconds of communication that a backward pass cannot hide, at best."""
    last = communication * min(1.0, BUCKET / size)
    return max(last, communication - BACKWARD * step)


def parameters(name: str) -> int:
    """How many parameters the network has without its classifier."""
    common.import_timm()
    import timm
    import torch

    with torch.device("meta"):
        return sum(p.numel() for p in timm.create_model(name, num_classes=0).parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="NAME", help="timm's names")
    parser.add_argument("--step", nargs="+", default=[], metavar="NAME=MS", help="measured steps on one GPU")
    parser.add_argument("--nvlink", type=float, default=450.0, help="one GPU's NVLink (H100 SXM: half of 900)")
    parser.add_argument(
        "--network", type=float, nargs="+", default=[400.0, 12.5], help="a node's network (8 x 400 Gb/s; 100 Gb/s)"
    )
    parser.add_argument("--per-node", type=int, default=8, help="GPUs of a node")
    parser.add_argument("--compressed", action="store_true", help="gradients travel as bfloat16")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    steps = {name: float(ms) / 1e3 for name, ms in (item.split("=") for item in arguments.step)}
    rows = []
    for name in arguments.models:
        count = parameters(name)
        size = count * (2 if arguments.compressed else 4)
        within = [(gpus, 0.0) for gpus in GPUS if gpus <= arguments.per_node]
        between = [(gpus, network) for network in arguments.network for gpus in GPUS if gpus > arguments.per_node]
        for gpus, network in within + between:
            seconds = all_reduce(size, gpus, arguments.per_node, arguments.nvlink * 1e9, network * 1e9)
            row = {"model": name, "parameters": count, "megabytes": size / 1e6, "network": network, "gpus": gpus}
            row |= {"all_reduce_ms": 1e3 * seconds}
            # The shortest step with an efficiency of 90 %: a ninth of it may be waiting.
            hidden = max(seconds / (BACKWARD + 1 / 9), 9 * seconds * min(1.0, BUCKET / size))
            row |= {"step_90_ms": 1e3 * 9 * seconds, "step_90_overlapped_ms": 1e3 * min(hidden, 9 * seconds)}
            if step := steps.get(name):
                row["efficiency"] = step / (step + seconds)
                row["efficiency_overlapped"] = step / (step + exposed(seconds, size, step))
            rows.append(row)
    print(f"NVLink {arguments.nvlink:g} GB/s, {arguments.per_node} GPUs a node; network in GB/s of a node")
    print("model                    MB  network  GPUs  all-reduce ms  step for 90 %, ms  efficiency")
    for row in rows:
        shown = f"{row['efficiency']:.0%} to {row['efficiency_overlapped']:.0%}" if "efficiency" in row else "-"
        enough = f"{row['step_90_overlapped_ms']:.1f} to {row['step_90_ms']:.1f}"
        network = f"{row['network']:g}" if row["network"] else "-"
        print(
            f"{row['model']:<21} {row['megabytes']:>6.1f} {network:>8} {row['gpus']:>5} {row['all_reduce_ms']:>14.2f}"
            f" {enough:>18} {shown:>11}"
        )
    common.write_json(arguments.json, {"rows": rows})


if __name__ == "__main__":
    main()
