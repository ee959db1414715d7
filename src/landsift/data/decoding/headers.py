"""What an image's own bytes say that a decoder would pass over, and what files of other formats are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from landsift.data.decoding.unreadable import Cause, UnreadableError

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"
READ = "JPEG, PNG, TIFF, BMP or WebP"

ALPHA = "an alpha band, which is dropped; where it hides an area, that is stored as black"
GREY = "one band, grey, stored as three equal ones"
TRANSPARENT = "a transparent colour, which is stored as the colour it is"
FIRST_OF_SEVERAL = "several pictures, of which the first is read"

_PNG_BANDS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type; a palette's index is one band
_FRAMES_OF_JPEG = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame, by marker
_CODINGS = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})  # baseline, extended, progressive; the last two arithmetic
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a body

_OTHERS = (
    (b"GIF8", "GIF"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\xff\xd8\xff\xf7", "JPEG-LS"),
    (b"8BPS", "Photoshop"),
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "HDF5 or NetCDF"),
    (b"CDF", "NetCDF"),
    (b"version https://git-lfs", "a pointer of Git LFS (git lfs pull fetches the picture)"),
)


class Facts(NamedTuple):
    """What a file's header tells beside its size."""

    bands: int | None
    """How many a decoder must come up with, the index into a palette being one; None where that is not known."""
    notes: tuple[str, ...]
    """What is to be said of how it is read."""


def png_facts(raw: bytes) -> Facts:
    """Read the chunks of a PNG up to its pixels.

    Raises:
        UnreadableError: it has more than 8 bits per band or several frames, or no header.
    """
    header, frames, transparent = b"", 1, False
    for name, body in _chunks(raw):
        if name == b"IHDR":
            header = body
        elif name == b"acTL":
            frames = int.from_bytes(body[:4], "big")
        transparent |= name == b"tRNS"
    if len(header) != 13 or (bands := _PNG_BANDS.get(header[9])) is None:
        raise UnreadableError("damaged: a PNG without a header that makes sense", Cause.DAMAGED)
    if header[8] > 8:
        raise UnreadableError(f"{header[8]} bits per band, where 8 are read", Cause.DEPTH)
    if frames > 1:
        raise UnreadableError(several_frames(frames), Cause.PAGES)
    alpha, grey = header[9] in (4, 6), header[9] in (0, 4)
    return Facts(bands, notes_of(grey=grey, alpha=alpha, transparent=transparent and not alpha))


def _chunks(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(PNG_MAGIC)
    while at + 8 <= len(raw) and (name := raw[at + 4 : at + 8]) != b"IDAT":
        length = int.from_bytes(raw[at : at + 4], "big")
        yield name, raw[at + 8 : at + 8 + min(length, 16)]
        at += 12 + length


def jpeg_facts(raw: bytes) -> Facts:
    """Read the segments of a JPEG up to its frame.

    Raises:
        UnreadableError: it has more than 8 bits per band, other bands than grey or colour, or no frame.
    """
    several = False
    for marker, at in _segments(raw):
        if marker == 0xE2 and raw.startswith(b"MPF\0", at):  # CIPA DC-007, multi-picture format
            several = True
        elif marker in _FRAMES_OF_JPEG and at + 6 <= len(raw):
            depth, bands = raw[at], raw[at + 5]
            if marker not in _CODINGS:
                raise UnreadableError("a lossless or hierarchical JPEG, which cannot be read", Cause.COMPRESSION)
            if depth != 8:
                raise UnreadableError(f"{depth} bits per band, where 8 are read", Cause.DEPTH)
            if bands not in (1, 3):
                raise UnreadableError(unread_bands(bands, "CMYK" if bands == 4 else ""), Cause.BANDS)
            return Facts(bands, notes_of(grey=bands == 1, several=several))
    raise UnreadableError("damaged: a JPEG that ends before its size is told", Cause.DAMAGED)


def _segments(raw: bytes) -> Iterator[tuple[int, int]]:
    """Marker and start of the body of each segment before the compressed data."""
    at = 2
    while (at := raw.find(b"\xff", at)) >= 0 and at + 4 <= len(raw):
        marker = raw[at + 1]
        if marker in (0x00, 0xFF) or marker in _BARE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in (0xD9, 0xDA):  # end of the image, start of its data
            return
        yield marker, at + 4
        at += 2 + int.from_bytes(raw[at + 2 : at + 4], "big")


def webp_facts(raw: bytes) -> Facts:
    """Read the chunks of a WebP (RIFF); raises UnreadableError if it has several frames."""
    frames, at = 0, 12
    while at + 8 <= len(raw):
        frames += raw[at : at + 4] == b"ANMF"
        length = int.from_bytes(raw[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    if frames > 1:
        raise UnreadableError(several_frames(frames), Cause.PAGES)
    return Facts(None, ())


def several_frames(frames: int) -> str:
    """The reason for an animation."""
    return f"an animation of {frames:,} frames, where one picture is read"


def unread_bands(bands: int, what: str = "", bits: int = 8) -> str:
    """The reason for a file of so many bands; `what` they are, as far as it is known."""
    many = f"{bands} band{'s' if bands > 1 else ''}{f' of {bits} bits' if bits != 8 else ''}"
    return f"{many}{f' ({what})' if what else ''}, where grey, RGB and RGB + alpha are read"


def notes_of(
    *, grey: bool = False, alpha: bool = False, transparent: bool = False, several: bool = False
) -> tuple[str, ...]:
    """What is to be said of a file of which some things hold."""
    notes = ((GREY, grey), (ALPHA, alpha), (TRANSPARENT, transparent), (FIRST_OF_SEVERAL, several))
    return tuple(note for note, holds in notes if holds)


def other_format(raw: bytes) -> UnreadableError:
    """The error for a file that is no JPEG, PNG, TIFF, BMP or WebP, naming its format where it is known."""
    name = next((name for magic, name in _OTHERS if raw.startswith(magic)), "")
    if raw[4:8] == b"ftyp":
        name = "HEIF or AVIF"
    elif raw[:512].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        name = "a web page"
    return UnreadableError(f"not a {READ} image{' but ' + name if name else ''}", Cause.FORMAT)
