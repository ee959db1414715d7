"""INT8 by ONNX Runtime's static quantisation: weights per channel, activations by ranges that real patches have."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from landsift.errors import ModelError
from landsift.models.onnx_predictor import INPUT
from landsift.models.weights_file import one_line
from landsift.runtime.whole import writing

BATCH = 16
"""Patches whose values are looked at at a time."""
OPERATIONS = ("Conv", "MatMul", "Gemm")
"""That are quantised, where they have weights: nearly all of the work. Sums, norms, softmax and products of activations
with one another, as in attention, stay in float32: their ranges are wide."""
FIRST = 6
"""Operations with weights that stay in float32 at the beginning of the network: they cost most accuracy, and, on large
images with few channels, are not faster as INT8 (benchmarks/export.py)."""
PERCENTILE = 99.999
"""Of the values of a tensor, which its range holds; the others are clipped."""


def quantized(graph: onnx.ModelProto, patches: NDArray[Any]) -> onnx.ModelProto:
    """The graph in QDQ form: each quantised operation between nodes that quantise and dequantise.

    Args:
        graph: from stored patches to probabilities.
        patches: [N, H, W, C] of the training, from which the ranges of values are taken.

    Raises:
        ModelError: the network does what ONNX Runtime cannot quantise.
        RunError: there is no room for temporary files.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization import shape_inference

    class Batches(quantization.CalibrationDataReader):
        """Batch by batch, each of which becomes part of the histograms before the next is run."""

        def __init__(self) -> None:
            self._rows = iter(range(0))

        def __len__(self) -> int:
            return -(-len(patches) // BATCH)

        def set_range(self, start_index: int, end_index: int) -> None:
            self._rows = iter(range(start_index * BATCH, min(end_index * BATCH, len(patches)), BATCH))

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            row = next(self._rows, None)
            return None if row is None else {INPUT: np.ascontiguousarray(patches[row : row + BATCH])}

    with tempfile.TemporaryDirectory(prefix="landsift-export-") as scratch, writing(Path(scratch)):
        plain, ready, done = (Path(scratch) / name for name in ("plain.onnx", "ready.onnx", "int8.onnx"))
        onnx.save(graph, plain)
        try:
            with _quiet():
                shape_inference.quant_pre_process(plain, ready, skip_symbolic_shape=True)
                quantization.quantize_static(
                    ready,
                    done,
                    Batches(),
                    quant_format=quantization.QuantFormat.QDQ,
                    per_channel=True,
                    weight_type=quantization.QuantType.QInt8,
                    activation_type=quantization.QuantType.QUInt8,
                    calibrate_method=quantization.CalibrationMethod.Percentile,
                    op_types_to_quantize=list(OPERATIONS),
                    nodes_to_exclude=_kept(onnx.load(ready)),
                    calibration_providers=["CPUExecutionProvider"],
                    extra_options={"CalibPercentile": PERCENTILE, "CalibStridedMinMax": 1},
                )
            return onnx.load(done)
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 (whatever a network does that cannot be quantised)
            raise ModelError(f"the network cannot be quantised: {one_line(error)}"[:300], "use --format onnx") from None


def _kept(graph: onnx.ModelProto) -> list[str]:
    """Names of nodes that stay in float32: from stored pixels to the input, the first ones, those without weights."""
    weights = {each.name for each in graph.graph.initializer}
    within: set[str] = set()  # what the network computes
    kept: list[str] = []
    others: list[str] = []
    for node in graph.graph.node:  # in topological order
        if node.op_type == "Conv" or any(name in within for name in node.input):
            within.update(node.output)
            has_weights = node.op_type in OPERATIONS and not weights.isdisjoint(node.input)
            (others if has_weights else kept).append(node.name)
        else:
            kept.append(node.name)
    return kept + others[:FIRST]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the quantiser prints and logs of its own workings."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
