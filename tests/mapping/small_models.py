"""A small model without training, whose classes differ from patch to patch."""

import torch

from landsift.config import HeadConfig, ModelConfig
from landsift.models.backbone import create_backbone
from landsift.models.classifier import PatchClassifier
from landsift.models.model_json import ModelDescription
from landsift.models.predictor import save_model

CLASSES = ("Forest", "Pasture", "Sea & Lake")


def make_model(folder, patch=(16, 16), **more):
    """A run directory with nothing but a model."""
    torch.manual_seed(1)
    backbone = create_backbone(ModelConfig(backbone="test_efficientnet", weights="none"), 32)
    classifier = PatchClassifier(backbone.network, backbone.features, len(CLASSES), HeadConfig(hidden=None))
    with torch.no_grad():  # a head to which patches of noise look different
        noise = torch.rand((64, 3, 4, 4)).repeat_interleave(8, 2).repeat_interleave(8, 3)
        features = backbone.network.eval()((noise - 0.4) / 0.2)
        linear = next(each for each in classifier.head.modules() if isinstance(each, torch.nn.Linear))
        spread = features.std(0).clamp(min=1e-6) * features.shape[1] ** 0.5
        linear.weight.copy_(torch.randn(linear.weight.shape) / spread)
        linear.bias.copy_(-linear.weight @ features.mean(0))
    description = ModelDescription(
        backbone="test_efficientnet", backbone_args={}, head={"hidden": None, "dropout": 0.3}, classes=CLASSES,
        patch_size=patch, image_size=32, mean=(0.4,) * 3, std=(0.2,) * 3, landsift="0", **more,
    )  # fmt: skip
    save_model(classifier, description, folder / "model")
    return folder
