"""Which columns of a table are read, and which others look as if they were meant to be."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path

from landsift.data.sources.coordinates import PLACE_COLUMNS, RULE, place_columns
from landsift.data.sources.split_names import SPLIT_NAMES, decoration, part_of
from landsift.errors import DataError
from landsift.runtime.notices import once

_ALIASES = {
    "path": {"file", "filename", "filepath", "image", "images", "imagepath", "imagefile", "img", "imgpath", "patch"},
    "label": {"class", "classname", "category", "target", "y", "landuse", "landcover", "classlabel"},
    "split": {"subset", "subsets", "partition", "fold", "folds", "kfold", "cvfold", "foldid", "datasplit", "settype"},
    "group": {"groupid", "groupids", "groupname", "groupno", "groupnumber", "groupindex", "grp", "grouping"},
}
"""Names (letters only) that people give the columns."""
_NAMING = frozenset(
    {"id", "name", "fname", "imageid", "imagename", "patchid", "patchname", "fileid", "sampleid", "key"}
)
"""Names of a column of paths or files where there is none of the others."""
_PLACES = frozenset({"scene", "sceneid", "tile", "tileid", "site", "siteid", "location", "region", "parcel"})
_COORDINATES = frozenset(
    {"easting", "northing", "utmx", "utmy", "utme", "utmn", "xcoord", "ycoord", "coordx", "coordy", "geometry", "geom",
     "wkt", "wkb", "bounds", "bbox", "lonmin", "lonmax", "latmin", "latmax", "minlon", "maxlon", "minlat", "maxlat",
     "coordinates", "latlon", "lonlat", "position", "pointx", "pointy", "centroidx", "centroidy", "centerx", "centery",
     "centrex", "centrey", "geox", "geoy", "mapx", "mapy", "coordinatex", "coordinatey", "eastings", "northings",
     "rechtswert", "hochwert", "geopoint", "latlng", "thegeom", "shape"}
)  # fmt: skip
"""Names (letters only) of columns that say where a patch lies in a way that is not read."""
_FLAG_WORDS = frozenset({"is", "in", "for", "mask", "flag"})
_CLOSE = 0.8  # of difflib's ratio: "spilt" and "gruop" are, "slope" and "crop" are not
_OF_PANDAS = re.compile(r"|Unnamed: \d+|__index_level_\d+__")
_LISTED = 8
_SHORT = 10  # letters


def positions(file: Path, header: Sequence[str], wanted: Sequence[str]) -> list[int | None]:
    """Where each wanted column stands among a table's columns; None where an optional one is missing.

    Args:
        file: The table, for messages.
        header: Its columns' names.
        wanted: Fields of a Record, or `PLACE_COLUMNS`; `path` and `label` are needed, the others optional. `file` in
            place of `path` takes the other names of such a column as well.

    Raises:
        DataError: a column is missing, stands there twice, or another one's name nearly is that of an optional one.
    """
    names = [name.strip() for name in header]
    found = place_columns(file, names) if set(PLACE_COLUMNS) <= set(wanted) else {}
    for column in wanted:
        if column in PLACE_COLUMNS:
            continue
        if column == "file":
            found[column] = _file_column(file, names)
            continue
        if names.count(column) > 1:
            raise DataError(f"{file} has two columns '{column}'", "keep one of them")
        if column in ("path", "label") and column not in names:
            raise DataError(
                f"{file} has no column '{column}' (it has: {', '.join(names[:8])[:200]})", _missing_hint(column, names)
            )
        if column in ("split", "group") and (meant := _meant_as(column, names)):
            if column in names:
                raise DataError(f"{file} has the columns '{column}' and '{meant}'", "keep one of them")
            raise DataError(
                f"{file} has a column '{meant}' and none '{column}'",
                f"if it is meant, name it '{column}'{' (train, val and test)' * (column == 'split')}; if not, drop it",
            )
        if column in names:
            found[column] = names.index(column)
    return [found.get(column) for column in wanted]


def _file_column(file: Path, names: Sequence[str]) -> int:
    """The column that names files, whatever it is called of `path` and its aliases, or else as what names things."""
    for aliases in (_ALIASES["path"] | {"path"}, _NAMING):
        meant = [i for i, name in enumerate(names) if _letters(name) in aliases]
        if len(meant) == 1:
            return meant[0]
        if meant:
            both = " and ".join(f"'{names[i]}'" for i in meant[:2])
            raise DataError(f"{file} has the columns {both}, which may both name the patches", "keep one of them")
    divided = len(names) == 1 and any(other in names[0] for other in ";\t|")
    hint = "its columns must be divided by commas" if divided else "name the one with paths or names of files 'path'"
    raise DataError(f"{file} has no column 'path' (it has: {', '.join(names[:8])[:200]})", hint)


def unused(header: Sequence[str], read: Iterable[int | None]) -> list[int]:
    """Positions of the columns that are not read, but those in which pandas leaves its row numbers."""
    taken = set(read)
    return [i for i, name in enumerate(header) if i not in taken and not _OF_PANDAS.fullmatch(name.strip())]


def tell_unused(file: Path, names: Sequence[str], wanted: Sequence[str]) -> None:
    """Say which columns are not used."""
    if not names:
        return
    listed = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    places = [name for name in names if _letters(name) in _PLACES]
    hint = f"; named 'group', '{places[0]}' would keep its patches on one side of the split" if places else ""
    coordinates = any(_letters(name) in _COORDINATES for name in names) and set(PLACE_COLUMNS) <= set(wanted)
    hint = f"{hint if 'group' in wanted else ''}{f'; {RULE}' if coordinates else ''}"
    once(logging.INFO, f"{file}: columns that are not used: {listed}{hint}")


def refuse_split_values(file: Path, samples: Mapping[str, Iterable[str]]) -> None:
    """Refuse a column of another name that holds the parts of a split.

    Args:
        file: The table, for messages.
        samples: Values of the columns that are not read, where there is no column `split`.

    Raises:
        DataError: the values of one are named as parts of a split, and `train` is among them or they are several; or
            train and another part are among its values, whatever the others are.
    """
    for name, values in samples.items():
        distinct = {value.strip() for value in values} - {""}
        parts = {None if " " in value and decoration(value) else part_of(value) for value in distinct}
        plain = {SPLIT_NAMES[value.lower()] for value in distinct if value.lower() in SPLIT_NAMES}
        named = bool(parts) and None not in parts and ("train" in parts or len(parts) > 1)
        if named or plain > {"train"}:
            some = ", ".join(sorted(distinct)[:3])
            raise DataError(
                f"{file} has no column 'split', but '{name}' holds the parts of one ({some})",
                "if it is meant, name it 'split' (train, val and test); if not, drop it",
            )


def _missing_hint(column: str, names: Sequence[str]) -> str:
    if len(names) == 1 and any(other in names[0] for other in ";\t|"):
        return "its columns must be divided by commas"
    meant = next((name for name in names if _letters(name) in _ALIASES[column] | {column}), None)
    if meant is None and (close := get_close_matches(column, names, n=1)):
        meant = close[0]
    return (
        f"rename its column '{meant}' to '{column}'" if meant else "a table of patches has the columns path and label"
    )


def _meant_as(column: str, names: Sequence[str]) -> str | None:
    """A name that is `column` but for its case, or, where there is none of that name, means the same."""
    others = [name for name in names if name != column and not _OF_PANDAS.fullmatch(name)]
    if column in names:
        return next((name for name in others if name.lower() == column), None)
    return next((name for name in others if _means(name, column)), None)


def _means(name: str, column: str) -> bool:
    letters = _letters(name)
    if letters == column or letters in _ALIASES[column]:
        return True
    if column == "split" and len(letters) <= _SHORT and (letters.startswith(column) or letters.endswith(column)):
        return True  # split_name, train_split
    if column == "split" and part_of(name):
        words = set(re.findall("[a-z]+", name.lower())) - _FLAG_WORDS
        return len(words) == 1  # a flag, such as is_train
    return SequenceMatcher(None, letters, column).ratio() >= _CLOSE


def _letters(name: str) -> str:
    return re.sub(r"[\W\d_]", "", name).lower()
