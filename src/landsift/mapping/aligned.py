"""Several maps of one place: their order, their classes by name, and their cells on the grid of the first."""

from __future__ import annotations

import contextlib
import logging
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.errors import DataError, listed
from landsift.mapping.classes import NO_DATA
from landsift.mapping.foreign_maps import codes_of
from landsift.mapping.gdal import crs_of, errors, reason
from landsift.mapping.map_file import open_raster
from landsift.mapping.map_info import MapInfo

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

TOLERANCE = 1e-6
"""Of a cell, by which the place of another grid's cell may be off; GDAL takes no 0."""
SHIFT = 0.01
"""Of a cell, by which the corners of two grids may differ that count as one."""
_METHOD = (
    ("model", "models"), ("patch", "patch sizes"), ("stride", "strides"), ("gsd", "ground sampling distances"),
    ("tta", "test-time augmentation"), ("dense", "modes (dense or patch by patch)"), ("smoothing", "smoothing"),
)  # fmt: skip
_log = logging.getLogger("landsift")


def comparable(maps: Sequence[MapInfo]) -> list[MapInfo]:
    """The maps by date where all have one, else in the order given; whatever makes them differ is said.

    Raises:
        DataError: there are fewer than two, one is given twice, has no place or other classes, or does not overlap the
            first.
    """
    if len(maps) < 2:
        raise DataError("one map shows no change", "give two maps or more")
    for i, one in enumerate(maps):
        for other in maps[:i]:
            if one.path.samefile(other.path):
                raise DataError(f"{one.path} is given twice", "give maps of different dates")
        if one.grid.crs is None or one.grid.affine.is_identity:
            lack = "coordinate reference system" if one.grid.crs is None else "place: its transform is missing"
            raise DataError(f"{one.path} has no {lack}", "write it into the file, with gdal_edit.py or QGIS")
    ordered = _in_order(maps)
    first = ordered[0]
    for other in ordered[1:]:
        _check_classes(first, other)
        _check_overlap(first, other)
    _tell_methods(ordered)
    return ordered


def same_grid(one: GeoBox, other: GeoBox) -> bool:
    """Whether two grids have the same cells, up to a hundredth of a cell."""
    if one.shape != other.shape or one.crs != other.crs:
        return False
    height, width = one.shape
    corners = [(0, 0), (width, 0), (0, height), (width, height)]
    moved = [~one.affine * (other.affine * corner) for corner in corners]
    return bool(np.abs(np.array(moved) - np.array(corners)).max() <= SHIFT)


class AlignedMap:
    """A map, read on the grid and with the codes of another; open it by `aligned`.

    Attributes:
        info: of the map.
        resampled: whether its cells are those of another grid, each the nearest.
    """

    def __init__(self, info: MapInfo, first: MapInfo, dataset: Any, alpha: int | None) -> None:
        self.info, self._dataset, self._alpha = info, dataset, alpha
        self.resampled = alpha is not None
        names = _keys(first)
        self._codes = np.array([NO_DATA, *(names.index(name) + 1 for name in _keys(info))], np.uint16)

    def read(self, rows: slice, columns: slice) -> tuple[NDArray[np.uint16], NDArray[np.bool_] | None]:
        """Codes of the first map's classes, uint16 [h, w], and which cells lie in this map, [h, w]; None: all do.

        Raises:
            DataError: the file cannot be read, or has values that are no class.
        """
        raw = self._band(1, rows, columns)
        if self._alpha is None:
            return self._codes[codes_of(raw, self.info, self._hidden(rows, columns))], None
        inside = self._band(self._alpha, rows, columns) > 0
        raw = np.where(inside, raw, raw.dtype.type(self.info.values[0]))  # what stands there is no value of the file
        return np.where(inside, self._codes[codes_of(raw, self.info)], np.uint16(NO_DATA)), inside

    def per_cent(self, rows: slice, columns: slice) -> NDArray[np.uint16] | None:
        """Confidence in per cent, uint16 [h, w]; None where the map has none."""
        band = self.info.confidence_band
        return None if band is None else self._band(band, rows, columns).astype(np.uint16)

    def _band(self, band: int, rows: slice, columns: slice) -> NDArray[Any]:
        return self._read(self._dataset.read, band, rows, columns)

    def _hidden(self, rows: slice, columns: slice) -> NDArray[np.bool_] | None:
        if (hides := self.info.hides) is None:
            return None
        read = self._dataset.read if hides else self._dataset.read_masks
        return np.asarray(self._read(read, hides or 1, rows, columns) == 0)

    def _read(self, read: Callable[..., Any], band: int, rows: slice, columns: slice) -> NDArray[Any]:
        from rasterio.windows import Window

        window = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        try:
            return np.asarray(read(band, window=window))
        except errors() as error:
            hint = "copy or make the map again"
            raise DataError(f"{self.info.path} cannot be read to its end: {reason(error)}", hint) from None


@contextlib.contextmanager
def aligned(info: MapInfo, first: MapInfo) -> Iterator[AlignedMap]:
    """Open a map on the grid of the first; where it has another, a cell takes the class of the nearest.

    Raises:
        DataError: the file cannot be read.
    """
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT

    with open_raster(info.path) as dataset:
        if same_grid(first.grid, info.grid):
            yield AlignedMap(info, first, dataset, None)
            return
        own_alpha = info.hides or None
        height, width = first.grid.shape
        with WarpedVRT(
            dataset, src_crs=crs_of(info.grid), crs=crs_of(first.grid), transform=first.grid.affine, height=height,
            width=width, resampling=Resampling.nearest, tolerance=TOLERANCE, src_nodata=None, nodata=None,
            add_alpha=own_alpha is None,
        ) as warped:  # fmt: skip
            yield AlignedMap(info, first, warped, own_alpha or warped.count)


def date_of(info: MapInfo) -> str | None:
    """The day of a map's scene, as text; None where it is not known."""
    return None if info.when is None else _utc(info.when).date().isoformat()


def _utc(when: datetime) -> datetime:
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def _in_order(maps: Sequence[MapInfo]) -> list[MapInfo]:
    unknown = [str(each.path) for each in maps if each.when is None]
    if unknown:
        _log.info("no date is known of %s: the maps are compared in the order given", listed(unknown))
        return list(maps)
    ordered = sorted(maps, key=lambda each: _utc(each.when or datetime.min))
    if any(one is not other for one, other in zip(maps, ordered, strict=True)):
        _log.info("the maps are compared in the order of their dates: %s", ", ".join(
            f"{each.path} ({date_of(each)})" for each in ordered))  # fmt: skip
    for one, other in pairwise(ordered):
        if one.when == other.when:
            _log.warning("%s and %s are of the same date, %s", one.path, other.path, date_of(one))
    return ordered


def _keys(info: MapInfo) -> list[str]:
    """The names of a map's classes as they are compared: a letter and its accent may be one character or two."""
    names = info.classes.names
    keys = [unicodedata.normalize("NFC", name) for name in names]
    return keys if len({*keys}) == len(keys) else list(names)


def _check_classes(first: MapInfo, other: MapInfo) -> None:
    here, there = _keys(first), _keys(other)
    if {*here} != {*there}:
        sides = ((first, here, there), (other, there, here))
        only = [(info.path, [name for name in names if name not in {*theirs}]) for info, names, theirs in sides]
        alike = [{name.strip().casefold() for name in names} for _, names in only]
        quoted = [(path, [repr(name) if alike[0] & alike[1] else name for name in names]) for path, names in only]
        said = "; ".join(f"only in {path}: {listed(names)}" for path, names in quoted if names)
        hint = (
            "they differ in case or spaces: write them alike"
            if alike[0] == alike[1]
            else "give maps of the same classes"
        )
        raise DataError(f"{first.path} and {other.path} have other classes: {said}", hint)
    if here != there:
        _log.info("%s: its classes are in another order than those of %s: matched by name", other.path, first.path)


def _check_overlap(first: MapInfo, other: MapInfo) -> None:
    if same_grid(first.grid, other.grid):
        return
    try:
        there = other.grid.extent.to_crs(first.grid.crs)
        share = (there & first.grid.extent).area / there.area
    except Exception:  # noqa: BLE001 (a corner has no place in the first's CRS: the cells themselves will tell)
        share = float("nan")
    if share == 0:
        raise DataError(f"{first.path} and {other.path} do not overlap", "give maps of the same place")
    _log.warning("%s has another grid than %s: each cell takes the class of the nearest", other.path, first.path)
    if share < 0.9999:
        _log.warning("%.3g %% of %s lies outside of %s and is left out", 100 * (1 - share), other.path, first.path)


def _tell_methods(maps: Sequence[MapInfo]) -> None:
    own = [each for each in maps if each.own]
    if own and len(own) < len(maps):
        other = next(each for each in maps if not each.own)
        _log.warning("%s was made by another tool than %s: the methods may differ, not the land",
                     other.path, own[0].path)  # fmt: skip
    for name, words in _METHOD:
        for each in own[1:]:
            one, two = getattr(own[0].about, name), getattr(each.about, name)
            if one != two:
                _log.warning(
                    "%s and %s were made with different %s (%s, %s): the method may differ, not the land",
                    own[0].path, each.path, words, _short(one), _short(two),
                )  # fmt: skip


def _short(value: Any) -> str:
    return {None: "none", True: "dense", False: "patch by patch"}.get(value) or str(value)[:16]
