"""What the methods minimise, by lightly's losses: of the projections of views, large ones first."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from landsift.config_pretraining import DinoConfig, LejepaConfig, PretrainingConfig, ProjectionConfig, SimclrConfig
from landsift.errors import ConfigError
from landsift.models.weights_file import one_line
from landsift.pretraining.schedules import linear
from landsift.training import ranks


class Objective(nn.Module):
    """A loss of the views of a batch.

    Attributes:
        has_prototypes: outputs are scores of prototypes, which `probabilities` turns into shares.
    """

    has_prototypes = False

    def forward(self, outputs: list[Tensor], wanted: list[Tensor], done: float) -> Tensor:
        """The loss.

        Args:
            outputs: of the student, float32 [B, K] for each view, the two global ones first.
            wanted: of the teacher, float32 [B, K] for each global view; empty for a method without one.
            done: share of the run.
        """
        raise NotImplementedError

    def probabilities(self, outputs: Tensor, done: float) -> Tensor:
        """What the teacher's outputs, float [B, K], say of each prototype: float [B, K], rows of sum 1."""
        raise NotImplementedError


class Dino(Objective):
    """Cross-entropy between the teacher's centred and sharpened outputs and the student's."""

    has_prototypes = True

    def __init__(self, config: DinoConfig, width: int) -> None:
        from lightly.loss import DINOLoss

        super().__init__()
        self.config = config
        self.loss = DINOLoss(
            output_dim=width, student_temp=config.student_temperature, center_momentum=config.center_momentum
        )

    def temperature(self, done: float) -> float:
        """Of the teacher."""
        return linear(*self.config.teacher_temperature, done, self.config.temperature_warmup)

    def forward(self, outputs: list[Tensor], wanted: list[Tensor], done: float) -> Tensor:
        """The loss; it moves the centre."""
        loss: Tensor = self.loss(wanted, outputs, teacher_temp=self.temperature(done))
        return loss

    def probabilities(self, outputs: Tensor, done: float) -> Tensor:
        """The teacher's outputs, centred and sharpened."""
        shares: Tensor = ((outputs - self.loss.center[0]) / self.temperature(done)).softmax(dim=1)
        return shares


class Lejepa(Objective):
    """Distance of views from the mean of the global ones, and SIGReg on the outputs of each view."""

    def __init__(self, config: LejepaConfig) -> None:
        from lightly.loss import SIGReg

        super().__init__()
        self.weight = config.weight
        self.regulariser = SIGReg(num_vectors=config.directions, gather_distributed=True)

    def forward(self, outputs: list[Tensor], wanted: list[Tensor], done: float) -> Tensor:
        """The loss, whose random directions are of torch's global generator."""
        from lightly.loss.lejepa_loss import lejepa_invariance_loss

        stacked = torch.stack(outputs)  # [V, B, K]
        apart: Tensor = lejepa_invariance_loss(all_proj=stacked, global_proj=stacked[:2])
        gaussian: Tensor = self.regulariser(stacked)
        return self.weight * gaussian + (1.0 - self.weight) * apart


class Simclr(Objective):
    """Cross-entropy of finding a patch's other view among all views of the global batch (NT-Xent).

    Where processes have unequal shares of a step, as in the last one of an epoch, each looks among its own.

    Raises:
        ConfigError: the temperature is one that no loss can be divided by.
    """

    def __init__(self, config: SimclrConfig) -> None:
        from lightly.loss import NTXentLoss

        super().__init__()
        try:
            self.loss = NTXentLoss(temperature=config.temperature)
        except ValueError as error:
            usual = f"set pretraining.simclr.temperature={SimclrConfig().temperature:g}"
            raise ConfigError(f"pretraining.simclr.temperature: {one_line(error)}", usual) from None

    def forward(self, outputs: list[Tensor], wanted: list[Tensor], done: float) -> Tensor:
        """The loss of the two global views; each local one is to be near both."""
        self.loss.gather_distributed = ranks.world() > 1 and ranks.equal(len(outputs[0]))
        pairs = [(outputs[0], outputs[1])] + [(view, outputs[i % 2]) for i, view in enumerate(outputs[2:])]
        return torch.stack([self.loss(first, second) for first, second in pairs]).mean()


def dino_head(features: int, config: ProjectionConfig) -> nn.Module:
    """An MLP, a normalised bottleneck and prototypes of length 1."""
    from lightly.models.modules.heads import DINOProjectionHead

    # Its last layer is torch's older weight norm; made with gradients, it could not be copied for the teacher.
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        head: nn.Module = DINOProjectionHead(
            features, _given(config.hidden), _given(config.bottleneck), _given(config.output), norm_last_layer=True
        )
    return head


def lejepa_head(features: int, config: ProjectionConfig) -> nn.Module:
    """An MLP with batch norms, and linear outputs."""
    from lightly.models.modules.heads import LeJEPAProjectionHead

    head: nn.Module = LeJEPAProjectionHead(features, _given(config.hidden), _given(config.output))
    return head


def simclr_head(features: int, config: ProjectionConfig) -> nn.Module:
    """An MLP with batch norms."""
    from lightly.models.modules.heads import SimCLRProjectionHead

    head: nn.Module = SimCLRProjectionHead(features, _given(config.hidden), _given(config.output))
    return head


def _given(width: int | None) -> int:
    assert width is not None  # `methods.complete` has filled it in
    return width


def dino(config: PretrainingConfig) -> Objective:
    """Of the row `dino`."""
    return Dino(config.dino, _given(config.head.output))


def lejepa(config: PretrainingConfig) -> Objective:
    """Of the row `lejepa`."""
    return Lejepa(config.lejepa)


def simclr(config: PretrainingConfig) -> Objective:
    """Of the row `simclr`."""
    return Simclr(config.simclr)
