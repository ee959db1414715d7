"""What a table means: no instruction is passed over, and no path leads nowhere without a word."""

import os

import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from small_sources import data_config, random_pixels, refused

from landsift.data.sources.base import open_source
from landsift.data.sources.table import read_paths, read_table
from landsift.data.splits import make_split
from landsift.data.store.patch_store import build_store

ROWS = 12


@pytest.fixture
def table(tmp_path):
    """Write a CSV or Parquet table with the columns path, label and others."""

    def write(name: str = "t.csv", **columns):
        frame = pd.DataFrame({"path": [f"img/{i}.png" for i in range(ROWS)], "label": ["a", "b"] * (ROWS // 2)})
        for column, values in columns.items():
            frame[column] = values
        file = tmp_path / name
        frame.to_csv(file, index=False) if file.suffix == ".csv" else frame.to_parquet(file)
        return file

    return write


PARTS = ["train", "train", "val", "test"] * (ROWS // 4)


class TestNearMisses:
    @pytest.mark.parametrize("kind", [".csv", ".parquet"])
    @pytest.mark.parametrize(
        "name",
        [
            "Split",
            "SPLIT",
            "splits",
            "spilt",
            "splt",
            "Subset",
            "subset",
            "partition",
            "fold",
            "data_split",
            "k-fold",
            "split_name",
            "train_split",
        ],
    )
    def test_a_column_that_means_the_split_is_refused_with_its_name(self, table, name, kind):
        file = table(f"t{kind}", **{name: PARTS})
        refused(lambda: read_table(file), file, f"a column '{name}' and none 'split'", "train, val and test")

    @pytest.mark.parametrize("name", ["Group", "GROUP", "groups", "group_id", "groupID", "gruop", "grp"])
    def test_a_column_that_means_the_group_is_refused_with_its_name(self, table, name):
        file = table(**{name: range(ROWS)})
        refused(lambda: read_table(file), file, f"a column '{name}' and none 'group'", "name it 'group'")

    @pytest.mark.parametrize("name", ["is_train", "train", "in_test", "isVal"])
    def test_a_flag_of_a_part_is_refused(self, table, name):
        refused(lambda: read_table(table(**{name: [True, False] * 6})), f"'{name}'", "train, val and test")

    @pytest.mark.parametrize("kind", [".csv", ".parquet"])
    @pytest.mark.parametrize(
        "values",
        [
            PARTS,
            ["Training", "PublicTest", "PrivateTest"] * 4,
            ["train"] * ROWS,
            ["train", ""] * 6,
            ["Train", "other", "val"] * 4,
        ],
    )
    def test_a_column_of_any_name_that_holds_the_parts_of_a_split_is_refused(self, table, values, kind):
        file = table(f"t{kind}", usage=values)
        refused(lambda: read_table(file), "no column 'split', but 'usage' holds the parts of one", "name it 'split'")

    def test_with_a_split_such_columns_are_passed_over_but_one_that_differs_in_case(self, table):
        assert len(read_table(table(split=PARTS, usage=PARTS, subset=PARTS))) == ROWS
        refused(lambda: read_table(table(split=PARTS, Split=PARTS)), "the columns 'split' and 'Split'", "keep one")

    @pytest.mark.parametrize("name", ["Slope", "crop", "soup", "set", "train_station", "ground", "split time of day"])
    def test_columns_that_mean_something_else_are_not_refused(self, table, name):
        assert len(read_table(table(**{name: range(ROWS)}))) == ROWS

    def test_texts_that_speak_of_trains_and_tests_are_no_split(self, table):
        assert len(read_table(table(note=["train station", "test site"] * 6))) == ROWS

    def test_spaces_around_a_name_do_not_matter(self, table):
        assert {record.split for record in read_table(table(**{" split": PARTS}))} == {"train", "val", "test"}

    def test_missing_columns_are_found_under_other_names(self, tmp_path):
        for header, words in {
            "filename,label": ["no column 'path'", "rename its column 'filename' to 'path'"],
            "Path,Label": ["no column 'path'", "rename its column 'Path' to 'path'"],
            "PATH,label": ["no column 'path'", "rename its column 'PATH' to 'path'"],
            "path,Class Name": ["no column 'label'", "rename its column 'Class Name' to 'label'"],
        }.items():
            (tmp_path / "t.csv").write_text(f"{header}\na.png,x\n")
            refused(lambda: read_table(tmp_path / "t.csv"), *words)


class TestOtherColumns:
    @pytest.mark.parametrize("kind", [".csv", ".parquet"])
    def test_they_are_listed_once(self, table, kind, caplog):
        file = table(f"t{kind}", cloud=0.5, tile=["x", "y"] * 6, **{"Unnamed: 0": range(ROWS)})
        with caplog.at_level("INFO"):
            read_table(file)
            read_table(file)
        (message,) = (record.message for record in caplog.records)
        assert message.startswith(f"{file}: columns that are not used: cloud, tile;")
        assert "named 'group', 'tile' would keep its patches on one side of the split" in message

    def test_many_are_counted_and_none_is_no_notice(self, table, caplog):
        with caplog.at_level("INFO"):
            read_table(table(split=PARTS, group=range(ROWS)))
            assert caplog.text == ""
            read_table(table("many.csv", **{f"c{i}": 0 for i in range(20)}))
        assert "c0, c1, c2, c3, c4, c5, c6, c7 and 12 more" in caplog.text


class TestMissingValues:
    @pytest.mark.parametrize("value", ["nan", "NaN", "<NA>", " nan ", "NaT"])
    @pytest.mark.parametrize("column", ["label", "split", "group"])
    def test_one_that_was_written_as_text_is_refused_with_its_row(self, table, column, value):
        values = {"label": ["a", "b"] * 6, "split": PARTS, "group": ["x", "y"] * 6}
        values[column] = [*values[column][:4], value, *values[column][5:]]
        refused(lambda: read_table(table(**values)), "row 5", f"the {column} '{value.strip()}'", "missing value")

    def test_names_that_may_be_meant_stay(self, tmp_path):
        (tmp_path / "t.csv").write_text("path,label\na.png,NA\nb.png,None\nc.png,nanjing\n")
        assert read_table(tmp_path / "t.csv").classes == ("NA", "None", "nanjing")


class TestPaths:
    @pytest.fixture
    def images(self, tmp_path):
        (tmp_path / "img").mkdir()
        for i in range(ROWS):
            Image.fromarray(random_pixels(i, (8, 8))).save(tmp_path / f"img/{i}.png")
        return tmp_path / "img"

    @pytest.mark.parametrize("kind", [".csv", ".parquet"])
    def test_backslashes_of_windows_are_understood(self, table, images, kind, caplog):
        file = table(f"t{kind}", path=[f"img\\{i}.png" for i in range(ROWS)])
        with caplog.at_level("INFO"):
            store = build_store(data_config(f"data.source={file}"), file.parent / "store")
        assert (len(store), store.skipped) == (ROWS, [])
        assert f"{file}: \\ in its paths is read as /" in caplog.text
        assert list(read_paths(file))[3] == str(images / "3.png")

    def test_a_name_that_has_one_stays(self, tmp_path):
        (tmp_path / "a\\b.png").touch()
        (tmp_path / "t.csv").write_text("path,label\na\\b.png,x\nc\\d.png,y\n")
        assert [record.path for record in read_table(tmp_path / "t.csv")] == ["a\\b.png", "c\\d.png"]

    def test_one_file_under_both_spellings_is_named(self, tmp_path):
        (tmp_path / "t.csv").write_text("path,label\na\\b.png,x\na/b.png,y\n")
        refused(lambda: read_table(tmp_path / "t.csv"), "the path a/b.png stands in two rows")

    def test_paths_that_lead_nowhere_are_told_with_the_place(self, table, tmp_path):
        file = table()
        where = tmp_path / "img/0.png"
        for call in (lambda: open_source(data_config(f"data.source={file}")), lambda: list(read_paths(file))):
            refused(
                call, f"none of its {ROWS} paths leads to a file", f"'img/0.png' is looked for at {where}", "relative"
            )

    @pytest.mark.parametrize("elsewhere", [False, True], ids=["cwd", "parent"])
    def test_paths_from_another_folder_are_told(self, table, images, tmp_path, monkeypatch, elsewhere):
        (tmp_path / "labels").mkdir()
        (tmp_path / "home").mkdir()
        file = table()
        file.rename(tmp_path / "labels/t.csv")
        monkeypatch.chdir(tmp_path / "home" if elsewhere else tmp_path)
        refused(
            lambda: open_source(data_config(f"data.source={tmp_path}/labels/t.csv")),
            f"looked for at {tmp_path}/labels/img/0.png",
            f"it is there from {tmp_path}: move the table",
        )

    @pytest.mark.parametrize("form", ["/{}.png", " {}.png ", "file://{}.png", "../{}.png", "{}"])
    def test_paths_that_are_written_otherwise_are_told(self, table, images, form):
        file = table(path=[form.format(f"img/{i}") for i in range(ROWS)])
        refused(lambda: list(read_paths(file)), "'img/0.png' is there: write the paths like that")

    def test_windows_drives_show_what_became_of_them(self, table, tmp_path):
        file = table(path=[f"D:\\data\\{i}.png" for i in range(ROWS)])
        refused(lambda: list(read_paths(file)), f"looked for at {tmp_path}/D:/data/0.png")

    def test_some_that_are_missing_are_left_to_the_build(self, table, images):
        (images / "0.png").unlink()
        store = data_config(f"data.source={table()}", "data.max_unreadable=0.1")
        assert [entry["reason"] for entry in build_store(store, images.parent / "store").skipped] == [
            "the file does not exist"
        ]


class TestPathsAlone:
    def test_whatever_else_stands_in_the_table(self, tmp_path, caplog):
        for i in range(2):
            (tmp_path / f"{i}.png").touch()
        frame = pd.DataFrame({"Split": ["train", "x"], "path": ["1.png", "0.png"], "label": ["nan", None]})
        frame.to_csv(tmp_path / "t.csv", index=False)
        frame.to_parquet(tmp_path / "t.parquet")
        for name in ("t.csv", "t.parquet"):
            with caplog.at_level("INFO"):
                assert list(read_paths(tmp_path / name)) == [str(tmp_path / "1.png"), str(tmp_path / "0.png")]
            assert f"{name}: columns that are not used: Split, label" in caplog.text

    def test_without_paths_it_is_refused(self, tmp_path):
        for text, words in {
            "file\na.png\n": "rename its column 'file' to 'path'",
            "path\n": "no rows",
            "path,x\n,1\n": "row 1 below the header has no path",
            "path\na.png\na.png\n": "stands in two rows",
        }.items():
            (tmp_path / "t.csv").write_text(text)
            refused(lambda: list(read_paths(tmp_path / "t.csv")), words)


def test_a_damaged_column_that_is_not_read_is_an_error_or_does_not_matter(tmp_path):
    buffers = [None, pa.py_buffer(bytes(8)), pa.py_buffer(b"")]
    other = pa.Array.from_buffers(pa.string(), 1, buffers)
    parquet.write_table(pa.table({"path": ["a"], "label": ["x"], "other": other}), tmp_path / "t.parquet")
    assert len(read_table(tmp_path / "t.parquet")) == 1


@pytest.mark.shared
class TestCases:
    def test_optional_columns(self, shared, tmp_path):
        cases = shared / "cases/table-optional-columns"
        store = build_store(data_config(f"data.source={cases / 'split.csv'}"), tmp_path / "split")
        given = store.column("split").to_numpy()
        assert set(given[make_split(store, data_config().split).test]) == {"test"}
        store = build_store(data_config(f"data.source={cases / 'group.csv'}"), tmp_path / "group")
        groups, parts = store.column("group").to_numpy(), make_split(store, data_config().split)
        assert not set(groups[parts.train]) & set(groups[parts.test])
        for name in ("Split", "Group"):
            refused(lambda name=name: read_table(cases / f"{name}.csv"), f"'{name}'", f"name it '{name.lower()}'")

    def test_paths_not_found(self, shared, tmp_path):
        cases = shared / "cases/table-paths-not-found"
        assert len(build_store(data_config(f"data.source={cases / 'back.csv'}"), tmp_path / "store")) == 8
        here = os.path.join(cases, "labels", "img/Forest/Forest_1.jpg")
        source = data_config(f"data.source={cases / 'labels/cwd.csv'}")
        refused(lambda: open_source(source), f"looked for at {here}", f"it is there from {cases}")
