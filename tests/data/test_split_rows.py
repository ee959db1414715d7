"""A table names the rows of train, val and test; what does not fit is refused or counted."""

import logging
import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from small_sources import refused

from landsift.config import DataConfig, RunConfig, SplitConfig
from landsift.data.checks.check import check_data
from landsift.data.split_rows import known_by_content
from landsift.data.splits import make_split
from landsift.data.store.patch_store import build_store
from landsift.errors import ConfigError
from landsift.training.strategies import deciding_settings

PARTS = ("train", "val", "test")


@pytest.fixture
def store(image_folder, tmp_path):
    root = image_folder({"A": 6, "B": 6})
    return build_store(DataConfig(source=str(root)), tmp_path / "store")


def names(store):
    """The paths of a store, relative to its root."""
    return [str(Path(path).relative_to(store.info["root"])) for path in store.column("path")]


def table(folder: Path, rows, name="rows.csv") -> Path:
    """Of pairs of path and split."""
    file = folder / name
    frame = pd.DataFrame(rows, columns=["path", "split"])
    frame.to_csv(file, index=False) if file.suffix == ".csv" else frame.to_parquet(file, index=False)
    return file


def thirds(store):
    return [(path, PARTS[i % 3]) for i, path in enumerate(names(store))]


def rows_of(store, file, **settings):
    parts = make_split(store, SplitConfig(rows=file, **settings))
    return [getattr(parts, name).tolist() for name in PARTS]


EXPECTED = [[i for i in range(12) if i % 3 == part] for part in range(3)]


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
@pytest.mark.parametrize("shape", ["relative", "absolute", "dotted", "shuffled"])
def test_the_rows_are_those_that_the_file_names(store, tmp_path, name, shape):
    root = Path(store.info["root"])
    rows = thirds(store)
    if shape == "absolute":
        rows = [(str(root / path), part) for path, part in rows]
    if shape == "dotted":
        rows = [(f"./B/../{path}", part.upper()) for path, part in rows]
    assert rows_of(store, table(tmp_path, rows[::-1] if shape == "shuffled" else rows, name)) == EXPECTED


def test_paths_may_be_relative_to_the_tables_own_folder(store, tmp_path):
    beside = Path(store.info["root"]).name
    assert rows_of(store, table(tmp_path, [(f"{beside}/{path}", part) for path, part in thirds(store)])) == EXPECTED


def test_generated_patches_go_by_their_names(tmp_path):
    store = build_store(RunConfig().replace("data.synthetic.patches=36", "data.synthetic.size=8").data, tmp_path / "s")
    paths = store.column("path")
    file = table(tmp_path, [(path, PARTS[i % 3]) for i, path in enumerate(paths)])
    assert rows_of(store, file)[0] == list(range(0, 36, 3))


def test_accents_may_be_written_in_either_form(image_folder, tmp_path):
    store = build_store(DataConfig(source=str(image_folder({"Fläche": 3, "Wald": 3}))), tmp_path / "store")
    file = table(tmp_path, [(unicodedata.normalize("NFD", path), part) for path, part in thirds(store)])
    assert rows_of(store, file) == [[0, 3], [1, 4], [2, 5]]


def test_patches_that_the_file_does_not_name_are_in_no_part_and_counted(store, tmp_path, caplog):
    file = table(tmp_path, thirds(store)[:9])
    with caplog.at_level(logging.WARNING, "landsift"):
        found = rows_of(store, file)
    assert found == [[row for row in part if row < 9] for part in EXPECTED]
    assert f"3 of 12 patches are in no part of the split: {file} does not name them" in caplog.messages


def test_without_val_it_is_taken_from_train(store, tmp_path):
    file = table(tmp_path, [(path, "test" if i % 3 == 2 else "train") for i, path in enumerate(names(store))])
    train, val, test = rows_of(store, file)
    assert test == EXPECTED[2]
    assert sorted(train + val) == sorted(EXPECTED[0] + EXPECTED[1])
    assert len(val) == 2


def test_the_sources_own_split_is_passed_over_and_that_is_said(image_table, tmp_path, caplog):
    source = image_table({"label": ["a", "b"] * 6, "split": ["train"] * 6 + ["test"] * 6})
    store = build_store(DataConfig(source=str(source)), tmp_path / "store")
    file = table(tmp_path, thirds(store))
    with caplog.at_level(logging.INFO, "landsift"):
        assert rows_of(store, file) == EXPECTED
    assert f"the split is taken from {file}; that of the source is passed over" in caplog.messages


def test_copies_give_way_as_in_any_given_split(image_table, tmp_path):
    source = image_table({"label": ["a", "b"] * 6}, images=[*range(11), 0])  # the last repeats the first
    store = build_store(DataConfig(source=str(source)), tmp_path / "store")
    paths, contents = names(store), store.contents()
    twin = [i for i in range(12) if (contents == contents[i]).sum() == 2]
    part = [PARTS[i % 3] for i in range(12)]
    part[twin[0]], part[twin[1]] = "train", "test"
    found = rows_of(store, table(tmp_path, list(zip(paths, part, strict=True))))
    assert twin[0] not in found[0]
    assert twin[1] in found[2]
    checks = check_data(store, SplitConfig(rows=tmp_path / "rows.csv"), thorough=False)
    assert next(s.counts for s in checks.sections if s.name == "exact copies")["across"] == 1


def test_an_undecoded_file_that_is_named_is_counted(image_folder, tmp_path, caplog):
    root = image_folder({"A": 6, "B": 6})
    (root / "A" / "broken.png").write_bytes(b"no image")
    store = build_store(DataConfig(source=str(root), max_unreadable=0.5), tmp_path / "store")
    file = table(tmp_path, [*thirds(store), ("A/broken.png", "train")])
    with caplog.at_level(logging.WARNING, "landsift"):
        assert rows_of(store, file) == EXPECTED
    assert f"{file} names 1 patch left out of the data, and so of the split" in caplog.messages


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: [*rows, ("A/none.png", "val")], ["names 1 patch that the data does not have", "A/none.png"]),
        (lambda rows: [("x/" + path, part) for path, part in rows], ["names 12 patches that", "relative to"]),
        (lambda rows: [*rows, (f"./{rows[0][0]}", "val")], ["names the patch", "twice"]),
        (lambda rows: [*rows, rows[0]], ["stands in two rows"]),
        (lambda rows: [*rows[1:], (rows[0][0], "")], ["has no split", "drop the row"]),
        (lambda rows: [*rows[1:], (rows[0][0], "tset")], ["unknown value 'tset'", "did you mean"]),
        (lambda rows: [(path, "train") for path, _ in rows], ["the given split has no test patches"]),
        (lambda rows: [row for row in rows if row[0].startswith("A")], ["class 'B' has no patches in train"]),
        (lambda rows: rows[:0], ["has no rows"]),
    ],
)
def test_what_does_not_fit_is_refused(store, tmp_path, change, said):
    file = table(tmp_path, change(thirds(store)))
    refused(lambda: rows_of(store, file), *said)
    checks = check_data(store, SplitConfig(rows=file), thorough=False)  # which says why, and goes on
    assert next(section for section in checks.sections if section.name == "split").verdict == "wrong"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("rows.txt", "path,split\n", ["is neither CSV nor Parquet"]),
        ("rows.csv", "file,split\na,train\n", ["has no column 'path'"]),
        ("rows.csv", "path,label\na,train\n", ["'label' holds the parts of one"]),
        ("rows.csv", "path,part\na,first\n", ["a has no split"]),
        ("rows.parquet", "no parquet", ["cannot read the table"]),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(store, tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    refused(lambda: rows_of(store, tmp_path / name), *said)


def test_a_file_that_is_not_there_is_refused_when_keys_are_made(tmp_path):
    refused(lambda: known_by_content(SplitConfig(rows=tmp_path / "none.csv")), "cannot read", "none.csv")


def test_other_rows_make_another_training_and_another_place_of_the_same_does_not(store, tmp_path):
    file = table(tmp_path, thirds(store))
    before = deciding_settings(RunConfig().replace(f"data.split.rows={file}"))
    (tmp_path / "other").mkdir()
    moved = file.rename(tmp_path / "other" / "named.csv")
    assert deciding_settings(RunConfig().replace(f"data.split.rows={moved}")) == before
    table(tmp_path / "other", thirds(store)[::-1], "named.csv")
    assert deciding_settings(RunConfig().replace(f"data.split.rows={moved}")) != before


def test_a_relative_file_is_the_same_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = RunConfig().replace("data.split.rows=rows.csv")
    assert config.data.split.rows == tmp_path / "rows.csv"
    assert RunConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("kind", ["stratified", "column", "group"])
def test_a_kind_beside_it_is_refused(tmp_path, kind):
    with pytest.raises(ConfigError, match="kind must be auto"):
        RunConfig().replace(f"data.split.rows={tmp_path / 'rows.csv'}", f"data.split.kind={kind}")


def test_the_same_bytes_under_an_ending_that_is_read_otherwise_are_other_rows(store, tmp_path):
    """A training of the cache would hide that this file cannot be read."""
    csv = table(tmp_path, thirds(store))
    parquet = csv.with_suffix(".parquet")
    parquet.write_bytes(csv.read_bytes())
    assert known_by_content(SplitConfig(rows=csv)) != known_by_content(SplitConfig(rows=parquet))
