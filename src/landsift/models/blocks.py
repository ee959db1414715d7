"""The blocks of a backbone: its parameters from stem to last, in the portions in which strategies train them."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from torch import nn

Blocks = list[list[str]]
"""Names of parameters, block by block from stem to last."""


def backbone_blocks(network: Any) -> Blocks:
    """Names of the backbone's parameters, block by block from stem to last; none twice, and none left out.

    By timm's `group_matcher`, whose "coarse" groups are the stages of a CNN and the transformer blocks of a ViT, so
    that "the last block" means the same for EfficientNet, ResNet, ConvNeXt, MobileNet and ViT. Parameters that the
    matcher does not name (a norm after the last stage) belong to the last block. Networks without a matcher
    (PoolFormer, PiT), or whose matcher knows no coarse groups (RDNet), are divided by `feature_info`: at the ends of
    the modules that timm takes features from, which are the stages.

    A network that neither divides is one block.
    """
    names = [name for name, _ in network.named_parameters()]
    for divide in (_by_matcher, _by_features):
        blocks = divide(network)
        if len(blocks) > 1 and sorted(name for block in blocks for name in block) == sorted(names):
            return blocks
    return [names]


def _by_matcher(network: Any) -> Blocks:
    from timm.models import group_parameters

    if not hasattr(network, "group_matcher"):
        return []
    try:
        matcher = network.group_matcher(coarse=True)
    except (AssertionError, NotImplementedError):  # timm's way of saying that it has no coarse groups
        return []
    if isinstance(matcher, dict):
        matcher = matcher | {"rest": [(r"", (99999,))]}  # timm's number for "with the group before"
    groups = group_parameters(network, matcher)
    return [groups[key] for key in sorted(groups)]


def _by_features(network: nn.Module) -> Blocks:
    """Blocks that end where the modules of `feature_info` end, in the order in which modules were made.

    What stands before the first of them (a stem, an embedding) is a block of its own, what follows the last belongs to
    the last. None where `feature_info` names modules that are not there, or names them in another order.
    """
    info = getattr(network, "feature_info", None) or []
    stages = [stage.get("module", "") for stage in getattr(info, "info", info)]
    order = {name: i for i, (name, _) in enumerate(network.named_modules())}
    if not stages or not all(stage and stage in order for stage in stages):
        return []
    ends = [max(i for name, i in order.items() if f"{name}.".startswith(f"{stage}.")) for stage in stages]
    if ends != sorted(set(ends)):
        return []
    blocks: Blocks = [[] for _ in range(len(stages) + 1)]
    for name, _ in network.named_parameters():
        at = order[name.rpartition(".")[0]]
        block = 0 if at < order[stages[0]] else 1 + min(bisect_left(ends, at), len(stages) - 1)
        blocks[block].append(name)
    return [block for block in blocks if block]
