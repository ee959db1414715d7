"""The Lightning module of a pretraining: views, the loss on them, the teacher, and what is measured after an epoch."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from landsift.bands import BandSpec
from landsift.config import Normalization, TrainingConfig
from landsift.config_pretraining import PretrainingConfig
from landsift.data.augment import batch_generator
from landsift.data.batches import Batch
from landsift.models.preprocess import Preprocess
from landsift.pretraining import collapse
from landsift.pretraining.methods import METHODS, local_size
from landsift.pretraining.schedules import cosine
from landsift.pretraining.teacher import Teacher
from landsift.pretraining.views import Views
from landsift.training import ranks
from landsift.training.phased_module import PhasedModule
from landsift.training.phases import Strategy, total_epochs

WATCHED = 2**31
"""In place of an epoch's number: the views that measures are taken on are the same in every epoch."""


class Projected(nn.Module):
    """A backbone and the head on it.

    Args:
        backbone: maps float [B, C, S, S] to features float [B, D], of several sizes S.
        head: maps features to outputs float [B, K].
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, views: list[Tensor]) -> Tensor:
        """Outputs of views of several sizes, [b, C, S, S] each, one after the other."""
        outputs: Tensor = self.head(torch.cat([self.backbone(view) for view in views]))
        return outputs


class PretrainingModule(PhasedModule):
    """Trains a backbone on views of patches, by a row of the table of methods.

    Args:
        student: the backbone, from the weights it starts with, and the head.
        strategy: the phases.
        training: the settings as the loop takes them (`methods.as_training`).
        config: complete settings of the pretraining.
        normalization: per-band mean and std of inputs, in units of the bands.
        seed: of views.
        bands: what the stored numbers mean.
        multiple: of which the sizes of views are, for networks that cut images into patches.
    """

    chosen_by = "epoch"

    def __init__(
        self,
        student: Projected,
        strategy: Strategy,
        training: TrainingConfig,
        config: PretrainingConfig,
        *,
        normalization: Normalization,
        seed: int,
        bands: BandSpec,
        multiple: int = 1,
    ) -> None:
        super().__init__(student.backbone, strategy, training)
        assert config.method is not None
        self.config = config
        self.seed = seed
        self.multiple = multiple
        self.method = METHODS[config.method]
        self.student = student
        self._fixed = [p for p in student.head.parameters() if not p.requires_grad]
        self.teacher = Teacher(student, config.dino.teacher_momentum) if self.method.has_teacher else None
        self.objective = self.method.objective(config)
        self.preprocess = Preprocess(normalization.mean, normalization.std, config.image_size, bands=bands)
        normalize = self.preprocess.normalize
        self.views = Views(config.views, bands, normalize.mean, normalize.std)
        outputs = ("output_entropy", "output_kl") if self.objective.has_prototypes else ()
        self.figures = ("agreement", "others_agreement", *outputs, "rank_me", "feature_std")
        self._rows: list[Tensor] = []
        self._features: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._counts: list[int] = []
        self.enter_phase(0)

    # Networks

    @property
    def network(self) -> Projected:
        """Backbone and head of the student: all that the optimizer may change."""
        return self.student

    @property
    def backbone(self) -> nn.Module:
        """Of the student."""
        return self.student.backbone

    @property
    def head(self) -> nn.Module:
        """Of the student."""
        return self.student.head

    @property
    def kept(self) -> Projected:
        """What is measured and kept: the teacher where there is one, as its authors do, else the student."""
        return self.student if self.teacher is None else cast("Projected", self.teacher.module)

    def enter_phase(self, index: int) -> None:
        """Let everything train but what the head keeps fixed, at the phase's size."""
        super().enter_phase(index)
        for parameter in self._fixed:
            parameter.requires_grad_(False)
        self.preprocess.image_size = self.phase.image_size or self.settings.image_size

    def set_modes(self) -> None:
        """Train mode for the student, and for the teacher's batch norms."""
        super().set_modes()
        if self.teacher is not None:
            self.teacher.set_modes()

    def moving_statistics(self) -> list[tuple[nn.Module, nn.Module]]:
        """The student's batch norms, and the teacher's."""
        moving = super().moving_statistics()
        if self.teacher is None:
            return moving
        return [*moving, (self.kept.backbone, self.backbone), (self.kept.head, self.head)]

    # Steps

    def done(self, batch_idx: int) -> float:
        """Share of the run's steps before this one."""
        steps = int(self.trainer.num_training_batches)
        return float(self.current_epoch * steps + batch_idx) / (steps * total_epochs(self.strategy))

    @torch.no_grad()
    def draw(self, batch: Batch, generator: torch.Generator, *, local: bool = True) -> list[Tensor]:
        """The views of a batch as the network takes them.

        Returns:
            Two global ones, float [2 * B, C, S, S], and if there are any the local ones, float [V * B, C, s, s].
        """
        views, size = self.config.views, self.preprocess.image_size
        assert views.global_area is not None
        wanted = [(2, size, views.global_area)]
        if local and views.local:
            wanted.append((views.local, local_size(self.config, size, self.multiple), views.local_area))
        with torch.autocast(self.device.type, enabled=False):
            images = self.preprocess.to_float(batch.images)
            drawn = [self.views(images, count, of, area, generator, batch.part) for count, of, area in wanted]
            return [self.preprocess.normalize(view) for view in drawn]

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set what changes along the run: weight decay, and the teacher's momentum."""
        done, decay = self.done(batch_idx), self.config.weight_decay
        assert decay is not None
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        for group in optimizer.param_groups:
            if group["weight_decay"] > 0:
                group["weight_decay"] = cosine(*decay, done)
        if self.teacher is not None:
            self.teacher.decay = cosine(self.config.dino.teacher_momentum, 1.0, done)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of views of the batch."""
        views = self.draw(batch, batch_generator(self.seed, self.current_epoch, batch_idx))
        wanted = [] if self.teacher is None else [*self.teacher(views[:1]).float().split(len(batch))]
        outputs = [*self.student(views).float().split(len(batch))]
        with torch.autocast(self.device.type, enabled=False):
            loss = self.objective(outputs, wanted, self.done(batch_idx))
        return self.noted(loss, batch)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """As every module; at first the last layer of prototypes does not train."""
        if self.objective.has_prototypes and self.current_epoch < self.config.dino.freeze_last_layer:
            for parameter in cast("nn.Module", self.head.last_layer).parameters():
                parameter.grad = None
        super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_train_epoch_start(self) -> None:
        """As every module; a step that is left out must not leave its traces in the teacher or the centre either."""
        super().on_train_epoch_start()
        self.bad_steps.begin(nn.ModuleList([m for m in (self.student, self.teacher, self.objective) if m is not None]))

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Move the teacher a step towards the student."""
        if self.teacher is not None and not self.bad_steps.was_bad:
            self.teacher.update(self.student)

    # Measures

    def on_validation_epoch_start(self) -> None:
        """Forget those of the last epoch."""
        for kept in (self._rows, self._features, self._outputs, self._counts):
            kept.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Features of the patches as they are and of two views, and what the outputs say of prototypes."""
        drawn = self.draw(batch, batch_generator(self.seed, WATCHED, batch_idx), local=False)[0]
        views = torch.split(drawn, len(batch))
        with torch.autocast(self.device.type, enabled=False):
            plain: Tensor = self.preprocess(batch.images)
        features = [self.kept.backbone(images) for images in (plain, *views)]
        self._rows.append(batch.rows)
        self._features.append(torch.cat(features, dim=1).float().cpu())
        self._counts.append(len(batch))
        if self.objective.has_prototypes:
            scores = self.kept.head(features[0]).float()
            shares = self.objective.probabilities(scores, (self.current_epoch + 1) / total_epochs(self.strategy))
            entropy = -(shares * shares.clamp(min=1e-12).log()).sum(dim=1).mean()
            self._outputs.append(torch.cat([shares.mean(dim=0), entropy[None]]))

    def on_validation_epoch_end(self) -> None:
        """Log the measures, the same in every rank; the last epoch is the one that is kept."""
        found: dict[str, float] = {}
        if self._outputs:
            *shares, entropy = ranks.weighted_mean(self._outputs, self._counts)
            found = collapse.output_measures(torch.tensor(shares), entropy)
        gathered = ranks.gathered(self._rows, self._features)
        if gathered is not None:
            plain, first, second = gathered[1].chunk(3, dim=1)
            found["agreement"], found["others_agreement"] = collapse.agreement(first, second)
            found["rank_me"], found["feature_std"] = collapse.rank_me(plain), collapse.feature_std(plain)
        found = ranks.from_first(found)
        for name in self.figures:
            self.log(name, found[name], logger=False)
        self.log("val_choice", float(self.current_epoch), logger=False)
