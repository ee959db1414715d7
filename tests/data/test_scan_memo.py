"""Files that did not change are not read again, and one that changed in any way is."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from landsift.config import DataConfig, cache_folder
from landsift.data.sources import scan_memo, scanning, source
from landsift.data.sources.base import content_fingerprint
from landsift.data.store.patch_store import build_store


@pytest.fixture
def patches(tmp_path) -> Path:
    """Two classes of four patches, written a while ago."""
    for label, level in (("field", 60), ("water", 180)):
        (tmp_path / "patches" / label).mkdir(parents=True)
        for i in range(4):
            write(tmp_path / "patches" / label / f"{i}.bmp", level + i)
    return tmp_path / "patches"


def write(file: Path, level: int) -> None:
    """An image of one level; its size in bytes does not depend on it."""
    Image.fromarray(np.full((16, 16, 3), level, np.uint8)).save(file)


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """Names of the files that were read."""
    names: list[str] = []

    def noting(path: Path) -> bytes:
        names.append(path.name)
        return path.read_bytes()

    monkeypatch.setattr(source, "read_bytes", noting)
    return names


@pytest.fixture(autouse=True)
def _later(monkeypatch):
    """As if everything had been written ten seconds ago."""
    now = time.time_ns

    class Clock:
        @staticmethod
        def time_ns() -> int:
            return now() + 10**10

    monkeypatch.setattr(scan_memo, "time", Clock)


def fingerprint(patches: Path) -> str:
    return content_fingerprint(DataConfig(source=str(patches)))


def memo() -> Path:
    (file,) = (cache_folder() / scan_memo.FOLDER).iterdir()
    return file


def test_files_that_did_not_change_are_not_read_again(patches, read):
    first = fingerprint(patches)
    assert len(read) == 8
    read.clear()
    assert fingerprint(patches) == first
    assert read == []


def test_a_memo_changes_no_store(patches, tmp_path):
    data = DataConfig(source=str(patches))
    one = build_store(data, tmp_path / "one")
    two = build_store(data, tmp_path / "two")
    assert (one.fingerprint, list(one.index["sha256"])) == (two.fingerprint, list(two.index["sha256"]))
    assert np.array_equal(one.images, two.images)


def edited(file: Path) -> None:
    write(file, 7)


def edited_with_its_time_put_back(file: Path) -> None:
    """As rsync and archives do; the size is the same as well."""
    before = file.stat()
    edited(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(file: Path) -> None:
    """By another file of the same size and time, under the same name."""
    before = file.stat()
    write(file.with_name("new.bmp"), 7)
    os.utime(file.with_name("new.bmp"), ns=(before.st_atime_ns, before.st_mtime_ns))
    file.with_name("new.bmp").rename(file)


@pytest.mark.parametrize("change", [edited, edited_with_its_time_put_back, replaced])
def test_a_file_that_changed_is_read(patches, read, change):
    first = fingerprint(patches)
    change(patches / "water" / "2.bmp")
    read.clear()
    assert fingerprint(patches) != first
    assert read == ["2.bmp"]


def test_what_is_added_is_read_alone_and_what_is_gone_is_forgotten(patches, read):
    fingerprint(patches)
    write(patches / "water" / "9.bmp", 9)
    (patches / "field" / "0.bmp").unlink()
    read.clear()
    second = fingerprint(patches)
    assert read == ["9.bmp"]
    read.clear()
    assert fingerprint(patches) == second
    assert read == []
    assert len(np.load(memo())["rows"]) == 8


def test_a_file_of_the_last_moment_is_read_again(patches, read, monkeypatch):
    """It could be changed once more, within one tick of the file system's clock."""
    monkeypatch.setattr(scan_memo, "time", time)
    first = fingerprint(patches)
    read.clear()
    assert fingerprint(patches) == first
    assert len(read) == 8


def damaged(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:200])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def something_else(file: Path) -> None:
    with file.open("wb") as written:
        np.savez(written, rows=np.zeros(3), about=np.array("{}"))


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("what", [damaged, cut, emptied, something_else, a_folder])
def test_a_damaged_memo_is_passed_over(patches, read, what):
    first = fingerprint(patches)
    what(memo())
    read.clear()
    assert fingerprint(patches) == first
    assert len(read) == 8


def test_other_code_that_reads_headers_reads_them_again(patches, read, monkeypatch):
    first = fingerprint(patches)
    monkeypatch.setattr(scanning, "code_of_scans", lambda: "another")
    read.clear()
    assert fingerprint(patches) == first
    assert len(read) == 8


def test_files_that_cannot_be_read_are_read_every_time(patches, read):
    """Whoever mends the rights of a file changes neither its size nor its time."""
    (patches / "water" / "broken.bmp").write_bytes(b"no image")
    fingerprint(patches)
    read.clear()
    fingerprint(patches)
    assert read == ["broken.bmp"]


def test_a_folder_that_cannot_be_written_costs_time_alone(patches, read, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LANDSIFT_HOME", str(tmp_path / "file" / "below"))
    assert fingerprint(patches) == fingerprint(patches)
    assert len(read) == 16


def test_without_a_home_files_are_read(patches, read, monkeypatch):
    monkeypatch.setenv("LANDSIFT_HOME", "~nobody-of-this-name/cache")
    assert fingerprint(patches) == fingerprint(patches)
    assert len(read) == 16
