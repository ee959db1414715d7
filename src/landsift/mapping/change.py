"""The change between two or more maps: a raster of transitions and tables, in one folder."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from landsift.errors import DataError
from landsift.mapping.aligned import AlignedMap, aligned, comparable
from landsift.mapping.cell_areas import cell_areas
from landsift.mapping.change_raster import ChangeRaster, transition_classes, windows
from landsift.mapping.change_tables import class_table, matrix_table, trajectory_table, transition_table, write_table
from landsift.mapping.classes import ClassTable
from landsift.mapping.map_file import read_info
from landsift.mapping.map_info import MapAbout, MapInfo
from landsift.mapping.transitions import (
    ChangeMatrix,
    Rows,
    Trajectory,
    change_matrix,
    trajectories,
    transition_codes,
)
from landsift.runtime.outputs import check_output, check_outside
from landsift.runtime.whole import beside, flush, writing

CONFIDENCE = 0.5
"""Below it, a calibrated model is more often wrong than right."""
CAUTION = (
    "A difference of two maps is no estimate of an area: the errors of both maps add up in it. "
    "An estimate needs a probability sample of the map of change."
)
_log = logging.getLogger("landsift")


@dataclass(frozen=True)
class MapChange:
    """What changed from the first map to the last.

    Attributes:
        out: the folder.
        maps: in the order compared.
        classes: of the codes of the matrix and the trajectories.
        matrix: from the first map to the last.
        outside: hectares of the first map's grid that lie outside of each map.
        confidence: the limit; None where a map has no confidence.
        trajectories: over all maps, where there are more than two.
    """

    out: Path
    maps: tuple[MapInfo, ...]
    classes: ClassTable
    matrix: ChangeMatrix
    outside: tuple[float, ...]
    confidence: float | None
    trajectories: tuple[Trajectory, ...] = ()

    @property
    def compared(self) -> float:
        """Hectares that both the first map and the last classify."""
        return float(self.matrix.hectares.sum())

    @property
    def changed(self) -> float:
        """Hectares of another class in the last map than in the first."""
        return float(self.matrix.hectares.sum() - np.trace(self.matrix.hectares))

    @property
    def uncertain(self) -> float:
        """Of the changed hectares, those below the limit of confidence."""
        return float(self.matrix.uncertain.sum() - np.trace(self.matrix.uncertain))


def map_change(
    maps: Sequence[Path | str],
    out: Path | str,
    *,
    confidence: float | None = None,
    finish: Callable[[Path, MapChange], object] | None = None,
) -> MapChange:
    """Compare maps and write `change.tif` and the tables to a new folder, which appears complete or not at all.

    Args:
        maps: two or more, of landsift or other tools; compared by date where all have one, else in this order.
        out: a new or empty folder.
        confidence: changes whose lower confidence is below it are counted apart, 0 to 1; by default 0.5.
        finish: called with the folder, before it gets its name, and the change; may write more into it.

    Raises:
        DataError: the maps cannot be compared, or have no cell with a class in both.
        RunError: the folder cannot be written.
    """
    limit = CONFIDENCE if confidence is None else confidence
    if not 0 <= limit <= 1:
        hint = f"{limit} per cent are {limit / 100:g}" if 1 < limit <= 100 else "give a number from 0 to 1"
        raise DataError(f"a confidence of {limit} is no share from 0 to 1", hint)
    maps = [maps] if isinstance(maps, str | Path) else list(maps)
    out = check_output(out)
    check_outside(out, maps)
    ordered = comparable([read_info(path) for path in maps])
    first, last = ordered[0], ordered[-1]
    without = [str(each.path) for each in (first, last) if each.confidence_band is None]
    if without and (confidence is not None or len(without) == 1):
        _log.warning("%s: no confidence band, so no change is counted as of low confidence", " and ".join(without))
    transitions = transition_classes(first.classes)
    hectares = cell_areas(first.grid)
    outside = np.zeros(len(ordered))
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with beside(out) as folder, contextlib.ExitStack() as stack:
            folder.mkdir()
            opened = [stack.enter_context(aligned(each, first)) for each in ordered]
            with ChangeRaster(folder, out, first.grid, transitions, confidence=not without) as raster:
                rows = _rows(opened, hectares, outside, raster)
                matrix = change_matrix(rows, len(first.classes), confidence=limit)
            found: tuple[Trajectory, ...] = ()
            if not matrix.cells.any():
                raise DataError(f"{first.path} and {last.path} have no cell with a class in both", "give other maps")
            if len(ordered) > 2:
                found = tuple(trajectories(_rows(opened, hectares), len(first.classes)))
            limit_used = None if without else limit
            change = MapChange(out, tuple(ordered), first.classes, matrix, tuple(outside.tolist()), limit_used, found)
            raster.finish(_about(ordered))
            _write_tables(folder, change)
            if finish is not None:
                finish(folder, change)
            flush(folder)
            os.replace(folder, out)
    _tell(change)
    return change


def _rows(
    maps: Sequence[AlignedMap],
    hectares: NDArray[np.float64],
    outside: NDArray[np.float64] | None = None,
    raster: ChangeRaster | None = None,
) -> Iterator[Rows]:
    """The cells of all maps, window by window; on the way they are written and what lies outside is added up."""
    first, last = maps[0], maps[-1]
    grid, classes = first.info.grid, len(first.info.classes)
    compared = maps if raster is None else (first, last)
    for rows, columns in windows(grid):
        read = [each.read(rows, columns) for each in (maps if outside is not None else compared)]
        if outside is not None:
            for place, (_, inside) in enumerate(read):
                if inside is not None:
                    outside[place] += hectares[rows] @ (~inside).sum(axis=1)
        codes = [each for each, _ in read]
        lower = None
        if raster is not None:
            both = [each.per_cent(rows, columns) for each in (first, last)]
            lower = np.minimum(both[0], both[1]) if both[0] is not None and both[1] is not None else None
            raster.write(rows, columns, transition_codes(codes[0], codes[-1], classes), lower)
        yield Rows(codes, hectares[rows], None if lower is None else lower / 100)


def _about(maps: Sequence[MapInfo]) -> MapAbout:
    first, last = maps[0].about, maps[-1].about
    scenes = tuple(name for each in maps for name in (each.scenes or (each.path.name,)))
    same = {name: getattr(first, name) for name in ("patch", "stride", "gsd", "model", "run")
            if getattr(first, name) == getattr(last, name)}  # fmt: skip
    return MapAbout(scenes=scenes, when=last.when, **same)


def tables_of(change: MapChange) -> dict[str, pd.DataFrame]:
    """Matrix, transitions and classes of a change, by file name."""
    names = change.classes.names
    return {
        "matrix.csv": matrix_table(change.matrix, names),
        "transitions.csv": transition_table(change.matrix, names),
        "classes.csv": class_table(change.matrix, names),
    }


def _write_tables(folder: Path, change: MapChange) -> None:
    for name, table in tables_of(change).items():
        write_table(table, folder / name)
    if change.trajectories:
        write_table(trajectory_table(change.trajectories, change.classes.names), folder / "trajectories.csv")


def _tell(change: MapChange) -> None:
    for info, hectares in zip(change.maps, change.outside, strict=True):
        if hectares:
            _log.warning("%s hectares of %s lie outside of %s: no data", f"{hectares:,.2f}", change.maps[0].path,
                         info.path)  # fmt: skip
    if not change.changed:
        _log.warning("no cell changes its class between %s and %s: are they the same map?",
                     change.maps[0].path, change.maps[-1].path)  # fmt: skip
    if len(change.maps) > 2 and not change.trajectories:
        _log.warning("no cell has a class in all %d maps: there are no trajectories", len(change.maps))
