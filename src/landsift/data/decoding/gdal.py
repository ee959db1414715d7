"""GDAL as landsift uses it: one file at a time, nothing from the network, no folder listed, its warnings in our words.

Reference: https://gdal.org/user/configoptions.html and rasterio's documentation of `Env` and `open`.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from landsift.data.decoding.decode import IMAGE_SUFFIXES
from landsift.data.decoding.headers import PNG_MAGIC
from landsift.data.decoding.tiff_directories import MAGIC
from landsift.data.decoding.unreadable import Cause, UnreadableError
from landsift.errors import LandsiftError

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

JP2_MAGIC = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
VRT_ROOT = b"<VRTDataset"
_OTHERS = (b"EHFA_HEADER_TAG", b"\x89HDF", b"CDF\x01", b"CDF\x02", b"CDF\x05", b"GRIB", b"NITF")

RASTER_SUFFIXES = frozenset({
    ".jp2", ".j2k", ".jpx", ".jpf", ".vrt", ".img", ".bsq", ".bil", ".bip", ".dat", ".nc", ".nc4", ".h5", ".hdf5",
    ".gtiff", ".btf", ".ntf", ".grb", ".grib", ".grb2", ".grib2", ".pix", ".rst", ".asc",
})  # fmt: skip
"""Endings (lower case) of rasters that GDAL reads and Pillow does not."""

READ_WITH = "such rasters are read where data.sensor or data.bands says which bands they have"
"""What to do about files of these endings alone."""

_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",  # files beside a file are looked for by name alone
    "GDAL_NUM_THREADS": "1",  # the threads are ours
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none-at-all",
    "GDAL_HTTP_MAX_RETRY": "0",
    "GDAL_HTTP_TIMEOUT": "1",
}
_LEADING_ELSEWHERE = (b"<", b"{", b"SQLite format 3", b"PK\x03\x04")
"""How files begin that describe a service, or an index or archive of other files."""
_SOURCE_OF_VRT = re.compile(rb"<(SourceFilename|SourceDataset)\b([^>]*)>([^<]*)<")
_RELATIVE = re.compile(rb"relativeToVRT=[\"']1")
_ERROR = re.compile(r"GDAL signalled an error: err_no=\d+, msg=['\"](.*)['\"]")
_BY_ANOTHER = re.compile(r"^(CPLE_\w+):")
"""How rasterio begins what GDAL says of files that it opens within others."""
_DEEPEST = 4  # VRTs within VRTs

_heard = threading.local()


def suffixes(*, rasters: bool) -> frozenset[str]:
    """Endings (lower case) of the files of a folder that count as patches: of pictures, or of all rasters."""
    return IMAGE_SUFFIXES | RASTER_SUFFIXES if rasters else IMAGE_SUFFIXES


def installed() -> bool:
    """Whether rasterio is there."""
    return importlib.util.find_spec("rasterio") is not None


def is_raster(path: Path, raw: bytes) -> bool:
    """Whether a file that is neither JPEG, PNG, TIFF, BMP nor WebP is worth asking GDAL."""
    start = raw[:512].lstrip()
    if start.startswith(VRT_ROOT):
        return True
    if start.startswith(_LEADING_ELSEWHERE):
        return False
    return raw.startswith((*JP2_MAGIC, *_OTHERS)) or path.suffix.lower() in RASTER_SUFFIXES or _has_header(path)


def has_company(path: Path) -> bool:
    """Whether files lie beside a raster in which GDAL keeps what it says of it, or its mask."""
    return any(path.with_name(path.name + ending).exists() for ending in (".aux.xml", ".msk"))


def _has_header(path: Path) -> bool:
    """Whether an ENVI header lies beside a file."""
    return any(each.is_file() for each in (path.with_suffix(".hdr"), path.with_name(path.name + ".hdr")))


@contextmanager
def opened(path: Path, raw: bytes) -> Iterator[tuple[DatasetReader, list[str]]]:
    """A raster, open in this thread alone, and what GDAL says of it while it is.

    Args:
        path: of the file, absolute.
        raw: its first bytes at least.

    Raises:
        UnreadableError: GDAL cannot read it, or it leads to the network; in one line.
    """
    with reading(path) as said, open_raster(path, raw) as dataset:
        yield dataset, said


def open_raster(path: Path, raw: bytes) -> DatasetReader:
    """A raster that stays open, for one thread; arguments as of `opened`.

    It is opened and read inside `reading`.
    """
    import rasterio

    if raw[:512].lstrip().startswith(VRT_ROOT):
        _check_sources(path, raw)
    return rasterio.open(path, driver=_driver(raw), sharing=False)


@contextmanager
def reading(path: Path, cache: int | None = None) -> Iterator[list[str]]:
    """GDAL as landsift uses it, in this thread: its errors in our words, and what else it says of a raster.

    Args:
        path: of the file that is read.
        cache: bytes of decoded blocks that GDAL keeps, for the whole process; None: as many as it did.

    Raises:
        UnreadableError: GDAL cannot read it, or it leads to the network; in one line.
    """
    import rasterio

    _listen()
    said: list[str] = []
    _heard.said = said
    try:
        with rasterio.Env(**_OPTIONS, **({} if cache is None else {"GDAL_CACHEMAX": cache})):
            yield said
    except (UnreadableError, LandsiftError):
        raise
    except MemoryError:
        raise UnreadableError("more than fits into memory", Cause.TOO_LARGE) from None
    except Exception as error:  # GDAL's errors have no base of their own in rasterio's API
        raise UnreadableError(f"damaged, or no raster that GDAL reads: {_words(error, path)}", Cause.DAMAGED) from error
    finally:
        _heard.said = None


def in_words(heard: Sequence[str], path: Path) -> tuple[str, ...]:
    """What GDAL said of a file, each thing once and without its name, so that what is said of many is the same."""
    return tuple(dict.fromkeys(f"GDAL: {_without_path(text, path)}" for text in heard))


def _driver(raw: bytes) -> str | None:
    """The one that may open a file, by its first bytes; None: whichever can."""
    if raw.startswith(MAGIC):
        return "GTiff"
    if raw.startswith(PNG_MAGIC):
        return "PNG"
    return "VRT" if raw[:512].lstrip().startswith(VRT_ROOT) else None


def sources_of_vrt(path: Path) -> list[Path]:
    """The files that a VRT names, there or not; raises OSError."""
    named = [(attributes, text.decode(errors="replace").strip().replace("&amp;", "&"))
             for _, attributes, text in _SOURCE_OF_VRT.findall(path.read_bytes())]  # fmt: skip
    return [path.parent / name if _RELATIVE.search(attributes) else Path(name) for attributes, name in named]


def _check_sources(path: Path, raw: bytes, depth: int = 0) -> None:
    """Refuse a VRT whose sources are no plain files on this machine."""
    if depth > _DEEPEST:
        raise UnreadableError(f"a VRT of VRTs, more than {_DEEPEST} deep", Cause.SOURCES)
    for _, attributes, text in _SOURCE_OF_VRT.findall(raw):
        name = text.decode(errors="replace").strip().replace("&amp;", "&")
        if name.startswith("/vsi") or re.match(r"\w+:", name):
            raise UnreadableError("a VRT whose sources are no plain files on this machine", Cause.SOURCES)
        source = path.parent / name if _RELATIVE.search(attributes) else Path(name)
        try:
            with source.open("rb") as file:
                start = file.read(2**20)
        except (OSError, ValueError):
            raise UnreadableError(f"a VRT whose source {name} is not there", Cause.SOURCES) from None
        if start[:512].lstrip().startswith(VRT_ROOT):
            _check_sources(source, start, depth + 1)
        elif start[:512].lstrip().startswith(_LEADING_ELSEWHERE):
            raise UnreadableError("a VRT whose sources are no plain files on this machine", Cause.SOURCES)


def _overhear(record: logging.LogRecord) -> bool:
    """Take GDAL's warnings, and errors that it goes on after, from the thread that reads; let others have theirs."""
    said = getattr(_heard, "said", None)
    if said is None:
        return record.levelno >= logging.WARNING
    text = _BY_ANOTHER.sub(r"\1 in ", " ".join(record.getMessage().split()), count=1)
    if record.levelno >= logging.WARNING:
        said.append(text)
    elif found := _ERROR.fullmatch(text):
        said.append(found[1])
    return False


@functools.cache
def _listen() -> None:
    """Overhear what rasterio logs of GDAL: warnings as such, and errors that nothing came of as information."""
    for name in ("rasterio._env", "rasterio._err"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.addFilter(_overhear)


def _words(error: BaseException, path: Path) -> str:
    cause = error.__cause__ if error.__cause__ is not None and "previous exception" in str(error) else error
    return _without_path(" ".join(str(cause).split()) or type(cause).__name__, path)[:200]


def _without_path(text: str, path: Path) -> str:
    for name in (str(path), path.name):
        text = text.replace(f"{name}: ", "").replace(f"{name}, ", "").replace(f"'{name}'", "the file")
        text = text.replace(name, "the file")
    return text.strip()
