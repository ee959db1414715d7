"""Settings that make a pretraining collapse or diverge: known before it starts, and looked for when it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from landsift.config import RunConfig
from landsift.config_pretraining import DinoConfig, LejepaConfig, PretrainingConfig, SimclrConfig, ViewsConfig
from landsift.errors import CollapseError
from landsift.pretraining.methods import METHODS

if TYPE_CHECKING:
    from torch import nn

FAR = 10.0
"""Factor from a default beyond which a temperature or a share is a likely cause."""
LONGEST_STEP = 0.15
"""Peak learning rate in shares of a typical weight. AdamW changes each weight by about the learning rate in a step. Of
the recipes it is 0.05 at most (ViTs from random weights, of standard deviation 0.02); 100 times their rates give 0.3
and more, with ImageNet weights too."""
SHRUNK = 0.01
"""Share of each weight that weight decay may take in a step; of the recipes 0.0004."""


@dataclass(frozen=True)
class Cause:
    """A setting that is the likely cause of a collapse.

    Attributes:
        text: what is set, and what comes of it.
        change: what to set.
    """

    text: str
    change: str


def causes(config: PretrainingConfig) -> Iterator[Cause]:
    """What the settings do otherwise than the method needs, the likeliest cause first.

    Args:
        config: complete settings.
    """
    assert config.method is not None
    assert config.lr is not None
    assert config.weight_decay is not None
    yield from OF_METHOD[config.method](config)
    usual = METHODS[config.method].lr
    if config.lr > 5 * usual:
        yield Cause(
            f"the learning rate is too high: pretraining.lr is {config.lr:g}, {config.lr / usual:.3g} times that of "
            f"{config.method}'s recipe",
            f"set pretraining.lr={usual:g} or lower",
        )
    if (shrunk := config.lr * max(config.weight_decay)) > SHRUNK:
        decay = ", ".join(f"{value:g}" for value in METHODS[config.method].weight_decay)
        yield Cause(
            f"weight decay is too high: a step takes {min(1.0, shrunk):.0%} of each weight (pretraining.weight_decay "
            f"{max(config.weight_decay):g} times pretraining.lr)",
            f"set pretraining.weight_decay=[{decay}]",
        )
    yield from _of_views(config)


def _of_views(config: PretrainingConfig) -> Iterator[Cause]:
    views = config.views
    assert config.method is not None
    assert views.global_area is not None
    for name, area, default in (
        ("global_area", views.global_area, METHODS[config.method].global_area),
        ("local_area", views.local_area, ViewsConfig().local_area),
    ):
        if (name == "global_area" or views.local) and area[1] * FAR < default[1]:
            yield Cause(
                f"views have little in common: they show at most {area[1]:.2%} of a patch "
                f"(pretraining.views.{name} {_listed(area)})",
                f"set pretraining.views.{name}={_listed(default)}",
            )
    if views.local and views.local_size > config.image_size:
        yield Cause(
            f"local views are larger than global ones: pretraining.views.local_size is {views.local_size}, "
            f"pretraining.image_size {config.image_size}",
            f"set pretraining.views.local_size={max(16, config.image_size // 2)}",
        )


def _of_dino(config: PretrainingConfig) -> Iterator[Cause]:
    dino, usual = config.dino, DinoConfig()
    student, teacher = dino.student_temperature, dino.teacher_temperature
    default = usual.teacher_temperature
    if dino.center_momentum > 0.999:
        yield Cause(
            f"outputs are not centred: pretraining.dino.center_momentum is {dino.center_momentum:g}",
            f"set pretraining.dino.center_momentum={usual.center_momentum:g}",
        )
    if not usual.student_temperature / FAR < student < usual.student_temperature * FAR:
        yield Cause(
            f"the student's temperature is {student:g}, where {usual.student_temperature:g} is usual",
            f"set pretraining.dino.student_temperature={usual.student_temperature:g}",
        )
    elif max(teacher) > 0.8 * student:
        yield Cause(
            f"outputs are not sharpened: the teacher's temperature is {max(teacher):g}, the student's {student:g}",
            f"set pretraining.dino.teacher_temperature={_listed(default)}",
        )
    if min(teacher) * FAR < min(default):
        yield Cause(
            f"outputs are sharpened too much: the teacher's temperature is {min(teacher):g}, where {min(default):g} is "
            "usual",
            f"set pretraining.dino.teacher_temperature={_listed(default)}",
        )
    if dino.teacher_momentum < 0.5:
        yield Cause(
            f"the teacher follows the student too fast: pretraining.dino.teacher_momentum is {dino.teacher_momentum:g}",
            f"set pretraining.dino.teacher_momentum={usual.teacher_momentum:g}",
        )
    if dino.freeze_last_layer >= config.epochs > 1:
        yield Cause(
            f"the last layer of the head never trains: pretraining.dino.freeze_last_layer is {dino.freeze_last_layer} "
            f"of {config.epochs} epochs",
            f"set pretraining.dino.freeze_last_layer={usual.freeze_last_layer}",
        )


def _of_lejepa(config: PretrainingConfig) -> Iterator[Cause]:
    weight, usual = config.lejepa.weight, LejepaConfig().weight
    if weight * FAR < usual:
        yield Cause(
            f"outputs are hardly kept apart: pretraining.lejepa.weight, the share of SIGReg, is {weight:g}",
            f"set pretraining.lejepa.weight={usual:g}",
        )
    if (1.0 - weight) * FAR < 1.0 - usual:
        yield Cause(
            f"views are hardly compared: pretraining.lejepa.weight, the share of SIGReg, is {weight:g}",
            f"set pretraining.lejepa.weight={usual:g}",
        )


def _of_simclr(config: PretrainingConfig) -> Iterator[Cause]:
    temperature, usual = config.simclr.temperature, SimclrConfig().temperature
    if not usual / FAR < temperature < usual * FAR:
        yield Cause(
            f"pretraining.simclr.temperature is {temperature:g}, where {usual:g} is usual",
            f"set pretraining.simclr.temperature={usual:g}",
        )


OF_METHOD = {"dino": _of_dino, "lejepa": _of_lejepa, "simclr": _of_simclr}


def unread(config: PretrainingConfig) -> list[str]:
    """Keys that were set but belong to another method or are not used by this one.

    Args:
        config: complete settings.
    """
    assert config.method is not None
    default = PretrainingConfig()
    found = [
        f"pretraining.{name}"
        for name in OF_METHOD
        if name != config.method and getattr(config, name) != getattr(default, name)
    ]
    if config.head.bottleneck is not None and METHODS[config.method].bottleneck is None:
        found.append("pretraining.head.bottleneck")
    return found


def check_rate(config: PretrainingConfig, backbone: nn.Module) -> None:
    """Refuse a learning rate that replaces the weights within a few steps.

    Args:
        config: complete settings.
        backbone: with the weights that it starts from.

    Raises:
        CollapseError: it does.
    """
    import torch

    assert config.method is not None
    assert config.lr is not None
    usual = METHODS[config.method].lr
    sizes = [float(p.detach().float().pow(2).mean().sqrt()) for p in backbone.parameters() if p.ndim > 1]
    sizes = [size for size in sizes if size > 0]
    if config.lr <= usual or not sizes:
        return
    typical = float(torch.tensor(sizes).median())
    if config.lr > LONGEST_STEP * typical:
        more = f", {config.lr / usual:.3g} times that of {config.method}'s recipe" if config.lr > 1.5 * usual else ""
        raise CollapseError(
            f"the pretraining would diverge: the learning rate is too high: pretraining.lr is {config.lr:g}{more}; a "
            f"step would change each weight by about as much, and weights are of size {typical:.2g}",
            f"set pretraining.lr={usual:g} or lower",
        )


def diverged(config: RunConfig, what: str, precision: str) -> CollapseError:
    """The error of numbers that are not finite, with the likeliest cause.

    Args:
        config: complete.
        what: which numbers, and where.
        precision: as `training.precision` names it.
    """
    own = config.pretraining
    assert own.lr is not None
    found = next(causes(own), None)
    if found is None and precision == "bf16":
        found = Cause("numbers of bfloat16 may not do on this device", "set training.precision=32")
    if found is None:
        found = Cause(f"pretraining.lr ({own.lr:g}) is too high here", f"set pretraining.lr={own.lr / 2:g} or lower")
    return CollapseError(f"the pretraining has diverged: {what}; {found.text}", found.change)


def _listed(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"
