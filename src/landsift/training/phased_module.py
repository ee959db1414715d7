"""A Lightning module that trains a backbone and a head through phases, whatever their loss is.

A phase is entered from its number alone: `enter_phase` sets what trains and which layers are in train mode, and
`configure_optimizers` builds a fresh optimizer and schedule for exactly those parameters. So a checkpoint of any
epoch resumes, at phase boundaries too.
"""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from landsift.config import TrainingConfig
from landsift.data.batches import Batch
from landsift.models.blocks import backbone_blocks
from landsift.training import ranks
from landsift.training.freezing import free_blocks, set_modes
from landsift.training.nonfinite import BadSteps
from landsift.training.param_groups import parameter_groups
from landsift.training.phases import Phase, Strategy, first_epoch, phase_of, total_epochs

FUSED = ("cpu", "cuda")
"""Devices on which the optimizer's whole step is one kernel."""


class PhasedModule(L.LightningModule):
    """What of `landsift.training.trainable.Trainable` does not depend on the loss.

    A subclass names its networks (`network`, `backbone`, `head`) and its `figures` and `chosen_by`, enters phase 0 when
    it is made, passes the loss of each training step through `noted`, and validates. Its averages of weights, or a
    teacher, lie outside `network`.

    Args:
        backbone: what phases freeze and let train block by block.
        strategy: the phases.
        config: rates' decay, batch size and the steps that may be left out.
    """

    figures: tuple[str, ...]
    chosen_by: str

    def __init__(self, backbone: nn.Module, strategy: Strategy, config: TrainingConfig) -> None:
        super().__init__()
        self.strategy = strategy
        self.settings = config
        self.bad_steps = BadSteps(config.max_skipped_steps)
        self.phase_index = -1
        self._blocks = backbone_blocks(backbone)
        self._losses: list[Tensor] = []
        self._loss_weights: list[int] = []

    # Networks

    @property
    def network(self) -> nn.Module:
        """Backbone and head together: all that the optimizer may change."""
        raise NotImplementedError

    @property
    def backbone(self) -> nn.Module:
        """The network that phases freeze and let train block by block."""
        raise NotImplementedError

    @property
    def head(self) -> nn.Module:
        """What trains in every phase."""
        raise NotImplementedError

    # Phases

    @property
    def phase(self) -> Phase:
        """The phase that trains now."""
        return self.strategy[self.phase_index]

    def enter_phase(self, index: int) -> None:
        """Set what trains, and put everything frozen into eval mode so that its BN statistics stay."""
        self.phase_index = index
        free_blocks(self.backbone, self._blocks, self.phase)
        for parameter in self.head.parameters():
            parameter.requires_grad_(True)
        self.set_modes()

    def set_modes(self) -> None:
        """Train mode for what trains, eval mode for what is frozen and for batch norms in eval mode."""
        set_modes(self.network, self.backbone, self.phase)

    def trainable_parameters(self) -> int:
        """How many parameters train in this phase."""
        return sum(p.numel() for p in self.network.parameters() if p.requires_grad)

    def moving_statistics(self) -> list[tuple[nn.Module, nn.Module]]:
        """Head, and backbone where its batch norms follow the batches; a mean would change the last bits of others."""
        moving = [self.backbone, self.head] if self.phase.batch_norm == "train" else [self.head]
        return [(part, part) for part in moving]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Enter the phase of the checkpoint's epoch, before the optimizer is built, so that its state fits."""
        self.enter_phase(phase_of(self.strategy, int(checkpoint["epoch"])))

    # Optimizer

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What trains in this phase, for the optimizer."""
        return parameter_groups(self.backbone, self.head, self._blocks, self.phase, self.settings.weight_decay)

    def configure_optimizers(self) -> dict[str, Any]:
        """A fresh AdamW and schedule for exactly the parameters of the current phase."""
        groups = self.parameter_groups()
        optimizer = torch.optim.AdamW(groups, fused=self.device.type in FUSED)
        phase, per_epoch = self.phase, int(self.trainer.estimated_stepping_batches // self.trainer.max_epochs)
        before = per_epoch * first_epoch(self.strategy, self.phase_index)
        total = per_epoch * total_epochs(self.strategy)

        def schedule(peak: float) -> Any:
            return lambda step: phase.factor(step, per_epoch * phase.epochs, peak, before=before, total=total)

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, [schedule(group["lr"]) for group in groups])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients' norm, and leave the step out if that is not finite.

        Lightning's own clipping refuses fused optimizers in mixed precision, bfloat16 too.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if gradient_clip_val is not None:
            nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, norm)
        self.bad_steps.look(parameters, norm, self._where())
        if self.bad_steps.was_bad:
            self._losses.pop()
            self._loss_weights.pop()

    def _where(self) -> str:
        """The step that is being done, with its learning rates, for people."""
        step = len(self._losses) + self.bad_steps.count
        rates = ", ".join(f"{rate:.2g} of the {part}" for part, rate in self.learning_rates().items())
        return f"step {step} of epoch {self.current_epoch + 1} ({self.phase.name}; learning rates {rates})"

    def learning_rates(self) -> dict[str, float]:
        """The present learning rates of the head and of the backbone's last block (0 while it is frozen)."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        rates: dict[str, float] = {"head": 0.0, "backbone": 0.0}
        for group in optimizer.param_groups:
            rates[group["part"]] = max(rates[group["part"]], float(group["lr"]))
        return rates

    # The epoch's loss

    def noted(self, loss: Tensor, batch: Batch) -> Tensor:
        """Remember a training step's loss, a mean over the patches of its batch.

        Returns:
            It as `training_step` returns it: the mean over all ranks is that of the global batch.
        """
        self._losses.append(loss.detach())
        self._loss_weights.append(len(batch))
        return loss * ranks.loss_weight(batch)

    def on_train_epoch_start(self) -> None:
        """Start the epoch's own mean of the training loss, in the modes of the phase."""
        self.set_modes()
        self._losses.clear()
        self._loss_weights.clear()
        self.bad_steps.begin(self.network)  # averages do not move in a bad step

    def epoch_state(self) -> dict[str, Any]:
        """What this rank keeps of the epoch so far, for the checkpoint."""
        losses = torch.stack(self._losses).cpu() if self._losses else torch.empty(0)
        return {"losses": losses, "weights": list(self._loss_weights), "left_out": self.bad_steps.count}

    def load_epoch_state(self, state: dict[str, Any]) -> None:
        """Go on with the epoch of a checkpoint."""
        self._losses = list(state["losses"].to(self.device))
        self._loss_weights = list(state["weights"])
        self.bad_steps.count = state["left_out"]

    def epoch_loss(self) -> float:
        """Mean training loss per patch of the epoch that is ending, over all ranks; NaN if all its steps were bad."""
        if not self._losses:
            return math.nan
        return ranks.weighted_mean([loss[None] for loss in self._losses], self._loss_weights)[0]
