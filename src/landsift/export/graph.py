"""A predictor as one ONNX graph: stored pixels in, probabilities out."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Iterator
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from landsift.errors import ModelError
from landsift.models.onnx_predictor import FEATURES, INPUT, OUTPUT
from landsift.models.predictor import Predictor, symmetries
from landsift.models.weights_file import one_line

OPSET, IR = 18, 10
"""Of ONNX, and of its files: ONNX Runtime 1.18 and later."""
LARGEST = 2**31 - 2**24
"""Bytes of a file: protobuf's limit, less some for all but the weights."""


class PixelsToProbabilities(nn.Module):
    """What a predictor does with patches of its own size: normalise, resize, look, and make probabilities of scores.

    Args:
        predictor: on the CPU.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        about = predictor.description
        backbone, head = predictor.network
        self.backbone, self.head = backbone, head
        self.to_units = predictor.preprocess.to_units
        self.resize = Resize(about.patch_size, about.image_size)
        self.normalize = predictor.preprocess.normalize
        self.flips = about.tta == "flips"
        self.square = len(set(about.patch_size)) == 1
        self.temperature = about.temperature

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Stored patches, [N, H, W, C], to probabilities, float32 [N, K], and features of the backbone, [N, D]."""
        images = self.normalize(self.resize(self.to_units(patches)))
        if not self.flips:
            features = self.backbone(images)
            scores = self.head(features)
            return F.softmax(scores if self.temperature is None else scores / self.temperature, dim=1), features
        views = symmetries(images, square=self.square)
        features = self.backbone(torch.cat(views))  # [views * N, D]: one pass, so that the graph holds it once
        scores = self.head(features)
        scores = scores.reshape(len(views), -1, scores.shape[1])
        first = features.reshape(len(views), -1, features.shape[1])[0]  # the patches as they are
        if self.temperature is None:
            return F.softmax(scores, dim=2).mean(dim=0), first
        logits = F.log_softmax(scores, dim=2).logsumexp(dim=0) - math.log(len(views))
        return F.softmax(logits / self.temperature, dim=1), first


class Resize(nn.Module):
    """`preprocess.resize` between two sizes that are known: a matrix for each axis, bilinear and antialiased.

    Not every runtime has torch's antialiasing, and all have matrices. They are what torch makes of unit vectors.

    Args:
        old: height and width in pixels.
        new: height and width in pixels.
    """

    rows: Tensor
    cols: Tensor

    def __init__(self, old: tuple[int, int], new: int) -> None:
        super().__init__()
        self.same = tuple(old) == (new, new)
        for name, side in (("rows", old[0]), ("cols", old[1])):
            unit = torch.eye(side, dtype=torch.float64)[None, None]  # [1, 1, side, side]: each column a unit vector
            weights = F.interpolate(unit, size=(new, side), mode="bilinear", antialias=True, align_corners=False)
            self.register_buffer(name, weights[0, 0].to(torch.float32), persistent=False)  # [new, side]

    def forward(self, images: Tensor) -> Tensor:
        """Float [N, C, H, W] to [N, C, new, new]."""
        return images if self.same else self.rows @ (images @ self.cols.T)


def graph_of(predictor: Predictor) -> onnx.ModelProto:
    """The graph of a predictor on the CPU, for any number of patches.

    Raises:
        ModelError: the network is too large for one file, or does what ONNX cannot say.
    """
    size = sum(each.numel() * each.element_size() for part in predictor.network for each in part.parameters())
    if size > LARGEST:
        raise ModelError(f"{predictor.description.backbone} has {size / 2**30:.1f} GiB: an ONNX file holds 2")
    about = predictor.description
    module = PixelsToProbabilities(predictor).eval()
    patches = torch.zeros(2, *about.patch_size, len(about.bands), dtype=getattr(torch, about.bands.dtype))
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module,
                (patches,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT, FEATURES],
                dynamic_shapes=({0: torch.export.Dim("N", min=1)},),
                verbose=False,
            )
        assert program is not None
        graph: onnx.ModelProto = program.model_proto
    except Exception as error:  # noqa: BLE001 (whatever a network does that cannot be exported)
        raise ModelError(
            f"{about.backbone} cannot be exported: {one_line(error)}"[:300], "`landsift predict RUN` runs it by torch"
        ) from None
    graph.ir_version = IR  # a newer one would ask for a newer runtime and holds nothing that is used here
    del graph.metadata_props[:]
    for node in graph.graph.node:  # where in which source file: of no use elsewhere, and twice the size
        del node.metadata_props[:]
        node.doc_string = ""
    graph.producer_name = "landsift"
    return graph


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter says of its own workings, of which nobody can act on."""
    loggers: list[Any] = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export", "onnx_ir")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
