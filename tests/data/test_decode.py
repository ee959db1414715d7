"""Pixels come out as 8-bit RGB, or the file is refused with a reason; nothing is clipped in silence."""

import io
import os
import struct
import warnings

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from landsift.data.decode import UnreadableError, decode, image_size, quiet_pillow, read_bytes, resize

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


def test_bilevel_and_cmyk_are_converted():
    bilevel = Image.fromarray(GRAY > 127)
    np.testing.assert_array_equal(decode(encoded(bilevel, "PNG"), SIZE)[..., 0], np.where(GRAY > 127, 255, 0))
    cmyk = Image.fromarray(RGB).convert("CMYK")
    pixels = decode(encoded(cmyk, "TIFF"), SIZE)
    np.testing.assert_array_equal(pixels, np.asarray(cmyk.convert("RGB")))


def test_of_several_frames_the_first_is_taken():
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    for kind in ("PNG", "TIFF"):
        raw = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        np.testing.assert_array_equal(decode(raw, SIZE), RGB)


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
        (encoded(Image.fromarray(GRAY.astype(np.float32)), "TIFF"), "32 bits per band"),
        (signed_tiff(), "signed"),
    ],
    ids=["png-gray16", "png-rgb16", "tiff-u16", "tiff-i32", "tiff-f32", "tiff-i8"],
)
def test_what_would_be_clipped_is_refused(raw, reason):
    with pytest.raises(UnreadableError, match=reason):
        image_size(raw)
    with pytest.raises(UnreadableError, match=reason):
        decode(raw, SIZE)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_a_truncated_file_is_refused_with_a_reason(kind):
    raw = encoded(Image.fromarray(np.kron(RGB, np.ones((8, 8, 1), np.uint8))), kind)
    with pytest.raises(UnreadableError) as error, quiet_pillow():
        decode(raw[: len(raw) // 2], SIZE)
    assert str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("raw", [b"not an image", encoded(Image.fromarray(RGB), "GIF")])
def test_other_formats_are_refused(raw):
    with pytest.raises(UnreadableError, match="not a JPEG, PNG or TIFF"):
        image_size(raw)


def test_a_real_multispectral_tiff_is_refused_as_such(shared):
    raw = next((shared / "data/eurosat_ms/Forest").glob("*.tif")).read_bytes()
    with quiet_pillow(), pytest.raises(UnreadableError, match="a TIFF that is damaged or whose bands cannot be read"):
        image_size(raw)


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
