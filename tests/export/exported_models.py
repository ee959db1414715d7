"""A small run's model with patches to check it on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from landsift.bands import BandSpec
from landsift.config import HeadConfig, ModelConfig
from landsift.evaluation.trust import fit_distances
from landsift.models.backbone import create_backbone
from landsift.models.classifier import PatchClassifier
from landsift.models.model_json import DESCRIPTION_FILE, ModelDescription, read_description
from landsift.models.predictor import load_model, save_model
from landsift.models.trust import Thresholds, Trust
from landsift.models.trust_files import write_trust
from landsift.runs import write_json

CLASSES = ("field", "forest", "water")
ODD = ("<b>Stadt</b> & *Dorf*", "Wald|Forst\nalt", "水田")
"""Three names that mean something in HTML, in Markdown and in tables; the extension allows none of their letters."""
COLOURS = ((190, 160, 90), (30, 90, 40), (20, 50, 120))


def save_model_of(
    folder: Path,
    backbone: str = "test_resnet",
    *,
    patch: tuple[int, int] = (24, 24),
    image_size: int = 32,
    tta: str = "none",
    temperature: float | None = None,
    bands: BandSpec | None = None,
    hidden: int | None = None,
) -> Path:
    """A run directory with a model of random weights whose answers differ from patch to patch."""
    torch.manual_seed(0)
    bands = bands or BandSpec.pictures()
    args = {"in_chans": len(bands)} if len(bands) != 3 else {}
    if "vit" in backbone:
        args["img_size"] = image_size
    made = create_backbone(ModelConfig(backbone=backbone, weights="none", backbone_args=args), image_size)
    classifier = PatchClassifier(made.network, made.features, len(CLASSES), HeadConfig(hidden=hidden))
    for module in classifier.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    linear = classifier.head[-1]
    with torch.inference_mode():
        images = torch.randn(64, len(bands), image_size, image_size) * torch.linspace(0.2, 2, 64).view(-1, 1, 1, 1)
        scores = classifier.eval()(images)
        linear.weight.data *= 2 / scores.std(dim=0).view(-1, 1)
        linear.bias.data = -classifier(images).mean(dim=0) + linear.bias
    count = len(bands)
    mean, std = ((0.45,) * count, (0.25,) * count) if bands.is_rgb8 else ((0.2,) * count, (0.1,) * count)
    description = ModelDescription(
        backbone=backbone, backbone_args=args, head={"hidden": hidden, "dropout": 0.3}, classes=CLASSES,
        patch_size=patch, image_size=image_size, mean=mean, std=std, landsift="0", tta=tta, bands=bands,
        temperature=temperature,
    )  # fmt: skip
    save_model(classifier, description, folder / "model")
    return folder


def with_temperature(run: Path, temperature: float) -> None:
    """Give a saved model a temperature."""
    file = run / "model" / DESCRIPTION_FILE
    write_json(file, replace(read_description(file), temperature=temperature).to_dict())


def with_thresholds(run: Path, **changes: Any) -> Path:
    """Give a saved model thresholds that tell its pictures apart: some sets have two classes, some are far away."""
    file = run / "model" / DESCRIPTION_FILE
    predictor = load_model(run, "cpu")
    probabilities, features = predictor.probabilities_and_features(pictures(90, predictor.description.patch_size[0]))
    distances = fit_distances(features, np.arange(90) % 3)
    confidence = probabilities.max(axis=1)
    values = {
        "classes": CLASSES, "temperature": read_description(file).temperature, "coverage": 0.9, "sets": "marginal",
        "least": (float(np.quantile(np.sort(probabilities, axis=1)[:, 1], 0.7)),) * 3, "risk": 0.05,
        "confidence": float(np.quantile(confidence, 0.3)), "distance": float(np.quantile(distances(features), 0.8)),
        "landsift": "0",
    }  # fmt: skip
    write_trust(Trust(Thresholds(**values | changes), distances), run / "model")
    return run


def pictures(count: int, size: int = 24, seed: int = 0) -> np.ndarray:
    """Patches of three colours and many textures, uint8 [count, size, size, 3]."""
    rng = np.random.default_rng(seed)
    colours = np.array(COLOURS)[np.arange(count) % 3][:, None, None, :]
    rough = rng.uniform(5, 60, (count, 1, 1, 1))
    return np.clip(colours + rng.normal(0, 1, (count, size, size, 3)) * rough, 0, 255).astype(np.uint8)


def save_pictures(folder: Path, count: int = 210, size: int = 24) -> Path:
    """The same as PNG files in folders named like the classes."""
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for i, patch in enumerate(pictures(count, size)):
        Image.fromarray(patch).save(folder / CLASSES[i % 3] / f"{i:03}.png")
    return folder
