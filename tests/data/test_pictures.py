"""A patch of any bands as people see it."""

import math

import numpy as np
import pytest

from landsift.bands import BandSpec
from landsift.data.pictures import as_picture

RAMP = np.linspace(1000, 3000, 64).reshape(8, 8)


def spec(names, **changed):
    plain = {"names": names, "dtype": "uint16", "scale": [1e-4] * len(names), "offset": [0.0] * len(names)}
    return BandSpec.from_dict(plain | changed)


def test_8_bit_rgb_is_shown_as_it_is():
    patch = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(as_picture(patch, BandSpec.pictures()), patch)


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["blue", "green", "red", "nir"], [2, 1, 0]),
        (["B02", "B03", "B04", "B08"], [2, 1, 0]),
        (["B05", "B06", "B07", "B8A"], [0, 1, 2]),
        (["nir", "Red", "Green", "Blue"], [1, 2, 3]),
    ],
)
def test_red_green_and_blue_are_shown_by_name_or_else_the_first_three(names, shown):
    patch = np.stack([RAMP * (band + 1) for band in range(4)], axis=-1).astype(np.uint16)
    patch[0, 0, shown[0]] = 60_000  # one value far off changes the stretch by little
    picture = as_picture(patch, spec(names))
    assert picture.shape == (8, 8, 3)
    assert picture[0, 0].tolist() == [255, 0, 0]
    assert picture[7, 7].tolist() == [255, 255, 255]


@pytest.mark.parametrize("names", [["VV"], ["VV", "VH"]])
def test_one_or_two_bands_are_grey(names):
    patch = np.repeat(RAMP[..., None], len(names), axis=-1).astype(np.uint16)
    picture = as_picture(patch, spec(names))
    assert (picture.shape, picture[0, 0], picture[7, 7]) == ((8, 8), 0, 255)


@pytest.mark.parametrize(("kind", "nodata"), [("uint16", 0), ("int16", -9999), ("float32", math.nan)])
def test_what_has_no_data_is_black_and_stretches_nothing(kind, nodata):
    patch = RAMP[..., None].astype(kind)
    patch[:2] = nodata
    picture = as_picture(patch, spec(["VV"], dtype=kind, nodata=nodata))
    assert (picture[:2] == 0).all()
    assert picture[2:].max() == 255
    patch[:] = nodata
    assert (as_picture(patch, spec(["VV"], dtype=kind, nodata=nodata)) == 0).all()


def test_a_patch_of_one_value_is_grey():
    assert (as_picture(np.full((4, 4, 1), 700, np.uint16), spec(["VV"])) == 128).all()
