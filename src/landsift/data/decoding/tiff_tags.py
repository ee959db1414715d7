"""What a TIFF's own tags say: one picture that can be read, or a reason why not.

What a decoder makes of bands, pages and colour models that it does not expect depends on its version, and some it drops
in silence. So the tags are read here ("TIFF Revision 6.0"; GDAL's tag for no data), and whatever is not 8-bit grey,
palette or RGB, with or without alpha, is refused in words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from landsift.data.decoding.headers import ALPHA, GREY, unread_bands
from landsift.data.decoding.tiff_directories import MAX_PAGES, Tags, damaged, directories
from landsift.data.decoding.unreadable import Cause, UnreadableError

GUESSED_RGB = "three bands without a colour model, taken as red, green and blue"
MASKED = "a mask beside its pixels, which is not read"
SPARSE = "missing strips or tiles, read as no data"

SUBFILE, OLD_SUBFILE, WIDTH, LENGTH, BITS, COMPRESSION, MODEL, FILL_ORDER = 254, 255, 256, 257, 258, 259, 262, 266
DESCRIPTION, STRIPS, ORIENTATION, SAMPLES, ROWS, STRIP_BYTES, PLANAR, T4, T6 = (
    270,
    273,
    274,
    277,
    278,
    279,
    284,
    292,
    293,
)
PREDICTOR, COLOURS, TILE_WIDTH, TILE_LENGTH, TILES, TILE_BYTES, SUB_DIRECTORIES = 317, 320, 322, 323, 324, 325, 330
EXTRA, FORMAT, JPEG_TABLES, SUBSAMPLING, DEPTH, NO_DATA = 338, 339, 347, 530, 32997, 42113

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6  # values of MODEL
PLAIN, JPEG, DEFLATE = 1, 7, (8, 32946)  # values of COMPRESSION
ASSOCIATED, UNASSOCIATED = 1, 2  # values of EXTRA: colours are, or are not, multiplied by the alpha band

_REDUCED, _MASK = 1, 4  # bits of SUBFILE
_OLD_REDUCED = 2

_OTHER_MODELS = {4: "a mask", 8: "colours in CIELab", 9: "colours in CIELab", 10: "colours in CIELab",
                 32803: "raw values of a sensor", 34892: "raw values of a sensor"}  # fmt: skip
_SEPARATED = 5
_VALUES = {2: ", signed", 3: ", floating point", 5: ", complex", 6: ", complex"}  # of FORMAT

_ALWAYS = frozenset({PLAIN, JPEG, *DEFLATE, 5, 32773})  # the last two: LZW, PackBits
PERHAPS = frozenset({2, 3, 4, 34925, 50000})
"""Compressions that are read where the decoder was built with them."""
_NAMES = {2: "CCITT", 3: "CCITT", 4: "CCITT", 6: "old-style JPEG", 33003: "JPEG 2000", 33005: "JPEG 2000",
          34712: "JPEG 2000", 34887: "LERC", 34925: "LZMA", 50000: "ZSTD", 50001: "WebP", 50002: "JPEG XL"}  # fmt: skip


@dataclass(frozen=True)
class Tiff:
    """One picture that can be read."""

    height: int
    """Rows as they are stored; `orientation` may turn them."""
    width: int
    orientation: int
    """As in EXIF: 1 as stored, up to 4 flipped or turned about, from 5 on with rows and columns swapped."""
    notes: tuple[str, ...]
    """What is to be said of how it is read."""
    bits: int
    """Per band; fewer than 8 of a single band alone."""
    bands: int
    """With the alpha band."""
    alpha: int
    """0: none; else how it is meant, `ASSOCIATED` or `UNASSOCIATED`."""
    model: int
    """Of the colours: `WHITE_IS_ZERO`, `BLACK_IS_ZERO`, `RGB`, `PALETTE` or `YCBCR`."""
    palette: NDArray[np.uint8] | None
    """[colours, 3]"""
    compression: int
    kept: dict[int, tuple[int, ...] | bytes]
    """Tags that decompressing needs as they are."""
    no_data: int
    """What missing strips or tiles show."""
    planes: bool
    """Whether each band has strips or tiles of its own."""
    tile: tuple[int, int] | None
    """Height and width of a tile; None: strips."""
    rows: int
    """Of a strip."""
    segments: NDArray[np.int64]
    """Start and bytes of each strip or tile, plane by plane, [planes, strips or tiles, 2]; zeros: missing."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture as it is to be seen."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def read_tags(raw: bytes, max_pixels: int) -> Tiff:
    """Read what a TIFF says of its picture.

    Raises:
        UnreadableError: it is damaged, has more than `max_pixels`, or is of a kind that is not read.
    """
    tags, masked = _picture(raw)
    height, width, bands = (_positive(tags.number(tag, default), name) for tag, default, name in (
        (LENGTH, 0, "height"), (WIDTH, 0, "width"), (SAMPLES, 1, "number of bands")))  # fmt: skip
    alpha, colours = _alpha(tags, bands)
    model, guessed = _model(tags, bands, colours)
    bits = _bits(tags, bands, colours)
    compression = tags.number(COMPRESSION, PLAIN)
    if compression not in _ALWAYS | PERHAPS:
        raise compressed_with(compression)
    if height * width > max_pixels:
        raise UnreadableError(f"more than {max_pixels:,} pixels", Cause.TOO_LARGE)
    if model == YCBCR and compression != JPEG and tags.numbers(SUBSAMPLING).tolist() != [1, 1]:
        raise UnreadableError("YCbCr with its colours at a lower resolution, not in JPEG", Cause.COLOURS)
    grid = _grid(tags, height, width, max_pixels)
    planes = bands > 1 and tags.number(PLANAR, 1) == 2
    each = 1 if planes else bands
    segments = _segments(tags, grid, bands // each, -(-grid.width * bits * each // 8), compression)
    notes = ((GREY, colours == 1 and model != PALETTE), (GUESSED_RGB, guessed), (ALPHA, alpha), (MASKED, masked),
             (SPARSE, not segments[..., 0].all()))  # fmt: skip
    return Tiff(
        height,
        width,
        tags.number(ORIENTATION, 1),
        tuple(note for note, holds in notes if holds),
        bits,
        bands,
        alpha,
        model,
        _palette(tags, bits) if model == PALETTE else None,
        compression,
        _kept(tags, model),
        _no_data(tags),
        planes,
        grid.tile,
        grid.rows,
        segments,
    )


def compressed_with(compression: int) -> UnreadableError:
    """The error for a compression that cannot be undone."""
    name = _NAMES.get(compression, f"method {compression}")
    return UnreadableError(f"compressed with {name}, which cannot be read", Cause.COMPRESSION)


def _picture(raw: bytes) -> tuple[Tags, bool]:
    """The directory of the one picture at full resolution, and whether the file has a mask beside it."""
    full, masked, first = [], False, None
    for tags in directories(raw):
        kind = tags.number(SUBFILE, 0)
        reduced = kind & _REDUCED or tags.number(OLD_SUBFILE, 0) == _OLD_REDUCED
        masked |= bool(kind & _MASK)
        first = first or tags
        if not reduced and not kind & _MASK:
            full.append(tags)
    if first is None:
        raise damaged("a TIFF without a directory")
    if len(full) > 1:
        many = f"{len(full):,}" if len(full) < MAX_PAGES else f"{MAX_PAGES:,} or more"
        raise UnreadableError(f"{many} pages, where one picture is read", Cause.PAGES)
    if not full and len(first.numbers(SUB_DIRECTORIES)):
        raise UnreadableError("a preview, whose picture lies in a directory below it", Cause.PAGES)
    tags = full[0] if full else first
    layers = max(tags.number(DEPTH, 1), _pages_told(tags))
    if layers > 1:
        raise UnreadableError(f"a stack of {layers:,} pictures, where one is read", Cause.PAGES)
    return tags, masked and bool(full)


def _pages_told(tags: Tags) -> int:
    """How many pictures a directory stands for, of those that are written without one of their own."""
    try:
        text = tags.content(DESCRIPTION)[:10_000]
    except UnreadableError:  # only a description
        return 1
    found = re.match(rb"ImageJ=.*?\bimages=(\d{1,9})\b", text, re.DOTALL)  # one directory for all of a large stack
    found = found or re.match(rb'\{"shape": \[(\d{1,9}), .*"truncated": true', text)  # tifffile's truncate=True
    return int(found[1]) if found else 1


def _positive(value: int, name: str) -> int:
    if value < 1:
        raise damaged(f"its {name} is {value}")
    return value


def _alpha(tags: Tags, bands: int) -> tuple[int, int]:
    """How the last band is meant, if as alpha, and how many bands are left for colours."""
    extra = tags.numbers(EXTRA)[-(bands - 1) :] if bands > 1 else np.empty(0, dtype=np.int64)
    colour_model = 3 if tags.number(MODEL, BLACK_IS_ZERO) in (RGB, YCBCR) else 1
    if len(extra) and bands > colour_model and extra[-1] in (ASSOCIATED, UNASSOCIATED):
        return int(extra[-1]), bands - 1
    return 0, bands


def _model(tags: Tags, bands: int, colours: int) -> tuple[int, bool]:
    """The colour model, and whether it was guessed."""
    model = tags.number(MODEL, BLACK_IS_ZERO)
    if model == _SEPARATED:
        raise UnreadableError(unread_bands(bands, "CMYK" if bands == 4 else "inks"), Cause.BANDS)
    if colours not in (1, 3) or (model in (RGB, YCBCR) and colours != 3) or (model == PALETTE and colours != 1):
        raise UnreadableError(_bands_said(tags, bands, colours), Cause.BANDS)
    if model not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR):
        raise UnreadableError(_OTHER_MODELS.get(model, f"colours of an unknown model ({model})"), Cause.COLOURS)
    if model == WHITE_IS_ZERO and colours == 3:
        raise UnreadableError("three bands in which 0 is white", Cause.COLOURS)
    guessed = model == BLACK_IS_ZERO and colours == 3
    return (RGB if guessed else model), guessed


def _bands_said(tags: Tags, bands: int, colours: int) -> str:
    bits = max(tags.numbers(BITS).tolist(), default=1)
    what = "one of them alpha" if colours < bands else ""
    if colours == bands and bands in (2, 4):
        what = f"the {'second' if bands == 2 else 'fourth'} is not declared as alpha"
    return unread_bands(bands, what, bits)


def _bits(tags: Tags, bands: int, colours: int) -> int:
    """Bits per band, where they are read."""
    found = tags.numbers(BITS).tolist() or [1]
    each = set(found[:bands])
    formats = set(tags.numbers(FORMAT).tolist()[:bands])
    kind = next((text for value, text in _VALUES.items() if value in formats), "")
    if len(each) == 1 and (bits := found[0]) in ((1, 2, 4, 8) if bands == 1 else (8,)) and not kind:
        return int(bits)
    if min(each) < 1:
        raise damaged(f"its bits per band are {min(each)}")
    many = f" in {colours} bands" if colours > 1 else ""
    bits_said = " and ".join(map(str, sorted(each)))
    raise UnreadableError(f"{bits_said} bits per band{kind}{many}, where 8 unsigned ones are read", Cause.DEPTH)


def _palette(tags: Tags, bits: int) -> NDArray[np.uint8]:
    colours = tags.numbers(COLOURS)
    if len(colours) < 3 << bits:
        raise damaged("a palette with too few colours")
    table = colours[: 3 << bits].reshape(3, -1).T
    # 16 bits each; some programs write 8, as libtiff's tools know
    return (table if table.max() < 256 else table >> 8).astype(np.uint8)


def _kept(tags: Tags, model: int) -> dict[int, tuple[int, ...] | bytes]:
    wanted = (FILL_ORDER, T4, T6, PREDICTOR) + ((SUBSAMPLING,) if model == YCBCR else ())
    kept: dict[int, tuple[int, ...] | bytes] = {
        tag: tuple(values.tolist()) for tag in wanted if len(values := tags.numbers(tag))
    }
    if tables := tags.content(JPEG_TABLES):
        kept[JPEG_TABLES] = tables
    return kept


def _no_data(tags: Tags) -> int:
    try:
        value = float(tags.content(NO_DATA).rstrip(b"\0 ") or 0)
    except (ValueError, UnreadableError):
        return 0
    return int(value) if value in range(256) else 0


class _Grid(NamedTuple):
    """How a picture, or each of its bands, is divided."""

    tile: tuple[int, int] | None
    rows: int
    heights: NDArray[np.int64]
    """Rows of each strip or tile."""
    width: int
    """Pixels in a row of one."""


def _grid(tags: Tags, height: int, width: int, max_pixels: int) -> _Grid:
    rows = min(_positive(tags.number(ROWS, height), "strips' height"), height)
    tile = None
    count = -(-height // rows)
    if tags.number(TILE_WIDTH, 0) > 0:
        tile = _positive(tags.number(TILE_LENGTH, 0), "tiles' height"), tags.number(TILE_WIDTH, 0)
        count = -(-height // tile[0]) * -(-width // tile[1])
        if max(tile[0] * tile[1], count * tile[0] * tile[1] // 2) > max_pixels:
            raise UnreadableError(f"tiles of more than {max_pixels:,} pixels", Cause.TOO_LARGE)
    if count > tags.end:  # each is told of in some bytes
        raise damaged("fewer strips or tiles than its size needs")
    if tile is not None:
        return _Grid(tile, rows, np.full(count, tile[0]), tile[1])
    return _Grid(None, rows, np.minimum(rows, height - rows * np.arange(count)), width)


def _segments(tags: Tags, grid: _Grid, planes: int, line: int, compression: int) -> NDArray[np.int64]:
    """Start and bytes of each strip or tile, [planes, strips or tiles, 2]; a row of one has `line` bytes unpacked."""
    count = planes * len(grid.heights)
    at = tags.numbers(TILES if grid.tile else STRIPS)
    size = tags.numbers(TILE_BYTES if grid.tile else STRIP_BYTES)
    if len(at) < count or (len(size) < count and compression != PLAIN):
        raise damaged("fewer strips or tiles than its size needs")
    at = at[:count]
    missing = at == 0  # what GDAL leaves out of a sparse file
    if missing.all():
        raise UnreadableError("no pixels in it: all its strips or tiles are missing", Cause.NO_PIXELS)
    if compression == PLAIN:
        whole = np.tile(grid.heights * line, planes)
        told = size[:count] if len(size) >= count else whole
        if np.any((told < whole) & (told > 0) & ~missing):
            raise damaged("strips or tiles with fewer bytes than pixels")
        size = whole
    size = np.where(missing, 0, size[:count])
    if np.any(at < 0) or np.any(at > tags.end) or np.any(size[~missing] < 1) or np.any(size > tags.end - at):
        raise damaged("the file ends before its pixels do")
    return np.stack([at, size], axis=1).reshape(planes, -1, 2)
