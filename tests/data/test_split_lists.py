"""Lists name the patches of each part, as data sets publish them; what does not fit is counted or refused."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_sources import refused

from landsift.config import DataConfig, RunConfig, SplitConfig
from landsift.data.checks.check import check_data
from landsift.data.path_lookup import UNKNOWN, look_up
from landsift.data.split_lists import read_list
from landsift.data.split_rows import known_by_content
from landsift.data.splits import make_split
from landsift.data.store.patch_store import build_store
from landsift.training.strategies import deciding_settings

PARTS = ("train", "val", "test")
NAMES = [f"{c}_{i:03d}" for c in "AB" for i in range(6)]
ROWS = {part: [i for i in range(12) if i % 3 == p] for p, part in enumerate(PARTS)}


@pytest.fixture
def store(image_folder, tmp_path):
    root = image_folder({"A": 6, "B": 6})
    return build_store(DataConfig(source=str(root)), tmp_path / "store")


@pytest.fixture
def lists(tmp_path):
    """Write a list for each part: `lists({"train": [...]})`, else of every third patch by its file name."""

    def write(entries=None, suffix=".txt", end="\n", encoding="utf-8"):
        entries = {part: [f"{NAMES[i]}.png" for i in rows] for part, rows in ROWS.items()} | (entries or {})
        files = {}
        for part, names in entries.items():
            if names is None:
                continue
            files[part] = tmp_path / f"{part}{suffix}"
            if suffix == ".txt":
                files[part].write_bytes(end.join([*names, ""]).encode(encoding))
            else:
                frame = pd.DataFrame({"filename": names, "class": [name[0] for name in names]})
                frame.to_csv(files[part], index=False) if suffix == ".csv" else frame.to_parquet(files[part])
        return SplitConfig(lists=files)

    return write


@pytest.mark.parametrize("between", [",", " ", "; "])
def test_a_list_with_several_images_on_a_line_is_refused(store, lists, between):
    split = lists({"train": [between.join(f"{NAMES[i]}.png" for i in ROWS["train"])]})
    refused(lambda: make_split(store, split), "several names of images on a line", "write one on each line")


def rows_of(store, split):
    parts = make_split(store, split)
    return {name: getattr(parts, name).tolist() for name in PARTS}


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".parquet"])
def test_the_parts_are_those_of_the_lists(store, lists, suffix):
    assert rows_of(store, lists(suffix=suffix)) == ROWS


@pytest.mark.parametrize(
    "way",
    [
        lambda name: f"{name[0]}/{name}.png",
        lambda name: f"./{name[0]}/{name}.png",
        lambda name: rf"D:\sets\patches\{name[0]}\{name}.png",
        lambda name: f"patches/{name[0]}/{name}.png",
        lambda name: f"{name}.tif",
        lambda name: name,
        lambda name: f"  {name}.png  ",
        lambda name: f'"{name}.png"',
        lambda name: f"https://host/set/{name[0]}/{name}.png",
    ],
)
def test_entries_may_be_written_as_on_other_machines(store, lists, way):
    split = lists({part: [way(NAMES[i]) for i in rows] for part, rows in ROWS.items()})
    assert rows_of(store, split) == ROWS


@pytest.mark.parametrize("more", [" 3", ",A", "\tA", "; forest edge"])
def test_what_stands_behind_the_names_is_left_and_said(store, lists, caplog, more):
    with caplog.at_level(logging.INFO, "landsift"):
        assert (
            rows_of(store, lists({part: [f"{NAMES[i]}.png{more}" for i in rows] for part, rows in ROWS.items()}))
            == ROWS
        )
    assert "of each line the name of a file is read" in caplog.text


@pytest.mark.parametrize(
    ("end", "encoding"), [("\r\n", "utf-8"), ("\n", "utf-8-sig"), ("\n\n", "utf-8"), ("\r\n", "utf-16")]
)
def test_line_ends_blank_lines_and_byte_order_marks_do_no_harm(store, lists, end, encoding):
    assert rows_of(store, lists(end=end, encoding=encoding)) == ROWS


def test_absolute_paths_are_found(store, lists):
    paths = store.column("path")
    assert rows_of(store, lists({part: [paths[i] for i in rows] for part, rows in ROWS.items()})) == ROWS


def test_without_val_it_is_taken_from_train(store, lists):
    found = rows_of(store, lists({"val": None}))
    assert found["test"] == ROWS["test"]
    assert len(found["val"]) == 2
    assert set(found["train"]) | set(found["val"]) == set(ROWS["train"])


def test_patches_in_no_list_are_left_out_and_counted(store, lists, caplog):
    with caplog.at_level(logging.WARNING, "landsift"):
        found = rows_of(store, lists({"train": [f"{NAMES[i]}.png" for i in ROWS["train"][:-1]]}))
    assert found["train"] == ROWS["train"][:-1]
    assert "1 of 12 patches are in no part of the split: no list names them" in caplog.text


def test_entries_that_the_data_does_not_have_are_counted(store, lists, caplog):
    names = [f"{NAMES[i]}.png" for i in ROWS["train"]]
    with caplog.at_level(logging.WARNING, "landsift"):
        assert rows_of(store, lists({"train": [*names, "A_900.png", "A_901.png"]})) == ROWS
    assert "2 of the 6 entries of" in caplog.text
    assert "the first: A_900.png" in caplog.text


def test_one_way_of_matching_is_taken_for_all_entries_of_a_list(store, lists, caplog):
    """A class that the data does not have must not take the patches of another class that has the same names."""
    with caplog.at_level(logging.WARNING, "landsift"):
        found = rows_of(store, lists({"train": [*(f"A/{NAMES[i]}.png" for i in (0, 3)), "B/B_000.png", "C/B_003.png"]}))
    assert found["train"] == [0, 3, 6]
    assert "1 of the 4 entries" in caplog.text


def test_an_entry_that_stands_twice_is_counted(store, lists, caplog):
    names = [f"{NAMES[i]}.png" for i in ROWS["train"]]
    with caplog.at_level(logging.WARNING, "landsift"):
        assert rows_of(store, lists({"train": [*names, names[0]]})) == ROWS
    assert "names 1 patch more than once" in caplog.text


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"val": ["A_000.png", "B_001.png"]}, ["1 patch in the lists of both train and val", "A_000.png"]),
        ({"val": ["x.png", "y.png"]}, ["data.split.lists.val: none of the 2 entries", "x.png"]),
        ({"val": []}, ["val.txt is empty"]),
        ({"val": [" ", ""]}, ["val.txt is empty"]),
        ({"train": [f"A_00{i}.png" for i in (0, 3)]}, ["class 'B' has no patches in train"]),
    ],
)
def test_what_does_not_fit_is_refused(store, lists, entries, said):
    split = lists(entries)
    refused(lambda: rows_of(store, split), *said)
    checks = check_data(store, split, thorough=False)  # which says why, and goes on
    assert next(section for section in checks.sections if section.name == "split").verdict == "wrong"


def test_names_that_several_patches_have_are_refused(image_folder, tmp_path, lists):
    root = image_folder({"A": 3, "B": 3})
    for name in "AB":
        for i in range(3):
            (root / name / f"{name}_00{i}.png").rename(root / name / f"{i}.png")
    store = build_store(DataConfig(source=str(root)), tmp_path / "same")
    split = lists({"train": ["0.png"], "val": ["1.png"], "test": ["2.png"]})
    refused(lambda: rows_of(store, split), "'0.png', which 2 patches are called", "write paths with their folders")
    split = lists({part: [f"{c}/{p}.png" for c in "AB"] for p, part in enumerate(PARTS)})
    assert rows_of(store, split) == {"train": [0, 3], "val": [1, 4], "test": [2, 5]}


def test_files_that_are_no_lists_are_refused(tmp_path):
    (tmp_path / "b.txt").write_bytes(bytes(range(128, 256)))
    refused(lambda: read_list(tmp_path / "b.txt"), "no text in UTF-8")
    refused(lambda: read_list(tmp_path / "none.txt"), "cannot read", "none.txt")
    refused(lambda: read_list(tmp_path), "cannot read")
    (tmp_path / "c.csv").write_text("label\na\n")
    refused(lambda: read_list(tmp_path / "c.csv"), "has no column 'path'")
    refused(
        lambda: known_by_content(SplitConfig(lists={"train": tmp_path / "no", "test": tmp_path / "c.csv"})),
        "lists.train",
    )


def test_other_lists_make_another_training_and_another_place_of_the_same_does_not(lists, tmp_path):
    def settings(split):
        config = RunConfig()
        return deciding_settings(config.model_copy(update={"data": config.data.model_copy(update={"split": split})}))

    split = lists()
    before = settings(split)
    moved = tmp_path / "elsewhere.txt"
    moved.write_bytes(split.lists.train.read_bytes())
    assert settings(SplitConfig(lists={**dict(split.lists), "train": moved})) == before
    moved.write_text("A_000.png\n")
    assert settings(SplitConfig(lists={**dict(split.lists), "train": moved})) != before


def test_a_relative_list_is_the_same_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = RunConfig().replace("data.split.lists={train: a.txt, test: b.txt}")
    assert config.data.split.lists.train == tmp_path / "a.txt"


@pytest.mark.shared
def test_the_official_lists_of_eurosat_are_found_without_a_rest(shared):
    folder = shared / "data" / "eurosat" / "spatial"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    entries = {part: read_list(folder / f"{part}.txt") for part in PARTS}
    assert {part: len(names) for part, names in entries.items()} == {"train": 14_613, "val": 4_819, "test": 4_868}
    paths = [f"2750/{name.split('_')[0]}/{name}" for names in entries.values() for name in sorted(names)]
    rows = [look_up(Path(folder / part), names, paths, "/data", "lists") for part, names in entries.items()]
    together = np.concatenate(rows)
    assert UNKNOWN not in together
    assert len(np.unique(together)) == 24_300
