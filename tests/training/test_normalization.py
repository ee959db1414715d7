"""What inputs are normalised with: as the weights saw them, or by statistics that outliers do not move."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from landsift.bands import BandSpec
from landsift.config import Normalization, RunConfig
from landsift.data.splits import make_split
from landsift.data.store.patch_store import PatchStore
from landsift.data.store.robust import robust_mean_and_std
from landsift.data.store.statistics import mean_and_std
from landsift.errors import DataError
from landsift.models.backbone import create_backbone
from landsift.models.preprocess import Preprocess
from landsift.models.weights_file import write_state
from landsift.training.fit import as_images, build_classifier, is_rgb_reflectance

ONE = BandSpec(("VV",), "float32", (1.0,), (0.0,), math.nan, "dB")
DEEP = BandSpec(("B04", "B03", "B02"), "uint16", (1e-4,) * 3, (-0.1,) * 3, None, "reflectance")


def patches(bands: BandSpec, n: int = 12) -> np.ndarray:
    rng = np.random.default_rng(0)
    found = rng.normal(2000, 300, (n, 16, 16, len(bands)))
    return found.astype(bands.dtype)


@pytest.mark.parametrize("bands", [ONE, DEEP])
def test_outliers_do_not_move_them(bands):
    images, rows = patches(bands), np.arange(12)
    clean = robust_mean_and_std(images, rows, bands)
    plain = mean_and_std(images, rows, bands)
    np.testing.assert_allclose(clean, plain, rtol=0.06, atol=1e-3)
    images[3, :1] = 60_000  # a glint in one of 200 pixels
    np.testing.assert_allclose(robust_mean_and_std(images, rows, bands), clean, rtol=0.1)
    assert mean_and_std(images, rows, bands)[1][0] > 5 * clean[1][0]


def test_pixels_without_data_and_other_parts_count_nothing():
    bands = replace(DEEP, nodata=0)
    images = patches(bands)
    known = robust_mean_and_std(images, np.arange(6), bands)
    images[6:] = 9000
    assert robust_mean_and_std(images, np.arange(6), bands) == known
    images[:6, :8] = 0
    np.testing.assert_allclose(robust_mean_and_std(images, np.arange(6), bands), known, rtol=0.1)
    images[:6, ..., 1] = 0
    with pytest.raises(DataError, match="band B03 of the training patches is nodata"):
        robust_mean_and_std(images, np.arange(6), bands)


def test_a_band_of_nearly_one_value_keeps_its_plain_statistics():
    images = np.zeros((10, 16, 16, 1), np.float32)
    images[0, 0, :8] = 1
    assert robust_mean_and_std(images, np.arange(10), ONE) == mean_and_std(images, np.arange(10), ONE)


def test_many_patches_are_sampled_evenly():
    images = np.broadcast_to(patches(DEEP, 1), (6000, 16, 16, 3))
    np.testing.assert_allclose(
        robust_mean_and_std(images, np.arange(6000), DEEP), robust_mean_and_std(images, np.arange(1), DEEP), rtol=0.02
    )


@pytest.mark.parametrize(
    ("change", "is_one"),
    [({}, True), ({"names": ("red", "green", "blue")}, True), ({"names": ("SR_B4", "SR_B3", "SR_B2")}, True),
     ({"names": ("B02", "B03", "B04")}, False), ({"names": ("B08", "B04", "B03")}, False),
     ({"units": "unknown"}, False)],
)  # fmt: skip
def test_red_green_and_blue_are_known_by_any_of_their_names(change, is_one):
    assert is_rgb_reflectance(replace(DEEP, **change)) == is_one


def test_reflectances_reach_the_network_as_the_images_that_are_made_of_them():
    own = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    stored = np.random.default_rng(0).integers(1000, 3750, (2, 8, 8, 3)).astype(np.uint16)
    images = np.rint((stored - 1000.0) * 255 / 2750).astype(np.uint8)
    torch = pytest.importorskip("torch")
    scaled = as_images(own)
    of_stored = Preprocess(scaled.mean, scaled.std, 8, bands=DEEP)(torch.from_numpy(stored))
    of_images = Preprocess(own.mean, own.std, 8)(torch.from_numpy(images))
    np.testing.assert_allclose(of_stored, of_images, atol=0.5 / 255 / 0.22 + 1e-4)


def test_weights_of_images_get_reflectances_scaled_and_it_is_said(tmp_path, caplog):
    caplog.set_level("INFO", "landsift")
    weights = tmp_path / "w.safetensors"
    model = {"backbone": "test_efficientnet", "weights": "none"}
    network = create_backbone(RunConfig.from_dict({"model": model}).model, 32).network
    write_state(network, weights)
    config = RunConfig.from_dict({"model": model | {"weights": str(weights)}, "training": {"image_size": 32}})
    store = PatchStore.from_arrays(patches(DEEP), [0, 1] * 6, ["a", "b"], folder=tmp_path / "store", bands=DEEP)
    split = make_split(store, config.data.split)
    own = SimpleNamespace(**network.pretrained_cfg)
    _, normalization = build_classifier(config, store, split)
    np.testing.assert_allclose(normalization.mean, np.array(own.mean) * 0.275)
    np.testing.assert_allclose(normalization.std, np.array(own.std) * 0.275)
    assert "reflectances of 0 to 0.275 are taken as their 0 to 255" in caplog.text
