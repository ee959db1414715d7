"""A disk that fills up at any stage, or takes no write at all, is an error in words, and nothing is lost by it."""

import resource
import subprocess
from pathlib import Path

import pytest
from commands import Command
from kills import arguments, differences, left_behind

MB = 2**20


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The output of a run that had room."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder) == 0, (folder / "log").read_text()
    return folder / "out"


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own; `mount` options change it."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str) -> Path:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True, capture_output=True)
        return place

    try:
        mount("size=1m")
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("mounting a file system is not permitted here")
    yield mount
    subprocess.run(["umount", "-l", place], check=True)


def run(folder: Path, before: tuple[str, int] | None = None) -> int | None:
    return Command(arguments("plain", folder / "out", None), folder / "home", log(folder), before).wait(120)


def log(folder: Path) -> Path:
    return folder.with_name("log") if folder.name == "disk" else folder / "log"


def limit_files(size: int) -> None:
    """No file of this process may be larger; Python turns the signal into an error."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def last_error(folder: Path) -> str:
    """The error that a run ended with: two lines at most, and no traceback."""
    text = log(folder).read_text()
    assert "Traceback" not in text
    error = text[text.rindex("error: ") :].rstrip("\n")
    assert 1 <= len(error.split("\n")) <= 2, error
    return error


@pytest.mark.parametrize(
    "kilobytes",
    [0, pytest.param(150, marks=pytest.mark.slow), 500, pytest.param(13000, marks=pytest.mark.slow), 9000],
)
def test_a_full_disk_is_told_and_with_more_room_the_run_goes_on(disk, whole, kilobytes):
    """From no room for the patches, over checkpoints and the model, to none for the run directory's copies."""
    folder = disk(f"remount,size={kilobytes + 60}k")
    assert run(folder) == 1
    error = last_error(folder)
    assert "no space left on device" in error.lower()
    assert len(error.split("\n")[0].replace(str(folder), "")) < 250  # not the list of all files that were not copied
    assert not (folder / "out").exists()
    kept = bool(list((folder / "home").glob("unfinished/*/checkpoints/last.ckpt")))
    disk("remount,size=200m")
    assert run(folder) == 0, log(folder).read_text()
    assert ("resuming an interrupted" in log(folder).read_text()) >= kept
    assert differences(folder / "out", whole) == []
    assert left_behind(folder) == []


@pytest.mark.parametrize("size", [20_000, 2 * MB])
def test_files_that_may_not_grow_are_told_of_as_a_full_disk_is(tmp_path, whole, size):
    assert run(tmp_path, ("test_disks:limit_files", size)) == 1
    assert "file too large" in last_error(tmp_path).lower() or "free space" in last_error(tmp_path)  # SQLite's words
    assert not (tmp_path / "out").exists()
    assert run(tmp_path) == 0, log(tmp_path).read_text()
    assert differences(tmp_path / "out", whole) == []
    assert left_behind(tmp_path) == []


def test_a_read_only_disk_is_told_before_any_work(disk):
    folder = disk("remount,size=1m")
    (folder / "home").mkdir()
    disk("remount,ro")
    assert run(folder) == 1
    assert "ead-only file system" in last_error(folder)
