"""A run directory shares its large files with the cache, and nothing done to it reaches the cache unseen."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from landsift.errors import LandsiftError
from landsift.pipeline.cache import results
from landsift.pipeline.stage_table import TRAIN
from landsift.runtime import links
from landsift.runtime.whole import writing

CHECKPOINT, WEIGHTS = "checkpoints/last.ckpt", "model/model.safetensors"


@pytest.fixture
def trained(tmp_path, monkeypatch) -> Path:
    """A result as a training leaves it."""
    monkeypatch.setenv("LANDSIFT_HOME", str(tmp_path / "cache"))
    folder = results.place(TRAIN, "a" * 64, local=True)
    with results.building(folder, "a run") as partial:
        for name in (CHECKPOINT, WEIGHTS, "metrics.json"):
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_bytes(name.encode() * 100)
    return folder


@pytest.fixture(params=["hard links", "another disk"])
def run(trained, tmp_path, request, monkeypatch) -> Path:
    """A run directory of it; clones are as harmless as copies, so that none are made here."""
    monkeypatch.setattr(links, "_cloned", lambda *_: False)
    if request.param == "another disk":
        monkeypatch.setattr(os, "link", refused)
    shutil.copytree(trained, tmp_path / "run", copy_function=links.put)
    return tmp_path / "run"


def refused(*_: object) -> None:
    raise OSError(18, "Invalid cross-device link")


def test_large_files_take_no_room_of_their_own(trained, run, request):
    for name in (CHECKPOINT, WEIGHTS, "metrics.json"):
        assert (run / name).read_bytes() == (trained / name).read_bytes()
    shared = [name for name in (CHECKPOINT, WEIGHTS, "metrics.json") if (run / name).samefile(trained / name)]
    assert shared == ([CHECKPOINT, WEIGHTS] if "hard" in request.node.name else [])
    assert results.damage(trained) == ""


def test_shared_files_are_read_only_and_copies_are_not(run, request):
    writable = {name: bool((run / name).stat().st_mode & stat.S_IWUSR) for name in (WEIGHTS, "metrics.json")}
    assert writable == {WEIGHTS: "hard" not in request.node.name, "metrics.json": True}


def test_deleting_and_replacing_files_of_a_run_does_not_reach_the_cache(trained, run):
    (run / CHECKPOINT).unlink()
    (run / "new").write_bytes(b"other")
    (run / "new").rename(run / WEIGHTS)
    assert results.damage(trained) == ""
    shutil.rmtree(run)
    assert results.damage(trained) == ""
    assert (trained / CHECKPOINT).read_bytes() == CHECKPOINT.encode() * 100


def test_an_edit_in_place_is_noticed_before_the_cache_uses_the_file(trained, run):
    """By somebody whom read-only files do not stop; the size is the same."""
    file = run / WEIGHTS
    file.chmod(0o644)
    with file.open("r+b") as opened:
        opened.write(b"X")
    shared = file.samefile(trained / WEIGHTS)
    assert results.damage(trained) == (f"its file {WEIGHTS} was changed" if shared else "")


def test_a_file_that_was_only_touched_is_as_it_was(trained, run):
    (run / WEIGHTS).touch()
    assert results.damage(trained) == ""


def test_a_full_disk_is_an_error(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(links, "_cloned", lambda *_: False)
    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(shutil, "copyfile", lambda *_, **__: refused())
    with pytest.raises(LandsiftError, match="cannot write"), writing(tmp_path / "run"):
        shutil.copytree(trained, tmp_path / "run", copy_function=links.put)
