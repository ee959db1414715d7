"""What one of several training processes (ranks) does together with the others, by torch alone.

Without others every function here is a plain value: rank 0 of a world of 1, sums of one term. `launch` starts the
processes, and `ddp` tells Lightning of them.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed

from landsift.config import RunConfig, digest
from landsift.data.split_rows import known_by_content
from landsift.errors import ConfigError
from landsift.runtime.surroundings import in_rank
from landsift.training.devices import on_gpu, world_of

if TYPE_CHECKING:
    from landsift.data.batches import Batch

STALLED = timedelta(minutes=10)
"""How long ranks wait for one that neither goes on nor dies; the first may be that long alone, with a t-SNE frame."""


def rank() -> int:
    """The number of this process; 0 where it is alone."""
    return int(os.environ["RANK"]) if in_rank() else 0


def world() -> int:
    """How many processes train together; 1 where this one is alone."""
    return int(os.environ["WORLD_SIZE"]) if in_rank() else 1


def join_group(config: RunConfig, fingerprint: str) -> None:
    """Meet the other ranks, if there are any, and check that all were asked for the same training.

    Args:
        config: the complete configuration.
        fingerprint: of the store's content.

    Raises:
        ConfigError: another rank has other settings or patches.
    """
    if in_rank() and world() != world_of(config.training):
        raise ConfigError(
            f"{world()} processes were started, but training.devices times num_nodes is {world_of(config.training)}",
            "set training.devices and training.num_nodes to what the launcher starts",
        )
    if world() == 1 or distributed.is_initialized():
        return
    if on_gpu(config.training):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if on_gpu(config.training) else "gloo", timeout=STALLED)
    keys = ("training", "strategy", "strategies", "seed", "evaluation", "tracking")
    asked = {key: value for key, value in config.to_dict().items() if key in keys}
    asked["model"] = config.model.model_dump(mode="json", exclude={"weights"})  # which all take from the first
    asked |= {"data": fingerprint, "budget": config.data.budget, "budget_seed": config.data.effective_budget_seed}
    if len(set(everyones(digest(asked | {"split": known_by_content(config.data.split)})))) > 1:
        raise ConfigError(
            "the processes were started with different configurations or patches",
            "give every node the same configuration and the same patches",
        )


def leave_group() -> None:
    """Part from the other ranks."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def first_of_node() -> bool:
    """Whether this is the first rank of another machine than the first one's."""
    return in_rank() and int(os.environ["LOCAL_RANK"]) == 0 and rank() > 0


def wait_for_all() -> None:
    """Go on when all ranks have come to this point."""
    if world() > 1:
        distributed.barrier()


def from_first(value: Any) -> Any:
    """What rank 0 says, in every rank: for choices that are measured, or that depend on the machine."""
    if world() == 1:
        return value
    held = [value]
    distributed.broadcast_object_list(held, src=0)
    return held[0]


def everyones(value: Any) -> list[Any]:
    """What each rank says, by rank; all ranks must call it."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    distributed.all_gather_object(values, value)
    return values


def highest(value: int) -> int:
    """The highest number that any rank says; all ranks must call it."""
    if world() == 1:
        return value
    held = torch.tensor(value, device=_own_device())
    distributed.all_reduce(held, distributed.ReduceOp.MAX)
    return int(held)


def equal(value: int) -> bool:
    """Whether all ranks say the same number; all ranks must call it."""
    return highest(value) == -highest(-value)


def weighted_mean(values: list[Tensor], weights: list[int]) -> list[float]:
    """Mean per patch over all batches of all ranks.

    Lightning's own mean over ranks divides by the whole part of the mean number of patches, which is wrong where ranks
    hold different numbers.

    Args:
        values: means of batches, float [K] each, on any device.
        weights: patches in each.

    Returns:
        K numbers, the same in every rank; one synchronisation with the device.
    """
    stacked = torch.stack(values).cpu().double()  # in this order: MPS has no float64
    counts = torch.tensor(weights, dtype=torch.float64)
    sums = torch.cat([(stacked * counts[:, None]).sum(dim=0), counts.sum()[None]])
    if world() > 1:
        sums = sums.to(_own_device())
        distributed.all_reduce(sums)
    return [float(v) for v in (sums[:-1] / sums[-1]).cpu()]


def average(values: Any) -> None:
    """Replace a float tensor by its mean over all ranks, in place."""
    if world() > 1:
        distributed.all_reduce(values)
        values /= world()


def _own_device() -> torch.device:
    """Where tensors are that ranks exchange."""
    return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")


def loss_weight(batch: Batch) -> float:
    """What a rank's loss is multiplied with, so that the mean of the ranks' gradients is that of the global batch."""
    return len(batch) * world() / batch.part[1]


def gathered(rows: list[Tensor], values: list[Tensor]) -> tuple[Tensor, Tensor] | None:
    """Rows and their values of all ranks, in order of the rows; all ranks must call it.

    On rank 0; None on the others, and where there are none.

    Args:
        rows: int64 [B] each, on the CPU.
        values: float [B, D] each, on the CPU.
    """
    parts: list[Any] = [(rows, values)]
    if world() > 1:
        parts = [None] * world()
        distributed.gather_object((rows, values), parts if rank() == 0 else None)
        if rank():
            return None
    rows, values = [r for part in parts for r in part[0]], [v for part in parts for v in part[1]]
    if not rows:
        return None
    order = torch.argsort(torch.cat(rows))
    return torch.cat(rows)[order], torch.cat(values)[order]
