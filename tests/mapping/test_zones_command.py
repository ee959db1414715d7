"""`landsift zones` on rasters as other tools write them."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin
from typer.testing import CliRunner

import landsift
from landsift.cli.main import app
from landsift.errors import LandsiftError

CODES = np.array([[1, 1, 2, 2], [1, 1, 2, 2], [0, 3, 3, 3]], np.uint8)
NAMES = ("", "Forest", "Seen & Flüsse", "Pasture")


def write_map(path, codes=CODES, crs="EPSG:32631", transform=None, names=NAMES, **options):
    """A raster with category names beside it, as GDAL keeps them."""
    profile = {"driver": "GTiff", "height": codes.shape[0], "width": codes.shape[1], "count": 1, "dtype": codes.dtype}
    place = {"crs": crs, "transform": transform or from_origin(500000, 4650000, 100, 100)}
    with rasterio.open(path, "w", **profile, **place, **options) as dataset:
        dataset.write(codes, 1)
    if names:
        rows = "".join(f"<Category>{name.replace('&', '&amp;')}</Category>" for name in names)
        aux = f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{rows}</CategoryNames></PAMRasterBand></PAMDataset>'
        path.with_name(path.name + ".aux.xml").write_text(aux, encoding="utf-8")
    return path


def write_polygons(path, polygons, crs="EPSG:32631", **columns):
    gpd.GeoDataFrame(columns, geometry=polygons, crs=crs).to_file(path)
    return path


@pytest.fixture
def polygons(tmp_path):
    left, across = shapely.box(500000, 4649800, 500150, 4650000), shapely.box(500300, 4649700, 500500, 4649800)
    return write_polygons(tmp_path / "zones.gpkg", [left, across], name=["west", "east"])


def zones(*arguments):
    done = CliRunner().invoke(app, ["zones", *map(str, arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_hectares_and_shares_of_a_map_of_another_tool(tmp_path, polygons):
    out = tmp_path / "areas.csv"
    done = zones(write_map(tmp_path / "map.tif", nodata=0), polygons, "--out", out, "--id", "name")
    assert done.exit_code == 0
    assert "west" in done.stdout
    table = pd.read_csv(out).set_index("zone")
    assert list(table.index) == ["west", "east"]
    assert table.loc["west", "Forest ha"] == pytest.approx(3.0)
    assert table.loc["west", "Forest share"] == 1
    assert table.loc["east", ["hectares", "outside", "Pasture ha"]].tolist() == pytest.approx([2.0, 1.0, 1.0])
    assert "Seen & Flüsse ha" in table.columns


def test_json_and_a_geopackage_hold_the_same(tmp_path, polygons):
    out = tmp_path / "areas.gpkg"
    done = zones(write_map(tmp_path / "map.tif"), polygons, "--out", out, "--json")
    rows = json.loads(done.stdout)["zones"]
    assert [row["zone"] for row in rows] == [1, 2]
    assert gpd.read_file(out)["Forest ha"].tolist() == pytest.approx([row["Forest ha"] for row in rows])
    assert rows[0]["confidence"] is None


def test_python_gives_the_table(tmp_path, polygons):
    table = landsift.zone_areas(write_map(tmp_path / "map.tif"), polygons, column="name")
    assert table["zone"].tolist() == ["west", "east"]


def test_degrees_and_distorted_projections_give_the_areas_on_the_ellipsoid(tmp_path):
    square = shapely.box(2.0, 42.0, 2.04, 42.03)
    given = write_polygons(tmp_path / "zones.geojson", [square], crs="EPSG:4326")
    codes = np.ones((30, 40), np.uint8)
    degrees = write_map(tmp_path / "a.tif", codes, "EPSG:4326", from_origin(2.0, 42.03, 0.001, 0.001))
    bounds = gpd.GeoSeries([square.buffer(0.01)], crs=4326).to_crs(3857).total_bounds
    mercator = write_map(tmp_path / "b.tif", np.ones((80, 80), np.uint8), "EPSG:3857", from_origin(
        bounds[0], bounds[3], (bounds[2] - bounds[0]) / 80, (bounds[3] - bounds[1]) / 80))  # fmt: skip
    utm = gpd.GeoSeries([square], crs=4326).to_crs(32631).area.item() / 1e4
    for path in (degrees, mercator):
        assert landsift.zone_areas(path, given)["Forest ha"].item() == pytest.approx(utm, rel=2e-3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"names": ()}, "is no map of classes"),
        ({"codes": CODES.astype(np.float32)}, "its values are float32"),
        ({"codes": CODES + 5}, "values without a class"),
        ({"crs": None}, "without a coordinate reference system"),
    ],
)
def test_what_is_no_map_with_areas_is_refused_and_nothing_is_written(tmp_path, polygons, change, said):
    out = tmp_path / "areas.csv"
    with pytest.raises(LandsiftError, match=said):
        zones(write_map(tmp_path / "map.tif", **change), polygons, "--out", out)
    assert not out.exists()


def test_an_output_of_another_kind_or_in_the_place_of_an_input_is_refused(tmp_path, polygons):
    given = write_map(tmp_path / "map.tif")
    with pytest.raises(LandsiftError, match=r"neither \.csv nor \.gpkg"):
        zones(given, polygons, "--out", tmp_path / "areas.xlsx")
    before = polygons.read_bytes()
    with pytest.raises(LandsiftError):
        zones(given, polygons, "--out", polygons)
    assert polygons.read_bytes() == before
