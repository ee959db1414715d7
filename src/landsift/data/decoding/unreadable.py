"""Why a file cannot be read, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import NamedTuple


class Cause(Enum):
    """The kinds of reasons; each one's value is the way out, as an error's second line says it."""

    MISSING = "check the paths; those of a table are looked for in the table's folder"
    ACCESS = "check rights and disk"
    FORMAT = "convert them to PNG or TIFF, or remove them"
    TOO_LARGE = "cut them into patches"
    BANDS = "write the three bands that are to be seen as an 8-bit RGB file"
    DEPTH = "scale the values to 8 bits first, in all patches alike"
    COLOURS = "convert them to RGB"
    PAGES = "write one file for each picture, with its bands in one page"
    COMPRESSION = "write them again with LZW, deflate or no compression"
    NO_PIXELS = "write them again, or remove them"
    DAMAGED = "copy or download them again, or remove them"
    EXTRA = (
        "pip install 'landsift[bands]' and say which bands they are with data.bands or data.sensor; "
        "or write the three bands that are to be seen as an 8-bit RGB file"
    )
    EXTRA_FOR_MODEL = "pip install 'landsift[bands]', which reads them"
    UNNAMED = (
        "say which bands they are with data.sensor=NAME, or data.bands=all, [1, 2, ...] or [red=1, nir=4, ...]; "
        "or write the three bands that are to be seen as an 8-bit RGB file"
    )
    ALPHA = (
        "read it as a band too, data.bands=[red=1, ..., nir=4], or say in the files that it is none of alpha, as "
        "gdal_edit.py -colorinterp_4 undefined does; or write the three bands that are to be seen as an 8-bit RGB file"
    )
    FOREIGN = (
        "name the bands that are wanted, data.bands=[B04, B03, ...], or say by number which they are, "
        "data.bands=[red=3, nir=4, ...]"
    )
    UNNAMED_FOR_MODEL = "say which bands they are: --set data.sensor=NAME, or --set 'data.bands=[red=1, nir=4, ...]'"
    OTHER_BANDS = "let data.sensor and data.bands say what lies in the files, or remove them"
    DIFFERENT = (
        "make all files of a source alike in bands, types, units and no-data value, or make sources of their own"
    )
    VALUES = "write them again as uint8, uint16, int16 or float32"
    NO_DATA = "declare one no-data value for all bands, as gdal_edit.py -a_nodata does, or write NaN in float32"
    UNITS = "say how numbers become reflectance with data.reflectance=[scale, offset]"
    OTHER_UNITS = "give files whose numbers are in the units of the model's own, or remove them"
    BASELINE = (
        "data.reflectance=[0.0001, -0.1] where the offset is still in the numbers, [0.0001, 0] where it was taken out"
    )
    SUBDATASETS = "write each as a file of its own, as gdal_translate does, with its bands together"
    SOURCES = "let the VRT name plain files on this machine, or write it as GeoTIFF"


class Reason(NamedTuple):
    """Why one file cannot be read."""

    text: str
    """For people, such as "6 bands, where grey, RGB and RGB + alpha are read"."""
    cause: Cause

    def __str__(self) -> str:
        return self.text


class UnreadableError(Exception):
    """A file cannot be decoded; `reason` says why."""

    def __init__(self, text: str, cause: Cause) -> None:
        super().__init__(text)
        self.reason = Reason(text, cause)


@contextmanager
def opening() -> Iterator[None]:
    """Turn what the system says of a file that is opened and read into an UnreadableError."""
    try:
        yield
    except FileNotFoundError:
        raise UnreadableError("the file does not exist", Cause.MISSING) from None
    except ValueError as error:  # a name with a NUL
        raise UnreadableError(str(error), Cause.MISSING) from None
    except OSError as error:
        raise UnreadableError((error.strerror or str(error)).lower(), Cause.ACCESS) from None


class LeftOut(NamedTuple):
    """Files that are left out for one reason."""

    files: int
    """How many."""
    first: str
    """Path of the first of them."""
    reason: Reason
    """Of the first; of damaged files each may have its own."""

    def __str__(self) -> str:
        if self.files == 1:
            return f"left out {self.first}: {self.reason}; {self.reason.cause.value}"
        return f"left out {self.files:,} files: {self.reason} (the first: {self.first}); {self.reason.cause.value}"


def summed_up(files: Iterable[tuple[str, Reason]]) -> list[LeftOut]:
    """What is left out, by reason, the most frequent first.

    Args:
        files: Path and reason of each file.
    """
    return merged(LeftOut(1, path, reason) for path, reason in files)


def merged(groups: Iterable[LeftOut]) -> list[LeftOut]:
    """Groups of several lists of files as those of one."""
    found: dict[object, LeftOut] = {}
    for group in groups:
        key = group.reason.cause if group.reason.cause is Cause.DAMAGED else group.reason
        before = found.get(key)
        found[key] = group if before is None else before._replace(files=before.files + group.files)
    return sorted(found.values(), key=lambda group: -group.files)


def in_words(groups: Sequence[LeftOut]) -> str:
    """The first of each reason, as a message about files that stop the work says it."""
    first, *others = groups
    also = "".join(f"; {group.files:,} more: {group.reason} (the first: {group.first})" for group in others[:3])
    return f"the first: {first.first}: {first.reason}{also}"
