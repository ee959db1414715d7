"""From a run to a file of ONNX that is accepted only if it answers as the run does."""

from __future__ import annotations

import json
import logging
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import onnx

from landsift.errors import LandsiftError, ModelError, RunError
from landsift.export import patches as real
from landsift.export.check import Check, accept, check_enough, compare
from landsift.export.graph import OPSET, graph_of
from landsift.export.patches import Sample
from landsift.export.quantize import quantized
from landsift.models.loading import fingerprint_of
from landsift.models.model_json import WEIGHTS_FILE, ModelDescription
from landsift.models.onnx_predictor import ENDING, METADATA, OnnxPredictor
from landsift.models.predictor import load_model, model_folder, say_other_views
from landsift.models.trust import Trust
from landsift.models.trust_files import to_json
from landsift.runs import Run, write_bytes
from landsift.runtime.outputs import as_path
from landsift.runtime.whole import writing
from landsift.version import __version__

logger = logging.getLogger("landsift")

Format = Literal["onnx", "onnx-int8"]
FORMATS: tuple[Format, ...] = ("onnx", "onnx-int8")
MAX_LOSS = 0.005
"""Accuracy that an INT8 export may lose, as a share."""


@dataclass(frozen=True)
class Exported:
    """A model that was exported.

    Attributes:
        path: of the file.
        format: "onnx" or "onnx-int8".
        fingerprint: of the model that it comes from.
        check: it beside torch.
        calibrated_on: the patches that the ranges of quantised values are from, in words; None: nothing is quantised.
        size: of the file in bytes.
        model_size: of the weights' file of the run, in bytes.
    """

    path: Path
    format: Format
    fingerprint: str
    check: Check
    calibrated_on: str | None
    size: int
    model_size: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as the file's metadata have them, and where it is."""
        about = metadata(self.format, self.fingerprint, self.check, self.calibrated_on)
        return {"out": str(self.path), "bytes": self.size, "model_bytes": self.model_size} | about

    def lines(self) -> list[str]:
        """For people."""
        mib = 2**20
        size = f"{self.size / mib:.1f} MiB (the run's weights: {self.model_size / mib:.1f})"
        calibrated = [f"calibrated on  {self.calibrated_on}"] if self.calibrated_on else []
        return [f"exported       {self.path}, {size}", *calibrated, *self.check.lines()]


def export_onnx(
    model: Path | str,
    out: Path | str,
    format: Format = "onnx",
    *,
    check: Path | str | None = None,
    calibrate: Path | str | None = None,
    max_loss: float = MAX_LOSS,
    tta: Literal["none", "flips"] | None = None,
    module: str | None = None,
) -> Exported:
    """Write a model as ONNX: stored pixels `[N, H, W, C]` in, probabilities `[N, K]` out.

    The file is compared with the run on up to 2,000 real patches first, and written only if it answers alike.

    Args:
        model: a run directory, or its `model/` folder.
        out: of the file, ending in .onnx.
        format: "onnx" (float32) or "onnx-int8", quantised by ONNX Runtime.
        check: a folder of patches to compare on, in folders named like the classes if they are labelled; None: the
            run's test patches, if this machine has them.
        calibrate: a folder of patches whose values give the ranges of INT8; None: the run's training patches.
        max_loss: accuracy that INT8 may lose, as a share.
        tta: test-time augmentation; None: as the model says.
        module: as of `load_model`.

    Raises:
        DataError: a folder holds no patches of the model.
        ModelError: there is no model, it cannot be exported, there are too few patches, or the export is refused.
        RunError: the file cannot be written.
    """
    out = as_path(out)
    if out.suffix.lower() != ENDING:
        raise RunError(f"--out {out} does not end in {ENDING}", f"give the name of a file, such as model{ENDING}")
    if format not in FORMATS:
        raise ModelError(f"there is no format '{format}'", f"known: {', '.join(FORMATS)}, timm")
    predictor = load_model(model, "cpu", module=module)
    if tta is not None:
        say_other_views(predictor, tta)
        predictor.description = replace(predictor.description, tta=tta)
    tested = patches_of(model, predictor.description, "test", check, real.MOST)
    check_enough(tested)
    ranges = None
    if format == "onnx-int8":
        wanted = _looks(predictor.description)
        ranges = patches_of(model, predictor.description, "train", calibrate, wanted)
        if len(ranges) < wanted:
            message = "ranges of INT8 are from %d patches, not from %d: larger values than theirs are cut off"
            logger.warning(message, len(ranges), wanted)
    fingerprint = fingerprint_of(model)
    graph = graph_of(predictor)
    if ranges is not None:
        graph = quantized(graph, ranges.images)
    calibrated_on = None if ranges is None else f"{len(ranges):,} {ranges.source}"
    about, trust = predictor.description, predictor.trust
    with tempfile.TemporaryDirectory(prefix="landsift-export-") as scratch:
        file = Path(scratch) / out.name
        with writing(file):
            file.write_bytes(with_metadata(graph, about, {}, trust))
        found = compare(predictor, OnnxPredictor(file), tested)
    accept(found, int8=ranges is not None, max_loss=max_loss)
    content = with_metadata(graph, about, metadata(format, fingerprint, found, calibrated_on), trust)
    write_bytes(out, content)
    weights = (model_folder(model) / WEIGHTS_FILE).stat().st_size
    return Exported(out, format, fingerprint, found, calibrated_on, len(content), weights)


def _looks(description: ModelDescription) -> int:
    """How many patches to calibrate on: with test-time augmentation each is seen from several sides."""
    return real.CALIBRATION if description.tta == "none" else real.CALIBRATION // 4


def metadata(format: Format, fingerprint: str, check: Check, calibrated_on: str | None) -> dict[str, Any]:
    """How a file was exported and checked, as its metadata say."""
    return {
        "format": format,
        "fingerprint": fingerprint,
        "check": check.to_dict(),
        "calibrated_on": calibrated_on,
        "opset": OPSET,
        "landsift": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def patches_of(
    model: Path | str, description: ModelDescription, part: str, folder: Path | str | None, most: int
) -> Sample:
    """Patches of a folder, or those of the run.

    Raises:
        DataError: the folder holds none.
        ModelError: no folder is given, and the run's patches are not on this machine.
    """
    if folder is not None:
        return real.of_folder(as_path(folder), description, most)
    try:
        found = real.of_run(Run.open(model), description, part, most)
    except LandsiftError:
        found = None
    if found is None:
        option = "--check" if part == "test" else "--calibrate"
        what = "test patches" if part == "test" else "training patches"
        why = "to check the export on" if part == "test" else "to quantise by"
        raise ModelError(
            f"the {what} of {model} are not here {why}: the run's store is not in the cache, and no folder is given",
            f"give a folder of patches: {option} FOLDER",
        )
    return found


def with_metadata(
    graph: onnx.ModelProto, description: ModelDescription, export: dict[str, Any], trust: Trust | None = None
) -> bytes:
    """A file's bytes: the graph, and in its metadata what model.json says, how it was exported, and the thresholds."""
    del graph.metadata_props[:]
    stored = {"model": description.to_dict(), "export": export, "trust": None if trust is None else to_json(trust)}
    onnx.helper.set_model_props(graph, {METADATA: json.dumps(stored, allow_nan=False)})
    content: bytes = graph.SerializeToString()
    return content
