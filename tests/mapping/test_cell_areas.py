"""A cell's hectares are those on the ground: in metres, feet and degrees, and where a projection inflates areas."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Geod
from small_maps import DEGREES, NAMES, UTM, grid_of, write_map

from landsift.errors import DataError
from landsift.mapping.cell_areas import cell_areas
from landsift.mapping.class_areas import count_areas
from landsift.mapping.map_file import read_info


def ground_hectares(grid, row, column=0, points=50):
    """The area of a cell on the ellipsoid, by pyproj, with many points on each of its sides."""
    share = np.linspace(0, 1, points, endpoint=False)
    side = [column + share, np.full(points, column + 1), column + 1 - share, np.full(points, column)]
    down = [np.full(points, row), row + share, np.full(points, row + 1), row + 1 - share]
    x, y = np.concatenate(side), np.concatenate(down)
    a = grid.affine
    lon, lat = a.a * x + a.b * y + a.c, a.d * x + a.e * y + a.f
    if not grid.crs.geographic:
        lon, lat = grid.crs.transformer_to_crs("EPSG:4326")(lon, lat)
    return abs(Geod(ellps="WGS84").polygon_area_perimeter(lon, lat)[0]) / 10_000


def test_metres():
    assert (cell_areas(grid_of(3, 4)) == 640 * 640 / 10_000).all()


def test_feet_are_converted():
    areas = cell_areas(GeoBox((3, 4), Affine(640, 0, 900_000, 0, -640, 200_000), "EPSG:2263"))
    assert np.allclose(areas, (640 * 1200 / 3937) ** 2 / 10_000, rtol=1e-12)


@pytest.mark.parametrize(("top", "step"), [(45, 0.01), (0.005, 0.01), (-60, 0.0001), (89.99, 0.001), (70, -0.01)])
def test_degrees_are_geodesic(top, step):
    grid = GeoBox((5, 4), Affine(abs(step), 0, 2, 0, -step, top), DEGREES)
    areas = cell_areas(grid)
    expected = [ground_hectares(grid, row) for row in range(5)]
    assert np.allclose(areas, expected, rtol=1e-6)


def test_the_whole_earth_has_the_area_of_the_ellipsoid():
    grid = GeoBox((180, 360), Affine(1, 0, -180, 0, -1, 90), DEGREES)
    assert np.isclose(360 * cell_areas(grid).sum(), 51_006_562_172, rtol=1e-6)  # hectares, WGS 84


def test_web_mercators_areas_are_those_on_the_ground(caplog):
    grid = GeoBox((200, 10), Affine(1000, 0, 200_000, 0, -1000, 8_000_000), "EPSG:3857")
    areas = cell_areas(grid)
    assert np.allclose(areas[[0, 100, 199]], [ground_hectares(grid, row) for row in (0, 100, 199)], rtol=1e-5)
    assert areas[0] < 40  # 100 hectares on the map


def test_without_a_place_or_rows_of_one_area_it_is_refused():
    with pytest.raises(DataError, match="no areas"):
        cell_areas(grid_of(3, 3, None))
    with pytest.raises(DataError, match="rotated"):
        cell_areas(GeoBox((3, 3), Affine.rotation(20), DEGREES))


def table_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return [*csv.DictReader(file)]


@pytest.mark.parametrize("crs", [UTM, DEGREES])
def test_the_table_of_areas_adds_up(tmp_path, crs):
    grid = grid_of(50, 40, crs)
    write_map(tmp_path / "map.tif", grid)
    rows = table_of(tmp_path / "map.areas.csv")
    assert [row["class"] for row in rows] == [*NAMES, "no data"]
    assert [row["code"] for row in rows] == ["1", "2", "3", "0"]
    assert sum(int(row["cells"]) for row in rows) == 2000
    assert np.isclose(sum(float(row["hectares"]) for row in rows), 40 * cell_areas(grid).sum(), rtol=1e-9)
    assert np.isclose(sum(float(row["share"]) for row in rows[:-1]), 1, atol=1e-7)
    counted = count_areas(read_info(tmp_path / "map.tif"))
    assert [str(cells) for cells in counted.cells[1:]] == [row["cells"] for row in rows[:-1]]


def test_without_a_crs_there_are_cells_and_shares_alone(tmp_path, caplog):
    write_map(tmp_path / "map.tif", grid_of(5, 4, None))
    rows = table_of(tmp_path / "map.areas.csv")
    assert {row["hectares"] for row in rows} == {""}
    assert np.isclose(sum(float(row["share"]) for row in rows[:-1]), 1)
    assert "counted in cells alone" in caplog.text
