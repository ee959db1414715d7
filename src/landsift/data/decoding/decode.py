"""From the bytes of an image file to pixels: 8-bit RGB, or a reason why not.

What the file itself says decides (`headers.py`, `tiff_tags.py`), and not what a decoder makes of it. Grey and palette
become RGB, an alpha band is dropped; files of other bands, of more than 8 bits or of several pictures are refused.
Pixels stay where they are stored: an orientation in the EXIF data of a JPEG or PNG is not applied, as in torchvision;
the one of a TIFF's own tags is.
"""

from __future__ import annotations

import io
import logging
import math
import os
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from landsift.data.decoding.headers import (
    JPEG_MAGIC,
    PNG_MAGIC,
    Facts,
    jpeg_facts,
    notes_of,
    other_format,
    png_facts,
    webp_facts,
)
from landsift.data.decoding.tiff_directories import MAGIC
from landsift.data.decoding.tiff_pixels import read_pixels
from landsift.data.decoding.tiff_tags import read_tags
from landsift.data.decoding.unreadable import Cause, UnreadableError, opening

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".webp"})
"""Endings (lower case) of the files that count as images in a class folder."""

MAX_BYTES = 2**28
"""Largest file that is read; a patch is some kilobytes."""

MAX_PIXELS = 2**26
"""Largest image that is decoded, 8192 × 8192: some 900 MB while it is turned into RGB."""

_LARGE = 2**22  # pixels; images above it are decoded one at a time, so that memory does not grow with the cores
_ONE_AT_A_TIME = threading.Lock()
_MAX_SCANS = 100  # of a progressive JPEG; encoders write about ten, and each costs as much as the whole image
_START_OF_SCAN = b"\xff\xda"


HIDDEN = 1 / 16
"""Share of a picture that its alpha band hides, from which what lies there is stored as black."""


class Header(NamedTuple):
    """What a file says of itself."""

    size: tuple[int, int]
    """Height and width in pixels."""
    notes: tuple[str, ...] = ()
    """What is to be said of how it is read, such as "one band, grey, stored as three equal ones"."""


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keep warnings of Pillow and rasterio about single files off the terminal: what matters of them becomes a reason.

    An image so large that Pillow suspects a decompression bomb is an error inside the block.
    """
    from PIL import Image

    logger = logging.getLogger("PIL")
    level = logger.level
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        warnings.filterwarnings("ignore", module="rasterio")  # such as of a raster without a place
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)


def read_bytes(path: Path) -> bytes:
    """The bytes of a regular file.

    Raises:
        UnreadableError: it is missing, empty, larger than MAX_BYTES, not a regular file, or may not be read.
    """
    with opening():
        if not stat.S_ISREG(path.stat().st_mode):  # opening a device may do something
            raise UnreadableError("not a regular file", Cause.ACCESS)
        # Without blocking: by now the file may be a named pipe.
        with open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise UnreadableError(f"the file is larger than {MAX_BYTES >> 20} MiB", Cause.TOO_LARGE)
            raw: bytes = file.read(size + 1) or b""
            while len(raw) < size and (more := file.read(size - len(raw))):
                raw += more
        if not raw:
            raise UnreadableError("the file is empty", Cause.DAMAGED)
        return raw


def read_header(raw: bytes) -> Header:
    """The size of an image and what is to be said of it, without decoding it; raises UnreadableError."""
    if raw.startswith(MAGIC):
        tiff = read_tags(raw, MAX_PIXELS)
        return Header(tiff.size, tiff.notes)
    with _opened(raw) as (image, notes):
        return Header((image.height, image.width), notes)


def decode(raw: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Decode a JPEG, PNG, TIFF, BMP or WebP.

    Args:
        raw: The file's bytes.
        size: Height and width wanted; an image of another size is resized (bicubic, antialiased).

    Returns:
        uint8 [H, W, 3].

    Raises:
        UnreadableError: the image is damaged, too large, not of 8 bits, or of other bands than are read.
    """
    if raw.startswith(MAGIC):
        tiff = read_tags(raw, MAX_PIXELS)
        return _finished(lambda: read_pixels(tiff, raw), tiff.size, size)
    with _opened(raw) as (image, _):
        return _finished(lambda: _loaded(image), (image.height, image.width), size)


def _finished(
    load: Callable[[], tuple[NDArray[np.uint8], NDArray[np.uint8] | None]],
    stored: tuple[int, int],
    size: tuple[int, int],
) -> NDArray[np.uint8]:
    """What `load` makes of a file whose picture is `stored` high and wide, at the size wanted."""
    with in_turn(stored):
        try:
            return resize(without_hidden(*load()), size)
        except UnreadableError:
            raise
        except Exception as error:  # decoders raise what they meet: OSError, SyntaxError, struct.error, ...
            raise UnreadableError(f"damaged: {_one_line(error)}", Cause.DAMAGED) from error


def in_turn(size: tuple[int, int]) -> AbstractContextManager[object]:
    """What an image of this height and width is decoded in: large ones wait for one another."""
    return _ONE_AT_A_TIME if is_large(size) else nullcontext()


def is_large(size: tuple[int, int]) -> bool:
    """Whether an image of this height and width takes so much memory that one is decoded at a time."""
    return math.prod(size) > _LARGE


def resize(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize uint8 [H, W, 3] to `size` (height, width), bicubic and antialiased; as it is where the size is right.

    Width first, then height, whatever Pillow would begin with: that differs between its versions, and rounding with it.
    A model does the same with patches of another size (`landsift.models.preprocess.resample`), to the bit.
    """
    from PIL import Image

    if pixels.shape[:2] == size:
        return pixels
    image = Image.fromarray(pixels)
    for step in ((size[1], image.height), (size[1], size[0])):
        image = image.resize(step, Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.uint8)


@contextmanager
def _opened(raw: bytes) -> Iterator[tuple[Image, tuple[str, ...]]]:
    """A JPEG, PNG, BMP or WebP and what is to be said of it, its pixels not yet decoded."""
    from PIL import Image

    kind, (bands, notes) = _facts(raw)
    try:
        image = Image.open(io.BytesIO(raw), formats=[kind])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableError(f"more than {MAX_PIXELS:,} pixels", Cause.TOO_LARGE) from error
    except Exception as error:
        perhaps = f" (or a {kind} of a kind that is not read)" if bands is None else ""
        raise UnreadableError(f"damaged{perhaps}: {_one_line(error)}", Cause.DAMAGED) from error
    with image:
        if image.width * image.height > MAX_PIXELS:
            raise UnreadableError(f"more than {MAX_PIXELS:,} pixels", Cause.TOO_LARGE)
        if bands is None:
            notes = notes_of(grey=image.mode in ("1", "L"), alpha=image.mode == "RGBA")
        elif len(image.getbands()) != bands:
            raise UnreadableError(f"damaged: its header tells of {bands} bands, its pixels of others", Cause.DAMAGED)
        yield image, notes


def _facts(raw: bytes) -> tuple[str, Facts]:
    """Pillow's name of a file's format, and what its header says; raises UnreadableError."""
    if raw.startswith(PNG_MAGIC):
        return "PNG", png_facts(raw)
    if raw.startswith(JPEG_MAGIC):
        if raw.count(_START_OF_SCAN) > _MAX_SCANS:
            raise UnreadableError(f"a JPEG of more than {_MAX_SCANS} scans", Cause.DAMAGED)
        return "JPEG", jpeg_facts(raw)
    if raw.startswith(b"RIFF") and raw[8:12] == b"WEBP":
        return "WEBP", webp_facts(raw)
    if raw.startswith(b"BM"):
        return "BMP", Facts(None, ())
    raise other_format(raw)


def _loaded(image: Image) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """The colours of an image, uint8 [H, W, 3], and its alpha band, [H, W], or None."""
    image.load()
    image.info.pop("transparency", None)
    alpha = np.asarray(image.getchannel("A"), dtype=np.uint8) if image.mode in ("LA", "RGBA") else None
    return np.asarray(image.convert("RGB"), dtype=np.uint8), alpha


def without_hidden(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Pixels whose hidden area is black; an alpha band that hides all, or next to nothing, is passed over."""
    if alpha is None or not HIDDEN <= np.mean(alpha == 0) < 1:
        return pixels
    return np.where(alpha[..., None] > 0, pixels, 0).astype(np.uint8)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:200]
