"""Areas without data are told from content by how they look, whatever value they hold."""

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from small_sources import data_config

from landsift.config import SplitConfig, SyntheticConfig
from landsift.data.checks.check import check_data
from landsift.data.checks.near_duplicates import near_copies
from landsift.data.checks.no_data import empty_areas, filled
from landsift.data.decoding.decode import decode, read_header
from landsift.data.sources import synthetic
from landsift.data.store.patch_store import build_store

Y, X = np.mgrid[:64, :64]
SHAPES = {
    "half": Y < 32,
    "most": Y < 45,
    "wedge": Y + 0.4 * X < 46,
    "corner of a scene": (Y < 24) | (X < 20),
    "two sides": (X < 16) | (X >= 44),
}
VALUES = {"black": (0, 0, 0), "white": (255, 255, 255), "declared": (128, 128, 128), "a colour": (255, 0, 255)}


def scene(number: int) -> np.ndarray:
    """A generated patch with a texture of its own, uint8 [64, 64, 3]."""
    return synthetic.patch(SyntheticConfig(patches=600), number)


def jpeg(pixels: np.ndarray, quality: int = 75) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def cut(number: int, shape: np.ndarray, value: tuple[int, ...]) -> np.ndarray:
    pixels = scene(number).copy()
    pixels[shape] = value
    return pixels


STORED = {"as it is": lambda p: p, "jpeg": jpeg, "resized": lambda p: np.asarray(Image.fromarray(p).resize((48, 48)))}
"""Of a colour, JPEG keeps half the resolution: after it, the edge of an area of one is none any more."""


@pytest.mark.parametrize(("value", "stored"), sorted({(v, s) for v in VALUES for s in STORED} - {("a colour", "jpeg")}))
@pytest.mark.parametrize("shape", SHAPES)
def test_what_lies_beyond_a_scenes_edge_is_empty_whatever_value_it_holds(shape, value, stored):
    found = empty_areas(np.stack([STORED[stored](cut(n, SHAPES[shape], VALUES[value])) for n in range(12)]))
    missed = np.abs(found.mean(axis=(1, 2)) - SHAPES[shape].mean()) > 0.12
    assert missed.sum() <= 1


def noise(seed: int, level: float | np.ndarray, spread: float) -> np.ndarray:
    values = np.random.default_rng(seed).normal(0, spread, (64, 64, 3)) + np.broadcast_to(level, (64, 64))[..., None]
    return np.clip(values, 0, 255).astype(np.uint8)


def clouded(number: int, soft: float) -> np.ndarray:
    """A cloud that saturates half of a patch and ends over some pixels."""
    rng = np.random.default_rng(number)
    blob = ndimage.gaussian_filter(rng.normal(size=(64, 64)), 10)
    inside = blob > np.median(blob)
    edge = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    cover = 1 / (1 + np.exp(-edge[..., None] / soft))
    return np.clip(scene(number) * (1 - cover) + cover * rng.normal(330, 12, (64, 64, 1)), 0, 255).astype(np.uint8)


CONTENT = {
    "textures": scene,
    "dark water": lambda n: noise(n, 4, 2),
    "dark water that is clipped": lambda n: noise(n, -3 + n % 4, 2),
    "a uniform field": lambda n: noise(n, 120, 2),
    "snow that saturates": lambda n: noise(n, 258, 4),
    "clouds that saturate": lambda n: clouded(n, 3),
    "clouds that end within a few pixels": lambda n: clouded(n, 2),
    "a field and its straight border": lambda n: np.where(X[..., None] < 30, noise(n, 60, 3), noise(n + 99, 140, 3)),
    "smooth water, compressed": lambda n: jpeg(noise(n, 60, 1.5), 40),
    "water and shore, compressed": lambda n: jpeg(np.where(X[..., None] < 40, noise(n, 46 + Y / 8, 2), scene(n)), 60),
}


@pytest.mark.parametrize("content", CONTENT)
def test_real_content_is_not_called_empty(content):
    assert empty_areas(np.stack([CONTENT[content](n) for n in range(12)])).sum() == 0


def test_an_area_in_the_middle_and_a_speck_are_content():
    """A roof, a buoy."""
    roof, speck = scene(0).copy(), scene(1).copy()
    roof[12:52, 12:52] = 255
    speck[:8, :8] = 0
    assert not empty_areas(np.stack([roof, speck])).any()


def test_a_patch_of_one_colour_and_no_patches_have_no_empty_area():
    """They are told as blank: of an area of one colour alone nobody can say that it ends."""
    assert not empty_areas(np.full((2, 16, 16, 3), 7, np.uint8)).any()
    assert empty_areas(np.zeros((0, 16, 16, 3), np.uint8)).shape == (0, 16, 16)


@pytest.mark.parametrize("size", [(16, 16), (20, 31), (128, 96)])
@pytest.mark.parametrize("bands", [1, 3, 5])
def test_any_size_and_any_number_of_bands(size, bands):
    pixels = np.random.default_rng(0).integers(60, 200, (3, *size, bands), dtype=np.uint8)
    pixels[1, : size[0] // 2] = 0
    np.testing.assert_allclose(empty_areas(pixels).mean(axis=(1, 2)), [0, 0.5, 0], atol=0.02)


def test_empty_areas_are_filled_with_the_mean_of_the_rest_and_others_left_alone():
    images = np.stack([scene(0), cut(1, SHAPES["half"], (255, 255, 255))])
    without = filled(images)
    np.testing.assert_array_equal(without[0], images[0])
    np.testing.assert_array_equal(without[1, 40:], images[1, 40:])
    np.testing.assert_allclose(
        without[1, :32], np.broadcast_to(images[1, 40:].mean(axis=(0, 1)), (32, 64, 3)), rtol=1e-5
    )
    assert filled(images[:1]) is not None
    assert filled(images[:1]).dtype == np.uint8


def found(images: np.ndarray, part: list[int]) -> list[tuple[int, int]]:
    pairs = near_copies(images, np.asarray(part), np.arange(len(images)))
    return list(zip(pairs.earlier.tolist(), pairs.later.tolist(), strict=True))


@pytest.mark.parametrize("stored", [lambda p: p, jpeg], ids=["as it is", "jpeg"])
@pytest.mark.parametrize("value", ["black", "white", "declared"])
@pytest.mark.parametrize("shape", SHAPES)
def test_patches_that_share_emptiness_alone_are_no_near_copies(shape, value, stored):
    images = np.stack([stored(cut(n, SHAPES[shape], VALUES[value])) for n in range(24)])
    assert found(images, [n % 3 for n in range(24)]) == []


def test_water_that_shares_emptiness_is_no_near_copy():
    images = np.stack([np.where(SHAPES["wedge"][..., None], 0, noise(n, 40, 3)).astype(np.uint8) for n in range(24)])
    assert found(images, [n % 3 for n in range(24)]) == []


ALTERED = {
    "turned": lambda p: np.rot90(p),
    "flipped": lambda p: p[:, ::-1],
    "compressed": lambda p: jpeg(p, 90),
    "with another value": lambda p: np.where(SHAPES["half"][..., None], 255, p).astype(np.uint8),
}


@pytest.mark.parametrize("how", ALTERED)
def test_near_copies_are_found_however_much_of_them_is_empty(how):
    images = [cut(n, SHAPES["half"], (0, 0, 0)) for n in range(6)]
    copy = ALTERED[how](images[4])
    assert found(np.stack([*images, copy]), [0] * 6 + [2]) == [(4, 6)]


@pytest.fixture
def check(tmp_path):
    """Check a folder of two classes, twelve patches each, in which some are given; the sections by name."""

    def run(changed: dict[int, np.ndarray], suffix: str = "png") -> dict:
        for n in range(24):
            file = tmp_path / "patches" / ("ab"[n % 2]) / f"{n:02d}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(changed.get(n, scene(n))).save(file)
        store = build_store(data_config(f"data.source={tmp_path / 'patches'}"), tmp_path / "store")
        return {section.name: section for section in check_data(store, SplitConfig()).sections}

    return run


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("value", ["black", "white", "declared"])
def test_half_and_mostly_empty_patches_are_told_with_their_counts(check, value, suffix):
    half = {n: cut(n, SHAPES["half"], VALUES[value]) for n in range(8)}
    most = {n: cut(n, SHAPES["most"], VALUES[value]) for n in range(8, 12)}
    sections = check(half | most, suffix)
    told = sections["blank patches"]
    assert told.counts == {"patches_looked_at": 24, "blank": 0, "mostly_empty": 4, "half_empty": 8}
    assert told.verdict == "look"
    assert told.text.startswith("4 patches are mostly empty; 8 patches are half empty (")
    assert [example["what"] for example in told.examples] == ["mostly empty"] * 4 + ["half empty"]
    assert sections["near copies"].counts["pairs"] == 0


def test_what_a_transparent_alpha_band_hides_is_empty(check):
    changed = {}
    for n in range(6):
        alpha = np.where(SHAPES["half"], 0, 255).astype(np.uint8)
        changed[n] = np.dstack([scene(n), alpha])
    assert check(changed)["blank patches"].counts["half_empty"] == 6


@pytest.mark.shared
class TestRealPatches:
    def test_patches_that_share_an_empty_half_are_told_and_are_no_near_copies(self, shared, tmp_path):
        sections = checked(shared / "cases/half-empty-near-copies/patches", tmp_path)
        assert sections["near copies"].counts["pairs"] == 0
        assert sections["blank patches"].counts["half_empty"] == 14
        assert sections["blank patches"].verdict == "look"

    def test_white_patches_are_mostly_empty(self, shared, tmp_path):
        sections = checked(shared / "cases/no-data-not-zero/white", tmp_path)
        assert sections["blank patches"].counts["mostly_empty"] == 8
        assert sections["near copies"].counts["pairs"] == 0

    def test_patches_of_eurosat_are_not_empty(self, shared):
        """Water that JPEG has made flat, white roofs, clouds."""
        import zipfile

        images = []
        for archive in sorted((shared / "data/eurosat").glob("*.zip")):
            with zipfile.ZipFile(archive) as opened:
                names = [name for name in opened.namelist() if name.endswith(".jpg")]
                wanted = [n for n in names if "SeaLake" in n][::9] + names[::60]
                images += [np.asarray(Image.open(io.BytesIO(opened.read(name)))) for name in wanted]
        assert len(images) > 600
        assert (empty_areas(np.stack(images)).mean(axis=(1, 2)) > 0.4).sum() == 0

    def test_a_real_scenes_edge_is_told_from_its_saturated_clouds(self, shared):
        raw = (shared / "data/scenes/small/RGB.byte.tif").read_bytes()
        scene = decode(raw, read_header(raw).size)
        at = itertools.product(range(0, 718 - 64, 64), range(0, 791 - 64, 64))
        patches = np.stack([scene[y : y + 64, x : x + 64] for y, x in at])
        zero, found = ((m.mean(axis=(1, 2))) for m in ((patches == 0).all(axis=-1), empty_areas(patches)))
        edge = (zero > 0.1) & (zero < 0.95)
        assert edge.sum() > 30
        np.testing.assert_allclose(found[edge], zero[edge], atol=0.1)
        assert (found[zero < 0.01] == 0).all()  # a quarter of some of them is 255


def checked(source: Path, tmp_path: Path) -> dict:
    store = build_store(data_config(f"data.source={source}"), tmp_path / "store")
    return {section.name: section for section in check_data(store, SplitConfig()).sections}
