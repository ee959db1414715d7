"""Where a map may be written: never over a file that is read, nor over one that belongs to no map of landsift.

A map is several files of one name, and each of them may be somebody's: MAP.png a scene, MAP.json its STAC item.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from landsift.errors import LandsiftError, RunError
from landsift.mapping.map_file import open_raster
from landsift.mapping.map_info import TAG
from landsift.runtime.outputs import LONGEST_NAME, absolute, check_file

ENDINGS = ("qml", "json", "areas.csv", "png")
"""Of what lies beside every map."""
SOME = ("html", "probabilities.tif", "entropy.tif", "trust.tif")
"""Of what lies beside some."""
_OF_PROBABILITIES = (".probabilities.", ".entropy.")
AUX = ".aux.xml"
BESIDE_SOME = tuple(f"{each}{aux}" for each in SOME for aux in ("", AUX))
"""The same with what GDAL writes beside them: left by an earlier map, it would be taken for a part of the new one."""
VERSION = "landsift:version"
"""The property by which a STAC item is known as that of a map."""
_MOST = 2**22  # bytes of such an item
_HINT = "give --out another name, or move it"


def beside_map(path: Path, ending: str) -> Path:
    """The path of what lies beside a map, such as `areas.csv`: MAP.tif, MAP.areas.csv."""
    return path.with_name(f"{path.stem}.{ending}")


def files_of_map(path: Path) -> list[Path]:
    """All files that a map may have, itself first."""
    more = [beside_map(path, ending) for ending in (*ENDINGS, *SOME)]
    rasters = [path, *(each for each in more if each.suffix == ".tif")]
    return [path, *more, *(each.with_name(each.name + AUX) for each in rasters)]


def is_map(path: Path) -> bool:
    """Whether a file is a map that landsift wrote."""
    return bool(_has_tag(path))


def _has_tag(path: Path) -> bool | None:
    """Whether a raster says that it is a map of landsift; None: it cannot be read."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return False
    try:
        with open_raster(path) as dataset:
            return TAG in dataset.tags()
    except (LandsiftError, OSError):
        return None


def is_item_of_map(path: Path) -> bool:
    """Whether a file is the STAC item of a map that landsift wrote."""
    try:
        if path.stat().st_size > _MOST:
            return False
        return VERSION in json.loads(path.read_bytes())["properties"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def map_path(path: Path | str) -> Path:
    """Where a map may be written; raises RunError where that is not, or does not end in .tif."""
    path = Path(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise RunError(f"--out {path} does not end in .tif", "give the name of a GeoTIFF, such as map.tif")
    check_file(path)
    return path


def check_place(path: Path, sources: Iterable[Path | str] = (), *, probabilities: bool = False) -> None:
    """Check that a map may be written: it and what lies beside it replace nothing but an earlier map.

    Args:
        path: of the map.
        sources: files that are read.
        probabilities: whether they are written too.

    Raises:
        RunError: it may not.
    """
    map_path(path)
    read = {os.path.realpath(absolute(each)) for each in sources if "\0" not in str(each)}
    every = files_of_map(path)[1:]
    for each in every:
        if probabilities or not each.name.startswith(_OF_PROBABILITIES, len(path.stem)):
            check_file(each)
    every = [each for each in every if len(os.fsencode(each.name)) <= LONGEST_NAME]
    for each in every:
        if each.exists() and os.path.realpath(absolute(each)) in read:
            raise RunError(f"--out {path}: {each.name} is read, and would be replaced", "give --out another name")
    for ending in (".tif", ".tiff", ".TIF", ".TIFF"):
        twin = path.with_suffix(ending)
        if twin.name != path.name and twin.exists() and not (path.exists() and twin.samefile(path)) and is_map(twin):
            raise RunError(f"--out {path}: what lies beside {twin.name} would be replaced", "give --out another name")
    item = beside_map(path, "json")
    known = is_item_of_map(item)
    own = _has_tag(path) if _is_something(path) else None
    if _is_something(path) and not (own or (own is None and known)):  # a damaged one is known by its item
        raise RunError(f"--out {path} is there, and is no map of landsift: it would be lost", _HINT)
    if _is_something(item) and not known:
        raise RunError(f"--out {path}: {item.name} belongs to no map of landsift, and would be lost", _HINT)
    for each in every:
        foreign = not (path.exists() or known) and not each.name.endswith(AUX)
        if _is_something(each) and (foreign or is_map(each)):
            raise RunError(f"--out {path}: {each.name} belongs to no map of this name, and would be lost", _HINT)


def _is_something(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0
