"""Names of classes: numbers in their order, and those that may be meant as one or as none are told."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from small_sources import data_config, random_pixels

from landsift.config import SplitConfig
from landsift.data.checks.check import check_data
from landsift.data.sources.class_names import names_section
from landsift.data.sources.folder import read_folder
from landsift.data.sources.records import Record, Records
from landsift.data.sources.table import read_table
from landsift.data.store.patch_store import build_store


def told(*names: str):
    """What is said of some class names, or None."""
    return next(iter(names_section(names)), None)


class TestOrder:
    def order(self, *names):
        return Records.of(Record(f"{i}.png", name) for i, name in enumerate(names)).classes

    def test_numbers_stand_by_value(self):
        assert self.order("10", "2", "0", "1", "11") == ("0", "1", "2", "10", "11")
        assert self.order("-1", "+2", "1.5", "-10") == ("-10", "-1", "1.5", "+2")
        assert self.order("1.0", "10.0", "2.0") == ("1.0", "2.0", "10.0")

    def test_equal_numbers_stand_by_their_text(self):
        assert self.order("1", "01", "1.0") == ("01", "1", "1.0")

    def test_one_name_among_them_and_all_are_text(self):
        assert self.order("10", "2", "1a") == ("10", "1a", "2")
        assert self.order("10 forest", "2 water") == ("10 forest", "2 water")

    @given(st.lists(st.integers(-(10**20), 10**20), min_size=1, unique=True))
    def test_labels_are_positions_in_that_order(self, numbers):
        records = Records.of(Record(str(i), str(number)) for i, number in enumerate(numbers))
        assert [int(name) for name in records.classes] == sorted(numbers)
        assert [int(records.classes[label]) for label in records.labels] == numbers
        assert [int(record.label) for record in records.sorted()] == sorted(numbers)

    def test_tables_and_folders_agree(self, image_folder, image_table):
        folder = read_folder(image_folder(dict.fromkeys(("0", "1", "10", "2"), 1)))[0]
        table = read_table(image_table({"label": [10, 2, 1, 0]}))
        assert folder.classes == table.classes == ("0", "1", "2", "10")


class TestAlike:
    @pytest.mark.parametrize(
        "pair",
        [
            ("Forest", "forest"),
            ("Annual Crop", "AnnualCrop"),
            ("annual_crop", "Annual-Crop"),
            ("Sea\u00a0Lake", "Sea Lake"),
            (unicodedata.normalize("NFC", "Wald-Fläche"), unicodedata.normalize("NFD", "Wald-Fläche")),
            ("Straße", "STRASSE"),
            ("ｆorest", "forest"),
            ("Forest\u200b", "Forest"),
            ("Forêt", "Foret"),
            ("Water.", "Water"),
            ("1", "01"),
            ("3", "3.0"),
        ],
        ids=ascii,
    )
    def test_a_pair_is_named(self, pair):
        section = told("Urban", *sorted(pair))
        assert (section.name, section.verdict, section.counts) == ("class names", "look", {"alike": 1, "missing": 0})
        assert all(repr(name) in section.text for name in pair)

    def test_other_names_are_not(self):
        assert told("Forest", "Forests", "Water", "Annual Crop", "Permanent Crop", "Café", "Coffee") is None
        assert told("LCZ 1-2", "LCZ 12", "+", "-", "1", "-1", "1.5", "15") is None

    def test_what_cannot_be_told_apart_on_screen_is_written_out(self):
        names = [unicodedata.normalize(form, "Fläche") for form in ("NFC", "NFD")]
        assert told(*names).examples == [{"classes": ["'Fl\\xe4che'", "'Fla\\u0308che'"]}]

    @pytest.mark.parametrize("name", ["nan", "NaN", "None", "null", "N/A", "unlabeled", "Unlabelled"])
    def test_names_that_stand_for_a_missing_label_are_told(self, name):
        assert f"read like a missing label: '{name}'" in told("Forest", "Water", name).text

    @pytest.mark.parametrize("kind", ["folder", "table"])
    def test_the_check_tells_of_folders_and_tables(self, kind, tmp_path, image_folder):
        root = image_folder({"Forest": 10, "forest": 10, "Water": 10}, size=(8, 8))
        if kind == "table":
            rows = [f"{file.relative_to(root)},{file.parent.name}" for file in sorted(root.rglob("*.png"))]
            (root / "t.csv").write_text("\n".join(["path,label", *rows]))
            root /= "t.csv"
        store = build_store(data_config(f"data.source={root}"), tmp_path / "store")
        sections = {section.name: section for section in check_data(store, SplitConfig()).sections}
        assert sections["class names"].verdict == "look"
        assert "'Forest' and 'forest'" in sections["class names"].text


@pytest.mark.shared
class TestCases:
    @pytest.mark.parametrize("name", ["space", "case"])
    def test_nearly_equal_names(self, shared, tmp_path, name):
        source = shared / f"cases/class-names-nearly-equal/{name}.csv"
        store = build_store(data_config(f"data.source={source}"), tmp_path / "store")
        sections = {section.name: section for section in check_data(store, SplitConfig()).sections}
        pair = {"space": "'Annual Crop' and 'AnnualCrop'", "case": "'Forest' and 'forest'"}[name]
        assert (sections["class names"].verdict, pair in sections["class names"].text) == ("look", True)

    def test_integer_labels(self, shared, tmp_path):
        store = build_store(data_config(f"data.source={shared}/cases/integer-labels-order/t.csv"), tmp_path / "store")
        assert store.classes == tuple(map(str, range(12)))
        assert sorted(set(store.labels)) == list(range(12))


def test_folders_of_numbers_train_as_their_names_say(tmp_path):
    for number in (0, 1, 10, 2):
        (tmp_path / f"p/{number}").mkdir(parents=True)
        Image.fromarray(random_pixels(number, (8, 8))).save(tmp_path / f"p/{number}/x.png")
    store = build_store(data_config(f"data.source={tmp_path / 'p'}"), tmp_path / "store")
    for label, number in enumerate((0, 1, 2, 10)):
        (row,) = np.flatnonzero(store.labels == label)
        np.testing.assert_array_equal(store.images[row], random_pixels(number, (8, 8)))
