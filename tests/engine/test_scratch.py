"""The folder of temporary files of an engine: gone with it, and after a kill with the next one."""

import subprocess
import sys
import tempfile

import pytest

from landsift import engine
from landsift.engine.scratch import scratch

KILLED = """
import os, signal
from landsift.engine.scratch import scratch
with scratch() as folder:
    (folder / "log").touch()
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_an_engines_folder_is_there_while_it_runs(tmp_path):
    with scratch() as folder:
        (folder / "log").touch()
        assert [each.name for each in tmp_path.iterdir()] == [folder.name]
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_command_has_left_is_deleted_by_the_next_and_nothing_else(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    others = {tmp_path / "landsift-mine", tmp_path / "landsift-engine-mine"}
    for each in others:
        each.mkdir()
    (tmp_path / "landsift-engine-link").symlink_to(tmp_path / "landsift-mine")
    with scratch() as folder, engine.open(workers=2):
        assert {*tmp_path.iterdir()} == {*others, tmp_path / "landsift-engine-link", folder}
        assert folder.is_dir()
