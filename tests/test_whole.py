"""Files and folders whole or not at all, and what dead processes have left of them."""

import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from landsift.errors import RunError
from landsift.runtime import whole
from landsift.runtime.whole import beside, exchange, remove_partials, write_whole, writing


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def killed(code: str, *arguments: Path) -> int:
    """Run code that kills its own process; the process's number."""
    begin = "import os, signal, sys\nfrom pathlib import Path\nfrom landsift.runtime.whole import beside, write_whole\n"
    kill = "def kill(*_):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    process = subprocess.Popen([sys.executable, "-c", begin + kill + code, *map(str, arguments)])
    assert process.wait(60) < 0
    return process.pid


@pytest.mark.parametrize("name", ["a.txt", ".hidden.json", "with space.é", "n" * 255])
def test_whoever_writes_a_file_next_removes_what_a_killed_process_left_of_it(tmp_path, name):
    code = "write_whole(Path(sys.argv[1]), lambda partial: (partial.write_text('half'), kill()))"
    killed(code, tmp_path / name)
    assert len(listing(tmp_path)) == 1
    assert name not in listing(tmp_path)
    write_whole(tmp_path / "another", lambda partial: partial.write_text("other"))
    assert len(listing(tmp_path)) == 2, "nobody else's is deleted"
    write_whole(tmp_path / name, lambda partial: partial.write_text("whole"))
    assert listing(tmp_path) == sorted([name, "another"])
    assert (tmp_path / name).read_text() == "whole"


def full(partial: Path) -> None:
    partial.write_text("hal")
    raise OSError(28, "No space left on device")


def test_it_is_removed_also_where_the_next_one_fails(tmp_path):
    killed("write_whole(Path(sys.argv[1]), lambda partial: (partial.write_text('half'), kill()))", tmp_path / "a")
    with pytest.raises(RunError, match="No space left"):
        write_whole(tmp_path / "a", full)
    assert listing(tmp_path) == []


def test_a_folder_in_a_folder_that_is_being_made_is_removed_with_it(tmp_path):
    """A store is written beside a result that is not there yet itself."""
    code = """
with beside(Path(sys.argv[1])) as outer:
    with beside(outer) as inner:
        (inner / "deep").mkdir(parents=True)
        kill()
"""
    killed(code, tmp_path / "kept")
    assert len(listing(tmp_path)) == 1
    with beside(tmp_path / "kept") as partial:
        partial.mkdir()
        partial.rename(tmp_path / "kept")
    assert listing(tmp_path) == ["kept"]


def test_what_living_processes_and_other_machines_write_stays(tmp_path):
    place = tmp_path / "kept"
    with beside(place) as own:
        *_, host, number, _ = own.name.split(".")
        of_parent = tmp_path / own.name.replace(number, f"{os.getppid()}-3")
        elsewhere = tmp_path / own.name.replace(host, "another-machine")
        longer = tmp_path / own.name.replace(".kept.", ".kept.x.").replace(number, "999999999-0")
        dead = tmp_path / own.name.replace(number, "999999999-0")
        reused = tmp_path / own.name.replace(number, f"{os.getpid()}-999999")  # of a dead process of this one's number
        for path in (own, of_parent, elsewhere, longer, dead, reused):
            path.mkdir()
        whole.remove_left_behind(place)
        assert sorted(tmp_path.iterdir()) == sorted([own, of_parent, elsewhere, longer])
        assert [whole.left_behind(path) for path in (own, of_parent, elsewhere, longer)] == [False, False, False, True]


@pytest.mark.parametrize(
    "name", ["", "x", ".x.partial", ".x.host.partial", ".x.host.12.partial", ".last.ckpt.99.partial"]
)
def test_names_of_others_are_nothing_of_ours(tmp_path, name):
    assert not whole.left_behind(tmp_path / name)


def _write(file: Path, text: str, started: object) -> None:
    started.wait()  # type: ignore[attr-defined]
    for _ in range(20):
        write_whole(file, lambda partial: partial.write_text(text))


@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_of_two_that_write_the_same_file_one_wins_and_neither_fails(tmp_path, kind):
    context = multiprocessing.get_context("fork")
    make, started = (context.Process, context.Event()) if kind == "processes" else (threading.Thread, threading.Event())
    writers = [make(target=_write, args=(tmp_path / "f", text * 1000, started)) for text in "ab"]
    for each in writers:
        each.start()
    started.set()
    for each in writers:
        each.join()
        assert getattr(each, "exitcode", 0) == 0
    assert (tmp_path / "f").read_text() in {"a" * 1000, "b" * 1000}
    assert listing(tmp_path) == ["f"]


def test_a_folder_that_nobody_else_writes_to_is_cleared_of_all_that_is_half_written(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in (".a.another-machine.1-0.partial", "deep/.b.99.partial", "deep/b"):
        (tmp_path / name).touch()
    remove_partials(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["deep", "b"]
    remove_partials(tmp_path / "nowhere")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot write .*f: (File exists|Not a directory)"):
        write_whole(tmp_path / "file" / "f", lambda partial: partial.write_text("x"))


def test_of_the_cache_folder_it_is_said_how_to_have_another(tmp_path, monkeypatch):
    monkeypatch.setenv("LANDSIFT_HOME", str(tmp_path / "home"))
    for path, said in ((tmp_path / "home" / "x", True), (tmp_path / "x", False)):
        with pytest.raises(RunError) as caught, writing(path):
            raise OSError(28, "No space left on device")
        assert ("LANDSIFT_HOME" in str(caught.value.hint)) is said


@pytest.mark.parametrize("in_one_step", [True, False])
def test_two_folders_change_places(tmp_path, monkeypatch, in_one_step):
    """What replaces an older comparison; where the system cannot do it in one step, in three."""
    if not in_one_step:
        monkeypatch.setattr(whole, "RENAME_EXCHANGE", 2**30)  # which no system knows
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    exchange(tmp_path / "new", tmp_path / "old")
    assert [(tmp_path / name / "file").read_text() for name in ("new", "old")] == ["old", "new"]
    assert listing(tmp_path) == ["new", "old"]
