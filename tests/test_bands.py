"""What the numbers of a patch mean, as a store and a model say it."""

import json
import math

import numpy as np
import pytest

from landsift.bands import BandSpec

SENTINEL = BandSpec(
    names=("B02", "B03", "B04", "B08"),
    dtype="uint16",
    scale=(1e-4,) * 4,
    offset=(-0.1,) * 4,
    nodata=0,
    units="reflectance",
    gsd=10.0,
)


@pytest.mark.parametrize("spec", [SENTINEL, BandSpec.pictures(), BandSpec(("a",), "float32", (1.0,), (0.0,), math.nan)])
def test_a_spec_is_the_same_after_json(spec):
    assert BandSpec.from_dict(json.loads(json.dumps(spec.to_dict(), allow_nan=False))) == spec


def test_a_picture_s_brightness_is_one_at_255():
    spec = BandSpec.pictures()
    assert (spec.names, spec.dtype, 255 * spec.scale[0] + spec.offset[0]) == (("red", "green", "blue"), "uint8", 1.0)


def test_bands_are_taken_by_name_in_the_order_asked_for():
    taken = SENTINEL.take(["B08", "B04"])
    assert taken.names == ("B08", "B04")
    assert (taken.scale, taken.nodata, taken.gsd) == ((1e-4, 1e-4), 0, 10.0)
    with pytest.raises(ValueError, match="there is no band 'B8' among B02, B03, B04, B08"):
        SENTINEL.take(["B8"])
    with pytest.raises(ValueError, match="contains a band twice"):
        SENTINEL.take(["B08", "B08"])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"names": ["B02", "B02", "B04", "B08"]}, "contains a band twice"),
        ({"scale": [1e-4]}, "different lengths"),
        ({"scale": [0, 1, 1, 1]}, "greater than 0"),
        ({"offset": [math.inf, 0, 0, 0]}, "finite"),
        ({"dtype": "int64"}, "'uint8', 'uint16', 'int16' or 'float32'"),
        ({"gsd": -10}, "greater than 0"),
        ({"unit": "dB"}, "unit"),
    ],
)
def test_what_makes_no_bands_is_refused_in_a_line(changed, said):
    with pytest.raises(ValueError, match=said) as refused:
        BandSpec.from_dict(SENTINEL.to_dict() | changed)
    assert "\n" not in str(refused.value)


def test_a_spec_tells_in_a_line_what_numbers_mean():
    assert str(SENTINEL) == "uint16, 4 bands (B02, B03, B04, B08), reflectance = 0.0001 x - 0.1, nodata 0"
    assert str(BandSpec(("VV",), "float32", (1.0,), (0.0,), units="dB")) == "float32, 1 band (VV), dB"


def test_differences_are_named_and_the_pixels_size_is_none():
    assert SENTINEL.differences(BandSpec.from_dict(SENTINEL.to_dict() | {"gsd": 20.0})) == []
    other = BandSpec.from_dict(
        SENTINEL.to_dict() | {"dtype": "int16", "nodata": None, "scale": [1e-4, 1e-4, 1e-4, 2.0]}
    )
    assert SENTINEL.differences(other) == [
        "dtype is int16, not uint16",
        "scale of B08 is 2, not 0.0001",
        "nodata is none, not 0",
    ]
    assert "not B02, B03, B04, B08" in SENTINEL.differences(SENTINEL.take(["B03", "B02", "B04", "B08"]))[0]


@pytest.mark.parametrize("count", [2, 49, 93, 255, 10_000, 65_535])
def test_a_scale_of_one_in_a_whole_number_divides_by_it(count):
    assert BandSpec(("a",), "uint16", (1 / count,), (0.0,)).divisors == (count,)


@pytest.mark.parametrize(
    ("dtype", "nodata", "can"),
    [
        ("uint8", 255, True),
        ("uint8", 256, False),
        ("uint16", -9999, False),
        ("int16", -9999, True),
        ("int16", 0.5, False),
        ("uint16", math.nan, False),
        ("float32", -3.4028235e38, True),
        ("float32", math.inf, True),
        ("float32", 1e39, False),
        ("uint8", None, True),
    ],
)
def test_whether_a_type_can_hold_the_number_for_nothing(dtype, nodata, can):
    spec = BandSpec(("a",), dtype, (1.0,), (0.0,), nodata)
    assert spec.takes_nodata is can
    assert BandSpec.from_dict(json.loads(json.dumps(spec.to_dict(), allow_nan=False))) == spec


def test_a_nodata_of_floats_is_as_it_stands_in_the_array():
    spec = BandSpec(("a",), "float32", (1.0,), (0.0,), 0.1)
    assert spec.missing(np.array([0.1, 0.2], dtype=np.float32)).tolist() == [True, False]
