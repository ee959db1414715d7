"""A run's model as a checkpoint of timm alone: `timm.create_model("local-dir:DIR", pretrained=True)`."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from landsift.errors import ModelError
from landsift.models.model_json import ModelDescription
from landsift.models.predictor import Predictor, load_model
from landsift.models.timm_networks import network_arguments
from landsift.models.weights_file import one_line
from landsift.runs import write_text
from landsift.runtime.outputs import as_path
from landsift.runtime.whole import beside, flush, writing

logger = logging.getLogger("landsift")

CLOSE = 1e-3
"""Largest difference of logits between the run and the checkpoint, in the logits' standard deviation."""
_LINEAR_HEADS = "docs/export.md has ten lines for such a head"


@dataclass(frozen=True)
class PlainTimm:
    """A checkpoint that timm alone reads.

    Attributes:
        path: of the folder.
        architecture: timm's name of the network.
        largest: difference of its logits from the run's, on the check's images.
        notes: what the run does and the checkpoint does not.
    """

    path: Path
    architecture: str
    largest: float
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "out": str(self.path),
            "architecture": self.architecture,
            "largest": float(f"{self.largest:.3g}"),
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"exported       {self.path}",
            f"loads with     timm.create_model('local-dir:{self.path}', pretrained=True)",
            f"logits         differ by {self.largest:.1e} at most",
            *(f"note           {note}" for note in self.notes),
        ]


def export_timm(model: Path | str, out: Path | str, *, module: str | None = None) -> PlainTimm:
    """Write a model as timm's own checkpoint, model.safetensors and config.json, and load it again to compare.

    Args:
        model: a run directory, or its `model/` folder.
        out: a new or empty folder.
        module: as of `load_model`.

    Raises:
        ModelError: the head is not linear, the network is not timm's own, or the checkpoint answers otherwise.
        RunError: the folder cannot be written.
    """
    import timm
    import torch

    predictor = load_model(model, "cpu", module=module)
    about = predictor.description
    if about.head.get("hidden") is not None:
        raise ModelError(
            f"{model} has a head of two layers, and timm's networks end in one",
            f"train with model.head.hidden=null for it; {_LINEAR_HEADS}",
        )
    if about.module is not None:
        raise ModelError(f"{model}: {about.backbone} is not timm's own network", f"--format onnx; or {_LINEAR_HEADS}")
    arguments = network_arguments(about.network_config, about.image_size)
    made: nn.Module = timm.create_model(about.backbone, pretrained=False, num_classes=len(about.classes), **arguments)
    notes = _fill(made, predictor, about)
    out = as_path(out)
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with beside(out) as partial:
            _save(made, partial, about, arguments)
            try:
                loaded = timm.create_model(f"local-dir:{partial}", pretrained=True).eval()
            except Exception as error:
                raise ModelError(f"timm cannot load what was written: {one_line(error)}"[:300]) from error
            images = torch.randn(
                8, len(about.bands), about.image_size, about.image_size, generator=torch.Generator().manual_seed(0)
            )
            with torch.inference_mode():
                ours = nn.Sequential(*predictor.network)(images)
                theirs = loaded(images) * (_folded(about) or 1.0)
            largest = float((ours - theirs).abs().max())
            if not largest <= CLOSE * max(float(ours.std()), 1e-6):
                raise ModelError(
                    f"{about.backbone} answers otherwise as a plain checkpoint: logits differ by {largest:.2g}",
                    "its head is not timm's own; --format onnx writes the whole model",
                )
            flush(partial)
            if out.is_dir():
                out.rmdir()  # an empty one
            partial.rename(out)
    return PlainTimm(out, about.backbone, largest, tuple(notes))


def _folded(about: ModelDescription) -> float | None:
    """The temperature that goes into the linear layer; None: there is none, or it is of averaged views."""
    return about.temperature if about.tta == "none" else None


def _fill(made: nn.Module, predictor: Predictor, about: ModelDescription) -> list[str]:
    """Give timm's network the weights; what cannot be in it is returned in words."""
    linear = made.get_classifier()  # type: ignore[operator]
    name = next((name for name, each in made.named_modules() if each is linear), None)
    own = predictor.classifier.state_dict()
    if not isinstance(linear, nn.Linear) or name is None or linear.weight.shape != own["head.1.weight"].shape:
        raise ModelError(
            f"{about.backbone} does not end in one linear layer on its features",
            f"--format onnx writes the whole model; {_LINEAR_HEADS}",
        )
    temperature = _folded(about) or 1.0
    state: dict[str, Tensor] = {
        key.removeprefix("backbone."): value for key, value in own.items() if key.startswith("backbone.")
    }
    state[f"{name}.weight"] = own["head.1.weight"] / temperature
    state[f"{name}.bias"] = own["head.1.bias"] / temperature
    try:
        made.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"{about.backbone}: its weights are not timm's: {one_line(error)}"[:300]) from None
    notes = []
    if about.tta != "none":
        notes.append("the run averages flips and rotations (evaluation.tta); the checkpoint looks once")
    if about.temperature is not None:
        inside = "is in its last layer" if _folded(about) else "is of averaged views, and not in it"
        notes.append(f"the temperature {about.temperature:.4g} {inside}")
    if not about.bands.is_rgb8:
        notes.append(f"mean and std are per band in units; its numbers: {about.bands}")
    if about.image_size != about.patch_size[0] or about.image_size != about.patch_size[1]:
        notes.append(
            f"patches of {about.patch_size[0]} x {about.patch_size[1]} pixels were resized to {about.image_size} in "
            "training, bilinear"
        )
    return notes


def _save(made: nn.Module, folder: Path, about: ModelDescription, arguments: dict[str, Any]) -> None:
    from timm.models import save_for_hf

    known = {key: value for key, value in arguments.items() if key != "in_chans"}
    cfg = {
        "input_size": [len(about.bands), about.image_size, about.image_size],
        "mean": list(about.mean),
        "std": list(about.std),
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash",
    }
    try:
        save_for_hf(
            made,
            str(folder),
            model_config={"label_names": list(about.classes), "pretrained_cfg": cfg, "model_args": known},
            safe_serialization=True,
        )
    except (TypeError, ValueError) as error:
        raise ModelError(f"timm cannot save {about.backbone}: {one_line(error)}"[:300]) from None
    stored = folder / "config.json"
    config = json.loads(stored.read_text(encoding="utf-8"))
    if len(about.bands) != 3:
        config.setdefault("model_args", {})["in_chans"] = len(about.bands)
    write_text(stored, json.dumps(config, indent=2) + "\n")
