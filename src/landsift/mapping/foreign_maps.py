"""Maps of classes that other tools wrote: the names and colours of their values.

Values stay those of the file; codes are 1 to K in the order of the values. GDAL itself gathers raster attribute tables
and category names, of whatever format, in the XML of a VRT.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from landsift.errors import DataError
from landsift.mapping.classes import NO_DATA, ClassTable
from landsift.mapping.map_info import MapInfo
from landsift.runtime.notices import once

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from rasterio.io import DatasetReader

_MIN, _MAX, _MIN_MAX, _NAME = "3", "4", "5", "2"
_RED, _GREEN, _BLUE = "6", "7", "8"
"""Usages of the columns of GDAL's raster attribute tables (GDALRATFieldUsage)."""
_NAMES = ("class_name", "classname", "class", "name", "label", "category", "landcover", "description")
_COLOUR = re.compile(r"#?[0-9a-fA-F]{6}([0-9a-fA-F]{2})?|")
_EMPTY = ("", "unclassified", "no data", "nodata", "unnamed")


def read_foreign(
    path: Path, dataset: DatasetReader, grid: GeoBox, names: Mapping[int, str] | None, *, hides: int | None
) -> MapInfo:
    """What a map holds whose classes are those of its first band.

    Raises:
        DataError: its values are no whole numbers, or have no names.
    """
    kind = dataset.dtypes[0]
    if np.dtype(kind).kind not in "ui":
        raise DataError(f"{path} is no map of classes: its values are {kind}", "give a map with whole numbers")
    found, colours = (dict(names), {}) if names is not None else _described(path)
    no_data = None if dataset.nodata is None or not np.isfinite(dataset.nodata) else int(dataset.nodata)
    found = {value: name for value, name in sorted(found.items()) if value != no_data}
    if not found:
        raise DataError(
            f"{path} is no map of classes: no raster attribute table or category names say what its values are",
            "give a raster whose classes have names in it",
        )
    if others := dataset.count - 1 - bool(hides):
        once(logging.WARNING, f"{path}: only the first of its {others + 1} bands is read")
    table = ClassTable.of(_distinct(found), {})
    if colours := colours or _colour_table(dataset):
        shown = {each.name: colours.get(value, each.colour) for each, value in zip(table, found, strict=True)}
        table = ClassTable.of(table.names, shown)
    return MapInfo(path, grid, table, values=tuple(found), no_data=no_data, own=False, hides=hides)


def codes_of(raw: NDArray[np.integer], info: MapInfo, hidden: NDArray[np.bool_] | None = None) -> NDArray[np.uint16]:
    """Codes of values of a file, [h, w]; `hidden`: cells that a mask hides, [h, w], which have no class.

    Raises:
        DataError: a value is no class. Only 0 may be, and is no data then, with a notice.
    """
    values = np.asarray(info.values, dtype=np.int64)
    if info.own:
        unknown = raw > len(values)
        codes = raw.astype(np.uint16)
    else:
        place = np.minimum(np.searchsorted(values, raw), len(values) - 1)
        unknown = values[place] != raw
        codes = np.where(unknown, NO_DATA, place + 1).astype(np.uint16)
    if hidden is not None or info.no_data not in (None, NO_DATA):
        gone = (
            raw == info.no_data
            if hidden is None
            else hidden
            if info.no_data is None
            else hidden | (raw == info.no_data)
        )
        codes, unknown = np.where(gone, np.uint16(NO_DATA), codes), unknown & ~gone
    if info.no_data != NO_DATA and (unknown & (raw == 0)).any():
        once(logging.INFO, f"{info.path}: the value 0 has no name: taken as no data")
    unknown &= raw != 0
    if unknown.any():
        odd = ", ".join(map(str, np.unique(raw[unknown])[:5].tolist()))
        hint = "name them in the raster attribute table or category names, or make them no data"
        raise DataError(f"{info.path}: values without a class: {odd}", hint)
    return codes


def _described(path: Path) -> tuple[dict[int, str], dict[int, str]]:
    """Names and colours by value, from the raster attribute table, else the category names."""
    import rasterio.shutil

    with tempfile.TemporaryDirectory() as folder:
        vrt = Path(folder) / "names.vrt"
        rasterio.shutil.copy(path, vrt, driver="VRT")
        band = ElementTree.parse(vrt).find("VRTRasterBand[@band='1']")  # noqa: S314 (GDAL wrote it)
    if band is None:
        return {}, {}
    rat = band.find("GDALRasterAttributeTable")
    names, colours = _of_table(path, rat) if rat is not None else ({}, {})
    if not names:
        categories = [each.text or "" for each in band.findall("CategoryNames/Category")]
        names = {value: name for value, name in enumerate(categories) if name.strip().lower() not in _EMPTY}
    return names, colours


def _of_table(path: Path, rat: ElementTree.Element) -> tuple[dict[int, str], dict[int, str]]:
    columns = [
        ((each.findtext("Name") or "").lower(), each.findtext("Type"), each.findtext("Usage"))
        for each in rat.findall("FieldDefn")
    ]
    usages = {usage: i for i, (_, _, usage) in enumerate(columns)}
    titles = {name: i for i, (name, _, _) in enumerate(columns)}
    value = usages.get(_MIN_MAX, usages.get(_MIN, titles.get("value")))
    rows = [[each.text or "" for each in row.findall("F")] for row in rat.findall("Row")]
    rows = [cells + [""] * (len(columns) - len(cells)) for cells in rows]
    label = usages.get(_NAME, next((titles[name] for name in _NAMES if name in titles), None))
    if label is None:
        texts = [i for i, (_, kind, _) in enumerate(columns) if kind == "2" and i != value]
        # Codes of colours are no names, and a column with a name for each class says more than one for groups of them.
        texts = [i for i in texts if not all(_COLOUR.fullmatch(cells[i].strip()) for cells in rows)]
        label = max(texts, key=lambda i: len({cells[i] for cells in rows}), default=None)
        if len(texts) > 1 and label is not None:
            once(logging.INFO, f"{path}: names of classes are those of the column {columns[label][0]!r}")
    if value is None or label is None:
        return {}, {}
    names: dict[int, str] = {}
    colours: dict[int, str] = {}
    rgb = [usages.get(usage, titles.get(name)) for usage, name in ((_RED, "red"), (_GREEN, "green"), (_BLUE, "blue"))]
    for cells in rows:
        code, name = _whole(cells[value]), cells[label].strip()
        if code is None or not name:
            continue
        if names.setdefault(code, name) != name:
            raise DataError(
                f"{path}: its raster attribute table calls the value {code} {names[code]!r} and {name!r}",
                "leave one of them",
            )
        if None not in rgb:
            colours |= _colour(code, [cells[i] for i in rgb if i is not None])
    return names, colours


def _whole(text: str) -> int | None:
    """The whole number that a text is; None: it is none, so that no cell has it."""
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def _colour(code: int, texts: list[str]) -> dict[int, str]:
    try:
        levels = [float(text) for text in texts]
    except ValueError:
        return {}
    fractions = max(levels) <= 1 and any(0 < level < 1 for level in levels)
    whole = [round(level * 255) if fractions else round(level) for level in levels]
    return {code: "#" + "".join(f"{min(max(level, 0), 255):02x}" for level in whole)}


def _colour_table(dataset: DatasetReader) -> dict[int, str]:
    try:
        table = dataset.colormap(1)
    except ValueError:
        return {}
    return {value: "#" + "".join(f"{level:02x}" for level in entry[:3]) for value, entry in table.items()}


def _distinct(found: Mapping[int, str]) -> list[str]:
    """The names, with the value behind those that several values share."""
    counts = Counter(found.values())
    names = [name if counts[name] == 1 else f"{name} ({value})" for value, name in found.items()]
    return names if len({*names}) == len(names) else [f"{name} ({value})" for value, name in found.items()]
