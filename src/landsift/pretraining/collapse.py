"""Whether features and outputs still tell patches apart: measures, their limits, and what each of them means.

A network that gives every patch the same answer has the lowest loss of many objectives, so that the loss does not show
it. Features are those of the backbone, outputs those of the head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from landsift.config_pretraining import PretrainingConfig
from landsift.pretraining.causes import causes

EPS = 1e-7


def feature_std(features: Tensor) -> float:
    """Standard deviation of normalised features times √D: 1 where they lie on the sphere evenly, 0 where all are one.

    Of Chen and He 2021, who hold it against 1/√D.

    Args:
        features: float [N, D].
    """
    spread = F.normalize(features.double(), dim=1).std(dim=0)  # [D]
    return float(spread.mean()) * math.sqrt(features.shape[1])


def rank_me(features: Tensor) -> float:
    """RankMe (Garrido et al. 2023): the exponential of the entropy of singular values, from 1 to min(N, D).

    Args:
        features: float [N, D].

    Returns:
        NaN where a feature is not finite.
    """
    if not bool(torch.isfinite(features).all()):
        return math.nan
    values = torch.linalg.svdvals(features.double())
    shares = values / values.sum().clamp(min=EPS) + EPS
    return float(torch.exp(-(shares * shares.log()).sum()))


def agreement(first: Tensor, second: Tensor) -> tuple[float, float]:
    """Mean cosine similarity between two views of the same patch, and between views of different patches.

    Args:
        first: features of a view of each patch, float [N, D].
        second: of another.
    """
    first, second = (F.normalize(view.double(), dim=1) for view in (first, second))
    same = float((first * second).sum(dim=1).mean())
    count = len(first)
    others = (float((first.sum(0) * second.sum(0)).sum()) - count * same) / max(1, count * (count - 1))
    return same, others


def output_measures(mean_output: Tensor, mean_entropy: float) -> dict[str, float]:
    """What the teacher's outputs over K prototypes say.

    Args:
        mean_output: mean over patches of their outputs, float [K] of sum 1.
        mean_entropy: mean over patches of their entropies, in nats.

    Returns:
        Shares of log K: `output_entropy`, the entropy of the mean output, which falls to 0 where one prototype takes
        all patches; `output_kl`, the mean divergence of a patch's output from the uniform one, which falls to 0 where
        all prototypes are the same for every patch.
    """
    most = math.log(len(mean_output))
    shares = mean_output.double().clamp(min=1e-12)
    entropy = float(-(shares * shares.log()).sum())
    return {"output_entropy": entropy / most, "output_kl": max(0.0, 1.0 - mean_entropy / most)}


@dataclass(frozen=True)
class Sign:
    """A sign of a collapse: a measure below its limit.

    Attributes:
        figure: the measure.
        limit: below which it is a sign.
        means: what has happened, in words.
    """

    figure: str
    limit: float
    means: str


SIGNS = (
    Sign("output_entropy", 0.1, "one output dominates: the teacher gives nearly every patch the same prototype"),
    Sign("output_kl", 0.01, "the teacher's outputs are nearly uniform: they say the same of every patch"),
    Sign("feature_std", 0.02, "the features of all patches are nearly the same"),
    Sign("rank_me", 1.5, "the features of all patches lie along one direction"),
)
"""The first that is seen names the collapse: outputs lead, and features follow."""


@dataclass(frozen=True)
class Finding:
    """A sign that was seen.

    Attributes:
        sign: which.
        value: of its measure.
        cause: the likeliest.
        change: what to change.
        is_explained: the patches or a setting explain it; else the cause is a guess.
    """

    sign: Sign
    value: float
    cause: str
    change: str
    is_explained: bool

    def __str__(self) -> str:
        name = self.sign.figure.replace("_", " ")
        return f"{self.sign.means} ({name} {self.value:.3g}, below {self.sign.limit:g}); {self.cause}"


def look(figures: dict[str, float], config: PretrainingConfig, alike: str = "") -> Finding | None:
    """The first sign of a collapse in an epoch's figures; None where there is none.

    Args:
        figures: by name; a method without prototypes has none of the outputs'.
        config: complete settings, in which the cause is looked for.
        alike: that the patches themselves are nearly the same, in words (`landsift.pretraining.patches.alike`).
    """
    for sign in SIGNS:
        value = figures.get(sign.figure, math.inf)
        if value < sign.limit:
            if alike:
                return Finding(sign, value, alike, "give patches that show different things", is_explained=True)
            if cause := next(causes(config), None):
                return Finding(sign, value, cause.text, cause.change, is_explained=True)
            return Finding(sign, value, *_guess(sign, config), is_explained=False)
    return None


def _guess(sign: Sign, config: PretrainingConfig) -> tuple[str, str]:
    """What is usual where no setting is otherwise than the method needs."""
    temperature = max(config.dino.teacher_temperature)
    assert config.lr is not None
    if sign.figure == "output_kl":
        return (
            f"the teacher's temperature ({temperature:g}) or the learning rate ({config.lr:g}) is too high here",
            "lower pretraining.dino.teacher_temperature or pretraining.lr",
        )
    if sign.figure == "output_entropy":
        return (
            f"centring is too slow for learning rate {config.lr:g} and batches of {config.batch_size}",
            "lower pretraining.dino.center_momentum or pretraining.lr, or raise pretraining.batch_size",
        )
    return (
        f"learning rate {config.lr:g} is too high here, or views show too little in common",
        "lower pretraining.lr, or raise pretraining.views." + ("local_area" if config.views.local else "global_area"),
    )
