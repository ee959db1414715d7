"""What trains in a phase and what is frozen: parameters, and the modes of layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from landsift.training.batch_norms import running_norms
from landsift.training.phases import Phase


def free_blocks(backbone: nn.Module, blocks: Sequence[Sequence[str]], phase: Phase) -> None:
    """Let the parameters of the last blocks train that the phase asks for, and no other.

    Args:
        backbone: the network.
        blocks: names of its parameters, from stem to last.
        phase: says how many.
    """
    count = len(blocks) if phase.blocks == "all" else phase.blocks
    names = {name for block in blocks[max(0, len(blocks) - count) :] for name in block}
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(name in names)


def set_modes(network: nn.Module, backbone: nn.Module, phase: Phase) -> None:
    """Train mode for what trains, eval mode for what is frozen and for batch norms in eval mode.

    Args:
        network: backbone and head.
        backbone: the part of it that the phase's `batch_norm` is about.
        phase: the phase.
    """
    _set_mode(network, inherited=True)
    if phase.batch_norm != "train":
        for norm in running_norms(backbone):
            norm.eval()


def _set_mode(module: nn.Module, *, inherited: bool) -> None:
    """A layer with parameters trains if any of them does; one without (dropout) does as what it stands in."""
    parameters = list(module.parameters())
    module.training = any(p.requires_grad for p in parameters) if parameters else inherited
    for child in module.children():
        _set_mode(child, inherited=module.training)
