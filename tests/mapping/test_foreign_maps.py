"""Maps of other tools are read by the names that their files give, and refused where there are none."""

from __future__ import annotations

from xml.sax.saxutils import escape

import numpy as np
import pytest
import rasterio
from affine import Affine
from small_maps import UTM

from landsift.errors import DataError
from landsift.mapping.class_areas import count_areas
from landsift.mapping.map_file import read_classes, read_confidence, read_info

VALUES = np.array([[10, 20, 20], [255, 10, 30]])
NAMES = {10: "Trees", 20: "Crops & fields", 30: "Water"}


def raster(path, values=VALUES, dtype="uint8", nodata=255, driver="GTiff", colours=None, names=None, table=None):
    """A raster of another tool, with category names or a raster attribute table in its .aux.xml."""
    with rasterio.open(
        path, "w", driver=driver, height=values.shape[0], width=values.shape[1], count=1, dtype=dtype, nodata=nodata,
        crs=UTM, transform=Affine(100, 0, 5e5, 0, -100, 4e6),
    ) as file:  # fmt: skip
        file.write(values.astype(dtype), 1)
        if colours:
            file.write_colormap(1, colours)
    inside = ""
    if names:
        categories = "".join(f"<Category>{escape(names.get(i, ''))}</Category>" for i in range(max(names) + 1))
        inside = f"<CategoryNames>{categories}</CategoryNames>"
    if table:
        columns, rows = table
        fields = "".join(
            f'<FieldDefn index="{i}"><Name>{n}</Name><Type>{t}</Type><Usage>{u}</Usage></FieldDefn>'
            for i, (n, t, u) in enumerate(columns)
        )
        lines = "".join(
            f'<Row index="{i}">{"".join(f"<F>{escape(str(cell))}</F>" for cell in row)}</Row>'
            for i, row in enumerate(rows)
        )
        inside += f"<GDALRasterAttributeTable>{fields}{lines}</GDALRasterAttributeTable>"
    if inside:
        beside = path.with_name(path.name + ".aux.xml")
        beside.write_text(f'<PAMDataset><PAMRasterBand band="1">{inside}</PAMRasterBand></PAMDataset>')
    return path


ARCGIS = ([("OID", 0, 0), ("Value", 0, 0), ("Count", 1, 0), ("Class_Name", 2, 0)], [
    (0, 10, 2, "Trees"), (1, 20, 2, "Crops & fields"), (2, 30, 1, "Water")])  # fmt: skip
GDAL = ([("v", 0, 5), ("n", 2, 2), ("r", 0, 6), ("g", 0, 7), ("b", 0, 8)], [
    (30, "Water", 0, 0, 255), (10, "Trees", 0, 128, 0), (20, "Crops & fields", 255, 200, 0)])  # fmt: skip
FRACTIONS = ([("Value", 1, 5), ("Class", 2, 2), ("Red", 1, 6), ("Green", 1, 7), ("Blue", 1, 8)], [
    (10.0, "Trees", 0.0, 0.5, 0.0), (20.0, "Crops & fields", 1.0, 0.8, 0.0), (30.0, "Water", 0, 0, 1.0)])  # fmt: skip


@pytest.mark.parametrize("told", [{"names": NAMES}, {"table": ARCGIS}, {"table": GDAL}, {"table": FRACTIONS}])
def test_names_come_from_the_file(tmp_path, told):
    info = read_info(raster(tmp_path / "m.tif", **told))
    assert info.classes.names == ("Trees", "Crops & fields", "Water")
    assert info.values == (10, 20, 30)
    assert read_classes(info).tolist() == [[1, 2, 2], [0, 1, 3]]
    assert read_confidence(info) is None
    assert count_areas(info).hectares.tolist() == [1, 2, 2, 1]


def test_colours_come_from_the_table_else_from_the_colour_table(tmp_path):
    assert [each.colour for each in read_info(raster(tmp_path / "a.tif", table=GDAL)).classes] == [
        "#008000", "#ffc800", "#0000ff",
    ]  # fmt: skip
    colours = {10: (1, 2, 3), 20: (4, 5, 6), 30: (7, 8, 9)}
    info = read_info(raster(tmp_path / "b.tif", names=NAMES, colours=colours))
    assert [each.rgb for each in info.classes] == [(1, 2, 3), (4, 5, 6), (7, 8, 9)]


def test_names_may_be_given(tmp_path):
    info = read_info(raster(tmp_path / "m.tif"), names=NAMES)
    assert read_classes(info, (slice(1, 2), slice(None))).tolist() == [[0, 1, 3]]


def test_zero_and_negative_values_may_be_classes(tmp_path):
    values = np.array([[0, -5], [7, -9999]])
    info = read_info(raster(tmp_path / "m.tif", values, "int16", -9999), names={0: "a", -5: "b", 7: "c"})
    assert info.classes.names == ("b", "a", "c")
    assert read_classes(info).tolist() == [[2, 1], [3, 0]]


def test_large_values_are_read(tmp_path):
    values = np.array([[70_000, 1], [2_000_000_000, 1]])
    info = read_info(raster(tmp_path / "m.tif", values, "int32", None), names={1: "a", 70_000: "b", 2_000_000_000: "c"})
    assert read_classes(info).tolist() == [[2, 1], [3, 1]]


def test_zero_without_a_name_is_no_data(tmp_path, caplog):
    caplog.set_level("INFO", "landsift")
    info = read_info(raster(tmp_path / "m.tif", np.array([[0, 10]]), nodata=None, names={10: "Trees"}))
    assert read_classes(info).tolist() == [[0, 1]]
    assert "the value 0 has no name" in caplog.text


def test_other_values_without_a_name_are_refused(tmp_path):
    info = read_info(raster(tmp_path / "m.tif", nodata=None), names=NAMES)
    with pytest.raises(DataError, match="values without a class: 255"):
        read_classes(info)


def test_two_values_of_one_name_stay_two_classes(tmp_path):
    info = read_info(raster(tmp_path / "m.tif"), names={10: "a", 20: "a", 30: "b"})
    assert info.classes.names == ("a (10)", "a (20)", "b")


def test_other_formats(tmp_path):
    info = read_info(raster(tmp_path / "m.img", driver="HFA", names=NAMES))
    assert read_classes(info).tolist() == [[1, 2, 2], [0, 1, 3]]


def test_colours_alone_are_no_names(tmp_path):
    with pytest.raises(DataError, match="no map of classes"):
        read_info(raster(tmp_path / "m.tif", colours={10: (1, 2, 3)}))


def test_a_table_without_names_is_none(tmp_path):
    table = ([("Value", 0, 5), ("Count", 0, 1)], [(10, 3), (20, 2)])
    with pytest.raises(DataError, match="no map of classes"):
        read_info(raster(tmp_path / "m.tif", table=table))
