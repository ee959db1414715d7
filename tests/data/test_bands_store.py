"""Stores of any bands: the numbers stay as they are, what they mean is said and never guessed."""

import json
import math

import numpy as np
import pytest
import torch

from landsift.bands import BandSpec
from landsift.config import DataConfig, SplitConfig
from landsift.data.checks.check import check_data
from landsift.data.sources.base import content_fingerprint
from landsift.data.splits import make_split
from landsift.data.store.patch_store import PatchStore, build_store
from landsift.errors import DataError

C, N = 13, 30
NAMES = tuple(f"B{band:02d}" for band in range(C))
SENTINEL = BandSpec(NAMES, "uint16", (1e-4,) * C, (-0.1,) * C, nodata=0, units="reflectance", gsd=10.0)
RADAR = BandSpec(("VV",), "float32", (1.0,), (0.0,), nodata=math.nan, units="dB")
CLASSES = ["water", "forest"]
LABELS = np.arange(N) % 2
DEEP = np.random.default_rng(0).integers(1, 9000, (N, 6, 5, C)).astype(np.uint16)
ECHO = np.random.default_rng(1).normal(-12.0, 3.0, (N, 6, 5, 1)).astype(np.float32)


def made(folder, images=DEEP, labels=LABELS, bands=SENTINEL, classes=CLASSES, **others):
    return PatchStore.from_arrays(images, labels, classes, folder=folder, bands=bands, **others)


@pytest.mark.parametrize(
    ("images", "bands"),
    [
        (DEEP, SENTINEL),
        (DEEP[..., :2].astype(np.uint8), BandSpec.pictures(["red", "nir"])),
        (DEEP[..., :4].astype(np.int16) - 5000, BandSpec(NAMES[:4], "int16", (0.01,) * 4, (0.0,) * 4, units="dB")),
        (ECHO, RADAR),
    ],
    ids=["uint16", "uint8", "int16", "float32"],
)
def test_a_store_keeps_the_numbers_and_says_what_they_mean(tmp_path, images, bands):
    store = made(tmp_path / "store", images, bands=bands)
    again = PatchStore.open(store.folder)
    assert (again.bands, again.images.dtype) == (bands, np.dtype(bands.dtype))
    np.testing.assert_array_equal(again.images, images)
    meant = images * np.array(bands.scale) + np.array(bands.offset)
    data = meant[..., 0] if bands.nodata != 0 else meant[..., 0][images[..., 0] != 0]
    assert again.mean[0] == pytest.approx(data.mean(), rel=1e-6)
    assert again.std[0] == pytest.approx(data.std(), rel=1e-6)
    assert check_data(again).verdict in {"ok", "look"}


@pytest.mark.parametrize(
    "same",
    [
        np.asfortranarray(DEEP),
        DEEP.astype(">u2"),
        DEEP[::-1, ::-1][::-1, ::-1],
        torch.from_numpy(DEEP.copy()),
        list(DEEP),
    ],
    ids=["Fortran's order", "another byte order", "negative strides", "a tensor", "a list"],
)
def test_the_same_numbers_make_the_same_store_however_they_lie(tmp_path, same):
    store = made(tmp_path / "store", same)
    np.testing.assert_array_equal(store.images, DEEP)
    assert store.fingerprint == made(tmp_path / "other").fingerprint


def test_read_only_and_memory_mapped_arrays_are_read_as_they_are(tmp_path):
    np.save(tmp_path / "images.npy", DEEP)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert made(tmp_path / "store", mapped).fingerprint == made(tmp_path / "other").fingerprint


def test_pixels_without_data_count_in_no_statistic(tmp_path):
    images = DEEP.copy()
    images[3] = 0  # a patch of which nothing is left
    images[5, :2, :, 4] = 0
    store = made(tmp_path / "store", images)
    data = images[..., 4][images[..., 4] > 0] * 1e-4 - 0.1
    assert (store.mean[4], store.std[4]) == (pytest.approx(data.mean()), pytest.approx(data.std()))
    holes = np.where(np.random.default_rng(0).random(ECHO.shape) < 0.2, np.nan, ECHO).astype(np.float32)
    store = made(tmp_path / "echo", holes, bands=RADAR)
    assert (store.mean[0], store.std[0]) == (
        pytest.approx(np.nanmean(holes)),
        pytest.approx(np.nanstd(holes), rel=1e-6),
    )
    blank = next(s for s in check_data(made(tmp_path / "again", images)).sections if s.name == "blank patches")
    assert "1 patch is of one colour or without data" in blank.text


def test_nans_of_other_bits_and_a_negative_zero_are_the_same_patch(tmp_path):
    images = ECHO.copy()
    images[:2] = np.float32(0.0)
    images[0, 0, 0] = -0.0
    images.view(np.uint32)[0, 1, 1] = 0x7FC00001
    images[1, 1, 1] = np.nan
    store = made(tmp_path / "store", images, labels=np.r_[0, 0, LABELS[2:]], bands=RADAR)
    assert store.contents()[0] == store.contents()[1]


def test_what_bands_say_is_part_of_the_fingerprint(tmp_path):
    others = [
        SENTINEL,
        BandSpec(NAMES, "uint16", (1e-4,) * C, (0.0,) * C),
        BandSpec(NAMES[::-1], "uint16", (1e-4,) * C, (0.0,) * C),
    ]
    found = {made(tmp_path / str(i), bands=bands).fingerprint for i, bands in enumerate(others)}
    assert len(found) == 3
    with pytest.raises(DataError, match="holds a store of other patches or settings"):
        made(tmp_path / "0", bands=others[1])
    rgb = DEEP[..., :3].astype(np.uint8)
    bare = PatchStore.from_arrays(rgb, LABELS, CLASSES, folder=tmp_path / "bare")
    assert bare.fingerprint == made(tmp_path / "said", rgb, bands=BandSpec.pictures()).fingerprint


def test_the_order_of_classes_is_part_of_the_fingerprint(tmp_path):
    """It is that of a model's probabilities."""
    one = made(tmp_path / "one", classes=["b", "a"])
    assert one.fingerprint != made(tmp_path / "two", labels=1 - LABELS, classes=["a", "b"]).fingerprint


def spec(**changed):
    return BandSpec.from_dict(SENTINEL.to_dict() | changed)


HOLE, ENDLESS = ECHO.copy(), ECHO.copy()
HOLE[7, 2, 2], ENDLESS[7, 2, 2] = np.nan, np.inf
GREY = BandSpec(("grey",), "float32", (1.0,), (0.0,), units="brightness")
PLAIN = BandSpec(("VV",), "float32", (1.0,), (0.0,), units="dB")
REFUSED = {
    "16 bits, nothing said": (DEEP, None, "not uint8: what do their numbers mean"),
    "13 bands, nothing said": (DEEP.astype(np.uint8), None, r"\[30, 6, 5, 13\]\nsay it: bands=landsift.BandSpec"),
    "wider whole numbers": (DEEP.astype(np.int64), SENTINEL, "images are int64, not uint16"),
    "wider floats": (ECHO.astype(np.float64), PLAIN, r"images are float64, not float32\nimages.astype\('float32'\)"),
    "half floats": (ECHO.astype(np.float16), PLAIN, "images are float16"),
    "signed for unsigned": (DEEP.astype(np.int16), SENTINEL, "images are int16, not uint16"),
    "12 bands for 13": (DEEP[..., :12], SENTINEL, "of 12 bands, and bands names 13"),
    "bands first": (DEEP.transpose(0, 3, 1, 2), SENTINEL, "bands come last"),
    "a dict": (DEEP, SENTINEL.to_dict(), "bands is a dict"),
    "nodata below the type": (DEEP, spec(nodata=-9999), "nodata -9999 is no uint16"),
    "nodata between numbers": (DEEP, spec(nodata=0.5), "nodata 0.5 is no uint16"),
    "NaN, without nodata": (HOLE, PLAIN, "image 7, band VV: a number is NaN or infinite"),
    "infinite, nodata NaN": (ENDLESS, RADAR, "image 7, band VV: a number is NaN or infinite"),
    "masked": (np.ma.MaskedArray(DEEP, mask=DEEP > 8000), SENTINEL, "some of the pixels are masked"),
    "8 bits for reflectance": (DEEP % 256, spec(scale=[1.0] * C, offset=[0.0] * C), "a mean reflectance of 1"),
    "saturated everywhere": (np.full_like(DEEP, 65535), SENTINEL, "a mean reflectance of 6.45"),
    "0 to 255 as brightness": (np.abs(ECHO) * 9, GREY, "a brightness of"),
    "a band without data": (DEEP * (np.arange(C) != 2).astype(np.uint16), SENTINEL, "B02 of these patches is nodata"),
}  # fmt: skip


@pytest.mark.parametrize(("images", "bands", "said"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_in_a_line_and_nothing_is_left(tmp_path, images, bands, said):
    with pytest.raises(DataError, match=said) as caught:
        made(tmp_path / "store", images, bands=bands)
    assert str(caught.value).count("\n") <= 1
    assert not any(tmp_path.iterdir())


def test_a_constant_band_is_kept_and_said(tmp_path):
    images = DEEP.copy()
    images[..., 4] = 777
    section = next(s for s in check_data(made(tmp_path / "store", images)).sections if s.name == "bands")
    assert (section.verdict, section.text.split(";")[0].split(" (")[0]) == ("wrong", "band B04 is 777 everywhere")


def test_near_copies_are_found_in_any_bands(tmp_path):
    coarse = np.random.default_rng(0).integers(1, 5000, (40, 4, 4, C)).repeat(8, axis=1).repeat(8, axis=2)
    images = coarse.astype(np.uint16)
    split = ["train"] * 20 + ["val"] * 10 + ["test"] * 10
    images[30] = images[0, ::-1] + 1  # flipped and a shade brighter
    store = made(tmp_path / "store", images, np.arange(40) % 2, split=split)
    section = next(s for s in check_data(store).sections if s.name == "near copies")
    assert section.counts["pairs"] == 1
    assert section.examples[0]["paths"] == ["00", "30"]


class Patches(torch.utils.data.Dataset):
    classes = CLASSES

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, row):
        return torch.from_numpy(self.images[row]).permute(2, 0, 1), int(LABELS[row])


def test_a_data_set_of_other_bands_says_what_they_are(tmp_path):
    store = PatchStore.from_dataset(Patches(DEEP), folder=tmp_path / "store", bands=SENTINEL)
    assert store.fingerprint == made(tmp_path / "other").fingerprint
    PatchStore.from_dataset(Patches(HOLE), folder=tmp_path / "holes", bands=RADAR)  # equal to itself with its NaN
    with pytest.raises(DataError, match=r"the image of dataset\[0\] is uint16 \[13, 6, 5\]\nneeded: .*BandSpec"):
        PatchStore.from_dataset(Patches(DEEP), folder=tmp_path / "unsaid")
    with pytest.raises(DataError, match=r"needed: of the bands given: uint16 \[H, W, 13\]"):
        PatchStore.from_dataset(Patches(DEEP[..., :12]), folder=tmp_path / "fewer", bands=SENTINEL)


def test_a_store_of_the_format_before_is_8_bit_rgb(tmp_path):
    rgb = DEEP[..., :3].astype(np.uint8)
    store = PatchStore.from_arrays(rgb, LABELS, CLASSES, folder=tmp_path / "store")
    meta = json.loads((store.folder / "store.json").read_text())
    del meta["bands"]
    (store.folder / "store.json").write_text(json.dumps(meta | {"format": 2}))
    old = PatchStore.open(store.folder)
    assert (old.bands, old.fingerprint) == (BandSpec.pictures(), store.fingerprint)
    np.testing.assert_array_equal(build_store(DataConfig(source=str(store.folder)), tmp_path / "linked").images, rgb)
    (store.folder / "store.json").write_text(json.dumps(meta | {"format": 1, "landsift": "0.0.1"}))
    with pytest.raises(DataError, match=r"is of format 1, written by landsift 0\.0\.1"):
        PatchStore.open(store.folder)


@pytest.mark.parametrize(
    "change", [{"bands": None}, {"bands": {"names": ["a"]}}, {"bands": BandSpec.pictures().to_dict()}]
)
def test_a_store_whose_bands_do_not_fit_its_numbers_is_damaged(tmp_path, change):
    store = made(tmp_path / "store")
    meta = json.loads((store.folder / "store.json").read_text())
    (store.folder / "store.json").write_text(json.dumps(meta | change))
    with pytest.raises(DataError, match="is damaged"):
        PatchStore.open(store.folder)


# Patches without a label


def test_unlabelled_patches_are_kept_and_in_no_part_of_a_split(tmp_path, caplog):
    labels = np.where(np.arange(N) < 4, -1, LABELS)
    with caplog.at_level("INFO", "landsift"):
        store = made(tmp_path / "store", labels=labels)
        split = make_split(store, SplitConfig())
    assert caplog.messages == [
        "4 of 30 patches have no label: they are in the store, and in no part of a split",
        "4 of 30 patches have no label, and are in no part of the split",
    ]
    assert store.unlabelled.tolist() == [0, 1, 2, 3]
    assert sorted(np.concatenate([split.train, split.val, split.test]).tolist()) == list(range(4, N))
    alone = make_split(made(tmp_path / "alone", DEEP[4:], LABELS[4:]), SplitConfig())
    np.testing.assert_array_equal(split.test, alone.test + 4)  # divided as if there were no others
    assert len(make_split(store, SplitConfig(), budget=5).train) == 5
    assert content_fingerprint(DataConfig(source=str(store.folder))) == store.fingerprint


def test_unlabelled_copies_contradict_no_label(tmp_path):
    images, labels = DEEP.copy(), np.where(np.arange(N) < 4, -1, LABELS)
    images[:4] = images[10]
    checks = {s.name: s for s in check_data(made(tmp_path / "store", images, labels)).sections}
    assert checks["labels"].verdict == "ok"
    assert checks["exact copies"].counts["copies"] == 4
    assert "(no label)" in checks["exact copies"].examples[0]["labels"]
    assert checks["patches"].counts["unlabelled"] == 4
    assert sum(checks["classes"].counts["water"].values()) == 13


def test_a_given_split_says_nothing_of_unlabelled_patches(tmp_path):
    labels = np.where(np.arange(N) < 4, -1, LABELS)
    split = [None] * 4 + ["train"] * 10 + ["val"] * 8 + ["test"] * 8
    assert [
        len(part) for part in vars(make_split(made(tmp_path / "s", labels=labels, split=split), SplitConfig())).values()
    ] == [10, 8, 8]
    with pytest.raises(DataError, match="split: image 4 has None"):
        made(tmp_path / "t", labels=labels, split=[None] * 5 + split[5:])


@pytest.mark.parametrize("classes", [[], CLASSES])
def test_a_store_without_any_label_opens_and_cannot_be_divided(tmp_path, classes):
    store = PatchStore.open(made(tmp_path / "store", labels=[-1] * N, classes=classes).folder)
    assert (store.classes, len(store.unlabelled)) == (tuple(classes), N)
    with pytest.raises(DataError, match="none of the 30 patches has a label"):
        make_split(store, SplitConfig())
    assert check_data(store).verdict == "wrong"
