"""Any model that predicts: a run, its `model/` folder, or a file that was exported from it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from landsift.errors import ModelError
from landsift.models.model_json import DESCRIPTION_FILE, WEIGHTS_FILE, ModelDescription, read_description
from landsift.models.onnx_predictor import ENDING, OnnxPredictor, read_onnx
from landsift.models.predictor import Predictor, model_folder
from landsift.models.predictor import load_model as load_run
from landsift.models.trust_files import FEATURES_FILE, TRUST_FILE
from landsift.runtime.outputs import as_path

AnyPredictor = Predictor | OnnxPredictor

_READ_AT_ONCE = 2**22  # bytes


def is_exported(path: Path | str) -> bool:
    """Whether a path names an exported model: a file whose name ends in .onnx."""
    path = as_path(path)
    return path.suffix.lower() == ENDING and not path.is_dir()


def load_model(
    path: Path | str, device: str = "auto", *, module: str | None = None, calibrated: bool = True
) -> AnyPredictor:
    """Load a model; nothing in it is executed.

    Args:
        path: RUN, RUN/model, or a file that `landsift export` wrote, which needs no torch.
        device: "auto" (a GPU if there is one), or a torch device; of an exported model "auto" or "cpu".
        module: what registers the model's network with timm, as `model.module`. None: what the model names, which is
            imported if a training on this machine has used it. An exported model holds its network, and needs none.
        calibrated: False: without the model's temperature and thresholds; an exported model's are in the file.

    Raises:
        ModelError: there is no model, its files do not fit each other, or there is no such device.
        MissingExtraError: what runs it is not installed.
        RunError: `path` is no path.
    """
    if is_exported(path):
        if module is not None:
            raise ModelError(f"{path} is an exported model, which holds its network", "leave the module out")
        if not calibrated:
            raise ModelError(f"{path} is an exported model, whose temperature is part of it", "give the run itself")
        return OnnxPredictor(as_path(path), device)
    return load_run(path, device, module=module, calibrated=calibrated)


def describe(path: Path | str) -> ModelDescription:
    """What model.json says of a model, without its weights.

    Raises:
        ModelError: there is no model, or it is damaged.
        RunError: `path` is no path.
    """
    if is_exported(path):
        return read_onnx(as_path(path)).description
    return read_description(model_folder(path) / DESCRIPTION_FILE)


def model_files(path: Path | str) -> list[Path]:
    """The files of a model: those of a run's folder `model/` that prediction reads, or the one that was exported.

    Raises:
        ModelError: there is no model.
        RunError: `path` is no path.
    """
    if is_exported(path):
        return [as_path(path)]
    folder = model_folder(path)
    optional = [folder / name for name in (TRUST_FILE, FEATURES_FILE)]
    return [folder / DESCRIPTION_FILE, folder / WEIGHTS_FILE, *(each for each in optional if each.is_file())]


def fingerprint_of(path: Path | str) -> str:
    """SHA-256 of a model's files, or of the file that it was exported to: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for each in model_files(path):
        with each.open("rb") as file:
            while chunk := file.read(_READ_AT_ONCE):
                digest.update(chunk)
    return digest.hexdigest()[:16]
