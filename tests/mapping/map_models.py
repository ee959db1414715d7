"""Models of random but seeded weights, and scenes that are arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from affine import Affine
from odc.geo.geobox import GeoBox

from landsift.bands import BandSpec
from landsift.config import HeadConfig, ModelConfig
from landsift.models.backbone import create_backbone
from landsift.models.classifier import PatchClassifier
from landsift.models.model_json import ModelDescription
from landsift.models.predictor import save_model

CLASSES = ("field", "forest", "town", "water")


def save_random_model(
    folder: Path,
    backbone: str = "test_resnet",
    *,
    patch: tuple[int, int] = (32, 32),
    image_size: int = 32,
    tta: str = "none",
    bands: BandSpec | None = None,
    args: dict | None = None,
) -> Path:
    """A run whose model answers in many ways: all batch norms are drawn, and the head's weights are large."""
    torch.manual_seed(0)
    bands = bands or BandSpec.pictures()
    args = {**(args or {}), **({"in_chans": len(bands)} if len(bands) != 3 else {})}
    config = ModelConfig(backbone=backbone, weights="none", backbone_args=args)
    made = create_backbone(config, image_size)
    classifier = PatchClassifier(made.network, made.features, len(CLASSES), HeadConfig(hidden=None))
    for module in classifier.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.7, 1.3)
            module.bias.data.normal_(0, 0.3)
    spread_out(classifier, len(bands), image_size)
    mean, std = (
        ((0.45,) * len(bands), (0.25,) * len(bands)) if bands.is_rgb8 else ((0.2,) * len(bands), (0.1,) * len(bands))
    )
    description = ModelDescription(
        backbone=backbone, backbone_args=args, head={"hidden": None, "dropout": 0.3}, classes=CLASSES, patch_size=patch,
        image_size=image_size, mean=mean, std=std, landsift="0", tta=tta, bands=bands,
    )  # fmt: skip
    save_model(classifier, description, folder / "model")
    return folder


def spread_out(classifier: PatchClassifier, bands: int, size: int) -> None:
    """Scale the head so that noise gets answers of all classes."""
    with torch.inference_mode():
        images = torch.randn(64, bands, size, size) * torch.linspace(0.2, 2, 64).view(-1, 1, 1, 1)
        features = classifier.eval().backbone(images)
        linear = classifier.head[-1]
        directions = torch.randn(len(CLASSES), features.shape[1])
        linear.weight.data = 3 * directions / (features @ directions.T).std(dim=0, keepdim=True).T
        linear.bias.data = -(features @ linear.weight.T).mean(dim=0)


def pictures(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Pixels [height, width, 3] of fields of many colours and textures, none of them black."""
    rng = np.random.default_rng(seed)
    rows, cols = -(-height // 24), -(-width // 24)
    colours = rng.integers(20, 236, (rows, cols, 3)).repeat(24, 0).repeat(24, 1)[:height, :width]
    rough = rng.uniform(0, 60, (rows, cols, 1)).repeat(24, 0).repeat(24, 1)[:height, :width]
    return np.clip(colours + rng.normal(0, 1, (height, width, 3)) * rough, 1, 255).astype(np.uint8)


class ArrayScene:
    """A scene in memory, which notes the largest window that was read."""

    def __init__(self, values: np.ndarray, valid: np.ndarray | None = None, block: tuple[int, int] = (64, 64)) -> None:
        self.values = values
        self.valid = np.ones(values.shape[:2], bool) if valid is None else valid
        self.grid = GeoBox(values.shape[:2], Affine(10, 0, 500_000, 0, -10, 5_500_000), "EPSG:32631")
        self.bands = BandSpec.pictures()
        self.block = block
        self.largest = 0

    def read(self, rows: slice, cols: slice) -> tuple[np.ndarray, np.ndarray]:
        """As of `Scene`."""
        values = np.ascontiguousarray(self.values[rows, cols])
        self.largest = max(self.largest, values.nbytes)
        return values, self.valid[rows, cols]


class MeanColour:
    """Answers for a patch by its mean colour, exactly: share of red, green and blue."""

    side = (64, 64)
    classes = 3

    def __call__(self, values, wanted, rows, cols):
        """As of `Model`."""
        from landsift.mapping.patch_grid import views

        sums = views(values, rows, cols).sum(axis=(2, 3), dtype=np.float64)
        shares = (sums / np.maximum(sums.sum(axis=-1, keepdims=True), 1)).astype(np.float32)
        return np.where(wanted[..., None], shares, np.float32(0))
