"""Cells that a mask, an alpha band or another no-data value hides have no class, whoever wrote the map."""

import logging

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp
from shapely import box
from small_maps import UTM, grid_of, write_map
from test_foreign_maps import GDAL, raster

from landsift.errors import DataError
from landsift.mapping.aligned import aligned
from landsift.mapping.class_areas import count_areas
from landsift.mapping.map_file import read_classes, read_info
from landsift.mapping.overview import small_classes
from landsift.mapping.zones import zone_areas
from landsift.runtime import notices

VALUES = np.array([[10, 20, 20, 30], [10, 10, 30, 30]])
PLACE = {"crs": UTM, "transform": Affine(640, 0, 5e5, 0, -640, 4.5e6)}


@pytest.fixture(autouse=True)
def anew():
    """What is said once is said again."""
    notices.once.cache_clear()


def hide(path, how, hidden):
    """Hide cells of a raster, in one of the ways in which programs do it."""
    with rasterio.open(path) as dataset:
        bands, tags, nodata = dataset.read(), dataset.tags(), dataset.nodata
    bands[0][hidden] = {"mask": 10, "alpha": 10, "no data": 200}[how] if nodata != 0 else bands[0].max()
    count = len(bands) + (how == "alpha")
    if how == "no data":
        bands[0][hidden], nodata = 200, 200
    aux = path.with_name(path.name + ".aux.xml")
    names = aux.read_text() if aux.exists() else None
    path.unlink()
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(
        path, "w", driver="GTiff", count=count, height=bands.shape[1], width=bands.shape[2], dtype=bands.dtype,
        nodata=nodata if how == "no data" else None, **PLACE,
    ) as file:  # fmt: skip
        if how == "alpha":
            file.colorinterp = [*[ColorInterp.gray] * (count - 1), ColorInterp.alpha]
            file.write(np.where(hidden, 0, 255).astype(bands.dtype), count)
        file.write(bands, [*range(1, len(bands) + 1)])
        file.update_tags(**tags)
        if how == "mask":
            file.write_mask(~hidden)
    if names:
        aux.write_text(names)
    return path


@pytest.mark.parametrize("whose", ["another tool's", "landsift's"])
@pytest.mark.parametrize("how", ["mask", "alpha", "no data"])
def test_hidden_cells_have_no_class(how, whose, tmp_path):
    path = tmp_path / "map.tif"
    if whose == "landsift's":
        write_map(path, grid_of(2, 4), names=("a", "b", "c"), valid=1)
    else:
        raster(path, VALUES, nodata=None, table=GDAL)
    shown = read_classes(read_info(path))
    hidden = np.array([[False, True, False, False], [False, False, True, True]])
    info = read_info(hide(path, how, hidden))
    expected = np.where(hidden, 0, shown)
    assert (read_classes(info) == expected).all()
    assert (small_classes(info, 100) == expected).all()
    assert count_areas(info).cells[0] == 3
    zones = gpd.GeoDataFrame({"name": ["all"]}, geometry=[box(5e5, 4.5e6 - 1280, 5e5 + 2560, 4.5e6)], crs=UTM)
    zones.to_file(tmp_path / "zones.gpkg")
    assert zone_areas(path, tmp_path / "zones.gpkg")["no data"][0] == pytest.approx(3 * 40.96)
    with aligned(info, info) as same:
        assert (same.read(slice(0, 2), slice(0, 4))[0] == expected).all()
    write_map(tmp_path / "fine.tif", grid_of(2, 4).zoom_to((4, 8)), names=info.classes.names, valid=1)
    with aligned(info, read_info(tmp_path / "fine.tif")) as finer:
        assert (finer.read(slice(0, 4), slice(0, 8))[0] == expected.repeat(2, 0).repeat(2, 1)).all()


def test_further_bands_of_a_map_are_told(tmp_path, caplog):
    path = raster(tmp_path / "map.tif", VALUES, table=GDAL)
    aux = path.with_name("map.tif.aux.xml").read_text()
    with rasterio.open(path, "w", driver="GTiff", count=3, height=2, width=4, dtype="uint8", **PLACE) as file:
        file.write(np.stack([VALUES, VALUES, VALUES]).astype("uint8"))
    path.with_name("map.tif.aux.xml").write_text(aux)
    assert (read_classes(read_info(path)) == VALUES // 10).all()
    assert "only the first of its 3 bands is read" in caplog.text


COLUMNS = [("Value", 0, 0), ("hex", 2, 0), ("LABEL1", 2, 0), ("LABEL3", 2, 0)]
ROWS = [
    (10, "#ff0000", "Artificial", "Urban"),
    (20, "#00ff00", "Artificial", "Road"),
    (30, "#0000ff", "Forest", "Wood"),
]


def test_of_several_columns_of_texts_the_one_with_a_name_for_each_class_is_taken_and_said(tmp_path, caplog):
    caplog.set_level(logging.INFO, "landsift")
    info = read_info(raster(tmp_path / "map.tif", VALUES, table=(COLUMNS, ROWS)))
    assert info.classes.names == ("Urban", "Road", "Wood")
    assert "names of classes are those of the column 'label3'" in caplog.text


@pytest.mark.parametrize("odd", [("ten", "Odd"), ("", "Odd"), ("10.4", "Odd"), ("1e999", "Odd"), ("nan", "Odd")])
def test_rows_that_are_no_value_are_passed_over(odd, tmp_path):
    columns = [("Value", 2, 0), ("Name", 2, 2)]
    rows = [odd, (10, "Trees"), (20, "Crops"), (30, "Water")]
    info = read_info(raster(tmp_path / "map.tif", VALUES, table=(columns, rows)))
    assert info.classes.names == ("Trees", "Crops", "Water")


def test_two_names_of_one_value_are_refused(tmp_path):
    columns = [("Value", 0, 5), ("Name", 2, 2)]
    path = raster(tmp_path / "map.tif", VALUES, table=(columns, [(10, "Trees"), (10, "Forest"), (20, "Crops")]))
    with pytest.raises(DataError, match="calls the value 10 'Trees' and 'Forest'"):
        read_info(path)


def test_names_that_become_one_are_told_apart(tmp_path):
    columns = [("Value", 0, 5), ("Name", 2, 2)]
    rows = [(10, "A"), (20, "A"), (30, "A (10)")]
    assert len({*read_info(raster(tmp_path / "map.tif", VALUES, table=(columns, rows))).classes.names}) == 3


def test_the_item_of_a_map_is_no_map(tmp_path):
    write_map(tmp_path / "map.tif", grid_of(2, 4))
    with pytest.raises(DataError) as error:
        read_info(tmp_path / "map.json")
    assert len(str(error.value).splitlines()) == 2
