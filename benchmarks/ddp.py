"""What a second process is worth: two DDP processes of half the cores each against one process of all cores.

    python benchmarks/ddp.py [--data STORE] [--weights FILE] [--batch 64] [--steps 10] [--repeats 3] [--json FILE]

Prints images per second of MobileNetV2's training step (64 pixels, float32, channels-last, AdamW) with the same global
batch, and the time of one all-reduce of its gradients, each as the median over repeats. On one machine's cores the two
processes have no more cores than the one; the difference is what DDP and smaller batches cost or gain.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # ranks import nothing from beside their program

import common
from landsift.runtime.threads import spin_briefly
from landsift.training.launch import run_ranks

PROCESSES = (1, 2)


def measured(asked: dict[str, Any]) -> dict[str, float]:
    """In a rank: images per second of all ranks together, and seconds per all-reduce of the gradients."""
    import numpy as np
    import torch
    from torch import distributed, nn

    from landsift.config import HeadConfig, ModelConfig
    from landsift.data.batches import PatchBatches
    from landsift.data.store.patch_store import PatchStore
    from landsift.models.backbone import create_backbone
    from landsift.models.classifier import Normalize, PatchClassifier, to_float

    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.manual_seed(0)
    if asked["data"]:
        store = PatchStore.open(asked["data"])
        images, labels, classes = store.images, store.labels, len(store.classes)
    else:
        rng = np.random.default_rng(0)
        images, classes = rng.integers(0, 256, (2048, 64, 64, 3), dtype=np.uint8), 10
        labels = rng.integers(0, classes, len(images))
    config = ModelConfig(
        backbone="mobilenetv2_100", weights=asked["weights"] or "none", backbone_args={"pad_type": "same"}
    )
    made = create_backbone(config, 64)
    network: nn.Module = PatchClassifier(made.network, made.features, classes, HeadConfig())
    network = network.to(memory_format=torch.channels_last).train()
    normalize = Normalize((0.5,) * 3, (0.5,) * 3)
    size = sum(p.numel() for p in network.parameters())
    if world > 1:
        distributed.init_process_group("gloo")
        warnings.filterwarnings("ignore", ".*`broadcast_buffers` is deprecated.*")
        network = nn.parallel.DistributedDataParallel(network, broadcast_buffers=False, gradient_as_bucket_view=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    each = asked["batch"] // world
    batches = PatchBatches(
        images, labels, np.arange(len(labels)), batch_size=each, shuffle=True, rank=rank, world=world
    )
    warm, steps = 2, asked["steps"]
    for i, batch in enumerate(batches):
        if i == warm:
            start = time.perf_counter()
        if i == warm + steps:
            break
        loss = nn.functional.cross_entropy(network(normalize(to_float(batch.images))), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    else:
        raise SystemExit(f"too few patches for {warm + steps + 1} steps of {asked['batch']}")
    rate = steps * each * world / (time.perf_counter() - start)
    seconds = []
    gradients = torch.randn(size)
    for _ in range(5 if world > 1 else 0):
        distributed.barrier()
        start = time.perf_counter()
        distributed.all_reduce(gradients)
        seconds.append(time.perf_counter() - start)
    if world > 1:
        distributed.destroy_process_group()
    return {"images_per_second": rate, "all_reduce": statistics.median(seconds or [0.0]), "gradient_bytes": 4 * size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="STORE", help="a patch store of 64-pixel patches; default: noise")
    parser.add_argument("--weights", metavar="FILE", help="default: random")
    parser.add_argument("--batch", type=int, default=64, help="patches per step over all processes")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--rank", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rank:
        asked, out = arguments.rank
        found = measured(json.loads(asked))
        if os.environ["RANK"] == "0":
            Path(out).write_text(json.dumps(found))
        return
    asked = json.dumps({name: getattr(arguments, name) for name in ("data", "weights", "batch", "steps")})
    spin_briefly()  # as the command line does, before torch is loaded
    found: dict[int, list[dict[str, float]]] = {n: [] for n in PROCESSES}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        for _ in range(arguments.repeats):
            for processes in PROCESSES:
                run_ranks([__file__, "--rank", asked, str(out)], devices=processes)
                found[processes].append(json.loads(out.read_text()))
    rates = {n: statistics.median(f["images_per_second"] for f in found[n]) for n in PROCESSES}
    all_reduce = statistics.median(f["all_reduce"] for f in found[2])
    step = arguments.batch / rates[2]
    size = found[2][0]["gradient_bytes"]
    print(f"one process, all cores        {rates[1]:8.1f} images/s")
    print(f"two processes, half the cores {rates[2]:8.1f} images/s  ({rates[2] / rates[1]:.2f} x)")
    print(
        f"all-reduce of {size / 1e6:.1f} MB of gradients {1e3 * all_reduce:.1f} ms, {all_reduce / step:.1%} of a step"
    )
    common.write_json(
        arguments.json,
        {
            "images_per_second": {str(n): round(rate, 1) for n, rate in rates.items()},
            "all_reduce_ms": round(1e3 * all_reduce, 2),
            "gradient_bytes": size,
            "batch": arguments.batch,
            "repeats": arguments.repeats,
        },
    )


if __name__ == "__main__":
    main()
