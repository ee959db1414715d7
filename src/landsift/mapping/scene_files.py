"""The files of a scene: what each says of its bands, its place and its time, before anybody says which are wanted."""

from __future__ import annotations

import math
import mmap
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window

from landsift.bands import RGB_NAMES
from landsift.data.decoding.decode import quiet_pillow
from landsift.data.decoding.file_bands import FileBands, Place
from landsift.data.decoding.gdal import in_words, is_raster, open_raster, reading
from landsift.data.decoding.headers import GREY, JPEG_MAGIC, PNG_MAGIC, other_format
from landsift.data.decoding.places import place_at
from landsift.data.decoding.rasters import describe, read_as
from landsift.data.decoding.tiff_directories import MAGIC
from landsift.data.decoding.tiff_pixels import masks
from landsift.data.decoding.tiff_tags import GUESSED_RGB
from landsift.data.decoding.unreadable import Cause, UnreadableError
from landsift.data.sensors import plain
from landsift.errors import DataError
from landsift.image_sizes import by
from landsift.mapping.map_info import TAG

if TYPE_CHECKING:
    from rasterio.control import GroundControlPoint
    from rasterio.io import DatasetReader

_HEAD = 2**20
"""Bytes of a file that tell its format; all of a VRT."""
_SAMPLE = 256
"""Side of what is read of an alpha band to see whether it is one, in pixels."""
_OFF_POINTS = 0.5
"""Pixels by which a transform may lead off ground control points and stand for them."""
_PICTURES = (*MAGIC, PNG_MAGIC, JPEG_MAGIC, b"BM", b"RIFF")
_DATE = re.compile(
    r"(?<!\d)((?:19|20)\d\d)([-_]?)([01]\d)\2([0-3]\d)(?:[T_-]?([0-2]\d)[:-]?([0-5]\d)[:-]?([0-5]\d))?(?!\d)"
)
"""A date, and perhaps a time, in the name of a file."""


@dataclass(frozen=True, eq=False)
class SceneFile:
    """A raster of a scene.

    Attributes:
        path: of the file.
        head: its first bytes.
        bands: what it says of its bands; of a picture, as `predict` reads it: red, green and blue.
        sources: position in the file of each of `bands`, from 0.
        hides: the band of a mask or alpha band that hides pixels, as a VRT calls it; None: there is none.
        nodata: the number that means nothing, as the file declares it; None: none is declared.
        size: height and width in pixels.
        transform, crs: where its pixels lie; the transform of a raster that lies by ground control points is near them.
        gcps: ground control points; none of a raster that has a transform.
        place: its centre, and its ground sampling distance.
        block: height and width of the pieces that it is stored in, in pixels.
        names: what else each band may be called, best first.
        colours: 256 colours [256, 3] that the numbers of its one band stand for; None: they are none.
        dtype: of its numbers.
        when: when it was taken, in UTC; None: it does not say.
        false_alpha: the band that is declared as alpha and holds values like the others; None: there is none.
        notes: what is to be said of how it is read.
    """

    path: Path
    head: bytes
    bands: FileBands
    sources: tuple[int, ...]
    hides: str | None
    nodata: float | None
    size: tuple[int, int]
    transform: Affine
    crs: CRS
    gcps: tuple[GroundControlPoint, ...]
    place: Place
    block: tuple[int, int]
    dtype: str
    names: tuple[tuple[str, ...], ...]
    colours: NDArray[np.uint8] | None = None
    when: datetime | None = None
    false_alpha: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def geobox(self) -> GeoBox | None:
        """Its own grid; None of a raster that lies by ground control points."""
        return None if self.gcps else GeoBox(self.size, self.transform, self.crs.to_wkt())

    def open(self) -> DatasetReader:
        """The raster, open for one thread, which reads it inside `reading`."""
        return open_raster(self.path.absolute(), self.head)


class Elsewhere(NamedTuple):
    """The place of a raster that does not say its own."""

    crs: CRS
    transform: Affine | None
    size: tuple[int, int] | None
    """Height and width of the raster that the transform is of; one of the same area may have others."""
    whose: str
    """Where this is from, such as "its STAC item"."""
    of_this: bool = False
    """Whether it is said of the raster itself."""


def refused(path: Path | str, error: UnreadableError) -> DataError:
    """The error of a file that cannot be read, for people."""
    return DataError(f"{path}: {error.reason.text}", error.reason.cause.value)


def look(
    path: Path,
    *,
    pictures: bool,
    names: Sequence[Sequence[str]] = (),
    when: datetime | None = None,
    place: Elsewhere | None = None,
) -> SceneFile:
    """What a raster says of itself.

    Args:
        path: of the file.
        pictures: whether 8-bit grey, palette and RGB are read as red, green and blue, as `predict` reads pictures.
        names: what each band may be called besides, from elsewhere.
        when: when it was taken, from elsewhere.
        place: of a raster that says none.

    Raises:
        DataError: it cannot be read, or has no place.
    """
    try:
        head = _head(path)
        with (
            quiet_pillow(),
            _mapped(path) as raw,
            reading(path.absolute()) as heard,
            open_raster(path.absolute(), head) as dataset,
        ):
            if TAG in dataset.tags():
                raise DataError(f"{path}: a map of landsift, where a scene is read", "give the scene that it is of")
            bands, sources, colours, notes = _bands(dataset, raw, pictures=pictures)
            size = (dataset.height, dataset.width)
            crs, transform, gcps = dataset.crs, dataset.transform, ()
            if not crs and len(dataset.gcps[0]) > 2 and dataset.gcps[1]:
                transform, gcps, more = _by_points(*dataset.gcps)
                crs, notes = dataset.gcps[1], notes + more
            elif place is not None and (not crs or transform.is_identity):
                crs, transform, more = _placed(path, dataset, place)
                notes += more
            elif place is not None and place.of_this and crs != place.crs:
                notes += (f"its CRS is {crs.to_string()[:40]}, and {place.whose} says {place.crs.to_string()[:40]}",)
            where, _ = _place(path, dataset, crs, transform, size)
            notes += read_as(bands)
            hides, false_alpha = _hides(dataset)
            if bands.alpha is not None and len(names) == len(bands):  # somebody knows that it is a band
                bands, hides = replace(bands, alpha=None, picture=False, names=(None,) * len(bands)), None
            if hides is not None and hides.startswith("mask"):
                notes += (MASK,)
            nodata, dtype, block = dataset.nodata, dataset.dtypes[sources[0]], dataset.block_shapes[0]
            when = when or _dated(path, dataset)
            notes += in_words(heard, path.absolute())
    except UnreadableError as error:
        raise refused(path, error) from None
    called = tuple(tuple(names[i]) if i < len(names) else () for i in range(len(bands.colours)))
    return SceneFile(
        path, head, bands, sources, hides, nodata, size, transform, crs, gcps, where, block, dtype, called, colours,
        when, false_alpha, notes,
    )  # fmt: skip


def _head(path: Path) -> bytes:
    """The first bytes of a regular file that may be a raster."""
    try:
        if path.is_dir():
            raise UnreadableError("a folder, where a raster is read", Cause.ACCESS)
        if not stat.S_ISREG(path.stat().st_mode):  # opening a device may do something
            raise UnreadableError("not a regular file", Cause.ACCESS)
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError:
        raise DataError(f"{path}: the file does not exist", "check the path") from None
    except ValueError as error:  # a name with a NUL
        raise DataError(f"{path}: {error}", "check the path") from None
    except OSError as error:
        raise UnreadableError((error.strerror or str(error)).lower(), Cause.ACCESS) from None
    if not head:
        raise UnreadableError("the file is empty", Cause.DAMAGED)
    if not head.startswith(_PICTURES) and not is_raster(path, head):
        _, is_another, what = other_format(head).reason.text.partition(" image but ")
        if head.startswith(b"PK"):
            raise DataError(f"{path}: a ZIP archive, where a raster is read", "unpack it, and give what is in it")
        raise DataError(f"{path}: no raster that is read{', but ' + what if is_another else ''}", _SOURCES)
    return head


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    """The bytes of a file that is not empty, not read before they are looked at."""
    with path.open("rb") as file:  # what was taken of it may still point there: it is closed when nothing does
        yield mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _bands(dataset: DatasetReader, raw: mmap.mmap, *, pictures: bool) -> _Described:
    """What the bands of a raster are; a picture is red, green and blue, as `predict` reads it."""
    tags = dataset.tags(1, ns="IMAGE_STRUCTURE") | dataset.tags(ns="IMAGE_STRUCTURE") if dataset.count else {}
    try:
        bands = describe(dataset, raw)
    except UnreadableError as error:
        if error.reason.cause is not Cause.COLOURS or dataset.dtypes[0] != "uint8" or dataset.count > 1:
            raise
        table = dataset.colormap(1)
        colours = np.array([table.get(i, (0, 0, 0))[:3] for i in range(256)], dtype=np.uint8)
        return _Described(_PICTURE, (0, 0, 0), colours, ("colours of a table, read as red, green and blue",))
    own = bands.colours
    if not pictures or bands.dtype != "uint8" or len(own) not in (1, 3):
        return _Described(bands, tuple(range(len(bands))), None, ())
    if tags.get("MINISWHITE") == "YES" or tags.get("NBITS", "8") != "8":
        raise UnreadableError("a drawing, of fewer than 8 bits or in which 0 is white", Cause.COLOURS)
    notes: tuple[str, ...] = ("an alpha band: what it hides is no data",) if bands.alpha is not None else ()
    if len(own) == 1:
        return _Described(_PICTURE, own * 3, None, (*notes, GREY))
    names = [bands.names[i] for i in own]
    if any(names) and [plain(name or "") for name in names] != list(RGB_NAMES):
        called = ", ".join(name or "(nothing)" for name in names)
        notes += (f"bands that are called {called}, taken as red, green and blue",)
    elif not bands.picture:
        notes += (GUESSED_RGB,)
    return _Described(_PICTURE, own, None, notes)


class _Described(NamedTuple):
    bands: FileBands
    sources: tuple[int, ...]
    colours: NDArray[np.uint8] | None
    notes: tuple[str, ...]


MASK = "a mask: what it hides is no data"
_PICTURE = FileBands("uint8", RGB_NAMES, picture=True)


def _hides(dataset: DatasetReader) -> tuple[str | None, str | None]:
    """The band that hides pixels, as a VRT calls it, and what it is called where it seems to be none of alpha."""
    bands = describe(dataset, b"") if ColorInterp.palette not in dataset.colorinterp else _PICTURE
    if bands.alpha is not None:
        number = bands.alpha + 1
        return str(number), None if _is_alpha(dataset, number) else f"band {number} of {len(bands)}"
    masked = any(MaskFlags.per_dataset in flags for flags in dataset.mask_flag_enums)
    return ("mask,1" if masked else None), None


def _is_alpha(dataset: DatasetReader, number: int) -> bool:
    """Whether a band holds what an alpha band does, in nine places."""
    side = min(_SAMPLE, dataset.height, dataset.width)
    rows, columns = (np.linspace(0, length - side, 3).astype(int) for length in (dataset.height, dataset.width))
    sample = np.concatenate(
        [dataset.read(number, window=Window(c, r, side, side)).ravel() for r in rows for c in columns]
    )
    if sample.dtype.kind == "u":
        sample = np.where(sample == np.iinfo(sample.dtype).max, 255, sample)
    return masks(sample)


def _by_points(
    points: Sequence[GroundControlPoint], crs: CRS
) -> tuple[Affine, tuple[GroundControlPoint, ...], tuple[str, ...]]:
    """The transform that is nearest to ground control points, and those, where it leads off them."""
    from rasterio.transform import from_gcps

    transform = from_gcps(points)
    inverse = ~transform
    off = max(math.hypot(x - p.col, y - p.row) for p in points for x, y in [inverse * (p.x, p.y)])
    note = "placed by its ground control points"
    if off < _OFF_POINTS:
        return transform, (), (note,)
    return transform, tuple(points), (f"{note}, which no shift, turn and scale fit: resampled twice",)


def _placed(path: Path, dataset: DatasetReader, place: Elsewhere) -> tuple[CRS, Affine, tuple[str, ...]]:
    """The place of a raster that says none, from elsewhere."""
    own, size, transform = (dataset.height, dataset.width), place.size, place.transform
    if transform is None:
        return place.crs, dataset.transform, (f"CRS from {place.whose}",)
    if size is None or size == own:
        return place.crs, transform, (f"CRS and transform from {place.whose}",)
    down, across = size[0] / own[0], size[1] / own[1]
    if abs(down / across - 1) > 0.5 / min(own):
        raise DataError(
            f"{path}: no place of its own, and {by(own)} pixels, where {place.whose} has {by(size)}",
            _NO_PLACE,
        )
    note = f"CRS and transform from {place.whose}, of which each pixel is {across:.3g} × {down:.3g}"
    return place.crs, transform * Affine.scale(across, down), (note,)


_SOURCES = "give a GeoTIFF or JPEG 2000, files of single bands, a STAC item or a folder .SAFE"
_NO_PLACE = (
    "a map needs a place: write the CRS and the place into the file, as gdal_translate -a_srs EPSG:32631 -a_ullr does"
)


def _place(
    path: Path, dataset: DatasetReader, crs: CRS | None, transform: Affine, size: tuple[int, int]
) -> tuple[Place, tuple[str, ...]]:
    if not crs or transform.is_identity or transform.determinant == 0:
        if dataset.rpcs is not None:
            raise DataError(
                f"{path}: not orthorectified, its place is given by RPCs alone", "gdalwarp -rpc makes a map of it"
            )
        what = "no CRS" if not crs else "no transform"
        raise DataError(f"{path}: {what}, so a map of it would have no place", _NO_PLACE)
    place, notes = place_at(crs, transform, size)
    if not place.known:
        raise DataError(f"{path}: {notes[0] if notes else 'a place that is not known'}", _NO_PLACE)
    return place, notes


def _dated(path: Path, dataset: DatasetReader) -> datetime | None:
    """When a scene was taken: as its tags say, else its name."""
    tags = {key.upper(): value for key, value in dataset.tags().items()}
    imagery = {key.upper(): value for key, value in dataset.tags(ns="IMAGERY").items()}
    for text in (imagery.get("ACQUISITIONDATETIME"), tags.get("ACQUISITIONDATETIME"), tags.get("DATETIME")):
        if text and (found := _moment(text) or when_of(text)):
            return found
    return when_of(path.name)


def _moment(text: str) -> datetime | None:
    """A date and time of ISO 8601 with its zone, as UTC; None: it is none."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)


def when_of(text: str) -> datetime | None:
    """The first date of a text, as UTC; None: there is none."""
    for year, _, month, day, *time in _DATE.findall(text):
        try:
            hour, minute, second = (int(each or 0) for each in time)
            return datetime(int(year), int(month), int(day), hour, minute, second, tzinfo=UTC)
        except ValueError:
            continue
    return None
