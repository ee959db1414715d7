"""What a check of the data finds where something is planted, and that it is silent where nothing is."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from small_sources import data_config, random_pixels

from landsift.config import SplitConfig, SyntheticConfig
from landsift.data.checks.check import check_data
from landsift.data.sources import synthetic
from landsift.data.store.patch_store import PatchStore, build_store

PARTS = ["train"] * 12 + ["val"] * 12 + ["test"] * 12


def scene(number: int) -> np.ndarray:
    """A generated patch, uint8 [64, 64, 3]."""
    return synthetic.patch(SyntheticConfig(patches=600), number)


def jpeg(pixels: np.ndarray, quality: int = 85) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


@pytest.fixture
def build(tmp_path) -> Callable[..., PatchStore]:
    """Build a store from a table: 36 different patches in two classes, twelve in each part, but for `changes`.

    `changes` maps a row to its pixels, `columns` names columns in place of or beside label and split.
    """

    def make(changes: dict[int, np.ndarray] | None = None, **columns: list | None) -> PatchStore:
        folder = tmp_path / "images"
        folder.mkdir()
        for row in range(len(PARTS)):
            pixels = (changes or {}).get(row)
            Image.fromarray(scene(row) if pixels is None else pixels).save(folder / f"{row:02d}.png")
        table = {"path": [f"images/{row:02d}.png" for row in range(len(PARTS))]}
        table |= {"label": ["crop", "town"] * 18, "split": PARTS}
        table |= columns
        file = tmp_path / "table.csv"
        pd.DataFrame({name: values for name, values in table.items() if values is not None}).to_csv(file, index=False)
        return build_store(data_config(f"data.source={file}"), tmp_path / "store")

    return make


def check(store: PatchStore, thorough: bool = True, **split) -> dict:
    checks = check_data(store, SplitConfig(**split), thorough=thorough)
    return {section.name: section for section in checks.sections} | {"verdict": checks.verdict}


def names(section) -> list[list[str]]:
    """The files of each example, without their folder and suffix."""
    return [sorted(Path(path).stem for path in example["paths"]) for example in section.examples]


@pytest.mark.parametrize("thorough", [True, False])
def test_sound_data_have_nothing_to_say(build, thorough):
    found = check(build(), thorough)
    assert found.pop("verdict") == "ok"
    subjects = ["patches", "split", "classes", "exact copies", "labels", "near copies", "bands", "blank patches"]
    assert list(found) == [name for name in subjects if thorough or name != "near copies"]
    assert {section.verdict for section in found.values()} == {"ok"}
    assert not any(section.examples for section in found.values())
    assert found["split"].counts == {"kind": "column", "train": 12, "val": 12, "test": 12}


ALTERED = {
    "turned": lambda p: np.rot90(p),
    "flipped": lambda p: p[:, ::-1],
    "transposed": lambda p: p.transpose(1, 0, 2),
    "brightened": lambda p: np.clip(p.astype(int) + 2, 0, 255).astype(np.uint8),
    "compressed": jpeg,
    "turned, brightened and compressed": lambda p: jpeg(np.clip(np.rot90(p, 3).astype(int) + 2, 0, 255).astype("u1")),
}


@pytest.mark.parametrize("how", ALTERED)
def test_an_altered_copy_in_another_part_is_found_and_nothing_else(build, how):
    alter = ALTERED[how]
    found = check(build({row: alter(scene(row - 24)) for row in (24, 26, 29)}))
    near = found["near copies"]
    assert near.counts == {"pairs": 3, "patches": 3, "share": 3 / 24, "differently_labelled": 0}
    assert sorted(names(near)) == [["00", "24"], ["02", "26"], ["05", "29"]]
    assert all(example["parts"] == ["train", "test"] for example in near.examples)
    assert near.verdict == "wrong"
    assert found["exact copies"].verdict == "ok"


def test_altered_copies_within_a_part_are_no_leak_and_other_labels_are_counted(build):
    found = check(build({1: scene(0)[::-1], 13: scene(2)[::-1]}))["near copies"]
    assert names(found) == [["02", "13"]]
    assert found.counts["differently_labelled"] == 1
    assert found.examples[0]["labels"] == ["crop", "town"]


def test_few_near_copies_are_something_to_look_at(build, monkeypatch):
    monkeypatch.setattr("landsift.data.checks.check.LEAK", 0.05)
    found = check(build({24: scene(0)[::-1]}))
    assert (found["near copies"].verdict, found["verdict"]) == ("look", "look")


def test_exact_copies_that_move_together_are_no_leak(build):
    store = build({1: scene(0), 20: scene(0), 30: scene(4)}, label=["crop"] * 18 + ["town"] * 18, split=None)
    found = check(store, kind="stratified")
    copies = found["exact copies"]
    assert (copies.verdict, copies.counts) == ("look", {"copies": 3, "contents": 2, "across": 0})
    assert sorted(names(copies)) == [["00", "01", "20"], ["04", "30"]]
    assert "exact duplicates are never split up" in copies.text
    assert found["near copies"].counts["pairs"] == 0


def test_exact_copies_across_the_tables_split_are_told_and_are_left_out(build):
    found = check(build({24: scene(0), 30: scene(6), 9: scene(7)}))
    copies = found["exact copies"]
    assert (copies.verdict, copies.counts) == ("look", {"copies": 3, "contents": 3, "across": 2})
    assert names(copies) == [["00", "24"], ["06", "30"]]
    assert found["split"].counts["train"] == 10
    assert found["near copies"].counts["pairs"] == 0


def test_rows_without_a_part_are_in_no_other_part(build):
    found = check(build({24: scene(0)}, split=[*PARTS[:24], "", *PARTS[25:]]))
    assert "1 patches have no split" in found["split"].text
    assert found["exact copies"].counts == {"copies": 1, "contents": 1, "across": 0}


@pytest.mark.parametrize("thorough", [True, False])
def test_equal_pixels_in_two_classes_are_wrong(build, thorough):
    found = check(build({13: scene(0), 15: scene(15), 35: scene(33)}), thorough)
    labels = found["labels"]
    assert (labels.verdict, labels.counts) == ("wrong", {"contents": 1, "patches": 2})
    assert names(labels) == [["00", "13"]]
    assert labels.examples[0]["labels"] == ["crop", "town"]
    assert found["verdict"] == "wrong"


def test_a_class_missing_from_a_part_is_wrong_and_a_rare_one_to_be_looked_at(build):
    even = (["crop", "town"] * 18)[:24]
    found = check(build(label=[*even, *["crop"] * 12]))["classes"]
    assert found.verdict == "wrong"
    assert found.examples[0] == {"class": "town", "part": "test", "patches": 0}
    assert found.text.startswith("1 class is missing")


def test_rare_classes_are_something_to_look_at(build, monkeypatch):
    monkeypatch.setattr("landsift.data.checks.check.HANDFUL", 7)
    assert check(build())["classes"].verdict == "look"


@pytest.fixture(autouse=True)
def few_are_enough(monkeypatch):
    """Six patches per class and part are enough for these tests."""
    monkeypatch.setattr("landsift.data.checks.check.HANDFUL", 6)


def test_a_split_that_cannot_be_made_is_wrong_and_the_rest_is_checked(build):
    found = check(build({13: scene(0)}, split=["train"] * 36))
    assert found["split"].verdict == "wrong"
    assert "the given split has no test patches" in found["split"].text
    assert found["labels"].verdict == "wrong"
    assert "near copies" not in found


def test_groups_across_the_split_are_told_unless_it_is_by_group(build):
    store = build(group=[f"place {row % 12}" for row in range(36)])
    found = check(store)["groups"]
    assert (found.verdict, found.counts) == ("wrong", {"groups": 12, "across": 12, "patches": 24, "share": 1.0})
    assert found.examples[0]["group"] == "place 0"
    assert [Path(p).stem for p in found.examples[0]["paths"]] == ["00", "12", "24"]
    assert check(store, kind="group")["groups"].verdict == "ok"


def test_groups_that_may_be_one_under_two_names_are_told_where_the_split_parts_them(build):
    names = [f"{'Scene' if row < 12 else 'scene'} {row % 12}" for row in range(36)]
    found = check(build(group=names))["groups"]
    assert "12 groups may be in several parts under names that differ only in case" in found.text
    assert "'Scene 0' and 'scene 0'" in found.text


@pytest.mark.parametrize(
    ("names", "verdict"),
    [(("7", "7.0", "07"), "look"), (("S 1", "s  1", "S2"), "look"), (("x-1_y2", "x1_y2", "x1y2"), "ok")],
)
def test_groups_in_parts_of_their_own_are_told_where_they_are_written_alike(build, names, verdict):
    found = check(build(group=[names[row // 12] for row in range(36)]))["groups"]
    assert found.verdict == verdict


def scaled(factor: float) -> dict[int, np.ndarray]:
    return {row: (scene(row) * factor).astype(np.uint8) for row in range(36)}


def with_band(band: int, make) -> dict[int, np.ndarray]:
    changed = {row: scene(row) for row in range(36)}
    for pixels in changed.values():
        pixels[..., band] = make(pixels)
    return changed


@pytest.mark.parametrize("thorough", [True, False])
@pytest.mark.parametrize(
    ("changes", "verdict", "said"),
    [
        (lambda: scaled(0.12), "wrong", "nearly all pixels are below 32 of 255: the values are scaled wrongly"),
        (lambda: with_band(1, lambda p: 7), "wrong", "band 1 is 7 everywhere"),
        (lambda: with_band(2, lambda p: p[..., 2] // 10), "look", "band 2 is below 32 of 255 nearly everywhere"),
        (lambda: with_band(2, lambda p: p[..., 0]), "look", "bands 0 and 2 are equal"),
        (lambda: with_band(0, lambda p: np.maximum(p[..., 0], 255 * (np.arange(64) < 4))), "look",
         "% of band 0 is 255"),
        (lambda: with_band(0, lambda p: p[..., 0] * (np.arange(64) >= 4)), "look", "% of band 0 is 0"),
    ],
    ids=["scale", "constant", "dark", "equal", "saturated", "zero"],
)  # fmt: skip
def test_odd_bands_are_told(build, changes, verdict, said, thorough):
    found = check(build(changes()), thorough)["bands"]
    assert said in found.text
    assert found.verdict == verdict


def test_blank_patches_are_counted(build):
    half = scene(9)
    half[:, :33] = 0
    most = scene(10)
    most[:, :50] = 255
    changes = {3: np.full((64, 64, 3), 90, np.uint8), 8: np.zeros((64, 64, 3), np.uint8), 9: half, 10: most}
    found = check(build(changes))
    blank = found["blank patches"]
    assert (blank.verdict, blank.counts) == (
        "look",
        {"patches_looked_at": 36, "blank": 2, "mostly_empty": 1, "half_empty": 1},
    )
    assert sorted(names(blank)[:2]) == [["03"], ["08"]]
    assert names(blank)[2:] == [["10"], ["09"]]
    assert [example["what"] for example in blank.examples] == [
        "of one colour",
        "of one colour",
        "mostly empty",
        "half empty",
    ]


def test_the_quick_check_looks_at_some_patches_and_says_how_many(build, monkeypatch):
    store = build({3: np.zeros((64, 64, 3), np.uint8), 35: np.zeros((64, 64, 3), np.uint8)})
    monkeypatch.setattr("landsift.data.checks.check.SAMPLE_BYTES", 5 * 64 * 64 * 3)
    found = check(store, thorough=False)
    assert found["bands"].counts["patches_looked_at"] == 5
    assert found["blank patches"].counts["blank"] == 1  # the last is among them, the other is not
    assert found["blank patches"].text == "1 patch is of one colour among the 5 checked."


def test_unreadable_files_are_told(tmp_path, image_folder):
    root = image_folder({"A": 60, "B": 60})
    (root / "A" / "A_000.png").write_bytes(b"no image")
    store = build_store(data_config(f"data.source={root}"), tmp_path / "store")
    found = check(store)["patches"]
    assert (found.verdict, found.counts["skipped"]) == ("look", 1)
    assert found.examples[0]["paths"] == [str(root / "A" / "A_000.png")]


def test_a_budget_counts_its_own_labels(build):
    checks = check_data(build(), SplitConfig(), budget=6)
    classes = next(s for s in checks.sections if s.name == "classes")
    assert classes.counts["crop"] == {"train": 3, "val": 6, "test": 6}
    assert classes.verdict == "look"


def test_the_result_is_plain_json(build):
    checks = check_data(build({13: scene(0), 24: scene(1)[::-1]}, group=["a", "b"] * 18), SplitConfig())
    again = json.loads(json.dumps(checks.to_dict(), allow_nan=False))
    assert again == checks.to_dict()
    assert again["verdict"] == "wrong"


def test_patches_of_noise_and_of_odd_sizes_are_checked(tmp_path, image_folder):
    root = image_folder({"A": 40, "B": 40}, size=(9, 14))
    Image.fromarray(random_pixels(3, (9, 14))[::-1]).save(root / "A" / "copy.png")
    store = build_store(data_config(f"data.source={root}"), tmp_path / "store")
    assert check(store)["bands"].verdict == "ok"
