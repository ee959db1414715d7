"""Generated patches in the 13 bands of Sentinel-2 Level-1C: spectra of the six covers, and what a sensor makes of them.

Reflectances of the surface are rounded to what is typical of such covers in published spectral libraries: the USGS
Spectral Library Version 7 (Kokaly et al. 2017, USGS Data Series 1035: soils, vegetation fresh and dry, asphalt,
concrete, water) and the ECOSTRESS library 1.0 (Meerdink et al. 2019, Remote Sensing of Environment 230: 111196). They
are round numbers for the centres of the bands, not entries of a library, and stand for no place.

What the sensor sees above the atmosphere is path + transmittance × surface, with round numbers per band as radiative
transfer gives them for clear air at middle latitudes (6S: Vermote et al. 1997, IEEE TGRS 35: 675-686): blue haze, water
vapour at 945 nm, and next to nothing of the ground in the cirrus band at 1,375 nm.

Bands of 20 m and 60 m are averaged over 2 × 2 and 6 × 6 pixels, get their noise there, and are interpolated to 10 m, as
data sets of one resolution have them.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landsift.bands import REFLECTANCE, BandSpec

Field = NDArray[np.float64]

NAMES = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
COARSENESS = np.array([6, 1, 1, 1, 2, 2, 2, 1, 2, 6, 6, 2, 2])
"""Native ground sampling distance of each band in pixels of 10 m."""
SPEC = BandSpec(NAMES, "uint16", (1e-4,) * len(NAMES), (0.0,) * len(NAMES), units=REFLECTANCE, gsd=10.0)

_PATH = np.array([10, 7, 4, 2, 1.5, 1, 1, 0.8, 0.6, 0.3, 0.1, 0.1, 0.1]) / 100
_TRANSMITTANCE = np.array([80, 84, 87, 91, 91, 92, 95, 93, 97, 35, 1, 95, 92]) / 100

# Percent of reflectance at the surface, where the class's pattern is 0 and where it is 1.
# B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B10 B11 B12
_SURFACE: dict[str, Field] = {
    "barren": np.array([  # dark moist loam; pale dry sand
        [5, 6, 9, 13, 15, 16, 18, 19, 20, 21, 24, 27, 24],
        [12, 15, 21, 28, 30, 32, 34, 36, 37, 38, 42, 45, 42],
    ]),
    "cropland": np.array([  # closed green crop; dry stubble and grass
        [3, 4, 8, 4, 12, 34, 43, 46, 47, 45, 30, 24, 12],
        [8, 10, 15, 20, 24, 28, 31, 34, 35, 36, 38, 36, 27],
    ]),
    "forest": np.array([  # conifers; deciduous trees
        [1.5, 2, 3, 2, 5, 15, 19, 20, 21, 20, 11, 9, 4],
        [2, 2, 5, 2.5, 7, 27, 35, 37, 38, 36, 22, 17, 7],
    ]),
    "urban": np.array([  # asphalt; concrete and bright roofs
        [8, 9, 10, 11, 12, 12, 13, 13, 13, 14, 15, 17, 17],
        [20, 23, 27, 30, 31, 31, 32, 33, 33, 33, 35, 36, 33],
    ]),
    "water": np.array([  # clear and deep; turbid
        [2, 2, 1.5, 0.7, 0.5, 0.3, 0.3, 0.2, 0.2, 0.1, 0, 0, 0],
        [5, 6, 8, 5, 5, 3, 3, 2, 2, 1, 0, 0.1, 0.1],
    ]),
    "wetland": np.array([  # dark water; reeds above it
        [2, 3, 3, 2, 2, 1.5, 1.5, 1, 1, 1, 0.5, 0.5, 0.3],
        [3, 4, 7, 5, 10, 22, 28, 30, 31, 29, 18, 15, 7],
    ]),
}  # fmt: skip


def _above(surface: Field) -> Field:
    """Reflectance at the top of the atmosphere of percent at the surface, [..., 13]."""
    seen: Field = _PATH + _TRANSMITTANCE * surface / 100
    return seen


SPECTRA = {name: _above(surface) for name, surface in _SURFACE.items()}
"""Of each class, [2, 13]: reflectance at the top of the atmosphere where the pattern is 0 and where it is 1."""
CLOUD = np.array([0.75] * 9 + [0.45, 0.02, 0.55, 0.45])
"""A low water cloud, which the cirrus band does not see."""


def as_measured(scene: Field, difficulty: float, rng: np.random.Generator) -> NDArray[np.uint16]:
    """What the sensor makes of a scene: resolution, noise of 0.002 + 0.004 × difficulty, and numbers.

    Args:
        scene: reflectance, [H, W, 13] with H = W.
        difficulty: in [0, 1].
        rng: draws the noise.

    Returns:
        uint16 [H, W, 13], reflectance × 10⁴, at least 1, as Level-1C keeps 0 for what was not seen.
    """
    size = len(scene)
    noise = 0.002 + 0.004 * difficulty
    measured = np.empty_like(scene)
    for pixels in (1, 2, 6):
        here = np.equal(COARSENESS, pixels)
        bands = np.moveaxis(scene[..., here], -1, 0)  # [n, H, W]
        down, up = _to_native(size, pixels)
        native = down @ bands @ down.T
        native = native + rng.normal(0.0, noise, size=native.shape)
        measured[..., here] = np.moveaxis(up @ native @ up.T, 0, -1)
    return np.clip(np.rint(measured / SPEC.scale[0]), 1, 65535).astype(np.uint16)


@lru_cache(maxsize=32)
def _to_native(size: int, pixels: int) -> tuple[Field, Field]:
    """Weights that average `size` pixels over blocks, [n, size], and that interpolate them back, [size, n]."""
    block = np.arange(size) // pixels
    down = (block == np.arange(block[-1] + 1)[:, None]).astype(np.float64)
    down /= down.sum(axis=1, keepdims=True)
    centres = down @ np.arange(size)
    up = np.stack([np.interp(np.arange(size), centres, one) for one in np.eye(len(down))], axis=1)
    return down, up


def write(file: Path, pixels: NDArray[np.uint16]) -> None:
    """Write a patch [H, W, 13] as a GeoTIFF that names its bands and scale, and has no place."""
    import warnings

    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    height, width, count = pixels.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        shape = {"height": height, "width": width, "count": count, "dtype": "uint16"}
        with rasterio.open(file, "w", driver="GTiff", compress="deflate", predictor=2, **shape) as raster:
            raster.write(np.moveaxis(pixels, -1, 0))
            raster.descriptions = NAMES
            raster.scales, raster.offsets = SPEC.scale, SPEC.offset
            raster.units = [REFLECTANCE] * count
