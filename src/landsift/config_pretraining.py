"""The section `pretraining` of the configuration: how a backbone learns from patches without their labels."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from landsift.config_data import Fraction, Positive, Section

Area = tuple[Annotated[float, Field(gt=0.0, le=1.0)], Annotated[float, Field(gt=0.0, le=1.0)]]
Decay = Annotated[float, Field(ge=0.0, le=1.0)]


class ViewsConfig(Section):
    """The views of a patch that are compared."""

    local: int | None = Field(None, ge=0, le=16)
    """Number of small views beside the two large ones (multi-crop); null: as the method's row of the table says."""
    local_size: int = Field(32, ge=16, le=2048)
    """Height and width of a local view in pixels, at `image_size`; smaller in phases of smaller images."""
    global_area: Area | None = None
    """Smallest and largest share of the patch's area that a global view shows; null: as the method's row says."""
    local_area: Area = (0.1, 0.4)
    """The same of a local view."""
    flips: bool = True
    """Flips and 90° rotations, drawn per view."""
    color_jitter: tuple[Fraction, Fraction, Fraction, Annotated[float, Field(ge=0.0, le=0.5)]] = (0.05, 0.05, 0.0, 0.0)
    """Strength of brightness, contrast, saturation and hue; the last two for red, green and blue alone."""
    band_jitter: Fraction = 0.1
    """Strength of a factor for each band by itself, for patches of other bands than red, green and blue."""
    blur: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    """Largest standard deviation of a Gaussian blur in pixels of the view; 0: off."""
    noise: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    """Standard deviation of added noise, in standard deviations of the band; 0: off."""
    band_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Probability with which a band of a view becomes its mean; 0: off."""

    @field_validator("global_area", "local_area")
    @classmethod
    def _ascending(cls, value: Area | None) -> Area | None:
        if value is not None and value[0] > value[1]:
            raise ValueError("the smallest share comes first, such as [0.4, 1.0]")
        return value


class ProjectionConfig(Section):
    """The head on the backbone's features, which is left out of the result; null: as the method's row says."""

    hidden: int | None = Field(None, ge=8)
    """Width of its hidden layers."""
    bottleneck: int | None = Field(None, ge=8)
    """Width before the last layer; of DINO alone."""
    output: int | None = Field(None, ge=8)
    """Width of its outputs; of DINO the number of prototypes (65,536 in the paper, for 1.3 million images)."""


class DinoConfig(Section):
    """DINO (Caron et al. 2021): a student predicts the outputs of a teacher, which is its average."""

    teacher_momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99
    """Of the teacher's weights, per step; it rises to 1 along a cosine (0.996 in the paper)."""
    center_momentum: Decay = 0.9
    """Of the mean of the teacher's outputs, which is subtracted from them (centring); 1: no centring."""
    student_temperature: Positive = 0.1
    teacher_temperature: tuple[Positive, Positive] = (0.04, 0.04)
    """At the beginning and after the warm-up; lower than the student's, so that outputs are sharpened."""
    temperature_warmup: Fraction = 0.3
    """Share of the run over which the teacher's temperature rises."""
    freeze_last_layer: int = Field(1, ge=0)
    """Epochs in which the head's last layer does not train."""


class LejepaConfig(Section):
    """LeJEPA (Balestriero and LeCun 2025): views predict their mean, and SIGReg keeps outputs Gaussian."""

    weight: Fraction = 0.05
    """Share of SIGReg in the loss; views' distances from their mean are the rest."""
    directions: int = Field(256, ge=16)
    """Random directions in which outputs are compared with a Gaussian, in every step (1,024 in the paper)."""


class SimclrConfig(Section):
    """SimCLR (Chen et al. 2020): two views of a patch are to be nearer than those of others in the batch."""

    temperature: Positive = 0.2


class WatchConfig(Section):
    """What is measured after every epoch, so that a collapse does not go unnoticed."""

    patches: int = Field(512, ge=16)
    """Training patches that the measures are taken on, the same in every epoch."""
    patience: int = Field(3, ge=1)
    """Consecutive epochs with a sign of a collapse after which the run stops; it warns from the first."""
    probe: str | None = None
    """A labelled source: its validation patches are classified by their nearest training patches (kNN); null: none.

    It is divided by `data.split`. Its test patches are not looked at, and nothing that it finds changes the training.
    """
    probe_every: int = Field(5, ge=1)
    """Epochs between such checks; the last epoch is always checked."""
    probe_patches: int = Field(5000, ge=10)
    """Training patches of that source that may be neighbours, and half as many validation patches."""


class PretrainingConfig(Section):
    """Self-supervised pretraining of the backbone; `model` says of which, and from which weights it starts."""

    method: Literal["dino", "lejepa", "simclr"] | None = None
    """A row of the table in `pretraining/methods.py`. null: `landsift run` trains without pretraining, and `landsift
    pretrain` takes `simclr`."""
    epochs: int = Field(30, ge=1)
    image_size: int = Field(64, ge=16, le=2048)
    """Height and width of a global view in pixels, and of the network's input."""
    progressive: tuple[tuple[Annotated[int, Field(ge=16, le=2048)], Annotated[float, Field(gt=0.0, lt=1.0)]], ...] = ()
    """Smaller sizes at the beginning, each with its share of the epochs, such as `[[32, 0.4], [48, 0.3]]`."""
    batch_size: int = Field(128, ge=2)
    """Patches per step and process."""
    lr: Positive | None = None
    """Peak learning rate of AdamW; null: as the method's row says."""
    lr_min: Annotated[float, Field(ge=0.0)] = 1e-6
    weight_decay: tuple[Annotated[float, Field(ge=0.0)], Annotated[float, Field(ge=0.0)]] | None = None
    """At the beginning and at the end, along a cosine; null: as the method's row says."""
    gradient_clip: Positive | None = 3.0
    """Largest gradient norm; null: not clipped."""
    views: ViewsConfig = ViewsConfig()
    head: ProjectionConfig = ProjectionConfig()
    dino: DinoConfig = DinoConfig()
    lejepa: LejepaConfig = LejepaConfig()
    simclr: SimclrConfig = SimclrConfig()
    watch: WatchConfig = WatchConfig()

    @model_validator(mode="after")
    def _sizes_grow(self) -> Self:
        sizes = [size for size, _ in self.progressive]
        if sizes != sorted(set(sizes)) or (sizes and sizes[-1] >= self.image_size):
            raise ValueError("progressive: sizes grow, and all are below image_size")
        if sum(share for _, share in self.progressive) >= 1.0:
            raise ValueError("progressive: the shares of the epochs must leave some for image_size")
        if self.epochs <= len(self.progressive):
            raise ValueError("progressive: there are fewer epochs than sizes")
        return self
