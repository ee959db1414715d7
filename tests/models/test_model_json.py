"""`model.json`: older files open, newer and misspelt ones are refused by name."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from landsift.errors import ModelError
from landsift.models.model_json import FORMAT, ModelDescription, read_description, upgraded
from landsift.version import __version__

DESCRIPTION = ModelDescription(
    backbone="resnet18", backbone_args={}, head={"hidden": 256, "dropout": 0.3}, classes=("a", "b"),
    patch_size=(64, 64), image_size=128, mean=(0.5,) * 3, std=(0.5,) * 3, landsift="0.1.0", tta="flips",
)  # fmt: skip


@pytest.fixture
def file(tmp_path):
    """Write model.json with some keys changed, and some left out."""

    def write(*without, **values):
        stored = {key: value for key, value in asdict(DESCRIPTION).items() if key not in without} | values
        (tmp_path / "model.json").write_text(json.dumps(stored))
        return tmp_path / "model.json"

    return write


def refusal(path):
    with pytest.raises(ModelError) as error:
        read_description(path)
    assert len(str(error.value).splitlines()) <= 2
    return str(error.value)


def test_every_key_is_described():
    text = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
    rows = re.findall(r"^\| (`.*?`) \|", text.split("## model.json")[1], re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(asdict(DESCRIPTION))


def test_it_is_read_as_it_was_written(file):
    assert read_description(file()) == DESCRIPTION


def test_a_file_without_a_number_is_of_format_1(file):
    assert read_description(file("format")) == DESCRIPTION
    assert read_description(file("format", "tta")).tta == "none"


@pytest.mark.parametrize("number", [FORMAT + 1, 99, 10**30])
def test_a_newer_format_says_which_version_is_needed(file, number):
    said = refusal(file(format=number, landsift="7.1.0", temperature=2.0))
    assert f"format {str(number)[:20]}, and landsift {__version__} reads formats up to {FORMAT}" in said
    assert "update landsift: 7.1.0 wrote it" in said
    assert "update landsift: a newer version wrote it" in refusal(file("landsift", format=number))


@pytest.mark.parametrize("number", [0, -1, 1.0, "1", True, None, [1], {"a": 1}])
def test_a_format_that_is_no_number_is_damaged(file, number):
    assert "format: " in refusal(file(format=number))


@pytest.mark.parametrize("key", ["sharpness", "scale", "band", "", "Classes", "a\nb", "x" * 500])
@pytest.mark.parametrize("without", [(), ("format",)])
def test_a_key_that_nothing_would_follow_is_refused_by_name(file, key, without):
    said = refusal(file(*without, **{key: 10000}))
    assert "unknown key" in said
    assert repr(key[:40]).strip("'") in said
    assert f"either a newer landsift wrote it (the file names 0.1.0, this is {__version__})" in said
    assert "or it is misspelt" in said


def test_a_misspelt_key_is_told_its_name(file):
    assert "did you mean 'image_size'?" in refusal(file("image_size", imagesize=64))
    assert "did you mean 'tta'?" in refusal(file(TTA="flips"))


def test_keys_of_the_head_are_refused_too(file):
    said = refusal(file(head={"hidden": None, "dropout": 0.0, "cosine": True}, tau=1))
    assert "unknown keys 'head.cosine', 'tau'" in said


def test_older_formats_are_brought_up_step_by_step():
    steps = {
        1: lambda keys: {"bands": len(keys.pop("mean"))},
        2: lambda keys: {"bands": [keys["bands"]]},
    }
    old = {"mean": [0.5, 0.5]}
    assert upgraded(Path("model.json"), old, steps, newest=3) == {"bands": [2], "format": 3}
    assert upgraded(Path("model.json"), {"bands": 4, "format": 2}, steps, newest=3) == {"bands": [4], "format": 3}
    assert old == {"mean": [0.5, 0.5]}  # what was read stays
