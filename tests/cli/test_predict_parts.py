"""`landsift predict` into many parts: the same table as at once, whatever interrupts it, and nothing twice."""

import contextlib
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from PIL import Image

import landsift
from landsift.config import HeadConfig, ModelConfig
from landsift.data.unlabelled.entries import Entry
from landsift.data.unlabelled.listing import list_sources
from landsift.errors import ConfigError, DataError, LandsiftError, RunError
from landsift.evaluation import in_chunks, stream
from landsift.evaluation.on_engine import shared_files
from landsift.evaluation.parts import predict_part
from landsift.models.backbone import create_backbone
from landsift.models.classifier import PatchClassifier
from landsift.models.model_json import ModelDescription
from landsift.models.predictor import save_model

FILES = 30


def made(folder: Path, seed: int) -> Path:
    """A `model/` folder of random weights."""
    torch.manual_seed(seed)
    backbone = create_backbone(ModelConfig(backbone="test_efficientnet", weights="none"), 32)
    classifier = PatchClassifier(backbone.network, backbone.features, 2, HeadConfig(hidden=256, dropout=0.3))
    values = {"backbone": "test_efficientnet", "backbone_args": {}, "head": {"hidden": 256, "dropout": 0.3}}
    values |= {"classes": ("forest", "water"), "patch_size": (16, 16), "image_size": 32}
    values |= {"mean": (0.5,) * 3, "std": (0.5,) * 3, "landsift": "0"}
    save_model(classifier, ModelDescription(**values), folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return made(tmp_path_factory.mktemp("model"), 0)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Patches in two folders, one of them damaged."""
    folder = tmp_path_factory.mktemp("images")
    for i in range(FILES):
        file = folder / ("b" if i % 3 else "a") / f"{i}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file)
    (folder / "b" / "13.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return folder


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    """Six files in a part, in chunks of three."""
    monkeypatch.setattr(in_chunks, "CHUNK", 3)
    monkeypatch.setattr(stream, "CHUNKS", 2)


@pytest.fixture(scope="module")
def whole(model, images):
    """The table of all of them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(in_chunks, "CHUNK", 3)
        return landsift.predict_files(model, images).table()


def same(table: pd.DataFrame, whole: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(table[list(whole.columns)], whole, check_dtype=False)


def predict_by(run, *arguments):
    """`predict_into` with something else that has its parts done."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stream, "one_after_another", run)
        return landsift.predict_into(*arguments)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_of_many_parts_is_that_of_one(model, images, whole, tmp_path, kind, monkeypatch):
    parts = landsift.predict_into(model, images, tmp_path / f"parts.{kind}")
    monkeypatch.setattr(stream, "CHUNKS", 1000)
    once = landsift.predict_into(model, images, tmp_path / f"once.{kind}")
    assert (parts.parts, once.parts) == ((5, 0), (1, 0))
    assert parts.predicted == once.predicted
    assert parts.skipped == once.skipped
    assert parts.rows == once.rows == FILES - 1
    if kind == "csv":
        assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "once.csv").read_bytes()
    else:
        same(pd.read_parquet(tmp_path / "parts.parquet"), pd.read_parquet(tmp_path / "once.parquet"))
    read = pd.read_csv(tmp_path / "parts.csv") if kind == "csv" else pd.read_parquet(tmp_path / "parts.parquet")
    assert list(read["path"]) == list(whole["path"])
    assert sorted(each.name for each in tmp_path.iterdir()) == [f"once.{kind}", f"parts.{kind}"]


def test_a_folder_of_parts_reads_as_one_table_and_says_what_it_is_of(model, images, whole, tmp_path):
    landsift.predict_into(model, [images], tmp_path / "out")
    same(pd.read_parquet(tmp_path / "out"), whole)
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert manifest["complete"] is True
    assert manifest["sources"] == [str(images)]
    assert (manifest["files"], manifest["rows"], manifest["left_out"]) == (FILES, FILES - 1, 1)
    assert [(part["first_row"], part["rows"]) for part in manifest["parts"]] == [
        (0, 6), (6, 6), (12, 5), (17, 6), (23, 6),
    ]  # fmt: skip
    left_out = pd.read_csv(tmp_path / "out" / "_unreadable.csv")
    assert list(left_out["path"]) == [f"{images}/b/13.png"]
    assert not (tmp_path / "out" / ".work").exists()


class Killed(BaseException):
    """What no code of landsift catches."""


@pytest.mark.parametrize("out", ["out", "t.csv"])
def test_stopped_at_any_rename_the_same_call_goes_on(model, images, whole, tmp_path, monkeypatch, out):
    """A part is there whole or not at all; none is computed twice."""
    replace, computed = os.replace, []

    def counted(parts, advance):
        for part in parts:
            computed.append(part.number)
            yield predict_part(part, advance)

    for stop in (1, 2, 4, 7, 8):  # manifest, list, parts, the table or what is left out
        calls = iter(range(1, 1000))

        def stopping(source, target, calls=calls, stop=stop):
            if next(calls) == stop:
                raise Killed
            replace(source, target)

        folder = tmp_path / str(stop)
        folder.mkdir()
        del computed[:]
        monkeypatch.setattr(os, "replace", stopping)
        with contextlib.suppress(Killed):
            predict_by(counted, model, images, folder / out)
        monkeypatch.setattr(os, "replace", replace)
        predict_by(counted, model, images, folder / out)
        read = pd.read_csv if out.endswith("csv") else pd.read_parquet
        table = read(folder / out)
        assert list(table["path"]) == list(whole["path"])
        np.testing.assert_allclose(table["p_water"], whole["p_water"], rtol=1e-6)
        assert len(computed) <= 6, "one part at most is computed again"


def test_an_interrupted_call_goes_on_and_says_so(model, images, whole, tmp_path, caplog):
    caplog.set_level("INFO", "landsift")

    def two(parts, advance):
        for _, part in zip(range(2), parts, strict=False):
            yield predict_part(part, advance)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_by(two, model, images, tmp_path / "out")
    assert "2 of 5 parts are kept; the same command goes on from there" in caplog.text
    done = landsift.predict_into(model, images, tmp_path / "out")
    assert done.parts == (3, 2)
    assert "2 of 5 parts are there already: going on" in caplog.text
    same(pd.read_parquet(tmp_path / "out"), whole)
    again = landsift.predict_into(model, images, tmp_path / "out")
    assert "is complete: nothing is computed again" in caplog.text
    assert (again.rows, again.predicted, again.skipped) == (done.rows, done.predicted, done.skipped)


def test_a_damaged_part_is_computed_again(model, images, whole, tmp_path, caplog):
    def all_but_the_last(parts, advance):
        yield from (predict_part(part, advance) for part in list(parts)[:-1])
        raise Killed

    with pytest.raises(Killed):
        predict_by(all_but_the_last, model, images, tmp_path / "out")
    part = tmp_path / "out" / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    assert landsift.predict_into(model, images, tmp_path / "out").parts == (2, 3)
    assert "part-00001.parquet is damaged" in caplog.text
    same(pd.read_parquet(tmp_path / "out"), whole)


@pytest.mark.parametrize("out", ["out", "t.csv"])
@pytest.mark.parametrize("what", ["model", "settings", "added", "gone", "written again"])
def test_another_prediction_is_not_mixed_with_one_that_was_begun(model, images, tmp_path, what, out):
    source = tmp_path / "in"
    source.mkdir()
    for i, file in enumerate(sorted(images.glob("a/*"))):
        (source / f"{i}.png").write_bytes(file.read_bytes())

    def one(parts, advance):
        yield predict_part(next(parts), advance)
        raise Killed

    with pytest.raises(Killed):
        predict_by(one, model, source, tmp_path / out)
    given, reading = model, None
    if what == "model":
        given = made(tmp_path / "other", 1)
    elif what == "settings":
        reading = {"bands": "all"}
    elif what == "added":
        (source / "9x.png").write_bytes((source / "0.png").read_bytes())
    elif what == "gone":
        (source / "3.png").unlink()
    else:
        (source / "3.png").write_bytes((source / "4.png").read_bytes())
    said = {
        "model": "with another model", "settings": "with other settings",
        "added": "10 files then, 11 now; .*9x.png is not there|10 files then, 11 now; .*9x.png is where",
        "gone": "10 files then, 9 now; .*4.png is where another was",
        "written again": "10 files then, 10 now; .*3.png was written again",
    }[what]  # fmt: skip
    with pytest.raises(RunError, match=said) as refused:
        landsift.predict_into(given, source, tmp_path / out, reading=reading)
    assert "give --out a new folder" in refused.value.hint or "to begin again" in refused.value.hint


def test_a_folder_of_something_else_is_not_written_into(model, images, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(RunError, match="is not empty"):
        landsift.predict_into(model, images, tmp_path / "out")


def test_where_nothing_can_be_read_nothing_is_left(model, tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(20):
        (tmp_path / "in" / f"{i}.png").write_bytes(b"no picture")
    for out in ("out", "t.csv"):
        with pytest.raises(DataError, match="none of the 20 images can be read"):
            landsift.predict_into(model, tmp_path / "in", tmp_path / out)
    assert [each.name for each in tmp_path.iterdir()] == ["in"]


def test_a_model_that_cannot_be_loaded_leaves_nothing(model, images, tmp_path):
    broken = tmp_path / "model"
    broken.mkdir()
    for file in model.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(LandsiftError):
        landsift.predict_into(broken, images, tmp_path / "out")
    assert [each.name for each in tmp_path.iterdir()] == ["model"]


def test_two_commands_do_not_write_the_same(model, images, tmp_path):
    def second(parts, advance):
        with pytest.raises(RunError, match="another command is writing"):
            landsift.predict_into(model, images, tmp_path / "out")
        yield from (predict_part(part, advance) for part in parts)

    predict_by(second, model, images, tmp_path / "out")


def test_a_part_travels_as_a_few_hundred_bytes_and_needs_no_working_folder(model, images, tmp_path, monkeypatch):
    """Whoever has the parts done may do so elsewhere, in any order."""
    monkeypatch.chdir(images)

    def elsewhere(parts, advance):
        sent = [pickle.dumps(part) for part in parts]
        assert max(map(len, sent)) < 1500
        (tmp_path / "elsewhere").mkdir()
        os.chdir(tmp_path / "elsewhere")
        for raw in reversed(sent):
            yield predict_part(pickle.loads(raw))
        os.chdir(images)

    predict_by(elsewhere, model, "b", tmp_path / "out")
    assert list(pd.read_parquet(tmp_path / "out")["path"])[:2] == ["b/1.png", "b/10.png"]


@pytest.mark.parametrize("out", ["out", "t.csv"])
def test_what_a_machine_was_writing_when_it_died_is_deleted(model, images, tmp_path, out):
    def dying(parts, advance):
        for part in parts:
            file = Path(part.out)
            file.with_name(f".{file.name}.elsewhere.7-0.partial").write_bytes(b"half")
            yield predict_part(part, advance)

    predict_by(dying, model, images, tmp_path / out)
    assert not list(tmp_path.rglob(".*"))


def test_one_after_another_in_python_without_a_file(model, images, whole):
    found = list(landsift.iter_predictions(model, images))
    assert len(found) == 10
    same(pd.concat([each.table() for each in found], ignore_index=True), whole)
    assert [entry["path"] for each in found for entry in each.skipped] == [f"{images}/b/13.png"]


KILLED = """
import sys
from landsift.evaluation import in_chunks, stream
in_chunks.CHUNK, stream.CHUNKS = 3, 1
from landsift.cli.main import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("out", ["out", "t.csv", "t.parquet"])
def test_killed_at_random_moments_the_same_command_goes_on(model, images, whole, tmp_path, out):
    random.seed(out)
    command = [sys.executable, "-c", KILLED, "predict", model, images, "--out", tmp_path / out, "--json"]
    begun = time.monotonic()
    first = subprocess.run([*command[:-2], tmp_path / f"timed-{out}"], check=True, capture_output=True)
    takes = time.monotonic() - begun
    assert first.returncode == 0
    kills = 0
    for _ in range(20):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            said, _ = process.communicate(timeout=random.uniform(0.4, 1.05) * takes)
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
    else:
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert json.loads(said)["patches"] == FILES - 1
    table = pd.read_csv(tmp_path / out) if out.endswith("csv") else pd.read_parquet(tmp_path / out)
    assert list(table["path"]) == list(whole["path"])
    np.testing.assert_allclose(table["p_water"], whole["p_water"], rtol=1e-6)
    left = {each.name for each in tmp_path.rglob("*") if each.name.startswith(".")}
    assert not left, kills


@pytest.mark.slow
def test_several_processes_write_the_same_table_and_a_killed_one_changes_nothing(model, images, whole, tmp_path):
    command = [sys.executable, "-c", KILLED, "predict", model, images, "--out", tmp_path / "out", "--json"]
    process = subprocess.Popen([*map(str, command), "--workers", "2"], stdout=subprocess.PIPE, text=True)
    main, killed = psutil.Process(process.pid), None
    while process.poll() is None and killed is None:
        workers = [each for each in main.children(recursive=True) if each.memory_info().rss > 150e6]  # torch is there
        if workers:
            killed = workers[-1]
            killed.kill()
        time.sleep(0.05)
    said, _ = process.communicate()
    assert process.returncode == 0
    assert killed is not None
    assert json.loads(said)["patches"] == FILES - 1
    table = pd.read_parquet(tmp_path / "out")
    assert list(table["path"]) == list(whole["path"])
    np.testing.assert_allclose(table["p_water"], whole["p_water"], rtol=1e-6)


def test_workers_must_see_what_is_read_and_nothing_is_written_there(model, images, tmp_path):
    entries = list_sources([images], {".png"}).entries
    assert shared_files(model, entries, tmp_path) == [model / "model.json", images / "a" / "0.png", tmp_path]
    archive = tmp_path / "a.zip"
    entries = [Entry(f"{archive}/0.png", 1, "", str(archive), (0,)), Entry("s3://patches/0.png", 1)]
    assert shared_files(model, entries, tmp_path)[1] == archive
    assert shared_files(model, entries[1:], tmp_path) == [model / "model.json", tmp_path]


def test_an_engine_that_cannot_be_used_is_refused_before_the_work(model, images, tmp_path):
    with pytest.raises(ConfigError, match="the engine 'nowhere' is no address and no file"):
        landsift.predict_into(model, images, tmp_path / "out", engine="nowhere")
    with pytest.raises(ConfigError, match="workers changes nothing with an engine at tcp://one:8786"):
        landsift.predict_into(model, images, tmp_path / "out", engine="tcp://one:8786", workers=2)
    assert not (tmp_path / "out").exists()
