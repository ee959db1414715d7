"""Scenes as people are shown them: which bands are red, green and blue, read window by window in few pixels."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from landsift.bands import REFLECTANCE, RGB_NAMES, BandSpec
from landsift.data.decoding.gdal import in_words, reading
from landsift.data.decoding.unreadable import UnreadableError
from landsift.data.decoding.wanted import Taken, Wanted
from landsift.data.sensors import plain, red_green_blue
from landsift.errors import DataError, nearest
from landsift.mapping.scene_files import SceneFile, refused
from landsift.mapping.stacked_bands import stacked

if TYPE_CHECKING:
    from rasterio.io import DatasetReader
    from rasterio.vrt import WarpedVRT

WANTED = Wanted(taken=Taken(BandSpec(RGB_NAMES, "uint16", (1e-4,) * 3, (0.0,) * 3, units=REFLECTANCE, gsd=10.0)))
"""Of items and products the bands, rather than a picture that was made of them for people."""
_CACHE = 2**27  # bytes of decoded blocks that GDAL keeps
_log = logging.getLogger("landsift")


class SceneWindow(NamedTuple):
    """A place in the pixels of a scene's first file."""

    column: float
    row: float
    """Of its middle."""
    wide: float
    high: float
    """Pixels that the picture's side is of."""
    outline: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class _Part:
    """Bands of an open file that are shown."""

    file: SceneFile
    dataset: DatasetReader | WarpedVRT
    bands: tuple[int, ...]
    """Numbers, from 1."""
    told: set[str] = field(default_factory=set)
    """What GDAL has said of the file."""

    def read(self, rows: slice, columns: slice, shape: tuple[int, int]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values [h, w, P] of a window in so many pixels, and which have data, [h, w]."""
        from rasterio.enums import Resampling
        from rasterio.windows import Window

        window = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        smaller = shape[0] < window.height or shape[1] < window.width
        how = Resampling.nearest if self.file.colours is not None or not smaller else Resampling.average
        path = self.file.path
        try:
            with reading(path.absolute(), _CACHE) as heard:
                values = self.dataset.read(list(self.bands), window=window, out_shape=(len(self.bands), *shape),
                                           resampling=how)  # fmt: skip
                known = np.ones(shape, bool)
                if self.file.false_alpha is None:
                    masks = self.dataset.read_masks(
                        list(self.bands), window=window, out_shape=(len(self.bands), *shape)
                    )
                    known = (masks > 0).any(axis=0)
        except UnreadableError as error:
            raise refused(path, error) from None
        for text in (each for each in in_words(heard, path.absolute()) if each not in self.told):
            self.told.add(text)
            _log.warning("%s: %s", path, text)
        values = np.moveaxis(values, 0, -1)
        empty = self.file.bands.nodata if self.file.nodata is None else self.file.nodata
        if empty is not None:
            known &= ~(np.isnan(values) if math.isnan(empty) else values == empty).all(axis=-1)
        if values.dtype.kind == "f":
            known &= np.isfinite(values).all(axis=-1)
        if self.file.colours is not None:
            values = self.file.colours[values[..., 0]]
        return values, known


@dataclass(frozen=True)
class ShownScene:
    """The bands of a scene that are shown, open for reading."""

    parts: tuple[_Part, ...]
    order: tuple[int, ...]
    """Which of the bands of all parts is red, green and blue, or grey."""
    crs: Any
    transform: Any

    def read(self, window: SceneWindow, side: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """A place in at most `side` pixels a side, [h, w, 3] or [h, w, 1], and which pixels have data."""
        if not math.isfinite(window.column + window.row + window.wide + window.high):
            return np.zeros((1, 1, len(self.order))), np.zeros((1, 1), bool)
        finest = max(abs((~part.dataset.transform * self.transform).a) for part in self.parts)
        pixels = max(8, min(side, math.ceil(finest * max(window.wide, window.high))))
        read = [self._part(part, window, pixels) for part in self.parts]
        values = np.concatenate([each for each, _ in read], axis=-1)[..., list(self.order)]
        known = np.logical_and.reduce([each for _, each in read])
        return values, known & (values != 0).any(axis=-1)

    def _part(self, part: _Part, window: SceneWindow, pixels: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """A place in a file, which may have another resolution; empty where it lies outside."""
        to = ~part.dataset.transform * self.transform
        column, row = to * (window.column, window.row)
        wide, high = window.wide * abs(to.a), window.high * abs(to.e)
        (into_rows, rows), (into_columns, columns) = (
            _overlap(middle, length, pixels, size)
            for middle, length, size in ((row, high, part.dataset.height), (column, wide, part.dataset.width))
        )
        depth = 3 if part.file.colours is not None else len(part.bands)
        values = np.zeros((pixels, pixels, depth), part.file.dtype if part.file.colours is None else np.uint8)
        known = np.zeros((pixels, pixels), bool)
        shape = (into_rows.stop - into_rows.start, into_columns.stop - into_columns.start)
        if min(shape) > 0 and rows.stop > rows.start and columns.stop > columns.start:
            values[into_rows, into_columns], known[into_rows, into_columns] = part.read(rows, columns, shape)
        return values, known


def _overlap(middle: float, length: float, pixels: int, size: int) -> tuple[slice, slice]:
    """Which of the picture's pixels lie in a file along an axis, and which of the file's pixels these show."""
    first = middle - length / 2
    unit = length / pixels
    begin = min(pixels, max(0, math.ceil(-first / unit - 0.5)))
    end = max(begin, min(pixels, math.floor((size - first) / unit + 0.5)))
    start = round(first + begin * unit)
    stop = max(start + 1, round(first + end * unit))
    return slice(begin, end), slice(max(0, start), min(size, stop))


@contextmanager
def shown_scene(name: str, files: Sequence[SceneFile], bands: Sequence[str] | None) -> Iterator[ShownScene]:
    """The files of a scene, open, and which of their bands are shown."""
    if other := [file.path for file in files if file.crs != files[0].crs]:
        raise DataError(f"{other[0]} has another CRS than {files[0].path.name}", "give files of one grid")
    chosen = _chosen(name, files, bands)
    by_file: dict[int, list[int]] = {}
    for number, band in chosen:
        if band not in by_file.setdefault(number, []):
            by_file[number].append(band)
    with ExitStack() as stack:
        parts = tuple(_open(stack.enter_context, files[number], every) for number, every in by_file.items())
        place = {
            (number, band): i for i, (number, band) in enumerate((n, b) for n, every in by_file.items() for b in every)
        }
        order = (0, 1, 2) if parts[0].file.colours is not None else tuple(place[each] for each in chosen)
        yield ShownScene(parts, order, files[next(iter(by_file))].crs, parts[0].dataset.transform)


def _open(enter: Callable[[Any], Any], file: SceneFile, bands: Sequence[int]) -> _Part:
    from rasterio.vrt import WarpedVRT

    try:
        with reading(file.path.absolute()):
            dataset = enter(file.open())
            if file.gcps:
                dataset = enter(WarpedVRT(dataset, src_crs=file.crs, crs=file.crs, add_alpha=True))
            elif dataset.transform != file.transform:  # its place is from elsewhere, such as a STAC item
                dataset = _Placed(dataset, file.transform)
    except UnreadableError as error:
        raise refused(file.path, error) from None
    return _Part(file, dataset, tuple(band + 1 for band in bands))


class _Placed:
    """A raster with a transform from elsewhere."""

    def __init__(self, dataset: Any, transform: Any) -> None:
        self._dataset, self.transform = dataset, transform

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataset, name)


def _chosen(name: str, files: Sequence[SceneFile], wanted: Sequence[str] | None) -> list[tuple[int, int]]:
    """The bands that are shown, each as the number of its file and its position in that, from 0."""
    first = files[0]
    if len(files) == 1 and first.bands.picture and wanted is None:
        return [(0, source) for source in first.sources]
    bands = stacked(files, WANTED)
    names = [bands.bands.names[i] or "" for i in range(len(bands.where))]
    sources = [(number, files[number].sources[at]) for number, at in bands.where]
    if wanted is not None:
        return [sources[_number(name, each, names)] for each in wanted]
    colours = [i for i in red_green_blue(names) if i is not None] if all(names) else []
    if len(colours) == 3:
        return [sources[i] for i in colours]
    there = [i for i in range(len(sources)) if i != first.bands.alpha or len(files) > 1]
    picks = there[:3] if len(there) >= 3 else there[:1]
    if len(there) > 1:
        said = ", ".join(names[i] or str(i + 1) for i in picks)
        _log.warning("%s: which bands are red, green and blue is not known: %s shown; --bands names others", name, said)
    return [sources[i] for i in picks]


def _number(scene: str, wanted: str, names: Sequence[str]) -> int:
    """The position of a band that is called by its number or name."""
    if wanted.isdecimal() and 1 <= int(wanted) <= len(names):
        return int(wanted) - 1
    known = [plain(name) for name in names]
    if plain(wanted) in known:
        return known.index(plain(wanted))
    there = f"it has the bands {', '.join(names)}" if any(names) else f"it has {len(names)} bands, without names"
    raise DataError(f"{scene} has no band {wanted}", nearest(wanted, [name for name in names if name]) or there)
