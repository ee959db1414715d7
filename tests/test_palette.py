"""Every class has a colour of its own, and looks the same wherever it is shown."""

import re

from hypothesis import given
from hypothesis import strategies as st

from landsift.palette import COLOURS, class_colours, class_symbols

EUROSAT = (
    "AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial",
    "Pasture", "PermanentCrop", "Residential", "River", "SeaLake",
)  # fmt: skip


@given(classes=st.lists(st.text(max_size=8) | st.sampled_from(EUROSAT), unique=True, max_size=len(COLOURS)))
def test_up_to_24_classes_have_24_colours(classes):
    colours = class_colours(classes)
    assert list(colours) == classes
    assert len(set(colours.values())) == len(classes)
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours.values())


@given(count=st.integers(0, 60))
def test_colour_and_symbol_together_tell_sixty_classes_apart(count):
    classes = [str(k) for k in range(count)]
    colours, symbols = class_colours(classes), class_symbols(classes)
    assert len({(colours[name], symbols[name]) for name in classes}) == count


def test_known_land_use_has_its_colour_whatever_stands_beside_it():
    assert class_colours(EUROSAT)["Forest"] == class_colours(["water", "Forest"])["Forest"] == "#117733"
    assert class_colours(["Sea Lake"])["Sea Lake"] == class_colours(EUROSAT)["SeaLake"]
