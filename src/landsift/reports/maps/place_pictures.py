"""Pictures of the places of a sample, cut out of scenes window by window: what somebody sees who labels them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from landsift.bands import REFLECTANCE, RGB_NAMES, BandSpec
from landsift.data.decoding.gdal import reading
from landsift.data.decoding.unreadable import UnreadableError
from landsift.data.decoding.wanted import Taken, Wanted
from landsift.data.pictures import STRETCH
from landsift.data.sensors import plain, red_green_blue
from landsift.errors import DataError, nearest
from landsift.mapping.sample_design import SampleDesign
from landsift.mapping.scene_files import SceneFile, refused
from landsift.mapping.scene_sources import found_files
from landsift.mapping.stacked_bands import stacked
from landsift.reports.maps.layers import webp
from landsift.runtime.progress_bar import progress_bar

if TYPE_CHECKING:
    from rasterio.io import DatasetReader
    from rasterio.vrt import WarpedVRT

CONTEXT, LEAST_CONTEXT = 3.0, 400.0
"""Side of a picture: so many sides of a cell, and so many metres at least."""
SIDE, LEAST_SIDE = 192, 64
"""Pixels of a picture's side at most, and what this is reduced to where there are many."""
MANY = 2000
"""Pictures that a page holds at their full size: some 20 MB."""
_SAMPLE = 200  # places whose pixels decide how a scene is stretched
_QUALITY = 80
_CACHE = 2**27  # bytes of decoded blocks that GDAL keeps
_GAMMA = 0.75  # below 1, so that dark land is seen beside bright sand
_EMPTY = (223, 227, 232)  # colour where there is nothing
_WANTED = Wanted(taken=Taken(BandSpec(RGB_NAMES, "uint16", (1e-4,) * 3, (0.0,) * 3, units=REFLECTANCE, gsd=10.0)))
"""Of items and products the bands, rather than a picture that was made of them for people."""
_log = logging.getLogger("landsift")


class DatedScene(NamedTuple):
    """A scene that pictures are cut out of, as it was given."""

    sources: tuple[Path | str, ...]
    """As of `open_scene`."""
    date: str | None = None
    """Its day; None: as the scene says."""


@dataclass(frozen=True)
class Picture:
    """A place in a scene.

    Attributes:
        data: a WebP picture as a URL.
        outline: corners of the cell, 4 pairs of shares of the picture's width and height.
    """

    data: str
    outline: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class ScenePictures:
    """The places of a sample in a scene.

    Attributes:
        name: of the scene.
        date: its day; None: not known.
        pictures: of each point; None where the scene has nothing.
    """

    name: str
    date: str | None
    pictures: tuple[Picture | None, ...]


def pictures_of(
    design: SampleDesign, scenes: Sequence[DatedScene], bands: Sequence[str] | None = None
) -> list[ScenePictures]:
    """Pictures of all points in all scenes, by date where all have one.

    A picture shows three sides of a cell, and 400 m at least. Its bands are red, green and blue where a scene names
    them, else its first three (or its only one); each is stretched between two percentiles of the scene's places.

    Args:
        design: of the sample.
        scenes: one or more.
        bands: three bands to show as red, green and blue, or one: numbers from 1, or names.

    Raises:
        DataError: a scene cannot be read, has not these bands, or has nothing at any of the places.
    """
    side = SIDE
    if (count := len(design.points) * len(scenes)) > MANY:
        side = max(LEAST_SIDE, round(SIDE * math.sqrt(MANY / count)))
        _log.warning("%s pictures are many for a page: each has %d pixels a side at most", f"{count:,}", side)
    found = [_pictures(design, each, bands, side) for each in scenes]
    if all(each.date for each in found):
        found.sort(key=lambda each: each.date or "")
    else:
        unknown = ", ".join(each.name for each in found if not each.date)
        _log.warning("the date of %s is not known: give it before the scene, as 2024-06-30=SCENE", unknown)
    return found


def _pictures(design: SampleDesign, scene: DatedScene, bands: Sequence[str] | None, side: int) -> ScenePictures:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="landsift-")))
        found = found_files(scene.sources, _WANTED, folder)
        shown = stack.enter_context(_opened(found.name, found.files, bands))
        windows = _windows(design, shown.crs, shown.transform)
        order = sorted(range(len(windows)), key=lambda i: (windows[i].row // 1024, windows[i].column))
        limits = _limits(shown, windows, side)
        pictures: list[Picture | None] = [None] * len(windows)
        with progress_bar(f"Pictures of {found.name}", len(windows)) as advance:
            for i in order:
                values, known = shown.read(windows[i], side)
                if known.any():
                    pictures[i] = Picture(webp(_stretched(values, known, limits), _QUALITY), windows[i].outline)
                advance(1)
    lacking = pictures.count(None)
    if lacking == len(pictures):
        hint = "give a scene of the map's place"
        raise DataError(f"{found.name} has nothing at any of the {lacking:,} places of the sample", hint)
    if lacking:
        _log.warning("%s has nothing at %s of %s places", found.name, f"{lacking:,}", f"{len(pictures):,}")
    when = found.when or min((file.when for file in found.files if file.when), default=None)
    date = scene.date or (when.date().isoformat() if when else None)
    return ScenePictures(found.name, date, tuple(pictures))


class _Window(NamedTuple):
    """A place in the pixels of a scene's first file."""

    column: float
    row: float
    """Of its middle."""
    wide: float
    high: float
    """Pixels that the picture's side is of."""
    outline: tuple[tuple[float, float], ...]


def _windows(design: SampleDesign, crs: Any, transform: Any) -> list[_Window]:
    """Where the points lie in a scene, with squares on the ground around them."""
    from affine import Affine
    from pyproj import CRS, Geod, Transformer

    own = CRS.from_wkt(crs.to_wkt())
    grid, inverse = Affine(*design.transform), ~transform
    there = Transformer.from_crs(CRS(design.crs), own, always_xy=True)
    cols, rows = (np.array([getattr(point, name) for point in design.points], float) for name in ("col", "row"))

    def pixels(right: float, down: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        c, r = cols + right, rows + down
        x, y = there.transform(grid.a * c + grid.b * r + grid.c, grid.d * c + grid.e * r + grid.f)
        x, y = np.asarray(x), np.asarray(y)
        return inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f

    middle = pixels(0.5, 0.5)
    corners = [pixels(*corner) for corner in ((0, 0), (1, 0), (1, 1), (0, 1))]
    degrees = Transformer.from_crs(own, 4326, always_xy=True)

    def lonlat(column: NDArray[np.float64], row: NDArray[np.float64]) -> tuple[Any, Any]:
        t = transform
        found: tuple[Any, Any] = degrees.transform(t.a * column + t.b * row + t.c, t.d * column + t.e * row + t.f)
        return found

    geod = Geod(ellps="WGS84")
    here, right, below = lonlat(*middle), lonlat(middle[0] + 1, middle[1]), lonlat(middle[0], middle[1] + 1)
    across, down = (geod.inv(*here, *other)[2] for other in (right, below))  # metres of a pixel
    windows = []
    for i, point in enumerate(design.points):
        metres = max(LEAST_CONTEXT, CONTEXT * math.sqrt(point.hectares * 10_000))
        wide, high = (metres / size if np.isfinite(size) and size > 0 else math.nan for size in (across[i], down[i]))
        outline = tuple(
            (
                round(float((x[i] - middle[0][i]) / wide + 0.5), 4),
                round(float((y[i] - middle[1][i]) / high + 0.5), 4),
            )
            for x, y in corners
        )
        seen = np.isfinite(outline).all()
        windows.append(_Window(float(middle[0][i]) if seen else math.nan, float(middle[1][i]), wide, high, outline))
    return windows


@dataclass(frozen=True)
class _Part:
    """Bands of an open file that are shown."""

    file: SceneFile
    dataset: DatasetReader | WarpedVRT
    bands: tuple[int, ...]
    """Numbers, from 1."""

    def read(self, rows: slice, columns: slice, shape: tuple[int, int]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values [h, w, P] of a window in so many pixels, and which have data, [h, w]."""
        from rasterio.enums import Resampling
        from rasterio.windows import Window

        window = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        smaller = shape[0] < window.height or shape[1] < window.width
        how = Resampling.nearest if self.file.colours is not None or not smaller else Resampling.average
        path = self.file.path
        try:
            with reading(path.absolute(), _CACHE):
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
class _Shown:
    """The bands of a scene that are shown, open for reading."""

    parts: tuple[_Part, ...]
    order: tuple[int, ...]
    """Which of the bands of all parts is red, green and blue, or grey."""
    crs: Any
    transform: Any

    def read(self, window: _Window, side: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """A place in at most `side` pixels a side, [h, w, 3] or [h, w, 1], and which pixels have data."""
        if not math.isfinite(window.column + window.row + window.wide + window.high):
            return np.zeros((1, 1, len(self.order))), np.zeros((1, 1), bool)
        finest = max(abs((~part.dataset.transform * self.transform).a) for part in self.parts)
        pixels = max(8, min(side, math.ceil(finest * max(window.wide, window.high))))
        read = [self._part(part, window, pixels) for part in self.parts]
        values = np.concatenate([each for each, _ in read], axis=-1)[..., list(self.order)]
        known = np.logical_and.reduce([each for _, each in read])
        return values, known & (values != 0).any(axis=-1)

    def _part(self, part: _Part, window: _Window, pixels: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
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
def _opened(name: str, files: Sequence[SceneFile], bands: Sequence[str] | None) -> Iterator[_Shown]:
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
        yield _Shown(parts, order, files[next(iter(by_file))].crs, parts[0].dataset.transform)


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
    bands = stacked(files, _WANTED)
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


def _limits(shown: _Shown, windows: Sequence[_Window], side: int) -> NDArray[np.float64]:
    """The values of each band that become black and white, [2, C]."""
    found: list[NDArray[Any]] = []
    for i in np.random.default_rng(0).permutation(len(windows)).tolist():
        values, known = shown.read(windows[i], side)
        if known.any():
            found.append(values[known][:: max(1, known.sum() // 4096)])
        if len(found) == _SAMPLE:
            break
    every = np.concatenate(found) if found else np.zeros((0, len(shown.order)))
    if not len(every):
        return np.array([[0.0] * len(shown.order), [255.0] * len(shown.order)])
    limits: NDArray[np.float64] = np.percentile(every.astype(float), STRETCH, axis=0)
    return limits


def _stretched(values: NDArray[Any], known: NDArray[np.bool_], limits: NDArray[np.float64]) -> NDArray[np.uint8]:
    low, high = limits
    share = np.clip((values - low) / np.where(high > low, high - low, 1), 0, 1) ** _GAMMA
    picture: NDArray[np.uint8] = np.rint(255 * np.where(high > low, share, 0.5)).astype(np.uint8)
    if picture.shape[-1] == 1:
        picture = np.repeat(picture, 3, axis=-1)
    picture[~known] = _EMPTY
    return picture
