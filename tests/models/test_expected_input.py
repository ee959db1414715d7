"""What weights expect of an input stands in no file: what is assumed of them is said, and a run's own words count."""

import json
import logging

import pytest
import timm
import torch
from safetensors.torch import save_file

from landsift.config import HeadConfig, ModelConfig, Normalization
from landsift.errors import ModelError
from landsift.models.backbone import check_backbone, create_backbone, expected_input
from landsift.models.classifier import PatchClassifier
from landsift.models.model_json import ModelDescription
from landsift.models.predictor import save_model

TINY = "test_efficientnet"
OWN = Normalization(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))


def config(weights, backbone=TINY, **values):
    return ModelConfig(backbone=backbone, weights=str(weights), **values)


@pytest.fixture
def model(tmp_path):
    """The `model/` folder of a run whose convolutions pad as in TensorFlow, and whose inputs had statistics of OWN."""
    torch.manual_seed(0)
    arguments = {"pad_type": "same"}
    made = create_backbone(config("none", backbone_args=arguments), 32)
    values = {"backbone": TINY, "backbone_args": arguments, "head": {"hidden": 256, "dropout": 0.3}}
    values |= {"classes": ("a", "b"), "patch_size": (16, 16), "image_size": 32, "landsift": "0"}
    classifier = PatchClassifier(made.network, made.features, 2, HeadConfig(hidden=256, dropout=0.3))
    save_model(classifier, ModelDescription(**values, mean=OWN.mean, std=OWN.std), tmp_path / "run" / "model")
    return tmp_path / "run" / "model"


@pytest.fixture
def weights(tmp_path):
    save_file(timm.create_model(TINY).state_dict(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


@pytest.mark.parametrize("given", ["run", "model", "file"])
def test_a_runs_own_statistics_go_with_its_weights(given, model):
    """Given as a file, they were taken for those of timm's weights."""
    source = {"run": model.parent, "model": model, "file": model / "model.safetensors"}[given]
    asked = config(source, backbone_args={"pad_type": "same"})
    backbone = create_backbone(asked, 32)
    assert backbone.normalization == OWN
    said = expected_input(backbone, asked, OWN)
    assert f"mean 0.1, 0.2, 0.3 and std 0.4, 0.5, 0.6 (by {model / 'model.json'})" in said


def test_a_runs_positions_are_resampled_to_another_input_size(tmp_path):
    """As timm resamples those of its own weights; equal sizes keep every bit."""
    made = create_backbone(config("none", "test_vit"), 32)
    values = {"backbone": "test_vit", "backbone_args": {}, "head": {"hidden": None, "dropout": 0.0}}
    values |= {"classes": ("a", "b"), "patch_size": (16, 16), "image_size": 32, "landsift": "0"}
    classifier = PatchClassifier(made.network, made.features, 2, HeadConfig(hidden=None, dropout=0.0))
    save_model(classifier, ModelDescription(**values, mean=OWN.mean, std=OWN.std), tmp_path / "model")
    kept = made.network.state_dict()
    same = create_backbone(config(tmp_path, "test_vit"), 32).network.state_dict()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in same.items())
    larger = create_backbone(config(tmp_path, "test_vit"), 64).network.state_dict()
    expected = timm.create_model(
        "test_vit", img_size=64, pretrained=True, num_classes=0, pretrained_cfg_overlay={"state_dict": dict(kept)}
    ).state_dict()
    assert larger["pos_embed"].shape[1] == 4 * (kept["pos_embed"].shape[1] - 1) + 1
    assert all(torch.equal(tensor, expected[name]) for name, tensor in larger.items())


def test_what_is_assumed_of_a_file_is_said_with_where_it_is_from(weights):
    backbone = create_backbone(config(weights), 32)
    assert expected_input(backbone, config(weights), backbone.normalization) == (
        f"weights {weights} are taken to expect inputs of mean 0.485, 0.456, 0.406 and std 0.229, 0.224, 0.225 (by "
        f"timm's configuration of {TINY}.r160_in1k), and symmetric padding, as in PyTorch; if they were trained "
        "otherwise, set model.normalization and model.backbone_args"
    )
    own = config(weights, normalization=OWN)
    assert "0.4, 0.5, 0.6 (by model.normalization), and" in expected_input(backbone, own, OWN)


@pytest.mark.parametrize(
    ("backbone", "arguments", "said"),
    [
        (TINY, {"pad_type": "same"}, ", and padding as in TensorFlow (pad_type: same); if"),
        (TINY, {}, ", and symmetric padding, as in PyTorch; if"),
        ("tf_efficientnet_lite0", {}, ", and padding as in TensorFlow (pad_type: same); if"),
        ("test_vit", {}, "configuration of test_vit.r160_in1k); if"),  # its patches do not overlap: nothing is padded
        ("test_convnext", {}, "configuration of test_convnext.r160_in1k); if"),
    ],
)
def test_padding_is_named_where_it_makes_a_difference(backbone, arguments, said, tmp_path):
    file = tmp_path / "w.safetensors"
    save_file(timm.create_model(backbone, **arguments).state_dict(), file)
    asked = config(file, backbone, backbone_args=arguments)
    made = create_backbone(asked, 160)
    assert said in expected_input(made, asked, made.normalization)


def test_a_run_of_another_backbone_is_refused_with_both_names(model):
    asked = config(model, "test_resnet")
    for refuse in (lambda: check_backbone(asked), lambda: create_backbone(asked, 32)):
        with pytest.raises(ModelError) as error:
            refuse()
        assert f"{model} holds a {TINY}, but model.backbone is test_resnet" in str(error.value)
        assert f"set model.backbone={TINY}" in str(error.value)


def test_a_tag_of_timms_weights_makes_no_other_backbone(model):
    check_backbone(config(model, f"{TINY}.r160_in1k"))


def test_a_run_whose_network_was_made_otherwise_is_told_apart(model, caplog):
    """Its weights fit: no tensor knows how it was padded."""
    with caplog.at_level(logging.WARNING, "landsift"):
        create_backbone(config(model, backbone_args={"pad_type": "same"}), 32)
        assert caplog.text == ""
        create_backbone(config(model), 32)
    assert f"{model} was trained with model.backbone_args {{'pad_type': 'same'}}, which are {{}} here" in caplog.text


def test_somebody_elses_model_json_is_no_runs(weights):
    """Only beside a file of landsift's name."""
    (weights.with_name("model.json")).write_text(json.dumps({"format": "onnx"}))
    assert create_backbone(config(weights), 32).normalization.mean == (0.485, 0.456, 0.406)
