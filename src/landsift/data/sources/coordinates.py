"""Where patches lie, from what a table says: `lon` and `lat`, or `x` and `y` in a coordinate reference system `crs`."""

from __future__ import annotations

import logging
import math
import re
from array import array
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landsift.data.geodesy import EARTH_KM, Places, known
from landsift.errors import DataError
from landsift.extras import needs
from landsift.runtime.notices import once

PLACE_COLUMNS = ("lon", "lat", "x", "y", "crs")
"""What a table may say of a patch's centre: the first two, or the other three."""
_ALIASES = {
    "lon": {"lon", "long", "lng", "longitude"},
    "lat": {"lat", "latitude"},
    "crs": {"crs", "epsg", "srs", "srid", "epsg_code", "epsgcode", "crs_code"},
}
_FILLING = {
    "center", "centre", "centroid", "central", "mid", "patch", "point", "image", "tile", "coord", "coords",
    "coordinate", "deg", "degree", "degrees", "decimal", "dd", "wgs", "wgs84", "epsg4326", "gps", "geo", "of", "in",
}  # fmt: skip
"""Words beside a longitude's in a name that means no other thing."""
_CLOSE = 0.85  # of difflib's ratio: "longtitude" and "lattitude" are; so is "altitude", which begins otherwise
_ROUNDING = 1e-6
"""Degrees by which arithmetic may have put a place beyond a pole or the dateline; 0.1 m."""
APART_KM = 5.0
"""Kilometres from which a place is another one than that of the patch's own file; a patch is smaller."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_EPSG_AS_FLOAT = re.compile(r"(\d+)\.0+")
"""An EPSG number from a column of pandas that has a missing value."""
_MISSING = frozenset({"", "nan", "<na>", "na", "n/a", "none", "null"})
_GEOGRAPHIC = frozenset({"4326", "EPSG:4326", "OGC:CRS84", "CRS84", "WGS84", "WGS 84"})
RULE = "a table's places are the columns lon, lat (degrees, WGS 84) or x, y, crs"


def place_columns(file: Path | str, names: Sequence[str]) -> dict[str, int]:
    """Where a table's columns of places stand, by their names in `PLACE_COLUMNS`; of another table, nothing.

    `lon`, `long`, `lng`, `longitude` and `lat`, `latitude` are taken in any case.

    Raises:
        DataError: two columns mean the same, one of a pair is missing, or another one's name nearly is that of one.
    """
    found: dict[str, int] = {}
    for column, aliases in _ALIASES.items():
        meant = [i for i, name in enumerate(names) if name.lower() in aliases]
        if len(meant) > 1:
            both = " and ".join(f"'{names[i]}'" for i in meant[:2])
            raise DataError(f"{file} has the columns {both}, which mean the same", "keep one of them")
        if meant:
            found[column] = meant[0]
    for column in ("x", "y"):
        meant = [i for i, name in enumerate(names) if name.lower() == column]
        if len(meant) == 1:
            found[column] = meant[0]
    for column in ("lon", "lat"):
        near = next((name for name in names if column not in found and _nearly(name, column)), None)
        if near is not None:
            raise DataError(
                f"{file} has a column '{near}' and none '{column}'",
                f"if it is meant, name it '{column}' (degrees, WGS 84); if not, drop it",
            )
    return _one_way(file, names, found)


def _one_way(file: Path | str, names: Sequence[str], found: dict[str, int]) -> dict[str, int]:
    """Of the columns that were found, those of the one way in which places are given."""
    degrees: dict[str, int] = {column: found[column] for column in ("lon", "lat") if column in found}
    metres: dict[str, int] = {column: found[column] for column in ("x", "y", "crs") if column in found}
    if len(degrees) == 1:
        there, missing = ("lon", "lat") if "lon" in degrees else ("lat", "lon")
        raise DataError(f"{file} has a column '{names[degrees[there]]}' and none '{missing}'", RULE)
    if "crs" in metres and len(metres) < 3 and not degrees:
        missing = next(column for column in ("x", "y") if column not in metres)
        raise DataError(f"{file} has a column '{names[metres['crs']]}' and none '{missing}'", RULE)
    if degrees and len(metres) == 3:
        raise DataError(f"{file} has places twice, as lon, lat and as x, y, crs", "keep one of the two")
    if not degrees and {"x", "y"} == metres.keys():
        once(logging.INFO, f"{file}: x and y have no column crs beside them, and are not taken for places")
        return {}
    return degrees or (metres if len(metres) == 3 else {})


def _nearly(name: str, column: str) -> bool:
    """Whether another name seems to mean a longitude or latitude: "center_lon", "longtitude"."""
    words = re.findall(r"[a-z]+\d*", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    if any(word in _ALIASES[column] for word in words):
        return all(word in _ALIASES[column] | _FILLING for word in words)
    full = {"lon": "longitude", "lat": "latitude"}[column]
    return name.lower().startswith("l") and SequenceMatcher(None, "".join(words), full).ratio() >= _CLOSE


class PlaceReader:
    """Takes the places of a table row by row: float64, so that a million take 16 MB.

    Args:
        file: The table, for messages.

    Attributes:
        read: Whether a row said something of a place.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.read = False
        self._first, self._second = array("d"), array("d")
        self._rows_of_crs: dict[str, array[int]] = {}

    def add(self, row: str, values: Sequence[str]) -> None:
        """Take a row's texts, in the order of `PLACE_COLUMNS`; empty ones are unknown.

        Args:
            row: what the row is called in messages.
            values: five texts.

        Raises:
            DataError: one is no number, or one of a pair is missing.
        """
        if not any(values):
            self._first.append(math.nan)
            self._second.append(math.nan)
            return
        self.read = True
        lon, lat, x, y, crs = (value.strip() for value in values)
        crs = "" if crs.lower() in _MISSING else _EPSG_AS_FLOAT.sub(r"\1", crs)
        projected = bool(x or y or crs)
        pair = (("x", x), ("y", y)) if projected else (("lon", lon), ("lat", lat))
        numbers = [_number(row, name, value) for name, value in pair]
        if math.isnan(numbers[0]) != math.isnan(numbers[1]):
            there, missing = (pair[1][0], pair[0][0]) if math.isnan(numbers[0]) else (pair[0][0], pair[1][0])
            raise DataError(f"{row} has {there} and no {missing}", "fill it in, or leave both empty")
        if projected and not crs and not math.isnan(numbers[0]):
            raise DataError(f"{row} has x and y and no crs", "fill it in, such as EPSG:32633")
        if projected and not math.isnan(numbers[0]):
            self._rows_of_crs.setdefault(crs, array("q")).append(len(self._first))
        self._first.append(numbers[0])
        self._second.append(numbers[1])

    def places(self) -> Places | None:
        """All of them, checked, as longitude and latitude, [N, 2]; None where none is known.

        Raises:
            DataError: a coordinate reference system is unknown, or values are no places on Earth.
            MissingExtraError: they are projected, and rasterio is not installed.
        """
        if not self.read:
            return None
        found = np.stack([np.asarray(self._first), np.asarray(self._second)], axis=1)
        for crs, rows in self._rows_of_crs.items():
            number = np.asarray(rows)
            found[number] = _to_degrees(self._file, crs, found[number])
        return checked(str(self._file), found)


def _number(row: str, column: str, text: str) -> float:
    if text.lower() in _MISSING:
        return math.nan
    if _NUMBER.fullmatch(text):
        return float(text)
    if re.fullmatch(r"[+-]?\d+,\d+", text):
        raise DataError(f"{row} has the {column} '{text}'", f"write numbers with a point: {text.replace(',', '.')}")
    raise DataError(f"{row} has the {column} '{text[:40]}', which is no number", "decimal degrees or metres are needed")


def _to_degrees(file: Path, crs: str, values: Places) -> Places:
    """Coordinates of a reference system as longitude and latitude, by PROJ."""
    if crs.upper() in _GEOGRAPHIC:
        return values
    needs("rasterio", extra="bands", what=f"{file}: {crs}")
    from rasterio import Env
    from rasterio.crs import CRS
    from rasterio.warp import transform

    try:
        name = f"EPSG:{crs}" if crs.isdecimal() else crs
        with Env():  # in which GDAL's errors are exceptions, and nothing of them goes to standard error
            system = CRS.from_user_input(name)
            degrees = transform(system, "EPSG:4326", values[:, 0], values[:, 1])
            in_metres = bool(system.is_projected)
    except Exception as error:  # noqa: BLE001 (rasterio's and GDAL's are of several bases)
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{file}: {crs!r} is no coordinate reference system: {reason}", "such as EPSG:32633") from None
    if in_metres and np.abs(values).max() <= 360:
        x, y = values[0]
        hint = "are they degrees? name the columns lon and lat, or the crs EPSG:4326"
        raise DataError(f"{file}: x and y are no metres of {crs}; the first: {x:g}, {y:g}", hint)
    found: Places = np.stack(degrees[:2], axis=1).astype(np.float64)
    if not np.isfinite(found).all():
        raise DataError(f"{file}: x and y lie outside of {crs}", "is it the right one?")
    return found


def checked(source: str, places: Places) -> Places | None:
    """Places that can be places: longitudes of -180 to 180, latitudes of -90 to 90, unknown ones NaN.

    Longitudes of 0 to 360 are turned, and 0, 0 is taken for unknown; both are said. So is that all are one place.

    Args:
        source: where they come from, for messages.
        places: [N, 2]; not changed.

    Returns:
        [N, 2]; None where none is known.

    Raises:
        DataError: values lie outside, with what they may be instead.
    """
    found = np.array(places, dtype=np.float64)
    if np.isinf(found).any() or (np.isnan(found[:, 0]) != np.isnan(found[:, 1])).any():
        raise DataError(f"{source}: a place has one coordinate, or an infinite one", RULE)
    null = (found == 0.0).all(axis=1)
    if null.any():
        if (null | np.isnan(found[:, 0])).all():
            raise DataError(f"{source}: all places are 0, 0", "give their longitude and latitude, or leave them out")
        once(logging.WARNING, f"{source}: 0, 0 is taken for unknown, at {null.sum():,} of {len(null):,} places")
        found[null] = np.nan
    lon, lat = found[:, 0], found[:, 1]
    there = np.flatnonzero(np.isfinite(lon))
    if not len(there):
        once(logging.WARNING, f"{source}: all its places are empty")
        return None
    for values, limit in ((lon, 180.0), (lat, 90.0)):
        just = (np.abs(values) > limit) & (np.abs(values) <= limit + _ROUNDING)
        values[just] = np.copysign(limit, values[just])
    wrong = there[(np.abs(lon[there]) > 360) | (np.abs(lat[there]) > 90)]
    if len(wrong):
        raise _no_place(source, lon[there], lat[there], found[wrong[0]], len(wrong))
    beyond = np.abs(lon) > 180
    if beyond.any():
        if np.nanmin(lon) < 0:
            first = found[beyond.argmax()]
            raise DataError(
                f"{source}: {beyond.sum():,} longitudes are beyond 180 beside negative ones; the first: {first[0]:g}",
                "longitudes go from -180 to 180, or from 0 to 360",
            )
        once(logging.INFO, f"{source}: longitudes go from 0 to 360: {beyond.sum():,} beyond 180 are turned to the west")
        found[beyond, 0] -= 360.0
    if len(there) > 2 and (found[there] == found[there[0]]).all():
        once(logging.WARNING, f"{source}: all {len(there):,} places are one, {found[there[0], 0]:g}, {lat[there[0]]:g}")
    return found


def joined(source: str, said: Places | None, found: Places | None) -> Places | None:
    """Places that a table says, and where it says none those that the patches' own files tell, [N, 2].

    Args:
        source: what says them, for messages.
        said: [N, 2]; None: it says none.
        found: [N, 2]; None: the files tell none.

    Raises:
        DataError: most of what is said lies where the files are with longitude and latitude swapped, or elsewhere.
    """
    if said is None or found is None:
        return found if said is None else said
    both = np.flatnonzero(known(said) & known(found))
    if len(both):
        apart = _apart_km(said[both], found[both]) > APART_KM
        first = both[int(apart.argmax())]
        one, other = (f"{lon:g}, {lat:g}" for lon, lat in (said[first], found[first]))
        text = (
            f"{source}: {apart.sum():,} of {len(both):,} places are not those of the patches' own files; "
            f"the first says {one} and its file {other}"
        )
        if apart.mean() > 0.5:
            turned = _apart_km(said[both][:, ::-1], found[both]) <= APART_KM
            hint = "lon and lat are swapped" if turned.mean() > 0.5 else "leave the places out: the files tell them"
            raise DataError(text, hint)
        if apart.any():
            once(logging.WARNING, text)
    return np.where(known(said)[:, None], said, found)


def _apart_km(a: Places, b: Places) -> NDArray[np.float64]:
    """Kilometres between places that stand beside each other; also of what is no place, with longitude for latitude."""
    half = np.radians(b - a) / 2
    across = np.cos(np.radians(a[:, 1])) * np.cos(np.radians(b[:, 1])) * np.sin(half[:, 0]) ** 2
    return np.asarray(2 * EARTH_KM * np.arcsin(np.sqrt(np.clip(np.sin(half[:, 1]) ** 2 + across, 0, 1))))


def _no_place(source: str, lon: NDArray[np.float64], lat: NDArray[np.float64], first: Places, count: int) -> DataError:
    text = f"{source}: {count:,} places are none on Earth; the first: lon {first[0]:.10g}, lat {first[1]:.10g}"
    absurd = np.concatenate([lon[np.abs(lon) > 360], lat[np.abs(lat) > 360]])
    if count < len(lon) and len(np.unique(absurd)) == 1:
        hint = "do they stand for a missing location? leave lon and lat empty there"
    elif max(np.abs(lon).max(), np.abs(lat).max()) > 360:
        hint = "are they metres of a projection? give columns x, y and crs, such as EPSG:32633"
    elif np.abs(lon).max() <= 90 and np.abs(lat).max() <= 360:
        hint = "are lon and lat swapped?"
    else:
        hint = "longitudes go from -180 to 180, latitudes from -90 to 90"
    return DataError(text, hint)
