"""Folders as people have them: the split and the classes that are there, or a refusal that shows what was seen."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_sources import data_config, random_pixels, refused

from landsift.config import SplitConfig
from landsift.data.checks.check import check_data
from landsift.data.sources.base import content_fingerprint
from landsift.data.sources.folder import read_folder
from landsift.data.sources.folder_layout import Place, Tree, find_layout
from landsift.data.splits import make_split
from landsift.data.store.patch_store import build_store

CLASSES = ("Forest", "Water")


@pytest.fixture
def tree(tmp_path):
    """Write images: `tree({"train/Forest": 3, "x.png": 1})`; a name with an ending is one file."""

    def write(counts: dict[str, int], name: str = "patches") -> Path:
        root, seed = tmp_path / name, 0
        for path, count in counts.items():
            folder = root / path if not Path(path).suffix else (root / path).parent
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                file = root / path if Path(path).suffix else folder / f"{path.replace('/', '_')}_{i}.png"
                Image.fromarray(random_pixels(seed, (8, 8))).save(file, "PNG")
                seed += 1
        return root

    return write


def parts_of(root: Path) -> set[tuple[str, str | None]]:
    return {(record.label, record.split) for record in read_folder(root)[0]}


def each(*parts: str) -> set[tuple[str, str | None]]:
    return {(name, part) for name in CLASSES for part in parts}


class TestGivenSplit:
    @pytest.mark.parametrize(
        ("names", "parts"),
        [
            (("train", "val", "test"), ("train", "val", "test")),
            (("Training", "Validation", "Testing"), ("train", "val", "test")),
            (("train", "valid", "test"), ("train", "val", "test")),
            (("train", "dev", "test"), ("train", "val", "test")),
            (("seg_train", "seg_test"), ("train", "test")),
            (("intel_train", "intel_val", "intel_test"), ("train", "val", "test")),
            (("train_set", "test_set"), ("train", "test")),
            (("trainset", "testset"), ("train", "test")),
            (("TrainData", "TestData"), ("train", "test")),
            (("train2017", "val2017", "test2017"), ("train", "val", "test")),
            (("Train Images", "test"), ("train", "test")),
            (("trainval", "test"), ("train", "test")),
            (("01_train", "02_val", "03_test"), ("train", "val", "test")),
        ],
        ids=lambda value: "-".join(value),
    )
    def test_folders_of_a_split_are_the_split_and_theirs_the_classes(self, tree, names, parts):
        root = tree({f"{part}/{name}": 2 for part in names for name in CLASSES})
        assert parts_of(root) == each(*parts)
        assert len(read_folder(root)[0]) == 4 * len(names)

    @pytest.mark.parametrize("names", [("train", "val", "test"), ("train", "test")])
    def test_the_other_way_round_too(self, tree, names):
        assert parts_of(tree({f"{name}/{part}": 2 for part in names for name in CLASSES})) == each(*names)

    @pytest.mark.parametrize("within", ["seg_train seg_test", "train test", "images images", "data data"])
    def test_a_folder_that_says_no_more_than_its_part_is_that_part(self, tree, within):
        places = [f"{part}/{name}" for part, name in zip(("seg_train", "seg_test"), within.split(), strict=True)]
        assert parts_of(tree({f"{place}/{name}": 2 for place in places for name in CLASSES})) == each("train", "test")

    def test_what_lies_deeper_in_a_class_belongs_to_it(self, tree):
        root = tree(
            {"train/Forest/2019": 1, "train/Forest/2020": 1, "train/Water": 2, "test/Forest": 1, "test/Water": 1}
        )
        assert len(read_folder(root)[0]) == 6
        assert parts_of(root) == each("train", "test")

    def test_what_is_no_part_is_left_out_and_said(self, tree, tmp_path, caplog):
        counts = {f"{part}/{name}": 3 for part in ("train", "val", "test") for name in CLASSES}
        root = tree(counts | {"unlabeled": 5, "test_unlabeled/all": 2, "loose.png": 1, "train/loose.png": 1})
        with caplog.at_level("INFO"):
            store = build_store(data_config(f"data.source={root}"), tmp_path / "store")
        assert store.classes == CLASSES
        assert len(store) == 18
        left_out = {Path(entry["path"]): entry["reason"] for entry in store.skipped}
        assert left_out == {
            root: "1 image in no class folder",
            root / "train": "1 image in no class folder",
            root / "unlabeled": "5 images in a folder that is no part of the split",
            root / "test_unlabeled": "2 images in a folder that is no part of the split",
        }
        assert f"left out: {root}/unlabeled: 5 images" in caplog.text
        assert "its folders train, val and test are taken as the split" in caplog.text
        (section,) = (s for s in check_data(store, SplitConfig()).sections if s.name == "patches")
        assert (section.verdict, section.counts["skipped"]) == ("look", 4)

    def test_a_split_takes_the_parts_as_they_are_unless_told_otherwise(self, tree, tmp_path):
        root = tree({f"{part}/{name}": n for part, n in (("train", 6), ("val", 2), ("test", 4)) for name in CLASSES})
        store = build_store(data_config(f"data.source={root}"), tmp_path / "store")
        parts = make_split(store, SplitConfig())
        assert [len(rows) for rows in (parts.train, parts.val, parts.test)] == [12, 4, 8]
        assert all("/test/" in path for path in store.paths(parts.test))
        assert len(make_split(store, SplitConfig(kind="stratified")).test) == 4

    def test_without_val_it_is_taken_from_train(self, tree, tmp_path, caplog):
        root = tree({f"{part}/{name}": n for part, n in (("train", 8), ("test", 4)) for name in CLASSES})
        store = build_store(data_config(f"data.source={root}"), tmp_path / "store")
        with caplog.at_level("INFO"):
            parts = make_split(store, SplitConfig())
        assert [len(rows) for rows in (parts.train, parts.val, parts.test)] == [12, 4, 8]
        assert all("/train/" in path for path in store.paths(parts.val))
        assert "no val: 4 of its 16 train patches are taken for it" in caplog.text

    def test_a_class_that_only_test_has_is_named(self, tree, tmp_path):
        counts = {f"{part}/{name}": 3 for part in ("train", "test") for name in CLASSES}
        store = build_store(data_config(f"data.source={tree(counts | {'test/Urban': 2})}"), tmp_path / "store")
        refused(lambda: make_split(store, SplitConfig()), "class 'Urban' has no patches in train")

    def test_a_class_that_is_written_otherwise_in_test_is_named(self, tree, tmp_path):
        counts = {"train/Forest": 3, "train/Water": 3, "test/forest": 2, "test/Water": 2}
        store = build_store(data_config(f"data.source={tree(counts)}"), tmp_path / "store")
        refused(
            lambda: make_split(store, SplitConfig()), "'forest' has no patches in train", "is it the class 'Forest'?"
        )

    def test_a_file_in_two_parts_stands_in_one(self, tree, tmp_path):
        root = tree({f"{part}/{name}": 3 for part in ("train", "test") for name in CLASSES})
        shutil.copy(root / "test/Forest/test_Forest_0.png", root / "train/Forest/again.png")
        store = build_store(data_config(f"data.source={root}"), tmp_path / "store")
        parts = make_split(store, SplitConfig())
        assert not [path for path in store.paths(np.r_[parts.train, parts.val]) if "again" in path]
        sections = {s.name: s for s in check_data(store, SplitConfig()).sections}
        assert sections["exact copies"].counts["across"] == 1


class TestRefused:
    """Each names what was seen."""

    def check(self, root, *words):
        refused(lambda: read_folder(root), f"seen in {root}", *words)

    def test_a_split_without_test_or_train(self, tree):
        both = {f"{part}/{name}": 1 for part in ("train", "val") for name in CLASSES}
        self.check(tree(both), "'test' is missing", "train/ (Forest, Water)", "name one folder 'test'")
        none = {f"{part}/{name}": 1 for part in ("val", "test") for name in CLASSES}
        self.check(tree(none, "other"), "'train' is missing")

    def test_parts_without_class_folders(self, tree):
        self.check(tree({"train": 3, "test": 2}), "'train' holds images, but no class folders", "train/ (3 images)")
        classes = {f"train/{name}": 1 for name in CLASSES}
        self.check(tree(classes | {"test": 2}, "flat"), "'test' holds images, but no class folders")

    def test_one_part_beside_classes(self, tree):
        for name in ("test", "Training", "val_images"):
            self.check(tree({"Forest": 2, "Water": 2, name: 2}, name), f"'{name}' is the name of a part", "rename")
        self.check(tree({"train/Forest": 2, "train/Water": 2, "unlabeled": 3}), "'train' is the name of a part")

    def test_classes_beside_parts_that_hold_them_too(self, tree):
        counts = {f"{part}/{name}": 1 for part in ("train", "test") for name in CLASSES}
        self.check(tree(counts | {"forest": 2}), "'forest' stands beside the parts of a split and in them")

    def test_two_folders_of_one_part(self, tree):
        counts = {f"{part}/{name}": 1 for part in ("train_1", "train_2", "test_1") for name in CLASSES}
        self.check(tree(counts), "several folders are the part train: train_1, train_2")

    def test_two_splits_side_by_side(self, tree):
        names = ("rgb_train", "rgb_test", "nir_train", "nir_test")
        self.check(
            tree({f"{part}/{name}": 1 for part in names for name in CLASSES}), "several splits stand side by side"
        )

    def test_classes_of_which_some_are_divided(self, tree):
        counts = {"Forest/train": 1, "Forest/test": 1}
        self.check(tree(counts | {"Water": 2}), "'Water' is not divided as the other classes are")
        more = counts | {"Forest/loose.png": 1, "Water/train": 1, "Water/test": 1}
        self.check(tree(more, "loose"), "images lie beside the parts of the split in 'Forest'")
        self.check(tree({"Forest/test": 1, "Water": 2}, "one"), "'Forest/test' is named as a part of a split")

    @pytest.mark.parametrize("between", ["", "/2020", "/images"])
    def test_regions_above_classes(self, tree, between):
        counts = {f"{region}{between}/{name}": 2 for region in ("north", "south") for name in CLASSES}
        self.check(tree(counts), "which level holds the classes?", "'north' and 'south'", "Forest, Water", "table")

    def test_regions_within_the_parts_of_a_split(self, tree):
        counts = {f"{p}/{r}/{name}": 1 for p in ("train", "test") for r in ("north", "south") for name in CLASSES}
        self.check(tree(counts), "which level holds the classes?", "Forest, Water")

    @pytest.mark.parametrize("masks", ["masks", "Mask", "labels", "ground_truth", "rgb_masks"])
    def test_masks(self, tree, masks):
        counts = {f"{name}/{kind}": 2 for kind in ("images", masks) for name in CLASSES}
        self.check(
            tree(counts), f"'Forest/{masks}' looks like masks, not patches", f"images, {masks}" if masks > "i" else ""
        )
        self.check(tree({"images": 2, masks: 2}, "top"), f"'{masks}' looks like masks")
        self.check(
            tree({"Forest": 2, "Water": 2, f"Forest/{masks}": 2}, "within"), f"'Forest/{masks}' looks like masks"
        )

    def test_masks_beside_their_patches(self, tree):
        root = tree({"Forest/a.png": 1, "Forest/a_mask.png": 1, "Water/b.png": 1, "Water/c_mask.png": 1})
        refused(lambda: read_folder(root), "1 files", "look like masks", "Forest/a_mask.png")

    def test_parts_that_do_not_belong_together(self, tree):
        self.check(tree({"train_lr": 2, "test_hr": 2}), "all folders are named as parts of a split")

    def test_a_single_folder_beside_a_table(self, tree):
        root = tree({"images": 3})
        (root / "labels.csv").touch()
        refused(lambda: read_folder(root), "one class only: 'images'", f"is {root}/labels.csv a table of the patches?")

    def test_a_wrapper(self, tree):
        counts = {f"data/{part}/{name}": 1 for part in ("train", "test") for name in CLASSES}
        root = tree(counts)
        refused(lambda: read_folder(root), "one class only: 'data'", f"in {root / 'data'}?")


class TestClasses:
    def test_folders_within_classes_belong_to_them_and_it_is_said(self, tree, caplog):
        root = tree({"Forest/2019": 2, "Forest/2020": 2, "Water/2019": 2, "Water/2020-06": 2, "Urban/north": 1})
        with caplog.at_level("INFO"):
            assert parts_of(root) == {("Forest", None), ("Urban", None), ("Water", None)}
        assert "its folders are the classes; what lies deeper belongs to them, such as Forest/2019" in caplog.text

    def test_lists_of_a_split_beside_the_classes_are_not_passed_over_in_silence(self, tree, caplog):
        root = tree({"Forest": 2, "Water": 2})
        for name in ("train.csv", "validation.csv", "test.csv", "classes.csv"):
            (root / name).touch()
        read_folder(root)
        assert f"{root}: test.csv, train.csv, validation.csv beside the classes are not read" in caplog.text

    def test_one_folder_of_the_same_name_in_each_class_is_no_level(self, tree):
        assert parts_of(tree({"Forest/images": 2, "Water/images": 2})) == {("Forest", None), ("Water", None)}

    @pytest.mark.parametrize("name", ["dev", "train_station", "test_track", "validated", "Trainee"])
    def test_classes_whose_names_only_sound_like_parts_are_classes(self, tree, name):
        assert {label for label, _ in parts_of(tree({"Forest": 2, name: 2}))} == {"Forest", name}

    def test_a_tree_is_read_without_files(self):
        images = {"": 0, "train": 0, "train/a": 3, "train/b": 2, "test": 0, "test/a": 1, "test/b": 0}
        layout = find_layout(Path("/root"), Tree(images))
        assert layout.places["train/a"] == Place("a", "train")
        assert layout.places["test/b"] == Place("b", "test")

    def test_a_new_folder_beside_the_parts_is_noticed(self, tree):
        root = tree({f"{part}/{name}": 2 for part in ("train", "test") for name in CLASSES})
        before = content_fingerprint(data_config(f"data.source={root}"))
        shutil.copytree(root / "train/Forest", root / "extra")
        assert content_fingerprint(data_config(f"data.source={root}")) != before


@pytest.mark.shared
class TestCases:
    def test_the_split_is_used_and_the_rest_left_out(self, shared, tmp_path):
        root = shared / "cases/folder-levels/split_plus_unlabeled"
        store = build_store(data_config(f"data.source={root}"), tmp_path / "store")
        assert store.classes == ("Forest", "Highway")
        parts = make_split(store, SplitConfig())
        assert [len(rows) for rows in (parts.train, parts.val, parts.test)] == [12, 4, 4]
        assert [entry["path"] for entry in store.skipped] == [str(root / "unlabeled")]

    def test_a_split_within_the_classes_is_used(self, shared):
        records, left_out = read_folder(shared / "cases/folder-levels/class_then_split")
        assert records.classes == ("Forest", "Highway")
        assert [sum(r.split == part for r in records) for part in ("train", "val", "test")] == [12, 4, 4]
        assert left_out == []

    def test_masks_are_refused(self, shared):
        refused(lambda: read_folder(shared / "cases/folder-levels/images_and_masks"), "masks", "images, masks")
