"""Several files as one raster: their bands one after the other, each called by what is known of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from landsift.data.decoding.file_bands import FileBands
from landsift.data.decoding.wanted import Wanted
from landsift.data.sensors import common, find, plain, sensor
from landsift.data.sensors import names as sensors
from landsift.errors import DataError
from landsift.mapping.scene_files import SceneFile

_TOKEN = re.compile(r"[^_\-. ]+")
_PLATFORMS = (
    (re.compile(r"L[COTEM]0[4-9]_|L[CETMO][4-9]\d{7}"), ("landsat",), "Landsat"),
    (re.compile(r"S2[A-D]_|T\d\d[A-Z]{3}_\d{8}T\d{6}_"), ("sentinel2", "eurosat"), "Sentinel-2"),
)
"""How names of files begin by what took them, and of which sensors their bands may be called."""
_SHORTEST = 2  # letters of a band's name in that of a file: r.tif says nothing
NAME_THEM = "say which band each file holds, in their order, such as --set 'data.bands=[red=1, nir=2]'"
APART = "several scenes are mapped with --out FOLDER"


class Stacked(NamedTuple):
    """Bands of files as if they were those of one."""

    bands: FileBands
    where: tuple[tuple[int, int], ...]
    """Of each band: which file, and its position in it, from 0."""
    notes: tuple[str, ...]
    doubts: tuple[str, ...]


def stacked(files: Sequence[SceneFile], wanted: Wanted) -> Stacked:
    """The bands of the files of a scene, one after the other.

    A band of a single file is called what the file says; else, of several files, what is known of it from elsewhere
    (`SceneFile.names`), or what the name of its file says.

    Raises:
        DataError: one band is there twice, or the files are not alike.
    """
    if len(files) == 1 and not any(files[0].names):
        return Stacked(files[0].bands, tuple((0, i) for i in range(len(files[0].bands))), (), ())
    if coloured := [file.path for file in files if file.colours is not None and len(files) > 1]:
        raise DataError(f"{coloured[0]}: numbers of colours in a table, beside other files", "write its bands alone")
    asked = _asked(wanted)
    names: list[str | None] = []
    where: list[tuple[int, int]] = []
    by_file_name: list[str] = []
    for number, file in enumerate(files):
        for i, at in enumerate(file.bands.colours):
            own = file.bands.names[at]
            candidates = [*file.names[i], *([own] if own else [])]
            if not candidates and len(file.bands.colours) == 1 and len(files) > 1:
                candidates = _in_name(file.path, asked)
                _check_platform(file.path, wanted)
                by_file_name += [f"{file.path.name} as {candidates[0]}"] if candidates else []
            names.append(_best(candidates, asked, wanted) if candidates else None)
            where.append((number, at))
    _check_once(files, names, where)
    notes = []
    if by_file_name:
        notes.append(f"bands by the names of their files: {', '.join(by_file_name)}")
    told = isinstance(wanted.bands, tuple) and not wanted.assumes("bands")
    if not all(names) and (any(names) or not told):
        unnamed = dict.fromkeys(files[n].path.name for (n, _), name in zip(where, names, strict=True) if not name)
        raise DataError(f"which band is in {', '.join(unnamed)} is not known", f"{NAME_THEM}; {APART}")
    doubts: list[str] = []
    bands = _one_of(files, where, wanted, doubts)
    return Stacked(replace(bands, names=tuple(names)), tuple(where), tuple(notes), tuple(doubts))


def _asked(wanted: Wanted) -> tuple[str, ...]:
    """Names of bands that the configuration or the model asks for."""
    said = [entry.split("=")[0].strip() for entry in wanted.bands or () if isinstance(entry, str)] if isinstance(
        wanted.bands, tuple
    ) else []  # fmt: skip
    return tuple(dict.fromkeys([*(wanted.taken.bands.names if wanted.taken else ()), *said]))


def is_called(one: str, other: str, wanted: Wanted) -> bool:
    """Whether a band of one name is what another one asks for."""
    if plain(one) == plain(other):
        return True
    known = wanted.sensor.find(other) if wanted.sensor else find(common(), other)
    return known is not None and plain(one) in known.aliases


def _best(candidates: Sequence[str], asked: Sequence[str], wanted: Wanted) -> str:
    """Of what a band may be called, what the model calls it; else the first."""
    for name in asked:
        if any(plain(each) == plain(name) for each in candidates):
            return name
    for name in asked:
        if any(is_called(each, name, wanted) for each in candidates):
            return name
    return candidates[0]


def _in_name(path: Path, asked: Iterable[str]) -> list[str]:
    """What a file's name says of its band; nothing, or several where it may be either.

    Raises:
        DataError: it says two.
    """
    found = list(dict.fromkeys(token_bands(path.name, asked)))
    if len(found) > 1:
        raise DataError(f"{path}: its name may mean band {' or '.join(found)}", NAME_THEM)
    return found


def _check_platform(path: Path, wanted: Wanted) -> None:
    """Refuse a file whose name is that of another satellite: its band of the same number is another one."""
    of = "" if wanted.sensor is None else wanted.sensor.name
    for pattern, start, title in _PLATFORMS:
        if of.startswith(("sentinel2", "eurosat", "landsat")) and not of.startswith(start) and pattern.match(path.name):
            raise DataError(
                f"{path}: by its name a file of {title}, where bands are called as those of {of}",
                "say of which sensor these files are, such as --set data.sensor=landsat8",
            )


def token_bands(name: str, asked: Iterable[str] = ()) -> list[str]:
    """The bands that parts of a file's name stand for, such as B04 in T33TWL_20230810T095031_B04_10m.jp2."""
    parts = tokens(name)
    wanted = {plain(each) for each in asked}
    known = {alias for each in sensors() for band in sensor(each).bands for alias in band.aliases}
    known |= {alias for band in common() for alias in band.aliases}
    found: list[str] = []
    i = 0
    while i < len(parts):
        pair = "_".join(parts[i : i + 2])
        if i + 1 < len(parts) and plain(pair) in known | wanted:
            found.append(pair)
            i += 2
            continue
        if len(parts[i]) >= _SHORTEST and plain(parts[i]) in known | wanted:
            found.append(parts[i])
        i += 1
    return found


def tokens(name: str) -> list[str]:
    """The parts of a file's name without its ending."""
    return _TOKEN.findall(Path(name).stem)


def _check_once(files: Sequence[SceneFile], names: Sequence[str | None], where: Sequence[tuple[int, int]]) -> None:
    first: dict[str, int] = {}
    for name, (number, _) in zip(names, where, strict=True):
        if name is None:
            continue
        if (before := first.setdefault(plain(name), number)) != number:
            raise DataError(
                f"band {name} is in {files[before].path.name} and in {files[number].path.name}",
                f"give each once; {APART}",
            )


def _one_of(
    files: Sequence[SceneFile], where: Sequence[tuple[int, int]], wanted: Wanted, doubts: list[str]
) -> FileBands:
    """What all files say alike; raises DataError where they do not."""
    every = [file.bands for file in files]
    dtype = _alike(files, [bands.dtype for bands in every], "numbers of {}")
    said = wanted.reflectance is not None and not wanted.assumes("reflectance")
    scaled = (
        not said and _alike(files, ["a" if bands.scale else "no" for bands in every], "{} scale in its tags") == "a"
    )
    declared = [file for file in files if file.bands.nodata is not None]
    nodata = _alike(declared, [file.bands.nodata for file in declared], "no-data value {:g}") if declared else None
    if nodata is not None and any(bands.nodata is None for bands in every):
        doubts.append(f"no no-data value in the tags of some files: {nodata:g}, as in those of the others")
    offsets = [bands.add_offset for bands in every]
    add_offset = _alike(files, offsets, "an offset of {} in Sentinel-2's tags")
    return FileBands(
        dtype=dtype,
        names=(None,) * len(where),
        scale=tuple((files[n].bands.scale or ())[i] for n, i in where) if scaled else None,
        offset=tuple((files[n].bands.offset or ())[i] for n, i in where) if scaled else None,
        nodata=nodata,
        units=_alike(files, [bands.units for bands in every], "units {}"),
        masked=any(bands.masked for bands in every),
        add_offset=add_offset,
        quantification=_alike(files, [bands.quantification for bands in every], "a quantification value of {}"),
        baseline=_alike(files, [bands.baseline for bands in every], "processing baseline {}"),
    )


def _alike(files: Sequence[SceneFile], values: Sequence[Any], what: str) -> Any:
    for file, value in zip(files, values, strict=True):
        if value != values[0] and repr(value) != repr(values[0]):
            one, other = (what.format("none" if each in (None, "") else each) for each in (values[0], value))
            raise DataError(
                f"{files[0].path.name} has {one}, and {file.path.name} {other}",
                "write the files alike, such as with gdal_translate -ot, -a_scale or -a_nodata",
            )
    return values[0]
