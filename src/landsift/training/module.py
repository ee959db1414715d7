"""The Lightning module of a classifier: its loss, its validation, its EMA."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from landsift.bands import BandSpec
from landsift.config import Normalization, TrainingConfig
from landsift.data.augment import augment, batch_generator, draw_symmetry, mix
from landsift.data.batches import Batch, PatchBatches
from landsift.data.patch_draws import PatchDraws
from landsift.models.classifier import PatchClassifier
from landsift.models.inference import Folds, find_folds, folded, in_chunks
from landsift.models.preprocess import Preprocess
from landsift.training import ranks
from landsift.training.batch_norms import recalibrate, running_norms
from landsift.training.losses import cross_entropy
from landsift.training.phased_module import PhasedModule
from landsift.training.phases import Strategy, first_epoch
from landsift.training.views import augmented_views

if TYPE_CHECKING:
    from landsift.training.ema import WeightAverage
    from landsift.training.feature_cache import FeatureCache

logger = logging.getLogger("landsift")


class PatchModule(PhasedModule):
    """Trains a classifier, backbone and head, through the phases of a strategy.

    Args:
        classifier: backbone and head.
        strategy: the phases.
        config: batch, augmentation and regularisation settings.
        classes: K.
        normalization: per-band mean and std of inputs, in units of the bands (of pictures in [0, 1]).
        seed: of augmentation.
        keep_rows: store rows whose embeddings each validation keeps, int64 [M], ascending; for t-SNE.
        class_weights: how often the training loss counts a patch of each class, float [K]; None: once.
        bands: what the stored numbers mean; None: 8-bit RGB.
    """

    class_weights: Tensor | None
    figures = ("val_loss", "val_acc")

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
        bands: BandSpec | None = None,
    ) -> None:
        super().__init__(classifier.backbone, strategy, config)
        self.classifier = classifier
        self.classes = classes
        self.chosen_by = "val_recall" if config.balances_classes else "val_acc"
        self.seed = seed
        self.preprocess = Preprocess(normalization.mean, normalization.std, config.image_size, bands=bands)
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.keep_rows = keep_rows if keep_rows is not None else torch.empty(0, dtype=torch.int64)
        self.kept_rows: list[Tensor] = []
        self.kept_embeddings: list[Tensor] = []
        self.train_features: FeatureCache | None = None
        self.val_features: FeatureCache | None = None
        self.compiled = False
        self.averages = _averages(classifier, config.ema) if config.ema else None
        self._val_figures: list[Tensor] = []
        self._val_weights: list[int] = []
        self._folds: Folds | None = None
        self._answer: Callable[[Tensor], Tensor] | None = None
        self.enter_phase(0)

    @property
    def network(self) -> PatchClassifier:
        """Backbone and head together: all that the optimizer may change."""
        return self.classifier

    @property
    def backbone(self) -> nn.Module:
        """The classifier's backbone."""
        return self.classifier.backbone

    @property
    def head(self) -> nn.Module:
        """The classifier's head."""
        return self.classifier.head

    # Phases

    def enter_phase(self, index: int) -> None:
        """Set what trains, put everything frozen into eval mode so that its BN statistics stay, start EMA anew."""
        super().enter_phase(index)
        self.preprocess.image_size = self.phase.image_size or self.settings.image_size
        self._begin_averages()

    def recalibrate(self, batches: Iterable[Batch]) -> None:
        """Estimate the running statistics of the backbone's batch norms anew, at the phase's input size.

        Args:
            batches: training patches in random order, not augmented: as validation and prediction see them.
        """
        backbone = self.backbone
        if not running_norms(backbone):
            logger.info("the backbone has no batch norms: batch_norm: recalibrate changes nothing")
            return
        images = (batch.images.to(self.device) for batch in batches)
        recalibrate(backbone, lambda stored: cast("Tensor", backbone(self.prepare(stored))), images)
        self._begin_averages()
        self.set_modes()

    # Steps

    @property
    def image_size(self) -> int:
        """Height and width of the network's input in this phase, in pixels."""
        return self.preprocess.image_size

    def prepare(self, images: Tensor) -> Tensor:
        """Stored patches, [B, H, W, C], as the network takes them in this phase: float [B, C, S, S]."""
        with torch.autocast(self.device.type, enabled=False):
            prepared: Tensor = self.preprocess(images)
        return prepared

    def augmented(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Images as the network takes them in training: turned, jittered, cropped; float [B, C, S, S]."""
        config, size = self.settings.augment, self.image_size
        pre = self.preprocess
        views = augmented_views(
            batch,
            config,
            size,
            pre.to_input,
            generator,
            to_float=pre.to_float,
            bands=pre.bands,
            mean=pre.normalize.mean,
            std=pre.normalize.std,
        )
        return views[0]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of the augmented batch, or of the features that this phase has kept."""
        generator = batch_generator(self.seed, self.current_epoch, batch_idx)
        if self.train_features is not None:
            drawn = draw_symmetry(len(batch), generator, batch.part)
            features = self.train_features.take_drawn(batch.rows, drawn)
            logits, labels = self.classifier.head(features.to(self.device)), batch.labels
        else:
            images = self.augmented(batch, generator)
            images, labels = mix(images, batch.labels, self.classes, self.settings.augment, generator)
            with self.as_compiled(len(batch)):
                logits = self.classifier(images)
        loss = cross_entropy(logits, labels, self.settings.label_smoothing, self.class_weights)
        return self.noted(loss, batch)

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
            with self.as_compiled(len(batch)):
                features: Tensor = backbone(self.prepare(batch.images))
            return features
        if self._answer is None:
            self._folds = find_folds(backbone) if self._folds is None else self._folds
            network = folded(backbone, self._folds)  # in a closure: as an attribute it would be part of this module
            self._answer = lambda images: network(self.prepare(images))
        return in_chunks(self._answer, batch.images, self.image_size)

    def frozen_features(self, images: Tensor, draws: PatchDraws | None = None) -> Tensor:
        """Features float [B, D] by the backbone as it is; images [B, H, W, C], as stored or turned.

        With `draws` the images are jittered, cropped and so on first, by what is drawn for each patch.
        """
        with torch.inference_mode(), self.as_compiled(len(images)):
            prepared = self.prepare(images) if draws is None else self._drawn(images, draws)
            features: Tensor = self.backbone(prepared)
        return features

    def _drawn(self, images: Tensor, draws: PatchDraws) -> Tensor:
        """Stored patches, [B, H, W, C], augmented: float [B, C, S, S]; flips and rotations are the caller's."""
        pre, config = self.preprocess, self.settings.augment
        with torch.autocast(images.device.type, enabled=False):
            floats = pre.to_float(images)
            mean, std = pre.normalize.mean, pre.normalize.std
            return pre.to_input(augment(floats, config, self.image_size, draws, None, pre.bands, mean, std))

    def compile_backbone(self) -> None:
        """Compile the backbone in place, for batches of the configured size."""
        self.compiled = True
        for backbone in {self.classifier.backbone, self.evaluated()[0]}:
            backbone.compile(dynamic=False)

    def as_compiled(self, patches: int) -> AbstractContextManager[object]:
        """An epoch's last, smaller batch is not worth a compilation of its own."""
        if not self.compiled or patches == self.settings.batch_size:
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
        """Put the EMA weights, if there are any, into the classifier."""
        for part, averaged in zip((self.classifier.backbone, self.classifier.head), self.evaluated(), strict=True):
            part.load_state_dict(averaged.state_dict())

    def moving_statistics(self) -> list[tuple[nn.Module, nn.Module]]:
        """Backbone and head where their batch norms follow the batches, each followed by its average."""
        averages = dict(zip((self.backbone, self.head), self.evaluated(), strict=True))
        moving = [part for part, _ in super().moving_statistics()]
        return [(network, part) for part in moving for network in dict.fromkeys((part, averages[part]))]

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
        loss, accuracy, *shares = ranks.weighted_mean(self._val_figures, self._val_weights)
        of_class, found = shares[: self.classes], shares[self.classes :]
        recalls = [right / all_of for right, all_of in zip(found, of_class, strict=True) if all_of > 0]
        # logger=False: the History callback writes each epoch's figures once. Every rank logs the same numbers.
        self.log("val_loss", loss, logger=False)
        self.log("val_acc", accuracy, logger=False, prog_bar=True)
        recall = sum(recalls) / len(recalls)
        self.log("val_recall", recall, logger=False)
        figure = recall if self.chosen_by == "val_recall" else accuracy
        self.log("val_choice", figure - self._tie_break(loss), logger=False)

    def _tie_break(self, loss: float) -> float:
        """Grows with the loss, and is less than any difference of accuracies or recalls: small sets have many ties."""
        assert isinstance(self.trainer.val_dataloaders, PatchBatches)
        patches = len(self.trainer.val_dataloaders.sampler.rows)
        return 0.5 / (self.classes * patches) * loss / (1.0 + loss)


def _averages(classifier: PatchClassifier, decay: float) -> nn.ModuleDict:
    """Averages of backbone and head apart: what is frozen needs none."""
    from landsift.training.ema import WeightAverage  # timm's module of averages imports W&B where it is installed

    parts = {"backbone": classifier.backbone, "head": classifier.head}
    return nn.ModuleDict({n: WeightAverage(part, decay) for n, part in parts.items()})
