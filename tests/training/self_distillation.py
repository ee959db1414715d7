"""A module that is no classifier, for the loop to train: a student that learns from its own average, without labels.

It is as small as a module can be that has all that is hard to resume: two views of every patch, a teacher that is
forwarded in every step, dropout, batch norms. (The teacher's answers are not centred, as DINO's are: it learns little.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from landsift.config import Normalization, TrainingConfig
from landsift.data.augment import batch_generator
from landsift.data.batches import Batch
from landsift.models.classifier import PatchClassifier
from landsift.models.preprocess import Normalize, resize, to_float
from landsift.training import ranks
from landsift.training.ema import WeightAverage
from landsift.training.phased_module import PhasedModule
from landsift.training.phases import Strategy
from landsift.training.views import augmented_views


class SelfDistillation(PhasedModule):
    """The student answers each view as the teacher answers the other.

    Args:
        student: a backbone and a head that projects.
        strategy: the phases.
        config: of the training.
        normalization: of the inputs.
        seed: of the views.
    """

    figures = ("val_loss",)
    chosen_by = "val_loss"

    def __init__(
        self,
        student: PatchClassifier,
        strategy: Strategy,
        config: TrainingConfig,
        normalization: Normalization,
        seed: int,
    ) -> None:
        super().__init__(student.backbone, strategy, config)
        self.student = student
        self.teacher = WeightAverage(student, decay=0.9)
        self.normalize = Normalize(normalization.mean, normalization.std)
        self.seed = seed
        self.val_losses: list[Tensor] = []
        self.val_patches: list[int] = []
        self.enter_phase(0)

    @property
    def network(self):
        return self.student

    @property
    def backbone(self):
        return self.student.backbone

    @property
    def head(self):
        return self.student.head

    def to_input(self, images: Tensor) -> Tensor:
        return self.normalize(resize(images, self.phase.image_size or self.settings.image_size))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        generator = batch_generator(self.seed, self.current_epoch, batch_idx)
        size = self.phase.image_size or self.settings.image_size
        views = augmented_views(batch, self.settings.augment, size, self.to_input, generator, count=2)
        wanted = [self.teacher(view) for view in views]
        answers = [self.student(view) for view in views]
        return self.noted((unlike(answers[0], wanted[1]) + unlike(answers[1], wanted[0])) / 2, batch)

    def on_train_batch_end(self, outputs, batch: Batch, batch_idx: int) -> None:
        if not self.bad_steps.was_bad:
            self.teacher.decay = 0.9 + 0.1 * self.current_epoch / 4  # a teacher slows down
            self.teacher.update(self.student)

    def moving_statistics(self):
        teacher = self.teacher.module
        copies = {self.backbone: teacher.backbone, self.head: teacher.head}
        moving = super().moving_statistics()
        return moving + [(copies[part], part) for part, _ in moving]

    def on_validation_epoch_start(self) -> None:
        self.val_losses.clear()
        self.val_patches.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        images = self.to_input(to_float(batch.images))
        self.val_losses.append(unlike(self.student(images), self.teacher(images))[None])
        self.val_patches.append(len(batch))

    def on_validation_epoch_end(self) -> None:
        [loss] = ranks.weighted_mean(self.val_losses, self.val_patches)
        self.log("val_loss", loss, logger=False)
        self.log("val_choice", -loss, logger=False)


def unlike(answer: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy of the student's answer against the teacher's, float [B, K] each."""
    return torch.nn.functional.cross_entropy(answer, wanted.softmax(dim=1))
