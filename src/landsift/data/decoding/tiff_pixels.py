"""From a TIFF's strips or tiles to pixels, in agreement with its tags.

Pillow decompresses them under a directory of our own making, which says nothing unusual of them: little-endian, one
band or up to four of each pixel together, all strips or tiles below one another. Bands that lie apart are decompressed
one by one, missing tiles are left out, and the picture is put together here.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from landsift.data.decoding.headers import unread_bands
from landsift.data.decoding.tiff_directories import damaged
from landsift.data.decoding.tiff_tags import (
    ASSOCIATED,
    BITS,
    BLACK_IS_ZERO,
    COLOURS,
    COMPRESSION,
    DEFLATE,
    EXTRA,
    JPEG,
    LENGTH,
    MODEL,
    PALETTE,
    PERHAPS,
    RGB,
    ROWS,
    SAMPLES,
    STRIP_BYTES,
    STRIPS,
    SUBSAMPLING,
    TILE_BYTES,
    TILE_LENGTH,
    TILE_WIDTH,
    TILES,
    UNASSOCIATED,
    WHITE_IS_ZERO,
    WIDTH,
    YCBCR,
    Tiff,
    compressed_with,
)
from landsift.data.decoding.unreadable import Cause, UnreadableError

Pixels = NDArray[np.uint8]

_HEADER = 8  # bytes


def read_pixels(tiff: Tiff, raw: bytes) -> tuple[Pixels, Pixels | None]:
    """Decode a TIFF.

    Args:
        tiff: Its tags.
        raw: Its bytes.

    Returns:
        The colours, uint8 [H, W, 3], and the alpha band, [H, W], or None.

    Raises:
        UnreadableError: the file is damaged, its compression is one that the decoder was built without, or its alpha
            band is none.
    """
    each = 1 if tiff.planes else tiff.bands
    bands = np.concatenate([_plane(tiff, raw, segments, each) for segments in tiff.segments], axis=-1)
    colours, alpha = (bands[..., :-1], bands[..., -1]) if tiff.alpha else (bands, None)
    if alpha is not None and not masks(alpha):
        which = "second" if tiff.bands == 2 else "fourth"
        raise UnreadableError(
            unread_bands(tiff.bands, f"the {which} is declared as alpha, but holds values like the others"), Cause.ALPHA
        )
    if tiff.palette is not None:
        colours = tiff.palette[colours[..., 0]]
    elif tiff.model == WHITE_IS_ZERO:
        colours = 255 - colours
    elif tiff.model == YCBCR and not _converts(tiff):
        colours = _from_ycbcr(colours)
    if tiff.alpha == ASSOCIATED:
        colours = _divided(colours, bands[..., -1:])
    colours = _turned(np.broadcast_to(colours, (*colours.shape[:2], 3)), tiff.orientation)
    return colours, None if alpha is None else _turned(alpha, tiff.orientation)


def _plane(tiff: Tiff, raw: bytes, segments: NDArray[np.int64], each: int) -> Pixels:
    """The bands that lie together in some strips or tiles, [H, W, each]."""
    there = np.flatnonzero(segments[:, 0])
    body = [raw[at : at + size] for at, size in segments[there].tolist()]
    if tiff.tile is None:
        starts = there * tiff.rows
        heights = np.minimum(tiff.rows, tiff.height - starts)
        found = _decompressed(tiff, body, (int(heights.sum()), tiff.width), each)
        if len(there) == len(segments):
            return found
        rows = np.concatenate([np.arange(start, start + n) for start, n in zip(starts, heights, strict=True)])
        picture = np.full((tiff.height, tiff.width, each), tiff.no_data, dtype=np.uint8)
        picture[rows] = found
        return picture
    height, width = tiff.tile
    tiles = _decompressed(tiff, body, (len(there) * height, width), each).reshape(-1, height, width, each)
    picture = np.full((tiff.height, tiff.width, each), tiff.no_data, dtype=np.uint8)
    across = -(-tiff.width // width)
    for number, tile in zip(there.tolist(), tiles, strict=True):
        y, x = number // across * height, number % across * width
        place = picture[y : y + height, x : x + width]
        place[...] = tile[: place.shape[0], : place.shape[1]]
    return picture


def _decompressed(tiff: Tiff, body: list[bytes], size: tuple[int, int], each: int) -> Pixels:
    """Strips or tiles below one another, [*size, each]; values of fewer than 8 bits stretched, but for a palette's."""
    if not body:
        return np.empty((*size, each), dtype=np.uint8)
    from PIL import Image

    if tiff.compression in DEFLATE:
        for segment in body:  # libtiff does not look at the checksum
            zlib.decompressobj().decompress(segment, size[0] * size[1] * each + 1)
    try:
        with Image.open(io.BytesIO(_plain_tiff(tiff, body, size, each)), formats=["TIFF"]) as image:
            image.load()
            found = np.asarray(image.convert("L") if image.mode == "1" else image, dtype=np.uint8)
    except Exception as error:  # Pillow's decoders raise what they meet
        if tiff.compression in PERHAPS:
            raise compressed_with(tiff.compression) from error
        raise
    if found.size != size[0] * size[1] * each:
        raise damaged("its bands are not those that its tags tell of")
    return found.reshape(*size, each)


def _plain_tiff(tiff: Tiff, body: list[bytes], size: tuple[int, int], each: int) -> bytes:
    """The same strips or tiles as a TIFF of which every decoder has one idea."""
    lengths = [len(segment) for segment in body]
    starts = (np.cumsum([0, *lengths[:-1]]) + _HEADER).tolist()
    model = {PALETTE: PALETTE, YCBCR: YCBCR if _converts(tiff) else RGB}.get(tiff.model, RGB)
    tags: dict[int, tuple[int, ...] | bytes] = {
        WIDTH: (size[1],),
        LENGTH: (size[0],),
        BITS: (tiff.bits,) * each,
        COMPRESSION: (tiff.compression,),
        MODEL: (model if each > 2 or model == PALETTE else BLACK_IS_ZERO,),
        SAMPLES: (each,),
        **({tag: value for tag, value in tiff.kept.items() if tag != SUBSAMPLING or model == YCBCR}),
    }
    if each in (2, 4):
        tags[EXTRA] = (UNASSOCIATED,)  # the decoder leaves such values alone
    if model == PALETTE:
        tags[COLOURS] = (0,) * (3 << tiff.bits)  # the indices are wanted
    if tiff.tile is None:
        tags |= {ROWS: (tiff.rows,), STRIPS: tuple(starts), STRIP_BYTES: tuple(lengths)}
    else:
        tags |= {TILE_WIDTH: (size[1],), TILE_LENGTH: (tiff.tile[0],), TILES: tuple(starts), TILE_BYTES: tuple(lengths)}
    pixels = b"".join(body)
    pixels += b"\0" * (len(pixels) % 2)
    return struct.pack("<2sHI", b"II", 42, _HEADER + len(pixels)) + pixels + _directory(tags, _HEADER + len(pixels))


def _directory(tags: dict[int, tuple[int, ...] | bytes], at: int) -> bytes:
    """A directory that begins at byte `at`, with the values that do not fit into it behind it."""
    longs = {WIDTH, LENGTH, ROWS, STRIPS, STRIP_BYTES, TILE_WIDTH, TILE_LENGTH, TILES, TILE_BYTES}
    entries, behind = b"", b""
    end = at + 2 + 12 * len(tags) + 4
    for tag, value in sorted(tags.items()):
        if isinstance(value, bytes):
            kind, packed = 7, value
        else:
            kind = 4 if tag in longs else 3
            packed = struct.pack(f"<{len(value)}{'I' if kind == 4 else 'H'}", *value)
        entries += struct.pack("<HHI", tag, kind, len(value))
        if len(packed) <= 4:
            entries += packed.ljust(4, b"\0")
        else:
            entries += struct.pack("<I", end + len(behind))
            behind += packed + b"\0" * (len(packed) % 2)
    return struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0) + behind


def masks(alpha: Pixels) -> bool:
    """Whether an alpha band may be one: GDAL declares the fourth of any four bands as alpha if not told otherwise."""
    return bool(np.mean((alpha == 0) | (alpha == 255)) >= 0.5 or alpha.min() == alpha.max())


def _converts(tiff: Tiff) -> bool:
    """Whether decompressing makes RGB of YCbCr, as JPEG's decoder does."""
    return tiff.compression == JPEG and not tiff.planes


def _from_ycbcr(pixels: Pixels) -> Pixels:
    from PIL import Image

    size = pixels.shape[1], pixels.shape[0]
    return np.asarray(Image.frombytes("YCbCr", size, pixels.tobytes()).convert("RGB"), dtype=np.uint8)


def _divided(colours: Pixels, alpha: Pixels) -> Pixels:
    """Colours that were multiplied by their alpha, as they were before; [H, W, bands] and [H, W, 1]."""
    whole = 255 * colours.astype(np.int32) // np.maximum(alpha, 1)
    return np.where(alpha > 0, np.minimum(whole, 255), colours).astype(np.uint8)


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    """Pixels [H, W, ...] as EXIF's orientation says that they are to be seen."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
