"""Labelled points as spreadsheets and QGIS save them, and maps whose names are written otherwise."""

import unicodedata

import numpy as np
import pandas as pd
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from small_maps import codes_of, write_map

from landsift.errors import DataError
from landsift.mapping.change import map_change
from landsift.mapping.labelled import assess_map
from landsift.mapping.sample_design import write_sample
from landsift.mapping.sampling import draw_sample

NAMES = ("Wälder", "Äcker", "Water")
GRID = GeoBox((20, 25), Affine(10, 0, 500_000, 0, -10, 4_500_000), "EPSG:32631")


@pytest.fixture
def labelled(tmp_path):
    """A map, and the table of its points, all labelled as in the map."""
    codes = codes_of(*write_map(tmp_path / "map.tif", GRID, names=NAMES))
    design = draw_sample(tmp_path / "map.tif", size=90, minimum=20)
    write_sample(design, tmp_path / "points.csv")
    table = pd.read_csv(tmp_path / "points.csv", dtype=str, keep_default_na=False)
    table["reference"] = [NAMES[codes[point.row, point.col] - 1] for point in design.points]
    return tmp_path / "map.tif", table


def saved(table, path, **how):
    table.to_csv(path, index=False, **how)
    return path


@pytest.mark.parametrize("how", [{"encoding": "utf-8-sig"}, {"encoding": "utf-16", "sep": "\t"}, {"sep": ";"}])
def test_encodings_of_spreadsheets(how, labelled, tmp_path):
    path, table = labelled
    assert assess_map(path, saved(table, tmp_path / "points.csv", **how)).assessment.overall.value == 1


def test_another_encoding_is_named(labelled, tmp_path):
    path, table = labelled
    with pytest.raises(DataError, match="its letters are not in UTF-8") as error:
        assess_map(path, saved(table, tmp_path / "points.csv", encoding="cp1252"))
    assert error.value.hint == "save it as CSV UTF-8, or as a GeoPackage"


def test_a_letter_and_its_accent_may_be_one_character_or_two(labelled, tmp_path):
    path, table = labelled
    table["reference"] = [unicodedata.normalize("NFD", name) + " " for name in table["reference"]]
    assert assess_map(path, saved(table, tmp_path / "points.csv")).assessment.overall.value == 1


def test_columns_of_another_case_are_named(labelled, tmp_path):
    path, table = labelled
    for name, other in (("reference", "Reference"), ("id", "ID")):
        with pytest.raises(DataError, match=f"no column '{name}'") as error:
            assess_map(path, saved(table.rename(columns={name: other}), tmp_path / "points.csv"))
        assert error.value.hint == f"it has '{other}': call that {name}"
    with pytest.raises(DataError, match="no column 'reference'") as error:
        assess_map(path, saved(table.rename(columns={"reference": "label"}), tmp_path / "points.csv"))
    assert "it has id, lon, lat, x, y, label, note" in error.value.hint


def test_points_of_another_name_need_their_design(labelled, tmp_path):
    path, table = labelled
    other = saved(table, tmp_path / "points labelled.csv")
    with pytest.raises(DataError, match="no design beside it") as error:
        assess_map(path, other)
    assert "give --design FILE" in error.value.hint
    with pytest.raises(DataError, match=r"there is no design at .*nothing\.json"):
        assess_map(path, other, design=tmp_path / "nothing.json")
    assert assess_map(path, other, design=tmp_path / "points.design.json").labelled == 90


def test_a_stratum_without_labels_is_named(labelled, tmp_path):
    path, table = labelled
    water = table["reference"] == "Water"
    table.loc[water, "reference"] = ""
    with pytest.raises(DataError, match="stratum 'Water' has no labelled units, and a variance needs two"):
        assess_map(path, saved(table, tmp_path / "points.csv"))
    table.loc[water.idxmax(), "reference"] = "Water"
    with pytest.raises(DataError, match="stratum 'Water' has 1 labelled unit, and a variance needs two"):
        assess_map(path, saved(table, tmp_path / "points.csv"))


def test_maps_whose_names_are_the_same_letters_are_compared(tmp_path):
    for number, form in enumerate(("NFC", "NFD")):
        names = [unicodedata.normalize(form, name) for name in NAMES]
        write_map(tmp_path / f"{number}.tif", GRID, names=names[::-1] if number else names, seed=number)
    found = map_change([tmp_path / "0.tif", tmp_path / "1.tif"], tmp_path / "out")
    assert 0 < found.changed < found.compared
    assert np.trace(found.matrix.cells) > 0


@pytest.mark.parametrize("other", [("wälder", "Äcker", "Water"), ("Wälder ", "Äcker", "Water")])
def test_names_that_differ_in_case_or_spaces_are_shown_so(other, tmp_path):
    write_map(tmp_path / "0.tif", GRID, names=NAMES)
    write_map(tmp_path / "1.tif", GRID, names=other)
    with pytest.raises(DataError, match=f"only in .*1.tif: '{other[0]}'") as error:
        map_change([tmp_path / "0.tif", tmp_path / "1.tif"], tmp_path / "out")
    assert error.value.hint == "they differ in case or spaces: write them alike"


def test_one_map_is_no_list_of_letters(tmp_path):
    write_map(tmp_path / "0.tif", GRID, names=NAMES)
    with pytest.raises(DataError, match="one map shows no change"):
        map_change(str(tmp_path / "0.tif"), tmp_path / "out")
