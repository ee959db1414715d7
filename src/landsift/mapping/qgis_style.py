"""The style with which QGIS opens a map: a colour and a name for each class."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, tostring

from landsift.errors import plain
from landsift.mapping.classes import ClassTable

_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"


def qml_of(classes: ClassTable) -> str:
    """A QML file: band 1 with a paletted renderer; cells without a class are transparent."""
    root = Element("qgis", version="3.22.0", styleCategories="Symbology")
    renderer = SubElement(
        SubElement(root, "pipe"), "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1",
        nodataColor="",
    )  # fmt: skip
    palette = SubElement(renderer, "colorPalette")
    for each in classes:
        SubElement(
            palette, "paletteEntry", value=str(each.code), color=each.colour, alpha="255", label=plain(each.name)
        )
    SubElement(root, "blendMode").text = "0"
    return _DOCTYPE + tostring(root, encoding="unicode") + "\n"
