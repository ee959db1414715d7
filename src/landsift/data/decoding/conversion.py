"""From bands of one meaning to those of another: by name, in another order, of another scale, offset, type or no data.

A model takes what it was trained on. Files of other bands become that where nothing has to be guessed: names say which
band is which, and scale and offset what its numbers are. All else is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landsift.bands import REFLECTANCE, UNKNOWN, BandSpec
from landsift.data.decoding.unreadable import Cause, UnreadableError

CLIPPED = "numbers beyond those of the type that the model takes, set to the nearest"
UNDECLARED = "numbers that mean no data to the model, in files that declare none: they are no data"
_SAME = 1e-6  # of a step between two numbers


@dataclass(frozen=True)
class Conversion:
    """How patches of some bands become patches of others.

    Attributes:
        own: what the patches mean.
        wanted: what they are to mean.
        picks: position of each wanted band among their own.
        factor, summand: of each wanted band: number × factor + summand is the wanted number.
        notes: what is to be said; none where nothing changes.
    """

    own: BandSpec
    wanted: BandSpec
    picks: tuple[int, ...]
    factor: tuple[float, ...]
    summand: tuple[float, ...]
    notes: tuple[str, ...]

    def __call__(self, values: NDArray[Any]) -> tuple[NDArray[Any], Counter[str]]:
        """Patches [..., C] of the wanted bands, and what is to be said of how many of their numbers.

        Args:
            values: [..., C] of the own bands.

        Raises:
            UnreadableError: there is nothing in some pixels, and no wanted number means that.
        """
        result, nothing, told = self.where(values)
        if self.wanted.nodata is None and self.notes and nothing.any():
            raise UnreadableError(
                f"nothing in {nothing.mean():.1%} of its numbers, where no number means that", Cause.NO_DATA
            )
        return result, told

    def where(self, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_], Counter[str]]:
        """The same, and where there is nothing, [..., C]; 0 there, where no wanted number means that."""
        told = Counter[str]()
        picked = values[..., list(self.picks)]
        nothing = _nothing(picked, self.own.nodata)
        if self.own.nodata is None and self.wanted.nodata is not None and self._same_numbers:
            undeclared = _nothing(picked, self.wanted.nodata) & ~nothing
            told[UNDECLARED] += int(undeclared.sum())
            nothing |= undeclared
        if not self.notes:
            return np.ascontiguousarray(picked), nothing, +told
        found = picked.astype(np.float64)
        found = np.where(nothing, 0, found) * self.factor + self.summand
        kind = np.dtype(self.wanted.dtype)
        if kind.kind != "f":
            found, info = np.rint(found), np.iinfo(kind)
            told[CLIPPED] += int((((found < info.min) | (found > info.max)) & ~nothing).sum())
            found = np.clip(found, info.min, info.max)
        result = found.astype(kind)
        nodata = self.wanted.nodata
        if nodata is None:
            result[nothing] = 0
        else:
            if kind.kind != "f":  # a number that happens to be the no-data value
                beside = nodata + 1 if nodata < np.iinfo(kind).max else nodata - 1
                result[(result == kind.type(nodata)) & ~nothing] = kind.type(beside)
            result[nothing] = kind.type(nodata)
        return np.ascontiguousarray(result), nothing, +told

    @property
    def _same_numbers(self) -> bool:
        """Whether numbers stay what they are, at another place."""
        return self.own.dtype == self.wanted.dtype and {*self.factor} == {1} and {*self.summand} == {0}


def conversion(own: BandSpec, wanted: BandSpec) -> Conversion:
    """How patches of some bands become patches of others.

    Raises:
        UnreadableError: a wanted band is missing, or units differ or are not known.
    """
    if absent := [name for name in wanted.names if name not in own.names]:
        raise UnreadableError(f"no band {absent[0]} among {', '.join(own.names)}", Cause.OTHER_BANDS)
    picks = tuple(own.names.index(name) for name in wanted.names)
    if own.units != wanted.units:
        raise UnreadableError(
            f"numbers in {own.units} units, where {wanted.units} is taken",
            Cause.UNITS if wanted.units == REFLECTANCE else Cause.OTHER_UNITS,
        )
    scale, offset = (np.array([each[at] for at in picks]) for each in (own.scale, own.offset))
    factor = scale / np.array(wanted.scale)
    summand = (offset - np.array(wanted.offset)) / np.array(wanted.scale)
    factor = np.where(np.isclose(factor, 1, rtol=1e-9), 1, factor)
    whole = np.rint(summand)
    summand = np.where(np.abs(summand - whole) < _SAME, whole, summand)
    notes: list[str] = []
    notes += by_name(picks, len(own))
    changed = bool((factor != 1).any() or (summand != 0).any())
    if changed and own.units == UNKNOWN:
        raise UnreadableError("another scale or offset in unknown units", Cause.UNITS)
    if changed:
        at = int(np.flatnonzero((factor != 1) | (summand != 0))[0])
        notes.append(
            f"numbers of a scale of {scale[at]:g} and an offset of {offset[at]:g} brought to {wanted.scale[at]:g} and "
            f"{wanted.offset[at]:g}: {wanted.names[at]} × {factor[at]:g} {'-' if summand[at] < 0 else '+'} "
            f"{abs(summand[at]):,g}"
        )
    if own.dtype != wanted.dtype:
        notes.append(f"numbers of {own.dtype} brought to {wanted.dtype}")
    if own.nodata != wanted.nodata and not (own.nodata is None and own.dtype == wanted.dtype):
        notes.append("another number for no data")
    return Conversion(own, wanted, picks, tuple(factor.tolist()), tuple(summand.tolist()), tuple(notes))


def by_name(picks: Sequence[int], count: int) -> list[str]:
    """What is to be said of bands that are found by their names, at these positions among so many; nothing of all."""
    moved, unused = list(picks) != sorted(picks), count - len(picks)
    if not moved and not unused:
        return []
    rest = f"; {unused} {'is' if unused == 1 else 'are'} not used" if unused else ""
    return [f"bands read by name{', in another order' * moved}{rest}"]


def _nothing(values: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    found = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, dtype=bool)
    if nodata is not None and not np.isnan(nodata):
        found |= values == values.dtype.type(nodata)
    return found
