"""Patches from memory: arrays and data sets become stores as they are, and every mistake is refused before writing."""

import numpy as np
import pytest
import torch
from PIL import Image

from landsift.config import DataConfig, SplitConfig
from landsift.data.checks.check import check_data
from landsift.data.sources.base import content_fingerprint
from landsift.data.splits import make_split
from landsift.data.store.patch_store import PatchStore, build_store
from landsift.errors import DataError, RunError

CLASSES = ["water", "forest"]
N = 40


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (N, 12, 10, 3), dtype=np.uint8)


@pytest.fixture
def labels():
    return np.arange(N) % 2


class Patches(torch.utils.data.Dataset):
    """A data set as torchvision's are, with images of a given kind."""

    def __init__(self, images, labels, make, classes=None):
        self.images, self.labels, self.make = images, labels, make
        if classes:
            self.classes = classes

    def __len__(self):
        return len(self.images)

    def __getitem__(self, row):
        return self.make(self.images[row]), int(self.labels[row])


def test_a_store_of_arrays_holds_them_in_their_order_under_the_classes_own(images, labels, tmp_path):
    store = PatchStore.from_arrays(images, labels, CLASSES, folder=tmp_path / "store")
    np.testing.assert_array_equal(store.images, images)
    np.testing.assert_array_equal(store.labels, labels)
    assert store.classes == ("water", "forest")
    assert store.paths(np.array([0, 39])) == ["00", "39"]
    np.testing.assert_allclose(store.mean, images.mean(axis=(0, 1, 2)) / 255)
    assert (store.info["source"], store.info["root"], store.skipped) == ("arrays", None, [])
    assert len(make_split(store, SplitConfig()).train) == 24
    assert check_data(store).verdict in {"ok", "look"}


def test_paths_groups_and_split_are_kept(images, labels, tmp_path):
    paths = [f"scene{row // 10}/{row}.tif" for row in range(N)]
    split = ["train"] * 20 + ["val"] * 10 + ["test"] * 10
    groups = [row // 10 for row in range(N)]
    store = PatchStore.from_arrays(
        images, labels, CLASSES, paths=paths, groups=groups, split=split, folder=str(tmp_path / "store")
    )
    assert store.index["path"].tolist() == paths
    assert store.index["group"].tolist() == [str(group) for group in groups]
    assert [len(part) for part in vars(make_split(store, SplitConfig())).values()] == [20, 10, 10]


def test_the_same_arrays_open_the_store_and_others_are_refused(images, labels, tmp_path):
    store = PatchStore.from_arrays(images, labels, CLASSES, folder=tmp_path / "store")
    again = PatchStore.from_arrays(list(images), labels.tolist(), CLASSES, folder=tmp_path / "store")
    assert again.fingerprint == store.fingerprint
    for others in ((images[::-1], labels, CLASSES), (images, 1 - labels, CLASSES), (images, labels, ["a", "b"])):
        with pytest.raises(DataError, match="holds a store of other patches or settings than are given"):
            PatchStore.from_arrays(*others, folder=tmp_path / "store")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"images": lambda x: x / 255}, "images are float64, not uint8"),
        ({"images": lambda x: x.transpose(0, 3, 1, 2)}, r"bands come last\nimages.transpose\(0, 2, 3, 1\)"),
        ({"images": lambda x: torch.from_numpy(x).permute(0, 3, 1, 2)}, "bands come last"),
        ({"images": lambda x: x[..., 0]}, r"images are \[40, 12, 10\]"),
        ({"images": lambda x: np.concatenate([x, x], axis=-1)}, r"images are \[40, 12, 10, 6\]"),
        ({"images": lambda x: x[:0]}, "images hold no patch"),
        ({"images": lambda x: [x[0], x[1, :8]]}, "are all of one size"),
        ({"images": lambda x: None}, "images are object"),
        ({"labels": lambda y: y[:5]}, r"labels are \[5\] for 40 images"),
        ({"labels": lambda y: y / 1.0}, "labels are float64\n"),
        ({"labels": lambda y: np.where(y, np.nan, 0)}, "labels are float64, with NaN"),
        ({"labels": lambda y: [CLASSES[k] for k in y]}, "labels are <U6\nwhole numbers from 0 to 1"),
        ({"labels": lambda y: y + 1}, "label 2 of image 1 is no position among the 2 classes, and 19 others"),
        ({"labels": lambda y: -2 * y}, "label -2 of image 1 is no position"),
        ({"labels": lambda y: -y}, "class 'forest' has no image"),
        ({"labels": lambda y: y * 0}, "class 'forest' has no image"),
        ({"classes": lambda c: "water"}, "classes is 'water'"),
        ({"classes": lambda c: None}, "classes is None"),
        ({"classes": lambda c: c[:1]}, r"classes are \['water'\]"),
        ({"classes": lambda c: ["a", "a"]}, "the class 'a' is named twice"),
        ({"classes": lambda c: [0, 1]}, r"names are needed"),
        ({"classes": lambda c: {*c}}, "classes are {.*}, whose order says nothing of the labels"),
        ({"classes": lambda c: {"forest": 1, "water": 0}}, "classes are {.*}, .*\n.*sorted"),
        ({"images": lambda x: np.ma.masked_less(x, 9)}, "some of the pixels are masked"),
        ({"images": iter}, "images are an? .*iterator\ngive them as a list"),
        ({"labels": lambda y: np.ma.masked_equal(y, 1)}, "some of the labels are masked"),
        ({"paths": lambda p: ["a.png"] * N}, "the path 'a.png' stands twice"),
        ({"paths": lambda p: ["a.png"]}, "paths: 1 for 40 images"),
        ({"groups": lambda g: ["a"] * 39 + [None]}, "groups: image 39 has None"),
        ({"groups": lambda g: [float("nan")] * N}, "groups: image 0 has nan"),
        ({"split": lambda s: ["trian"] * N}, "split has an unknown value 'trian'\ndid you mean 'train'"),
        ({"split": lambda s: "train"}, "split is 'train'"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_written(images, labels, tmp_path, wrong, said):
    given = {"images": images, "labels": labels, "classes": CLASSES, "paths": None, "groups": None, "split": None}
    given |= {name: make(given[name]) for name, make in wrong.items()}
    with pytest.raises(DataError, match=said) as caught:
        PatchStore.from_arrays(**given, folder=tmp_path / "store")
    assert str(caught.value).count("\n") <= 1
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "make",
    [Image.fromarray, lambda x: x, lambda x: torch.from_numpy(x).permute(2, 0, 1)],
    ids=["pillow", "array", "tensor"],
)
def test_a_data_set_makes_the_store_that_its_arrays_make(images, labels, tmp_path, make):
    store = PatchStore.from_dataset(Patches(images, labels, make, CLASSES), folder=tmp_path / "store")
    assert store.fingerprint == PatchStore.from_arrays(images, labels, CLASSES, folder=tmp_path / "other").fingerprint


def shuffled(image):
    """The rows of an image in a random order."""
    return np.random.default_rng().permutation(image)


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self):
        yield from ()


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (lambda x, y: Patches(x, y, lambda i: torch.from_numpy(i / 255), CLASSES), r"is float64 \[12, 10, 3\]"),
        (lambda x, y: Patches(x, y, lambda i: Image.fromarray(i).convert("L"), CLASSES), r"is uint8 "),
        (lambda x, y: Patches(x, y, lambda i: i), "does not name its classes"),
        (lambda x, y: Patches(x[:0], y, lambda i: i, CLASSES), "is empty"),
        (lambda x, y: Patches(x, y + 1, lambda i: i, CLASSES), "label 2 of image 1 is no position"),
        (lambda x, y: Patches(x, y, lambda i: i[: 5 + i[0, 0, 0] % 2], CLASSES), "of several sizes"),
        (lambda x, y: Patches(x, y, shuffled, CLASSES), "without random transforms"),
        (lambda x, y: torch.utils.data.TensorDataset(torch.from_numpy(x)), "does not name its classes"),
        (lambda x, y: list(x), "does not name its classes"),
    ],
)  # fmt: skip
def test_a_data_set_that_makes_no_store_is_refused(images, labels, tmp_path, dataset, said):
    with pytest.raises(DataError, match=said):
        PatchStore.from_dataset(dataset(images, labels), folder=tmp_path / "store")
    with pytest.raises(DataError, match="has no length"):
        PatchStore.from_dataset(Endless(), CLASSES, folder=tmp_path / "store")
    with pytest.raises(DataError, match=r"dataset\[0\] is no \(image, label\)"):
        PatchStore.from_dataset(list(images), CLASSES, folder=tmp_path / "store")
    assert not any(tmp_path.iterdir())


def test_a_store_is_a_source_whose_files_are_not_copied(images, labels, tmp_path):
    store = PatchStore.from_arrays(images, labels, CLASSES, folder=tmp_path / "store")
    data = DataConfig(source=str(store.folder))
    assert content_fingerprint(data) == store.fingerprint
    other = build_store(store.folder, tmp_path / "other")
    assert other.fingerprint == store.fingerprint
    assert (other.folder / "images.npy").samefile(store.folder / "images.npy")
    assert build_store(data, tmp_path / "other").info["root"] is None


def test_a_store_of_other_sizes_or_one_that_is_damaged_is_no_source(images, labels, tmp_path):
    store = PatchStore.from_arrays(images, labels, CLASSES, folder=tmp_path / "store")
    with pytest.raises(DataError, match=r"data.patch_size is 64, but the store .* holds patches of 12 × 10 pixels"):
        build_store(DataConfig(source=str(store.folder), patch_size=64), tmp_path / "other")
    for text in ("{", "[]", "{}", '{"fingerprint": 3}'):
        (store.folder / "store.json").write_text(text)
        with pytest.raises(DataError, match="is damaged"):
            content_fingerprint(DataConfig(source=str(store.folder)))
        with pytest.raises(DataError, match="is damaged"):
            build_store(store.folder, tmp_path / "other")
    assert not (tmp_path / "other").exists()


class Missing(Patches):
    def __getitem__(self, row):
        raise FileNotFoundError(2, "No such file", f"{row}.png")


def test_what_a_data_set_raises_is_told_with_its_row(images, labels, tmp_path):
    with pytest.raises(DataError, match=r"dataset\[0\] cannot be read: FileNotFoundError: .*0.png") as caught:
        PatchStore.from_dataset(Missing(images, labels, None, CLASSES), folder=tmp_path / "store")
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_loader_of_batches_is_no_data_set(images, labels, tmp_path):
    loader = torch.utils.data.DataLoader(Patches(images, labels, lambda i: i, CLASSES))
    with pytest.raises(DataError, match="of a DataLoader its"):
        PatchStore.from_dataset(loader, CLASSES, folder=tmp_path / "store")


def test_a_store_among_the_patches_that_it_is_made_of_is_refused(tmp_path):
    for label in CLASSES:
        (tmp_path / "patches" / label).mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(tmp_path / "patches" / label / "0.png")
    with pytest.raises(RunError, match="which is read"):
        build_store(tmp_path / "patches", tmp_path / "patches" / "store")
    assert sorted(p.name for p in (tmp_path / "patches").iterdir()) == sorted(CLASSES)
