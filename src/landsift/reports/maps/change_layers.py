"""What the page of a change draws: the classes and confidences of all dates, cell by cell on one grid."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.mapping.aligned import aligned, date_of
from landsift.mapping.cell_areas import cell_areas
from landsift.mapping.change import MapChange
from landsift.mapping.change_raster import windows
from landsift.mapping.map_info import MapInfo
from landsift.mapping.sketch import first_kept, thinned
from landsift.reports.maps.layers import LONGEST, packed
from landsift.reports.maps.maplibre import Plane

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

MOST = 4_000_000
"""Pixels of all dates together in a page."""
_DIGITS = 9


@dataclass(frozen=True)
class Sampled:
    """Every n-th cell of every n-th row of maps on one grid.

    A page shows cells and not the most frequent class of several, because the most frequent classes of two dates may
    differ where hardly a cell does, and agree where many do.

    Attributes:
        step: n.
        grid: of the pixels; each has the place of n × n cells and shows the middle one.
        codes: of each date, uint16 [h, w]; 0 is no data.
        per_cent: confidence of each date, uint8 [h, w]; None where a map has none.
        hectares: that a pixel stands for, float64 [h].
    """

    step: int
    grid: GeoBox
    codes: tuple[NDArray[np.uint16], ...]
    per_cent: tuple[NDArray[np.uint8] | None, ...]
    hectares: NDArray[np.float64]


def sampled(maps: Sequence[MapInfo], most: int = MOST) -> Sampled:
    """Read maps on the grid of the first, window by window.

    Raises:
        DataError: one cannot be read.
    """
    first = maps[0]
    height, width = first.grid.shape
    step = max(1, math.ceil(max(height, width) / LONGEST), math.ceil(math.sqrt(height * width * len(maps) / most)))
    shift = first_kept(first.grid.shape, step)
    shape = (len(range(shift, height, step)), len(range(shift, width, step)))
    codes = tuple(np.zeros(shape, np.uint16) for _ in maps)
    per_cent = tuple(None if each.confidence_band is None else np.zeros(shape, np.uint8) for each in maps)
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(aligned(each, first)) for each in maps]
        for rows, columns in windows(first.grid):
            (into_rows, of_rows), (into_columns, of_columns) = (thinned(part, shift, step) for part in (rows, columns))
            into, cut = (into_rows, into_columns), (of_rows, of_columns)
            for date, each in enumerate(opened):
                codes[date][into] = each.read(rows, columns)[0][cut]
                kept = per_cent[date]
                if kept is not None and (sure := each.per_cent(rows, columns)) is not None:
                    kept[into] = np.where(codes[date][into] > 0, np.minimum(sure[cut], 100), 0)
    a = first.grid.affine
    grid = type(first.grid)(shape, type(a)(a.a * step, a.b * step, a.c, a.d * step, a.e * step, a.f), first.grid.crs)
    area = cell_areas(first.grid)[shift::step] * step**2
    return Sampled(step, grid, codes, per_cent, area)


def dates_of(maps: Sequence[MapInfo]) -> list[str]:
    """What the date of each map is called: its day, or its file where that is not known or not the only one."""
    days, stems = [date_of(each) for each in maps], [each.path.stem for each in maps]
    files = [  # of one name, as maps of several years in folders have, their folders tell them apart
        stem if stems.count(stem) == 1 else f"{each.path.absolute().parent.name}/{stem}"
        for each, stem in zip(maps, stems, strict=True)
    ]
    return [
        file if day is None else day if days.count(day) == 1 else f"{day} ({file})"
        for file, day in zip(files, days, strict=True)
    ]


def change_layers(change: MapChange, dates: Sequence[str]) -> dict[str, Any]:
    """A change as its page's script takes it (`templates/change.js`).

    Raises:
        DataError: a map cannot be read.
    """
    found = sampled(change.maps)
    plane, affine = Plane.of(found.grid), found.grid.affine
    wide = change.classes.dtype == "uint16"
    matrix = change.matrix
    return {
        "shape": list(found.grid.shape),
        "step": found.step,
        "corners": plane.corners(found.grid),
        "pixels": plane.pixels(found.grid),
        "affine": [affine.a, affine.b, affine.c, affine.d, affine.e, affine.f],
        "cell": plane.cell(found.grid),
        "metres": plane.metres,
        "wide": wide,
        "hectares": [float(f"{each:.{_DIGITS}g}") for each in found.hectares],
        "limit": change.confidence,
        "classes": [{"code": each.code, "name": each.name, "rgb": each.rgb} for each in change.classes],
        "dates": [
            {
                "name": name,
                "codes": packed(codes.astype("<u2" if wide else "u1")),
                "confidence": None if per_cent is None else packed(per_cent),
            }
            for name, codes, per_cent in zip(dates, found.codes, found.per_cent, strict=True)
        ],
        # Of all cells, from the first date to the last.
        "transitions": [
            [a + 1, b + 1, float(matrix.hectares[a, b]), float(matrix.uncertain[a, b])]
            for a, b in np.argwhere(matrix.cells).tolist()
        ],
        "scene": None,
    }
