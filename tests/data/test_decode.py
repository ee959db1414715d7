"""Pixels come out as 8-bit RGB, or the file is refused with a reason; nothing is clipped in silence."""

import io
import os
import struct
import warnings

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from landsift.data.decoding.decode import decode, quiet_pillow, read_bytes, read_header, resize
from landsift.data.decoding.unreadable import UnreadableError

SIZE = (8, 12)
RGB = np.random.default_rng(0).integers(0, 256, size=(*SIZE, 3), dtype=np.uint8)
GRAY = RGB[..., 0]


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_rgb_comes_out_as_it_went_in(kind):
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(RGB), kind), SIZE), RGB)


def test_jpeg_comes_out_nearly_as_it_went_in():
    smooth = np.tile(np.linspace(0, 255, SIZE[1], dtype=np.uint8)[None, :, None], (SIZE[0], 1, 3))
    pixels = decode(encoded(Image.fromarray(smooth), "JPEG", quality=95), SIZE)
    assert np.abs(pixels.astype(int) - smooth).max() < 12


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_grayscale_becomes_rgb(kind):
    pixels = decode(encoded(Image.fromarray(GRAY), kind, quality=100), SIZE)
    assert pixels.shape == (*SIZE, 3)
    assert np.abs(pixels.astype(int) - GRAY[..., None]).max() <= (3 if kind == "JPEG" else 0)


@pytest.mark.parametrize("transparency", [None, 0, bytes(range(256))])
def test_palette_becomes_rgb_without_a_warning(transparency):
    palette = Image.fromarray(RGB).quantize(16)
    options = {} if transparency is None else {"transparency": transparency}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = decode(encoded(palette, "PNG", **options), SIZE)
    np.testing.assert_array_equal(pixels, np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_alpha_is_dropped_not_blended(kind):
    rgba = np.dstack([RGB, np.zeros(SIZE, dtype=np.uint8)])
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(rgba), kind), SIZE), RGB)
    la = Image.fromarray(np.dstack([GRAY, GRAY]), "LA")
    np.testing.assert_array_equal(decode(encoded(la, "PNG"), SIZE), np.dstack([GRAY] * 3))


def test_bilevel_is_stretched():
    bilevel = Image.fromarray(GRAY > 127)
    np.testing.assert_array_equal(decode(encoded(bilevel, "PNG"), SIZE)[..., 0], np.where(GRAY > 127, 255, 0))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_refused_as_four_bands(kind):
    """It is what programs make of four bands that are none of the four inks."""
    raw = encoded(Image.fromarray(np.dstack([RGB, GRAY]), "CMYK"), kind)
    for read in (read_header, lambda raw: decode(raw, SIZE)):
        with pytest.raises(UnreadableError, match=r"^4 bands \(CMYK\)"):
            read(raw)


@pytest.mark.parametrize(("kind", "said"), [("PNG", "an animation of 2 frames"), ("TIFF", "2 pages")])
def test_files_of_several_pictures_are_refused(kind, said):
    raw = encoded(Image.fromarray(RGB), kind, save_all=True, append_images=[Image.fromarray(255 - RGB)])
    with pytest.raises(UnreadableError, match=said):
        read_header(raw)


def test_of_a_jpeg_with_further_pictures_behind_it_the_first_is_read_and_that_is_said():
    smooth = Image.fromarray(np.full((*SIZE, 3), 90, np.uint8))
    raw = encoded(smooth, "MPO", save_all=True, append_images=[Image.new("RGB", (5, 5))])
    assert read_header(raw) == (SIZE, ("several pictures, of which the first is read",))
    assert (decode(raw, SIZE) == 90).all()


def test_what_is_made_of_other_bands_is_said():
    la = Image.fromarray(np.dstack([GRAY, GRAY]), "LA")
    (grey,) = read_header(encoded(Image.fromarray(GRAY), "JPEG")).notes
    assert grey == "one band, grey, stored as three equal ones"
    assert read_header(encoded(la, "PNG")).notes[0] == grey
    assert "an alpha band, which is dropped" in read_header(encoded(la, "PNG")).notes[1]
    assert read_header(encoded(Image.fromarray(RGB), "PNG")).notes == ()
    keyed = encoded(Image.fromarray(RGB), "PNG", transparency=(1, 2, 3))
    assert read_header(keyed).notes == ("a transparent colour, which is stored as the colour it is",)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_an_area_that_alpha_hides_is_stored_as_black(kind):
    """What lies there is not of the picture, and would pass for content."""
    alpha = np.full(SIZE, 255, dtype=np.uint8)
    alpha[:3] = 0
    expected = np.where(alpha[..., None] > 0, RGB, 0)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(np.dstack([RGB, alpha])), kind), SIZE), expected)
    alpha[:3], alpha[0, 0] = 255, 0  # a speck hides nothing
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(np.dstack([RGB, alpha])), kind), SIZE), RGB)


def png16(bands: int) -> bytes:
    """A 16-bit PNG, which Pillow cannot write with three bands."""
    import zlib

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", SIZE[1], SIZE[0], 16, 2 if bands == 3 else 0, 0, 0, 0)
    lines = b"".join(b"\0" + bytes(2 * bands * SIZE[1]) for _ in range(SIZE[0]))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def signed_tiff() -> bytes:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[339] = 2
    return encoded(Image.fromarray(GRAY), "TIFF", tiffinfo=info)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (png16(1), "16 bits per band"),
        (png16(3), "16 bits per band"),
        (encoded(Image.fromarray(GRAY.astype(np.uint16)), "TIFF"), "16 bits per band"),
        (encoded(Image.fromarray(GRAY.astype(np.int32)), "TIFF"), "32 bits per band"),
        (encoded(Image.fromarray(GRAY.astype(np.float32)), "TIFF"), "32 bits per band, floating point"),
        (signed_tiff(), "8 bits per band, signed"),
    ],
    ids=["png-gray16", "png-rgb16", "tiff-u16", "tiff-i32", "tiff-f32", "tiff-i8"],
)
def test_what_would_be_clipped_is_refused(raw, reason):
    with pytest.raises(UnreadableError, match=reason):
        read_header(raw)
    with pytest.raises(UnreadableError, match=reason):
        decode(raw, SIZE)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_a_truncated_file_is_refused_with_a_reason(kind):
    raw = encoded(Image.fromarray(np.kron(RGB, np.ones((8, 8, 1), np.uint8))), kind)
    with pytest.raises(UnreadableError) as error, quiet_pillow():
        decode(raw[: len(raw) // 2], SIZE)
    assert str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"not an image", ""),
        (encoded(Image.fromarray(RGB), "GIF"), " but GIF"),
        (encoded(Image.fromarray(RGB), "JPEG2000"), " but JPEG 2000"),
        (b"\n<!DOCTYPE html><html>404", " but a web page"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            " but a pointer of Git LFS (git lfs pull fetches the picture)",
        ),
    ],
    ids=["text", "gif", "jp2", "web page", "git lfs"],
)
def test_other_formats_are_refused_by_name(raw, what):
    for read in (read_header, lambda raw: decode(raw, SIZE)):
        with pytest.raises(UnreadableError) as error:
            read(raw)
        assert str(error.value) == f"not a JPEG, PNG, TIFF, BMP or WebP image{what}"


@pytest.mark.parametrize(("kind", "options"), [("BMP", {}), ("WEBP", {"lossless": True})])
def test_bmp_and_lossless_webp_come_out_as_they_went_in(kind, options):
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(RGB), kind, **options), SIZE), RGB)
    assert read_header(encoded(Image.fromarray(RGB), kind, **options)) == (SIZE, ())


def test_alpha_and_grey_of_webp_and_bmp_are_treated_as_elsewhere():
    alpha = np.full(SIZE, 255, dtype=np.uint8)
    alpha[:3] = 0
    raw = encoded(Image.fromarray(np.dstack([RGB, alpha])), "WEBP", lossless=True, exact=True)
    np.testing.assert_array_equal(decode(raw, SIZE), np.where(alpha[..., None] > 0, RGB, 0))
    assert "an alpha band, which is dropped" in read_header(raw).notes[0]
    assert read_header(encoded(Image.fromarray(GRAY), "BMP")).notes == ("one band, grey, stored as three equal ones",)


def test_a_bmp_of_a_kind_that_pillow_does_not_read_is_not_simply_called_damaged():
    raw = bytearray(encoded(Image.fromarray(RGB), "BMP"))
    raw[28] = 2  # bits per pixel
    with pytest.raises(UnreadableError, match=r"or a BMP of a kind that is not read"):
        read_header(bytes(raw))


def test_a_real_multispectral_tiff_is_refused_as_such(shared):
    raw = next((shared / "data/eurosat_ms/Forest").glob("*.tif")).read_bytes()
    with quiet_pillow(), pytest.raises(UnreadableError, match=r"^13 bands of 16 bits, where grey, RGB"):
        read_header(raw)


def test_a_decompression_bomb_is_refused(monkeypatch):
    raw = encoded(Image.new("L", (40, 40)), "PNG")
    for pixels in (1000, 100):  # Pillow warns above the limit, and refuses above twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
        with quiet_pillow(), pytest.raises(UnreadableError, match="more than 67,108,864 pixels"):
            decode(raw, SIZE)


def test_resizing_is_antialiased():
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    small = resize(stripes, (16, 16))
    assert small.shape == (16, 16, 3)
    assert np.abs(small.astype(int) - 127).max() < 30  # picking pixels would give 0 or 255


def test_only_regular_readable_files_are_read(tmp_path):
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name, reason in {
        "empty.png": "empty",
        "pipe.png": "not a regular file",
        "folder.png": "not a regular file",
        "gone.png": "does not exist",
    }.items():
        with pytest.raises(UnreadableError, match=reason):
            read_bytes(tmp_path / name)
