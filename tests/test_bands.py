"""What the numbers of a patch mean, as a store and a model say it."""

import json
import math

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
