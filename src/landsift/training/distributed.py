"""What one of several training processes (ranks) does together with the others.

Without others every function here is a plain value: rank 0 of a world of 1, sums of one term. `launch` starts the
processes. Gradients are averaged by torch's DistributedDataParallel (Li et al. 2020), which Lightning wraps around the
module.
"""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.pytorch.plugins.layer_sync import LayerSync
from torch import Tensor, distributed, nn

from landsift.config import RunConfig, TrainingConfig, digest
from landsift.errors import ConfigError
from landsift.runtime.surroundings import in_rank
from landsift.training.phases import Strategy

if TYPE_CHECKING:
    import lightning as L

    from landsift.data.batches import Batch

STALLED = timedelta(minutes=10)
"""How long ranks wait for one that neither goes on nor dies; the first may be that long alone, with a t-SNE frame."""
REFERENCE_BATCH = 64
"""Patches per step that the strategy table's learning rates are meant for."""


def lr_factor(settings: TrainingConfig) -> float:
    """What all learning rates are multiplied with: 1, n/64 (Goyal et al. 2017) or sqrt(n/64) (Malladi et al. 2022).

    n is the number of patches per step over all processes.
    """
    ratio = settings.batch_size * world_of(settings) / REFERENCE_BATCH
    return {"none": 1.0, "linear": ratio, "sqrt": math.sqrt(ratio)}[settings.lr_scaling]


def scale_rates(strategy: Strategy, factor: float) -> Strategy:
    """The phases with all their learning rates multiplied."""
    if factor == 1.0:
        return strategy
    return tuple(
        replace(p, lr_head=p.lr_head * factor, lr_backbone=p.lr_backbone * factor, lr_min=p.lr_min * factor)
        for p in strategy
    )


def world_of(settings: TrainingConfig) -> int:
    """How many processes the settings ask for."""
    return settings.devices * settings.num_nodes


def rank() -> int:
    """The number of this process; 0 where it is alone."""
    return int(os.environ["RANK"]) if in_rank() else 0


def world() -> int:
    """How many processes train together; 1 where this one is alone."""
    return int(os.environ["WORLD_SIZE"]) if in_rank() else 1


def on_gpu(settings: TrainingConfig) -> bool:
    """Whether ranks train on GPUs: NCCL needs NVIDIA's or AMD's, all others train on the CPU."""
    return settings.accelerator != "cpu" and torch.cuda.is_available()


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
    if len(set(everyones(digest(asked | {"split": config.data.split.model_dump(mode="json")})))) > 1:
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


def trainer_arguments(settings: TrainingConfig) -> dict[str, Any]:
    """How Lightning's trainer spreads the work: on this process's device, or over the ranks of which it is one.

    Lightning is told which of the two it is: left to itself it asks the variables of batch systems. On GPUs batch norms
    take their statistics over the whole global batch; torch has that for GPUs alone.
    """
    if world_of(settings) == 1:
        return {"accelerator": settings.accelerator, "devices": 1, "plugins": [LightningEnvironment()]}
    from lightning.pytorch.strategies import DDPStrategy

    # The name that every torch knows that we support.
    warnings.filterwarnings("ignore", ".*`broadcast_buffers` is deprecated.*")
    # Every rank logs what is already the mean over all.
    warnings.filterwarnings("ignore", ".*sync_dist=True.*")
    return {
        "accelerator": "gpu" if on_gpu(settings) else "cpu",
        "devices": settings.devices,
        "num_nodes": settings.num_nodes,
        # Buffers are averaged by RanksTogether; the broadcast in every forward pass hangs where ranks have different
        # numbers of validation batches.
        "strategy": DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True),
        "use_distributed_sampler": False,
        "plugins": [TorchElasticEnvironment(), *([SyncBatchNorm()] if on_gpu(settings) else [])],
    }


def callbacks(settings: TrainingConfig, seed: int) -> list[Callback]:
    """What the trainer needs beside the usual callbacks where several ranks train."""
    return [RanksTogether(seed)] if world_of(settings) > 1 else []


def rewrap(trainer: L.Trainer) -> None:
    """Wrap the module anew after other parameters were chosen to train; call it before optimizers are made.

    DistributedDataParallel averages the gradients of those parameters that wanted one when it was made. Without a new
    wrapper, what a later phase trains would go its own way in every rank.
    """
    from lightning.pytorch.strategies import DDPStrategy
    from torch.nn.parallel import DistributedDataParallel

    strategy = trainer.strategy
    if not isinstance(strategy, DDPStrategy):
        return
    if isinstance(strategy.model, DistributedDataParallel):
        strategy.model._remove_autograd_hooks()  # type: ignore[no-untyped-call]  # else both wrappers average
    strategy.model = strategy.lightning_module
    strategy.configure_ddp()


class RanksTogether(Callback):
    """Draws other dropout masks in each rank, and averages what batch norms have learned before each validation."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Lightning has seeded all ranks alike, which is right for the weights and wrong for dropout."""
        if rank():
            torch.manual_seed(self.seed + rank() * 1_000_003)

    def on_validation_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Average running means and variances over the ranks, those of the averaged weights too."""
        from landsift.training.module import PatchModule

        assert isinstance(module, PatchModule)
        trained = (module.classifier.backbone, module.classifier.head)
        for part, averaged in zip(trained, module.evaluated(), strict=True):
            if part is module.classifier.backbone and module.phase.batch_norm != "train":
                continue  # the same everywhere, and a mean would change their last bits
            average_running_statistics(part, part)
            if averaged is not part:
                average_running_statistics(averaged, part)


def average_running_statistics(module: nn.Module, trained: nn.Module) -> None:
    """Average the running means and variances of batch norms over all ranks, as timm does.

    Args:
        module: whose batch norms.
        trained: the same network as it trains, which says which of them do.
    """
    for layer, training in zip(module.modules(), trained.modules(), strict=True):
        wanted = [p.requires_grad for p in training.parameters(recurse=False)]
        if getattr(layer, "running_mean", None) is None or (wanted and not any(wanted)):
            continue  # a frozen one is the same everywhere, and a mean would change its last bits
        for statistic in (layer.running_mean, layer.running_var):
            average(statistic)


class SyncBatchNorm(LayerSync):
    """Batch norms over the whole global batch, by timm's conversion: torch's own drops the activation in timm's."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace the batch norms; parameters and buffers stay the same objects."""
        from timm.layers import convert_sync_batchnorm

        converted: nn.Module = convert_sync_batchnorm(model)
        return converted

    def revert(self, model: nn.Module) -> nn.Module:
        """Nothing: after the training the module is only read, and predicts the same."""
        return model
