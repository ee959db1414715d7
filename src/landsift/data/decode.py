"""From the bytes of an image file to pixels: 8-bit RGB, or a reason why not.

Grayscale and palette images become RGB, an alpha band is dropped, CMYK is converted, and of a file
with several frames or pages the first is taken. Pixels stay where they are stored: an orientation in the
EXIF data is not applied, as in torchvision. Nothing is clipped or rescaled in silence: 16-bit,
floating-point and signed images are refused with a reason.
"""

from __future__ import annotations

import io
import logging
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

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

_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")
_EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BITS_PER_SAMPLE, _SAMPLE_FORMAT = 258, 339  # TIFF tags
_UNSIGNED, _UNDEFINED = 1, 4  # values of _SAMPLE_FORMAT that leave 8-bit values as they are


class UnreadableError(Exception):
    """A file cannot be decoded; the message is the reason, for people."""


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keep Pillow's warnings about single files off the terminal: what matters of them becomes a reason.

    An image so large that Pillow suspects a decompression bomb is an error inside the block.
    """
    from PIL import Image

    logger = logging.getLogger("PIL")
    level = logger.level
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
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
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a device may do something
            raise UnreadableError("not a regular file")
        # Without blocking: by now the file may be a named pipe.
        with open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise UnreadableError(f"the file is larger than {MAX_BYTES >> 20} MiB")
            raw: bytes = file.read(size + 1) or b""
            while len(raw) < size and (more := file.read(size - len(raw))):
                raw += more
        if not raw:
            raise UnreadableError("the file is empty")
        return raw
    except FileNotFoundError:
        raise UnreadableError("the file does not exist") from None
    except ValueError as error:  # a name with a NUL
        raise UnreadableError(str(error)) from None
    except OSError as error:
        raise UnreadableError((error.strerror or str(error)).lower()) from None


def image_size(raw: bytes) -> tuple[int, int]:
    """Height and width in pixels, from the header alone; raises UnreadableError."""
    with _opened(raw) as image:
        return image.height, image.width


def decode(raw: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Decode a JPEG, PNG, TIFF, BMP or WebP.

    Args:
        raw: The file's bytes.
        size: Height and width wanted; an image of another size is resized (bicubic, antialiased).

    Returns:
        uint8 [H, W, 3].

    Raises:
        UnreadableError: the image is damaged, not of 8 bits per band, or too large.
    """
    with _opened(raw) as image, _ONE_AT_A_TIME if image.width * image.height > _LARGE else nullcontext():
        try:
            return resize(np.asarray(_to_rgb(image), dtype=np.uint8), size)
        except Exception as error:  # Pillow's decoders raise what they meet: OSError, SyntaxError, struct.error, ...
            raise UnreadableError(_one_line(error)) from error


def resize(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize uint8 [H, W, 3] to `size` (height, width) with antialiasing; as it is where the size is right."""
    from PIL import Image

    if pixels.shape[:2] == size:
        return pixels
    resized = Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(resized, dtype=np.uint8)


@contextmanager
def _opened(raw: bytes) -> Iterator[Image]:
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(raw), formats=_FORMATS)
        _refuse_bomb(image, raw)
        _refuse_loss(image, raw)
    except UnreadableError:
        raise
    except UnidentifiedImageError as error:
        if raw.startswith(_TIFF_MAGIC):
            raise UnreadableError("a TIFF that is damaged or whose bands cannot be read as 8-bit RGB") from error
        raise UnreadableError("not a JPEG, PNG or TIFF image") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableError(f"more than {MAX_PIXELS:,} pixels") from error
    except Exception as error:
        raise UnreadableError(_one_line(error)) from error
    with image:
        yield image


def _refuse_bomb(image: Image, raw: bytes) -> None:
    """Refuse small files that take much memory or time to decode."""
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableError(f"more than {MAX_PIXELS:,} pixels")
    if image.format in {"JPEG", "MPO"} and raw.count(_START_OF_SCAN) > _MAX_SCANS:
        raise UnreadableError(f"a JPEG of more than {_MAX_SCANS} scans")
    if image.format == "WEBP" and (frames := getattr(image, "n_frames", 1)) > 1:  # each is as large as the canvas
        raise UnreadableError(f"an animation of {frames:,} frames")


def _refuse_loss(image: Image, raw: bytes) -> None:
    """Refuse what Pillow would clip, or cut to 8 bits, without a word."""
    bits, signed = 8, False
    if image.format == "PNG":
        # Pillow opens 16-bit RGB as mode RGB; where the header chunk is not the first, raw[24] is none of its bytes.
        tiles = image.tile  # type: ignore[attr-defined]
        bits = 16 if any("16" in str(tile[-1]) for tile in tiles) else raw[24]
    elif image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        bits = max(_as_tuple(tags.get(_BITS_PER_SAMPLE, 1)))
        signed = any(f not in (_UNSIGNED, _UNDEFINED) for f in _as_tuple(tags.get(_SAMPLE_FORMAT, _UNSIGNED)))
    if bits > 8:
        raise UnreadableError(f"{bits} bits per band; patches are 8-bit")
    if signed or image.mode not in _EIGHT_BIT_MODES:
        kind = "signed or floating-point values" if signed else f"pixel mode {image.mode}"
        raise UnreadableError(f"{kind}; patches are unsigned 8-bit")


def _to_rgb(image: Image) -> Image:
    image.load()
    image.info.pop("transparency", None)
    if image.mode == "RGB":
        return image
    if image.mode in ("RGBa", "La"):  # premultiplied alpha has no direct way to RGB
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    return image.convert("RGB")


def _as_tuple(value: Any) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:200]
