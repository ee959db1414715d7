"""A model says which bands it takes: model.json, networks of other bands, and what is refused."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from landsift.bands import BandSpec
from landsift.config import HeadConfig, ModelConfig
from landsift.data.store.patch_store import PatchStore
from landsift.errors import DataError, ModelError
from landsift.evaluation.new_data import evaluate_store
from landsift.evaluation.predict import predict_files
from landsift.models.backbone import create_backbone
from landsift.models.classifier import PatchClassifier
from landsift.models.first_layer import for_bands
from landsift.models.model_json import ModelDescription, read_description
from landsift.models.predictor import load_model, save_model

C = 4
SENTINEL = BandSpec(
    ("B02", "B03", "B04", "B08"), "uint16", (1e-4,) * C, (-0.1,) * C, nodata=0, units="reflectance", gsd=10
)
RADAR = BandSpec(("VV",), "float32", (1.0,), (0.0,), math.nan, "dB")
DEEP = np.random.default_rng(0).integers(1, 9000, (6, 16, 16, C)).astype(np.uint16)


def saved(folder, bands, classes=("a", "b")):
    """A `model/` folder for patches of 16 pixels, its weights at random."""
    torch.manual_seed(0)
    config = for_bands(ModelConfig(backbone="test_efficientnet", weights="none"), len(bands))
    backbone = create_backbone(config, 32)
    head = HeadConfig(hidden=None, dropout=0.0)
    description = ModelDescription(
        backbone="test_efficientnet", backbone_args=config.backbone_args, head=head.model_dump(), classes=classes,
        patch_size=(16, 16), image_size=32, mean=(0.2,) * len(bands), std=(0.1,) * len(bands), landsift="0",
        bands=bands,
    )  # fmt: skip
    save_model(PatchClassifier(backbone.network, backbone.features, len(classes), head), description, folder)
    return folder


@pytest.mark.parametrize("bands", [BandSpec.pictures(), SENTINEL, RADAR])
def test_a_model_says_its_bands(tmp_path, bands):
    predictor = load_model(saved(tmp_path, bands), "cpu")
    assert predictor.bands == predictor.preprocess.bands == bands
    patches = np.random.default_rng(0).integers(1, 200, (3, 16, 16, len(bands))).astype(bands.dtype)
    assert predictor(patches).shape == (3, 2)
    assert json.loads((tmp_path / "model.json").read_text())["format"] == 3


def test_a_file_of_format_1_is_read_as_8_bit_rgb_with_the_same_answers(tmp_path):
    patches = np.random.default_rng(0).integers(0, 256, (5, 20, 16, 3), dtype=np.uint8)
    now = load_model(saved(tmp_path, BandSpec.pictures()), "cpu")(patches)
    stored = json.loads((tmp_path / "model.json").read_text())
    del stored["bands"]
    for old in (stored | {"format": 1}, {key: value for key, value in stored.items() if key != "format"}):
        (tmp_path / "model.json").write_text(json.dumps(old))
        assert read_description(tmp_path / "model.json").bands == BandSpec.pictures()
        np.testing.assert_array_equal(load_model(tmp_path, "cpu")(patches), now)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bands": {"names": ["a"]}}, "bands.dtype"),
        ({"bands": SENTINEL.to_dict() | {"unit": "m"}}, "bands.unit"),
        ({"bands": SENTINEL.to_dict() | {"nodata": -1}}, "nodata -1 is not a uint16"),
        ({"bands": RADAR.to_dict()}, "bands are 1, and mean has 4 numbers"),
        ({"bands": 10_000}, "bands"),
        ({"bands": SENTINEL.to_dict() | {"scale": [1e-300] * C}}, "a scale is not between"),
    ],
)
def test_bands_that_are_none_are_refused(tmp_path, change, said):
    saved(tmp_path, SENTINEL)
    stored = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(stored | change))
    with pytest.raises(ModelError, match="is damaged") as caught:
        load_model(tmp_path, "cpu")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (DEEP.astype(np.float32), r"takes uint16 \[B, H, W, 4\], not float32"),
        (DEEP.astype(np.uint8), "not uint8"),
        (DEEP.astype(np.int16), "not int16"),
        (torch.from_numpy(DEEP.astype(np.int64)), "not int64"),
        (DEEP[..., :3], r"not uint16 \[6, 16, 16, 3\]"),
        (DEEP.transpose(0, 3, 1, 2), "bands come last"),
        (list(DEEP[..., :3]), r"number 0 is uint16 \[16, 16, 3\]"),
        ([Image.new("RGB", (16, 16))], "PIL image of mode RGB"),
        (np.ma.MaskedArray(DEEP, mask=DEEP > 8000), r"images\.filled\(0\)"),
    ],
)
def test_other_numbers_are_refused_with_what_the_model_takes(tmp_path, given, said):
    with pytest.raises(ModelError, match=said) as caught:
        load_model(saved(tmp_path, SENTINEL), "cpu")(given)
    assert str(caught.value).count("\n") <= 1
    named = any(
        word in str(caught.value)
        for word in ("(B02, B03, B04, B08), reflectance = 0.0001 x - 0.1", "transpose", "filled")
    )
    assert named


def test_a_number_that_is_none_is_refused_unless_it_means_nothing(tmp_path):
    echo = np.zeros((3, 16, 16, 1), dtype=np.float32)
    echo[1, 2, 2] = np.nan
    assert load_model(saved(tmp_path / "radar", RADAR), "cpu")(echo).shape == (3, 2)
    with pytest.raises(ModelError, match="1 that are NaN or infinite"):
        load_model(saved(tmp_path / "plain", BandSpec(("VV",), "float32", (1.0,), (0.0,))), "cpu")(echo)
    echo[1, 2, 2] = np.inf
    with pytest.raises(ModelError, match="number 1 holds 1 that are NaN or infinite"):
        load_model(tmp_path / "radar", "cpu")(list(echo))


@pytest.mark.parametrize(
    "same",
    [np.asfortranarray(DEEP), DEEP.astype(">u2"), torch.from_numpy(DEEP), list(DEEP), DEEP[::-1][::-1]],
    ids=["Fortran's order", "another byte order", "a tensor", "a list", "negative strides"],
)
def test_the_same_numbers_have_the_same_answers_however_they_lie(tmp_path, same):
    predictor = load_model(saved(tmp_path, SENTINEL), "cpu")
    np.testing.assert_array_equal(predictor(same), predictor(DEEP))


def test_a_read_only_patch_of_another_size_without_any_data_is_answered_and_said(tmp_path, caplog):
    predictor = load_model(saved(tmp_path, SENTINEL), "cpu")
    nothing = np.zeros((1, 40, 23, C), dtype=np.uint16)
    nothing.flags.writeable = False
    np.testing.assert_allclose(predictor(nothing), predictor(nothing[:, :16, :16]), rtol=1e-6)
    assert caplog.messages[-1] == "1 of 1 patches hold no data: their answers say nothing of them"


def test_files_are_refused_by_a_model_of_other_bands(tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"no band B02 among red, green, blue \(the model takes uint16, 4 bands "):
        predict_files(saved(tmp_path / "model", SENTINEL), tmp_path / "a.png")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scale": [1e-3] * C}, "scale is 0.001, not 0.0001"),
        ({"offset": [0.0] * C}, "offset is 0, not -0.1"),
        ({"nodata": None}, "nodata is none, not 0"),
        ({"units": "radiance"}, "units is radiance, not reflectance"),
        ({"names": ["B04", "B03", "B02", "B08"]}, "bands are B04, B03, B02, B08, not B02, B03, B04, B08"),
    ],
)
def test_a_store_whose_numbers_mean_another_thing_is_not_tested_on(tmp_path, change, said):
    predictor = load_model(saved(tmp_path / "model", SENTINEL), "cpu")
    other = BandSpec.from_dict(SENTINEL.to_dict() | change)
    store = PatchStore.from_arrays(DEEP, [0, 1] * 3, ["a", "b"], folder=tmp_path / "store", bands=other)
    with pytest.raises(ModelError) as caught:
        evaluate_store(predictor, store)
    assert said in str(caught.value)


def test_a_store_of_other_pixels_is_and_its_unlabelled_patches_are_left_out(tmp_path):
    predictor = load_model(saved(tmp_path / "model", SENTINEL), "cpu")
    coarser = BandSpec.from_dict(SENTINEL.to_dict() | {"gsd": 20.0})
    store = PatchStore.from_arrays(DEEP, [0, 1, 0, 1, -1, -1], ["b", "a"], folder=tmp_path / "store", bands=coarser)
    result, table = evaluate_store(predictor, store)
    assert (result["figures"]["n"], len(table)) == (4, 4)
    assert table["label"].tolist() == ["b", "a", "b", "a"]
    bare = PatchStore.from_arrays(DEEP, [-1] * 6, [], folder=tmp_path / "bare", bands=SENTINEL)
    with pytest.raises(DataError, match="none of the 6 patches has a label"):
        evaluate_store(predictor, bare)


# Networks of other bands


def test_weights_of_rgb_begin_a_network_of_other_bands_and_it_is_said(tmp_path, caplog):
    torch.manual_seed(0)
    rgb = create_backbone(ModelConfig(backbone="test_efficientnet", weights="none"), 32).network
    save_file(rgb.state_dict(), tmp_path / "rgb.safetensors")
    config = for_bands(ModelConfig(backbone="test_efficientnet", weights=str(tmp_path / "rgb.safetensors")), 6)
    backbone = create_backbone(config, 32)
    assert "are of RGB: the first layer takes 6 bands" in caplog.text
    before, after = rgb.state_dict(), backbone.network.state_dict()
    mean = before["conv_stem.weight"].mean(1, keepdim=True) / 2  # which bands are red, green and blue is not known
    torch.testing.assert_close(after["conv_stem.weight"], mean.expand(-1, 6, -1, -1))
    assert all(torch.equal(after[name], value) for name, value in before.items() if name != "conv_stem.weight")
    assert backbone.bands == BandSpec.pictures()


def test_weights_of_the_same_number_of_bands_are_taken_as_they_are(tmp_path, caplog):
    model = saved(tmp_path, SENTINEL)
    config = for_bands(ModelConfig(backbone="test_efficientnet", weights=str(model)), C)
    backbone = create_backbone(config, 32)
    kept = load_model(model, "cpu")._classifier.backbone.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in backbone.network.state_dict().items())
    assert backbone.bands == SENTINEL
    assert caplog.text == ""


def test_weights_of_yet_other_bands_are_refused(tmp_path):
    config = for_bands(ModelConfig(backbone="test_efficientnet", weights=str(saved(tmp_path, SENTINEL))), 6)
    with pytest.raises(ModelError, match=r"is of patches of 4 bands .*, these patches have 6"):
        create_backbone(config, 32)
