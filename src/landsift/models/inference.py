"""Networks that only answer: batch norms folded into the convolutions before them, batches that stay in the caches."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from landsift.models.in_batches import PIXELS_PER_THREAD

Folds = list[tuple[str, str]]
"""Names of convolutions and of the batch norms that read them alone."""


Types = tuple[type[nn.Module], ...]


def _kinds() -> tuple[Types, Types]:
    """Batch norms and convolutions that fold, by exact type: a subclass may do more, as weight standardisation does."""
    from timm.layers import BatchNormAct2d, Conv2dSame  # timm imports W&B where it is installed

    return (nn.BatchNorm2d, BatchNormAct2d), (nn.Conv2d, Conv2dSame)


class _Tracer(fx.Tracer):
    def __init__(self, leaves: Types) -> None:
        super().__init__()
        self._leaves = leaves

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in self._leaves or super().is_leaf_module(m, module_qualified_name)


def traced(network: nn.Module) -> fx.Graph | None:
    """What a network does, convolutions and batch norms as single steps; None where `torch.fx` cannot follow it."""
    norms, convolutions = _kinds()
    try:
        return _Tracer(norms + convolutions).trace(network)
    except Exception:  # noqa: BLE001 (whatever the forward does that cannot be traced)
        return None


def find_folds(network: nn.Module) -> Folds:
    """The batch norms of a network that can be folded; none where `torch.fx` cannot follow its forward."""
    norms, convolutions = _kinds()
    if not any(type(module) in norms for module in network.modules()):
        return []
    network = copy.deepcopy(network).eval()
    graph = traced(network)
    if graph is None:  # it works unfolded
        return []
    modules = dict(network.named_modules())
    calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    folds: Folds = []
    for node in graph.nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        convolution, norm = str(before.target), str(node.target)
        types = type(modules[convolution]) in convolutions and type(modules[norm]) in norms
        if (
            types
            and calls[convolution] == calls[norm] == 1
            and getattr(modules[norm], "running_mean", None) is not None
        ):
            folds.append((convolution, norm))
    return folds


@torch.no_grad()
def folded(network: nn.Module, folds: Folds) -> nn.Module:
    """A copy of the network in eval mode with these batch norms in the convolutions; the network itself without any.

    The answers are the same within rounding: w * gamma / sigma takes the place of w, and then of gamma / sigma.
    """
    if not folds:
        return network
    copied = copy.deepcopy(network).eval()
    for convolution, norm in folds:
        before, after = copied.get_submodule(convolution), copied.get_submodule(norm)
        copied.set_submodule(convolution, fuse_conv_bn_eval(before, after))  # type: ignore[type-var,arg-type]
        copied.set_submodule(norm, getattr(after, "act", nn.Identity()))  # timm's holds the activation too
    return copied


def in_chunks(answer: Callable[[Tensor], Tensor], images: Tensor, size: int) -> Tensor:
    """Answers to images, on a CPU a few of them at a time.

    Args:
        answer: maps some of the images, [b, ...], to float [b, ...].
        images: [B, ...].
        size: height and width in pixels at which the network takes them.

    Returns:
        float [B, ...].
    """
    if images.device.type != "cpu":
        return answer(images)
    return torch.cat([answer(chunk) for chunk in torch.split(images, cpu_batch(size))])


def cpu_batch(size: int) -> int:
    """How many images of `size` by `size` pixels a CPU takes at a time."""
    return max(1, torch.get_num_threads() * PIXELS_PER_THREAD // size**2)
