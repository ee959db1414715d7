"""What lies beside a map says the same as the map: names and colours for GDAL and QGIS, a STAC item, a picture."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from xml.etree import ElementTree

import numpy as np
import pystac
import pytest
import rasterio.shutil
from affine import Affine
from jsonschema import Draft7Validator
from odc.geo.geobox import GeoBox
from PIL import Image
from pystac.extensions.classification import ClassificationExtension
from pystac.validation.local_validator import get_local_schema_cache
from referencing import Registry, Resource
from small_maps import DEGREES, NAMES, UTM, grid_of, write_map

from landsift.mapping.classes import ClassTable
from landsift.mapping.footprint import footprint_of
from landsift.mapping.map_file import MapAbout, read_classes, read_info


def test_the_files_of_a_map(tmp_path):
    write_map(tmp_path / "a.map.tif", grid_of(10, 12), probabilities=True)
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "a.map.areas.csv", "a.map.json", "a.map.png", "a.map.probabilities.tif", "a.map.qml", "a.map.tif",
        "a.map.tif.aux.xml",
    ]  # fmt: skip
    write_map(tmp_path / "b.tif", grid_of(10, 12), entropy=True)
    assert (tmp_path / "b.entropy.tif").is_file()


def test_gdal_reads_names_colours_and_table(tmp_path):
    """As GDAL itself gathers them in a VRT."""
    write_map(tmp_path / "map.tif", grid_of(10, 12))
    rasterio.shutil.copy(tmp_path / "map.tif", tmp_path / "map.vrt", driver="VRT")
    band = ElementTree.parse(tmp_path / "map.vrt").find("VRTRasterBand[@band='1']")
    assert [each.text for each in band.findall("CategoryNames/Category")] == ["no data", *NAMES]
    rows = [[cell.text for cell in row] for row in band.findall("GDALRasterAttributeTable/Row")]
    assert rows == [[str(c.code), c.name, *map(str, c.rgb), "255"] for c in ClassTable.of(NAMES)]
    colours = [[int(each.get(f"c{i}")) for i in (1, 2, 3)] for each in band.findall("ColorTable/Entry")]
    assert colours[1:4] == [[*each.rgb] for each in ClassTable.of(NAMES)]


def test_qgis_has_a_style(tmp_path):
    write_map(tmp_path / "map.tif", grid_of(10, 12))
    renderer = ElementTree.parse(tmp_path / "map.qml").find("pipe/rasterrenderer")
    assert (renderer.get("type"), renderer.get("band")) == ("paletted", "1")
    entries = [(int(e.get("value")), e.get("label"), e.get("color")) for e in renderer.iter("paletteEntry")]
    assert entries == [(each.code, each.name, each.colour) for each in ClassTable.of(NAMES)]


@pytest.mark.parametrize("names", [("a\nb", "c\x07d"), ("ü" * 300, " x "), ("日本", "🌲")])
def test_names_of_any_letters(tmp_path, names):
    write_map(tmp_path / "map.tif", grid_of(10, 12), names=names)
    assert read_info(tmp_path / "map.tif").classes.names == names
    ElementTree.parse(tmp_path / "map.qml")
    ElementTree.parse(tmp_path / "map.tif.aux.xml")
    json.loads((tmp_path / "map.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("crs", [UTM, DEGREES, None, "+proj=sinu +R=6371007.181 +units=m"])
@pytest.mark.parametrize("when", [None, datetime(2020, 2, 2, 10, tzinfo=UTC)])
def test_the_stac_item_is_valid_and_names_the_classes(tmp_path, crs, when):
    path = tmp_path / "map.tif"
    write_map(path, grid_of(10, 12, crs), probabilities=True, about=MapAbout(when=when, gsd=10.0))
    written = json.loads((tmp_path / "map.json").read_text(encoding="utf-8"))
    schemas = get_local_schema_cache()
    registry = Registry().with_resources([(uri, Resource.from_contents(each)) for uri, each in schemas.items()])
    item_schema = next(each for uri, each in schemas.items() if uri.endswith("/item.json"))
    assert [*Draft7Validator(item_schema, registry=registry).iter_errors(written)] == []
    item = pystac.Item.from_file(tmp_path / "map.json")
    assert item.assets["map"].get_absolute_href() == str(path)
    assert set(item.assets) == {"map", "probabilities", "areas", "preview"}
    assert item.assets["map"].extra_fields["file:checksum"] == "1220" + hashlib.sha256(path.read_bytes()).hexdigest()
    bands = item.assets["map"].extra_fields["raster:bands"]
    assert [(c["value"], c["title"]) for c in bands[0]["classification:classes"]] == [*enumerate(("no data", *NAMES))]
    assert all(set(c["name"]) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
               for c in bands[0]["classification:classes"])  # fmt: skip
    assert ClassificationExtension.has_extension(item)
    assert item.datetime == when or when is None
    if crs == UTM:
        assert item.properties["proj:code"] == "EPSG:32631"
        assert item.properties["proj:transform"][:6] == [640, 0, 500_000, 0, -640, 4_500_000]
        west, south, east, north = item.bbox
        assert 2.99 < west < east < 3.2
        assert 40 < south < north < 41


def test_the_picture_is_the_map(tmp_path):
    write_map(tmp_path / "map.tif", grid_of(10, 12))
    picture = np.asarray(Image.open(tmp_path / "map.png"))
    codes = read_classes(read_info(tmp_path / "map.tif"))
    assert picture.shape == (420, 504, 4)
    assert (picture[21::42, 21::42, 3] == 255 * (codes > 0)).all()
    for each in ClassTable.of(NAMES):
        assert (picture[21::42, 21::42][codes == each.code][:, :3] == each.rgb).all()


def test_colours_of_ones_own(tmp_path):
    write_map(tmp_path / "map.tif", grid_of(10, 12), colours={NAMES[1]: "#010203"})
    assert read_info(tmp_path / "map.tif").classes[1].rgb == (1, 2, 3)


@pytest.mark.parametrize(("grid", "bounds", "kind"), [
    (GeoBox((30, 60), Affine(0.1, 0, 2, 0, -0.1, 10), DEGREES), [2, 7, 8, 10], "Polygon"),
    (GeoBox((30, 60), Affine(0.1, 0, 178, 0, -0.1, 10), DEGREES), [178, 7, -176, 10], "MultiPolygon"),
    (GeoBox((30, 60), Affine(0.1, 0, 200, 0, -0.1, 10), DEGREES), [-160, 7, -154, 10], "Polygon"),
    (GeoBox((180, 360), Affine(1, 0, -180, 0, -1, 90), DEGREES), [-180, -90, 180, 90], "Polygon"),
    (GeoBox((10, 10), Affine(2e4, 0, 1e5, 0, -2e4, 8e6), "EPSG:32701"), [179.2, None, -178.9, None], "MultiPolygon"),
    (GeoBox((30, 30), Affine(5e4, 0, -7.5e5, 0, -5e4, 7.5e5), "EPSG:3031"), [-180, -90, 180, None], "Polygon"),
])  # fmt: skip
def test_the_outline_knows_the_antimeridian_and_the_poles(grid, bounds, kind):
    outline, box = footprint_of(grid)
    assert outline["type"] == kind
    for found, expected in zip(box, bounds, strict=True):
        assert expected is None or found == pytest.approx(expected, abs=0.2)
