"""From what a file says of its bands, and what the configuration wants, to what is stored of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from landsift.bands import REFLECTANCE, BandSpec, DType
from landsift.data.decoding.conversion import by_name
from landsift.data.decoding.file_bands import FileBands, said
from landsift.data.decoding.headers import ALPHA
from landsift.data.decoding.indices import Index, bands_of
from landsift.data.decoding.rasters import ALPHA_NAMES, EXACT
from landsift.data.decoding.units import Units, units_of
from landsift.data.decoding.unreadable import Cause, Reason, UnreadableError
from landsift.data.decoding.wanted import Taken, Wanted
from landsift.data.sensors import Sensor, common, find, plain

NO_ALPHA = "an alpha band, which is not stored; what it hides becomes no data"
_ENTRY = re.compile(r"(.+?)\s*=\s*([0-9]+)")


@dataclass(frozen=True)
class Plan:
    """How the files of one kind are read.

    Attributes:
        spec: of what is stored; without `gsd`, which each file has its own of.
        picks: positions in the file of the bands that are stored, from 0, and after them of those that indices need.
        stored: how many of `picks` are stored.
        scale, offset: of each of `picks`.
        nodata: the number that means nothing in the file; None: none.
        indices: each with the places among `picks` of the bands that it takes.
        notes: what is to be said.
        doubts: what is to be said because it was not known.
        offset_guessed: whether Sentinel-2's offset is taken as 0 for want of a baseline.
    """

    spec: BandSpec
    picks: tuple[int, ...]
    stored: int
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    nodata: float | None
    indices: tuple[tuple[Index, Mapping[str, int]], ...] = ()
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    offset_guessed: bool = False


class _Pick(NamedTuple):
    name: str
    at: int


def plan(bands: FileBands, wanted: Wanted) -> Plan:
    """How to read a file of these bands.

    Raises:
        UnreadableError: it has not what is wanted, or what its numbers mean is not known or contradicts itself.
    """
    doubts: list[str] = []
    named = None if wanted.taken is None else _named_bands(bands, wanted, wanted.taken)
    if named is not None:
        wanted = wanted._replace(bands=named)
    elif wanted.taken is not None and wanted.assumes("bands") and len(bands) != (wanted.taken.file_bands or len(bands)):
        raise UnreadableError(
            f"{said(len(bands), bands.dtype)}, where the training's files had {wanted.taken.file_bands}",
            Cause.OTHER_BANDS,
        )
    names = _names(bands, wanted, doubts)
    picks = _picks(bands, wanted, names, doubts)
    if named is not None:  # what no sensor's numbers are in, such as blue, means the same for every sensor
        picks = [p._replace(name=name) if find(common(), name) else p for p, name in zip(picks, named, strict=True)]
    _check_once([pick.name for pick in picks])
    _check_type(bands, wanted)
    units = units_of(bands, wanted, doubts)
    nodata = _no_data(bands, wanted, units, doubts)
    dtype: str = EXACT.get(bands.dtype, bands.dtype)
    held = _held(nodata, dtype)
    at = [pick.at for pick in picks]
    spec = BandSpec(
        names=tuple(pick.name for pick in picks),
        dtype=_dtype(dtype),
        scale=tuple(units.scale[i] for i in at),
        offset=tuple(units.offset[i] for i in at),
        nodata=held,
        units=units.units,
    )
    found = Plan(spec, tuple(at), len(at), spec.scale, spec.offset, nodata)
    if wanted.indices:
        found = _with_indices(found, names, wanted, units)
    notes = list(found.notes)
    if named is not None:
        notes += by_name(at, len(bands.colours))
    if bands.alpha is not None and not bands.pillow and bands.alpha not in found.picks:
        notes.append(ALPHA if found.spec.dtype == "uint8" and bands.picture else NO_ALPHA)
    if bands.alpha is not None and bands.alpha in found.picks[: found.stored] and wanted.bands == "all":
        notes.append(f"band {bands.alpha + 1}, which is declared as alpha, is stored as a band like the others")
    if bands.add_offset and wanted.reflectance is None:
        notes.append(f"an offset of {bands.add_offset:,g} in Sentinel-2's tags, which is kept beside the numbers")
    return replace(found, notes=tuple(notes), doubts=tuple(doubts), offset_guessed=units.guessed)


def _names(bands: FileBands, wanted: Wanted, doubts: list[str]) -> list[str | None]:
    """What each band of a file is called: by the sensor, else by the file, else not known."""
    if bands.named and not _alpha_is_a_band(bands, wanted):
        own = list(bands.names)
        if wanted.sensor is None:
            return own
        known = [None if name is None else wanted.sensor.find(name) for name in own]
        return [name if band is None else band.name for name, band in zip(own, known, strict=True)]
    if any(bands.names[i] for i in bands.colours) and not bands.picture:
        doubts.append("names of some bands alone, or one name twice, which are passed over")
    if wanted.sensor is None or _all_said(wanted):
        return [None] * len(bands)
    expected = wanted.sensor.names
    stored = range(len(bands)) if len(bands) == len(expected) else bands.colours
    count = len(stored)
    if count != len(expected):
        raise UnreadableError(
            f"{said(count, bands.dtype)}{bands.half_named}, where files of {wanted.sensor.name} have {len(expected)}",
            Cause.OTHER_BANDS,
        )
    found: list[str | None] = [None] * len(bands)
    for at, name in zip(stored, expected, strict=True):
        found[at] = name
    return found


def _named_bands(bands: FileBands, wanted: Wanted, taken: Taken) -> tuple[str, ...] | None:
    """Of a file that names its bands those that a model takes, wherever they stand.

    None where it names none of them, and where somebody says of it which bands are read.
    """
    if bands.pillow or bands.picture or not bands.named or not (wanted.bands is None or wanted.assumes("bands")):
        return None
    computed = {index.name for index in wanted.indices}
    asked = tuple(name for name in taken.bands.names if name not in computed)
    own = {plain(name) for name in bands.names if name}
    for name in asked:
        known = wanted.sensor.find(name) if wanted.sensor else find(common(), name)
        if own & {plain(name), *(known.aliases if known else ())}:
            return asked
    return None


def _alpha_is_a_band(bands: FileBands, wanted: Wanted) -> bool:
    """Whether the band that a file declares as alpha is asked for as one; then its colours are not believed either."""
    if bands.alpha is None:
        return False
    if wanted.sensor is not None and len(bands) == len(wanted.sensor.bands):
        return True
    if isinstance(wanted.bands, tuple):
        numbers = [
            entry if isinstance(entry, int) else int((_ENTRY.fullmatch(entry) or (0, 0, 0))[2])
            for entry in wanted.bands
        ]
        return bands.alpha + 1 in numbers
    return wanted.bands == "all"


def _all_said(wanted: Wanted) -> bool:
    """Whether the configuration says of each band which one it is."""
    return isinstance(wanted.bands, tuple) and all(
        isinstance(entry, str) and _ENTRY.fullmatch(entry) for entry in wanted.bands
    )


def _picks(bands: FileBands, wanted: Wanted, names: Sequence[str | None], doubts: list[str]) -> list[_Pick]:
    """Which bands are stored, in their order."""
    if wanted.bands is None or isinstance(wanted.bands, str):
        if wanted.bands is None and not all(names[i] for i in bands.colours):
            raise UnreadableError(bands.reason.text, bands.reason.cause)
        stored = [i for i in range(len(bands)) if i != bands.alpha or _is_called(names[i]) or wanted.bands == "all"]
        picks = [_Pick(names[i] or f"band_{i + 1}", i) for i in stored]
        if wanted.bands is None and wanted.sensor is not None:
            _check_known(picks, wanted.sensor)
        return picks
    return [_pick(entry, bands, wanted, names, doubts) for entry in wanted.bands]


def _pick(entry: int | str, bands: FileBands, wanted: Wanted, names: Sequence[str | None], doubts: list[str]) -> _Pick:
    if isinstance(entry, int):
        at = _position(entry, bands)
        return _Pick(names[at] or f"band_{entry}", at)
    if given := _ENTRY.fullmatch(entry):
        name, at = given[1], _position(int(given[2]), bands)
        known = wanted.sensor.find(name) if wanted.sensor else None
        name = known.name if known else name
        own = names[at]
        if own and plain(own) != plain(name):
            doubts.append(f"band {at + 1} is called {own}, and taken as {name}, as data.bands says")
        return _Pick(name, at)
    known = wanted.sensor.find(entry) if wanted.sensor else find(common(), entry)
    same = {plain(entry), *(known.aliases if known else ())}
    found = [at for at, name in enumerate(names) if name and plain(name) in same]
    exact = [at for at in found if plain(names[at] or "") == plain(entry)]
    found = exact or found
    if not found:
        if not any(names):
            raise UnreadableError(
                f"{said(len(bands), bands.dtype)}{bands.half_named or ' without names'}, "
                f"where data.bands asks for {entry}",
                Cause.UNNAMED,
            )
        raise UnreadableError(f"no band {entry} among {_listed(names)}", Cause.OTHER_BANDS)
    return _Pick(known.name if wanted.sensor and known else entry, found[0])


def _position(number: int, bands: FileBands) -> int:
    if number > len(bands):
        raise UnreadableError(
            f"{said(len(bands), bands.dtype)}, where data.bands asks for band {number}", Cause.OTHER_BANDS
        )
    return number - 1


def _is_called(name: str | None) -> bool:
    """Whether the last band has a name that is not that of an alpha band."""
    return name is not None and plain(name) not in ALPHA_NAMES


def _check_known(picks: Sequence[_Pick], of: Sensor) -> None:
    foreign = [pick.name for pick in picks if pick.name not in of.names]
    if foreign:
        raise UnreadableError(f"a band {foreign[0]}, which {of.name} does not have", Cause.FOREIGN)


def _check_once(names: Sequence[str]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UnreadableError(f"two bands called {twice[0]}", Cause.OTHER_BANDS)


def _check_type(bands: FileBands, wanted: Wanted) -> None:
    """Refuse numbers that a sensor's scale was not made for, where nothing else says what they mean."""
    if wanted.sensor is None or bands.scale is not None or bands.add_offset is not None or wanted.reflectance:
        return
    if bands.dtype not in wanted.sensor.dtypes:
        held = " or ".join(wanted.sensor.dtypes)
        raise UnreadableError(f"numbers of {bands.dtype}, where files of {wanted.sensor.name} hold {held}", Cause.UNITS)


def _no_data(bands: FileBands, wanted: Wanted, units: Units, doubts: list[str]) -> float | None:
    """The number of the file that means that there is nothing."""
    if bands.pillow or bands.picture:
        return None
    if bands.nodata is not None:
        return bands.nodata
    own = wanted.sensor
    # In floats a sensor's number means what it does in its files only where they are scaled as these are.
    as_in_files = np.dtype(bands.dtype).kind != "f" or (
        own is not None and (set(units.scale), set(units.offset)) == ({own.scale}, {own.offset})
    )
    if own is not None and own.nodata is not None and as_in_files:
        doubts.append(f"no no-data value in its tags: {own.nodata:g}, as {own.name} has it")
        return own.nodata
    return math.nan if np.dtype(bands.dtype).kind == "f" else None


def _held(nodata: float | None, dtype: str) -> float | None:
    """The number that means nothing in the array that is stored."""
    if nodata is None or dtype != "float32":
        return nodata
    with np.errstate(over="ignore"):
        held = float(np.float32(nodata))
    return held if held == nodata and math.isfinite(held) else math.nan


def _dtype(name: str) -> DType:
    assert name in ("uint8", "uint16", "int16", "float32")
    return name  # type: ignore[return-value]


def _with_indices(found: Plan, names: Sequence[str | None], wanted: Wanted, units: Units) -> Plan:
    """The plan with spectral indices as further bands; all becomes float32, NaN where there is nothing."""
    first = wanted.indices[0].name
    if units.units != REFLECTANCE:
        raise UnreadableError(f"numbers in {units.units} units, where {first} takes reflectance", Cause.UNITS)
    picks = list(found.picks)
    letters: dict[str, int] = {}
    for at, name in [*zip(found.picks, found.spec.names, strict=True), *enumerate(names)]:
        known = None if name is None else (wanted.sensor.find(name) if wanted.sensor else find(common(), name))
        if known is not None and known.letter is not None:
            letters.setdefault(known.letter, at)
    takes = []
    for index in wanted.indices:
        if index.name in found.spec.names:
            raise UnreadableError(f"a band {index.name} already", Cause.OTHER_BANDS)
        absent = [letter for letter in index.bands if letter not in letters]
        if absent:
            raise UnreadableError(
                f"no band that is {bands_of(absent)}, which {index.name} takes, among {_listed(names)}", Cause.UNNAMED
            )
        for letter in index.bands:
            if letters[letter] not in picks:
                picks.append(letters[letter])
        takes.append((index, {letter: picks.index(letters[letter]) for letter in index.bands}))
    spec = found.spec
    converted = f"numbers of {spec.dtype} stored as float32, beside spectral indices"
    many = len(wanted.indices)
    spec = BandSpec(
        names=(*spec.names, *(index.name for index in wanted.indices)),
        dtype="float32",
        scale=(*spec.scale, *(1.0,) * many),
        offset=(*spec.offset, *(0.0,) * many),
        nodata=math.nan,
        units=spec.units,
    )
    return replace(
        found,
        spec=spec,
        picks=tuple(picks),
        scale=tuple(units.scale[at] for at in picks),
        offset=tuple(units.offset[at] for at in picks),
        indices=tuple(takes),
        notes=() if found.spec.dtype == "float32" else (converted,),
    )


def _listed(names: Sequence[str | None]) -> str:
    return ", ".join(name or f"band_{i + 1}" for i, name in enumerate(names)) if any(names) else f"{len(names)} unnamed"


def difference(found: BandSpec, most: BandSpec) -> Reason:
    """Why a file of some bands does not fit to those of most files."""
    one, other = found, most
    if len(one) != len(other):
        text = f"{said(len(one), one.dtype)}, where most files have {len(other)}"
    elif set(one.names) != set(other.names):
        text = f"bands {', '.join(one.names)}, where most files have {', '.join(other.names)}"
    elif one.names != other.names:
        text = (
            f"bands in the order {', '.join(one.names)}; data.bands=[{', '.join(other.names)}] reads each by its name"
        )
    elif one.dtype != other.dtype:
        text = f"numbers of {one.dtype}, where most files have {other.dtype}"
    elif (one.scale, one.offset) != (other.scale, other.offset):
        text = (
            f"a scale of {one.scale[0]:g} and an offset of {one.offset[0]:g}, "
            f"where most files have {other.scale[0]:g} and {other.offset[0]:g}"
        )
    elif one.units != other.units:
        text = f"numbers in {one.units} units, where most files have {other.units}"
    else:
        text = f"no-data value {_number(one.nodata)}, where most files have {_number(other.nodata)}"
    return Reason(text, Cause.DIFFERENT)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"
