"""`data check` per band: dead, equal, without data, of improbable reflectance."""

import math

import numpy as np
import pytest

from landsift.bands import BandSpec
from landsift.data.checks.check import check_data
from landsift.data.store.patch_store import PatchStore

NAMES = ("B02", "B03", "B04", "B08", "B10")
N = 24


def reflectance(nodata=None, offset=0.0, names=NAMES):
    C = len(names)
    return BandSpec(names, "uint16", (1e-4,) * C, (offset,) * C, nodata, "reflectance")


def numbers():
    images = np.random.default_rng(0).integers(800, 3000, (N, 12, 12, 5)).astype(np.uint16)
    images[..., 4] //= 100
    return images


def section(tmp_path, images, bands):
    labels = np.arange(N) % 2
    store = PatchStore.from_arrays(images, labels, ("a", "b"), folder=tmp_path / "store", bands=bands)
    return next(s for s in check_data(store).sections if s.name == "bands")


def with_band(c, change):
    images = numbers()
    images[..., c] = change(images[..., c])
    return images


def dead_in_most(band):
    band[: N * 2 // 3] = 1234
    return band


def holes(band):
    band[:, :4] = 0
    return band


def test_sound_bands_are_told_with_their_range(tmp_path):
    found = section(tmp_path, numbers(), reflectance())
    assert found.verdict == "ok"
    assert "B02 0.188" in found.text
    assert "0.08 to 0.2999" in found.text


ODD = {
    "dead in most patches": (with_band(1, dead_in_most), reflectance(), "look", "band B03 is one value in 67 % of the"),
    "constant": (with_band(1, lambda b: b * 0 + 7), reflectance(), "wrong", "band B03 is 7 everywhere"),
    "equal": (with_band(1, lambda _: numbers()[..., 3]), reflectance(), "look", "bands B03 and B08 are equal"),
    "holes in one": (with_band(2, holes), reflectance(0), "look", "33.3 % of band B04 has no data, more than"),
    "cirrus is bright": (numbers()[..., [0, 1, 4, 2, 3]], reflectance(), "look", "B10 (cirrus) is about as bright"),
    "snow or a wrong scale": (with_band(0, lambda b: b * 10), reflectance(), "look", "B02 has a mean reflectance"),
    "offset twice": (numbers(), reflectance(offset=-0.3), "look", "below 0: the offset may be wrong"),
    "nearly nothing": (with_band(0, lambda b: b // 1500), reflectance(), "look", "B02 is below a reflectance"),
}  # fmt: skip


@pytest.mark.parametrize(("images", "bands", "verdict", "said"), ODD.values(), ids=ODD)
def test_odd_bands_are_told(tmp_path, images, bands, verdict, said):
    found = section(tmp_path, images, bands)
    assert (found.verdict, said in found.text) == (verdict, True), found.text
    assert "nan" not in found.text
    assert "inf" not in found.text


def test_floats_with_nan_are_told_the_same_way(tmp_path):
    images = numbers().astype(np.float32) / 1e4
    images[:, :6, :, 2] = math.nan
    bands = BandSpec(NAMES, "float32", (1.0,) * 5, (0.0,) * 5, math.nan, "reflectance")
    assert "50.0 % of band B04 has no data" in section(tmp_path, images, bands).text


@pytest.mark.shared
def test_the_real_patches_are_sound(shared, tmp_path):
    from small_sources import data_config

    from landsift.data.store.patch_store import build_store

    folder = shared / "data/eurosat_ms"
    if not folder.is_dir():
        pytest.skip("the 98 real patches are not here")
    store = build_store(data_config(f"data.source={folder}", "data.sensor=eurosat"), tmp_path / "store")
    assert next(s for s in check_data(store).sections if s.name == "bands").verdict == "ok"


def test_of_many_bands_the_first_are_said(tmp_path):
    """Hundreds of bands are no sentence; the counts have them all."""
    images = np.random.default_rng(0).normal(0, 1, (N, 4, 4, 200)).astype(np.float32)
    images[..., :100] = 7
    bands = BandSpec(tuple(f"band_{c}" for c in range(200)), "float32", (1.0,) * 200, (0.0,) * 200, None, "unknown")
    found = section(tmp_path, images, bands)
    assert "and 84 more" in found.text
    assert "and 184 more" in found.text
    assert len(found.text) < 2500
    assert len(found.counts["mean"]) == 200


def test_zeros_that_stand_for_nothing_in_floats_are_seen(tmp_path):
    images = np.random.default_rng(0).uniform(0.05, 0.4, (N, 12, 12, 2)).astype(np.float32)
    images[:, :2] = 0
    bands = BandSpec(("red", "nir"), "float32", (1.0,) * 2, (0.0,) * 2, math.nan, "reflectance")
    assert "16.7 % of band red is 0" in section(tmp_path, images, bands).text
