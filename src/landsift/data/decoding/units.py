"""What the numbers of a file stand for: as the configuration says, else its tags, else the sensor's table."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np

from landsift.bands import BRIGHTNESS, REFLECTANCE, UNKNOWN
from landsift.data.decoding.file_bands import FileBands
from landsift.data.decoding.rasters import EXACT
from landsift.data.decoding.unreadable import Cause, UnreadableError
from landsift.data.decoding.wanted import Wanted
from landsift.data.sensors import Sensor

SINCE_OFFSET = (4, 0)
"""Sentinel-2's processing baseline since which numbers are 1,000 higher (ESA, January 2022)."""
QUANTIFICATION = 1e4

NO_BASELINE = (
    "no processing baseline of Sentinel-2 in its tags: offset 0, as before 04.00 "
    "(since then data.reflectance=[0.0001, -0.1])"
)
INSTEAD = (
    "scale and offset in its tags, taken rather than data.reflectance={0} of the "
    "training; set that if the tags are wrong"
)


class Units(NamedTuple):
    """What the numbers of a file's bands stand for: number × scale + offset, in `units`."""

    scale: tuple[float, ...]
    """Of all bands of the file."""
    offset: tuple[float, ...]
    units: str
    guessed: bool = False
    """Whether Sentinel-2's offset is taken as 0 for want of a baseline."""


def units_of(bands: FileBands, wanted: Wanted, doubts: list[str]) -> Units:
    """What the numbers stand for: as the configuration says, else the file, else the sensor."""
    count, of = len(bands), wanted.sensor
    own = _own_units(bands, of)
    if own is not None and wanted.reflectance is not None and wanted.assumes("reflectance"):
        own = own._replace(units=REFLECTANCE if own.units == UNKNOWN else own.units)
        if (set(own.scale), set(own.offset)) != ({wanted.reflectance[0]}, {wanted.reflectance[1]}):
            doubts.append(INSTEAD.format(list(wanted.reflectance)))
        return own
    if wanted.reflectance is not None:
        if wanted.taken is not None and wanted.assumes("reflectance"):
            _check_alike(EXACT.get(bands.dtype, bands.dtype), wanted.taken.bands.dtype, computed=bool(wanted.indices))
        if wanted.assumes("reflectance") and bands.baseline and _is_since(bands.baseline):
            doubts.append(
                f"processing baseline {bands.baseline} of Sentinel-2 and no tag of its offset: "
                f"{wanted.reflectance[1]:g}, as data.reflectance of the training says"
            )
        scale, offset = wanted.reflectance
        if own is not None and (set(own.scale), set(own.offset)) != ({scale}, {offset}):
            doubts.append("scale and offset in its tags, which data.reflectance replaces")
        return Units((scale,) * count, (offset,) * count, REFLECTANCE)
    if own is not None:
        theirs = None if of is None else ({of.scale}, {of.offset})
        if (
            theirs is not None
            and not (of and of.by_baseline and bands.add_offset)
            and (set(own.scale), set(own.offset)) != theirs
        ):
            first = f"{own.scale[0]:g} and {own.offset[0]:g}"
            doubts.append(f"scale and offset in its tags ({first}), which replace those of {of.name if of else ''}")
        return own
    if bands.baseline and (of is None or of.by_baseline) and _is_since(bands.baseline):
        raise UnreadableError(
            f"processing baseline {bands.baseline} of Sentinel-2, and no tag that says whether its offset of 1,000 is "
            "still in the numbers",
            Cause.BASELINE,
        )
    if of is not None:
        guessed = of.by_baseline and not bands.baseline
        if guessed:
            doubts.append(NO_BASELINE)
        return Units((of.scale,) * count, (of.offset,) * count, of.units, guessed)
    if bands.dtype == "uint8" and not bands.units:
        if not bands.picture:
            doubts.append("8-bit numbers without a scale, taken as brightness, of which 255 is all")
        return Units((1 / 255,) * count, (0.0,) * count, BRIGHTNESS)
    if not bands.units:
        doubts.append("no scale and no units in its tags: kept as the numbers that they are, in unknown units")
    return Units((1.0,) * count, (0.0,) * count, bands.units or UNKNOWN)


def _check_alike(dtype: str, trained: str, *, computed: bool) -> None:
    """Refuse numbers of a type for which nobody has said a scale and an offset.

    Args:
        dtype: of the file's numbers as they are stored.
        trained: of what the model takes, for which they were said.
        computed: whether that is float32 for the sake of spectral indices, and the files' was another.
    """
    if (dtype == "uint8") != (trained == "uint8") or (not computed and (dtype == "float32") != (trained == "float32")):
        of = "others" if computed else trained
        raise UnreadableError(
            f"numbers of {dtype}, where data.reflectance of the training was said of {of}", Cause.UNITS
        )


def _own_units(bands: FileBands, of: Sensor | None) -> Units | None:
    """Scale and offset as a file's tags say them; None where they do not."""
    count = len(bands)
    tagged = None
    if bands.add_offset is not None or (bands.quantification is not None and not bands.baseline):
        factor = bands.quantification or QUANTIFICATION
        if factor <= 0:
            raise UnreadableError(f"a quantification value of {factor:g}", Cause.UNITS)
        tagged = Units((1 / factor,) * count, ((bands.add_offset or 0.0) / factor,) * count, REFLECTANCE)
    if bands.scale is None or bands.offset is None:
        return tagged
    numbers = (*bands.scale, *bands.offset)
    if not all(map(math.isfinite, numbers)) or min(bands.scale) <= 0:
        raise UnreadableError(f"a scale of {bands.scale[0]:g} and an offset of {bands.offset[0]:g}", Cause.UNITS)
    units = bands.units or (of.units if of else UNKNOWN)
    found = Units(bands.scale, bands.offset, units)
    if tagged is not None and not np.allclose((tagged.scale, tagged.offset), (found.scale, found.offset), rtol=1e-6):
        raise UnreadableError(
            f"an offset of {found.offset[0]:g} in one tag and of {tagged.offset[0]:g} in another", Cause.BASELINE
        )
    return found


def _is_since(baseline: str) -> bool:
    """Whether numbers of a processing baseline, such as "05.09" or "N0509", hold the offset."""
    digits = re.findall(r"\d+", baseline)
    if len(digits) == 1 and len(digits[0]) == 4:
        digits = [digits[0][:2], digits[0][2:]]
    if not digits:
        raise UnreadableError(f"a processing baseline that is none: {baseline}", Cause.BASELINE)
    return (int(digits[0]), int(digits[1]) if len(digits) > 1 else 0) >= SINCE_OFFSET
