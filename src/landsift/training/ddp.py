"""Lightning where several processes train together: the device or ranks of its trainer, batch norms, gradients.

Gradients are averaged by torch's DistributedDataParallel (Li et al. 2020), which Lightning wraps around the module.
"""

from __future__ import annotations

import warnings
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.pytorch.plugins.layer_sync import LayerSync
from torch import nn

from landsift.config import TrainingConfig
from landsift.training import ranks
from landsift.training.devices import on_gpu, world_of
from landsift.training.trainable import Trainable


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
        if ranks.rank():
            torch.manual_seed(self.seed + ranks.rank() * 1_000_003)

    def on_validation_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Average running means and variances over the ranks, those of the EMA too."""
        assert isinstance(module, Trainable)
        for network, trained in module.moving_statistics():
            average_running_statistics(network, trained)


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
            ranks.average(statistic)


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
