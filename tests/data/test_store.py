"""A store is built once, whole or not at all, with what could not be read listed."""

import json
import logging
import os
import pickle
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from small_sources import data_config, random_pixels, refused

from landsift.data.checks.check import check_data
from landsift.data.sources.base import content_fingerprint
from landsift.data.sources.records import Record, Records
from landsift.data.splits import make_split
from landsift.data.store.index import read_column, read_contents, write_index
from landsift.data.store.patch_store import PatchStore, build_store
from landsift.data.store.writer import Decoded, PatchWriter
from landsift.runtime.parallel import cores, map_rows


@pytest.fixture
def store_at(tmp_path):
    return tmp_path / "store"


def build(source, folder, *overrides) -> PatchStore:
    return build_store(data_config(f"data.source={source}", *overrides), folder)


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if "partial" in p.name]


def test_the_store_holds_every_pixel_with_its_label_and_path(image_folder, store_at):
    root = image_folder({"b": 3, "a": 4})
    store = build(root, store_at)
    assert store.images.shape == (7, 16, 16, 3)
    assert store.images.dtype == np.uint8
    assert isinstance(store.images, np.memmap)
    assert store.classes == ("a", "b")
    assert store.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert store.labels.dtype == np.int64
    assert store.labels.flags.writeable
    assert store.index["path"].tolist() == sorted(str(p) for p in root.rglob("*.png"))
    for row, path in enumerate(store.index["path"]):
        np.testing.assert_array_equal(store.images[row], np.asarray(Image.open(path)))
    assert store.index["group"].tolist() == store.index["split"].tolist() == [None] * 7
    assert store.fingerprint == content_fingerprint(data_config(f"data.source={root}"))
    assert len(store) == 7
    assert store.skipped == []
    assert store.info == {
        "source": "folder", "root": str(root), "resized": 0, "squeezed": 0, "duplicates": 0, "notes": {},
    }  # fmt: skip


def test_statistics_are_those_of_all_pixels(image_folder, store_at):
    store = build(image_folder({"a": 20, "b": 30}), store_at)
    pixels = np.asarray(store.images).reshape(-1, 3) / 255
    np.testing.assert_allclose(store.mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(store.std, pixels.std(axis=0), rtol=1e-9)


def test_building_twice_gives_the_same_bytes(image_folder, tmp_path):
    root = image_folder({"a": 90, "b": 90})
    build(root, tmp_path / "one")
    build(root, tmp_path / "two")
    for name in ("images.npy", "index.parquet", "store.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_table_brings_its_splits_and_groups(image_table, store_at):
    table = image_table({"label": ["a", "b", "b"], "split": ["train", "val", None], "group": [None, "g", "h"]})
    store = build(table, store_at)
    assert store.index["split"].tolist() == ["train", "val", None]
    assert store.index["group"].tolist() == [None, "g", "h"]


def test_equal_pixels_have_equal_hashes_whatever_the_file(image_folder, store_at, caplog):
    root = image_folder({"a": 3, "b": 3})
    pixels = Image.open(root / "a/a_000.png")
    pixels.save(root / "b/copy.tif")
    with caplog.at_level(logging.INFO, "landsift"):
        store = build(root, store_at)
    hashes = store.index.set_index("path")["sha256"]
    assert hashes[f"{root}/a/a_000.png"] == hashes[f"{root}/b/copy.tif"]
    assert hashes.nunique() == 6
    assert store.info["duplicates"] == 1
    assert "conflicting labels: 1 images are in more than one class" in caplog.text


def test_columns_are_those_of_the_index(image_table, store_at):
    table = image_table(
        {"label": ["a", "b", "b", "a"], "split": ["train", "val", None, "x"], "group": [None, "g", "h", "g"]},
        images=[0, 1, 0, 2],
    )
    store = build(table, store_at)
    assert store.index[["lon", "lat"]].isna().all(axis=None)
    for name in store.index.columns.drop(["lon", "lat"]):
        column = store.column(name).astype(object)
        assert column.where(column.notna(), None).tolist() == store.index[name].tolist()
    assert store.labels.tolist() == store.index["label"].tolist()
    assert store.paths(np.array([2, 0])) == store.index["path"][[2, 0]].tolist()
    assert store.contents().tolist() == pd.factorize(store.index["sha256"])[0].tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("kind", ["column", "group"])
def test_a_store_is_divided_by_its_table_with_copies_on_one_side(tmp_path, store_at, kind):
    """Thirty patches in two classes and ten groups; where groups decide, two of them share a patch's pixels."""
    rows = []
    for i in range(30):
        Image.fromarray(random_pixels(i if i != 29 else 0)).save(tmp_path / f"{i}.png")
        part = "train" if i in {0, 29} else ("train", "val", "test")[i % 3]
        rows.append({"path": f"{i}.png", "label": "ab"[i % 2], "group": f"g{i % 10}", "split": part})
    rows[29]["label"] = "a"
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    store = build(tmp_path / "t.csv", store_at, f"data.split.kind={kind}", "data.split.fractions=[0.4, 0.3, 0.3]")
    split = make_split(store, data_config(f"data.split.kind={kind}", "data.split.fractions=[0.4, 0.3, 0.3]").split)
    part_of = {
        Path(store.index["path"][row]).name: name for name in ("train", "val", "test") for row in getattr(split, name)
    }
    assert len(part_of) == 30
    assert part_of["0.png"] == part_of["29.png"]
    if kind == "column":
        assert all(part_of[row["path"]] == row["split"] for row in rows)
    else:
        sides = {}
        for row in rows:
            sides.setdefault(row["group"], set()).add(part_of[row["path"]])
        assert all(len(found) == 1 for found in sides.values())
        assert sides["g0"] == sides["g9"]


def test_a_store_below_a_folder_whose_name_is_not_utf8(image_folder, tmp_path):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    store = build(image_folder({"a": 3, "b": 3}), odd / "store")
    assert PatchStore.open(store.folder).labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert store.contents().tolist() == list(range(6))


def test_splitting_does_not_load_the_index(image_folder, store_at):
    build(image_folder({"a": 5, "b": 5}), store_at)
    store = PatchStore.open(store_at)
    make_split(store, data_config().split, budget=4)
    assert store.labels.sum() == 5
    assert "index" not in vars(store)


def test_an_index_written_in_pieces_reads_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr("landsift.data.store.index._CHUNK", 10)
    records = Records.of(Record(f"{i}.png", f"class{i % 3}", group=f"g{i % 4}") for i in range(37))
    rows = np.arange(1, 37, 2)
    hashes = np.random.default_rng(0).integers(0, 256, (4, 32), dtype=np.uint8)[np.arange(len(rows)) % 4]
    write_index(tmp_path / "index.parquet", records, rows, hashes)
    read = pd.read_parquet(tmp_path / "index.parquet")
    assert read["path"].tolist() == [f"{i}.png" for i in rows]
    assert read["label"].tolist() == (rows % 3).tolist()
    assert read["sha256"].tolist() == [h.tobytes().hex() for h in hashes]
    assert read_column(tmp_path / "index.parquet", "group").to_pylist() == [f"g{i % 4}" for i in rows]
    assert read_column(tmp_path / "index.parquet", "split").null_count == len(rows)
    assert read_contents(tmp_path / "index.parquet").tolist() == (np.arange(len(rows)) % 4).tolist()


class TestSizes:
    @pytest.fixture
    def sized(self, tmp_path, caplog):
        """Write a folder of two classes with images of the given sizes by turns, and listen to what is said."""
        caplog.set_level(logging.INFO, "landsift")

        def write(sizes: list[tuple[int, int]]) -> Path:
            for number, size in enumerate(sizes):
                file = tmp_path / "sized" / "ab"[number % 2] / f"{number:02d}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(random_pixels(number, size)).save(file)
            return tmp_path / "sized"

        return write

    def test_the_most_common_size_is_kept_and_others_are_resized_with_a_notice(self, image_folder, store_at, caplog):
        root = image_folder({"a": 5, "b": 5}, size=(12, 16))
        Image.fromarray(random_pixels(1, (40, 40))).save(root / "a/large.png")
        Image.fromarray(random_pixels(2, (5, 7))).save(root / "b/small.png")
        with caplog.at_level(logging.INFO, "landsift"):
            store = build(root, store_at)
        assert store.images.shape == (12, 12, 16, 3)
        assert "2 of 12 patches were resized to 12 × 16 pixels" in caplog.text

    def test_a_configured_size_holds_for_all(self, image_folder, store_at):
        store = build(image_folder({"a": 3, "b": 3}), store_at, "data.patch_size=8")
        assert store.images.shape == (6, 8, 8, 3)
        assert store.info["resized"] == 6

    def test_of_equally_common_sizes_the_largest_is_kept(self, image_folder, store_at):
        root = image_folder({"a": 2, "b": 1})
        for i in range(3):
            Image.fromarray(random_pixels(i + 50, (20, 20))).save(root / f"b/x{i}.png")
        assert build(root, store_at).images.shape[1:3] == (20, 20)

    def test_where_every_file_has_a_size_of_its_own_the_size_is_chosen_with_a_reason(self, sized, store_at, caplog):
        sizes = [(30 + i, 90 - i) for i in range(16)]
        store = build(sized([*sizes, (12, 400)]), store_at)
        assert store.images.shape == (17, 37, 37, 3)
        said = next(r for r in caplog.records if "no size is common" in r.message)
        assert said.levelname == "WARNING"
        assert "17 files have 17 sizes" in said.message
        assert "all are stored at 37 × 37 pixels, the median of their shorter sides" in said.message
        assert "data.patch_size" in said.message

    def test_a_few_strips_do_not_decide_the_size_of_all(self, sized, store_at, caplog):
        store = build(sized([*[(40 + i, 41 + i) for i in range(9)], *[(12, 400)] * 3]), store_at)
        assert store.images.shape[1:3] == (42, 42)
        assert "the most common of them 12 × 400 with 3" in caplog.text

    def test_a_size_of_half_of_the_files_is_that_of_all(self, sized, store_at, caplog):
        assert build(sized([(20, 24)] * 5 + [(30 + i, 30) for i in range(5)]), store_at).images.shape[1:3] == (20, 24)
        assert "no size is common" not in caplog.text

    def test_what_is_squeezed_out_of_its_shape_is_said_and_kept(self, sized, store_at, caplog):
        root = sized([(32, 32)] * 8 + [(32, 60), (32, 70), (12, 400)])
        store = build(root, store_at)
        assert store.info["squeezed"] == 2
        said = next(r.message for r in caplog.records if "squeezed" in r.message)
        assert said.startswith("2 of 11 patches are squeezed")
        assert f"the first: {root}/a/10.png (12 × 400)" in said
        patches = check_data(store, data_config().split).sections[0]
        assert (patches.verdict, patches.counts["squeezed"]) == ("look", 2)
        assert "3 were resized to that, 2 of them with a changed aspect ratio" in patches.text

    def test_strips_that_networks_squeeze_are_said(self, sized, store_at, caplog):
        build(sized([(12, 400)] * 6), store_at)
        assert "patches are of 12 × 400 pixels: networks see squares, and they are squeezed into them" in caplog.text

    def test_a_scene_among_patches_is_said_unless_the_size_was_chosen(self, sized, store_at, caplog):
        root = sized([(32, 32)] * 8 + [(300, 280)])
        build(root, store_at)
        said = next(r.message for r in caplog.records if "more than one patch" in r.message)
        assert said.startswith("1 of 9 files hold more than one patch of 32 × 32 pixels")
        assert f"{root}/a/08.png (300 × 280)" in said
        caplog.clear()
        build(root, store_at.with_name("chosen"), "data.patch_size=16")
        assert "more than one patch" not in caplog.text
        assert "9 of 9 patches were resized to 16 × 16 pixels, from sizes between 32 × 32 and 300 × 280" in caplog.text


class TestUnreadable:
    @pytest.fixture
    def root(self, image_folder):
        root = image_folder({"a": 60, "b": 60})
        (root / "a/broken.png").write_bytes((root / "a/a_000.png").read_bytes()[:300])
        (root / "b/text.jpg").write_text("no image")
        (root / "b/dangling.png").symlink_to(root / "gone")
        return root

    def test_files_that_cannot_be_read_are_listed_and_left_out(self, root, store_at, caplog):
        store = build(root, store_at, "data.max_unreadable=0.03")
        assert len(store) == 120
        reasons = {Path(s["path"]).relative_to(root).as_posix(): s["reason"] for s in store.skipped}
        assert reasons.keys() == {"a/broken.png", "b/text.jpg", "b/dangling.png"}
        assert reasons["b/text.jpg"] == "not a JPEG, PNG, TIFF, BMP or WebP image"
        assert reasons["b/dangling.png"] == "the file does not exist"
        assert "truncated" in reasons["a/broken.png"]
        assert f"left out {root}/b/text.jpg: not a JPEG, PNG, TIFF, BMP or WebP image; convert them" in caplog.text
        assert PatchStore.open(store_at).skipped == store.skipped

    def test_past_the_limit_the_build_stops_and_leaves_nothing(self, root, store_at):
        refused(
            lambda: build(root, store_at),
            "2 of 123 files cannot be decoded, more than data.max_unreadable=0.01 allows",
            root / "b",
            "raise data.max_unreadable",
        )
        assert not store_at.exists()
        assert not leftovers(store_at.parent)

    def test_the_limit_itself_is_allowed(self, image_folder, store_at):
        root = image_folder({"a": 50, "b": 49})
        (root / "b/text.png").write_text("no image")
        assert len(build(root, store_at).skipped) == 1

    def test_a_class_of_which_nothing_can_be_read_is_named(self, image_folder, store_at):
        root = image_folder({"a": 5, "b": 5})
        (root / "c").mkdir()
        (root / "c/text.png").write_text("no image")
        refused(lambda: build(root, store_at, "data.max_unreadable=0.5"), "class 'c' is empty", "none of its 1 files")
        assert not store_at.exists()

    def test_nothing_readable_at_all_is_an_error(self, image_table, store_at):
        table = image_table({"label": ["a", "b"]})
        for image in (table.parent / "images").iterdir():
            image.write_text("no image")
        refused(lambda: build(table, store_at, "data.max_unreadable=1"), "none of the 2 files", "not a JPEG")

    def test_paths_of_a_table_that_are_missing_are_named(self, image_table, store_at):
        table = image_table({"label": ["a", "b"] * 4})
        (table.parent / "images/0003.png").unlink()
        refused(lambda: build(table, store_at), table.parent / "images/0003.png", "the file does not exist")


def test_one_class_is_refused(image_table, store_at):
    refused(lambda: build(image_table({"label": ["only"] * 5}), store_at), "one class only: 'only'")


class TestReuse:
    def test_a_second_build_opens_the_first(self, image_folder, store_at):
        root = image_folder({"a": 3, "b": 3})
        build(root, store_at)
        written = (store_at / "images.npy").stat().st_mtime_ns
        build(root, store_at)
        assert (store_at / "images.npy").stat().st_mtime_ns == written

    def test_opening_reads_neither_pixels_nor_index(self, store_at):
        build("synthetic", store_at, "data.synthetic.size=8")
        store = PatchStore.open(store_at)
        assert isinstance(store.images, np.memmap)
        assert "index" not in vars(store)

    def test_a_store_of_other_content_is_refused_not_returned(self, image_folder, store_at):
        root = image_folder({"a": 3, "b": 3})
        build(root, store_at)
        Image.fromarray(random_pixels(99)).save(root / "a/new.png")
        refused(lambda: build(root, store_at), store_at, "other patches or settings")

    def test_paths_follow_a_folder_that_has_moved(self, image_folder, store_at, tmp_path):
        root = image_folder({"a": 3, "b": 3})
        build(root, store_at)
        root.rename(tmp_path / "moved")
        store = build(tmp_path / "moved", store_at)
        assert all(Path(p).is_file() for p in store.index["path"])
        assert PatchStore.open(store_at).index["path"].tolist() == store.index["path"].tolist()

    def test_builders_at_once_all_end_well(self, image_folder, store_at):
        root = image_folder({"a": 20, "b": 20})
        barrier, results = threading.Barrier(4), []

        def builder():
            barrier.wait()
            results.append(build(root, store_at))

        workers = [threading.Thread(target=builder) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert len(results) == 4
        assert all(len(store.index) == 40 for store in results)
        assert not leftovers(store_at.parent)

    def test_a_store_crosses_to_a_worker_process_as_a_path(self, image_folder, store_at):
        store = build(image_folder({"a": 3, "b": 3}), store_at)
        sent = pickle.dumps(store)
        assert len(sent) < 500
        assert isinstance(pickle.loads(sent).images, np.memmap)


class TestFolders:
    def test_a_folder_with_something_else_is_left_alone(self, image_folder, store_at):
        root = image_folder({"a": 3, "b": 3})
        store_at.mkdir()
        (store_at / "thesis.tex").write_text("precious")
        refused(lambda: build(root, store_at), store_at, "not empty")
        assert [p.name for p in store_at.iterdir()] == ["thesis.tex"]

    def test_an_empty_folder_becomes_the_store(self, image_folder, store_at):
        store_at.mkdir()
        assert len(build(image_folder({"a": 3, "b": 3}), store_at)) == 6

    def test_a_folder_that_cannot_be_written_is_named(self, image_folder, tmp_path):
        root = image_folder({"a": 3, "b": 3})
        (tmp_path / "file").write_text("x")
        refused(lambda: build(root, tmp_path / "file"), tmp_path / "file", "is a file")
        refused(lambda: build(root, tmp_path / "file/store"), tmp_path / "file/store", "cannot write")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_folder_without_rights_is_named_before_anything_is_read(self, tmp_path):
        (tmp_path / "locked").mkdir(mode=0o500)
        refused(lambda: build("synthetic", tmp_path / "locked/store"), "locked", "no right to write")


class TestDamage:
    @pytest.fixture
    def store(self, image_folder, store_at):
        return build(image_folder({"a": 3, "b": 3}), store_at)

    def test_no_store_is_an_error_that_names_the_place(self, tmp_path):
        refused(lambda: PatchStore.open(tmp_path / "gone"), tmp_path / "gone", "does not exist")
        refused(lambda: PatchStore.open(tmp_path), tmp_path, "has no store.json")

    @pytest.mark.parametrize("name", ["images.npy", "index.parquet", "store.json"])
    @pytest.mark.parametrize("damage", ["cut", "emptied", "gone"])
    def test_a_damaged_file_is_noticed_on_opening(self, store, name, damage):
        file = store.folder / name
        if damage == "gone":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if damage == "cut" else b"")
        text = refused(lambda: PatchStore.open(store.folder), store.folder)
        assert "damaged" in text or "no patch store" in text

    def test_scrambled_contents_are_noticed(self, store):
        index = store.folder / "index.parquet"
        index.write_bytes(bytes(index.stat().st_size))
        opened = PatchStore.open(store.folder)
        for use in (lambda: opened.index, lambda: opened.labels, opened.contents, lambda: opened.paths(np.arange(2))):
            refused(use, store.folder, "damaged")

    @pytest.mark.parametrize("key", ["format", "classes", "fingerprint", "mean", "info", "shape"])
    def test_missing_facts_are_noticed(self, store, key):
        meta = json.loads((store.folder / "store.json").read_text())
        del meta[key]
        (store.folder / "store.json").write_text(json.dumps(meta))
        refused(lambda: PatchStore.open(store.folder), store.folder, "damaged")

    def test_another_format_is_noticed(self, store):
        meta = json.loads((store.folder / "store.json").read_text())
        (store.folder / "store.json").write_text(json.dumps(meta | {"format": 99}))
        refused(lambda: PatchStore.open(store.folder), "format 99")


def test_writing_needs_the_memory_of_one_patch(tmp_path):
    shape = (128, 128, 3)
    tracemalloc.start()
    with PatchWriter(tmp_path / "images.npy", shape) as writer:
        for i in range(200):
            writer.append(Decoded.of(np.full(shape, i, dtype=np.uint8)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20 < 200 * 128 * 128 * 3  # bytes
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert images.shape == (200, *shape)
    assert images[:, 5, 5, 1].tolist() == list(range(200))


def test_work_runs_a_bounded_number_of_rows_ahead():
    started = []
    results = map_rows(lambda row: started.append(row) or row, range(10_000), chunk=4)
    assert [next(results) for _ in range(10)] == list(range(10))
    assert len(started) <= 4 * (2 * cores() + 3)
    assert sum(1 for _ in results) == 9990


def test_split_and_store_work_together_on_generated_patches(store_at):
    store = build("synthetic", store_at, "data.synthetic.size=8")
    split = make_split(store, data_config().split, budget=100)
    assert (len(split.train), len(split.val), len(split.test)) == (100, 240, 240)
    assert store.info["source"] == "synthetic"
    assert store.index["path"][0] == "barren/barren_000000.png"
    assert isinstance(store.index, pd.DataFrame)


@pytest.mark.shared
def test_real_geotiffs_of_16_bits_are_refused_with_the_reason(shared, store_at):
    text = refused(
        lambda: build(shared / "data/eurosat_ms", store_at), "files cannot be decoded", "13 bands of 16 bits"
    )
    assert "8-bit" in text
