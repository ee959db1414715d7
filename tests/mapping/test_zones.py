"""Areas per polygon equal a computation cell by cell with shapely."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from odc.geo.geobox import GeoBox
from pyproj import Geod

from landsift.errors import DataError
from landsift.mapping.zones import areas_in_zones, read_zones, write_zones

CLASSES = ["Forest", "Pasture", "Water"]
UTM = GeoBox.from_bbox((500000, 4650000, 500400, 4650300), "EPSG:32631", resolution=20)
DEGREES = GeoBox.from_bbox((2.0, 42.0, 2.2, 42.1), "EPSG:4326", resolution=0.01)


def _codes(grid):
    return np.random.default_rng(1).integers(0, 4, grid.shape).astype(np.uint8)


def _blocks(codes, confidence=None, size=4):
    for start in range(0, len(codes), size):
        rows = slice(start, min(start + size, len(codes)))
        yield rows, codes[rows], None if confidence is None else confidence[rows]


def _cell(grid, row, col):
    x, y = grid.affine @ (col, row)
    return shapely.box(x, y + grid.affine.e, x + grid.affine.a, y)


def _geodesic(grid):
    geod = Geod(ellps="WGS84")
    return np.array([abs(geod.geometry_area_perimeter(_cell(grid, r, 0))[0]) / 1e4 for r in range(grid.shape[0])])


def _by_hand(polygon, grid, codes, hectares):
    area = np.zeros(4)
    for row, col in np.ndindex(codes.shape):
        cell = _cell(grid, row, col)
        area[codes[row, col]] += polygon.intersection(cell).area / cell.area * hectares[row]
    return area


@pytest.mark.parametrize("grid", [UTM, DEGREES], ids=["metres", "degrees"])
def test_areas_equal_those_cell_by_cell(grid):
    codes = _codes(grid)
    hectares = _geodesic(grid) if grid is DEGREES else np.full(grid.shape[0], 0.04)
    x0, y0, x1, y1 = grid.boundingbox.bbox
    w, h = x1 - x0, y1 - y0
    middle = shapely.Point(x0 + w / 2, y0 + h / 2)
    polygons = [
        middle.buffer(h / 3),
        middle.buffer(h / 3).difference(middle.buffer(h / 6)),  # overlaps the first, has a hole
        shapely.box(x0 + w / 50, y0 + h / 50, x0 + w / 45, y0 + h / 45),  # smaller than a cell
        shapely.MultiPolygon([shapely.box(x0, y0, x0 + w / 7, y0 + h / 7), shapely.box(x1 - w / 7, y0, x1, y1)]),
    ]
    zones = gpd.GeoDataFrame({"zone": range(4)}, geometry=polygons, crs=str(grid.crs))
    table = areas_in_zones(zones, grid, _blocks(codes), hectares, CLASSES)
    for i, polygon in enumerate(polygons):
        expected = _by_hand(polygon, grid, codes, hectares)
        found = table.loc[i, ["no data", "Forest ha", "Pasture ha", "Water ha"]].to_numpy(float)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
        assert table.outside[i] == pytest.approx(0, abs=1e-6)
    shares = table[[f"{c} share" for c in CLASSES]]
    mapped = table[[f"{c} ha" for c in CLASSES]].sum(axis=1) > 0  # the small one may lie in a cell without data
    assert shares[mapped].sum(axis=1).to_numpy() == pytest.approx(1)
    assert shares[~mapped].isna().to_numpy().all()


def test_what_lies_outside_is_counted_and_confidence_is_a_mean_over_area():
    codes = np.ones(UTM.shape, np.uint8)
    codes[:, :10] = 0
    confidence = np.full(UTM.shape, 0.8, np.float32)
    confidence[:, :10] = 0  # no data does not count
    across = shapely.box(499900, 4650000, 500400, 4650300)
    away = shapely.box(600000, 4650000, 600100, 4650100)
    zones = gpd.GeoDataFrame({"zone": ["a", "b"]}, geometry=[across, away], crs="EPSG:32631")
    table = areas_in_zones(zones, UTM, _blocks(codes, confidence), np.full(15, 0.04), CLASSES)
    assert table.loc[0, ["hectares", "outside", "no data", "Forest ha"]].tolist() == pytest.approx([15, 3, 6, 6])
    assert table.confidence[0] == pytest.approx(0.8)
    assert table.outside[1] == pytest.approx(1)
    assert np.isnan(table.confidence[1])
    assert np.isnan(table["Forest share"][1])


def test_polygons_are_reprojected_named_and_mended(tmp_path, caplog):
    bow = shapely.Polygon([(2.0, 42.0), (2.001, 42.001), (2.001, 42.0), (2.0, 42.001)])
    table = gpd.GeoDataFrame(
        {"name": ["good", "bow", "none", "point"]},
        geometry=[shapely.box(3.0, 42.0, 3.001, 42.001), bow, None, shapely.Point(2, 42)],
        crs="EPSG:4326",
    )
    table.to_file(tmp_path / "zones.geojson")
    zones = read_zones(tmp_path / "zones.geojson", "EPSG:32631", column="name")
    assert zones.zone.tolist() == ["good", "bow"]
    assert zones.is_valid.all()
    assert zones.total_bounds[0] < 500000
    assert "mended: bow" in caplog.text
    assert "left out as empty or no polygon: none, point" in caplog.text


def test_files_that_cannot_be_used_are_named(tmp_path):
    square = gpd.GeoDataFrame({"id": [7, 7]}, geometry=[shapely.box(0, 0, 1, 1)] * 2, crs="EPSG:4326")
    square.to_file(tmp_path / "two.gpkg", layer="a")
    square.to_file(tmp_path / "two.gpkg", layer="b")
    square.set_crs(None, allow_override=True).to_file(tmp_path / "bare.shp")
    (tmp_path / "text.geojson").write_text("not json")
    with pytest.raises(DataError, match="2 layers: a, b"):
        read_zones(tmp_path / "two.gpkg", "EPSG:4326")
    with pytest.raises(DataError, match="names several polygons 7"):
        read_zones(tmp_path / "two.gpkg", "EPSG:4326", layer="a", column="id")
    with pytest.raises(DataError, match="no column di"):
        read_zones(tmp_path / "two.gpkg", "EPSG:4326", layer="a", column="di")
    with pytest.raises(DataError, match="no layer c"):
        read_zones(tmp_path / "two.gpkg", "EPSG:4326", layer="c")
    with pytest.raises(DataError, match="does not say its CRS"):
        read_zones(tmp_path / "bare.shp", "EPSG:4326")
    with pytest.raises(DataError, match="cannot be read"):
        read_zones(tmp_path / "text.geojson", "EPSG:4326")
    with pytest.raises(DataError, match="does not exist"):
        read_zones(tmp_path / "missing.gpkg", "EPSG:4326")


def test_a_code_without_class_is_refused():
    zones = gpd.GeoDataFrame({"zone": [1]}, geometry=[shapely.box(*UTM.boundingbox.bbox)], crs="EPSG:32631")
    with pytest.raises(DataError, match="code 9"):
        areas_in_zones(zones, UTM, _blocks(np.full(UTM.shape, 9, np.uint8)), np.full(15, 0.04), CLASSES)


def test_table_and_geopackage_have_the_same_columns(tmp_path):
    zones = gpd.GeoDataFrame({"zone": ["a"]}, geometry=[shapely.box(*UTM.boundingbox.bbox)], crs="EPSG:32631")
    table = areas_in_zones(zones, UTM, _blocks(_codes(UTM)), np.full(15, 0.04), CLASSES)
    write_zones(table, tmp_path / "zones.csv")
    write_zones(table, tmp_path / "zones.gpkg")
    flat, areal = pd.read_csv(tmp_path / "zones.csv"), gpd.read_file(tmp_path / "zones.gpkg")
    assert flat.columns.tolist() == areal.columns.drop("geometry").tolist()
    assert flat["Forest ha"][0] == areal["Forest ha"][0] == table["Forest ha"][0]
    assert areal.crs == "EPSG:32631"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["zones.csv", "zones.gpkg"]
    with pytest.raises(DataError, match="neither"):
        write_zones(table, tmp_path / "zones.xlsx")


def test_overlapping_zones_and_those_outside_the_map_are_named(tmp_path, caplog):
    inside, partly = shapely.box(2.0, 42.0, 2.1, 42.1), shapely.box(2.05, 42.0, 2.15, 42.1)
    neighbour, away = shapely.box(2.15, 42.0, 2.2, 42.1), shapely.box(9, 42, 9.1, 42.1)
    table = gpd.GeoDataFrame(
        {"n": ["a", "b", "next", "away"]}, geometry=[inside, partly, neighbour, away], crs="EPSG:4326"
    )
    table.to_file(tmp_path / "z.gpkg")
    zones = read_zones(tmp_path / "z.gpkg", "EPSG:4326", column="n")
    assert "do not add up: a, b" in caplog.text
    assert "next" not in caplog.text
    areas_in_zones(zones, DEGREES, _blocks(_codes(DEGREES)), _geodesic(DEGREES), CLASSES)
    assert "wholly outside the map: away" in caplog.text


def test_a_zone_of_the_whole_earth_has_its_area():
    zones = gpd.GeoDataFrame({"zone": [1]}, geometry=[shapely.box(-180, -90, 180, 90)], crs="EPSG:4326")
    table = areas_in_zones(zones, DEGREES, _blocks(_codes(DEGREES)), _geodesic(DEGREES), CLASSES)
    assert table.hectares[0] == pytest.approx(5.1006562e10, rel=1e-6)
