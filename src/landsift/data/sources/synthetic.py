"""A generated data set of six land-use classes, for first steps, tests and experiments with label budgets.

The class signatures come from the case study that landsift started from (fine-tuning on 8,000 Sentinel-2
patches of the Pacific Basin):

    barren     smooth brown and tan        low spatial frequencies
    cropland   a regular grid of fields    greens and yellows, furrows
    forest     fine green canopy           high spatial frequencies
    urban      streets and buildings       grey, high-contrast edges on a finer grid
    water      smooth blue gradients       faint ripples
    wetland    green and blue side by side irregular boundaries

A patch is a pattern (a field in [0, 1]) coloured between two colours of its class, plus sensor noise.
`difficulty` d in [0, 1] mixes these signatures in four ways, as real scenes do:

    colour        the palette moves towards another class's by up to 0.9 d: colours stop naming the class
    mixed pixels  a blob of another class's landscape, blurred at its border, covers up to 0.45 d of the patch
    atmosphere    a cloud veil of opacity up to 0.7 d
    light         gain of 1 ± 0.35 d, a colour cast of ± 0.1 d per band, noise of 0.03 + 0.04 d

At 0 the colours alone tell the classes apart. Above it a classifier has to learn patterns and what
covers them, so that more labels and better features pay. The class that covers most of the patch is
always the label.

With `bands: all` a patch holds the 13 bands of Sentinel-2 Level-1C instead of colours, in reflectance; see
`synthetic_bands`.

Patch i depends on the seed, its size, the difficulty, the bands and i alone, and its class is i modulo six: any
number of patches is balanced, needs the memory of one, and begins with the patches of a smaller number.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landsift.bands import BandSpec
from landsift.config import SyntheticConfig
from landsift.data.sources import synthetic_bands
from landsift.errors import DataError
from landsift.extras import needs
from landsift.runtime.progress_bar import progress_bar
from landsift.runtime.whole import beside

Field = NDArray[np.float64]

CLASSES = ("barren", "cropland", "forest", "urban", "water", "wetland")

_PALETTES: dict[str, Field] = {  # RGB in [0, 1] where the class's pattern is 0 and where it is 1
    "barren": np.array([[0.44, 0.35, 0.22], [0.70, 0.58, 0.40]]),
    "cropland": np.array([[0.26, 0.36, 0.14], [0.56, 0.56, 0.24]]),
    "forest": np.array([[0.06, 0.19, 0.07], [0.16, 0.44, 0.14]]),
    "urban": np.array([[0.26, 0.26, 0.28], [0.76, 0.70, 0.68]]),
    "water": np.array([[0.03, 0.12, 0.30], [0.09, 0.30, 0.58]]),
    "wetland": np.array([[0.06, 0.17, 0.33], [0.18, 0.38, 0.14]]),
}
_WHITE = np.full(3, 0.93)


def count(config: SyntheticConfig) -> int:
    """How many patches there are: `config.patches` rounded down to a multiple of six."""
    return config.patches - config.patches % len(CLASSES)


def class_of(i: int) -> str:
    """The class of patch i."""
    return CLASSES[i % len(CLASSES)]


def file_name(i: int, bands: str = "rgb") -> str:
    """Where patch i stands in a written folder, such as `forest/forest_000002.png`."""
    return f"{class_of(i)}/{class_of(i)}_{i:06d}.{'tif' if bands == 'all' else 'png'}"


def bands_of(config: SyntheticConfig) -> BandSpec:
    """What the numbers of a patch mean."""
    return synthetic_bands.SPEC if config.bands == "all" else BandSpec.pictures()


def patch(config: SyntheticConfig, i: int) -> NDArray[Any]:
    """Generate patch i: uint8 [size, size, 3], or uint16 [size, size, 13] with all bands."""
    rng = np.random.default_rng([config.seed, i])
    if config.bands == "all":
        image = _render(
            class_of(i), config.size, config.difficulty, rng, synthetic_bands.SPECTRA, synthetic_bands.CLOUD
        )
        return synthetic_bands.as_measured(image, config.difficulty, rng)
    image = _render(class_of(i), config.size, config.difficulty, rng, _PALETTES, _WHITE)
    image += rng.normal(0.0, 0.03 + 0.04 * config.difficulty, size=image.shape)
    return np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def write_folder(config: SyntheticConfig, folder: Path) -> int:
    """Write the patches as PNG files, or with all bands as GeoTIFFs without a place, in one folder per class.

    Returns:
        The number of patches written.

    Raises:
        DataError: `folder` is a file, is not empty or cannot be written; nothing is left behind.
    """
    if config.bands == "all":
        needs("rasterio", extra="bands", what="writing patches of 13 bands")
    folder = Path(os.path.abspath(folder.expanduser()))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "is not empty" if folder.is_dir() else "is a file"
        raise DataError(f"{folder} {what}", "give a new or empty folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with beside(folder) as partial, progress_bar("Generating patches", count(config)) as advance:
            for name in CLASSES:
                (partial / name).mkdir(parents=True)
            for i in range(count(config)):
                _write(partial / file_name(i, config.bands), patch(config, i))
                advance(1)
            partial.rename(folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"cannot write {folder}: {reason}", "check the folder's rights and the free space") from None
    return count(config)


def _write(file: Path, pixels: NDArray[Any]) -> None:
    if pixels.shape[-1] == 3:
        from PIL import Image

        Image.fromarray(pixels).save(file)
    else:
        synthetic_bands.write(file, pixels)


def _render(
    name: str,
    size: int,
    difficulty: float,
    rng: np.random.Generator,
    palettes: Mapping[str, Field],
    cloud: Field,
) -> Field:
    """A patch of class `name` as float [size, size, C], without noise.

    Args:
        name: of the class.
        size: height and width in pixels.
        difficulty: how far signatures are mixed.
        rng: draws all of it.
        palettes: of each class, [2, C].
        cloud: what a veil looks like, [C].
    """
    others = [c for c in CLASSES if c != name]
    stranger, neighbour = rng.choice(others, size=2)
    shift = rng.uniform(0.0, 0.9) * difficulty
    palette = (1.0 - shift) * palettes[name] + shift * palettes[stranger]
    image = _coloured(_PATTERNS[name](rng, size), palette)
    if difficulty > 0.0:
        intruder = _coloured(_PATTERNS[neighbour](rng, size), palettes[neighbour])
        share = rng.uniform(0.0, 0.45) * difficulty
        cover = _blob(rng, size, share)[..., None]
        image = (1.0 - cover) * image + cover * intruder
        image *= 1.0 + difficulty * (rng.uniform(-0.35, 0.35) + rng.uniform(-0.1, 0.1, size=len(cloud)))
        veil = rng.uniform(0.0, 0.7) * difficulty * _smoothstep(_noise(rng, size, 0.0, 2.5))[..., None]
        image = (1.0 - veil) * image + veil * cloud
    return image


def _coloured(pattern: Field, palette: Field) -> Field:
    """Colour pattern [H, W] between the two rows of palette [2, C]: [H, W, C]."""
    low, high = palette[0], palette[1]
    coloured: Field = low + pattern[..., None] * (high - low)
    return coloured


def _blob(rng: np.random.Generator, size: int, share: float) -> Field:
    """A smooth-edged irregular region in [0, 1] that covers `share` of the patch: [size, size]."""
    noise = _noise(rng, size, 0.0, 3.0)
    return 1.0 / (1.0 + np.exp(-(noise - np.quantile(noise, 1.0 - share)) / 0.02))


# ---- patterns: fields in [0, 1] of shape [size, size]; frequencies in cycles per patch ----


def _barren(rng: np.random.Generator, size: int) -> Field:
    return _noise(rng, size, 0.0, rng.uniform(2.0, 4.0))


def _cropland(rng: np.random.Generator, size: int) -> Field:
    u, v = _turned(rng, size)
    fields = rng.uniform(3.0, 5.0)
    tone = _cell_values(rng, u * fields, v * fields)
    furrows = 0.5 + 0.5 * np.sin(2.0 * np.pi * rng.uniform(12.0, 16.0) * u)
    return 0.75 * tone + 0.25 * furrows


def _forest(rng: np.random.Generator, size: int) -> Field:
    return _noise(rng, size, 8.0, 16.0)


def _urban(rng: np.random.Generator, size: int) -> Field:
    u, v = _turned(rng, size)
    blocks = rng.uniform(6.0, 9.0)
    roofs = 0.35 + 0.65 * _cell_values(rng, u * blocks, v * blocks)
    street = (u * blocks % 1.0 < 0.3) | (v * blocks % 1.0 < 0.3)
    return np.where(street, 0.0, roofs)


def _water(rng: np.random.Generator, size: int) -> Field:
    u, _ = _turned(rng, size)
    swell = 0.5 + 0.35 * np.sin(2.0 * np.pi * (rng.uniform(0.3, 0.8) * u + rng.uniform()))
    return swell + 0.15 * (_noise(rng, size, 4.0, 8.0) - 0.5)


def _wetland(rng: np.random.Generator, size: int) -> Field:
    reeds = _noise(rng, size, 1.0, rng.uniform(5.0, 7.0))
    return 1.0 / (1.0 + np.exp(-(reeds - 0.5) / 0.03))


_PATTERNS: dict[str, Callable[[np.random.Generator, int], Field]] = {
    "barren": _barren,
    "cropland": _cropland,
    "forest": _forest,
    "urban": _urban,
    "water": _water,
    "wetland": _wetland,
}


def _noise(rng: np.random.Generator, size: int, low: float, high: float) -> Field:
    """Random texture in [0, 1] with frequencies from `low` to `high`, mean about 0.5: [size, size]."""
    nyquist = size / 2.0
    low, high = min(low, nyquist / 2.0), min(high, nyquist)
    spectrum = np.fft.rfft2(rng.standard_normal((size, size)))
    frequency = np.hypot(np.fft.fftfreq(size, 1.0 / size)[:, None], np.fft.rfftfreq(size, 1.0 / size)[None, :])
    spectrum *= (frequency >= low) & (frequency <= high) & (frequency > 0.0)
    texture: Field = np.fft.irfft2(spectrum, s=(size, size))
    clipped: Field = np.clip(0.5 + texture / (4.0 * texture.std()), 0.0, 1.0)
    return clipped


def _turned(rng: np.random.Generator, size: int) -> tuple[Field, Field]:
    """Coordinates of the pixels in patch widths, turned by any angle and moved by up to ten widths."""
    angle = rng.uniform(0.0, 2.0 * np.pi)
    y, x = np.mgrid[:size, :size] / size
    offset = rng.uniform(5.0, 10.0, size=2)  # keeps both coordinates positive
    return (
        np.cos(angle) * x + np.sin(angle) * y + offset[0],
        np.cos(angle) * y - np.sin(angle) * x + offset[1],
    )


def _cell_values(rng: np.random.Generator, u: Field, v: Field) -> Field:
    """A random value in [0, 1] for each unit cell of the plane (u, v), the same for all its pixels."""
    table = rng.uniform(size=(16, 16))
    cells: Field = table[np.floor(u).astype(int) % 16, np.floor(v).astype(int) % 16]
    return cells


def _smoothstep(x: Field) -> Field:
    return x * x * (3.0 - 2.0 * x)
