"""Masks of scenes: which pixels show the ground. Sentinel-2's scene classification, or any raster of classes."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.windows import Window

from landsift.data.decoding.gdal import reading
from landsift.data.decoding.unreadable import UnreadableError
from landsift.errors import DataError
from landsift.mapping.grids import overlaps
from landsift.mapping.layers import Layer, LayerReader
from landsift.mapping.scene_files import Elsewhere, SceneFile, look, refused
from landsift.mapping.stacked_bands import tokens

SCL = {
    0: "no data", 1: "saturated or defective", 2: "dark areas", 3: "cloud shadows", 4: "vegetation", 5: "bare soil",
    6: "water", 7: "unclassified", 8: "clouds, medium probability", 9: "clouds, high probability", 10: "thin cirrus",
    11: "snow or ice",
}  # fmt: skip
"""Classes of Sentinel-2's scene classification (ESA, Sentinel-2 Products Specification Document)."""
SCL_HIDDEN = (0, 1, 3, 8, 9, 10)
"""Those that do not show the ground. Snow does: it is what lies there."""
HIDES, SHOWS = 0, 255
"""Numbers of a mask of two, as GDAL has them."""
NO_MASK = "none"
"""In place of a mask: none, also where the scene brings one."""
_SAMPLE = 1024  # rows and columns that are looked at to see what a mask's numbers are
_NAMED = 8  # numbers named in an error


class Mask(NamedTuple):
    """A raster of classes on a scene's grid."""

    reader: LayerReader
    classes: tuple[int, ...]
    """Numbers of pixels that do not show the ground, or that do."""
    hides: bool
    """Whether `classes` do not show it."""
    note: str
    """What is to be said of it."""

    def read(self, window: Window) -> tuple[NDArray[np.bool_], int]:
        """Which pixels of a window show the ground, [h, w], and how many lie beyond the mask."""
        values, hidden = self.reader.read(window)
        found: NDArray[np.bool_] = np.isin(values[..., 0], self.classes, invert=self.hides)
        if hidden is None:
            return found, 0
        return found & ~hidden, int(hidden.sum())


def open_mask(source: Path | SceneFile, box: GeoBox, scene: SceneFile, classes: Collection[int] | None = None) -> Mask:
    """A mask for a scene.

    Args:
        source: the mask's raster.
        box: the scene's grid; the mask is brought to it, each pixel as its nearest.
        scene: the file that the grid follows, where a mask lies that does not say its place.
        classes: numbers of pixels that do not show the ground; None: of Sentinel-2's scene classification
            `SCL_HIDDEN`, and of a mask of 0 and 255 the 0.

    Raises:
        DataError: it cannot be read, does not overlap the scene, or what its numbers mean is not known.
    """
    if isinstance(source, SceneFile):
        file = source
    else:
        place = (
            None if scene.gcps else Elsewhere(scene.crs, scene.transform, scene.size, f"the scene ({scene.path.name})")
        )
        file = look(source, pictures=False, place=place)
    path = file.path
    if len(file.bands.colours) > 1 and file.colours is None:
        raise DataError(f"{path}: a mask of {len(file.bands.colours)} bands, where one is read", "write its band alone")
    if np.dtype(file.dtype).kind not in "ui":
        raise DataError(f"{path}: a mask of {file.dtype}, where whole numbers are read", "write it as uint8")
    if not overlaps(file, box):
        raise DataError(f"{path}: it does not overlap the scene", "give the mask of this scene")
    numbers = _numbers(file)
    reader = LayerReader(Layer(file, file.sources[:1], None, file.hides, resampling=Resampling.nearest), box)
    name = path.name
    if classes is not None:
        listed = tuple(sorted({*classes, *(() if file.nodata is None else (int(file.nodata),))}))
        note = f"mask {name}: {_list(listed)} do not show the ground"
        if not {*listed} & {*numbers}:
            note += f"; none of them was found in it, but {_list(numbers)}"
        return Mask(reader, listed, True, note)
    if "scl" in (token.lower() for token in tokens(name)) or any("scl" in names for names in file.names):
        shows = tuple(number for number in SCL if number not in SCL_HIDDEN)
        hidden = ", ".join(f"{number} {SCL[number]}" for number in SCL_HIDDEN)
        return Mask(reader, shows, False, f"mask {name}: Sentinel-2's scene classification; not valid are {hidden}")
    if {*numbers} <= {HIDES, SHOWS}:
        return Mask(reader, (SHOWS,), False, f"mask {name}: {HIDES} hides the ground, {SHOWS} shows it")
    raise DataError(
        f"{path}: what the numbers of this mask mean is not known ({_list(numbers)})",
        "say which do not show the ground, such as --mask-classes 1,2; of Sentinel-2's scene classification they are "
        "known by the name SCL",
    )


def _numbers(file: SceneFile) -> list[int]:
    """Numbers that a mask holds, of its pixels at regular distances."""
    try:
        with reading(file.path.absolute()), file.open() as dataset:
            size = (min(dataset.height, _SAMPLE), min(dataset.width, _SAMPLE))
            return [int(each) for each in np.unique(dataset.read(file.sources[0] + 1, out_shape=size))]
    except UnreadableError as error:
        raise refused(file.path, error) from None


def _list(numbers: Collection[int]) -> str:
    first = [str(number) for number in list(numbers)[:_NAMED]]
    return ", ".join(first) + (", …" if len(numbers) > _NAMED else "")
