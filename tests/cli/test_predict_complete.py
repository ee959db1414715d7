"""A prediction that was complete: damage is mended, nothing foreign counts with it; outputs are of this machine."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_predict_parts import made

import landsift
from landsift.errors import RunError
from landsift.evaluation import in_chunks, stream
from landsift.runtime.outputs import check_file, check_output


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return made(tmp_path_factory.mktemp("model"), 0)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for i in range(9):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(
            folder / f"{i}.png"
        )
    (folder / "clip.mp4").touch()
    return folder


@pytest.fixture(scope="module")
def complete(model, images, tmp_path_factory):
    out = tmp_path_factory.mktemp("done") / "out"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(in_chunks, "CHUNK", 3)
        patched.setattr(stream, "CHUNKS", 1)
        landsift.predict_into(model, images, out)
    return out


@pytest.fixture
def out(complete, tmp_path, monkeypatch):
    """A complete folder of three parts, to be damaged."""
    monkeypatch.setattr(in_chunks, "CHUNK", 3)
    monkeypatch.setattr(stream, "CHUNKS", 1)
    return shutil.copytree(complete, tmp_path / "out")


@pytest.mark.parametrize("damage", ["cut", "gone", "another"])
def test_a_part_of_a_complete_prediction_that_is_damaged_is_computed_again(model, images, out, damage):
    """It said so, and refused each time; a part in the place of another counted."""
    before = pd.read_parquet(out)
    part = out / "part-00001.parquet"
    if damage == "cut":
        part.write_bytes(part.read_bytes()[:-9])
    elif damage == "gone":
        part.unlink()
    else:
        part.write_bytes((out / "part-00000.parquet").read_bytes())
    done = landsift.predict_into(model, images, out)
    assert (done.parts, done.rows) == ((1, 2), 9)
    pd.testing.assert_frame_equal(pd.read_parquet(out), before)
    assert json.loads((out / "_manifest.json").read_text())["complete"] is True
    assert not (out / ".work").exists()
    assert landsift.predict_into(model, images, out).parts == (0, 3)


@pytest.mark.parametrize("name", ["part-00003.parquet", "mine.txt", "sub"])
def test_what_would_be_read_with_the_parts_is_refused(model, images, out, name):
    (out / name).mkdir() if name == "sub" else (out / name).write_bytes((out / "part-00000.parquet").read_bytes())
    with pytest.raises(RunError, match=f"{name} is not of this prediction"):
        landsift.predict_into(model, images, out)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"kind": "predictions"}', '{"kind": "predictions", "format": 1}', "[1]"]
)
def test_a_manifest_that_says_nothing_is_refused(model, images, out, text):
    (out / "_manifest.json").write_text(text)
    with pytest.raises(RunError, match="is none that this landsift wrote") as refused:
        landsift.predict_into(model, images, out)
    assert refused.value.hint == "give --out a new folder"


def test_what_is_left_out_is_counted_once_however_often_its_folder_is_named(model, images, tmp_path):
    done = landsift.predict_into(model, [images, images, images / ".." / images.name], tmp_path / "t.csv")
    assert (done.rows, [each["path"] for each in done.skipped]) == (9, [f"{images}/clip.mp4"])


def test_a_list_counts_as_one_wherever_its_first_file_is(model, images, tmp_path):
    """Among other sources it was one image that cannot be read."""
    gone = "".join(f"gone/{i}.png\n" for i in range(30))
    (tmp_path / "l.txt").write_text(f"{gone}{images.name}\\0.png\n".replace(images.name, str(images)))
    done = landsift.predict_into(model, [tmp_path / "l.txt", images / "1.png"], tmp_path / "t.csv")
    assert (done.rows, done.left_out) == (2, 30)
    (tmp_path / "notes.txt").write_text("taken in June, " * 40)
    done = landsift.predict_into(model, [tmp_path / "notes.txt", images / "1.png"], tmp_path / "t.csv")
    assert done.skipped == [
        {"path": str(tmp_path / "notes.txt"), "reason": "a text file, of which no line leads to a file"}
    ]


def test_a_pattern_that_fits_a_link_to_nothing_leaves_it_out(model, images, tmp_path):
    (tmp_path / "0.png").write_bytes((images / "0.png").read_bytes())
    (tmp_path / "*.png").symlink_to(tmp_path / "gone.png")
    done = landsift.predict_into(model, tmp_path / "[0*].png", tmp_path / "t.csv")
    assert (done.rows, [each["reason"] for each in done.skipped]) == (1, ["the file does not exist"])


@pytest.mark.parametrize("out", ["s3://bucket/out", "gs://bucket/t.csv", "https://x.org/out", "-", "file:///tmp/out"])
def test_results_are_not_written_to_a_folder_that_is_called_like_a_url(model, images, tmp_path, monkeypatch, out):
    """They were, and the command named the URL as their place."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="results are"):
        landsift.predict_into(model, images, out)
    for check in (check_file, check_output):
        with pytest.raises(RunError, match="results are"):
            check(out)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_too_long_is_refused(model, images, tmp_path):
    for name in ("a" * 300, "a" * 300 + ".csv"):
        with pytest.raises(RunError, match="too long"):
            landsift.predict_into(model, images, tmp_path / name)


def test_what_is_said_of_files_is_the_same_in_parts(model, images, tmp_path, monkeypatch, caplog):
    """A part with a grey image among its files could not be written."""
    caplog.set_level("INFO", "landsift")
    monkeypatch.setattr(in_chunks, "CHUNK", 3)
    for name, mode, size in (("a.png", "L", 16), ("b.png", "RGBA", 16), ("c.png", "RGB", 200), ("d.png", "L", 17)):
        Image.new(mode, (size, 16)).save(tmp_path / name)
    said = []
    for chunks, out in ((1, "parts.csv"), (99, "once.csv")):
        monkeypatch.setattr(stream, "CHUNKS", chunks)
        caplog.clear()
        done = landsift.predict_into(model, [images, *sorted(tmp_path.glob("*.png"))], tmp_path / out)
        said.append(sorted(r.message for r in caplog.records if "of 13 files" in r.message))
        assert done.rows == 13
    assert said[0] == said[1]
    assert any(line.startswith("2 of 13 files: one band, grey") for line in said[0])
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "once.csv").read_bytes()
