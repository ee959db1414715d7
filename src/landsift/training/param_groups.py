"""What the optimizer is given: the parameters that train, with the rate and the weight decay of each."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from torch import nn

from landsift.training.phases import Phase


def parameter_groups(
    backbone: nn.Module, head: nn.Module, blocks: Sequence[Sequence[str]], phase: Phase, weight_decay: float
) -> list[dict[str, Any]]:
    """Groups for the optimizer: head, then the blocks that train; weight decay on matrices and kernels only.

    Args:
        backbone: its parameters require gradients where they train.
        head: trains at the phase's own rate.
        blocks: names of the backbone's parameters, from stem to last.
        phase: says the rates.
        weight_decay: of what is decayed; biases, norms and what timm spares (embeddings) are not.

    Returns:
        Each with `params`, `lr`, `weight_decay`, and `part`: "head" or "backbone".
    """
    groups = _with_and_without_decay("head", list(head.parameters()), phase.lr_head, weight_decay)
    parameters = dict(backbone.named_parameters())
    spared = {id(parameters[name]) for name in _never_decayed(backbone) if name in parameters}
    by_rate: dict[float, list[nn.Parameter]] = {}
    for depth, block in enumerate(reversed(blocks)):
        rate = phase.lr_backbone * phase.layer_decay**depth
        by_rate.setdefault(rate, []).extend(parameters[name] for name in block)
    for rate, members in by_rate.items():
        groups += _with_and_without_decay("backbone", members, rate, weight_decay, spared)
    return groups


def _with_and_without_decay(
    part: str, parameters: list[nn.Parameter], rate: float, decay: float, spared: Set[int] = frozenset()
) -> list[dict[str, Any]]:
    """Two groups at most; `spared` holds the ids of matrices that are not decayed."""
    trained = [p for p in parameters if p.requires_grad]
    decayed = [p for p in trained if p.ndim >= 2 and id(p) not in spared]
    others = [p for p in trained if p.ndim < 2 or id(p) in spared]
    kinds = ((decay, decayed), (0.0, others))
    return [{"params": ps, "lr": rate, "weight_decay": d, "part": part} for d, ps in kinds if ps]


def _never_decayed(backbone: Any) -> Set[str]:
    """Names of embeddings (position, class token) that timm says are not to be decayed."""
    return set(backbone.no_weight_decay()) if hasattr(backbone, "no_weight_decay") else set()
