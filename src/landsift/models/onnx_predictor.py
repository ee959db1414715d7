"""A model that `landsift export` wrote, answered by ONNX Runtime: no torch, no timm.

The file holds all of the way from stored pixels to probabilities, and in its metadata what model.json says.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.errors import ModelError
from landsift.extras import needs
from landsift.image_sizes import Size
from landsift.models.in_batches import PIXELS_PER_THREAD, answer_all
from landsift.models.model_json import ModelDescription, description_of
from landsift.models.weights_file import one_line
from landsift.resampling import resample_patches
from landsift.runtime import threads

if TYPE_CHECKING:
    from landsift.models.input_checks import Patches

ENDING = ".onnx"
METADATA = "landsift"
"""The key of the file's metadata: `{"model": what model.json says, "export": how it was exported and checked}`."""
INPUT, OUTPUT = "patches", "probabilities"
VIEWS = 8
"""Of test-time augmentation, at most."""


@dataclass(frozen=True)
class OnnxFile:
    """What an exported file holds.

    Attributes:
        content: all of its bytes.
        description: what model.json says of the model.
        export: how it was exported and checked (`landsift.export.write.Exported.to_dict`).
        fingerprint: SHA-256 of the bytes, 16 hexadecimal digits.
    """

    content: bytes
    description: ModelDescription
    export: dict[str, Any]
    fingerprint: str


class OnnxPredictor:
    """An exported model: class probabilities of patches, as of `Predictor`, which says what `images` may be.

    Test-time augmentation and temperature are in the file, as the model had them when it was exported.

    Args:
        file: that `landsift export` wrote.
        device: "auto" or "cpu"; ONNX Runtime's other devices are not used.

    Attributes:
        classes: names, in the order of the probabilities.
        bands: what the numbers of patches must mean: those of the training.
        description: what model.json says of the model.
        export: how it was exported and checked.
        fingerprint: of the file.
        trust: None: a file has no thresholds, which need features.

    Raises:
        ModelError: it is no such file, or damaged.
        MissingExtraError: ONNX Runtime is not installed.
    """

    def __init__(self, file: Path, device: str = "auto") -> None:
        if device not in ("auto", "cpu"):
            raise ModelError(f"{file}: exported models run on the CPU, not on '{device}'", "give auto or cpu")
        self.file = file
        found, self._session = _opened(file)
        self.description = found.description
        self.export = found.export
        self.fingerprint = found.fingerprint
        self.classes = self.description.classes
        self.bands = self.description.bands
        self.trust = None
        self._told: set[Size] = set()

    def __call__(self, images: Patches, batch_size: int = 64) -> NDArray[np.float32]:
        """The same as `probabilities`."""
        return self.probabilities(images, batch_size)

    def probabilities(self, images: Patches, batch_size: int = 64) -> NDArray[np.float32]:
        """Class probabilities, float32 [B, K]; rows sum to 1."""
        return answer_all(
            images, self.description, len(self.classes), batch_size, self._at_a_time, self._answer, self._told
        )

    def logits(self, images: Patches, batch_size: int = 64) -> NDArray[np.float32]:
        """The logarithm of the probabilities, float32 [B, K]: logits up to a constant per row, already calibrated."""
        found = self.probabilities(images, batch_size)
        return np.log(np.maximum(found, np.finfo(np.float32).tiny))

    def features(self, images: Patches, batch_size: int = 64) -> NDArray[np.float32]:
        """None: the file gives probabilities alone; raises ModelError."""
        raise ModelError(f"{self.file}: an exported model gives no features", "use the run that it was exported from")

    def _answer(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Of patches [b, H, W, C] of one size."""
        sized = resample_patches(batch, self.description.patch_size, self.bands.nodata)
        found: NDArray[np.float32] = self._session.run([OUTPUT], {INPUT: sized})[0]
        return found

    def _at_a_time(self, size: Size, most: int) -> int:
        views = 1 if self.description.tta == "none" else VIEWS
        pixels = views * self.description.image_size**2
        return max(1, min(most, threads.given() * PIXELS_PER_THREAD // pixels))


def read_onnx(file: Path) -> OnnxFile:
    """What an exported file holds; needs ONNX Runtime.

    Raises:
        ModelError: it is no such file, or damaged.
        MissingExtraError: ONNX Runtime is not installed.
    """
    return _opened(file)[0]


def _opened(file: Path) -> tuple[OnnxFile, Any]:
    needs("onnxruntime", extra="runtime", what=f"{file.name}, an exported model,")
    import onnxruntime

    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {file}: {(error.strerror or str(error)).lower()}") from None
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors; warnings are about the optimizer
    settings.intra_op_num_threads = threads.given()
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as of torch's: `threads.spin_briefly`
    try:  # from bytes: what lies beside the file is no part of it
        session = onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
        stored = session.get_modelmeta().custom_metadata_map.get(METADATA)
    except Exception as error:  # noqa: BLE001 (onnxruntime's errors have no common base)
        raise ModelError(f"{file} is no ONNX file that can be run: {one_line(error)}"[:300]) from None
    if stored is None:
        raise ModelError(f"{file} was not written by landsift: it does not say what its input means", _WRITE)
    try:
        about = json.loads(stored)
        model, export = about["model"], dict(about["export"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelError(f"{file} is damaged: {one_line(error)}") from None
    description = description_of(file, model)
    _check_shapes(file, description, session)
    return OnnxFile(content, description, export, hashlib.sha256(content).hexdigest()[:16]), session


_WRITE = "`landsift export RUN --format onnx --out FILE` writes one"
_TYPES = {"uint8": "tensor(uint8)", "uint16": "tensor(uint16)", "int16": "tensor(int16)", "float32": "tensor(float)"}


def _check_shapes(file: Path, description: ModelDescription, session: Any) -> None:
    """Raise ModelError where the graph takes or gives another thing than the metadata says."""
    given, found = session.get_inputs(), session.get_outputs()
    height, width = description.patch_size
    bands, classes = len(description.bands), len(description.classes)
    fits = (
        len(given) == 1
        and given[0].name == INPUT
        and given[0].type == _TYPES[description.bands.dtype]
        and list(given[0].shape[1:]) == [height, width, bands]
        and not isinstance(given[0].shape[0], int)
        and [each.name for each in found] == [OUTPUT]
        and found[0].type == "tensor(float)"
        and len(found[0].shape) == 2
        and found[0].shape[1] in (classes, None)
    )
    if not fits:
        raise ModelError(f"{file}: its graph does not take or give what its metadata say", _WRITE)
