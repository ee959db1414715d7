"""The predictor needs `model/` alone, and says what is wrong with it."""

import json
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from landsift.config import HeadConfig, ModelConfig
from landsift.errors import ModelError
from landsift.models.backbone import create_backbone
from landsift.models.classifier import PatchClassifier
from landsift.models.model_json import ModelDescription
from landsift.models.predictor import load_model, save_model

CLASSES = ("forest", "water", "urban")


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    backbone = create_backbone(ModelConfig(backbone="test_efficientnet", weights="none"), 32)
    classifier = PatchClassifier(backbone.network, backbone.features, 3, HeadConfig(hidden=256, dropout=0.3))
    description = ModelDescription(
        backbone="test_efficientnet",
        backbone_args={},
        head={"hidden": 256, "dropout": 0.3},
        classes=CLASSES,
        patch_size=(20, 24),
        image_size=32,
        mean=(0.4, 0.4, 0.4),
        std=(0.2, 0.2, 0.2),
        landsift="0.1.0",
    )
    save_model(classifier, description, tmp_path / "run" / "model")
    return tmp_path / "run"


def changed(model, **values):
    file = model / "model" / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.fixture
def patches():
    return np.random.default_rng(0).integers(0, 256, (10, 20, 24, 3), dtype=np.uint8)


def test_rows_are_probabilities_in_the_order_of_the_classes(model, patches):
    predictor = load_model(model)
    probabilities = predictor(patches)
    assert predictor.classes == CLASSES
    assert probabilities.shape == (10, 3)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-6)


def test_the_run_and_its_model_folder_load_the_same_and_batches_do_not_matter(model, patches):
    whole = load_model(model)(patches)
    np.testing.assert_allclose(load_model(model / "model")(patches, batch_size=3), whole, atol=1e-6)
    assert load_model(model)(patches[:0]).shape == (0, 3)


def test_features_are_what_the_head_makes_probabilities_of(model, patches):
    predictor = load_model(model)
    features = predictor.features(patches, batch_size=3)
    assert features.shape == (10, 256)
    with torch.inference_mode():
        made = predictor._classifier.head(torch.from_numpy(features)).softmax(dim=1)
    np.testing.assert_allclose(made, predictor(patches), atol=1e-6)
    assert predictor.features(patches[:0]).shape == (0, 256)


@pytest.mark.parametrize("tta", ["none", "flips"])
def test_the_softmax_of_the_logits_is_the_probabilities(model, patches, tta):
    changed(model, tta=tta)
    predictor = load_model(model)
    probabilities, logits = predictor.probabilities(patches), predictor.logits(patches)
    assert logits.shape == (10, 3)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(torch.from_numpy(logits).softmax(dim=1), probabilities, atol=1e-6)
    np.testing.assert_array_equal(predictor(patches), probabilities)
    if tta == "none":
        with torch.inference_mode():
            scores = predictor._classifier.head(torch.from_numpy(predictor.features(patches)))
        np.testing.assert_allclose(logits, scores, atol=1e-5)


def test_features_are_of_the_patch_as_it_is(model, patches):
    plain = load_model(model).features(patches)
    changed(model, tta="flips")
    np.testing.assert_array_equal(load_model(model).features(patches), plain)


def test_logits_of_a_class_that_is_ruled_out_are_finite(model, patches):
    """The probability is 0 in float32; its logarithm is not taken of it."""
    weights = load_file(model / "model" / "model.safetensors")
    weights["head.5.bias"][0] = -1000.0
    save_file(weights, model / "model" / "model.safetensors")
    changed(model, tta="flips")
    predictor = load_model(model)
    assert (predictor.probabilities(patches)[:, 0] == 0).all()
    assert np.isfinite(predictor.logits(patches)).all()
    assert (predictor.logits(patches)[:, 0] < -900).all()


@pytest.mark.parametrize("answer", ["__call__", "probabilities", "logits", "features"])
def test_other_arrays_are_refused(model, patches, answer):
    predictor = load_model(model)
    for wrong in (patches.astype(np.float32), patches[..., :1], patches[0]):
        with pytest.raises(ModelError, match=r"takes uint8 \[B, H, W, 3\]"):
            getattr(predictor, answer)(wrong)
    for size in (0, None, 2.5):
        with pytest.raises(ModelError, match=f"batch_size {size} is not a number of patches"):
            getattr(predictor, answer)(patches, batch_size=size)


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(model, device):
    with pytest.raises(ModelError, match=f"there is no device '{device}' here"):
        load_model(model, device)


def test_what_may_not_be_written_to_is_read(model, patches):
    patches.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_model(model)(patches).shape == (10, 3)


def test_a_scene_is_told_once_of_each_size(model, caplog):
    predictor = load_model(model)
    for side in (40, 40, 60, 40):
        predictor(np.zeros((1, side, side, 3), np.uint8))
    assert [record.args[0] for record in caplog.records] == ["40 × 40", "60 × 60"]


def test_a_missing_or_damaged_model_is_named(model, tmp_path):
    with pytest.raises(ModelError, match="no model at"):
        load_model(tmp_path)
    description = model / "model" / "model.json"
    stored = json.loads(description.read_text())
    description.write_text(json.dumps(stored | {"format": 99}))
    with pytest.raises(ModelError, match="format 99"):
        load_model(model)
    description.write_text(json.dumps({k: v for k, v in stored.items() if k != "classes"}))
    with pytest.raises(ModelError, match="damaged"):
        load_model(model)
    description.write_text(json.dumps(stored | {"classes": ["a", "b"]}))
    with pytest.raises(ModelError, match="does not fit"):
        load_model(model)
    description.write_text(json.dumps(stored))
    (model / "model" / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")
    with pytest.raises(ModelError, match="does not fit"):
        load_model(model)


@pytest.mark.parametrize(("size", "turns"), [((24, 24), (0, 1, 2, 3)), ((20, 24), (0, 2))])
def test_averaging_over_flips_and_turns_is_the_mean_of_the_predictions(model, size, turns):
    """Of eight for square patches; of four for others, which training never turns on their side."""
    patches = np.random.default_rng(0).integers(0, 256, (10, *size, 3), dtype=np.uint8)
    description = model / "model" / "model.json"
    description.write_text(json.dumps(json.loads(description.read_text()) | {"patch_size": size}))
    once = load_model(model)
    views = [np.rot90(base, k, (1, 2)) for base in (patches, patches[:, :, ::-1]) for k in turns]
    expected = np.mean([once(np.ascontiguousarray(view)) for view in views], axis=0)
    description.write_text(json.dumps(json.loads(description.read_text()) | {"tta": "flips"}))
    averaged = load_model(model)(patches)
    np.testing.assert_allclose(averaged, expected, atol=1e-6)
    assert np.abs(averaged - once(patches)).max() > 1e-4


def test_a_model_without_the_setting_looks_once(model):
    description = model / "model" / "model.json"
    description.write_text(json.dumps({k: v for k, v in json.loads(description.read_text()).items() if k != "tta"}))
    assert load_model(model).description.tta == "none"
