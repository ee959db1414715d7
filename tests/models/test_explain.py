"""Maps show where in a patch its class comes from, for networks of any kind."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from landsift.config import HeadConfig, ModelConfig
from landsift.models.backbone import create_backbone
from landsift.models.classifier import PatchClassifier
from landsift.models.explain import explain, overlay
from landsift.models.model_json import ModelDescription
from landsift.models.predictor import Predictor


def predictor(backbone="test_efficientnet", size=64, image_size=64, seed=0):
    torch.manual_seed(seed)
    made = create_backbone(ModelConfig(backbone=backbone, weights="none"), image_size)
    classifier = PatchClassifier(made.network, made.features, 3, HeadConfig(hidden=None, dropout=0.0))
    description = ModelDescription(
        backbone=backbone, backbone_args={}, head={"hidden": None, "dropout": 0.0}, classes=("a", "b", "c"),
        patch_size=(size, size), image_size=image_size, mean=(0.5,) * 3, std=(0.25,) * 3, landsift="0",
    )  # fmt: skip
    return Predictor(classifier, description, "cpu")


@pytest.fixture
def patches():
    return np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_resnet", "test_vit", "test_convnext"])
def test_any_network_has_a_map_of_cells(backbone, patches):
    maps = explain(predictor(backbone, image_size=160 if backbone == "test_vit" else 64), patches)
    assert len(maps) == 5
    for heat in maps:
        assert heat.dtype == np.float32
        assert min(heat.shape) >= 4
        assert np.isfinite(heat).all()
        assert heat.max() == pytest.approx(1.0) or not heat.any()


@pytest.mark.parametrize("tta", ["none", "flips"])
def test_what_alone_makes_the_class_is_where_the_map_is(tta):
    """A network whose score is the brightness of what it sees finds the bright quarter."""

    class Brightness(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.look = torch.nn.Conv2d(3, 4, 8, stride=8, bias=False)
            torch.nn.init.constant_(self.look.weight, 0.01)

        def forward(self, images):
            return self.look(images).relu().mean(dim=(2, 3))

    model = predictor()
    model.description = replace(model.description, tta=tta)
    model.classifier.backbone = Brightness()
    model.classifier.head = torch.nn.Linear(4, 3, bias=False)
    torch.nn.init.constant_(model.classifier.head.weight, 1.0)
    patch = np.zeros((1, 64, 64, 3), np.uint8)
    patch[0, :32, 32:] = 255
    (heat,) = explain(model, patch)
    assert heat.shape == (8, 8)
    assert (heat[:4, 4:] > 0.99).all()
    assert heat.sum() == pytest.approx(16)


def test_patches_of_several_sizes_and_none(patches):
    model = predictor()
    assert explain(model, patches[:0]) == []
    several = [patches[0], patches[1][:32, :32], patches[2]]
    maps = explain(model, several)
    np.testing.assert_allclose(maps[2], explain(model, patches[2:3])[0], atol=1e-5)


def test_the_map_of_all_views_turns_with_the_patch(patches):
    model = predictor()
    model.description = replace(model.description, tta="flips")
    turned = np.ascontiguousarray(np.rot90(patches[:2], axes=(1, 2))[:, :, ::-1])
    for plain, again in zip(explain(model, patches[:2]), explain(model, turned), strict=True):
        np.testing.assert_allclose(np.rot90(plain)[:, ::-1], again, atol=1e-3)


def test_an_explanation_changes_no_answer(patches):
    model = predictor()
    before = model(patches)
    explain(model, patches)
    np.testing.assert_array_equal(model(patches), before)


@pytest.mark.parametrize("shape", [(64, 64, 3), (64, 64), (20, 300, 3), (1, 1, 3)])
def test_a_picture_stands_beside_its_map(shape):
    picture = np.full(shape, 100, np.uint8)
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = 1
    shown = overlay(picture, heat)
    H, W = picture.shape[:2]
    scale = -(-224 // min(H, W))
    assert shown.shape[0] == H * scale
    assert (shown[:, : W * scale] == 100).all()
    right = shown[:, -W * scale :].astype(int)
    if H > 1:
        assert right[0, 0].sum() > right[-1, -1].sum()
