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
from landsift.models.trust_files import from_json
from landsift.models.weights_file import one_line
from landsift.resampling import resample_patches
from landsift.runtime import threads

if TYPE_CHECKING:
    from landsift.models.input_checks import Patches
    from landsift.models.trust import Trust

ENDING = ".onnx"
METADATA = "landsift"
"""The key of the file's metadata: `{"model": what model.json says, "export": how it was exported and checked, "trust":
as of `trust_files.to_json`, if the model has thresholds}`."""
INPUT, OUTPUT, FEATURES = "patches", "probabilities", "features"
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
        trust: thresholds of the model; None: it has none.
        has_features: whether it gives features, as all but early files do.
    """

    content: bytes
    description: ModelDescription
    export: dict[str, Any]
    fingerprint: str
    trust: Trust | None
    has_features: bool


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
        trust: sets, abstention and out-of-distribution flags for its answers; None where the model has none.

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
        self.trust = found.trust
        self._has_features = found.has_features
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
        """Pooled features of the backbone, before the head: float32 [B, D]; of an INT8 file those that it computes."""
        return self.probabilities_and_features(images, batch_size)[1]

    def probabilities_and_features(
        self, images: Patches, batch_size: int = 64
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What `probabilities` and `features` return, float32 [B, K] and [B, D], in one pass of the network.

        Raises:
            ModelError: as of `probabilities`, or the file gives probabilities alone.
        """
        if not self._has_features:
            raise ModelError(f"{self.file}: an earlier landsift wrote it, without features", "export the run again")
        K = len(self.classes)
        width = K + int(self._session.get_outputs()[1].shape[1])
        both = answer_all(
            images, self.description, width, batch_size, self._at_a_time, self._answer_and_features, self._told
        )
        return both[:, :K].copy(), both[:, K:]

    def _answer(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Of patches [b, H, W, C] of one size."""
        found: NDArray[np.float32] = self._run([OUTPUT], batch)[0]
        return found

    def _answer_and_features(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        return np.concatenate(self._run([OUTPUT, FEATURES], batch), axis=1)

    def _run(self, outputs: list[str], batch: NDArray[Any]) -> list[NDArray[np.float32]]:
        sized = resample_patches(batch, self.description.patch_size, self.bands.nodata)
        found: list[NDArray[np.float32]] = self._session.run(outputs, {INPUT: sized})
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
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {file}: {(error.strerror or str(error)).lower()}") from None
    session = _session_of(file, content)
    stored = session.get_modelmeta().custom_metadata_map.get(METADATA)
    if stored is None:
        raise ModelError(f"{file} was not written by landsift: it does not say what its input means", _WRITE)
    try:
        about = json.loads(stored)
        model, export = about["model"], dict(about["export"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelError(f"{file} is damaged: {one_line(error)}") from None
    description = description_of(file, model)
    _check_shapes(file, description, session)
    trust = from_json(file, about["trust"], description) if about.get("trust") is not None else None
    has_features = len(session.get_outputs()) > 1
    if trust is not None and (not has_features or session.get_outputs()[1].shape[1] != trust.distances.means.shape[1]):
        raise ModelError(f"{file}: its thresholds are of other features than its graph gives", _WRITE)
    fingerprint = hashlib.sha256(content).hexdigest()[:16]
    return OnnxFile(content, description, export, fingerprint, trust, has_features), session


def _session_of(file: Path, content: bytes) -> Any:
    """A session of ONNX Runtime for a file's bytes; raises ModelError where it cannot be run."""
    import onnxruntime

    if not content:
        raise ModelError(f"{file} is empty", "copy it again, or export the run again")
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors; warnings are about the optimizer
    settings.intra_op_num_threads = threads.given()
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as of torch's: `threads.spin_briefly`
    settings.add_session_config_entry("session.model_external_initializers_file_folder_path", _NOWHERE)
    try:  # from bytes: what lies beside the file is no part of it
        return onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 (onnxruntime's errors have no common base)
        whole, said = str(error), one_line(error)
    if "IR version" in whole or "opset" in whole.lower():
        raise ModelError(
            f"{file} needs a newer ONNX Runtime than {onnxruntime.__version__}", "pip install --upgrade onnxruntime"
        )
    if "external data" in whole.lower():
        raise ModelError(f"{file} keeps its weights in other files, as no file of landsift's does", _WRITE)
    if "INVALID_PROTOBUF" in whole or "No graph was found" in whole:
        raise ModelError(f"{file} is no ONNX file, or is cut off", "copy it again, or export the run again")
    raise ModelError(f"{file} is no ONNX file that can be run: {said}"[:300], _WRITE)


_NOWHERE = "/dev/null/"
"""A folder without files: those that a model names are not looked for, neither beside it nor where it is run."""
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
        and [each.name for each in found] in ([OUTPUT], [OUTPUT, FEATURES])
        and all(each.type == "tensor(float)" and len(each.shape) == 2 for each in found)
        and found[0].shape[1] in (classes, None)
        and all(isinstance(each.shape[1], int) for each in found[1:])
    )
    if not fits:
        raise ModelError(f"{file}: its graph does not take or give what its metadata say", _WRITE)
