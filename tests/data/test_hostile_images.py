"""Images that lie: refused with a reason or read as what they are, in bounded memory, and never a hang."""

import io
import os
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps
from small_sources import data_config, random_pixels, refused

from landsift.data.decoding import decode as decoding
from landsift.data.decoding.decode import decode, quiet_pillow, read_bytes, read_header
from landsift.data.decoding.unreadable import UnreadableError
from landsift.data.store.patch_store import build_store

SIZE = (48, 40)
RGB = random_pixels(3, SIZE)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, data: bytes, *, depth: int = 8, color: int = 2, before: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + before + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tiff(**tags: tuple[int, int, int]) -> bytes:
    """A gray TIFF of 40 × 48 pixels in one strip; `t256=(type, count, value)` sets a tag."""
    fields = {256: (4, 1, 40), 257: (4, 1, 48), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, 1, 400)}
    fields |= {277: (3, 1, 1), 278: (4, 1, 48), 279: (4, 1, 1920)}
    fields |= {int(name[1:]): value for name, value in tags.items()}
    body = b"".join(struct.pack("<HHII", tag, *value) for tag, value in sorted(fields.items()))
    start = b"II*\0" + struct.pack("<IH", 8, len(fields)) + body + struct.pack("<I", 0)
    return start.ljust(400, b"\0") + bytes(1920)


def refusal(raw: bytes) -> str:
    with quiet_pillow(), pytest.raises(UnreadableError) as error:
        decode(raw, SIZE)
    assert str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_an_image_cut_anywhere_is_refused_or_whole(kind):
    raw = encoded(Image.fromarray(RGB), kind)
    with quiet_pillow():
        whole = decode(raw, SIZE)
        for length in {*range(1, 60), *range(60, len(raw), 97), *range(len(raw) - 30, len(raw))}:
            try:
                pixels = decode(raw[:length], SIZE)
            except UnreadableError:
                continue
            np.testing.assert_array_equal(pixels, whole)  # what is missing is not of the pixels


def test_a_wrong_ending_does_not_matter_and_a_text_is_no_image(tmp_path):
    for name, raw in {
        "a/a.jpg": encoded(Image.fromarray(RGB), "PNG"),
        "b/b.png": encoded(Image.fromarray(RGB), "TIFF"),
    }.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(raw)
    store = build_store(data_config(f"data.source={tmp_path}"), tmp_path.with_name("store"))
    np.testing.assert_array_equal(store.images, [RGB, RGB])
    (tmp_path / "b/text.png").write_text("no image")
    refused(
        lambda: build_store(data_config(f"data.source={tmp_path}"), tmp_path.with_name("other")),
        tmp_path / "b/text.png",
        "not a JPEG, PNG, TIFF, BMP or WebP",
    )
    assert not tmp_path.with_name("other").exists()


@pytest.mark.parametrize(
    ("kind", "reason"), [("GIF", "not a JPEG, PNG, TIFF, BMP or WebP"), ("WEBP", "an animation of 2 frames")]
)
def test_animations_of_other_formats_are_refused(kind, reason):
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    assert reason in refusal(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))


def test_one_pixel_is_an_image():
    pixels = decode(encoded(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG"), SIZE)
    assert (pixels == [1, 2, 3]).all()


@pytest.mark.parametrize(
    "raw",
    [png(40_000, 30_000, zlib.compress(b"")), png(8193, 8192, zlib.compress(b"")), tiff(t256=(4, 1, 2**31))],
    ids=["a billion", "one column too many", "tiff"],
)
def test_a_header_that_claims_too_many_pixels_is_refused_before_decoding(raw):
    assert refusal(raw) == "more than 67,108,864 pixels"


def test_large_images_are_decoded_one_at_a_time(monkeypatch):
    """Otherwise memory grows with the cores: 1.2 GB each."""
    monkeypatch.setattr(decoding, "_LARGE", 1000)
    raw, done = encoded(Image.fromarray(RGB), "PNG"), threading.Event()
    worker = threading.Thread(target=lambda: (decode(raw, SIZE), done.set()), daemon=True)
    with decoding._ONE_AT_A_TIME:
        worker.start()
        assert not done.wait(0.2)
    assert done.wait(30)


def test_a_jpeg_of_thousands_of_scans_does_not_take_minutes():
    raw = encoded(Image.new("RGB", (64, 64)), "JPEG", progressive=True)
    last = raw[raw.rfind(b"\xff\xda") : -2]
    assert decode(raw[:-2] + 5 * last + raw[-2:], SIZE).shape == (*SIZE, 3)
    assert refusal(raw[:-2] + 2000 * last + raw[-2:]) == "a JPEG of more than 100 scans"


@pytest.mark.parametrize("color", [0, 2])
def test_16_bits_are_seen_where_the_header_chunk_is_not_the_first(color):
    """They were cut to 8 in silence: the bit depth was read from a fixed place."""
    lines = bytes(48 * (40 * 2 * (1 if color == 0 else 3) + 1))
    assert "16 bits" in refusal(
        png(40, 48, zlib.compress(lines), depth=16, color=color, before=chunk(b"tEXt", b"a\0b"))
    )


@pytest.mark.parametrize("name", [b"zTXt", b"iCCP"])
def test_text_and_profiles_that_unpack_to_megabytes_are_refused(name):
    bomb = chunk(name, b"a\0\0" + zlib.compress(bytes(30_000_000)))
    raw = png(40, 48, zlib.compress(bytes(48 * 121)))
    assert "too large" in refusal(raw[:33] + bomb + raw[33:])


def test_a_broken_profile_or_exif_does_not_matter():
    whole = decode(encoded(Image.fromarray(RGB), "JPEG"), SIZE)
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + b"\xff" * 60
    for options in ({"icc_profile": b"rubbish" * 100}, {"exif": exif}):
        with quiet_pillow():
            np.testing.assert_array_equal(decode(encoded(Image.fromarray(RGB), "JPEG", **options), SIZE), whole)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_the_size_in_the_header_is_that_of_the_pixels_whatever_the_orientation(kind, orientation):
    """If they differed, every such patch would be squeezed in silence."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw = encoded(Image.fromarray(RGB), kind, exif=exif)
    size = read_header(raw).size
    upright = Image.fromarray(RGB)
    upright.getexif()[0x0112] = orientation
    # Pillow turns a TIFF as its tag says; the orientation of a photograph's EXIF is left alone
    expected = np.asarray(ImageOps.exif_transpose(upright)) if kind == "TIFF" else RGB
    assert size == expected.shape[:2]
    pixels = decode(raw, size)
    if kind != "JPEG":
        np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    "tags",
    [
        {"t256": (4, 1, 0)},
        {"t256": (2, 1, 40)},
        {"t258": (2, 1, 8)},
        {"t258": (3, 1, 0)},
        {"t273": (4, 2**30, 400)},
        {"t273": (4, 1, 2**32 - 1)},
        {"t277": (3, 1, 65535)},
        {"t278": (4, 1, 0)},
    ],
    ids=str,
)
def test_absurd_tags_of_a_tiff_are_refused(tags):
    refusal(tiff(**tags))


def test_a_plain_tiff_of_the_same_make_is_read():
    assert decode(tiff(), SIZE).shape == (*SIZE, 3)


def test_a_file_that_becomes_a_named_pipe_after_the_look_does_not_block(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    monkeypatch.setattr(decoding.stat, "S_ISREG", lambda mode: True)
    with pytest.raises(UnreadableError, match="empty"):
        read_bytes(tmp_path / "pipe.png")


def test_a_name_with_a_nul_is_a_reason(tmp_path):
    with pytest.raises(UnreadableError, match="null"):
        read_bytes(tmp_path / "a\0.png")


def test_a_sparse_giant_is_not_read(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UnreadableError, match="larger than 256 MiB"):
        read_bytes(tmp_path / "a.png")


def test_images_too_large_for_patches_need_a_size(tmp_path):
    for name in "ab":
        (tmp_path / "patches" / name).mkdir(parents=True)
        Image.new("1", (4100, 10)).save(tmp_path / "patches" / name / "x.png")
    source = f"data.source={tmp_path / 'patches'}"
    refused(lambda: build_store(data_config(source), tmp_path / "s"), "10 × 4100 pixels", "data.patch_size")
    assert build_store(data_config(source, "data.patch_size=8"), tmp_path / "s").images.shape == (2, 8, 8, 3)
