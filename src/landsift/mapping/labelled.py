"""From labelled points of a map to its accuracy and its areas: only of the points that were drawn from it."""

from __future__ import annotations

import codecs
import csv
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray
from rasterio import Affine

from landsift.errors import DataError, listed, nearest
from landsift.mapping.estimation import Assessment, assess
from landsift.mapping.map_file import read_info
from landsift.mapping.sample_design import REFERENCE, WHY, SampleDesign, design_path, read_design
from landsift.mapping.sampling import survey

if TYPE_CHECKING:
    from pandas import DataFrame

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledMap:
    """What labelled points say about a map.

    Attributes:
        design: of the sample.
        assessment: accuracies and areas, over the labelled points.
        mapped: hectares of each class in the map, [K].
        labelled: points with a reference class.
    """

    design: SampleDesign
    assessment: Assessment
    mapped: NDArray[np.float64]
    labelled: int

    @property
    def unlabelled(self) -> int:
        """Points without a reference class."""
        return len(self.design.points) - self.labelled


def assess_map(map_path: Path | str, labelled: Path | str, *, design: Path | str | None = None) -> LabelledMap:
    """Accuracy and areas of a map from the points that were drawn from it and labelled since.

    Args:
        map_path: the map that the points were drawn from.
        labelled: the points, with a class of the map in `reference`: CSV, or what GDAL reads as points.
        design: the file of the sample's design; None: beside the points, POINTS.design.json.

    Raises:
        DataError: there is no design, it is not of this map, the points are not those that were drawn, or a class is
            not one of the map's.
    """
    points = Path(labelled)
    if not points.is_file():
        raise DataError(f"{points}: there is no such file", "give the labelled points of landsift sample")
    drawn = read_design(design_path(points) if design is None else Path(design), points)
    table = read_points(points)
    references = _references(table, drawn, points)
    info = read_info(map_path)
    if survey(info).fingerprint != drawn.fingerprint:
        raise DataError(
            f"{points} was drawn from another map than {info.path}: {drawn.map}, whose cells or classes differ",
            "give the map that the points were drawn from",
        )
    known = [(point, name) for point, name in zip(drawn.points, references, strict=True) if name]
    if not known:
        raise DataError(f"{points}: no point has a class in {REFERENCE!r}", "label the points first")
    if len(known) < len(references):
        logger.warning(
            "%d of %d points are not labelled: the others stand for them, which holds if those were left out by chance",
            len(references) - len(known),
            len(references),
        )
    assessment = assess(
        [point.stratum for point, _ in known],
        [point.mapped for point, _ in known],
        [name for _, name in known],
        {each.name: each.hectares for each in drawn.strata},
        [each.name for each in drawn.classes],
        areas=[point.hectares for point, _ in known],
        cells={each.name: each.cells for each in drawn.strata},
    )
    return LabelledMap(drawn, assessment, np.array([each.hectares for each in drawn.classes]), len(known))


def read_points(path: Path) -> DataFrame:
    """Read points as texts, [n] rows; a geometry becomes the columns `geometry x`, `geometry y`, and `geometry crs`.

    CSV may be separated by commas, semicolons or tabs.

    Raises:
        DataError: they cannot be read, or have no columns `id` and `reference`.
    """
    import pandas as pd

    hint = "give the points of landsift sample, with a class in each row's reference"
    try:
        table = _read_csv(path) if path.suffix.lower() in (".csv", ".txt", ".tsv") else _read_vector(path)
    except UnicodeDecodeError:
        raise DataError(f"{path}: its letters are not in UTF-8", "save it as CSV UTF-8, or as a GeoPackage") from None
    except (ValueError, csv.Error, pd.errors.ParserError) as error:
        reason = str(error).splitlines()[0].split("; It might help")[0]
        raise DataError(f"{path} cannot be read: {reason}", hint) from None
    table.columns = [str(name).strip() for name in table.columns]
    if missing := [name for name in ("id", REFERENCE) if name not in table.columns]:
        like = [name for name in table.columns if name.casefold() == missing[0]]
        also = f"it has {like[0]!r}: call that {missing[0]}" if like else f"{hint}; it has {listed(table.columns, 12)}"
        raise DataError(f"{path} has no column {missing[0]!r}", also)
    if double := [name for name, count in Counter(table.columns).items() if count > 1]:
        raise DataError(f"{path} has the column {double[0]!r} twice", "leave one of them")
    return table


def _read_csv(path: Path) -> DataFrame:
    import pandas as pd

    with path.open("rb") as raw:
        start = raw.read(2)
    encoding = "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    with path.open(encoding=encoding, newline="") as file:
        head = file.readline()
    separator = max(",;\t", key=head.count)
    table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding=encoding)
    if separator != ",":  # spreadsheets of many languages write 2,5
        for name in {"lon", "lat", "x", "y"} & set(table.columns):
            table[name] = table[name].str.replace(",", ".", regex=False)
    return table[(table != "").any(axis=1)].reset_index(drop=True)  # spreadsheets leave empty rows


def _read_vector(path: Path) -> DataFrame:
    import geopandas as gpd
    import pandas as pd
    import pyogrio

    try:
        layers = [str(name) for name, _ in pyogrio.list_layers(path)]
        ours = [name for name in layers if {"id", REFERENCE} <= set(pyogrio.read_info(path, layer=name)["fields"])]
        if len(ours) > 1:
            raise ValueError(f"its layers {listed(ours)} may all be the points; leave one of them")
        table = gpd.read_file(path, layer=(ours or layers)[0], engine="pyogrio")
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise ValueError(str(error)) from None
    texts = pd.DataFrame({
        name: ["" if pd.isna(value) else str(value) for value in table[name]]
        for name in table.columns
        if name != "geometry"
    })  # fmt: skip
    if isinstance(table, gpd.GeoDataFrame):
        shapes = table.geometry
        if (~shapes.is_empty & shapes.notna() & (shapes.geom_type != "Point")).any():
            raise ValueError("not all of its shapes are points")
        texts["geometry x"], texts["geometry y"] = shapes.x, shapes.y
        texts["geometry crs"] = table.crs.to_wkt() if table.crs is not None else ""
    return texts


def _references(table: DataFrame, design: SampleDesign, path: Path) -> list[str]:
    """The reference class of each drawn point, "" for none, in the design's order; the points are checked."""
    try:
        ids = [int(float(value)) for value in table["id"]]
        if any(float(value) != k for value, k in zip(table["id"], ids, strict=True)):
            raise ValueError
    except (ValueError, OverflowError):
        raise DataError(f"{path}: not all values of 'id' are numbers", "keep the numbers of landsift sample") from None
    hint = f"a sample is assessed whole, as it was drawn: {WHY}"
    wanted = {point.id for point in design.points}
    if double := sorted(k for k, count in Counter(ids).items() if count > 1):
        raise DataError(f"{path}: points that are there more than once: {listed(double)}", "leave one row of each")
    if added := sorted(set(ids) - wanted):
        raise DataError(f"{path}: points that were not drawn: {listed(added)}", hint)
    if missing := sorted(wanted - set(ids)):
        raise DataError(
            f"{path}: points that were drawn and are not there: {listed(missing)}",
            "put them back; one that cannot be labelled keeps an empty reference",
        )
    table = table.assign(id=ids).sort_values("id").reset_index(drop=True)
    if len(moved := np.flatnonzero(_moved(table, design, path))):
        raise DataError(
            f"{path}: points that were moved: {listed(table['id'][moved])}",
            "put them back into their cells; a sample is assessed as it was drawn",
        )
    names = [each.name for each in design.classes]
    own = {normalize("NFC", name.strip()): name for name in names}  # ä is one letter, or a and two dots
    found = [own.get(normalize("NFC", value.strip()), value.strip()) for value in table[REFERENCE]]
    if strangers := sorted(set(found) - {"", *names}):
        where = table["id"][[value == strangers[0] for value in found]]
        close = nearest(strangers[0], names) or nearest(strangers[0].casefold(), names)
        raise DataError(
            f"{path}: {listed(strangers)}: no class of the map (point {listed(where)})",
            close or f"its classes are {', '.join(names)}",
        )
    return found


def _moved(table: DataFrame, design: SampleDesign, path: Path) -> NDArray[np.bool_]:
    """Which points lie outside of their cell, by any of the coordinates that are there, [n]."""
    from pyproj import CRS, Transformer
    from pyproj.exceptions import CRSError

    there = set(table.columns)
    given: list[tuple[str, str, Any]] = []
    if {"x", "y"} <= there:
        given.append(("x", "y", None))
    if {"lon", "lat"} <= there:
        given.append(("lon", "lat", 4326))
    if {"geometry x", "geometry y"} <= there:
        crs = table["geometry crs"].iloc[0]
        if not crs:
            raise DataError(f"{path} does not say its CRS", "write it into the file, with QGIS or ogr2ogr -a_srs")
        given.append(("geometry x", "geometry y", crs))
    if not given:
        raise DataError(f"{path} has no coordinates", "keep the columns x and y, or lon and lat")
    moved = np.zeros(len(table), bool)
    cols, rows = (np.array([getattr(point, name) + 0.5 for point in design.points]) for name in ("col", "row"))
    a, b, c, d, e, f = (~Affine(*design.transform))[:6]
    for across, up, crs in given:
        try:
            x, y = (np.array(table[name], float) for name in (across, up))
            if crs is not None:
                x, y = Transformer.from_crs(CRS(crs), CRS(design.crs), always_xy=True).transform(x, y)
        except (ValueError, CRSError):
            raise DataError(
                f"{path}: not all values of {across!r} and {up!r} are coordinates", "restore them"
            ) from None
        col, row = a * x + b * y + c, d * x + e * y + f
        moved |= ~((np.abs(col - cols) < 0.5) & (np.abs(row - rows) < 0.5))  # also where they are NaN
    return moved


def to_json(found: LabelledMap) -> dict[str, Any]:
    """The assessment for JSON, which has no NaN: shares in 0..1, areas in hectares."""
    design, result = found.design, found.assessment
    return {
        "map": design.map,
        "fingerprint": design.fingerprint,
        "when": design.when,
        "allocation": design.allocation,
        "strata_from": design.strata_from,
        "seed": design.seed,
        "points": len(design.points),
        "labelled": found.labelled,
        "hectares": result.total,
        "interval": "95 %, of Wilson's limits by stratum",
        "strata": [
            {"stratum": s.name, "cells": s.cells, "hectares": s.hectares, "points": s.points} for s in design.strata
        ],
        "overall": _shares(result.overall),
        "classes": [
            {
                "class": name,
                "mapped_hectares": float(found.mapped[k]),
                "hectares": _shares(result.areas[k], result.total),
                "share": _shares(result.areas[k]),
                "users": _shares(result.users[k]),
                "producers": _shares(result.producers[k]),
            }
            for k, name in enumerate(result.classes)
        ],
        "counts": result.counts.tolist(),
        "proportions": result.proportions.tolist(),
    }


def write_assessment(found: LabelledMap, folder: Path) -> None:
    """Write areas.json, areas.csv (a row per class), error_matrix.csv (points) and error_shares.csv (of the area).

    Rows of the matrices are the map's classes, columns the reference's.

    Raises:
        OSError: the folder cannot be written.
    """
    import json

    values, names = to_json(found), found.assessment.classes
    text = json.dumps(values, ensure_ascii=False, indent=2) + "\n"
    (folder / "areas.json").write_text(text, encoding="utf-8")
    parts = ("hectares", "share", "users", "producers")
    columns = [f"{part}{end}" for part in parts for end in ("", "_error", "_low", "_high")]
    rows = [
        [each["class"], each["mapped_hectares"], *(each[part][key] for part in parts for key in _KEYS)]
        for each in values["classes"]
    ]
    _write_csv(folder / "areas.csv", ["class", "mapped_hectares", *columns], rows)
    for file, key in (("error_matrix.csv", "counts"), ("error_shares.csv", "proportions")):
        matrix = [[name, *row] for name, row in zip(names, values[key], strict=True)]
        _write_csv(folder / file, ["map \\ reference", *names], matrix)


_KEYS = ("value", "error", "low", "high")


def _shares(estimate: Any, unit: float = 1.0) -> dict[str, float | None]:
    values = {key: float(getattr(estimate, key)) * unit for key in _KEYS}
    return {key: value if np.isfinite(value) else None for key, value in values.items()}


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows(rows)
