"""What a source lists, what it refuses, and what its fingerprint notices."""

import hashlib
import os
import shutil

import pandas as pd
import pytest
from PIL import Image
from small_sources import data_config, random_pixels, refused

from landsift.config import digest
from landsift.data.sources.base import content_fingerprint, fingerprint_of, open_source
from landsift.data.sources.folder import read_folder
from landsift.data.sources.records import CHUNK, Record, Records
from landsift.data.sources.table import read_table
from landsift.errors import DataError


class TestNames:
    def test_an_unknown_name_gets_the_nearest_known(self):
        refused(lambda: open_source(data_config("data.source=eurosta")), "'eurosta'", "did you mean 'eurosat'?")
        refused(lambda: open_source(data_config("data.source=SYNTHETIC")), "did you mean 'synthetic'?")
        refused(lambda: open_source(data_config("data.source=''")), "data.source is empty")
        refused(lambda: open_source(data_config("data.source=xyz")), "'xyz'", "known sources: synthetic, eurosat")

    def test_a_missing_folder_or_table_is_named(self, tmp_path):
        for name in ("nowhere/patches", "table.csv"):
            refused(lambda name=name: open_source(data_config(f"data.source={tmp_path}/{name}")), name, "not exist")

    def test_a_file_that_is_no_table_is_refused(self, tmp_path):
        (tmp_path / "notes.txt").write_text("hello")
        refused(lambda: open_source(data_config(f"data.source={tmp_path}/notes.txt")), "notes.txt", "neither a folder")


class TestFolder:
    def test_images_are_listed_by_class_and_path(self, image_folder):
        root = image_folder({"b": 2, "A": 1, "a": 2})
        records = open_source(data_config(f"data.source={root}")).records
        assert [r.path for r in records] == ["A/A_000.png", "a/a_000.png", "a/a_001.png", "b/b_000.png", "b/b_001.png"]
        assert [r.label for r in records] == ["A", "a", "a", "b", "b"]

    @pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".jfif", ".png", ".tif", ".TIFF", ".bmp", ".webp"])
    def test_every_image_ending_counts(self, image_folder, suffix):
        assert len(read_folder(image_folder({"a": 2, "b": 2}, suffix=suffix))[0]) == 4

    def test_images_in_subfolders_belong_to_the_class(self, image_folder):
        root = image_folder({"a": 1, "b": 1})
        (root / "a/2020/spring").mkdir(parents=True)
        shutil.copy(root / "a/a_000.png", root / "a/2020/spring/x.png")
        assert [r.path for r in read_folder(root)[0]] == ["a/2020/spring/x.png", "a/a_000.png", "b/b_000.png"]

    def test_hidden_files_and_other_files_are_passed_over(self, image_folder):
        root = image_folder({"a": 1, "b": 1})
        for name in ("a/Thumbs.db", "a/notes.txt", "a/._a_000.png", "a/.DS_Store", "README.md", ".hidden/x.png"):
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_bytes(b"x")
        (root / "__MACOSX").mkdir()
        assert [r.path for r in read_folder(root)[0]] == ["a/a_000.png", "b/b_000.png"]

    def test_circles_of_links_end(self, image_folder):
        root = image_folder({"a": 1, "b": 1})
        (root / "a/up").symlink_to(root)
        (root / "a/self").symlink_to(root / "a/self")
        (root / "b/a").symlink_to(root / "a", target_is_directory=True)
        assert [r.path for r in read_folder(root)[0]] == ["a/a_000.png", "b/b_000.png"]

    def test_a_linked_class_folder_is_followed(self, image_folder, tmp_path):
        root = image_folder({"a": 1, "b": 1})
        (root / "b").rename(tmp_path / "elsewhere")
        (root / "b").symlink_to(tmp_path / "elsewhere")
        assert len(read_folder(root)[0]) == 2

    def test_a_folder_without_images_is_refused(self, tmp_path):
        refused(lambda: read_folder(tmp_path), tmp_path, "no images", "one folder per class")
        Image.fromarray(random_pixels(0)).save(tmp_path / "loose.png")
        refused(lambda: read_folder(tmp_path), "no images in the class folders")

    def test_an_empty_class_is_named(self, image_folder):
        root = image_folder({"a": 1, "b": 1, "empty": 0})
        refused(lambda: read_folder(root), "class 'empty' is empty")

    def test_class_folders_one_level_down_are_pointed_at(self, image_folder, tmp_path):
        image_folder({"a": 1, "b": 1}, name="outer")
        (tmp_path / "wrap").mkdir()
        (tmp_path / "outer").rename(tmp_path / "wrap/2750")
        refused(lambda: read_folder(tmp_path / "wrap"), "one class only: '2750'", f"in {tmp_path / 'wrap/2750'}?")

    def test_a_name_that_is_not_utf8_is_refused(self, image_folder):
        root = image_folder({"a": 1, "b": 1})
        shutil.copy(root / "a/a_000.png", os.fsencode(root / "a") + b"/\xff.png")
        refused(lambda: read_folder(root), "not valid UTF-8")


class TestTable:
    @pytest.mark.parametrize("name", ["table.csv", "table.parquet", "TABLE.CSV"])
    def test_paths_are_relative_to_the_table(self, tmp_path, name):
        (tmp_path / "x").mkdir()
        (tmp_path / "x/1.png").touch()
        frame = pd.DataFrame({"path": ["x/1.png", "/abs/2.png"], "label": ["b", "a"], "split": ["train", None]})
        file = tmp_path / name
        frame.to_csv(file, index=False) if file.suffix.lower() == ".csv" else frame.to_parquet(file, index=False)
        source = open_source(data_config(f"data.source={file}"))
        assert source.name == "table"
        assert source.root == tmp_path
        assert [tuple(r) for r in source.records] == [("/abs/2.png", "a", None, None), ("x/1.png", "b", "train", None)]

    def test_values_are_text_as_written(self, tmp_path):
        (tmp_path / "t.csv").write_text("\ufeffpath, label,group\na.png,NA,007\nb.png, None ,7\n", encoding="utf-8")
        records = read_table(tmp_path / "t.csv")
        assert [(r.label, r.group) for r in records] == [("NA", "007"), ("None", "7")]

    def test_numbers_as_labels_in_parquet_become_names(self, tmp_path):
        pd.DataFrame({"path": ["a.png", "b.png"], "label": [3, 10]}).to_parquet(tmp_path / "t.parquet")
        assert [r.label for r in read_table(tmp_path / "t.parquet")] == ["3", "10"]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", ["cannot read the table"]),
            ("path,label\n", ["no rows"]),
            ("path,class\na.png,x\n", ["no column 'label'", "path, class"]),
            ("file,label\na.png,x\n", ["no column 'path'"]),
            ("paths,label\na.png,x\n", ["no column 'path'", "rename its column 'paths' to 'path'"]),
            ("path;label\na.png;x\n", ["no column 'path'", "path;label"]),
            ("path,label\na.png,\n", ["row 1", "no label"]),
            ("path,label\na.png,x\n,x\n", ["row 2", "no path"]),
            ("path,label\na.png,x\na.png,y\n", ["a.png", "two rows"]),
            ('path,label\n"a.png,x\n', ["cannot read the table"]),
            ("path,label\na.png,x\nb.png,x,y,z\n", ["cannot read the table", "line 3"]),
        ],
    )
    def test_an_unusable_table_is_named_with_the_reason(self, tmp_path, text, words):
        file = tmp_path / "table.csv"
        file.write_text(text)
        refused(lambda: read_table(file), file, *words)

    def test_unreadable_bytes_are_an_error(self, tmp_path):
        for name in ("table.csv", "table.parquet"):
            (tmp_path / name).write_bytes(b"path,label\n\xff\xfe\x00,x\n")
            refused(lambda name=name: read_table(tmp_path / name), name, "cannot read the table")


class TestRecords:
    def test_records_of_many_chunks_come_back_as_they_were(self):
        rows = [Record(f"{i % 7}/ä{i}.png", f"class {i % 7}", "val" if i % 2 else None) for i in range(CHUNK + 10)]
        records = Records.of(rows)
        assert list(records) == rows
        assert len(records) == len(rows)
        assert records[CHUNK + 3] == rows[CHUNK + 3]
        assert records[CHUNK + 3].group is None
        assert [records.classes[label] for label in records.labels] == [row.label for row in rows]

    def test_they_sort_by_class_and_path_as_python_does(self):
        rows = [Record(path, label) for label in ("b", "Ä", "a", "B") for path in ("é", "z", "Z", "~", "a/b", "a.b")]
        records = Records.of(rows).sorted()
        assert list(records) == sorted(rows, key=lambda r: (r.label, r.path))
        assert records.classes == ("B", "a", "b", "Ä")
        assert (records.labels == sorted(records.labels)).all()

    def test_a_record_takes_a_few_dozen_bytes(self):
        records = Records.of(Record(f"forest/forest_{i:07d}.jpg", "forest") for i in range(2 * CHUNK))
        assert records.table.nbytes < 60 * len(records)


class TestFingerprint:
    @pytest.fixture
    def root(self, image_folder):
        return image_folder({"a": 3, "b": 3})

    def of(self, source, *overrides):
        return content_fingerprint(data_config(f"data.source={source}", *overrides))

    def test_it_holds_while_nothing_changes_and_wherever_the_files_lie(self, root, tmp_path):
        before = self.of(root)
        (root / "a/notes.txt").write_text("passed over")
        os.utime(root / "a/a_000.png", (0, 0))
        assert self.of(root) == before
        shutil.copytree(root, tmp_path / "copy")
        assert self.of(tmp_path / "copy") == before

    @pytest.mark.parametrize("change", ["bytes", "name", "label", "gone", "new"])
    def test_it_notices_a_change_of_any_file(self, root, change):
        before = self.of(root)
        file = root / "a/a_001.png"
        if change == "bytes":
            raw = bytearray(file.read_bytes())
            raw[-1] ^= 1
            file.write_bytes(raw)
        elif change == "name":
            file.rename(root / "a/z.png")
        elif change == "label":
            file.rename(root / "b/a_001.png")
        elif change == "gone":
            file.unlink()
        else:
            shutil.copy(file, root / "a/new.png")
        assert self.of(root) != before

    @pytest.mark.parametrize("column", ["label", "split", "group"])
    def test_it_notices_a_change_in_the_table(self, image_table, column):
        columns = {"label": ["a", "b", "a", "b"], "split": ["train"] * 4, "group": ["g"] * 4}
        table = image_table(columns)
        before = self.of(table)
        frame = pd.read_csv(table)
        frame.loc[1, column] = "a" if column == "label" else "test"
        frame.to_csv(table, index=False)
        assert self.of(table) != before

    def test_it_is_the_digest_of_all_rows_with_their_bytes(self, image_table):
        table = image_table({"label": ["b", "a"], "split": ["train", None], "group": [None, "g"]})
        data = data_config(f"data.source={table}")
        rows = [["images/0001.png", "a", None, "g"], ["images/0000.png", "b", "train", None]]
        for row in rows:
            row.append(hashlib.sha256((table.parent / row[0]).read_bytes()).hexdigest())
        assert content_fingerprint(data) == fingerprint_of(data, "table", digest(rows))

    def test_the_order_of_a_table_does_not_matter(self, image_table):
        table = image_table({"label": ["a", "b", "a", "b"]})
        before = self.of(table)
        pd.read_csv(table).iloc[::-1].to_csv(table, index=False)
        assert self.of(table) == before

    def test_it_notices_settings_that_shape_the_store_only(self, root):
        before = self.of(root)
        assert self.of(root, "data.patch_size=32") != before
        for other in ("data.budget=3", "data.split.seed=5", "data.max_unreadable=0.5", "data.synthetic.seed=4"):
            assert self.of(root, other) == before

    def test_generated_patches_are_known_by_their_settings(self):
        before = self.of("synthetic")
        assert self.of("synthetic") == before
        assert self.of("synthetic", "data.synthetic.patches=1205") == before  # rounds down to the same 1,200
        for change in ("seed=1", "difficulty=0.6", "size=32", "patches=1206"):
            assert self.of("synthetic", f"data.synthetic.{change}") != before

    def test_a_source_that_cannot_be_used_has_none(self, tmp_path):
        with pytest.raises(DataError):
            self.of(tmp_path / "gone")
