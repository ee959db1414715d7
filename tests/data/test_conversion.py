"""Patches of other bands than a model takes become what it takes, where nothing has to be guessed."""

import math
from dataclasses import replace

import numpy as np
import pytest

from landsift.bands import BandSpec
from landsift.data.decoding.conversion import CLIPPED, conversion
from landsift.data.decoding.unreadable import UnreadableError

TAKEN = BandSpec(("B02", "B03", "B04"), "uint16", (1e-4,) * 3, (0.0,) * 3, None, "reflectance", 10.0)
NUMBERS = np.random.default_rng(0).integers(1, 5000, (4, 5, 3)).astype(np.uint16)


def reflectance(values: np.ndarray, spec: BandSpec) -> np.ndarray:
    return values.astype(np.float64) * spec.scale + spec.offset


def test_the_same_bands_stay_what_they_are():
    change = conversion(TAKEN, TAKEN)
    found, told = change(NUMBERS)
    np.testing.assert_array_equal(found, NUMBERS)
    assert (change.notes, dict(told)) == ((), {})


def test_another_order_and_more_bands_are_read_by_name():
    own = replace(TAKEN, names=("B04", "B08", "B03", "B02"), scale=(1e-4,) * 4, offset=(0.0,) * 4)
    change = conversion(own, TAKEN)
    found, _ = change(np.concatenate([NUMBERS, NUMBERS[..., :1]], axis=-1))
    np.testing.assert_array_equal(found, np.stack([NUMBERS[..., 0], NUMBERS[..., 2], NUMBERS[..., 0]], axis=-1))
    assert change.notes == ("bands read by name, in another order; 1 is not used",)


def test_sentinels_offset_is_taken_out_exactly_and_said():
    own = replace(TAKEN, offset=(-0.1,) * 3)
    change = conversion(own, TAKEN)
    found, told = change(NUMBERS + 1000)
    np.testing.assert_array_equal(found, NUMBERS)
    assert found.dtype == np.uint16
    assert "an offset of -0.1 brought to 0.0001 and 0: B02 × 1 - 1,000" in change.notes[0]
    assert not told


def test_what_the_type_cannot_hold_is_counted():
    found, told = conversion(replace(TAKEN, offset=(-0.1,) * 3), TAKEN)(np.full((2, 2, 3), 900, np.uint16))
    assert (found == 0).all()
    assert told == {CLIPPED: 12}


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_reflectance_is_the_same_within_half_a_step(dtype):
    own = replace(TAKEN, dtype="float32", scale=(1.0,) * 3, nodata=math.nan)
    taken = replace(
        TAKEN, dtype=dtype, scale=(2e-4,) * 3, offset=(-0.05,) * 3, nodata=0 if dtype != "float32" else math.nan
    )
    values = (NUMBERS * 1e-4).astype(np.float32)
    found, _ = conversion(own, taken)(values)
    np.testing.assert_allclose(reflectance(found, taken), values, atol=1.01e-4)


def test_no_data_becomes_the_other_number_and_no_number_becomes_it():
    own, taken = replace(TAKEN, nodata=65535), replace(TAKEN, nodata=0)
    values = NUMBERS.copy()
    values[0], values[1, 0] = 65535, 0
    found, _ = conversion(own, taken)(values)
    assert (found[0] == 0).all()
    assert (found[1, 0] == 1).all()
    with pytest.raises(UnreadableError, match=r"nothing in 25.0% of its numbers"):
        conversion(own, TAKEN)(values)


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (replace(TAKEN, names=("B02", "B03", "B08")), "no band B04 among B02, B03, B08"),
        (replace(TAKEN, units="unknown"), "numbers in unknown units, where reflectance is taken"),
        (BandSpec.pictures(), "no band B02 among red, green, blue"),
    ],
)
def test_what_would_have_to_be_guessed_is_refused(own, said):
    with pytest.raises(UnreadableError, match=said):
        conversion(own, TAKEN)
