"""Hectares of the classes of a map, counted strip by strip, and their table."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from landsift.mapping.cell_areas import cell_areas
from landsift.mapping.classes import NO_DATA, NO_DATA_NAME, ClassTable
from landsift.mapping.map_file import blocks, read_classes
from landsift.mapping.map_info import MapInfo

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

logger = logging.getLogger(__name__)

COLUMNS = ("code", "class", "cells", "hectares", "share")


class AreaCount:
    """Cells and hectares per class of a map of which rows come one after the other.

    Attributes:
        cells: per code, int64 [K + 1]; the first is no data.
        hectares: the same, float64 [K + 1]; NaN where the map has no CRS.
    """

    def __init__(self, grid: GeoBox, classes: ClassTable) -> None:
        self.classes = classes
        self.cells = np.zeros(len(classes) + 1, np.int64)
        self.hectares = np.zeros(len(classes) + 1)
        if grid.crs is None:
            logger.warning("the map has no coordinate reference system: its areas are counted in cells alone")
            self._areas = np.full(grid.height, np.nan)
        else:
            self._areas = cell_areas(grid)

    def add(self, rows: slice, codes: NDArray[np.integer]) -> None:
        """Count rows of a map, codes [h, w]."""
        size = len(self.cells)
        line = np.arange(len(codes))[:, None] * size
        counts = np.bincount((codes.astype(np.int64) + line).ravel(), minlength=size * len(codes))
        counts = counts.reshape(len(codes), size)
        self.cells += counts.sum(axis=0)
        self.hectares += self._areas[rows] @ counts

    @property
    def known(self) -> bool:
        """Whether there are hectares."""
        return bool(np.isfinite(self.hectares).all())

    @property
    def shares(self) -> NDArray[np.float64]:
        """Of the mapped area, float64 [K + 1]; of cells where hectares are not known; 0 for no data."""
        amounts = self.hectares.copy() if self.known else self.cells.astype(np.float64)
        amounts[NO_DATA] = 0
        total = amounts.sum()
        return np.asarray(amounts / total if total else amounts)


def count_areas(info: MapInfo) -> AreaCount:
    """Count a map's cells and hectares, block by block."""
    areas = AreaCount(info.grid, info.classes)
    for rows in blocks(info):
        areas.add(rows, read_classes(info, rows))
    return areas


def write_areas(path: Path, areas: AreaCount) -> None:
    """Write the rows of `area_rows`."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(area_rows(areas))


def area_rows(areas: AreaCount) -> list[tuple[object, ...]]:
    """The table: a header, a row per class in the order of codes, then one of no data, without a share."""
    rows = [
        (each.code, each.name, *_figures(areas, each.code), f"{areas.shares[each.code]:.8f}") for each in areas.classes
    ]
    return [COLUMNS, *rows, (NO_DATA, NO_DATA_NAME, *_figures(areas, NO_DATA), "")]


def _figures(areas: AreaCount, code: int) -> tuple[int, str]:
    return int(areas.cells[code]), f"{areas.hectares[code]:.6f}" if areas.known else ""
