"""`landsift change` on maps of landsift and of other tools."""

import json
import logging
from datetime import datetime

import numpy as np
import pandas as pd
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds
from typer.testing import CliRunner

from landsift.cli.main import app
from landsift.errors import LandsiftError
from landsift.mapping.change import map_change
from landsift.mapping.classes import ClassTable
from landsift.mapping.map_file import read_classes, read_confidence, read_info
from landsift.mapping.map_info import MapAbout
from landsift.mapping.map_writer import MapWriter

NAMES = ("Forest", "Pasture", "Seen & Flüsse")
BEFORE = np.array([[1, 1, 2, 2], [1, 3, 2, 0], [3, 3, 1, 1]])
AFTER = np.array([[1, 2, 2, 2], [2, 3, 1, 1], [0, 3, 1, 3]])
PLACE, UTM = from_origin(500000, 4650000, 100, 100), "EPSG:32631"


def own_map(path, codes, *, names=NAMES, confidence=0.9, crs=UTM, place=PLACE, **about):
    """A map as landsift writes it: cells of one hectare."""
    codes, count = np.asarray(codes), len(names)
    confidence = np.broadcast_to(confidence, codes.shape)
    shares = np.repeat(((1 - confidence) / (count - 1))[..., None], count, -1)
    np.put_along_axis(shares, np.maximum(codes - 1, 0)[..., None], confidence[..., None], -1)
    about = MapAbout(**{"patch": 10, "stride": 10, "gsd": 10.0, "model": "abc", **about})
    with MapWriter(path, GeoBox(codes.shape, place, crs), ClassTable.of(names), about) as writer:
        writer.write(slice(0, len(codes)), shares.astype(np.float32), codes > 0)
    return path


def foreign_map(path, values, names, crs=UTM, place=PLACE, **options):
    """A raster of values with category names beside it, as GDAL keeps them."""
    values = np.asarray(values, np.uint8)
    with rasterio.open(path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], count=1,
                       dtype="uint8", crs=crs, transform=place, **options) as dataset:  # fmt: skip
        dataset.write(values, 1)
    rows = "".join(f"<Category>{name.replace('&', '&amp;')}</Category>" for name in names)
    aux = f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{rows}</CategoryNames></PAMRasterBand></PAMDataset>'
    path.with_name(path.name + ".aux.xml").write_text(aux, encoding="utf-8")
    return path


@pytest.fixture
def said(caplog):
    """What landsift has said, whole."""
    caplog.set_level(logging.INFO, logger="landsift")
    return lambda: "\n".join(record.getMessage() for record in caplog.records)


@pytest.fixture
def two(tmp_path):
    before = own_map(tmp_path / "2020.tif", BEFORE, when=datetime(2020, 2, 2))
    return before, own_map(tmp_path / "2021.tif", AFTER, when=datetime(2021, 7, 21))


def change(*arguments):
    done = CliRunner().invoke(app, ["change", *map(str, arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def hectares(folder):
    table = pd.read_csv(folder / "transitions.csv").set_index("transition")
    return table["hectares"].to_dict()


EXPECTED = {
    "Forest → Forest": 2, "Forest → Pasture": 2, "Forest → Seen & Flüsse": 1, "Pasture → Pasture": 2,
    "Pasture → Forest": 1, "Seen & Flüsse → Seen & Flüsse": 2,
}  # fmt: skip
"""Of BEFORE and AFTER; one cell is in the first alone, one in the second."""


def test_known_exchanges_are_right_to_the_cell(tmp_path, two):
    done = change(*two, "--out", tmp_path / "out")
    assert done.exit_code == 0
    assert hectares(tmp_path / "out") == pytest.approx(EXPECTED)
    for text in ("compared", "10.00 ha", "40.0 %", "Forest → Pasture", "2.00 ha", "no estimate of an area"):
        assert text in done.stdout
    found = {path.name for path in (tmp_path / "out").iterdir()}
    assert found - {"change.tif.aux.xml"} == {
        "change.tif", "change.html", "matrix.csv", "transitions.csv", "classes.csv"}  # fmt: skip
    matrix = pd.read_csv(tmp_path / "out" / "matrix.csv").query("unit == 'hectares'").set_index("from")
    assert matrix.loc["Forest", "to Pasture"] == pytest.approx(2)
    classes = pd.read_csv(tmp_path / "out" / "classes.csv").set_index("class")
    assert classes.loc["Forest", ["first ha", "last ha", "gain", "loss", "net", "swap", "persistence"]].tolist() == (
        pytest.approx([5, 3, 1, 3, -2, 2, 2])
    )


def test_the_raster_holds_names_colours_and_the_lower_confidence(tmp_path):
    one = own_map(tmp_path / "a.tif", BEFORE, confidence=0.8)
    two = own_map(tmp_path / "b.tif", AFTER, confidence=np.where(AFTER == 2, 0.4, 0.95))
    found = map_change([one, two], tmp_path / "out")
    assert found.uncertain == pytest.approx(2)
    info = read_info(tmp_path / "out" / "change.tif")
    codes = read_classes(info)
    assert codes[0].tolist() == [1, 2, 5, 5]
    assert codes[1, 3] == codes[2, 0] == 0
    assert info.classes.name(2) == "Forest → Pasture"
    own = ClassTable.of(NAMES)
    assert info.classes[1].colour == own[1].colour
    assert min(info.classes[0].rgb) > min(own[0].rgb)
    assert read_confidence(info)[0].tolist() == pytest.approx([0.8, 0.4, 0.4, 0.4])
    with rasterio.open(tmp_path / "out" / "change.tif") as dataset:
        assert dataset.dtypes == ("uint16", "uint16")
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.colormap(1)[2][:3] == own[1].rgb
        assert dataset.transform == PLACE


def test_overviews_are_the_most_frequent_transition_and_the_mean_confidence(tmp_path):
    before, after = np.ones((400, 600), np.uint8), np.full((400, 600), 2, np.uint8)
    before[::2, ::2] = after[::2, ::2] = 3  # one in four
    confidence = np.where(before == 3, 0.4, 0.8)
    one = own_map(tmp_path / "a.tif", before, confidence=confidence)
    map_change([one, own_map(tmp_path / "b.tif", after, confidence=confidence)], tmp_path / "out")
    with rasterio.open(tmp_path / "out" / "change.tif", overview_level=0) as small:
        assert (small.read(1) == 2).all()
        assert (small.read(2) == 70).all()  # (0.4 + 3 × 0.8) / 4; the mode is 80


def test_maps_are_compared_by_date_and_that_is_said(tmp_path, two, said):
    found = map_change(two[::-1], tmp_path / "out")
    assert [each.path for each in found.maps] == list(two)
    assert "in the order of their dates" in said()
    assert hectares(tmp_path / "out") == pytest.approx(EXPECTED)


def test_maps_without_a_date_are_compared_as_given(tmp_path, two, said):
    undated = own_map(tmp_path / "undated.tif", BEFORE)
    found = map_change([two[1], undated], tmp_path / "out")
    assert [each.path for each in found.maps] == [two[1], undated]
    assert "no date is known" in said()


def test_classes_of_another_order_are_matched_by_name(tmp_path, two, said):
    other = (NAMES[2], NAMES[0], NAMES[1])
    turned = np.array([0, 2, 3, 1])[AFTER]
    late = own_map(tmp_path / "late.tif", turned, names=other, when=datetime(2022, 1, 1))
    map_change([two[0], late], tmp_path / "out")
    assert hectares(tmp_path / "out") == pytest.approx(EXPECTED)
    assert "matched by name" in said()


def test_maps_of_another_tool_with_other_values(tmp_path, said):
    one = foreign_map(tmp_path / "a.tif", np.array([0, 2, 4, 5])[BEFORE], ("", "", NAMES[0], "", NAMES[1], NAMES[2]))
    two = foreign_map(tmp_path / "b.tif", AFTER, ("", *NAMES), nodata=0)
    result = json.loads(change(one, two, "--out", tmp_path / "out", "--json").stdout)
    assert hectares(tmp_path / "out") == pytest.approx(EXPECTED)
    assert (result["confidence"], result["low_confidence"]) == (None, None)
    assert (result["compared"], result["changed"]) == pytest.approx((10, 4))
    assert (result["one_map_only"], result["neither_map"]) == pytest.approx((2, 0))


def test_a_map_of_another_tool_against_one_of_landsift_says_what_is_missing(tmp_path, two, said):
    other = foreign_map(tmp_path / "b.tif", AFTER, ("", *NAMES))
    found = map_change([two[0], other], tmp_path / "out")
    assert found.confidence is None
    assert "no confidence band" in said()
    assert "made by another tool" in said()
    with rasterio.open(tmp_path / "out" / "change.tif") as dataset:
        assert dataset.count == 1


def test_a_shifted_map_is_resampled_and_what_lies_outside_is_counted(tmp_path, two, said):
    """The later map has cells of half the size and begins a cell further east."""
    fine = AFTER[:, 1:].repeat(2, 0).repeat(2, 1)
    late = own_map(tmp_path / "late.tif", fine, place=from_origin(500100, 4650000, 50, 50), when=datetime(2022, 1, 1),
                   stride=5)  # fmt: skip
    found = map_change([two[0], late], tmp_path / "out")
    inside = BEFORE[:, 1:], AFTER[:, 1:]
    both = (inside[0] > 0) & (inside[1] > 0)
    assert found.matrix.cells.sum() == both.sum()
    assert found.changed == pytest.approx(((inside[0] != inside[1]) & both).sum())
    assert found.outside == pytest.approx((0, 3))
    for text in ("another grid", "3.00 hectares", "different strides"):
        assert text in said()


def test_what_lies_outside_is_no_data_even_where_zero_is_a_class(tmp_path):
    one = foreign_map(tmp_path / "a.tif", [[0, 0, 1]], ("Forest", "Pasture"))
    two = foreign_map(tmp_path / "b.tif", [[0, 1]], ("Forest", "Pasture"), place=PLACE * PLACE.translation(1, 0))
    found = map_change([one, two], tmp_path / "out")
    assert found.matrix.cells.tolist() == [[1, 0], [0, 1]]
    assert found.matrix.one_sided == pytest.approx(1)


def test_a_map_with_an_alpha_band_is_resampled(tmp_path):
    one = foreign_map(tmp_path / "a.tif", [[1, 1, 2]], ("", "Forest", "Pasture"))
    two = tmp_path / "b.tif"
    with rasterio.open(two, "w", driver="GTiff", height=1, width=2, count=2, dtype="uint8", crs=UTM, alpha="yes",
                       transform=from_origin(500100, 4650000, 100, 100)) as dataset:  # fmt: skip
        dataset.write(np.array([[[2, 2]], [[255, 255]]], np.uint8))
    (tmp_path / "b.tif.aux.xml").write_text((tmp_path / "a.tif.aux.xml").read_text())
    found = map_change([one, two], tmp_path / "out")
    assert found.matrix.cells.tolist() == [[0, 1], [0, 1]]


def test_a_map_in_another_projection_is_resampled(tmp_path, two, said):
    with rasterio.open(two[0]) as dataset:
        west, south, east, north = transform_bounds(UTM, "EPSG:4326", *dataset.bounds)
    place = from_origin(west - 0.001, north + 0.001, (east - west + 0.002) / 200, (north - south + 0.002) / 200)
    late = own_map(tmp_path / "late.tif", np.full((200, 200), 2), crs="EPSG:4326", place=place,
                   when=datetime(2022, 1, 1))  # fmt: skip
    found = map_change([two[0], late], tmp_path / "out")
    assert found.matrix.cells.tolist() == [[0, 5, 0], [0, 3, 0], [0, 3, 0]]


def test_hectares_of_degrees_are_those_on_the_ellipsoid(tmp_path):
    place = from_origin(2.0, 42.0, 0.001, 0.001)
    one = own_map(tmp_path / "a.tif", BEFORE, crs="EPSG:4326", place=place)
    two = own_map(tmp_path / "b.tif", AFTER, crs="EPSG:4326", place=place)
    found = map_change([one, two], tmp_path / "out")
    assert found.changed / 4 == pytest.approx(0.001**2 * 111_320 * np.cos(np.radians(42)) * 111_070 / 1e4, rel=2e-3)


def test_three_dates_give_trajectories(tmp_path, two):
    third = own_map(tmp_path / "2022.tif", BEFORE, when=datetime(2022, 1, 1))
    done = change(*two, third, "--out", tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "trajectories.csv").set_index("trajectory")
    assert table.loc["Forest → Pasture → Forest", "hectares"] == pytest.approx(2)
    assert table.loc["Forest → Pasture → Forest", "returns"]
    assert table["hectares"].sum() == pytest.approx(10)
    assert "come back" in done.stdout


def test_many_windows_give_what_one_gives(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    one, two = random.integers(0, 4, (2, 300, 700))
    paths = own_map(tmp_path / "a.tif", one), own_map(tmp_path / "b.tif", two)
    monkeypatch.setattr("landsift.mapping.change_raster.SIDE", 256)
    found = map_change(paths, tmp_path / "out")
    expected = np.zeros((4, 4), int)
    np.add.at(expected, (one, two), 1)
    assert found.matrix.cells.tolist() == expected[1:, 1:].tolist()
    with rasterio.open(tmp_path / "out" / "change.tif") as dataset:
        assert dataset.overviews(1)
        assert np.array_equal(dataset.read(1), np.where((one > 0) & (two > 0), (one - 1) * 3 + two, 0))


def test_other_models_are_told(tmp_path, two, said):
    late = own_map(tmp_path / "late.tif", AFTER, model="def", patch=20, when=datetime(2022, 1, 1))
    map_change([two[0], late], tmp_path / "out")
    assert "different models (abc, def)" in said()
    assert "different patch sizes (10, 20)" in said()


def test_a_limit_of_confidence_counts_what_is_below_it(tmp_path):
    one, two = own_map(tmp_path / "a.tif", BEFORE, confidence=0.7), own_map(tmp_path / "b.tif", AFTER, confidence=0.7)
    assert map_change([one, two], tmp_path / "at", confidence=0.7).uncertain == 0
    assert map_change([one, two], tmp_path / "above", confidence=0.71).uncertain == pytest.approx(4)


def test_maps_without_a_difference_are_told(tmp_path, two, said):
    late = own_map(tmp_path / "late.tif", BEFORE, when=datetime(2022, 1, 1))
    done = change(two[0], late, "--out", tmp_path / "out")
    assert done.exit_code == 0
    assert "are they the same map?" in said()


@pytest.mark.parametrize(
    ("other", "arguments", "message"),
    [
        ({"names": ("Forest", "Pasture", "Water")}, (), "only in .*Seen & Flüsse; only in .*Water"),
        ({"place": from_origin(600000, 4650000, 100, 100)}, (), "do not overlap"),
        ({"crs": None}, (), "no coordinate reference system"),
        ({"codes": BEFORE * 0}, (), "no cell with a class in both"),
        ({}, ("--confidence", "70"), "no share from 0 to 1"),
    ],
)
def test_what_cannot_be_compared_is_refused_and_leaves_nothing(tmp_path, two, other, arguments, message):
    late = own_map(tmp_path / "late.tif", **{"codes": AFTER, "when": datetime(2022, 1, 1), **other})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(LandsiftError, match=message):
        change(two[0], late, "--out", tmp_path / "out", *arguments)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_same_map_twice_one_map_or_a_folder_in_use_is_refused(tmp_path, two):
    link = tmp_path / "link.tif"
    link.symlink_to(two[0])
    for maps, message in (((two[0], two[0]), "given twice"), ((two[0], link), "given twice"), (two[:1], "one map")):
        with pytest.raises(LandsiftError, match=message):
            change(*maps, "--out", tmp_path / "out")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "note.txt").touch()
    with pytest.raises(LandsiftError, match="not empty"):
        change(*two, "--out", tmp_path / "used")


def test_a_damaged_map_is_named_and_nothing_is_left(tmp_path):
    random = np.random.default_rng(0)
    one = own_map(tmp_path / "a.tif", random.integers(1, 4, (900, 900)))
    two = own_map(tmp_path / "b.tif", random.integers(1, 4, (900, 900)))
    one.write_bytes(one.read_bytes()[: one.stat().st_size * 2 // 3])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(LandsiftError, match=r"a\.tif cannot be read"):
        change(one, two, "--out", tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before
