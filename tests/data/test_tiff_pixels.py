"""A TIFF is read as what its own tags say, whoever wrote it, or refused with the tag that is in the way."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_sources import data_config, random_pixels, refused
from test_decode import encoded
from tiff_files import ASCII, LONG, SHORT, page, tiff

from landsift.data.decoding.decode import decode, quiet_pillow, read_header
from landsift.data.decoding.unreadable import Cause, UnreadableError
from landsift.data.store.patch_store import PatchStore, build_store

SIZE = (35, 30)
BANDS = np.kron(np.random.default_rng(0).integers(0, 256, (7, 6, 13), dtype=np.uint8), np.ones((5, 5, 1), np.uint8))
RGB = BANDS[..., :3]
OPAQUE = np.full((*SIZE, 1), 255, np.uint8)

REDUCED, MASK = (LONG, (1,)), (LONG, (4,))  # of tag 254


def read(raw: bytes) -> np.ndarray:
    with quiet_pillow():
        return decode(raw, read_header(raw).size)


def reason(raw: bytes) -> tuple[str, Cause]:
    with quiet_pillow(), pytest.raises(UnreadableError) as error:
        read(raw)
    assert "\n" not in str(error.value)
    return str(error.value), error.value.reason.cause


GEOMETRIES = {"strip": {}, "strips": {"rows": 8}, "tiles": {"tile": 16}}
MODELS = {
    "rgb": (2, 3, ()),
    "grey of three bands": (1, 3, (0, 0)),
    "grey of three bands, extras untold": (1, 3, ()),
    "no model": (None, 3, ()),
    "grey": (1, 1, ()),
    "white is zero": (0, 1, ()),
    "rgb and alpha": (2, 4, (2,)),
    "rgb and associated alpha": (2, 4, (1,)),
    "grey of three bands and alpha": (1, 4, (0, 0, 2)),
    "grey and alpha": (1, 2, (2,)),
}


@pytest.mark.parametrize("planes", [False, True], ids=["by pixel", "by band"])
@pytest.mark.parametrize("compression", [1, 5, 8, 32773], ids=["none", "lzw", "deflate", "packbits"])
@pytest.mark.parametrize("model", MODELS)
def test_grey_and_rgb_with_or_without_alpha_come_out_as_they_went_in(model, compression, planes):
    number, bands, extra = MODELS[model]
    pixels = BANDS[..., :bands].copy()
    if bands in (2, 4):
        pixels[..., -1:] = OPAQUE
    expected = RGB if bands > 2 else np.repeat(pixels[..., :1], 3, axis=-1)
    expected = 255 - expected if number == 0 else expected
    for geometry, order, big in itertools.product(GEOMETRIES.values(), "<>", (False, True)):
        predictor = compression in (5, 8) and big
        made = page(pixels, model=number, extra=extra, compression=compression, planes=planes, predictor=predictor,
                    **geometry)  # fmt: skip
        np.testing.assert_array_equal(read(tiff(made, order=order, big=big)), expected)


@pytest.mark.parametrize("planes", [False, True], ids=["by pixel", "by band"])
@pytest.mark.parametrize("model", [1, 2], ids=["grey", "rgb"])
@pytest.mark.parametrize("bands", [2, 4, 5, 6, 13])
def test_other_bands_are_refused_with_their_number(bands, model, planes):
    """Of six bands the first was read as grey; of blue, green, red and near infrared the last was dropped."""
    extra = (0,) * (bands - (1 if model == 1 else 3))
    for compression in (1, 5):
        made = page(BANDS[..., :bands], model=model, extra=extra, compression=compression, planes=planes)
        text, cause = reason(tiff(made))
        assert text.startswith(f"{bands} bands")
        assert cause is Cause.BANDS
        assert "damaged" not in text
    assert ("is not declared as alpha" in text) == (bands in (2, 4))


def test_bands_that_the_tags_do_not_explain_are_refused_too():
    assert reason(tiff(page(BANDS[..., :4], model=2)))[0].startswith("4 bands (the fourth is not declared")
    assert reason(tiff(page(BANDS[..., :1], model=2)))[0].startswith("1 band, where")
    assert reason(tiff(page(BANDS[..., :5], model=2, extra=(0, 2))))[0].startswith("5 bands (one of them alpha)")
    assert reason(tiff(page(BANDS[..., :5], model=5)))[0].startswith("5 bands (inks)")


def test_near_infrared_that_is_declared_as_alpha_is_refused():
    """GDAL declares the fourth of any four bands as alpha, unless it is told not to."""
    text, cause = reason(tiff(page(BANDS[..., :4], model=2, extra=(2,), compression=5)))
    assert text.startswith("4 bands (the fourth is declared as alpha, but holds values like the others)")
    assert cause is Cause.ALPHA
    assert reason(tiff(page(BANDS[..., :2], model=1, extra=(2,))))[0].startswith("2 bands (the second is declared")


def test_three_bands_without_a_colour_model_are_taken_as_rgb_which_is_said():
    for made in (page(RGB, model=1), page(RGB, model=None)):
        assert read_header(tiff(made)).notes == ("three bands without a colour model, taken as red, green and blue",)
    assert read_header(tiff(page(RGB, model=2))).notes == ()


def test_associated_alpha_is_divided_out():
    alpha = np.where(np.arange(30) % 3 > 0, 255, 128)[None, :, None].astype(np.uint8).repeat(35, axis=0)
    stored = (RGB.astype(int) * alpha // 255).astype(np.uint8)
    pixels = read(tiff(page(np.dstack([stored, alpha]), model=2, extra=(1,))))
    assert np.abs(pixels.astype(int) - RGB).max() <= 2
    np.testing.assert_array_equal(pixels[:, 1::3], RGB[:, 1::3])


class TestPages:
    def test_several_pages_are_refused(self):
        for pages in ([page(RGB, model=2)] * 2, [page(BANDS[..., :1], model=1)] * 6):
            assert reason(tiff(*pages)) == (f"{len(pages)} pages, where one picture is read", Cause.PAGES)

    @pytest.mark.parametrize(
        "others",
        [
            {"after": [page(RGB[::2, ::2], model=2, t254=REDUCED), page(RGB[::4, ::4], model=2, t254=REDUCED)]},
            {"before": [page(RGB[::4, ::4], model=2, t254=REDUCED)]},
            {"after": [page(RGB[::2, ::2], model=2, t255=(SHORT, (2,)))]},
            {"after": [page(RGB[..., :1], model=4, t254=MASK)]},
        ],
        ids=["overviews", "a thumbnail first", "an overview of the old kind", "a mask"],
    )
    def test_overviews_and_masks_are_no_pages_of_their_own(self, others):
        raw = tiff(*others.get("before", []), page(RGB, model=2), *others.get("after", []))
        np.testing.assert_array_equal(read(raw), RGB)
        assert read_header(raw).size == SIZE

    def test_a_mask_that_is_not_read_is_said(self):
        raw = tiff(page(RGB, model=2), page(RGB[..., :1], model=4, t254=MASK))
        assert read_header(raw).notes == ("a mask beside its pixels, which is not read",)

    @pytest.mark.parametrize(
        "tags",
        [
            {"t270": (ASCII, b"ImageJ=1.53t\nimages=6\nslices=6\n\0")},
            {"t270": (ASCII, b'{"shape": [6, 35, 30], "truncated": true}\0')},
            {"t32997": (LONG, (6,))},
        ],
        ids=["imagej", "tifffile", "depth"],
    )
    def test_stacks_of_one_page_are_refused(self, tags):
        assert reason(tiff(page(RGB[..., :1], model=1, **tags)))[0].startswith("a stack of 6 pictures")

    def test_a_preview_above_the_picture_is_refused(self):
        made = page(RGB, model=2, t254=REDUCED, t330=(LONG, (8,)))
        assert reason(tiff(made))[0].startswith("a preview, whose picture lies in a directory below it")

    def test_a_circle_of_pages_ends(self):
        raw = bytearray(tiff(page(RGB, model=2)))
        at = int.from_bytes(raw[4:8], "little")
        end = at + 2 + 12 * int.from_bytes(raw[at : at + 2], "little")
        raw[end : end + 4] = raw[4:8]
        np.testing.assert_array_equal(read(bytes(raw)), RGB)


class TestReasons:
    """A sound file is never called damaged; each reason has a way out of its own."""

    @pytest.mark.parametrize(
        ("made", "text", "cause"),
        [
            (page(BANDS[..., :1].astype("u2"), model=1), "16 bits per band, where", Cause.DEPTH),
            (page(RGB.astype("u2"), model=1, extra=(0, 0)), "16 bits per band in 3 bands", Cause.DEPTH),
            (page(RGB.astype("f4"), model=2), "32 bits per band, floating point", Cause.DEPTH),
            (page(RGB.astype("i1"), model=2), "8 bits per band, signed", Cause.DEPTH),
            (page(RGB, model=2, t258=(SHORT, (5, 6, 5))), "5 and 6 bits per band", Cause.DEPTH),
            (page(BANDS.astype("u2"), model=1), "13 bands of 16 bits", Cause.BANDS),
            (page(RGB, model=2, t259=(SHORT, (50001,))), "compressed with WebP", Cause.COMPRESSION),
            (page(RGB, model=2, t259=(SHORT, (34887,))), "compressed with LERC", Cause.COMPRESSION),
            (page(RGB, model=2, t259=(SHORT, (34712,))), "compressed with JPEG 2000", Cause.COMPRESSION),
            (page(RGB, model=2, t259=(SHORT, (6,))), "compressed with old-style JPEG", Cause.COMPRESSION),
            (page(RGB, model=2, t259=(SHORT, (4711,))), "compressed with method 4711", Cause.COMPRESSION),
            (page(RGB, model=8), "colours in CIELab", Cause.COLOURS),
            (page(RGB, model=0), "three bands in which 0 is white", Cause.COLOURS),
            (page(RGB[..., :1], model=32803), "raw values of a sensor", Cause.COLOURS),
            (page(RGB, model=2, rows=8, missing=range(5)), "no pixels in it", Cause.NO_PIXELS),
            (page(RGB, model=2, t256=(LONG, (2**22,))), "more than 67,108,864 pixels", Cause.TOO_LARGE),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )  # fmt: skip
    def test_what_is_not_read_is_named(self, made, text, cause):
        said = reason(tiff(made))
        assert said[0].startswith(text)
        assert said[1] is cause
        assert "damaged" not in said[0]

    @pytest.mark.parametrize("length", [3, 7, 40, 1000, -1])
    def test_a_file_that_ends_early_is_damaged(self, length):
        raw = tiff(page(RGB, model=2, compression=5))
        text, cause = reason(raw[:length])
        assert cause in (Cause.DAMAGED, Cause.FORMAT)
        assert text.startswith("damaged") or length < 4

    def test_pixels_that_lie_beyond_the_end_are_damage(self):
        assert reason(tiff(page(RGB, model=2, t273=(LONG, (10**6,)))))[1] is Cause.DAMAGED
        assert reason(tiff(page(RGB, model=2, t279=(LONG, (10,)))))[1] is Cause.DAMAGED

    def test_deflated_pixels_that_do_not_match_their_checksum_are_damage(self):
        """They came out as other pixels."""
        raw = bytearray(tiff(page(RGB, model=2, compression=8)))
        for at in range(60, 260, 20):
            assert reason(bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]))[1] is Cause.DAMAGED

    def test_ways_out_differ(self):
        assert len({cause.value for cause in Cause}) == len(Cause)


class TestOddButSound:
    @pytest.mark.parametrize("geometry", [{"tile": 16}, {"rows": 8}], ids=["tiles", "strips"])
    @pytest.mark.parametrize("planes", [False, True], ids=["by pixel", "by band"])
    def test_missing_tiles_and_strips_are_no_data(self, geometry, planes):
        for compression, no_data in itertools.product((1, 5, 8), (0, 255)):
            tags = {"t42113": (ASCII, b"255\0")} if no_data else {}
            raw = tiff(page(RGB, model=2, compression=compression, planes=planes, missing=(0, 2), **geometry, **tags))
            pixels = read(raw)
            assert (pixels[:8, :16] == no_data)[..., 0 if planes else slice(None)].all()
            assert (pixels == no_data).mean() < 0.9
            if not planes:
                other = (slice(None), slice(16, None)) if "tile" in geometry else (slice(8, 16),)
                rest = pixels[other][:16] if "tile" in geometry else pixels[other]
                np.testing.assert_array_equal(rest, RGB[other][:16] if "tile" in geometry else RGB[other])
            assert read_header(raw).notes == ("missing strips or tiles, read as no data",)

    def test_tags_that_are_left_out_have_their_usual_values(self):
        for name in ("t278", "t279", "t284", "t339"):
            np.testing.assert_array_equal(read(tiff(page(RGB, model=2, **{name: None}))), RGB)
        np.testing.assert_array_equal(read(tiff(page(RGB, model=2, t258=(SHORT, (8,))))), RGB)
        np.testing.assert_array_equal(read(tiff(page(RGB, model=2, t279=(LONG, (0,))))), RGB)

    @pytest.mark.parametrize("scale", [257, 1], ids=["16 bits", "8 bits"])
    def test_a_palette_becomes_its_colours(self, scale):
        """Some programs write the palette's colours with 8 bits; all of them came out black."""
        colours = np.random.default_rng(1).integers(0, 256, (256, 3))
        table = (SHORT, tuple((colours.T * scale).ravel().tolist()))
        for compression in (1, 5):
            made = page(BANDS[..., :1], model=3, compression=compression, t320=table)
            np.testing.assert_array_equal(read(tiff(made)), colours[BANDS[..., 0]])

    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "YCbCr"])
    def test_what_pillow_writes_is_read_as_pillow_reads_it(self, mode):
        image = Image.fromarray(RGB).quantize(9) if mode == "P" else Image.fromarray(RGB).convert(mode)
        for compression in (None, "tiff_lzw", "packbits", *(["group4"] if mode == "1" else [])):
            np.testing.assert_allclose(
                read(encoded(image, "TIFF", compression=compression)), np.asarray(image.convert("RGB")), atol=1
            )

    def test_jpeg_within_a_tiff_is_read(self):
        smooth = np.kron(random_pixels(3, (3, 3)), np.ones((16, 16, 1), np.uint8))
        for mode in ("RGB", "L"):
            image = Image.fromarray(smooth).convert(mode)
            pixels = read(encoded(image, "TIFF", compression="jpeg", quality=95))
            assert np.abs(pixels.astype(int) - np.asarray(image.convert("RGB"))).mean() < 6


def build(root: Path, tmp_path: Path, *settings: str) -> PatchStore:
    return build_store(data_config(f"data.source={root}", *settings), tmp_path / "store")


@pytest.fixture
def folder(tmp_path):
    """Write a folder of two classes with three TIFF files each, made from pages by number."""

    def write(make) -> Path:
        for number, (name, i) in enumerate(itertools.product(("Forest", "Highway"), range(3))):
            (tmp_path / "patches" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "patches" / name / f"{i}.tif").write_bytes(make(np.roll(BANDS, number, axis=0)))
        return tmp_path / "patches"

    return write


@pytest.mark.parametrize("bands", [4, 6])
def test_a_folder_of_other_bands_is_refused_with_their_number_and_the_way_out(folder, tmp_path, bands):
    root = folder(lambda pixels: tiff(page(pixels[..., :bands], model=1, compression=5, planes=True, tile=16)))
    text = refused(lambda: build(root, tmp_path), "6 of 6 files cannot be decoded", root / "Forest" / "0.tif")
    assert f"{bands} bands" in text.splitlines()[0]
    assert "write the three bands that are to be seen as an 8-bit RGB file" in text.splitlines()[1]
    assert not (tmp_path / "store").exists()


def test_what_is_seen_in_the_pixels_alone_stops_the_build_with_no_more_than_is_known(folder, tmp_path):
    root = folder(lambda pixels: tiff(page(pixels[..., :4], model=2, extra=(2,))))
    text = refused(lambda: build(root, tmp_path), "at least 1 of 6 files cannot be decoded", "declared as alpha")
    assert "write the three bands" in text


def test_how_files_were_read_is_said_and_kept(folder, tmp_path, caplog):
    root = folder(lambda pixels: tiff(page(pixels[..., :3], model=1)))
    with caplog.at_level("INFO", "landsift"):
        store = build(root, tmp_path)
    note = "three bands without a colour model, taken as red, green and blue"
    assert f"6 of 6 files: {note}" in caplog.text
    assert store.info["notes"] == {note: 6}


def test_several_reasons_are_told_with_their_counts(folder, tmp_path):
    root = folder(lambda pixels: tiff(page(pixels[..., :6], model=1)))
    (root / "Forest" / "0.tif").write_bytes(tiff(page(RGB.astype("u2"), model=2)))
    text = refused(lambda: build(root, tmp_path, "data.max_unreadable=0.5"), "6 of 6 files cannot be decoded")
    assert "6 bands, where grey, RGB and RGB + alpha are read; 1 more: 16 bits per band in 3 bands" in text


@pytest.mark.shared
class TestRealFiles:
    @pytest.fixture
    def cases(self, shared) -> Path:
        return shared / "cases"

    def test_three_bands_declared_as_grey_are_rgb_however_interleaved(self, cases):
        folder = cases / "tiff-bands-dropped"
        for by_pixel in sorted((folder / "three_minisblack_pixel_lzw").rglob("*.tif")):
            raw = by_pixel.read_bytes()
            by_band = folder / "three_minisblack_band_lzw" / by_pixel.parent.name / by_pixel.name
            np.testing.assert_array_equal(read(raw), read(by_band.read_bytes()))
            bgrn = folder / "four_bgrn" / by_pixel.parent.name / by_pixel.name
            with Image.open(bgrn) as image:  # its first three bands, as Pillow reads them
                np.testing.assert_array_equal(read(raw)[..., ::-1], np.asarray(image)[..., :3])

    def test_other_bands_are_refused_and_grey_is_grey(self, cases, tmp_path):
        folder = cases / "tiff-bands-dropped"
        for name, bands in (("six_rasterio_default_profile", 6), ("four_bgrn", 4)):
            refused(lambda name=name: build(folder / name, tmp_path), f"{bands} bands", "write the three bands")
        assert reason((folder / "one_and_six_bands/prof6.tif").read_bytes())[0].startswith("6 bands")
        raw = (folder / "one_and_six_bands/prof1.tif").read_bytes()
        with Image.open(folder / "one_and_six_bands/prof1.tif") as image:
            np.testing.assert_array_equal(read(raw), np.asarray(image.convert("RGB")))

    def test_sound_files_are_read_or_refused_for_what_they_are(self, cases):
        folder = cases / "tiff-reasons"
        assert reason((folder / "uint16_1_band.tif").read_bytes())[0].startswith("16 bits per band")
        assert reason((folder / "uint16_3_bands.tif").read_bytes())[0].startswith("16 bits per band in 3 bands")
        assert reason((folder / "webp_compressed.tif").read_bytes())[0].startswith("compressed with WebP")
        whole, sparse = (
            read((folder / name).read_bytes()) for name in ("bigtiff_bigendian_lzw.tif", "sparse_tiles.tif")
        )
        assert whole.shape == sparse.shape == (64, 64, 3)
        np.testing.assert_array_equal(sparse[:32], whole[:32])
        assert not sparse[32:].any()

    def test_near_infrared_declared_as_alpha_is_refused(self, shared):
        for file in (shared / "data/scenes/naip").glob("*.tif"):
            assert reason(file.read_bytes())[0].startswith("4 bands (the fourth is declared as alpha, but")
