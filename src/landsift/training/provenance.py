"""What a training ran on: versions of what decides its numbers, and the machine."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from landsift.runtime.threads import cores

PACKAGES = (
    "landsift",
    "torch",
    "torchvision",
    "timm",
    "lightning",
    "numpy",
    "pillow",
    "scikit-learn",
    "flyte",
    "wandb",
)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a run's numbers."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a bare machine trains without Flyte and W&B
            continue
    return found


def hardware() -> dict[str, Any]:
    """Processor, cores this process may use, memory in GiB, and the GPU's name or None."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": _processor(), "cores": cores(), "memory_gib": round(memory, 1), "gpu": gpu}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
