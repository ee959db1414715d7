"""The run directory: files whole or not at all, and clear words about what is missing."""

import logging
import os

import pytest
import yaml

from landsift.config import RunConfig
from landsift.errors import ConfigError, RunError
from landsift.runs import Run, read_as_written, write_json, write_text
from landsift.runtime.outputs import check_output
from landsift.runtime.whole import write_whole
from landsift.version import __version__


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


def test_keys_of_another_version_are_passed_over_and_named(tmp_path, caplog):
    """A run that a newer or an older landsift has written is read; to train from it, they must be taken out."""
    values = RunConfig().to_dict()
    values["training"]["sharpness"] = 3
    values["weather"] = {"rain": True}
    values["model"]["normalization"] = {"mean": [0.5], "std": [0.5], "gamma": 2}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    write_json(tmp_path / "manifest.json", {"landsift": "0.0.9"})
    with caplog.at_level(logging.INFO, "landsift"):
        config = Run.open(tmp_path).config
    assert config.model.normalization.mean == (0.5,)
    assert config.training == RunConfig().training
    (said,) = caplog.messages
    assert "written by landsift 0.0.9" in said
    assert all(key in said for key in ("training.sharpness", "weather", "model.normalization.gamma"))
    with pytest.raises(ConfigError, match="unknown configuration key"):
        RunConfig.load(tmp_path / "config.yaml")


def test_a_wrong_value_in_a_runs_configuration_is_still_an_error(tmp_path):
    (tmp_path / "config.yaml").write_text("training: {image_size: many}\n")
    write_json(tmp_path / "manifest.json", {})
    with pytest.raises(ConfigError, match=r"training\.image_size"):
        _ = Run.open(tmp_path).config


@pytest.mark.parametrize("error", [KeyError("test"), TypeError("none"), ConfigError("key 'a': not b")])
def test_a_run_that_cannot_be_read_says_which_version_wrote_it(tmp_path, error):
    write_json(tmp_path / "manifest.json", {"landsift": "0.0.9"})
    with (
        pytest.raises(RunError, match=r"was written by landsift 0\.0\.9, and this is") as told,
        read_as_written(tmp_path),
    ):
        raise error
    assert "use landsift 0.0.9" in told.value.hint
    write_json(tmp_path / "manifest.json", {"landsift": __version__})
    with pytest.raises(type(error)), read_as_written(tmp_path):
        raise error
