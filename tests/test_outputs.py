"""Outputs that cannot be written are refused before the work, in words."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from landsift.config import RunConfig, cache_folder
from landsift.errors import ConfigError, RunError
from landsift.runtime.outputs import absolute, check_file, check_output


def latin(folder: Path) -> Path:
    return Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9"))


def dangling(folder: Path) -> Path:
    (folder / "link").symlink_to(folder / "disk" / "runs")
    return folder / "link"


def circle(folder: Path) -> Path:
    (folder / "one").symlink_to(folder / "two")
    (folder / "two").symlink_to(folder / "one")
    return folder / "one"


def in_the_way(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file"


UNUSABLE = {
    "Latin-1": (latin, "not valid UTF-8"),
    "below Latin-1": (lambda folder: latin(folder) / "run", "not valid UTF-8"),
    "a link to nothing": (dangling, "is a link to"),
    "below a link to nothing": (lambda folder: dangling(folder) / "a" / "run", "is a link to"),
    "links in a circle": (circle, "is a link to"),
    "a file": (in_the_way, "file"),
    "a name too long": (lambda folder: folder / ("x" * 300), "too long"),
    "a path too long": (lambda folder: folder.joinpath(*["x" * 200] * 20), "too long"),
    "a name with a 0": (lambda folder: folder / "a\0b", "character 0"),
    "the home of nobody": (lambda folder: Path("~nobody-of-this-name/run"), "home folder"),
}


@pytest.mark.parametrize(("make", "said"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_run_is_refused_an_output_that_cannot_be_written_before_any_work(tmp_path, make, said):
    from landsift.pipeline.run import run

    out = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunError, match=said) as caught:
        run(RunConfig.load(None, ["data.source=nowhere/at/all"]), out)
    assert caught.value.hint
    assert sorted(tmp_path.rglob("*")) == before
    assert not (cache_folder() / "stores").exists()


@pytest.mark.parametrize(("make", "said"), [v for k, v in UNUSABLE.items() if k != "a file"])
def test_a_file_that_cannot_be_written_is_refused(tmp_path, make, said):
    with pytest.raises(RunError, match=said):
        check_file(make(tmp_path))


def test_a_file_may_take_the_place_of_another_but_not_of_something_else(tmp_path):
    check_file(in_the_way(tmp_path))
    check_file(tmp_path / "new" / "deep" / "page.html")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, said in (
        ("folder", "is a folder"),
        ("pipe", "not a regular file"),
        ("file/page.html", "is not a folder"),
    ):
        with pytest.raises(RunError, match=said):
            check_file(tmp_path / name)
    with pytest.raises(RunError, match="not a regular file"):
        check_file("/dev/null")


def test_links_to_what_is_there_are_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    assert check_output(tmp_path / "link") == tmp_path / "link"
    assert check_output(tmp_path / "link" / "run") == tmp_path / "link" / "run"


def test_the_cache_is_no_output(tmp_path, monkeypatch):
    from landsift.pipeline.run import run

    monkeypatch.setenv("LANDSIFT_HOME", str(tmp_path / "out" / "cache"))
    for out in (tmp_path / "out", tmp_path / "out" / "cache"):
        with pytest.raises(RunError, match="keeps its cache"):
            run(RunConfig(), out)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("home", ["/proc/nowhere", "FILE", "LATIN"])
def test_a_cache_that_cannot_be_written_is_told_with_what_to_set(tmp_path, monkeypatch, home):
    from landsift.pipeline.run import run

    place = {"FILE": in_the_way(tmp_path), "LATIN": latin(tmp_path)}.get(home, home)
    monkeypatch.setenv("LANDSIFT_HOME", str(place))
    with pytest.raises(RunError) as caught:
        run(RunConfig(), tmp_path / "out")
    assert "LANDSIFT_HOME" in caught.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("home", [None, "~nobody-of-this-name/cache"])
def test_without_a_home_a_folder_for_the_cache_is_asked_for(monkeypatch, home):
    import platformdirs

    def nobody(name):  # as platformdirs does, or older ones that return what they have
        raise RuntimeError(f"could not determine the home directory for '~/.cache/{name}'")

    for known in (nobody, lambda name: f"~/.cache/{name}"):
        monkeypatch.setattr(platformdirs, "user_cache_dir", known)
        monkeypatch.setenv("LANDSIFT_HOME", home) if home else monkeypatch.delenv("LANDSIFT_HOME", raising=False)
        with pytest.raises(ConfigError) as caught:
            cache_folder()
        assert "LANDSIFT_HOME" in caught.value.hint


def test_a_working_folder_that_was_deleted_is_told(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    program = f"import os, shutil; os.chdir({str(gone)!r}); shutil.rmtree({str(gone)!r}); "
    called = (
        program
        + "import sys; from landsift.cli.main import main; sys.argv[1:] = ['data', 'synthesize', '-o', 'x']; main()"
    )
    done = subprocess.run([sys.executable, "-c", called], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: the working folder does not exist any more",
        "change to one that does (cd) and try again",
    ]


def test_an_absolute_path_needs_no_working_folder(tmp_path):
    assert absolute(tmp_path / ".." / "x") == tmp_path.parent / "x"
