"""The sections `model` and `training` of the configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from landsift.config_data import Fraction, Positive, Section

WEIGHTS_BY_NAME = ("imagenet", "none")
"""What `model.weights` may be beside a file or a folder."""

FirstLayer = Literal["zero", "mean", "timm"]


class HeadConfig(Section):
    """The classifier on the backbone's features."""

    hidden: int | None = Field(None, ge=1)
    """Width in dropout → hidden → batch norm → ReLU → half the dropout → classes (the tutorial's 256); null: one linear
    layer, as in the case study."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0


class Normalization(Section):
    """Per-band statistics that inputs in [0, 1] are normalised with."""

    mean: tuple[float, ...]
    std: tuple[Positive, ...]


class ModelConfig(Section):
    """Backbone, weights and head."""

    backbone: str = "efficientnet_b0"
    """Any timm model name."""
    module: str | None = None
    """A module that registers networks of your own with timm (`@register_model`): its name, or the path of its .py
    file. It is imported wherever a network is made, and its code counts as part of the training's; null: none."""
    weights: str = "imagenet"
    """`imagenet` (timm's hub), `none` (random), a file of weights in timm's layout, or a run directory."""
    backbone_args: dict[str, Any] = Field(default_factory=dict)
    """Passed on to `timm.create_model`, such as `{pad_type: same}`."""
    normalization: Literal["auto"] | Normalization = "auto"
    """`auto`: what the backbone was trained with, for random weights the training patches' own; or `{mean: [...],
    std: [...]}` for inputs in [0, 1]."""
    first_layer: FirstLayer = "mean"
    """Weights of RGB on other bands: the first layer's kernels of red, green and blue stay with these bands, and those
    of the others begin with `zero` or the `mean` of the three; `timm`: the three in turn, whatever the bands are."""
    head: HeadConfig = HeadConfig()


class AugmentConfig(Section):
    """Augmentation of training batches on the training device."""

    flips: bool = True
    """Horizontal and vertical flips and 90° rotations: the eight symmetries of the square, drawn per patch."""
    crop: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Smallest share of the area that a random crop keeps; null: no crops."""
    color_jitter: tuple[Fraction, Fraction, Fraction, Annotated[float, Field(ge=0.0, le=0.5)]] = (0.0, 0.0, 0.0, 0.0)
    """Strength of brightness, contrast, saturation and hue (the tutorial's .2, .2, .2, .1); zeros: off."""
    blur: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    """Largest standard deviation, in pixels of the patch, of a Gaussian blur, drawn per patch from 0 up; 0: off."""
    noise: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    """Standard deviation of noise that is added to each number, in standard deviations of its band; 0: off."""
    band_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Probability with which a patch's band becomes the band's mean everywhere; one band at least stays. 0: off."""
    mixup: Annotated[float, Field(ge=0.0)] = 0.0
    """Beta parameter of mixup (Zhang et al. 2018); 0: off."""
    cutmix: Annotated[float, Field(ge=0.0)] = 0.0
    """Beta parameter of cutmix (Yun et al. 2019); 0: off. With both on, each batch draws one."""

    @property
    def changes_values(self) -> bool:
        """Whether a patch is changed in more than its orientation, each time in another way."""
        strengths = *self.color_jitter, self.blur, self.noise, self.band_dropout
        return self.crop is not None or any(strength > 0 for strength in strengths)


class EarlyStopping(Section):
    """Stop a run whose validation loss no longer falls."""

    patience: int = Field(3, ge=1)
    """Epochs without improvement, in the last phase."""
    min_delta: Annotated[float, Field(ge=0.0)] = 0.0


class TrainingConfig(Section):
    """How the classifier is trained."""

    image_size: int = Field(224, ge=16, le=2048)
    """Height and width of the network's input in pixels."""
    batch_size: int = Field(64, ge=2)
    precision: Literal["auto", "32", "bf16"] = "auto"
    """`auto`: bfloat16 autocast on a GPU that computes in it, else float32."""
    compile: Literal["auto"] | bool = "auto"
    """`torch.compile` the network; `auto`: in phases long enough to pay its cost back (docs/results-speed.md)."""
    cache_features: bool = True
    """In phases that train only the head, run the backbone once per patch and view and cache its features.

    Not possible, which a notice says, with mixup and CutMix: they mix other pairs of patches in every epoch.
    """
    feature_views: int = Field(2, ge=1, le=8)
    """Number of views per patch in such phases: each another flip or rotation, with its own jitter, crop and so on."""
    feature_epochs: int | None = Field(None, ge=1)
    """Epochs after which these views are drawn anew, and their features computed again; null: once per phase."""
    ema: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Decay per step of an exponential moving average (EMA) of the weights, such as 0.998. The average is then
    validated, tested and saved; null: no EMA."""
    sampler: Literal["shuffle", "balanced"] = "shuffle"
    """`balanced`: an epoch draws as many patches as train has, the same number from every class: patches of rare
    classes are repeated, of common classes only a part is used. The best epoch is then selected by balanced
    accuracy."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced`: the training loss weights a patch by n / (K · n_k), for n patches of K classes, n_k of them of its
    class. The best epoch is then selected by balanced accuracy. Not together with `sampler: balanced`."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """The tutorial's is 0.1; it makes probabilities too small."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    """AdamW's decay, on matrices and kernels only; the case study's."""
    gradient_clip: Positive | None = 1.0
    """Largest gradient norm (the case study's 1); null: not clipped."""
    early_stopping: EarlyStopping | None = None
    checkpoint_minutes: Positive | None = 10.0
    """Minutes between checkpoints within an epoch, from which an interrupted run resumes; null: only after epochs."""
    max_skipped_steps: int = Field(10, ge=0)
    """Steps per epoch that may be skipped because loss or gradients are not finite; one more ends the run with an
    error, and its last good checkpoint is kept."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = Field(1, ge=1)
    """Processes on this machine that train together (DDP), one per GPU; `batch_size` is each one's."""
    num_nodes: int = Field(1, ge=1)
    """Machines that train together, without the pipeline: docs/scaling.md shows how."""
    lr_scaling: Literal["none", "linear", "sqrt"] = "none"
    """How all learning rates scale with (patches per step, `batch_size` × `devices` × `num_nodes`) / 64.

    `linear`: Goyal et al. 2017; `sqrt`: usual for AdamW (Malladi et al. 2022).
    """
    augment: AugmentConfig = AugmentConfig()

    @property
    def kept_views(self) -> int:
        """Views of a training patch whose features are cached: one where all would be the same."""
        return self.feature_views if self.augment.flips or self.augment.changes_values else 1

    def drawing(self, epoch: int) -> int:
        """How many times the cached views were drawn anew before an epoch of their phase, counted from 0."""
        return epoch // self.feature_epochs if self.feature_epochs else 0

    @property
    def balances_classes(self) -> bool:
        """Whether all classes count the same in training; then they do where the best epoch is chosen, too."""
        return "balanced" in {self.sampler, self.class_weights}

    @field_validator("precision", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int) else value
