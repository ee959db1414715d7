"""Folders with everything in them that a file system allows: named, passed over, never a hang."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from small_sources import data_config, random_pixels, refused

from landsift.data.sources.base import open_source
from landsift.data.store.patch_store import PatchStore, build_store
from landsift.errors import DataError, plain

NAMES = [
    "with space.png",
    "quote's\".png",
    "line\nbreak.png",
    "\x1b[31mred.png",
    "ü" * 120 + ".png",
    "-o.png",
    "%s{}.png",
]


@pytest.fixture
def folder(image_folder):
    return image_folder({"a": 2, "b": 2}, size=(8, 8))


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_of_files_and_classes_are_kept(folder, name):
    Image.fromarray(random_pixels(9, (8, 8))).save(folder / "a" / name)
    (folder / "b").rename(folder / name.removesuffix(".png"))
    store = build_store(data_config(f"data.source={folder}"), folder.parent / "store")
    assert f"{folder}/a/{name}" in set(store.column("path"))
    assert store.classes == tuple(sorted(["a", name.removesuffix(".png")]))


def test_an_error_stays_on_its_line_whatever_the_name_holds(folder):
    (folder / "a/line\nbreak\x1b[31m.png").write_text("x")
    text = refused(
        lambda: build_store(data_config(f"data.source={folder}"), folder.parent / "s"), "line\\nbreak\\x1b[31m"
    )
    assert text.replace("\n", "").isprintable()


def test_what_cannot_be_printed_is_escaped_and_the_rest_left_alone():
    assert plain("Größe 3 × 4") == "Größe 3 × 4"
    assert plain("a\nb\udcff") == "a\\nb\\udcff"
    assert str(DataError("a\nb", "c\td")) == "a\\nb\nc\\td"


def test_a_store_may_lie_where_the_name_is_not_utf8_and_is_printed(folder):
    """Printing it ended in a traceback."""
    out = os.fsencode(folder.parent) + b"/\xffstore"
    for option in ([], ["--json"]):
        command = [sys.executable, "-m", "landsift", "data", "build", folder, "--out", out, *option]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "udcff" in done.stdout


def test_a_source_whose_name_is_not_utf8_is_refused_before_the_work(folder):
    """The store was built; reading its paths ended in a traceback."""
    source = folder.parent / os.fsdecode(b"\xff")
    folder.rename(source)
    refused(lambda: open_source(data_config(f"data.source={json.dumps(str(source))}")), "not valid UTF-8", "rename it")


def test_links_pipes_sockets_and_folders_called_images_are_named_or_passed_over(folder):
    (folder / "loop").symlink_to("loop")  # was an error that blamed the folder's rights
    (folder / "a/loop.png").symlink_to("loop.png")
    (folder / "a/dangling.png").symlink_to("gone.png")
    (folder / "a/folder.png").mkdir()
    os.mkfifo(folder / "a/pipe.png")
    (folder / "a/null.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(folder / "b/socket.png"))
        store = build_store(data_config(f"data.source={folder}", "data.max_unreadable=1"), folder.parent / "store")
    assert len(store) == 4
    reasons = {Path(s["path"]).name: s["reason"] for s in store.skipped}
    assert set(reasons) == {"loop.png", "dangling.png", "pipe.png", "null.png", "socket.png"}
    assert all(reasons.values())
    assert reasons["pipe.png"] == reasons["null.png"] == reasons["socket.png"] == "not a regular file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read_are_named(folder):
    (folder / "a/a_000.png").chmod(0)
    refused(lambda: build_store(data_config(f"data.source={folder}"), folder.parent / "s"), "permission denied")


def test_a_folder_deeper_than_paths_may_be_long_is_an_error(folder):
    here = Path.cwd()
    os.chdir(folder / "a")
    try:
        for _ in range(25):
            Path("d" * 200).mkdir()
            os.chdir("d" * 200)
    finally:
        os.chdir(here)
    refused(lambda: open_source(data_config(f"data.source={folder}")), "file name too long")


def test_a_table_that_is_a_named_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    refused(lambda: open_source(data_config(f"data.source={tmp_path / 't.csv'}")), "neither a folder nor")


class TestStore:
    """What a store's files may hold when it is opened; found by fuzzing."""

    @pytest.fixture
    def store(self, folder):
        return build_store(data_config(f"data.source={folder}"), folder.parent / "store").folder

    @pytest.mark.parametrize(
        "change",
        [
            {"info": {}},
            {"info": {"root": 3}},
            {"info": []},
            {"classes": [1, 2]},
            {"mean": [0.5]},
            {"fingerprint": None},
        ],
        ids=str,
    )
    def test_a_description_with_other_values_is_damaged(self, store, change):
        meta = json.loads((store / "store.json").read_text())
        (store / "store.json").write_text(json.dumps(meta | change))
        refused(lambda: PatchStore.open(store), "damaged", "built again")

    def replace(self, store, name, values):
        table = parquet.read_table(store / "index.parquet")
        at = table.column_names.index(name)
        parquet.write_table(table.set_column(at, name, values), store / "index.parquet")
        meta = json.loads((store / "store.json").read_text())
        size = (store / "index.parquet").stat().st_size
        (store / "store.json").write_text(json.dumps(meta | {"index_bytes": size}))
        return PatchStore.open(store)

    def test_paths_that_are_no_text_are_damage(self, store):
        """They ended in a traceback."""
        offsets, data = pa.py_buffer(np.arange(5, dtype=np.int32)), pa.py_buffer(b"\xff\xfe\xff\xfe")
        broken = pa.Array.from_buffers(pa.string(), 4, [None, offsets, data])
        for values in (broken, pa.array([1, 2, 3, 4]), pa.array(["a", None, "b", "c"])):
            opened = self.replace(store, "path", values)
            refused(lambda opened=opened: opened.index, "damaged")
            refused(lambda opened=opened: opened.paths(np.arange(4)), "damaged")

    def test_labels_of_no_class_are_damage(self, store):
        """They were trained on in silence."""
        for values in ([0, 0, 1, 2], [0, 0, 1, -2], [0.0, 0.0, 1.0, 1.0], [0, 0, 1, None]):
            opened = self.replace(store, "label", pa.array(values))
            refused(lambda opened=opened: opened.labels, "damaged")
