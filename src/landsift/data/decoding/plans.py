"""From what a file says of its bands, and what the configuration wants, to what is stored of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np

from landsift.bands import BRIGHTNESS, REFLECTANCE, UNKNOWN, BandSpec, DType
from landsift.config import DataConfig
from landsift.data.decoding.file_bands import FileBands, said
from landsift.data.decoding.headers import ALPHA
from landsift.data.decoding.indices import Index, bands_of, indices
from landsift.data.decoding.rasters import EXACT
from landsift.data.decoding.unreadable import Cause, Reason, UnreadableError
from landsift.data.sensors import Sensor, common, find, plain, sensor
from landsift.extras import needs

SINCE_OFFSET = (4, 0)
"""Sentinel-2's processing baseline since which numbers are 1,000 higher (ESA, January 2022)."""
OFFSET, QUANTIFICATION = -1000.0, 1e4

NO_BASELINE = (
    "Sentinel-2 without a processing baseline in its tags: offset 0, as before 04.00 "
    "(since then data.reflectance=[0.0001, -0.1])"
)
NO_ALPHA = "an alpha band, which is not stored; what it hides becomes no data"
_ENTRY = re.compile(r"(.+?)\s*=\s*([0-9]+)")


class Wanted(NamedTuple):
    """What the configuration wants of the bands."""

    bands: str | tuple[int | str, ...] | None = None
    sensor: Sensor | None = None
    indices: tuple[Index, ...] = ()
    reflectance: tuple[float, float] | None = None

    @classmethod
    def of(cls, data: DataConfig) -> Self:
        """Of the section `data`.

        Raises:
            ConfigError: there is no such sensor or index.
            MissingExtraError: what reads them is not installed.
        """
        if data.indices:
            needs("spyndex", extra="bands", what="data.indices")
        found = cls(
            data.bands,
            None if data.sensor is None else sensor(data.sensor),
            indices(data.indices),
            data.reflectance,
        )
        if found.anything:
            needs("rasterio", extra="bands", what="reading bands")
        return found

    @property
    def anything(self) -> bool:
        """Whether it says more than nothing; then rasters of all endings are read."""
        return bool(self.bands or self.sensor or self.indices or self.reflectance)

    @property
    def said(self) -> str:
        """The keys of the configuration that say something, such as "data.bands and data.sensor"."""
        return " and ".join(f"data.{name}" for name, value in self._asdict().items() if value)

    def key(self) -> Mapping[str, object]:
        """What decides what is stored, for a fingerprint; empty where nothing is wanted."""
        if not self.anything:
            return {}
        return {
            "bands": self.bands,
            "sensor": self.sensor,
            "indices": [index.key for index in self.indices],
            "reflectance": self.reflectance,
        }


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
    names = _names(bands, wanted, doubts)
    picks = _picks(bands, wanted, names, doubts)
    _check_once([pick.name for pick in picks])
    _check_type(bands, wanted)
    units = _units(bands, wanted, doubts)
    nodata = _no_data(bands, wanted, doubts)
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
    if bands.alpha is not None and not bands.pillow and bands.alpha not in found.picks:
        notes.append(ALPHA if found.spec.dtype == "uint8" and bands.picture else NO_ALPHA)
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
            f"{said(count, bands.dtype)}, where files of {wanted.sensor.name} have {len(expected)}", Cause.OTHER_BANDS
        )
    found: list[str | None] = [None] * len(bands)
    for at, name in zip(stored, expected, strict=True):
        found[at] = name
    return found


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
        stored = [i for i in range(len(bands)) if i != bands.alpha or names[i] or wanted.bands == "all"]
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
                f"{said(len(bands), bands.dtype)} without names, where data.bands asks for {entry}", Cause.UNNAMED
            )
        raise UnreadableError(f"no band {entry} among {_listed(names)}", Cause.OTHER_BANDS)
    return _Pick(known.name if wanted.sensor and known else entry, found[0])


def _position(number: int, bands: FileBands) -> int:
    if number > len(bands):
        raise UnreadableError(
            f"{said(len(bands), bands.dtype)}, where data.bands asks for band {number}", Cause.OTHER_BANDS
        )
    return number - 1


def _check_known(picks: Sequence[_Pick], of: Sensor) -> None:
    foreign = [pick.name for pick in picks if pick.name not in of.names]
    if foreign:
        raise UnreadableError(f"a band {foreign[0]}, which {of.name} does not have", Cause.OTHER_BANDS)


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


class _Units(NamedTuple):
    scale: tuple[float, ...]
    """Of all bands of the file."""
    offset: tuple[float, ...]
    units: str
    guessed: bool = False


def _units(bands: FileBands, wanted: Wanted, doubts: list[str]) -> _Units:
    """What the numbers stand for: as the configuration says, else the file, else the sensor."""
    count, of = len(bands), wanted.sensor
    own = _own_units(bands, of)
    if wanted.reflectance is not None:
        scale, offset = wanted.reflectance
        if own is not None and (set(own.scale), set(own.offset)) != ({scale}, {offset}):
            doubts.append("scale and offset in its tags, which data.reflectance replaces")
        return _Units((scale,) * count, (offset,) * count, REFLECTANCE)
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
        return _Units((of.scale,) * count, (of.offset,) * count, of.units, guessed)
    if bands.dtype == "uint8" and not bands.units:
        if not bands.picture:
            doubts.append("8-bit numbers without a scale, taken as brightness, of which 255 is all")
        return _Units((1 / 255,) * count, (0.0,) * count, BRIGHTNESS)
    if not bands.units:
        doubts.append("no scale and no units in its tags: kept as the numbers that they are, in unknown units")
    return _Units((1.0,) * count, (0.0,) * count, bands.units or UNKNOWN)


def _own_units(bands: FileBands, of: Sensor | None) -> _Units | None:
    """Scale and offset as a file's tags say them; None where they do not."""
    count = len(bands)
    tagged = None
    if bands.add_offset is not None or (bands.quantification is not None and not bands.baseline):
        factor = bands.quantification or QUANTIFICATION
        if factor <= 0:
            raise UnreadableError(f"a quantification value of {factor:g}", Cause.UNITS)
        tagged = _Units((1 / factor,) * count, ((bands.add_offset or 0.0) / factor,) * count, REFLECTANCE)
    if bands.scale is None or bands.offset is None:
        return tagged
    numbers = (*bands.scale, *bands.offset)
    if not all(map(math.isfinite, numbers)) or min(bands.scale) <= 0:
        raise UnreadableError(f"a scale of {bands.scale[0]:g} and an offset of {bands.offset[0]:g}", Cause.UNITS)
    units = bands.units or (of.units if of else UNKNOWN)
    found = _Units(bands.scale, bands.offset, units)
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


def _no_data(bands: FileBands, wanted: Wanted, doubts: list[str]) -> float | None:
    """The number of the file that means that there is nothing."""
    if bands.pillow or bands.picture:
        return None
    if bands.nodata is not None:
        return bands.nodata
    if wanted.sensor is not None and wanted.sensor.nodata is not None:
        doubts.append(f"no no-data value in its tags: {wanted.sensor.nodata:g}, as {wanted.sensor.name} has it")
        return wanted.sensor.nodata
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


def _with_indices(found: Plan, names: Sequence[str | None], wanted: Wanted, units: _Units) -> Plan:
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
