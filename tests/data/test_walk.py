"""The one walk: training and prediction see the same files, system folders are none of them, and nothing vanishes."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_sources import data_config, random_pixels, refused

from landsift.config import SplitConfig
from landsift.data.checks.check import check_data
from landsift.data.sources.base import content_fingerprint, open_source
from landsift.data.sources.folder import read_folder
from landsift.data.store.patch_store import build_store
from landsift.data.unlabelled.listing import image_files

SYSTEM = [
    "$RECYCLE.BIN/S-1-5-21", "$Recycle.Bin", "RECYCLER", "System Volume Information", "FOUND.000", "MSOCache",
    "lost+found", "__MACOSX/Forest", "@eaDir/a.jpg", "@Recycle", "#recycle", "Network Trash Folder",
    ".Trash-1000/files", ".git", ".ipynb_checkpoints", ".thumbnails", ".Spotlight-V100", "LOST.DIR",
    "__pycache__", "~snapshot",
]  # fmt: skip


@pytest.fixture
def root(tmp_path):
    """Two classes of three images."""
    for k, name in enumerate(("Forest", "Water")):
        (tmp_path / "patches" / name).mkdir(parents=True)
        for i in range(3):
            save(tmp_path / "patches" / name / f"{i}.png", 10 * k + i)
    return tmp_path / "patches"


def save(file: Path, seed: int, kind: str = "PNG") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random_pixels(seed, (8, 8))).save(file, kind)


def seen_by_both(root: Path) -> list[str]:
    """The files below a folder of class folders, as training lists them, and as prediction does."""
    trained = sorted(record.path for record in read_folder(root)[0])
    assert sorted(file.relative_to(root).as_posix() for file in image_files([root])[0]) == trained
    return trained


SIX = [f"{name}/{i}.png" for name in ("Forest", "Water") for i in range(3)]


class TestPassedOver:
    @pytest.mark.parametrize("name", SYSTEM)
    def test_folders_of_the_system_are_no_classes_and_hold_no_patches(self, root, name):
        for place in (root, root / "Forest", root / "Water/2020"):
            save(place / name / "a.jpg", 99, "JPEG")
        (root / "Water/2020/x").mkdir()
        assert seen_by_both(root) == SIX
        assert read_folder(root)[0].classes == ("Forest", "Water")

    def test_they_need_not_be_readable(self, root):
        (root / "lost+found").mkdir(mode=0)
        (root / "System Volume Information").mkdir(mode=0)
        assert seen_by_both(root) == SIX

    def test_classes_with_such_words_in_their_names_stay(self, root):
        for name in ("Trash", "lost", "recycled paper", "System", "$5", "@home", "found.1"):
            save(root / name / "a.png", 7)
        assert len(read_folder(root)[0].classes) == 9

    def test_side_files_are_passed_over_without_a_word(self, root, caplog):
        for name in (
            "Thumbs.db",
            "desktop.ini",
            "0.tif.aux.xml",
            "0.tfw",
            "notes.txt",
            "labels.csv",
            "LICENSE",
            "._0.png",
        ):
            (root / "Forest" / name).write_bytes(b"x")
        with caplog.at_level("INFO"):
            assert seen_by_both(root) == SIX
        assert read_folder(root)[1] == []
        assert caplog.text == ""


class TestLinks:
    def test_a_linked_folder_is_read_by_both(self, root, tmp_path):
        save(tmp_path / "elsewhere/x.png", 50)
        (root / "Forest/more").symlink_to(tmp_path / "elsewhere")
        assert seen_by_both(root) == sorted([*SIX, "Forest/more/x.png"])

    def test_a_linked_class_and_a_linked_root_are_read(self, root, tmp_path):
        save(tmp_path / "elsewhere/x.png", 50)
        (root / "Urban").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "link").symlink_to(root)
        assert seen_by_both(tmp_path / "link") == sorted([*SIX, "Urban/x.png"])

    def test_circles_end_and_no_file_is_read_twice(self, root, caplog):
        (root / "Forest/up").symlink_to(root)
        (root / "Forest/itself").symlink_to(root / "Forest")
        (root / "Water/2020").mkdir()
        save(root / "Water/2020/x.png", 51)
        (root / "Forest/2020").symlink_to(root / "Water/2020")
        with caplog.at_level("INFO"):
            assert seen_by_both(root) == sorted([*SIX, "Water/2020/x.png"])
        assert f"3 links lead to a folder that is read already; the first: {root}/Forest/2020" in caplog.text

    def test_what_lies_in_a_folder_goes_before_what_a_link_leads_to(self, root):
        """Whichever the system lists first."""
        for k in range(5):
            (root / f"Forest/{k}").symlink_to(root / f"Water/real_{k}")
            save(root / f"Water/real_{k}/x.png", 60 + k)
        assert [p for p in seen_by_both(root) if "x.png" in p] == [f"Water/real_{k}/x.png" for k in range(5)]

    def test_a_second_part_that_is_a_link_to_the_first_is_told(self, root, tmp_path, caplog):
        (tmp_path / "set").mkdir()
        root.rename(tmp_path / "set/train")
        save(tmp_path / "set/test/Forest/x.png", 70)
        save(tmp_path / "set/test/Water/x.png", 71)
        (tmp_path / "set/val").symlink_to(tmp_path / "set/test")
        with caplog.at_level("INFO"):
            assert {record.split for record in read_folder(tmp_path / "set")[0]} == {"train", "test"}
        assert f"1 link leads to a folder that is read already; the first: {tmp_path}/set/val" in caplog.text


class TestEndings:
    def test_what_pillow_reads_safely_is_read(self, root, tmp_path):
        kinds = {".jfif": "JPEG", ".jpe": "JPEG", ".BMP": "BMP", ".webp": "WEBP", ".tiff": "TIFF"}
        for k, (suffix, kind) in enumerate(kinds.items()):
            save(root / f"Forest/x{suffix}", 80 + k, kind)
        store = build_store(data_config(f"data.source={root}"), tmp_path / "store")
        assert (len(store), store.skipped) == (11, [])
        at = store.paths(np.arange(11)).index(f"{root}/Forest/x.BMP")
        np.testing.assert_array_equal(store.images[at], random_pixels(82, (8, 8)))
        assert len(seen_by_both(root)) == 11

    def test_a_lossless_webp_keeps_its_pixels(self, root, tmp_path):
        buffer = io.BytesIO()
        Image.fromarray(random_pixels(3, (8, 8))).save(buffer, "WEBP", lossless=True)
        (root / "Forest/0.webp").write_bytes(buffer.getvalue())
        store = build_store(data_config(f"data.source={root}"), tmp_path / "store")
        at = store.paths(np.arange(7)).index(f"{root}/Forest/0.webp")
        np.testing.assert_array_equal(store.images[at], random_pixels(3, (8, 8)))

    def test_others_are_counted_by_ending_and_kept_among_the_skipped(self, root, tmp_path, caplog):
        for name in ("a.jp2", "b.JP2", "c.npy", "d.gif", "e.heic", "scene", "f.png.part"):
            (root / "Water" / name).write_bytes(b"x")
        store = build_store(data_config(f"data.source={root}"), tmp_path / "store")
        assert len(store) == 6
        reasons = {Path(entry["path"]).name: entry["reason"] for entry in store.skipped}
        assert reasons["b.JP2"] == "files that end in .jp2 are not read"
        assert reasons["scene"] == "files without an ending are not read"
        assert len(reasons) == 7
        assert "7 files are left out by ending (2 .jp2, 1 .gif, 1 .heic, 1 .npy, 1 .part and 1 more)" in caplog.text
        (section,) = (s for s in check_data(store, SplitConfig()).sections if s.name == "patches")
        assert (section.verdict, section.counts["skipped"]) == ("look", 7)
        files, left_out = image_files([root])
        assert len(files) == 6
        assert {Path(entry.path).name for entry in left_out} == reasons.keys()

    def test_a_further_file_that_is_left_out_is_noticed(self, root):
        before = content_fingerprint(data_config(f"data.source={root}"))
        (root / "Water/notes.txt").touch()
        assert content_fingerprint(data_config(f"data.source={root}")) == before
        (root / "Water/x.jp2").touch()
        assert content_fingerprint(data_config(f"data.source={root}")) != before

    def test_an_empty_class_says_what_lies_there(self, root):
        for name in ("a.jp2", "b.jp2", "c.npy", "notes.txt"):
            (root / "Urban").mkdir(exist_ok=True)
            (root / "Urban" / name).touch()
        refused(
            lambda: read_folder(root),
            f"class 'Urban' is empty: no images in {root}/Urban, only files that are not read (2 .jp2, 1 .npy)",
            "such rasters are read where data.sensor or data.bands says which bands they have",
        )

    def test_so_does_a_folder_without_any_image(self, tmp_path):
        for name in ("Forest", "Water"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "a.npy").touch()
        refused(lambda: read_folder(tmp_path), f"{tmp_path}, only files that are not read (2 .npy)")
        refused(lambda: image_files([tmp_path]), "no images in", "only files that are not read (2 .npy)")

    def test_an_archive_is_to_be_unpacked(self, tmp_path):
        (tmp_path / "patches.zip").write_bytes(b"PK\3\4")
        refused(lambda: open_source(data_config(f"data.source={tmp_path}/patches.zip")), "an archive", "unpack it")

    def test_a_name_that_is_not_utf8_among_them_is_escaped(self, root):
        Path(os.fsdecode(os.fsencode(root / "Water") + b"/\xff.jp2")).touch()
        left_out = read_folder(root)[1]
        assert json.loads(json.dumps(left_out)) == [["Water/\\udcff.jp2", "files that end in .jp2 are not read"]]


@pytest.mark.shared
class TestCases:
    def test_endings(self, shared, tmp_path, caplog):
        cases = shared / "cases/folder-endings-passed-over"
        store = build_store(data_config(f"data.source={cases / 'patches'}"), tmp_path / "store")
        assert len(store) + len(store.skipped) == 24
        assert "4 files are left out by ending (4 .jp2)" in caplog.text
        refused(lambda: read_folder(cases / "one_class_jp2"), "class 'Highway' is empty", "3 .jp2")

    def test_system_folders(self, shared, tmp_path):
        for drive in ("drive", "drive2"):
            root = tmp_path / drive
            copy(shared / "cases/system-folders-as-classes" / drive, root)
            (root / "lost+found").mkdir()
            assert read_folder(root)[0].classes == ("Forest", "Highway")
            assert not [path for path in seen_by_both(root) if "THUMB" in path or "$" in path]

    def test_prediction(self, shared, tmp_path):
        cases = shared / "cases/predict-folder-walk"
        assert [file.name for file in image_files([cases / "new"])[0]] == ["a.jpg", "b.JPG"]
        (tmp_path / "linked").mkdir()
        (tmp_path / "linked/real").symlink_to(cases / "real")
        assert [file.name for file in image_files([tmp_path / "linked"])[0]] == ["a.jpg"]


def copy(source: Path, target: Path) -> None:
    for file in source.rglob("*"):
        if file.is_file():
            (target / file.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (target / file.relative_to(source)).write_bytes(file.read_bytes())
