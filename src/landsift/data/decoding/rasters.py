"""Rasters of any bands through rasterio: what a file says of itself, and its values as they are stored."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from landsift.bands import DTYPES, MOST, RGB_NAMES
from landsift.data.decoding.file_bands import FileBands, Seen, said
from landsift.data.decoding.gdal import in_words, opened
from landsift.data.decoding.places import place_of
from landsift.data.decoding.tiff_directories import MAGIC, Buffer, directories
from landsift.data.decoding.tiff_pixels import masks
from landsift.data.decoding.tiff_tags import NO_DATA
from landsift.data.decoding.unreadable import Cause, UnreadableError
from landsift.data.sensors import plain

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

Values = NDArray[Any]

MAX_BYTES = 2**31
"""Largest array that is read of one file."""

EXACT = {"int8": "int16", "int32": "float32", "uint32": "float32", "int64": "float32", "uint64": "float32",
         "float64": "float32", "float16": "float32"}  # fmt: skip
"""Types that no store keeps, and the one that their numbers are read in: where it holds each whole number exactly;
fractions of float64 are rounded to float32's seven digits."""

ALPHA_NAMES = ("alpha", "mask")
"""What an alpha band may be called, in `plain` form."""

_ADD_OFFSET = re.compile(r"(BOA|RADIO)_ADD_OFFSET(_\w+)?|(BOA|RADIO)_ADD_OFFSET_VALUES?", re.IGNORECASE)
_QUANTIFICATION = ("BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE", "L1C_QUANTIFICATION_VALUE")
_NAMED_BY_COUNT = re.compile(r"(band|layer)[ _]?\d+", re.IGNORECASE)
"""What programs call a band that they know no name of."""


class Read(NamedTuple):
    """What was read of a raster."""

    values: Values
    """[H, W, C]"""
    hidden: NDArray[np.bool_] | None
    """Where a mask or the alpha band hides them, [H, W]; None: nowhere."""
    heard: tuple[str, ...]
    """What GDAL said meanwhile."""


def look(
    path: Path,
    raw: bytes,
    max_pixels: int,
    unread: str | None = None,
    choose: Callable[[Seen], Sequence[int] | None] | None = None,
) -> tuple[Seen, Read | None]:
    """Read what a raster says of itself and, in the same breath, some of its bands.

    Args:
        path: of the file, absolute.
        raw: its bytes.
        max_pixels: largest image that is read.
        unread: why Pillow does not read it, where it could be thought to.
        choose: positions of the bands that are read, from 0; None, or what gives it: none are.

    Raises:
        UnreadableError: it is no raster, holds several, its bands are not alike, or it is damaged.
    """
    with opened(path, raw) as (dataset, heard):
        bands = describe(dataset, raw, unread)
        size = (dataset.height, dataset.width)
        if math.prod(size) > max_pixels:
            raise UnreadableError(f"more than {max_pixels:,} pixels", Cause.TOO_LARGE)
        place, notes = place_of(dataset)
        notes += read_as(bands)
        seen = Seen(size, bands, place, notes + in_words(heard, path), _beside(dataset.files, path))
        before = len(heard)
        picks = None if choose is None else choose(seen)
        if picks is None:
            return seen, None
        values, hidden = _values(dataset, bands, picks)
    return seen, Read(values, hidden, in_words(heard[before:], path))


def describe(dataset: DatasetReader, raw: Buffer, unread: str | None = None) -> FileBands:
    """What an open raster says of its bands.

    Args:
        dataset: the raster.
        raw: its bytes, of which a TIFF's directories are read.
        unread: why Pillow does not read it, where it could be thought to.

    Raises:
        UnreadableError: it holds several rasters, or its bands are not alike.
    """
    bands = _bands(dataset, unread)
    _check_declared(bands, raw)
    return bands


def read_as(bands: FileBands) -> tuple[str, ...]:
    """What is to be said of the type in which numbers are read; nothing where it is their own."""
    if bands.dtype not in EXACT:
        return ()
    held = "" if bands.dtype == "float64" else ", which holds each of them exactly"
    return (f"numbers of {bands.dtype}, read as {EXACT[bands.dtype]}{held}",)


def _values(dataset: DatasetReader, bands: FileBands, picks: Sequence[int]) -> tuple[Values, NDArray[np.bool_] | None]:
    """Some bands as they are stored, [H, W, C], and where they are hidden, [H, W], or None."""
    if dataset.height * dataset.width * len(picks) * 8 > MAX_BYTES:
        raise UnreadableError(f"more than {MAX_BYTES >> 30} GiB of values", Cause.TOO_LARGE)
    values = np.ascontiguousarray(np.moveaxis(dataset.read([pick + 1 for pick in picks]), 0, -1))
    if bands.alpha is not None and bands.alpha not in picks:
        alpha = dataset.read(bands.alpha + 1)
        if not masks(alpha):
            which = "the last" if bands.alpha == len(bands) - 1 else f"band {bands.alpha + 1}"
            raise UnreadableError(
                f"{said(len(bands), bands.dtype)}, of which {which} is declared as alpha, "
                "but holds values like the others",
                Cause.ALPHA,
            )
        return values, alpha == 0
    if bands.masked and bands.alpha is None:
        return values, dataset.read_masks(picks[0] + 1) == 0
    return values, None


def _bands(dataset: DatasetReader, unread: str | None) -> FileBands:
    from rasterio.enums import ColorInterp, MaskFlags

    if dataset.count == 0:
        raise UnreadableError(_subdatasets(dataset.subdatasets), Cause.SUBDATASETS)
    if dataset.count > MOST:
        raise UnreadableError(f"{dataset.count:,} bands, of which {MOST:,} are read at most", Cause.BANDS)
    if dataset.tags(ns="IMAGE_STRUCTURE").get("SOURCE_COLOR_SPACE") == "CMYK":  # which GDAL makes RGB of, by a rule
        raise UnreadableError(unread or "bands of inks (CMYK)", Cause.BANDS)
    colours = dataset.colorinterp
    names = tuple(_name(text) for text in dataset.descriptions)
    alpha = _alpha([colour == ColorInterp.alpha for colour in colours], names)
    own = [i for i in range(dataset.count) if i != alpha]
    dtype = _one([dataset.dtypes[i] for i in own], "types", Cause.VALUES)
    if dtype not in DTYPES and dtype not in EXACT:
        raise UnreadableError(f"numbers of {dtype}, which are not read", Cause.VALUES)
    if ColorInterp.palette in colours:
        raise UnreadableError(f"{said(len(own), dtype)}, numbers of colours in a table", Cause.COLOURS)
    nodata = _one([_no_data(dataset.nodatavals[i], dtype) for i in own], "no-data values", Cause.NO_DATA)
    units = {dataset.units[i] or "" for i in own}
    as_they_are = all(dataset.scales[i] == 1 and dataset.offsets[i] == 0 for i in range(dataset.count))
    if picture := as_they_are and _is_picture(dtype, names, colours, own):
        names = tuple(RGB_NAMES[own.index(i)] if i in own else None for i in range(dataset.count))
    masked = any(MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags for flags in dataset.mask_flag_enums)
    return FileBands(
        dtype=dtype,
        names=names,
        scale=None if as_they_are else tuple(map(float, dataset.scales)),
        offset=None if as_they_are else tuple(map(float, dataset.offsets)),
        nodata=None if nodata is None else float(nodata),
        units=units.pop()[:40] if len(units) == 1 else "",
        masked=masked,
        alpha=alpha,
        picture=picture,
        unread=unread,
        **_sentinel(dataset),
    )


def _alpha(declared: Sequence[bool], names: Sequence[str | None]) -> int | None:
    """Position of the alpha band; None: there is none.

    Programs declare a fourth band so, whatever it is: one that is called something else is not believed, and one that
    has bands behind it only by its name.
    """
    if len(declared) < 2:
        return None
    if declared[-1] and plain(names[-1] or "alpha") in ALPHA_NAMES:
        return len(declared) - 1
    found = [i for i, name in enumerate(names) if declared[i] and plain(name or "") in ALPHA_NAMES]
    return found[0] if len(found) == 1 else None


def _is_picture(dtype: str, names: tuple[str | None, ...], colours: Sequence[Any], own: list[int]) -> bool:
    """Whether it is what Pillow would store as RGB, but for how it is compressed."""
    from rasterio.enums import ColorInterp

    rgb = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
    return dtype == "uint8" and not any(names[i] for i in own) and [colours[i] for i in own] == rgb


def _no_data(value: float | None, dtype: str) -> float | str | None:
    """A no-data value as its band holds it; raises UnreadableError where that type cannot."""
    if value is None:
        return None
    kind = np.dtype(dtype)
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            # Compared as text, since NaN differs from itself.
            return str(float(kind.type(value)))
    if math.isnan(value) or value != int(value) or not np.iinfo(kind).min <= value <= np.iinfo(kind).max:
        raise UnreadableError(f"its no-data value {value:g} is none that {dtype} has", Cause.NO_DATA)
    return str(float(value))


def _check_declared(bands: FileBands, raw: Buffer) -> None:
    """Refuse a TIFF whose no-data value rasterio passes over, as its type cannot have it."""
    if bands.nodata is not None or raw[:4] not in MAGIC:
        return
    text = next((found for tags in directories(raw) if (found := tags.content(NO_DATA))), b"")
    value = text.rstrip(b"\0 ").decode("ascii", "replace")
    if value:
        raise UnreadableError(f"its no-data value {value} is none that {bands.dtype} has", Cause.NO_DATA)


def _one(values: Sequence[Any], what: str, cause: Cause) -> Any:
    """The value that all bands share."""
    found = list(dict.fromkeys(values))
    if len(found) > 1:
        listed = ", ".join("none" if each is None else str(each) for each in found[:4])
        raise UnreadableError(f"{what} that differ between its bands: {listed}", cause)
    return found[0]


def _name(text: str | None) -> str | None:
    """A band's name from its description, None where that says nothing."""
    name = " ".join((text or "").split())[:100]
    return None if not name or _NAMED_BY_COUNT.fullmatch(name) else name


def _sentinel(dataset: DatasetReader) -> dict[str, Any]:
    """What the tags of a file and of its bands say of Sentinel-2's numbers."""
    tags = {key.upper(): value for key, value in dataset.tags().items()}
    each = [tags, *({key.upper(): value for key, value in dataset.tags(i).items()} for i in dataset.indexes)]
    offsets = [
        number
        for found in each
        for key, text in found.items()
        if _ADD_OFFSET.fullmatch(key)
        for number in _numbers(text)
    ]
    factors = [number for found in each for key in _QUANTIFICATION for number in _numbers(found.get(key, ""))]
    baseline = next((found["PROCESSING_BASELINE"] for found in each if "PROCESSING_BASELINE" in found), "")
    return {
        "add_offset": _one(offsets, "Sentinel-2 offsets", Cause.UNITS) if offsets else None,
        "quantification": _one(factors, "quantification values", Cause.UNITS) if factors else None,
        "baseline": " ".join(baseline.split())[:20],
    }


def _numbers(text: str) -> list[float]:
    """The numbers of a tag, of which some stand in brackets or are separated by commas."""
    return [float(number) for number in re.findall(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", text)]


def _subdatasets(names: Sequence[str]) -> str:
    """The reason for a file of several rasters, which names them."""
    if not names:
        return "no raster bands in it"
    last = [re.split(r'[:"/]+', name.rstrip('"/'))[-1] for name in names]
    more = f" and {len(last) - 5} more" if len(last) > 5 else ""
    return f"{len(last)} rasters in one file ({', '.join(last[:5])}{more}), where one is read"


def _beside(files: Sequence[str], path: Path) -> str:
    """A hash of the files that belong to a raster, beside itself; empty where there are none."""
    others = sorted({os.path.abspath(file) for file in files} - {os.path.abspath(path)})
    if not others:
        return ""
    hashed = hashlib.sha256()
    for file in others:
        try:
            state = os.stat(file)  # noqa: PTH116 (as the files are text)
            whole = _hash(file, state.st_size, state.st_mtime_ns, state.st_ino)
        except OSError:
            whole = "missing"
        hashed.update(f"{os.path.basename(file)}\0{whole}\n".encode(errors="surrogateescape"))  # noqa: PTH119
    return hashed.hexdigest()


@functools.lru_cache(maxsize=1024)
def _hash(file: str, size: int, changed: int, inode: int) -> str:
    """Of a file's bytes; a mosaic may belong to thousands of VRTs."""
    with open(file, "rb") as opened_file:
        return hashlib.file_digest(opened_file, "sha256").hexdigest()
