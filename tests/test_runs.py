"""The run directory: files whole or not at all, and clear words about what is missing."""

import os

import pytest

from landsift.errors import RunError
from landsift.runs import Run, write_json, write_text, write_whole
from landsift.runtime.outputs import check_output


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    file = tmp_path / "a.txt"
    write_text(file, "old")

    def half(partial):
        partial.write_text("ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="No space left"):
        write_whole(file, half)
    assert file.read_text() == "old"
    assert [f.name for f in tmp_path.iterdir()] == ["a.txt"]


def test_json_that_is_not_finite_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_files_may_be_read_by_others_as_the_umask_says(tmp_path):
    def private(partial):
        partial.touch(mode=0o600)

    write_whole(tmp_path / "a", private)
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~mask


def test_an_output_must_be_new_or_empty(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "empty").mkdir()
    assert check_output(tmp_path / "empty") == tmp_path / "empty"
    assert check_output(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert not (tmp_path / "a").exists()
    with pytest.raises(RunError, match="is not empty"):
        check_output(tmp_path / "full")
    with pytest.raises(RunError, match="is a file"):
        check_output(tmp_path / "full" / "x")


def test_what_is_no_run_directory_or_lacks_a_file_is_named(tmp_path):
    with pytest.raises(RunError, match="no run directory at"):
        Run.open(tmp_path / "none")
    with pytest.raises(RunError, match=r"has no manifest\.json"):
        Run.open(tmp_path)
    write_json(tmp_path / "manifest.json", {})
    with pytest.raises(RunError, match=r"metrics\.json is missing"):
        _ = Run.open(tmp_path).metrics
    (tmp_path / "metrics.json").write_text("[{")
    with pytest.raises(RunError, match=r"cannot read .*metrics\.json"):
        _ = Run.open(tmp_path).metrics


@pytest.mark.parametrize(("model", "first"), [(4, [4, 1, 2]), (1, [1, 4, 2]), (2, [2, 4, 1])])
def test_the_models_checkpoint_comes_first_and_the_others_by_figures_that_are_not_rounded(tmp_path, model, first):
    """The names of all three hold the same three digits."""
    figures = {1: (0.9310, 0.2), 2: (0.9310, 0.3), 4: (0.9314, 0.4), 5: (0.99, 0.1)}  # the last one's file is gone
    (tmp_path / "checkpoints").mkdir()
    for name in (*(f"best-{epoch:03d}-0.931.ckpt" for epoch in (1, 2, 4)), "last.ckpt"):
        (tmp_path / "checkpoints" / name).touch()
    rows = [{"epoch": epoch, "val_acc": acc, "val_loss": loss} for epoch, (acc, loss) in figures.items()]
    write_json(tmp_path / "metrics.json", rows)
    write_json(tmp_path / "manifest.json", {"best": {"checkpoint": f"best-{model:03d}-0.931.ckpt"}})
    assert [f.name for f in Run(tmp_path).checkpoints] == [f"best-{epoch:03d}-0.931.ckpt" for epoch in first]
