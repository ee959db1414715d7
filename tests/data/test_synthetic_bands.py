"""Generated patches of 13 bands: reflectance as Sentinel-2 sees it, and RGB as it was."""

import hashlib

import numpy as np
import pytest
from small_sources import data_config, refused

from landsift.config import SyntheticConfig
from landsift.data.sources import synthetic, synthetic_bands
from landsift.data.sources.base import content_fingerprint, known_bands
from landsift.data.store.patch_store import build_store

RGB_DIGEST = "561cfbe1ef4a87f646b77a1e5f60c494e20a7f2b2c3de206462e65d8785aac31"
RGB_FINGERPRINT = "c6b393f5caa06601be37a904381b0a49deb08886ffb4c785cff27cc6ac91619b"
ALL = SyntheticConfig(bands="all", patches=60, difficulty=0.3)


def mean_spectrum(name: str, config: SyntheticConfig = ALL) -> dict[str, float]:
    """Mean reflectance of ten patches of a class, by band."""
    first = synthetic.CLASSES.index(name)
    patches = [synthetic.patch(config, i) for i in range(first, 60, 6)]
    return dict(zip(synthetic_bands.NAMES, np.mean(patches, axis=(0, 1, 2)) * 1e-4, strict=True))


def test_rgb_is_as_it_was():
    """The digest was taken before there were other bands."""
    found = hashlib.sha256()
    for i in range(12):
        found.update(synthetic.patch(SyntheticConfig(size=16, seed=3), i).tobytes())
    assert found.hexdigest() == RGB_DIGEST
    assert content_fingerprint(data_config()) == RGB_FINGERPRINT


def test_a_store_of_13_bands_says_what_they_are(tmp_path):
    data = data_config("data.synthetic.bands=all", "data.synthetic.patches=24", "data.synthetic.size=16")
    store = build_store(data, tmp_path / "store")
    assert store.images.shape == (24, 16, 16, 13)
    assert store.bands == known_bands(data) == synthetic_bands.SPEC
    assert (store.bands.dtype, store.bands.units, store.bands.gsd) == ("uint16", "reflectance", 10)
    assert store.fingerprint == content_fingerprint(data) != content_fingerprint(data_config())
    assert store.images.min() >= 1


def test_patches_are_resized_as_others_are(tmp_path):
    data = data_config("data.synthetic.bands=all", "data.synthetic.patches=6", "data.patch_size=32")
    assert build_store(data, tmp_path / "store").images.shape == (6, 32, 32, 13)


def test_a_patch_depends_on_its_number_and_the_seed_alone():
    alone = synthetic.patch(ALL, 7)
    synthetic.patch(ALL, 3)
    np.testing.assert_array_equal(alone, synthetic.patch(ALL, 7))
    assert (alone != synthetic.patch(ALL.model_copy(update={"seed": 1}), 7)).mean() > 0.9


def test_the_covers_have_the_spectra_that_they_are_known_for():
    forest, water, barren, crops, urban = map(mean_spectrum, ("forest", "water", "barren", "cropland", "urban"))
    assert forest["B08"] > 2 * forest["B04"]  # the red edge
    assert forest["B03"] > forest["B04"]  # green leaves
    assert water["B12"] < water["B08"] < water["B03"] < water["B02"]  # water absorbs with the wavelength
    assert barren["B02"] < barren["B03"] < barren["B04"] < barren["B11"]  # soil grows brighter
    assert urban["B04"] > forest["B04"]
    assert abs(urban["B08"] - urban["B04"]) < 0.1
    assert crops["B08"] > crops["B04"]
    for spectrum in (forest, water, barren, crops, urban):
        assert spectrum["B10"] == min(spectrum.values())  # cirrus sees no ground
        assert spectrum["B01"] > 0.09  # haze
    assert forest["B09"] < 0.6 * forest["B8A"]  # water vapour


def test_coarse_bands_are_smooth_at_their_native_resolution():
    patch = synthetic.patch(ALL, 2).astype(float)  # a forest, which has fine structure
    step = np.abs(np.diff(patch, axis=1)).mean(axis=(0, 1)) / patch.std(axis=(0, 1))
    roughness = dict(zip(synthetic_bands.NAMES, step, strict=True))
    assert roughness["B08"] > 1.1 * roughness["B8A"] > 1.5 * roughness["B09"]


def test_difficulty_zero_and_one_are_patches_too():
    for difficulty in (0.0, 1.0):
        for size in (8, 33):
            config = SyntheticConfig(bands="all", size=size, difficulty=difficulty)
            patches = [synthetic.patch(config, i) for i in range(12)]
            assert {p.shape for p in patches} == {(size, size, 13)}
            assert max(p.max() for p in patches) < 12_000


def test_written_files_are_read_back_as_they_are(tmp_path):
    pytest.importorskip("rasterio")
    config = SyntheticConfig(bands="all", patches=12, size=16)
    assert synthetic.write_folder(config, tmp_path / "patches") == 12
    store = build_store(data_config(f"data.source={tmp_path / 'patches'}", "data.bands=all"), tmp_path / "store")
    direct = build_store(data_config("data.synthetic.bands=all", "data.synthetic.patches=12", "data.synthetic.size=16"),
                         tmp_path / "direct")  # fmt: skip
    np.testing.assert_array_equal(store.images, direct.images)
    assert not store.bands.differences(direct.bands)


def test_other_values_are_refused():
    refused(lambda: data_config("data.synthetic.bands=13"), "data.synthetic.bands", "'rgb' or 'all'")
