"""Where patches lie: from a table's columns, a file beside them or arrays; what cannot be a place is refused."""

import logging

import numpy as np
import pandas as pd
import pytest
from small_sources import random_pixels, refused

from landsift.config import DataConfig
from landsift.data.path_lookup import UNKNOWN, look_up
from landsift.data.sources.base import content_fingerprint
from landsift.data.sources.coordinates import checked, joined
from landsift.data.store.patch_store import PatchStore, build_store

LON, LAT = [13.1, 13.2, 13.3, 13.4], [52.1, 52.2, 52.3, 52.4]
LABELS = ["a", "a", "b", "b"]
NAMES = [f"{c}_{i:03d}" for c in "AB" for i in range(3)]


@pytest.fixture
def located(image_table, tmp_path):
    """The places of a table with these columns beside path and label."""

    def build(columns, name="table.csv"):
        table = image_table({"label": LABELS, **columns}, name=name)
        folder = tmp_path / "store"
        return build_store(DataConfig(source=str(table)), folder).places()

    return build


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
@pytest.mark.parametrize(
    ("lon", "lat"), [("lon", "lat"), ("longitude", "latitude"), ("Lon", "LAT"), ("lng", "Latitude"), ("long", "lat")]
)
def test_a_tables_columns_are_read(located, lon, lat, name):
    assert located({lon: LON, lat: LAT}, name).tolist() == [[*pair] for pair in zip(LON, LAT, strict=True)]


def test_a_table_without_places_has_none_and_its_store_no_columns(located, tmp_path):
    assert np.isnan(located({})).all()
    assert "lon" not in pd.read_parquet(tmp_path / "store" / "index.parquet").columns
    assert {"lon", "lat"} <= set(PatchStore.open(tmp_path / "store").index.columns)


def test_empty_values_are_unknown(located):
    places = located({"lon": [13.1, None, 13.3, 13.4], "lat": [52.1, None, 52.3, 52.4]})
    assert np.isnan(places).tolist() == [[False] * 2, [True] * 2, [False] * 2, [False] * 2]


def test_degrees_under_x_y_and_crs_need_no_library(located):
    places = located({"x": LON, "y": LAT, "crs": ["EPSG:4326"] * 4})
    assert places[:, 0].tolist() == LON


def test_a_place_that_rounding_put_beyond_a_pole_or_the_dateline_is_on_it(located):
    places = located({"lon": [180.0000001, -180.0000001, -5.0, 5.0], "lat": [90.0000001, -90.0000001, 0.0, 1.0]})
    assert places.tolist() == [[180.0, 90.0], [-180.0, -90.0], [-5.0, 0.0], [5.0, 1.0]]


def test_the_reference_system_may_be_called_as_in_postgis(located):
    assert located({"x": LON, "y": LAT, "SRID": [4326] * 4})[:, 0].tolist() == LON


@pytest.mark.parametrize("crs", ["4326.0", "EPSG:4326", "wgs84"])
def test_an_epsg_number_that_pandas_made_a_float_is_one(located, crs):
    places = located({"x": [*LON[:3], None], "y": [*LAT[:3], None], "crs": [crs] * 3 + ["nan"]})
    assert places[:3, 0].tolist() == LON[:3]
    assert np.isnan(places[3]).all()


def test_projected_places_are_converted_or_say_what_is_missing(located):
    columns = {"x": [500000.0] * 3 + [600000.0], "y": [5800000.0] * 4, "crs": ["EPSG:32633"] * 4}
    try:
        import rasterio  # noqa: F401
    except ImportError:
        refused(lambda: located(columns), "EPSG:32633 needs rasterio, which is not installed", "landsift[bands]")
    else:
        places = located(columns)
        assert places[0, 0] == pytest.approx(15.0, abs=1e-6)  # the zone's meridian
        assert places[0, 1] == pytest.approx(52.349, abs=1e-2)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"lon": LON}, ["column 'lon' and none 'lat'"]),
        ({"latitude": LAT}, ["column 'latitude' and none 'lon'"]),
        ({"lon": LON, "longitude": LON, "lat": LAT}, ["'lon' and 'longitude', which mean the same"]),
        ({"center_lon": LON, "center_lat": LAT}, ["a column 'center_lon' and none 'lon'"]),
        ({"longtitude": LON, "latitude": LAT}, ["'longtitude'", "name it 'lon'"]),
        ({"lon": LON, "lattitude": LAT}, ["'lattitude'", "name it 'lat'"]),
        ({"lon": LON, "lat": LAT, "x": LON, "y": LAT, "crs": ["EPSG:4326"] * 4}, ["places twice"]),
        ({"x": LON, "crs": ["EPSG:4326"] * 4}, ["none 'y'"]),
        ({"x": LON, "y": LAT, "crs": ["EPSG:4326", "", "", ""]}, ["row 2", "no crs"]),
        ({"lon": ["13,1", *LON[1:]], "lat": LAT}, ["row 1", "'13,1'", "13.1"]),
        ({"lon": ["13°24'E", *LON[1:]], "lat": LAT}, ["row 1", "no number"]),
        ({"lon": ["1_3", *LON[1:]], "lat": LAT}, ["no number"]),
        ({"lon": [None, *LON[1:]], "lat": LAT}, ["row 1", "lat and no lon"]),
        ({"lon": ["inf", *LON[1:]], "lat": LAT}, ["no number"]),
        ({"lon": [500000.0] * 4, "lat": [5800000.0] * 4}, ["4 places are none on Earth", "columns x, y and crs"]),
        ({"lon": LAT, "lat": [113.1, 113.2, 113.3, 113.4]}, ["lon and lat swapped?"]),
        ({"lon": [-9999, *LON[1:]], "lat": [-9999, *LAT[1:]]}, ["stand for a missing location?"]),
        ({"lon": LON, "lat": [-9999, *LAT[1:]]}, ["stand for a missing location?"]),
        ({"lon": [999, *LON[1:]], "lat": [999, *LAT[1:]]}, ["stand for a missing location?"]),
        ({"lon": [170.0] * 4, "lat": [91.0, *LAT[1:]]}, ["latitudes from -90 to 90"]),
        ({"lon": [0, 0, 0, 0], "lat": [0, 0, 0, 0]}, ["all places are 0, 0"]),
        ({"lon": [-10.0, 350.0, 13.0, 14.0], "lat": LAT}, ["1 longitudes are beyond 180 beside negative ones"]),
    ],
)
def test_what_is_no_place_is_refused(located, columns, said):
    refused(lambda: located(columns), *said)


def test_columns_that_only_look_like_places_are_none(located, caplog):
    with caplog.at_level(logging.INFO, "landsift"):
        places = located({"x": LON, "y": LAT, "altitude": [1, 2, 3, 4], "slope": [1, 2, 3, 4]})
    assert np.isnan(places).all()
    assert "x and y have no column crs beside them" in caplog.text


def test_other_ways_to_say_where_are_pointed_at(located, caplog):
    with caplog.at_level(logging.INFO, "landsift"):
        located({"easting": LON, "northing": LAT})
        located({"POINT_X": LON, "POINT_Y": LAT})
    assert "not used: easting, northing; a table's places are the columns lon, lat" in caplog.text
    assert "not used: POINT_X, POINT_Y; a table's places are the columns lon, lat" in caplog.text


def test_columns_that_are_empty_are_said(located, caplog):
    with caplog.at_level(logging.WARNING, "landsift"):
        assert np.isnan(located({"lon": ["nan"] * 4, "lat": ["nan"] * 4})).all()
    assert "all its places are empty" in caplog.text


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"x": LON, "y": LAT, "crs": ["EPSG:32633"] * 4}, ["no metres of EPSG:32633", "are they degrees?"]),
        ({"x": [5e5] * 4, "y": [5.8e6] * 4, "crs": ["EPSG:999999"] * 4}, ["no coordinate reference system"]),
        ({"x": [5e5] * 4, "y": [5.8e6] * 4, "crs": ["UTM 33N"] * 4}, ["'UTM 33N' is no coordinate", "EPSG:32633"]),
    ],
)
def test_what_no_reference_system_says_is_refused(located, columns, said, capfd):
    pytest.importorskip("rasterio")
    refused(lambda: located(columns), *said)
    assert capfd.readouterr().err == ""


def test_what_is_taken_for_another_place_is_said(caplog):
    with caplog.at_level(logging.INFO, "landsift"):
        found = checked("here", np.array([[350.0, 1.0], [10.0, 1.0], [0.0, 0.0]]))
        checked("there", np.full((5, 2), 7.0))
    np.testing.assert_array_equal(found, [[-10.0, 1.0], [10.0, 1.0], [np.nan, np.nan]])
    assert "1 beyond 180 are turned to the west" in caplog.text
    assert "here: 0, 0 is taken for unknown, at 1 of 3 places" in caplog.text
    assert "there: all 5 places are one, 7, 7" in caplog.text


class TestBesideThePlacesOfFiles:
    """Where files tell their place themselves, as rasters do, a table fills in and is held against them."""

    FOUND = np.stack([LON, LAT], axis=1)

    def test_either_fills_in_for_the_other(self):
        said = self.FOUND + 0.001
        said[0] = np.nan
        np.testing.assert_array_equal(joined("t.csv", said, self.FOUND), [self.FOUND[0], *said[1:]])
        assert joined("t.csv", None, self.FOUND) is self.FOUND
        assert joined("t.csv", said, None) is said

    def test_a_few_that_lie_elsewhere_are_counted(self, caplog):
        said = self.FOUND.copy()
        said[3] += 1
        with caplog.at_level(logging.WARNING, "landsift"):
            np.testing.assert_array_equal(joined("t.csv", said, self.FOUND), said)
        assert "t.csv: 1 of 4 places are not those of the patches' own files" in caplog.text

    def test_swapped_and_other_places_are_refused(self):
        refused(lambda: joined("t.csv", self.FOUND[:, ::-1], self.FOUND), "4 of 4 places", "lon and lat are swapped")
        refused(lambda: joined("t.csv", self.FOUND + 3, self.FOUND), "leave the places out")


class TestFileOfLocations:
    @pytest.fixture
    def data(self, image_folder, tmp_path):
        root = image_folder({"A": 3, "B": 3})

        def write(text, name="lonlat.csv", encoding="utf-8"):
            (tmp_path / name).write_text(text, encoding=encoding)
            return DataConfig(source=str(root), locations=tmp_path / name)

        return write

    def rows(self, way):
        lines = [f"{way(name)},{10 + i},{50 + i}" for i, name in enumerate(NAMES)]
        return "filename,lon,lat\n" + "\n".join(lines) + "\n"

    @pytest.mark.parametrize(
        ("way", "said"),
        [
            (lambda name: f"{name[0]}/{name}.png", ""),
            (lambda name: f"./{name[0]}/{name}.png", ""),
            (lambda name: f"{name}.png", "patches are found by file name"),
            (lambda name: f"{name}.jpg", "by file name without endings"),
            (lambda name: f"{name}.JPG".lower(), "by file name, whatever its case"),
            (lambda name: rf"C:\data\patches\{name[0]}\{name}.png", "by their last three names"),
            (lambda name: f"/elsewhere/{name[0]}/{name}.tif", "by folder and file name without endings"),
        ],
    )
    def test_patches_are_found_by_path_or_by_name(self, data, tmp_path, caplog, way, said):
        with caplog.at_level(logging.INFO, "landsift"):
            places = build_store(data(self.rows(way)), tmp_path / "store").places()
        assert places.tolist() == [[10.0 + i, 50.0 + i] for i in range(6)]
        assert said in caplog.text

    def test_a_byte_order_mark_and_other_columns_do_no_harm(self, data, tmp_path):
        text = (
            self.rows(lambda name: f"{name}.png")
            .replace("filename,lon", "filename,class,lon")
            .replace(".png,", ".png,X,")
        )
        places = build_store(data(text, encoding="utf-8-sig"), tmp_path / "store").places()
        assert places[5].tolist() == [15.0, 55.0]

    def test_a_column_of_names_without_endings_will_do(self, data, tmp_path):
        text = self.rows(str).replace("filename", "image_id")
        assert build_store(data(text), tmp_path / "store").places()[5].tolist() == [15.0, 55.0]

    def test_a_file_that_is_not_there_is_named(self, data, tmp_path):
        config = data("").model_copy(update={"locations": tmp_path / "none.csv"})
        refused(lambda: build_store(config, tmp_path / "store"), "data.locations", "none.csv does not exist")

    def test_what_is_not_matched_is_counted(self, data, tmp_path, caplog):
        text = self.rows(lambda name: f"{name}.png").replace("A_002", "A_999") + "more.png,1,2\n"
        with caplog.at_level(logging.INFO, "landsift"):
            places = build_store(data(text), tmp_path / "store").places()
        assert np.isnan(places[2]).all()
        assert "2 of its 7 entries are no patches of the data" in caplog.text
        assert "gives no location for 1 of 6 patches" in caplog.text

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("path,lon,lat\nnone.png,1,2\n", ["none of the 1 entries", "none.png"]),
            ("path,lon\nA/A_000.png,1\n", ["none 'lat'"]),
            ("path,class\nA/A_000.png,1\n", ["names no places"]),
            ("lon,lat\n1,2\n", ["has no column 'path'"]),
            ("path,file,lon,lat\na,b,1,2\n", ["'path' and 'file', which may both name the patches"]),
            ("path;lon;lat\nA/A_000.png;1;2\n", ["no column 'path'"]),
            ("path,lon,lat\nA/A_000.png,1,2\nA/A_000.png,1,3\n", ["A/A_000.png at two places"]),
            ("path,lon,lat\n", ["has no rows"]),
        ],
    )
    def test_a_file_that_does_not_fit_is_refused(self, data, tmp_path, text, said):
        refused(lambda: build_store(data(text), tmp_path / "store"), *said)

    def test_a_row_that_stands_twice_alike_is_one(self, data, tmp_path):
        text = "path,lon,lat\n" + "A/A_000.png,1,2\n" * 2
        assert build_store(data(text), tmp_path / "store").places()[0].tolist() == [1.0, 2.0]

    def test_a_name_that_several_patches_have_is_refused(self, image_folder, tmp_path):
        root = image_folder({"A": 1, "B": 1})
        for name in "AB":
            (root / name / f"{name}_000.png").rename(root / name / "1.png")
        (tmp_path / "l.csv").write_text("path,lon,lat\n1.png,1,2\n")
        data = DataConfig(source=str(root), locations=tmp_path / "l.csv")
        refused(lambda: build_store(data, tmp_path / "store"), "'1.png', which 2 patches are called", "folders")

    def test_places_are_part_of_what_a_store_is_known_by(self, data, tmp_path):
        with_places = data(self.rows(lambda name: f"{name}.png"))
        without = with_places.model_copy(update={"locations": None})
        store = build_store(without, tmp_path / "store")
        assert content_fingerprint(with_places) != content_fingerprint(without)
        refused(lambda: build_store(with_places, tmp_path / "store"), "other patches or settings")
        of_store = with_places.model_copy(update={"source": str(store.folder)})
        refused(lambda: build_store(of_store, tmp_path / "again"), "keeps its own places")

    def test_places_are_not_given_twice_or_to_generated_patches(self, image_table, tmp_path):
        table = image_table({"label": LABELS, "lon": LON, "lat": LAT})
        (tmp_path / "l.csv").write_text("path,lon,lat\nimages/0000.png,1,2\n")
        data = DataConfig(source=str(table), locations=tmp_path / "l.csv")
        refused(lambda: build_store(data, tmp_path / "store"), "has places itself")
        data = DataConfig(source="synthetic", locations=tmp_path / "l.csv")
        refused(lambda: build_store(data, tmp_path / "store"), "generated patches have no locations")


def test_a_tables_places_are_part_of_its_fingerprint(image_table):
    found = set()
    for n, columns in enumerate(({}, {"lon": LON, "lat": LAT}, {"lon": LON[::-1], "lat": LAT})):
        found.add(
            content_fingerprint(DataConfig(source=str(image_table({"label": LABELS, **columns}, name=f"{n}.csv"))))
        )
    assert len(found) == 3


class TestArrays:
    IMAGES = np.stack([random_pixels(i, (8, 8)) for i in range(4)])

    def store(self, tmp_path, locations):
        return PatchStore.from_arrays(self.IMAGES, [0, 0, 1, 1], ["a", "b"], folder=tmp_path / "s", locations=locations)

    def test_arrays_may_have_places(self, tmp_path):
        given = np.stack([LON, LAT], axis=1)
        given[1] = np.nan
        np.testing.assert_array_equal(self.store(tmp_path, given).places(), given)

    def test_the_columns_of_a_data_frame_are_taken_by_name(self, tmp_path):
        given = pd.DataFrame({"name": LABELS, "Latitude": LAT, "Longitude": LON})
        np.testing.assert_array_equal(self.store(tmp_path, given).places(), np.stack([LON, LAT], axis=1))

    def test_what_is_masked_is_unknown(self, tmp_path):
        given = np.ma.masked_array(np.stack([LON, LAT], axis=1), mask=[[True] * 2, *[[False] * 2] * 3])
        assert np.isnan(self.store(tmp_path, given).places()).all(axis=1).tolist() == [True, False, False, False]

    @pytest.mark.parametrize(
        ("locations", "said"),
        [
            ([[1, 2]] * 3, ["[3, 2] for 4 images"]),
            ([1, 2, 3, 4], ["[4] for 4 images"]),
            ([["a", "b"]] * 4, ["no array of numbers"]),
            ([[1, np.nan]] * 4, ["one coordinate"]),
            ([[1, np.inf]] * 4, ["infinite"]),
            ([[44.0, 128.0]] * 4, ["swapped"]),
            (np.ones((4, 2), dtype=bool), ["no array of numbers"]),
            (np.full((4, 2), np.datetime64("2020")), ["no array of numbers"]),
            (pd.DataFrame({"lon": LON, "name": LABELS}), ["column 'lon' and none 'lat'"]),
            (pd.DataFrame({"a": LON, "b": LAT}), ["the columns a, b", "name them lon and lat"]),
        ],
    )
    def test_other_arrays_are_refused(self, tmp_path, locations, said):
        refused(lambda: self.store(tmp_path, locations), *said)


@pytest.mark.shared
def test_the_real_file_of_eurosats_places_is_read(shared):
    file = shared / "data" / "eurosat" / "lonlat.csv"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    from landsift.data.sources.table import read_places

    names, places = read_places(file)
    assert len(names) == 24_300
    assert names[0] == "AnnualCrop_1.jpg"
    assert places[0].tolist() == [28.5591161, 44.0351743]
    paths = [f"2750/{name.split('_')[0]}/{name}" for name in names[::-1]]
    rows = look_up(file, names, paths, "/data", "data.locations")
    assert (rows == np.arange(24_300)[::-1]).all()
    assert UNKNOWN not in rows
