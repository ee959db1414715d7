"""What a page with a map draws: classes, confidence and the scene, in as many pixels as a browser takes."""

from __future__ import annotations

import base64
import io
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.mapping.map_info import MapInfo
from landsift.mapping.overview import small_classes, small_confidence, small_shape
from landsift.mapping.sketch import Sketch
from landsift.mapping.trust_raster import small_trust
from landsift.reports.maps.maplibre import Plane

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from landsift.bands import BandSpec

LONGEST = 2000
"""Pixels of the longer side of a map in a page, at most."""


@dataclass(frozen=True)
class Backdrop:
    """A picture of the scene under its map.

    Attributes:
        picture: uint8 [h, w, 4]; transparent where the scene has no data.
        grid: of its pixels, in the map's CRS.
    """

    picture: NDArray[np.uint8]
    grid: GeoBox


def backdrop_of(sketch: Sketch) -> Backdrop:
    """A picture of a scene: red, green and blue (or the first three bands) between two percentiles."""
    from landsift.data.pictures import as_picture

    values, known, bands = sketch.values, sketch.known, sketch.bands
    shown = as_picture(values, bands) if known.all() else _stretched(values, known, bands)
    colours = shown if shown.ndim == 3 else np.repeat(shown[..., None], 3, axis=-1)
    return Backdrop(np.dstack([colours, np.where(known, 255, 0).astype(np.uint8)]), sketch.grid)


def _stretched(values: NDArray[Any], valid: NDArray[np.bool_], bands: BandSpec) -> NDArray[np.uint8]:
    """A picture whose stretch is that of the valid pixels."""
    from landsift.data.pictures import as_picture

    picture = np.zeros((*valid.shape, 3), np.uint8)
    if valid.any():
        shown = as_picture(values[valid][None], bands)[0]
        picture[valid] = shown if shown.ndim == 2 else shown[:, None]
    return picture


def map_layers(info: MapInfo, plane: Plane, backdrop: Backdrop | None = None) -> dict[str, Any]:
    """A map as its page's script takes it (`templates/map.js`).

    Raises:
        DataError: the map cannot be read.
    """
    shape = small_shape(info.grid.shape, LONGEST)
    grid = info.grid if shape == info.grid.shape else info.grid.zoom_to(shape)
    codes, confidence = small_classes(info, LONGEST), small_confidence(info, LONGEST)
    trust = small_trust(info, LONGEST)
    per_cent = None if confidence is None else np.rint(100 * confidence).astype(np.uint8)
    affine = grid.affine
    return {
        "shape": list(shape),
        "corners": plane.corners(grid),
        "pixels": plane.pixels(grid),
        "affine": [affine.a, affine.b, affine.c, affine.d, affine.e, affine.f],
        "cell": plane.cell(grid),
        "metres": plane.metres,
        "wide": info.classes.dtype == "uint16",
        "codes": packed(codes.astype("<u2" if info.classes.dtype == "uint16" else "u1")),
        "confidence": None if per_cent is None else packed(per_cent),
        "trust": None if trust is None else packed(trust),
        "classes": [{"code": each.code, "name": each.name, "rgb": each.rgb} for each in info.classes],
        "scene": None
        if backdrop is None
        else {"picture": webp(backdrop.picture), "corners": plane.corners(backdrop.grid)},
    }


def packed(values: NDArray[Any]) -> str:
    """Numbers as text: deflated, in base64."""
    return base64.b64encode(zlib.compress(values.tobytes(), 9)).decode("ascii")


def webp(picture: NDArray[np.uint8], quality: int = 85) -> str:
    """A picture [h, w, 3 or 4] as the URL of a WebP picture."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="WEBP", quality=quality, method=2)  # half the time of 4, 2 % larger
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
