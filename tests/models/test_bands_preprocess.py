"""From stored numbers of any bands to the network's input, and what augmentation does to them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landsift.bands import BandSpec
from landsift.config import AugmentConfig
from landsift.data.augment import augment, batch_generator, flips_and_turns
from landsift.data.batches import PatchBatches, Resident
from landsift.data.patch_reader import PatchReader
from landsift.models.preprocess import Preprocess, resample
from landsift.resampling import resample_patch

C = 4
NAMES = ("B02", "B03", "B04", "B08")
SENTINEL = BandSpec(NAMES, "uint16", (1e-4,) * C, (-0.1,) * C, nodata=0, units="reflectance")
MEAN, STD = (0.1, 0.12, 0.14, 0.3), (0.05, 0.05, 0.06, 0.1)
DEEP = np.random.default_rng(0).integers(1, 65536, (8, 6, 6, C)).astype(np.uint16)


def test_8_bit_rgb_is_divided_by_255_to_the_bit():
    values = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(-1, -1, -1, 3)
    made = Preprocess((0.4,) * 3, (0.2,) * 3, 16).to_float(values)
    assert torch.equal(made, values.permute(0, 3, 1, 2).to(torch.float32) / 255.0)


def test_each_band_has_its_own_scale_and_offset():
    bands = BandSpec(("a", "b"), "int16", (0.01, 2.0), (0.0, 1.0), units="dB")
    stored = torch.tensor([[[[-300, 5], [32767, -32768]]]], dtype=torch.int16)
    made = Preprocess((0.0, 0.0), (1.0, 1.0), 2, bands=bands).to_float(stored)
    torch.testing.assert_close(made[0, 0], torch.tensor([[-3.0, 327.67]]))
    torch.testing.assert_close(made[0, 1], torch.tensor([[11.0, -65535.0]]))


@pytest.mark.parametrize("nodata", [0, 65535])
def test_pixels_without_data_normalise_to_0(nodata):
    bands = BandSpec(NAMES, "uint16", (1e-4,) * C, (-0.1,) * C, nodata=nodata, units="reflectance")
    stored = DEEP.copy()
    stored[0], stored[1, 2, 3, 1] = nodata, nodata
    made = Preprocess(MEAN, STD, 6, bands=bands)(torch.from_numpy(stored))
    missing = torch.from_numpy(stored == nodata).permute(0, 3, 1, 2)
    assert (made[missing] == 0).all()
    meant = (stored * 1e-4 - 0.1 - np.array(MEAN)) / np.array(STD)
    torch.testing.assert_close(
        made[~missing], torch.from_numpy(meant).permute(0, 3, 1, 2).float()[~missing], atol=1e-5, rtol=1e-5
    )


def test_other_bands_can_be_exported_too():
    preprocess = Preprocess(MEAN, STD, 8, (6, 6), SENTINEL)
    patches = torch.from_numpy(np.where(DEEP < 20_000, 0, DEEP).astype(np.uint16))
    batch = torch.export.Dim("batch", min=1)
    exported = torch.export.export(preprocess, (patches[:3],), dynamic_shapes=({0: batch},)).module()
    assert torch.equal(exported(patches), preprocess(patches))


def test_nan_is_a_number_for_nothing_as_any_other():
    bands = BandSpec(("VV",), "float32", (1.0,), (0.0,), math.nan)
    stored = torch.tensor([[[[1.0], [math.nan]], [[-3.0], [5.0]]]])
    made = Preprocess((2.0,), (2.0,), 2, bands=bands)(stored)
    assert torch.equal(made, torch.tensor([[[[-0.5, 0.0], [-2.5, 1.5]]]]))


@given(old=st.integers(4, 40), new=st.integers(4, 40), seed=st.integers(0, 99))
def test_resampling_without_holes_is_the_same_with_a_number_for_nothing(old, new, seed):
    images = torch.from_numpy(np.random.default_rng(seed).integers(1, 65536, (1, old, old, 2)).astype(np.uint16))
    plain, holed = resample(images, (new, new)), resample(images, (new, new), nodata=0)
    assert torch.equal(torch.where(plain == 0, 1, plain.to(torch.int32)), holed.to(torch.int32))
    np.testing.assert_array_equal(resample_patch(images[0].numpy(), (new, new), 0), holed[0].numpy())


@pytest.mark.parametrize(
    ("kind", "nodata"), [("uint16", 0), ("uint16", 65535), ("int16", -9999), ("float32", math.nan)]
)
@pytest.mark.parametrize("new", [(5, 5), (32, 32), (16, 7)])
def test_nothing_is_mixed_into_pixels_with_data(kind, nodata, new):
    images = np.full((1, 16, 16, 1), 1000, dtype=kind)
    images[0, :6, :, 0] = nodata
    images[0, 12, 12, 0] = nodata
    made = resample(torch.from_numpy(images), new, nodata)[0, ..., 0].numpy()
    missing = np.isnan(made) if math.isnan(nodata) else made == nodata
    np.testing.assert_allclose(made[~missing], 1000)
    assert missing.mean() == pytest.approx(6 / 16, abs=0.08)


def test_an_array_of_uint16_moves_as_one_of_its_bits():
    patches, symmetry = torch.from_numpy(DEEP), torch.arange(8)
    turned = flips_and_turns(patches, symmetry)
    assert turned.dtype == torch.uint16
    assert torch.equal(turned.to(torch.int32), flips_and_turns(patches.to(torch.int32), symmetry))
    rows = np.array([5, 1, 3])
    resident = Resident(PatchReader(DEEP), np.arange(8), np.arange(8), torch.device("cpu"))
    np.testing.assert_array_equal(resident(rows)[0].numpy(), DEEP[rows])


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "float32"])
def test_batches_have_the_stores_type(tmp_path, kind):
    images = (DEEP >> 9).astype(kind)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    (batch,) = PatchBatches(mapped, np.arange(8), np.array([4, 2]), batch_size=2)
    assert str(batch.images.dtype) == f"torch.{kind}"
    np.testing.assert_array_equal(batch.images.numpy(), images[[4, 2]])


JITTER = AugmentConfig(color_jitter=(0.5, 0.5, 0.5, 0.5))


def test_brightness_and_contrast_are_of_any_bands_and_hue_of_red_green_and_blue():
    images = torch.rand(5, C, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 0.5
    out = augment(images, JITTER, 6, batch_generator(0, 0, 0), bands=SENTINEL)
    off = AugmentConfig(color_jitter=(0.5, 0.5, 0.0, 0.0))
    assert torch.equal(out, augment(images, off, 6, batch_generator(0, 0, 0), bands=SENTINEL))
    assert out.min() < 0  # reflectance is not clipped
    assert out.max() > 1
    centred, was = (x - x.mean(dim=(2, 3), keepdim=True) for x in (out, images))
    factor = (centred / was).flatten(1)
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor), atol=1e-3, rtol=1e-3)  # one for all bands
    assert len({round(value, 4) for value in factor[:, 0].tolist()}) == 5
    rgb = BandSpec(("red", "green", "blue"), "uint16", (1e-4,) * 3, (0.0,) * 3, units="reflectance")
    only_hue = AugmentConfig(color_jitter=(0.0, 0.0, 0.0, 0.5))
    three = images[:, :3]
    assert torch.equal(augment(images, only_hue, 6, batch_generator(0, 0, 0), bands=SENTINEL), images)
    turned = augment(three, only_hue, 6, batch_generator(0, 0, 0), bands=rgb)
    assert (turned - three).abs().max() > 0.1
    assert turned.min() < 0


def test_pictures_of_other_bands_stay_between_0_and_1():
    images = torch.rand(5, 2, 6, 6)
    out = augment(images, JITTER, 6, batch_generator(0, 0, 0), bands=BandSpec.pictures(["red", "nir"]))
    assert 0 <= out.min() <= out.max() <= 1
