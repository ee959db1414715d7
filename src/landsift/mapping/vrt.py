"""A VRT that joins the bands of a map: what GDAL writes into a file comes from it.

Reference: https://gdal.org/drivers/raster/vrt.html, https://gdal.org/user/raster_data_model.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, tostring

from landsift.errors import plain
from landsift.mapping.classes import NO_DATA_NAME, ClassTable
from landsift.mapping.gdal import crs_of

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

_TYPES = {"uint8": "Byte", "uint16": "UInt16"}
_INTEGER, _TEXT = "0", "2"
_COLUMNS = (
    ("Value", _INTEGER, "5"), ("Class", _TEXT, "2"), ("Red", _INTEGER, "6"), ("Green", _INTEGER, "7"),
    ("Blue", _INTEGER, "8"), ("Alpha", _INTEGER, "9"),
)  # fmt: skip
"""Of a raster attribute table: name, type (GDALRATFieldType) and usage (GDALRATFieldUsage)."""


@dataclass(frozen=True)
class Band:
    """A band of a map: its file beside the VRT, the band of that, and what is said of it.

    Attributes:
        scale: by which its values are multiplied.
        overviews: how many the file has.
        classes: of a band of classes, for its colours and names.
    """

    source: str
    number: int
    name: str
    dtype: str
    no_data: int
    scale: float | None = None
    overviews: int = 0
    classes: ClassTable | None = None


def vrt_of(grid: GeoBox, folder: Path, bands: Sequence[Band], tags: Mapping[str, str]) -> str:
    """The XML of a VRT; names stand in it as text, with escapes for what XML cannot hold.

    Args:
        grid: of the map.
        folder: in which the VRT and its files lie.
        bands: of the map.
        tags: of the map.
    """
    height, width = grid.shape
    root = Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    if grid.crs is not None:
        _add(root, "SRS", crs_of(grid).to_wkt())
    if not grid.affine.is_identity:
        _add(root, "GeoTransform", ", ".join(map(repr, grid.affine.to_gdal())))
    metadata = SubElement(root, "Metadata")
    for key, value in tags.items():
        _add(metadata, "MDI", value, key=key)
    for number, band in enumerate(bands, start=1):
        root.append(_band(band, number, folder, height, width))
    return tostring(root, encoding="unicode")


def _band(band: Band, number: int, folder: Path, height: int, width: int) -> Element:
    element = Element("VRTRasterBand", dataType=_TYPES[band.dtype], band=str(number))
    _add(element, "Description", plain(band.name))
    _add(element, "NoDataValue", str(band.no_data))
    if band.scale is not None:
        _add(element, "Scale", repr(band.scale))
    # A second band beside a colour table is taken for transparency where it is called nothing.
    _add(element, "ColorInterp", "Palette" if band.classes else "Gray")
    if band.classes:
        _add_classes(element, band.classes)
    source = SubElement(element, "SimpleSource")
    _add(source, "SourceFilename", band.source, relativeToVRT="1")
    _add(source, "SourceBand", str(band.number))
    for place in ("SrcRect", "DstRect"):
        SubElement(source, place, xOff="0", yOff="0", xSize=str(width), ySize=str(height))
    for level in range(band.overviews):  # a VRT passes on its sources' own only where both sides are long
        overview = SubElement(element, "Overview")
        _add(overview, "SourceFilename", f"GTIFF_DIR:{level + 2}:{folder / band.source}", relativeToVRT="0")
        _add(overview, "SourceBand", str(band.number))
    return element


def _add_classes(element: Element, classes: ClassTable) -> None:
    """Colour table, category names and raster attribute table: one table of classes, three ways to say it."""
    colours, names = SubElement(element, "ColorTable"), SubElement(element, "CategoryNames")
    SubElement(colours, "Entry", c1="0", c2="0", c3="0", c4="0")
    _add(names, "Category", NO_DATA_NAME)
    for each in classes:
        red, green, blue = map(str, each.rgb)
        SubElement(colours, "Entry", c1=red, c2=green, c3=blue, c4="255")
        _add(names, "Category", plain(each.name))
    table = SubElement(element, "GDALRasterAttributeTable", tableType="thematic")
    for index, (name, kind, usage) in enumerate(_COLUMNS):
        column = SubElement(table, "FieldDefn", index=str(index))
        for tag, text in (("Name", name), ("Type", kind), ("Usage", usage)):
            _add(column, tag, text)
    for index, each in enumerate(classes):
        row = SubElement(table, "Row", index=str(index))
        for value in (each.code, plain(each.name), *each.rgb, 255):
            _add(row, "F", str(value))


def _add(parent: Element, tag: str, text: str, **attributes: str) -> None:
    SubElement(parent, tag, attributes).text = text
