"""Pictures of the places of a sample, cut out of scenes window by window: what somebody sees who labels them."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from landsift.data.pictures import STRETCH
from landsift.errors import DataError
from landsift.mapping.sample_design import SampleDesign
from landsift.mapping.scene_sources import found_files
from landsift.reports.maps.layers import webp
from landsift.reports.maps.shown_scenes import WANTED, SceneWindow, ShownScene, shown_scene
from landsift.runtime.progress_bar import progress_bar

CONTEXT, LEAST_CONTEXT = 3.0, 400.0
"""Side of a picture: so many sides of a cell, and so many metres at least."""
SIDE, LEAST_SIDE = 192, 64
"""Pixels of a picture's side at most, and what this is reduced to where there are many."""
MANY = 2000
"""Pictures that a page holds at their full size: some 20 MB."""
_SAMPLE = 200  # places whose pixels decide how a scene is stretched
_QUALITY = 80
_GAMMA = 0.75  # below 1, so that dark land is seen beside bright sand
_EMPTY = (223, 227, 232)  # colour where there is nothing
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
        found = found_files(scene.sources, WANTED, folder)
        for text in dict.fromkeys([*found.doubts, *(note for file in found.files for note in file.notes)]):
            _log.log(logging.WARNING if text in found.doubts else logging.INFO, "%s: %s", found.name, text)
        shown = stack.enter_context(shown_scene(found.name, found.files, bands))
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


def _windows(design: SampleDesign, crs: Any, transform: Any) -> list[SceneWindow]:
    """Where the points lie in a scene, with squares on the ground around them."""
    from pyproj import CRS, Geod, Transformer
    from rasterio import Affine

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
        windows.append(SceneWindow(float(middle[0][i]) if seen else math.nan, float(middle[1][i]), wide, high, outline))
    return windows


def _limits(shown: ShownScene, windows: Sequence[SceneWindow], side: int) -> NDArray[np.float64]:
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
    share = np.nan_to_num(np.where(high > low, share, 0.5))  # of pixels without data
    picture: NDArray[np.uint8] = np.rint(255 * share).astype(np.uint8)
    if picture.shape[-1] == 1:
        picture = np.repeat(picture, 3, axis=-1)
    picture[~known] = _EMPTY
    return picture
