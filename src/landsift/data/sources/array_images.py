"""Images in memory: are they an array of patches, and can their numbers mean what the bands say?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landsift.bands import BRIGHTNESS, DTYPES, PLAUSIBLE, REFLECTANCE, BandSpec
from landsift.errors import DataError

LARGEST = 4096
"""Height and width in pixels that a patch may have, as `data.patch_size`."""
NEEDED = "needed: uint8 [N, H, W, 3], red, green and blue from 0 to 255"
_CHUNK_BYTES = 2**22


def images_of(given: Any, bands: BandSpec | None) -> tuple[NDArray[Any], BandSpec]:
    """The images as an array, and what their numbers mean; raises DataError where they are something else."""
    check_bands(bands)
    needed = NEEDED if bands is None else f"needed: {bands.dtype} [N, H, W, {len(bands)}], as bands says: {bands}"
    if np.ma.is_masked(given):
        number = 0 if bands is None or bands.nodata is None else bands.nodata
        hint = f"fill them: images.filled({number:g})"
        raise DataError("some of the pixels are masked, and a store keeps no mask", hint)
    if isinstance(given, Iterator):
        raise DataError(f"images are {kind_of(given)}", "give them as a list or as an array")
    try:
        images: NDArray[Any] = np.asarray(given)
    except (TypeError, ValueError, RuntimeError):  # patches of several sizes, a tensor on a GPU, one with gradients
        raise DataError("images make no array: are all of one size, and in this machine's memory?", needed) from None
    shape, wanted = list(images.shape), bands or BandSpec.pictures()
    count = len(wanted)
    if native_type(images) != wanted.numpy_dtype:
        if bands is None and str(native_type(images)) in DTYPES and images.ndim == 4:
            raise DataError(f"images are {images.dtype}, not uint8: what do their numbers mean?", _to_say(images))
        raise DataError(f"images are {images.dtype}, not {wanted.dtype}", _cast(images, bands) or needed)
    if images.ndim == 4 and images.shape[1] == count != images.shape[3]:
        raise DataError(f"images are {shape}: bands come last", "images.transpose(0, 2, 3, 1) puts them there")
    if images.ndim != 4 or images.shape[3] != count:
        if bands is not None and images.ndim == 4:
            text = f"images are {shape}, of {shape[3]} band{'s' if shape[3] != 1 else ''}, and bands names {count}"
            raise DataError(text, needed)
        raise DataError(f"images are {shape}", _to_say(images) if images.ndim == 4 else needed)
    if not len(images):
        raise DataError("images hold no patch", needed)
    if not 1 <= min(images.shape[1:3]) <= max(images.shape[1:3]) <= LARGEST:
        raise DataError(f"images are of {images.shape[1]} × {images.shape[2]} pixels", f"1 to {LARGEST} make a patch")
    _check_values(images, wanted)
    return images, wanted


def check_bands(bands: Any) -> None:
    """Refuse what is no BandSpec, or has a number for no data that its type does not hold."""
    if bands is None:
        return
    if not isinstance(bands, BandSpec):
        raise DataError(
            f"bands is {kind_of(bands)}", "give a landsift.BandSpec; BandSpec.from_dict makes one of a dict"
        )
    if not bands.takes_nodata:
        raise DataError(
            f"bands: nodata {bands.nodata:g} is no {bands.dtype}", "give the number that stands in the arrays, or None"
        )


def native_type(images: NDArray[Any]) -> np.dtype[Any]:
    """The array's type, whatever its byte order."""
    return images.dtype.newbyteorder("=") if images.dtype.kind in "iuf" else images.dtype


def _to_say(images: NDArray[Any]) -> str:
    """What to give for images of other types or bands than 8-bit RGB."""
    count, kind = images.shape[3], native_type(images)
    names = f"[... {count} names]" if count > 1 else "['name']"
    return (
        f"say it: bands=landsift.BandSpec(names={names}, dtype='{kind}', scale=[...] * {count}, "
        f"offset=[...] * {count}, units=..., nodata=...), where scale * number + offset is in units"
    )


def _cast(images: NDArray[Any], bands: BandSpec | None) -> str:
    """How images of a wider type become those of the bands, where they can."""
    kind = images.dtype.kind
    if bands is None or kind not in "iuf" or (kind == "f" and bands.dtype != "float32"):
        return ""
    return f"images.astype('{bands.dtype}'), if that holds their values: bands says {bands}"


def _check_values(images: NDArray[Any], bands: BandSpec) -> None:
    """Refuse numbers that are none, and that cannot mean what the bands say."""
    if bands.is_rgb8:
        return
    from landsift.data.store.statistics import BandStatistics, sums_of

    statistics, brightness = BandStatistics(bands), bands.units == BRIGHTNESS
    scale, offset = np.array(bands.scale), np.array(bands.offset)
    step = max(1, _CHUNK_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(images), step):
        stored = np.asarray(images[start : start + step], dtype=bands.numpy_dtype)
        missing = bands.missing(stored)
        data = np.ones_like(stored, dtype=bool) if missing is None else ~missing
        if stored.dtype.kind == "f" and (strange := ~np.isfinite(stored) & data).any():
            row, _, _, band = (int(at[0]) for at in np.nonzero(strange))
            nodata = "no nodata" if bands.nodata is None else f"nodata {bands.nodata:g}"
            raise DataError(
                f"image {start + row}, band {bands.names[band]}: a number is NaN or infinite",
                f"bands says {nodata}; where such numbers mean that there is nothing, nodata must say it",
            )
        statistics.add(sums_of(stored, bands))
        if brightness:
            outside = data & ((stored * scale + offset < -1e-6) | (stored * scale + offset > 1 + 1e-6))
            if outside.any():
                row, band = int(np.nonzero(outside)[0][0]), int(np.nonzero(outside)[3][0])
                most = float(stored[outside].flat[0]) * bands.scale[band] + bands.offset[band]
                raise DataError(
                    f"image {start + row}, band {bands.names[band]}: a brightness of {most:g}, and it goes from 0 to 1",
                    "correct scale and offset, or units",
                )
    if bands.units != REFLECTANCE:
        return
    for name, mean in zip(bands.names, statistics.mean, strict=True):
        if not PLAUSIBLE[0] <= mean <= PLAUSIBLE[1]:
            raise DataError(
                f"band {name}: a mean reflectance of {mean:.6g}, and it goes from 0 to about 1",
                "correct scale and offset (Sentinel-2: scale 0.0001), or units",
            )


def kind_of(value: object) -> str:
    """What a value is, in a few characters."""
    text = repr(value)
    return text if len(text) <= 30 and "\n" not in text else f"a {type(value).__name__}"
