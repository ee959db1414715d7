"""The Lightning module that trains a classifier through its phases.

A phase is entered from its number alone: `enter_phase` sets what trains and which layers are in train mode, and
`configure_optimizers` builds a fresh optimizer and schedule for exactly those parameters. So a checkpoint of any
epoch resumes, at phase boundaries too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from landsift.config import Normalization, TrainingConfig
from landsift.data.augment import augment, batch_generator, draw_symmetry, flips_and_turns, mix
from landsift.data.batches import Batch, PatchBatches
from landsift.models.blocks import backbone_blocks
from landsift.models.classifier import Normalize, PatchClassifier, resize, to_float
from landsift.models.inference import Folds, find_folds, folded, in_chunks
from landsift.training import distributed
from landsift.training.batch_norms import recalibrate, running_norms
from landsift.training.losses import cross_entropy
from landsift.training.nonfinite import BadSteps
from landsift.training.param_groups import parameter_groups
from landsift.training.phases import Phase, Strategy, first_epoch, phase_of, total_epochs

if TYPE_CHECKING:
    from landsift.training.ema import WeightAverage
    from landsift.training.feature_cache import FeatureCache


FUSED = ("cpu", "cuda")
"""Devices on which the optimizer's whole step is one kernel."""


class PatchModule(L.LightningModule):
    """Trains backbone and head through the phases of a strategy.

    Args:
        classifier: backbone and head.
        strategy: the phases.
        config: batch, augmentation and regularisation settings.
        classes: K.
        normalization: per-band mean and std of inputs in [0, 1].
        seed: of augmentation.
        keep_rows: store rows whose embeddings each validation keeps, int64 [M], ascending; for t-SNE.
        class_weights: how often the training loss counts a patch of each class, float [K]; None: once.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        classifier: PatchClassifier,
        strategy: Strategy,
        config: TrainingConfig,
        *,
        classes: int,
        normalization: Normalization,
        seed: int,
        keep_rows: Tensor | None = None,
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.strategy = strategy
        self.settings = config
        self.classes = classes
        self.seed = seed
        self.normalize = Normalize(normalization.mean, normalization.std)
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.keep_rows = keep_rows if keep_rows is not None else torch.empty(0, dtype=torch.int64)
        self.kept_rows: list[Tensor] = []
        self.kept_embeddings: list[Tensor] = []
        self.train_features: FeatureCache | None = None
        self.val_features: FeatureCache | None = None
        self.compiled = False
        self.averages = _averages(classifier, config.ema) if config.ema else None
        self._blocks = backbone_blocks(classifier.backbone)
        self._losses: list[Tensor] = []
        self._loss_weights: list[int] = []
        self.bad_steps = BadSteps(config.max_skipped_steps)
        self._val_figures: list[Tensor] = []
        self._val_weights: list[int] = []
        self._folds: Folds | None = None
        self._answer: Callable[[Tensor], Tensor] | None = None
        self.phase_index = -1
        self.enter_phase(0)

    # Phases

    @property
    def phase(self) -> Phase:
        """The phase that trains now."""
        return self.strategy[self.phase_index]

    def enter_phase(self, index: int) -> None:
        """Set what trains, put everything frozen into eval mode so that its batch norms stand still, average anew."""
        self.phase_index = index
        count = len(self._blocks) if self.phase.blocks == "all" else self.phase.blocks
        names = {name for block in self._blocks[max(0, len(self._blocks) - count) :] for name in block}
        for name, parameter in self.classifier.backbone.named_parameters():
            parameter.requires_grad_(name in names)
        for parameter in self.classifier.head.parameters():
            parameter.requires_grad_(True)
        self._begin_averages()
        self.set_modes()

    def set_modes(self) -> None:
        """Train mode for what trains, eval mode for what is frozen and for batch norms that shall stand still."""
        _set_mode(self.classifier, inherited=True)
        if self.phase.batch_norm != "train":
            for norm in running_norms(self.classifier.backbone):
                norm.eval()

    def recalibrate(self, batches: Iterable[Batch]) -> None:
        """Estimate the running statistics of the backbone's batch norms anew, at the phase's input size.

        Args:
            batches: training patches in random order, not augmented: as validation and prediction see them.
        """
        backbone = self.classifier.backbone
        images = (batch.images.to(self.device) for batch in batches)
        recalibrate(backbone, lambda stored: cast("Tensor", backbone(self.prepare(stored))), images)
        self._begin_averages()
        self.set_modes()

    def trainable_parameters(self) -> int:
        """How many parameters train in this phase."""
        return sum(p.numel() for p in self.classifier.parameters() if p.requires_grad)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What trains in this phase, for the optimizer."""
        return parameter_groups(self.classifier, self._blocks, self.phase, self.settings.weight_decay)

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
        step, (head, backbone) = len(self._losses) + self.bad_steps.count, self.learning_rates()
        return (
            f"step {step} of epoch {self.current_epoch + 1} ({self.phase.name}; learning rates {head:.2g} of the head, "
            f"{backbone:.2g} of the backbone)"
        )

    def learning_rates(self) -> tuple[float, float]:
        """The present learning rates of the head and of the backbone's last block (0 while it is frozen)."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        rates: dict[str, float] = {"head": 0.0, "backbone": 0.0}
        for group in optimizer.param_groups:
            rates[group["part"]] = max(rates[group["part"]], float(group["lr"]))
        return rates["head"], rates["backbone"]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Enter the phase of the checkpoint's epoch, before the optimizer is built, so that its state fits."""
        self.enter_phase(phase_of(self.strategy, int(checkpoint["epoch"])))

    # Steps

    @property
    def image_size(self) -> int:
        """Height and width of the network's input in this phase, in pixels."""
        return self.phase.image_size or self.settings.image_size

    def prepare(self, images: Tensor) -> Tensor:
        """Stored patches, uint8 [B, H, W, C], as the network takes them in this phase: float [B, C, S, S]."""
        with torch.autocast(self.device.type, enabled=False):
            prepared: Tensor = self.normalize(resize(to_float(images), self.image_size))
        return prepared

    def augmented(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Images as the network takes them in training: turned, jittered, cropped; float [B, C, S, S]."""
        config, images, size = self.settings.augment, batch.images, self.image_size
        if config.flips:
            images = flips_and_turns(images, draw_symmetry(len(images), generator, batch.part))
        with torch.autocast(self.device.type, enabled=False):  # pixels keep the precision that validation sees
            changed = augment(to_float(images), config, size, generator, batch.part)
            prepared: Tensor = self.normalize(resize(changed, size))
        return prepared

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of the augmented batch, or of the features that this phase has kept."""
        generator = batch_generator(self.seed, self.current_epoch, batch_idx)
        if self.train_features is not None:
            drawn = torch.zeros_like(batch.rows)
            if self.settings.augment.flips:
                drawn = draw_symmetry(len(batch), generator, batch.part)
            features = self.train_features.take_drawn(batch.rows, drawn)
            logits, labels = self.classifier.head(features.to(self.device)), batch.labels
        else:
            images = self.augmented(batch, generator)
            images, labels = mix(images, batch.labels, self.classes, self.settings.augment, generator)
            with self.as_compiled(batch):
                logits = self.classifier(images)
        loss = cross_entropy(logits, labels, self.settings.label_smoothing, self.class_weights)
        self._losses.append(loss.detach())
        self._loss_weights.append(len(batch))
        return loss * distributed.loss_weight(batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss and accuracy, and the embeddings of the rows kept for t-SNE: one pass over the backbone."""
        backbone, head = self.evaluated()
        if self.val_features is not None:
            features = self.val_features.take_drawn(batch.rows, torch.zeros_like(batch.rows)).to(self.device)
        else:
            features = self._features(backbone, batch)
        logits = head(features)
        loss = F.cross_entropy(logits, batch.labels)
        right = (logits.argmax(dim=1) == batch.labels).float()
        of_class = (batch.labels[:, None] == torch.arange(self.classes, device=batch.labels.device)).float()  # [B, K]
        found = of_class * right[:, None]
        self._val_figures.append(torch.cat([loss.float()[None], right.mean()[None], of_class.mean(0), found.mean(0)]))
        self._val_weights.append(len(batch))
        kept = torch.isin(batch.rows, self.keep_rows)
        if kept.any():
            self.kept_rows.append(batch.rows[kept])
            self.kept_embeddings.append(features[kept.to(features.device)].float().cpu())

    def _features(self, backbone: nn.Module, batch: Batch) -> Tensor:
        """Features float [B, D] of the batch as stored."""
        if self.compiled:
            with self.as_compiled(batch):
                features: Tensor = backbone(self.prepare(batch.images))
            return features
        if self._answer is None:
            self._folds = find_folds(backbone) if self._folds is None else self._folds
            network = folded(backbone, self._folds)  # in a closure: as an attribute it would be part of this module
            self._answer = lambda images: network(self.prepare(images))
        return in_chunks(self._answer, batch.images, self.image_size)

    def compile_backbone(self) -> None:
        """Compile the backbone in place, for batches of the configured size."""
        self.compiled = True
        for backbone in {self.classifier.backbone, self.evaluated()[0]}:
            backbone.compile(dynamic=False)

    def as_compiled(self, batch: Batch) -> AbstractContextManager[object]:
        """An epoch's last, smaller batch is not worth a compilation of its own."""
        if not self.compiled or len(batch) == self.settings.batch_size:
            return nullcontext()
        eager: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
        return eager

    # Averaged weights

    def evaluated(self) -> tuple[nn.Module, nn.Module]:
        """Backbone and head as they are validated, tested and saved: averaged where `training.ema` says so."""
        if self.averages is None:
            return self.classifier.backbone, self.classifier.head
        backbone, head = (average.module for _, average in self._averaged())
        return backbone, head

    def adopt_averages(self) -> None:
        """Make the averaged weights, where there are any, those of the classifier."""
        for part, averaged in zip((self.classifier.backbone, self.classifier.head), self.evaluated(), strict=True):
            part.load_state_dict(averaged.state_dict())

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Move the averages of what trains a step towards the weights; their decay grows from 0 within a phase."""
        if self.averages is None or self.bad_steps.was_bad:
            return
        first = first_epoch(self.strategy, self.phase_index)
        steps_per_epoch = int(self.trainer.num_training_batches)
        step = (self.current_epoch - first) * steps_per_epoch + batch_idx + 1
        for part, average in self._averaged():
            if part is self.classifier.head or self.phase.trains_backbone:
                average.update(part, step)

    def _begin_averages(self) -> None:
        """Start the averages, where there are any, from the weights and statistics as they are."""
        if self.averages is not None:
            for part, average in self._averaged():
                average.begin(part)

    def _averaged(self) -> list[tuple[nn.Module, WeightAverage]]:
        """Backbone and head, each with its average."""
        assert self.averages is not None
        averages = cast("list[WeightAverage]", [self.averages["backbone"], self.averages["head"]])
        return list(zip((self.classifier.backbone, self.classifier.head), averages, strict=True))

    def on_validation_epoch_start(self) -> None:
        """Forget the embeddings and figures of the last validation."""
        self.kept_rows.clear()
        self.kept_embeddings.clear()
        self._val_figures.clear()
        self._val_weights.clear()
        self._answer = None

    def on_validation_epoch_end(self) -> None:
        """Log loss and accuracy per patch and the mean recall of the classes, over all ranks."""
        self._answer = None
        loss, accuracy, *shares = distributed.weighted_mean(self._val_figures, self._val_weights)
        of_class, found = shares[: self.classes], shares[self.classes :]
        recalls = [right / all_of for right, all_of in zip(found, of_class, strict=True) if all_of > 0]
        # logger=False: the History callback writes each epoch's figures once. Every rank logs the same numbers.
        self.log("val_loss", loss, logger=False)
        self.log("val_acc", accuracy, logger=False, prog_bar=True)
        recall = sum(recalls) / len(recalls)
        self.log("val_recall", recall, logger=False)
        figure = recall if self.settings.balances_classes else accuracy
        self.log("val_choice", figure - self._tie_break(loss), logger=False)

    def _tie_break(self, loss: float) -> float:
        """Grows with the loss, and is less than any difference of accuracies or recalls: small sets have many ties."""
        assert isinstance(self.trainer.val_dataloaders, PatchBatches)
        patches = len(self.trainer.val_dataloaders.sampler.rows)
        return 0.5 / (self.classes * patches) * loss / (1.0 + loss)

    def on_train_epoch_start(self) -> None:
        """Start the epoch's own mean of the training loss, in the modes of the phase."""
        self.set_modes()
        self._losses.clear()
        self._loss_weights.clear()
        self.bad_steps.begin(self.classifier)  # averages do not move in a bad step

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
        return distributed.weighted_mean([loss[None] for loss in self._losses], self._loss_weights)[0]


def _averages(classifier: PatchClassifier, decay: float) -> nn.ModuleDict:
    """Averages of backbone and head apart: what is frozen needs none."""
    from landsift.training.ema import WeightAverage  # timm's module of averages imports W&B where it is installed

    parts = {"backbone": classifier.backbone, "head": classifier.head}
    return nn.ModuleDict({n: WeightAverage(part, decay) for n, part in parts.items()}).requires_grad_(False)


def _set_mode(module: nn.Module, *, inherited: bool) -> None:
    """A layer with parameters trains if any of them does; one without (dropout) does as what it stands in."""
    parameters = list(module.parameters())
    module.training = any(p.requires_grad for p in parameters) if parameters else inherited
    for child in module.children():
        _set_mode(child, inherited=module.training)
