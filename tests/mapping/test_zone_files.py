"""Files of polygons as programs leave them: what cannot be told is refused, and no zone lies elsewhere in silence."""

import logging
import sqlite3

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Geod
from shapely import MultiPolygon, Point, Polygon, box
from small_maps import grid_of, write_map

from landsift.errors import DataError, RunError
from landsift.mapping.zones import write_zones, zone_areas

WHOLE = box(500_000, 4_500_000 - 6400, 507_680, 4_500_000)


@pytest.fixture
def map_path(tmp_path):
    write_map(tmp_path / "map.tif", grid_of(10, 12), names=("A", "B"), valid=1)
    return tmp_path / "map.tif"


def polygons(path, shapes, crs="EPSG:32631", **columns):
    columns = columns or {"name": [f"z{i}" for i in range(len(shapes))]}
    gpd.GeoDataFrame(columns, geometry=shapes, crs=crs).to_file(path, engine="pyogrio")
    return path


def in_degrees(height, width, west, north, side=0.01):
    return GeoBox((height, width), Affine(side, 0, west, 0, -side, north), "EPSG:4326")


def test_a_table_of_styles_is_no_layer_of_polygons(map_path, tmp_path):
    path = polygons(tmp_path / "zones.gpkg", [WHOLE])
    with sqlite3.connect(path) as file:
        file.execute("create table layer_styles (id integer primary key, styleqml text)")
        file.execute("insert into gpkg_contents (table_name, data_type) values ('layer_styles', 'attributes')")
    assert len(zone_areas(map_path, path)) == 1


def test_zones_are_found_a_whole_turn_on(tmp_path):
    """A map across the antimeridian, and one whose longitudes go to 360, with polygons from -180 to 180."""
    for number, (west, shapes, whole) in enumerate([
        (179.9, [box(179.9, -17.2, 180, -17), box(-180, -17.2, -179.9, -17)], [1, 1]),
        (179.9, [MultiPolygon([box(179.95, -17.2, 180, -17), box(-180, -17.2, -179.95, -17)])], [1]),
        (-180.1, [box(179.9, -17.2, 180, -17), box(179.95, -17.2, 180.05, -17)], [1, 1]),
        (359.9, [box(-0.1, -17.2, 0.1, -17)], [2]),
        (10.0, [box(-180, -90, 180, 90)], [2]),
    ]):  # fmt: skip
        write_map(tmp_path / f"{number}.tif", in_degrees(20, 20, west, -17.0), names=("A", "B"), valid=1)
        found = zone_areas(tmp_path / f"{number}.tif", polygons(tmp_path / f"{number}.gpkg", shapes, "EPSG:4326"))
        half = zone_areas(tmp_path / f"{number}.tif", polygons(
            tmp_path / f"{number}-own.gpkg", [box(west, -17.2, west + 0.1, -17)], "EPSG:4326"))["A ha"][0]  # fmt: skip
        mapped = found["A ha"] + found["B ha"]
        assert mapped.tolist() == pytest.approx([part * 23557.1 for part in whole], rel=1e-3)
        assert half > 0


def test_long_sides_are_no_straight_lines_in_another_crs(tmp_path):
    """A rectangle of degrees, of which four corners alone would make another shape."""
    grid = GeoBox((400, 500), Affine(2000, 0, 0, 0, -2000, 6_000_000), "EPSG:32631")
    write_map(tmp_path / "map.tif", grid, names=("A",), valid=1)
    shape = box(0.5, 48, 5.5, 52)
    found = zone_areas(tmp_path / "map.tif", polygons(tmp_path / "z.gpkg", [shape], "EPSG:4326"))
    fine = shape.segmentize(0.01)
    expected = abs(Geod(ellps="WGS84").geometry_area_perimeter(fine)[0]) / 1e4
    assert found["hectares"][0] == pytest.approx(expected, rel=1.5e-3)  # UTM's own distortion
    assert found["outside"][0] < 1e-6 * expected


@pytest.mark.parametrize("shape", [box(-180, -90, 180, 90), box(-170, -80, 170, -10), box(-80, -80, 86, 80)])
def test_what_has_no_place_in_the_maps_crs_is_refused(shape, map_path, tmp_path):
    path = polygons(tmp_path / "world.gpkg", [shape], "EPSG:4326")
    with pytest.raises(DataError, match="1 cannot be brought to the map's CRS"):
        zone_areas(map_path, path)


def test_countries_that_end_at_180_degrees_lie_on_their_side_of_the_world(tmp_path):
    grid = GeoBox((180, 360), Affine(100_000, 0, -18_000_000, 0, -100_000, 9_000_000), "ESRI:54009")
    write_map(tmp_path / "world.tif", grid, names=("A",), valid=1)
    shapes = [box(170, -20, 180, -10), box(-180, -20, -170, -10), box(-180, -90, 180, -60)]
    found = zone_areas(tmp_path / "world.tif", polygons(tmp_path / "z.gpkg", shapes, "EPSG:4326"))
    assert found["A ha"][0] == pytest.approx(found["A ha"][1], rel=1e-3)
    assert found["A ha"].tolist() == pytest.approx([118_000_000, 118_000_000, 3_418_000_000], rel=0.02)


def test_hectares_of_what_lies_far_are_those_on_the_ellipsoid(map_path, tmp_path):
    """The plane of the map's CRS is far from them there."""
    shapes = [box(60, 10, 61, 11), box(3.2, 40.5, 40, 60)]
    found = zone_areas(map_path, polygons(tmp_path / "far.gpkg", shapes, "EPSG:4326"))
    expected = [abs(Geod(ellps="WGS84").geometry_area_perimeter(each.segmentize(0.01))[0]) / 1e4 for each in shapes]
    assert found["hectares"].tolist() == pytest.approx(expected, rel=1e-4)
    assert found["outside"].tolist() == found["hectares"].tolist()


def test_metres_that_are_called_degrees_are_refused(map_path, tmp_path):
    path = polygons(tmp_path / "zones.gpkg", [WHOLE], "EPSG:4326")
    with pytest.raises(DataError, match="its CRS is of degrees, and its coordinates are not, such as 5"):
        zone_areas(map_path, path)


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_a_zone_without_a_name_is_refused(nothing, map_path, tmp_path):
    path = polygons(tmp_path / "zones.gpkg", [WHOLE, Point(600_000, 4e6).buffer(10)], name=["a", nothing])
    with pytest.raises(DataError, match="1 polygons have no name"):
        zone_areas(map_path, path, column="name")


def test_a_column_of_lists_is_refused(map_path, tmp_path):
    path = polygons(tmp_path / "zones.geojson", [WHOLE], "EPSG:32631", name=[[1, 2]])
    with pytest.raises(DataError, match="name holds lists"):
        zone_areas(map_path, path, column="name")


def test_a_column_of_another_case_is_named(map_path, tmp_path):
    path = polygons(tmp_path / "zones.gpkg", [WHOLE])
    with pytest.raises(DataError, match="did you mean 'name'"):
        zone_areas(map_path, path, column="NAME")


def test_classes_that_differ_in_case_have_columns_of_their_own(tmp_path, caplog):
    write_map(tmp_path / "map.tif", grid_of(10, 12), names=("Forest", "forest"), valid=1)
    table = zone_areas(tmp_path / "map.tif", polygons(tmp_path / "zones.gpkg", [WHOLE]))
    write_zones(table, tmp_path / "out.gpkg")
    read = gpd.read_file(tmp_path / "out.gpkg")
    assert read["Forest ha"][0] == pytest.approx(table["Forest ha"][0])
    assert read["forest ha 2"][0] == pytest.approx(table["forest ha"][0])
    assert "forest ha as forest ha 2" in caplog.text


def test_more_columns_than_a_geopackage_holds_are_refused(tmp_path):
    columns = {f"class {i} ha": [1.0] for i in range(2100)}
    table = gpd.GeoDataFrame(pd.DataFrame({"zone": [1], **columns}), geometry=[WHOLE], crs="EPSG:32631")
    with pytest.raises(RunError, match=r"cannot be written") as error:
        write_zones(table, tmp_path / "out.gpkg")
    assert error.value.hint == "write a .csv"
    assert not (tmp_path / "out.gpkg").exists()


def test_a_geopackage_of_other_layers_is_kept(map_path, tmp_path):
    path = polygons(tmp_path / "zones.gpkg", [WHOLE])
    table = zone_areas(map_path, path)
    mine = polygons(tmp_path / "mine.gpkg", [WHOLE])
    before = mine.read_bytes()
    with pytest.raises(RunError, match="holds other layers, which would be lost: mine"):
        write_zones(table, mine)
    assert mine.read_bytes() == before
    write_zones(table, tmp_path / "out.gpkg")
    write_zones(table, tmp_path / "out.gpkg")  # of zones alone


def test_odd_zones_are_printed_on_a_line_each(map_path, tmp_path, monkeypatch, capsys):
    import sys

    from landsift.cli.main import main

    shapes = [WHOLE, Polygon([(6e5, 4e6), (6e5 + 1e-9, 4e6), (6e5, 4e6 + 1e-9)])]
    path = polygons(tmp_path / "zones.gpkg", shapes, name=["a\nb\x1b[2J " + "x" * 500, "tiny"])
    command = ["landsift", "zones", str(map_path), str(path), "--id", "name", "--out", str(tmp_path / "out.csv")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as leaving:
        main()
    assert not leaving.value.code
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert "\x1b" not in lines[1]
    assert max(map(len, lines[:3])) < 160
    assert np.isfinite(pd.read_csv(tmp_path / "out.csv")["hectares"]).all()


def test_notices_name_what_is_left_out(map_path, tmp_path, caplog):
    caplog.set_level(logging.INFO, "landsift")
    gpd.GeoDataFrame({"n": [1, 2, 3]}, geometry=[WHOLE, None, Polygon()], crs="EPSG:32631").to_file(
        tmp_path / "z.geojson"
    )
    assert len(zone_areas(map_path, tmp_path / "z.geojson")) == 1
    assert "left out as empty or no polygon: 2, 3" in caplog.text
