"""Small maps of random but seeded probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from landsift.mapping.classes import ClassTable
from landsift.mapping.map_info import MapAbout
from landsift.mapping.map_writer import MapWriter

NAMES = ("Forêt & Wälder", 'Say "hi"', "<b>River</b>")
ABOUT = MapAbout(patch=64, stride=64, gsd=10.0, scenes=("a scene",), model="f00d")
UTM, DEGREES = "EPSG:32631", "EPSG:4326"


def grid_of(height: int, width: int, crs: str | None = UTM) -> GeoBox:
    """Cells of 640 metres or feet in a projection, of a hundredth of a degree in degrees; pixels without a CRS."""
    if crs is None:
        return GeoBox((height, width), Affine.identity(), None)
    if crs == DEGREES:
        return GeoBox((height, width), Affine(0.01, 0, 2.0, 0, -0.01, 45.0), crs)
    return GeoBox((height, width), Affine(640, 0, 500_000, 0, -640, 4_500_000), crs)


def cells_of(grid: GeoBox, classes: int, *, valid: float = 0.9, seed: int = 0):
    """Probabilities [H, W, K] and which cells are valid [H, W]."""
    rng = np.random.default_rng(seed)
    probabilities = rng.random((*grid.shape, classes), dtype=np.float32) ** 6 + 1e-3
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    return probabilities, rng.random(grid.shape) < valid


def write_map(path: Path, grid: GeoBox, names=NAMES, *, strip: int = 100, valid: float = 0.9, seed: int = 0,
              about: MapAbout = ABOUT, colours=None, **more):  # fmt: skip
    """Write a map strip by strip; returns what went in, probabilities [H, W, K] and valid [H, W]."""
    probabilities, known = cells_of(grid, len(names), valid=valid, seed=seed)
    with MapWriter(path, grid, ClassTable.of(names, colours), about, **more) as writer:
        for top in range(0, grid.height, strip):
            rows = slice(top, min(top + strip, grid.height))
            writer.write(rows, probabilities[rows], known[rows])
    return probabilities, known


def codes_of(probabilities, known):
    """The codes that a map of them holds, [H, W]."""
    return np.where(known, probabilities.argmax(axis=-1) + 1, 0)
