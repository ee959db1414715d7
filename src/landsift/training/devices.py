"""Which processors and machines a training is spread over, and whether they are there; torch loads when it is asked."""

from __future__ import annotations

import os

from landsift.config import TrainingConfig
from landsift.errors import ConfigError
from landsift.runtime import surroundings


def world_of(settings: TrainingConfig) -> int:
    """How many processes the settings ask for."""
    return settings.devices * settings.num_nodes


def needed(settings: TrainingConfig) -> bool:
    """Whether this process has to start others to train: several are asked for, and it is not one of them."""
    return world_of(settings) > 1 and not surroundings.in_rank()


def on_gpu(settings: TrainingConfig) -> bool:
    """Whether ranks train on GPUs: NCCL needs NVIDIA's or AMD's, all others train on the CPU."""
    import torch

    return settings.accelerator != "cpu" and torch.cuda.is_available()


def check_devices(settings: TrainingConfig) -> None:
    """Refuse more processes than there are GPUs, and nodes that cannot know of each other.

    Raises:
        ConfigError: too few GPUs, or MASTER_ADDR, MASTER_PORT and NODE_RANK are not set.
    """
    import torch

    if settings.accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError(
            f"training.devices is {settings.devices} with training.accelerator gpu, but torch sees no CUDA or ROCm GPU",
            "use training.accelerator=cpu, or one device",
        )
    if on_gpu(settings) and settings.devices > torch.cuda.device_count():
        raise ConfigError(
            f"training.devices is {settings.devices}, but this machine has {torch.cuda.device_count()} GPUs",
            "lower training.devices, or set training.accelerator=cpu",
        )
    node_rank(settings)


def node_rank(settings: TrainingConfig) -> int:
    """The number of this node, from $NODE_RANK; 0 where there is one node.

    Raises:
        ConfigError: there are several, and NODE_RANK, MASTER_ADDR or MASTER_PORT is missing or wrong.
    """
    if settings.num_nodes == 1:
        return 0
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if not os.environ.get(name)]
    if missing:
        raise ConfigError(
            f"training.num_nodes is {settings.num_nodes}, but {', '.join(missing)} is not set",
            "set address and a free port of the first node, and this node's number from 0 (docs/scaling.md)",
        )
    number, port = os.environ["NODE_RANK"], os.environ["MASTER_PORT"]
    if not number.isdecimal() or int(number) >= settings.num_nodes or not port.isdecimal():
        raise ConfigError(
            f"NODE_RANK={number} and MASTER_PORT={port} do not fit training.num_nodes={settings.num_nodes}",
            f"NODE_RANK is a number from 0 to {settings.num_nodes - 1}, MASTER_PORT a port",
        )
    return int(number)
