"""Tables that are not what they seem: read as written, or refused with the row."""

from contextlib import suppress

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet
from small_sources import data_config, refused

from landsift.data.sources import table as tables
from landsift.data.sources.table import read_table
from landsift.data.store.patch_store import build_store
from landsift.errors import DataError


@pytest.fixture
def csv_table(tmp_path):
    def write(text: str | bytes):
        file = tmp_path / "t.csv"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


@pytest.fixture
def parquet_table(tmp_path):
    def write(columns, metadata=None):
        file = tmp_path / "t.parquet"
        parquet.write_table(pa.table(columns).replace_schema_metadata(metadata), file)
        return file

    return write


def test_rows_with_a_field_more_than_the_header_are_not_shifted(csv_table):
    """They were read with the second field as the path and the third as the label, in silence."""
    refused(lambda: read_table(csv_table("path,label\na.png,x,y\nb.png,z,y\n")), "line 2 has 3 fields", "header has 2")
    assert [r.path for r in read_table(csv_table("path,label\na.png,x,\nb.png,z,\n"))] == ["a.png", "b.png"]


def test_of_two_columns_of_one_name_none_is_taken(csv_table, parquet_table):
    """The first was, in silence."""
    refused(lambda: read_table(csv_table("path,label,label\na.png,x,y\n")), "two columns 'label'")
    refused(lambda: read_table(csv_table("path,label,path \na.png,x,y\n")), "two columns 'path'")
    file = parquet_table(pa.Table.from_arrays([pa.array(["a"])] * 3, ["path", "label", "label"]))
    refused(lambda: read_table(file), "two columns 'label'")


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators_are_pointed_at(csv_table, separator):
    text = "path,label\na.png,x\n".replace(",", separator)
    refused(lambda: read_table(csv_table(text)), "no column 'path'", "divided by commas")


def test_quotes_line_breaks_and_line_ends_are_read_as_csv_has_them(csv_table):
    text = '\ufeffpath,label\r\n"a ""1"",\n.png","x, y"\r\n\r\nb.png,z\r\n'
    assert [(r.path, r.label) for r in read_table(csv_table(text))] == [('a "1",\n.png', "x, y"), ("b.png", "z")]
    assert len(read_table(csv_table("path,label\ra.png,x\rb.png,y"))) == 2


def test_a_nul_in_a_path_is_named_with_its_row(csv_table, parquet_table):
    """It ended the build with a traceback."""
    refused(lambda: read_table(csv_table("path,label\na.png,x\nb\0.png,y\n")), "row 2", "NUL")
    refused(lambda: read_table(parquet_table({"path": ["a\0"], "label": ["x"]})), "row 1", "NUL")


def test_huge_fields_and_lines_are_refused_before_they_fill_the_memory(csv_table, parquet_table):
    refused(lambda: read_table(csv_table('path,label\n"' + "a,b\n" * 100_000)), "cannot read the table", "131072")
    refused(lambda: read_table(csv_table("path,label\n" + "a" * 2**21)), "line is longer")
    refused(lambda: read_table(csv_table("path,label\n" + "a" * 5000 + ",x\n")), "row 1", "too long")
    refused(lambda: read_table(parquet_table({"path": ["a"], "label": ["x" * 10**6]})), "row 1", "too long")


def test_few_bytes_that_claim_many_rows_are_refused(parquet_table, monkeypatch):
    monkeypatch.setattr(tables, "MAX_ROWS", 1000)
    file = parquet_table({"path": ["a"] * 1001, "label": ["x"] * 1001})
    refused(lambda: read_table(file), "more than 1,000 rows")


def test_a_few_kilobytes_that_unpack_to_gigabytes_are_refused(tmp_path, monkeypatch):
    """33 kB took 4 GB: one value of a gigabyte, or one of megabytes in every row."""
    monkeypatch.setattr(tables, "_MAX_ROW_GROUP", 2**20)
    frame = pa.table({"path": ["a" * 2**21], "label": ["x"]})
    parquet.write_table(frame, tmp_path / "t.parquet", compression="zstd", use_dictionary=False)
    refused(lambda: read_table(tmp_path / "t.parquet"), "unpack to 2 MiB", "row groups")
    frame = pa.table({"path": ["a" * 2**16] * 1000, "label": ["x"] * 1000})
    parquet.write_table(frame, tmp_path / "t.parquet", compression="zstd")
    refused(lambda: read_table(tmp_path / "t.parquet"), "row 1", "too long")


def test_damaged_statistics_of_a_column_do_not_end_the_process(parquet_table):
    """pyarrow's look at a column's size does; so bits of every byte of the footer are flipped."""
    file = parquet_table({"path": [f"{i}.png" for i in range(3)], "label": ["a", None, "b"]})
    raw = file.read_bytes()
    for at in range(len(raw) - 8 - int.from_bytes(raw[-8:-4], "little"), len(raw)):
        for bit in (0, 1):
            file.write_bytes(raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :])
            with suppress(DataError):
                read_table(file)


def test_a_column_of_few_values_and_none_comes_back_in_order(parquet_table):
    labels = ["b", "a", "b", "c", "a"] * 5000
    splits = ["train", None, "val", "train", None] * 5000
    file = parquet_table({"path": [f"{i}" for i in range(25_000)], "label": labels, "split": splits})
    assert [(r.label, r.split) for r in read_table(file)] == list(zip(labels, splits, strict=True))


def test_missing_labels_are_named_whatever_their_type(parquet_table):
    for labels in ([1.0, np.nan], ["x", None], ["x", ""], [1, None]):
        file = parquet_table({"path": ["a", "b"], "label": pa.array(labels)})
        refused(lambda file=file: read_table(file), "row 2", "no label")


def test_types_become_text_or_an_error(parquet_table):
    cases = {("x", "y"): ["x", "y"], (1, 2): ["1", "2"], (True, False): ["True", "False"], (b"x", b"y"): ["x", "y"]}
    for values, labels in cases.items():
        file = parquet_table({"path": ["a", "b"], "label": list(values)})
        assert [r.label for r in read_table(file)] == labels
    for path in ([["a"]], [{"a": 1}], [b"\xff\xfe"]):
        refused(lambda path=path: read_table(parquet_table({"path": path, "label": ["x"]})), "cannot read the table")


def test_text_that_is_not_utf8_in_parquet_is_an_error(tmp_path):
    """pyarrow's error for it is of none of the usual kinds."""
    buffers = [None, pa.py_buffer(np.array([0, 1], np.int32)), pa.py_buffer(b"\xff")]
    column = pa.Array.from_buffers(pa.string(), 1, buffers)
    parquet.write_table(pa.table({"path": column, "label": ["x"]}), tmp_path / "t.parquet")
    refused(lambda: read_table(tmp_path / "t.parquet"), "cannot read the table")


def test_what_pandas_left_in_the_file_and_other_columns_do_not_matter(parquet_table):
    columns = {"path": ["a"], "label": ["x"], "vector": [[1.0, 2.0]], "when": pa.array([2**40], pa.timestamp("s"))}
    assert len(read_table(parquet_table(columns, {"pandas": "{broken"}))) == 1


def test_absolute_and_relative_paths_stand_side_by_side(image_table):
    table = image_table({"label": ["a", "b", "a", "b"]})
    frame = pd.read_csv(table)
    frame.loc[0, "path"] = str(table.parent / frame.path[0])
    frame.loc[1, "path"] = f"images/../{frame.path[1]}"
    frame.to_csv(table, index=False)
    store = build_store(data_config(f"data.source={table}"), table.parent / "store")
    assert len(store) == 4
    assert store.info["duplicates"] == 0


def test_one_file_under_two_spellings_is_a_duplicate(image_table):
    table = image_table({"label": ["a", "b", "a"]})
    frame = pd.read_csv(table)
    frame.loc[2, "path"] = f"./{frame.path[0]}"
    frame.to_csv(table, index=False)
    assert build_store(data_config(f"data.source={table}"), table.parent / "store").info["duplicates"] == 1
