"""From the numbers of a raster to those that are stored: types, what is nothing, spectral indices."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landsift.bands import REFLECTANCE, BandSpec
from landsift.data.decoding.plans import Plan
from landsift.data.decoding.unreadable import Cause, UnreadableError

Values = NDArray[Any]
Flags = NDArray[np.bool_]

UNDECLARED = (-9999.0, -99999.0, -32768.0, float(np.finfo(np.float32).min))
"""Numbers that programs write where there is nothing."""
BRIGHTEST = 2.0
"""Mean reflectance of a patch beyond which its numbers are something else: of snow and clouds it is about 1."""
DARKEST = 2e-4
"""Largest reflectance of a patch below which its numbers are something else: of the darkest water it is above 0.001."""
NEGATIVE = -0.02
"""Reflectance below that of any surface after atmospheric correction, with room for its errors."""
_EXACT_WHOLE = 2**24  # float32 holds each whole number up to it

_MANY, _EVERY = 2**17, 4
"""Pixels of a part of a raster beyond which its reflectances are looked at in one of so many rows and columns."""
_ROUNDED = 2**-24  # of a number: half a step of float32
_LEAST = float(np.finfo(np.float32).tiny)

ROUNDED = "numbers of float64 rounded to float32's seven digits"
INFINITE = "infinite numbers, stored as no data"
NAN = "NaN beside another no-data value, stored as that one"
HIDDEN = "pixels that a mask or an alpha band hides, stored as no data"


def stored_values(plan: Plan, values: Values, hidden: Flags | None) -> tuple[Values, Counter[str]]:
    """What is stored of a patch, and what is to be said of how many of its numbers.

    Args:
        plan: how files of its kind are read.
        values: of the bands of `plan.picks`, [H, W, P], as the file has them.
        hidden: where a mask hides them, [H, W].

    Returns:
        [H, W, C] of `plan.spec`, and counts by notice.

    Raises:
        UnreadableError: a number cannot be stored as it is, or the numbers are not what they are said to be.
    """
    if hidden is not None and hidden.any() and plan.spec.nodata is None:
        raise UnreadableError(
            f"a mask or an alpha band hides {hidden.mean():.1%} of it, and no number means that there is nothing",
            Cause.NO_DATA,
        )
    stored, _, told = stored_where(plan, values, hidden)
    return stored, told


def stored_where(
    plan: Plan, values: Values, hidden: Flags | None, check: Reflectances | None = None
) -> tuple[Values, Flags, Counter[str]]:
    """The same, and where there is nothing, [H, W, C]; where no number means that, the numbers stay as they are.

    Args:
        plan: how files of its kind are read.
        values: of the bands of `plan.picks`, [H, W, P], as the file has them.
        hidden: where a mask hides them, [H, W].
        check: what was seen of the reflectances of other parts of the same raster; None: there are none.
    """
    told = Counter[str]()
    nothing = _nothing(plan, values, hidden, told)
    converted = _converted(values, plan.spec, nothing, told)
    if plan.spec.units == REFLECTANCE:
        every = slice(None, None, _EVERY if check is not None and converted[..., 0].size > _MANY else 1)
        check = check or Reflectances()
        check.add(plan, converted[every, every], nothing[every, every])
        check.check(plan)
    stored, missing = converted[..., : plan.stored], nothing[..., : plan.stored]
    if plan.indices:
        indices = _index_bands(plan, converted, nothing, told)
        stored = np.concatenate([stored, indices], axis=-1)
        missing = np.concatenate([missing, np.isnan(indices)], axis=-1)
    return np.ascontiguousarray(stored), missing, +told


def _nothing(plan: Plan, values: Values, hidden: Flags | None, told: Counter[str]) -> Flags:
    """Where there is nothing, [H, W, P]."""
    nodata = plan.nodata
    nothing = np.zeros(values.shape, dtype=bool)
    if values.dtype.kind == "f":
        nan, infinite = np.isnan(values), np.isinf(values)
        if nodata is not None and np.isfinite(nodata):
            told[NAN] += int(nan.sum())
        told[INFINITE] += int((infinite & (values != nodata)).sum())
        nothing |= nan | infinite
    if nodata is not None and not np.isnan(nodata):
        nothing |= values == values.dtype.type(nodata)
    for number in UNDECLARED if values.dtype.kind in "if" else ():
        if number == nodata or (values.dtype.kind == "i" and number < np.iinfo(values.dtype).min):
            continue
        if found := int(((values == values.dtype.type(number)) & ~nothing).sum()):
            share = found / values.size
            raise UnreadableError(
                f"{number:g} stands in {max(share, 0.001):.1%} of its numbers and is not declared as no data",
                Cause.NO_DATA,
            )
    if hidden is not None and hidden.any():
        covered = hidden[..., None] & ~nothing
        told[HIDDEN] += int(covered.any(axis=-1).sum())
        nothing |= covered
    return nothing


def _converted(values: Values, spec: BandSpec, nothing: Flags, told: Counter[str]) -> Values:
    """The same numbers in the type that is stored, and its no-data value where there is nothing."""
    kind = np.dtype(spec.dtype)
    if values.dtype == kind:
        converted = values.copy()
    else:
        with np.errstate(all="ignore"):
            converted = values.astype(kind)
        if values.dtype.kind == "f":
            same = (converted == values) | nothing
            with np.errstate(all="ignore"):
                rounded = (
                    ~same & (values != np.rint(values)) & np.isclose(converted, values, rtol=_ROUNDED, atol=_LEAST)
                )
            told[ROUNDED] += int(rounded.sum())
            same |= rounded
        elif kind.kind == "f":
            there = np.where(nothing, 0, values)
            same = (there <= _EXACT_WHOLE) & (there >= (-_EXACT_WHOLE if values.dtype.kind == "i" else 0))
        else:
            same = np.ones((), dtype=bool)  # int8 as int16
        if not same.all():
            raise UnreadableError(
                f"numbers of {values.dtype} that {spec.dtype} does not hold exactly, such as "
                f"{values[tuple(np.argwhere(~same)[0])]!s}",
                Cause.VALUES,
            )
    if spec.nodata is not None:
        converted[nothing] = kind.type(spec.nodata)
    return converted


class Reflectances:
    """Refuses numbers that cannot be reflectances with the scale and offset that they are said to have."""

    def __init__(self) -> None:
        self._numbers = 0
        self._sum = 0.0
        self._largest = -np.inf
        self._below = 0
        self._empty = True

    def add(self, plan: Plan, values: Values, nothing: Flags) -> None:
        """Take note of stored numbers [H, W, P], and of where there is nothing."""
        there = values[..., : plan.stored].astype(np.float32)
        own = there.shape[-1]
        scale, offset = (np.array(each[:own], dtype=np.float32) for each in (plan.scale, plan.offset))
        reflectance = (there * scale + offset)[~nothing[..., :own]]
        if not reflectance.size:
            return
        self._numbers += reflectance.size
        self._sum += float(reflectance.sum(dtype=np.float64))
        self._largest = max(self._largest, float(reflectance.max()))
        self._below += int((reflectance < NEGATIVE).sum())
        self._empty &= not there.any()

    def check(self, plan: Plan) -> None:
        """Raise UnreadableError where all that was seen is nothing that a surface has."""
        if not self._numbers:
            return
        if self._empty:
            raise UnreadableError("nothing but 0 in it, which is not declared as no data", Cause.NO_DATA)
        mean, largest, below = self._sum / self._numbers, self._largest, self._below / self._numbers
        how = f"× {plan.spec.scale[0]:g} + {plan.spec.offset[0]:g}"
        if mean > BRIGHTEST:
            raise UnreadableError(f"a mean reflectance of {mean:,.3g} ({how}), which nothing has", Cause.UNITS)
        if largest < DARKEST and largest > NEGATIVE:
            raise UnreadableError(f"a reflectance of at most {largest:.2g} ({how}), which nothing has", Cause.UNITS)
        if below > 0.5:
            raise UnreadableError(
                f"a negative reflectance in {below:.0%} of its numbers ({how}): is that offset in them?", Cause.UNITS
            )


def _index_bands(plan: Plan, values: Values, nothing: Flags, told: Counter[str]) -> NDArray[np.float32]:
    """The spectral indices, [H, W, I]; NaN where a band has nothing or it is divided by nothing."""
    found = []
    for index, takes in plan.indices:
        bands: dict[str, NDArray[np.float64]] = {}
        for letter, place in takes.items():
            band = values[..., place].astype(np.float64) * plan.scale[place] + plan.offset[place]
            bands[letter] = np.where(nothing[..., place], np.nan, band)
        values_of = index.of(bands)
        missing = np.isnan(values_of) & ~nothing[..., list(takes.values())].any(axis=-1)
        if count := int(missing.sum()):
            told[f"{index.name} divided by nothing in pixels, stored as no data"] += count
        found.append(values_of)
    return np.stack(found, axis=-1)
