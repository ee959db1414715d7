"""What a map is made with: the model, and how."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from landsift.errors import ConfigError, DataError, ModelError
from landsift.mapping.agreement import ENOUGH
from landsift.mapping.classify import MIN_VALID
from landsift.mapping.masks import NO_MASK
from landsift.mapping.smoothing import VARIANCE, Smoother
from landsift.models.loading import AnyPredictor, fingerprint_of, load_model
from landsift.models.onnx_predictor import OnnxPredictor
from landsift.models.predictor import say_other_views
from landsift.models.trust import tell

logger = logging.getLogger("landsift")

Tta = Literal["none", "flips"]
Source = Path | str


@dataclass(frozen=True)
class MapOptions:
    """How a map is made.

    Attributes:
        stride: pixels from a patch to the next, and side of the map's cells; None: those of a patch.
        dense: whether the first part of the network passes over the scene once, for all patches.
        agreement: share of patches that should get the same class dense as patch by patch; the higher, the less of the
            network is shared.
        mask: a raster of pixels that do not show the ground, such as clouds; "none": none, also where the scene brings
            one; None: what the scene brings.
        mask_classes: numbers of the mask that do not show the ground; None: as of `open_scene`.
        min_valid: share of a patch's pixels, and of a cell's, that must be valid for a class, above 0.
        probabilities: whether to write the probabilities of all classes and their entropy.
        smooth: side in cells of the neighbourhood of Bayesian smoothing, odd; None: none.
        smooth_variance: of that smoothing (`smoothing.py`).
        tta: test-time augmentation; None: as the model says.
        reading: how the files are read, as of `predict_files`.
    """

    stride: int | None = None
    dense: bool = False
    agreement: float = ENOUGH
    mask: Source | None = None
    mask_classes: tuple[int, ...] | None = None
    min_valid: float = MIN_VALID
    probabilities: bool = False
    smooth: int | None = None
    smooth_variance: float = VARIANCE
    tta: Tta | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what can be without a model; raises ConfigError or RunError."""
        for name in ("stride", "smooth"):
            object.__setattr__(self, name, _whole(f"--{name}", getattr(self, name)))
        for name in ("min_valid", "agreement", "smooth_variance"):
            object.__setattr__(self, name, _number(f"--{name.replace('_', '-')}", getattr(self, name)))
        if not isinstance(self.reading, Mapping):
            raise ConfigError(f"reading={self.reading!r} is none", "give {'sensor': 'sentinel2_l2a'} or the like")
        if self.mask_classes is not None:
            object.__setattr__(self, "mask_classes", classes_of(self.mask_classes))
            if self.mask == NO_MASK:
                raise ConfigError("--mask-classes changes nothing without a mask", "leave out --mask none, or this")
        if not 0 < self.min_valid <= 1:
            raise ConfigError(f"--min-valid {self.min_valid} is no share above 0", "give a number up to 1, such as 0.9")
        if not 0 < self.agreement <= 1:
            raise ConfigError(
                f"--agreement {self.agreement} is no share above 0", "give a number up to 1, such as 0.95"
            )
        if self.tta not in (None, "none", "flips"):
            raise ConfigError(f"--tta {self.tta} is not known", "give none or flips")
        if self.smooth is not None:
            Smoother(self.smooth, self.smooth_variance)


def _number(name: str, value: Any) -> Any:
    """A number of Python's, of one of numpy's too; raises ConfigError."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise ConfigError(f"{name} {value!r} is no number", "give a number, such as 0.9")
    return value.item() if isinstance(value, np.generic) else value


def _whole(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool | str) or not float(_number(name, value)).is_integer():
        raise ConfigError(f"{name} {value!r} is no whole number", "give one, such as 5")
    return int(value)


def classes_of(given: object) -> tuple[int, ...]:
    """Numbers of a mask's classes in order; raises ConfigError where they are none."""
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise ConfigError(f"mask_classes={given!r}: no list of whole numbers", "give one, such as [3, 8]")
    return tuple(sorted({value for each in given if (value := _whole("--mask-classes", each)) is not None}))


@dataclass(frozen=True)
class LoadedModel:
    """A model that maps scenes.

    Attributes:
        predictor: with the test-time augmentation that is wanted.
        fingerprint: SHA-256 of its files, 16 hexadecimal digits.
        source: where it is, as it was given.
    """

    predictor: AnyPredictor
    fingerprint: str
    source: str

    @classmethod
    def load(
        cls,
        model: Source,
        options: MapOptions,
        *,
        module: str | None = None,
        device: str = "auto",
        quiet: bool = False,
    ) -> Self:
        """Load it.

        Args:
            model: as of `load_model`, as are module and device.
            options: how it is to map.
            module: the same.
            device: the same.
            quiet: without saying what its thresholds and the options do not do: that was said in another process.

        Raises:
            ModelError: there is no model, no such device, or it was exported and does not do what the options ask.
            DataError: the stride is larger than its patches.
        """
        predictor = load_model(model, device, module=module)
        patch = predictor.description.patch_size
        if options.stride is not None and not 1 <= options.stride <= min(patch):
            raise DataError(
                f"--stride {options.stride} is not between 1 and the {min(patch)} pixels of the model's patches",
                "with a smaller stride patches overlap, and cells are smaller",
            )
        if isinstance(predictor, OnnxPredictor):
            _check_exported(predictor, options)
        elif options.tta is not None:
            if not quiet:
                say_other_views(predictor, options.tta)
            predictor.description = replace(predictor.description, tta=options.tta)
        if predictor.trust is not None and not quiet:
            tell(predictor.trust)
            if options.stride is not None and options.stride < min(patch):
                logger.info(
                    "thresholds are those of single patches, and hold less well for means of several (--stride)"
                )
        fingerprint = predictor.fingerprint if isinstance(predictor, OnnxPredictor) else fingerprint_of(model)
        return cls(predictor, fingerprint, str(model))


def _check_exported(model: OnnxPredictor, options: MapOptions) -> None:
    """Raise ModelError for what an exported model does not do."""
    if options.dense:
        raise ModelError(
            f"{model.file}: an exported model has no dense mode", "leave --dense out, or map with the run itself"
        )
    if options.tta not in (None, model.description.tta):
        raise ModelError(
            f"{model.file} was exported with test-time augmentation '{model.description.tta}', not '{options.tta}'",
            "leave --tta out, or export the run with --tta " + options.tta,
        )
