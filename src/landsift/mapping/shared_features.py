"""Where a network may be cut in two: a first part that many patches share, and a rest that each patch passes alone.

The first part must find at a place what its surroundings decide, not the whole image. Then its features of a large
piece are those of the patches in it, but for their edges, where a patch alone would be padded. The deeper the cut, the
more is shared, and the further padding would have reached into a patch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from landsift.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, fx, nn

INSTEAD = "map without --dense, or train a convolutional backbone, such as mobilenetv2_100 or resnet50"
_GLOBAL = (
    (re.compile(r"Attention|Attn|MLA$|Transformer", re.IGNORECASE), "attention"),
    (re.compile(r"^SE|SqueezeExc|EffectiveSE|EffectiveSq|^Eca|Cecca|GatherExcite|^Cbam|^LightCbam"),
     "squeeze-and-excitation"),
    (re.compile(r"GlobalContext|NonLocal|SelectiveKernel|GlobalResponseNorm|SpatialGating|^MixerBlock"),
     "a module that looks at the whole image"),
)  # fmt: skip
"""Names of modules that look at the whole image, and what people call them."""
_ROWS, _CELLS = 2, 32
"""Cells of the features of the strip that shows whether a network is local."""
_LOCAL = 1e-3
"""By which features may change, in their standard deviations, where what is changed lies half of that strip away."""


@dataclass(frozen=True, eq=False)
class Cut:
    """A network in two parts.

    Attributes:
        name: of the last module of the first part.
        cell: pixels of the network's input from one cell of the first part's features to the next.
        first: images [B, C, H, W] to features [B, D, H / cell, W / cell].
        rest: features of patches, [B, D, S / cell, S / cell], to pooled features [B, F].
        work: of both parts for one patch, in floating-point operations.
    """

    name: str
    cell: int
    first: nn.Module
    rest: nn.Module
    work: tuple[int, int]

    @property
    def share(self) -> float:
        """Of the work, that the first part takes."""
        return self.work[0] / sum(self.work)

    def passes(self, steps: tuple[int, ...]) -> int:
        """How many shifted passes of the first part a stride takes.

        Args:
            steps: from a patch to the next along both sides, in pixels of the network's input.
        """
        return math.prod(self.cell // math.gcd(step, self.cell) for step in steps)

    def cost(self, steps: tuple[int, ...], overlap: float) -> float:
        """Work per area, in that of patches side by side; infinite where patches do not begin at whole pixels.

        Args:
            steps: as of `passes`; 0 where they are not whole.
            overlap: how many patches there are in the area of one.
        """
        if not all(steps):
            return math.inf
        return self.passes(steps) * self.share + overlap * (1 - self.share)


def cuts_of(name: str, backbone: nn.Module, bands: int, image_size: int) -> list[Cut]:
    """Where a network may be cut, from its first layers to its last.

    Args:
        name: of the backbone.
        backbone: in eval mode, on some device; maps images [B, C, S, S] to features [B, F].
        bands: C.
        image_size: S.

    Raises:
        ModelError: it looks at patches as a whole, or cannot be cut.
    """
    import torch

    from landsift.models.inference import traced

    what = f"dense mode: {name}"
    if found := _looks_everywhere(backbone):
        raise ModelError(f"{what} has {found[1]} ({found[0]}), which looks at the whole patch", INSTEAD)
    graph = traced(backbone)
    if graph is None:
        raise ModelError(f"{what}: torch.fx cannot follow what it does", INSTEAD)
    device = next((each.device for each in backbone.parameters()), torch.device("cpu"))
    draw = torch.Generator().manual_seed(0)

    def noise(height: int, width: int) -> Tensor:
        images = torch.randn(1, bands, height, width, generator=draw)
        return images.to(device).contiguous(memory_format=torch.channels_last)

    cuts: list[Cut] = []
    with torch.inference_mode():
        image = noise(image_size, image_size)
        for node, module in _places(graph):
            cut = _cut(backbone, graph, node, module, image)
            if cut is not None:
                cuts.append(cut)
        if not cuts:
            raise ModelError(
                f"{what} has no features that lie at whole multiples of pixels of inputs of {image_size}", INSTEAD
            )
        cell = cuts[-1].cell
        strip = noise(_ROWS * cell, _CELLS * cell)
        changed = strip.clone()
        changed[..., _CELLS * cell // 2 :] = 3 * noise(_ROWS * cell, _CELLS * cell // 2)
        whole, other = (_map(cuts[-1].first, images) for images in (strip, changed))
        if whole is None or other is None or not bool((other - whole)[..., 0].abs().max() <= _LOCAL * whole.std()):
            raise ModelError(f"{what}: its features depend on the whole image", INSTEAD)
    return cuts


def _looks_everywhere(backbone: nn.Module) -> tuple[str, str] | None:
    """The first module that looks at the whole image, and what people call it."""
    from torch import nn

    for name, module in backbone.named_modules():
        kind = type(module).__name__
        if isinstance(module, nn.GroupNorm | nn.InstanceNorm2d):
            return f"{kind} {name}", "a norm over the image"
        if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) > 1:
            return f"{kind} {name}", "a norm over the image"
        for pattern, words in _GLOBAL:
            if name and pattern.search(kind):
                return f"{kind} {name}", words
    return None


def _places(graph: fx.Graph) -> Iterator[tuple[fx.Node, str]]:
    """Steps of which the result alone is needed later: the last of each block, with the block's name."""
    order = {node: i for i, node in enumerate(graph.nodes)}
    last = {node: max((order[user] for user in node.users), default=-1) for node in graph.nodes}
    needed = -1  # the last step that needs a result of the steps so far
    found: dict[str, fx.Node] = {}
    for node in graph.nodes:
        if node.op in ("get_attr", "output"):
            continue
        if node.op in ("call_module", "call_function", "call_method") and needed <= order[node]:
            path = [str(name) for name, _ in (node.meta.get("nn_module_stack") or {}).values()]
            name = ".".join((path[-1] if path else str(node.target)).split(".")[:3])
            found[name] = node
        needed = max(needed, last[node])
    return iter([(node, name) for name, node in found.items()])


def _cut(backbone: nn.Module, graph: fx.Graph, node: fx.Node, name: str, image: Tensor) -> Cut | None:
    """The network cut behind a step; None where its result is no map of whole cells."""
    from torch.utils.flop_counter import FlopCounterMode

    first, rest = _parts(backbone, graph, node)
    side = image.shape[2]
    with FlopCounterMode(display=False) as before:
        features = _map(first, image)
    if features is None or features.shape[2] != features.shape[3] or not features.shape[2]:
        return None
    cell, left = divmod(side, features.shape[2])
    if left:
        return None
    twice = _map(first, image.repeat(1, 1, 2, 2))
    if twice is None or twice.shape[2:] != (2 * features.shape[2], 2 * features.shape[3]):
        return None
    with FlopCounterMode(display=False) as after:
        rest(features)
    return Cut(name, cell, first, rest, (before.get_total_flops(), after.get_total_flops()))


def _parts(backbone: nn.Module, graph: fx.Graph, cut: fx.Node) -> tuple[nn.Module, nn.Module]:
    """The network up to a step and from there on; the weights are those of the network."""
    from torch import fx

    first, rest = fx.Graph(), fx.Graph()
    known: tuple[dict[fx.Node, fx.Node], ...] = ({}, {cut: rest.placeholder("features")})
    is_first = True
    for node in graph.nodes:
        if node.op == "get_attr":  # weights that no module holds
            for part, copies in zip((first, rest), known, strict=True):
                copies[node] = part.node_copy(node)
            continue
        part, copies = (first, known[0]) if is_first else (rest, known[1])
        copies[node] = part.node_copy(node, lambda each, copies=copies: copies[each])  # type: ignore[misc]
        if node is cut:
            first.output(copies[node])
            is_first = False
    return fx.GraphModule(backbone, first), fx.GraphModule(backbone, rest)


def _map(part: nn.Module, images: Tensor) -> Tensor | None:
    """Features [B, D, h, w]; None where they are no map, or the network takes no such images."""
    try:
        features: Any = part(images)
    except Exception:  # noqa: BLE001 (whatever a network's arithmetic makes of another size)
        return None
    return features if getattr(features, "ndim", 0) == 4 else None
