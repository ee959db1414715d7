"""What a model says beside its probabilities comes from two files in model/, which fit it or are refused."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from landsift.bands import BandSpec
from landsift.config import HeadConfig, ModelConfig
from landsift.errors import ModelError
from landsift.models.backbone import create_backbone
from landsift.models.classifier import PatchClassifier
from landsift.models.model_json import ModelDescription
from landsift.models.predictor import answers, load_model, save_model
from landsift.models.trust import Distances, Thresholds, Trust, set_names, tell
from landsift.models.trust_files import write_trust

CLASSES = ("forest", "water", "town")


def thresholds(**changes):
    values = {
        "classes": CLASSES, "temperature": None, "coverage": 0.9, "sets": "marginal", "least": (0.2, 0.3, 0.4),
        "risk": 0.05, "confidence": 0.6, "distance": 2.0, "landsift": "0.1.0",
    }  # fmt: skip
    return Thresholds(**(values | changes))


def distances(D=256, K=3):
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(D, 2)))[0].T
    return Distances(*(a.astype(np.float32) for a in (rng.normal(size=(K, D)), directions, np.array([4.0, 2.0]))), 0.5)


def save(folder, *, tta="none", temperature=None, trust=None, bands=None):
    torch.manual_seed(0)
    backbone = create_backbone(ModelConfig(backbone="test_efficientnet", weights="none"), 32)
    classifier = PatchClassifier(backbone.network, backbone.features, 3, HeadConfig(hidden=None))
    description = ModelDescription(
        backbone="test_efficientnet", backbone_args={}, head={"hidden": None, "dropout": 0.3}, classes=CLASSES,
        patch_size=(20, 24), image_size=32, mean=(0.4,) * 3, std=(0.2,) * 3, landsift="0.1.0", tta=tta,
        temperature=temperature, bands=bands or BandSpec.pictures(),
    )  # fmt: skip
    save_model(classifier, description, folder / "model")
    if trust is not None:
        write_trust(trust, folder / "model")
    return folder


@pytest.fixture
def patches():
    return np.random.default_rng(0).integers(0, 256, (10, 20, 24, 3), dtype=np.uint8)


@pytest.mark.parametrize("tta", ["none", "flips"])
def test_a_temperature_is_applied_to_what_is_averaged(tmp_path, patches, tta):
    plain = load_model(save(tmp_path / "plain", tta=tta), "cpu")
    model = load_model(save(tmp_path / "model", tta=tta, temperature=0.25), "cpu")
    powers = plain(patches).astype(np.float64) ** 4
    np.testing.assert_allclose(model(patches), powers / powers.sum(axis=1, keepdims=True), rtol=1e-4)
    np.testing.assert_allclose(model.logits(patches), plain.logits(patches) * 4, rtol=1e-5)
    np.testing.assert_allclose(torch.from_numpy(model.logits(patches)).softmax(dim=1), model(patches), atol=1e-6)
    np.testing.assert_array_equal(load_model(tmp_path / "model", "cpu", calibrated=False)(patches), plain(patches))


@pytest.mark.parametrize("tta", ["none", "flips"])
@pytest.mark.parametrize("temperature", [None, 0.5])
def test_probabilities_and_features_of_one_pass_are_those_of_two(tmp_path, patches, tta, temperature):
    model = load_model(save(tmp_path, tta=tta, temperature=temperature), "cpu")
    probabilities, features = model.probabilities_and_features(patches)
    np.testing.assert_array_equal(probabilities, model(patches))
    np.testing.assert_array_equal(features, model.features(patches))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf"), "hot"])
def test_a_temperature_that_is_none_is_refused(tmp_path, temperature):
    save(tmp_path)
    file = tmp_path / "model" / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"temperature": temperature}))
    with pytest.raises(ModelError, match="temperature"):
        load_model(tmp_path, "cpu")


def test_distances_are_those_of_the_whole_covariance():
    found, rng = distances(D=12), np.random.default_rng(1)
    along = found.directions.astype(np.float64)
    covariance = along.T @ np.diag(found.spreads) @ along + found.rest * (np.eye(12) - along.T @ along)
    x = rng.normal(size=(30, 12)) * 3
    apart = x[:, None] - found.means
    expected = np.einsum("nkd,de,nke->nk", apart, np.linalg.inv(covariance), apart).min(axis=1) / 12
    np.testing.assert_allclose(found(x), expected, rtol=1e-4)
    assert found(x[:0]).shape == (0,)


def test_a_patch_is_judged_by_the_thresholds():
    trust = Trust(thresholds(), distances())
    probabilities = np.array([[0.7, 0.2, 0.1], [0.3, 0.35, 0.35], [0.61, 0.39, 0.0], [0.99, 0.01, 0.0]])
    trust_by_class = Trust(thresholds(least=(0.8, 0.8, 0.8)), distances())
    assert trust_by_class.sets(probabilities).sum(axis=1).tolist() == [1] * 4  # the most probable one in any case
    judged = trust.judge(probabilities, np.array([1.0, 1.0, 2.0, np.nan]))
    assert judged.sets.tolist() == [
        [True, False, False],
        [True, True, False],
        [True, True, False],
        [True, False, False],
    ]
    assert judged.ood.tolist() == [False, False, False, True]
    assert judged.abstain.tolist() == [False, True, False, True]
    assert Trust(thresholds(confidence=None), distances()).judge(probabilities, np.zeros(4)).abstain is None


def test_sets_are_names_in_the_order_of_their_probability():
    sets = np.array([[True, True, False], [False, False, False], [True, True, True]])
    probabilities = np.array([[0.2, 0.7, 0.1], [0.4, 0.3, 0.3], [1 / 3, 1 / 3, 1 / 3]])
    assert set_names(sets, probabilities, ("a|b", "c", "d")) == [r"c|a\|b", "", r"a\|b|c|d"]
    two, one = (
        set_names(sets[[0]], probabilities[[0]], ("b", "a\\", "d")),
        set_names(sets[[1]] | [True, False, False], probabilities[[1]], ("a|b", "c", "d")),
    )
    assert two != one  # a\\|b and a\|b


def test_what_was_written_is_read(tmp_path, patches):
    model = load_model(save(tmp_path, trust=Trust(thresholds(), distances())), "cpu")
    written = model.trust.thresholds
    assert replace(written, weights=None, features=None) == thresholds()
    assert written.weights == hashlib.sha256((tmp_path / "model" / "model.safetensors").read_bytes()).hexdigest()
    probabilities, distance = answers(model, patches)
    np.testing.assert_array_equal(probabilities, model(patches))
    np.testing.assert_allclose(distance, distances()(model.features(patches)))
    assert load_model(tmp_path, "cpu", calibrated=False).trust is None


def test_a_patch_without_data_is_out_of_distribution(tmp_path):
    """However close the features of nothing are to those of the training."""
    bands = BandSpec(("a", "b", "c"), "uint16", (1e-4,) * 3, (0.0,) * 3, nodata=0.0)
    model = load_model(save(tmp_path, trust=Trust(thresholds(distance=1e9), distances()), bands=bands), "cpu")
    patches = np.random.default_rng(0).integers(1, 5000, (3, 20, 24, 3)).astype(np.uint16)
    patches[0, :10] = 0
    patches[1] = 0
    judged = model.trust.judge(*answers(model, patches))
    assert judged.ood.tolist() == [False, True, False]
    assert judged.abstain[1]


def test_a_model_without_the_files_has_no_thresholds(tmp_path, patches):
    model = load_model(save(tmp_path), "cpu")
    assert model.trust is None
    assert answers(model, patches)[1].tolist() == [0.0] * 10


def refused(folder, match):
    with pytest.raises(ModelError, match=match) as error:
        load_model(folder, "cpu")
    assert len(str(error.value).splitlines()) == 2
    assert "delete trust.json" in str(error.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"distance": "far"}, "distance"),
        ({"least": [0.1]}, "least has 1 numbers for 3 classes"),
        ({"least": [0.1, 0.2, 7]}, "least.2"),
        ({"format": 3}, "newer landsift"),
        ({"mood": 1}, "unknown key 'mood'"),
        ({"temperature": 2.0}, "belongs to another model"),
        ({"classes": ["a", "b", "c"]}, "belongs to another model"),
        ({"sets": "each"}, "sets"),
    ],
)
def test_thresholds_that_are_none_or_of_another_model_are_refused(tmp_path, values, said):
    save(tmp_path, trust=Trust(thresholds(), distances()))
    file = tmp_path / "model" / "trust.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
    refused(tmp_path, said)


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '{"format": 1}'])
def test_a_damaged_file_of_thresholds_is_refused(tmp_path, content):
    save(tmp_path, trust=Trust(thresholds(), distances()))
    (tmp_path / "model" / "trust.json").write_text(content)
    refused(tmp_path, "is damaged")


@pytest.mark.parametrize("name", ["model.safetensors", "trust.safetensors"])
def test_files_of_two_models_in_one_folder_are_refused(tmp_path, name):
    """Two seeds of one configuration have the same classes and shapes: in silence, thresholds would be of another."""
    save(tmp_path / "one", trust=Trust(thresholds(), distances()))
    save(tmp_path / "other", trust=Trust(thresholds(), distances(K=2)))
    file = tmp_path / "other" / "model" / "model.safetensors"
    weights = load_file(file)
    save_file({key: array + 1 if key == "head.1.bias" else array for key, array in weights.items()}, file)
    (tmp_path / "one" / "model" / name).write_bytes((tmp_path / "other" / "model" / name).read_bytes())
    refused(tmp_path / "one", "its weights are not those of" if name.startswith("model") else "is not the file that")


def test_thresholds_of_the_format_before_are_read(tmp_path):
    save(tmp_path, trust=Trust(thresholds(), distances()))
    file = tmp_path / "model" / "trust.json"
    stored = json.loads(file.read_text()) | {"format": 1}
    file.write_text(json.dumps({key: value for key, value in stored.items() if key not in ("weights", "features")}))
    assert load_model(tmp_path, "cpu").trust.thresholds.confidence == 0.6


def test_features_without_thresholds_are_told(tmp_path, caplog):
    """Half of a model's files were copied: the columns would be missing without a word."""
    save(tmp_path, trust=Trust(thresholds(), distances()))
    (tmp_path / "model" / "trust.json").unlink()
    assert load_model(tmp_path, "cpu").trust is None
    assert "trust.json is missing beside trust.safetensors" in caplog.text


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"least": (0.0, 0.0, 0.0)}, "every set holds all classes"),
        ({"least": (0.0, 0.3, 0.4)}, "in every set is forest"),
        ({"confidence": None}, "no column abstain"),
        ({}, ""),
    ],
)
def test_what_thresholds_do_not_do_is_told(values, said, caplog):
    with caplog.at_level("INFO", "landsift"):
        tell(Trust(thresholds(**values), distances()))
    assert said in caplog.text
    assert bool(caplog.text) == bool(said)


def test_damaged_features_are_refused(tmp_path):
    save(tmp_path, trust=Trust(thresholds(), distances()))
    file = tmp_path / "model" / "trust.safetensors"
    arrays = load_file(file)
    for name, array in {"rest": np.zeros(1), "means": np.full((3, 256), np.nan), "spreads": np.ones(3)}.items():
        save_file(arrays | {name: array.astype(np.float32)}, file)
        refused(tmp_path, "is damaged")
    save_file({name: array for name, array in arrays.items() if name != "directions"}, file)
    refused(tmp_path, "is damaged")
    file.write_bytes(file.read_bytes()[:50])
    refused(tmp_path, "is damaged")
    write_trust(Trust(thresholds(), distances(D=8)), tmp_path / "model")
    refused(tmp_path, "is of another backbone")
    file.unlink()
    refused(tmp_path, "is missing")
