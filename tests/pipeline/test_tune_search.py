"""A search from its first trial to its page, on a few generated patches: judged on validation, tested once."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pipeline_helpers
import pytest
from typer.testing import CliRunner

from landsift import runs
from landsift.cli.main import app
from landsift.config import RunConfig
from landsift.data.store.patch_store import PatchStore
from landsift.errors import ConfigError, ModelError, ProcessError, RunError
from landsift.models.predictor import load_model
from landsift.pipeline.tuning.search import tune
from landsift.pipeline.tuning.trial import _deleted_if_failed, _ends_search, train

TINY = ("data.source=synthetic", *pipeline_helpers.TINY)
ASKED = {"trials": 3, "search": ["lr_head", "color_jitter"], "repeats": 1}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished search, and the cache folder of its trials."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANDSIFT_HOME", str(home))
        record = tune(RunConfig.load(None, TINY), tmp_path_factory.mktemp("tuned") / "out", **ASKED)
    return record, home


@pytest.fixture
def record(finished, monkeypatch):
    monkeypatch.setenv("LANDSIFT_HOME", str(finished[1]))
    return finished[0]


def told(folder: Path) -> dict:
    return json.loads((folder / runs.METRICS).read_text())


def test_the_folder_holds_a_model_its_configuration_the_trials_and_a_page(record):
    assert {p.name for p in record.folder.iterdir()} >= {
        "metrics.json", "trials.csv", "best.yaml", "best", "report.html",
    }  # fmt: skip
    best = RunConfig.load(record.folder / "best.yaml")
    assert runs.Run.open(record.folder / "best").config.to_dict() == best.to_dict()
    store = PatchStore.open(runs.Run.open(record.folder / "best").manifest["data"]["store"])
    assert load_model(record.folder / "best")(store.images[:2]).shape == (2, 6)
    rows = list(csv.DictReader((record.folder / "trials.csv").open()))
    assert [row["trial"] for row in rows] == ["1", "2", "3"]
    assert "Search of settings" in (record.folder / "report.html").read_text()


def test_the_first_trial_is_the_configuration_as_it_was_and_is_tested_beside_the_chosen_one(record):
    found = record.finished
    if found["chosen"]:
        assert runs.Run.open(record.folder / "default").config.training == RunConfig.load(None, TINY).training
        assert {"difference", "interval", "p"} <= set(found["test"])
    assert {s["number"] for s in found["standings"]} >= {0}
    assert all(len(s["accuracies"]) == 2 for s in found["standings"])
    assert found["test"]["best"]["n"] == len(runs.Run.open(record.folder / "best").predictions.query("split == 'test'"))


def test_the_chosen_model_is_its_trials_own(record):
    run = runs.Run.open(record.folder / "best")
    assert run.manifest["stages"]["train_model"]["cached"]
    assert not run.manifest["stages"]["test_model"]["cached"]
    trial = record.trials[record.finished["chosen"]]
    assert run.manifest["best"]["val_acc"] == trial.accuracy


def test_the_same_command_after_the_end_says_the_same_and_trains_nothing(record):
    before = {p: p.stat().st_mtime_ns for p in record.folder.rglob("*.json")}
    again = tune(RunConfig.load(None, TINY), record.folder, **ASKED)
    assert told(again.folder)["finished"] == json.loads(json.dumps(record.finished))
    assert {p: p.stat().st_mtime_ns for p in record.folder.rglob("*.json")} == before


def test_a_search_that_was_tested_does_not_go_on(record):
    with pytest.raises(RunError, match="its test patches have been looked at"):
        tune(RunConfig.load(None, TINY), record.folder, **ASKED | {"trials": 9})


def test_a_search_of_other_settings_is_another_one(record):
    with pytest.raises(RunError, match=r"another search: config\.training\.batch_size was different"):
        tune(RunConfig.load(None, [*TINY, "training.batch_size=8"]), record.folder, **ASKED)
    with pytest.raises(RunError, match="is not empty"):
        tune(RunConfig.load(None, TINY), record.folder / "best", **ASKED)


def test_a_damaged_record_is_named_with_what_to_do(record, tmp_path):
    (tmp_path / runs.METRICS).write_text('{"kind": "tuning"')
    with pytest.raises(RunError, match=r"cannot read .*metrics\.json") as caught:
        tune(RunConfig.load(None, TINY), tmp_path, **ASKED)
    assert caught.value.hint == "give --out a new folder; equal trials come from the cache"


def test_an_interrupted_search_ends_as_one_that_was_not(record, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(record.folder, out, ignore=shutil.ignore_patterns("best", "default", "report.html"))
    said = told(out)
    said |= {"trials": said["trials"][:1], "repeats": {}, "finished": None, "tested": None, "attempts": 1, "spent": 1.0}
    (out / runs.METRICS).write_text(json.dumps(said))
    again = tune(RunConfig.load(None, TINY), out, **ASKED)
    assert [t.values for t in again.trials] == [t.values for t in record.trials]
    assert [t.accuracy for t in again.trials] == [t.accuracy for t in record.trials]
    for name in ("chosen", "standings", "val", "test"):
        assert again.finished[name] == record.finished[name]
    assert again.attempts == 0


def copied(record, out: Path, **changed) -> dict:
    """The folder of a search whose test was interrupted before its page, and what its record says."""
    shutil.copytree(record.folder, out, ignore=shutil.ignore_patterns("report.html"))
    said = told(out) | {"finished": None} | changed
    (out / runs.METRICS).write_text(json.dumps(said))
    return said


def test_a_search_whose_test_was_interrupted_is_only_tested(record, tmp_path):
    out = tmp_path / "out"
    said = copied(record, out)
    with pytest.raises(RunError, match="a search whose test was interrupted: its test patches have been looked at"):
        tune(RunConfig.load(None, TINY), out, **ASKED | {"trials": 9})
    copied_trials = said["trials"][:2]  # also where the record would have it go on
    (out / runs.METRICS).write_text(json.dumps(said | {"trials": copied_trials}))
    again = tune(RunConfig.load(None, TINY), out, **ASKED)
    assert len(again.trials) == 2
    assert again.finished["trained_again"] == []


def test_a_model_that_is_not_the_one_validation_judged_is_named(record, tmp_path, caplog):
    out = tmp_path / "out"
    said = copied(record, out)
    chosen = record.finished["chosen"]
    said["trials"][chosen]["accuracy"] += 0.01
    (out / runs.METRICS).write_text(json.dumps(said))
    again = tune(RunConfig.load(None, TINY), out, **ASKED)
    assert again.finished["trained_again"][0] == chosen
    assert f"trial {chosen + 1} was trained again for the test" in caplog.text
    assert "Not the models that validation has judged" in (out / "report.html").read_text()


def test_other_content_of_a_file_that_is_named_is_another_search(record, tmp_path):
    said = copied(record, tmp_path / "out")
    asked = said["asked"] | {"files": said["asked"]["files"] | {"weights": "of before"}}
    (tmp_path / "out" / runs.METRICS).write_text(json.dumps(said | {"asked": asked}))
    with pytest.raises(RunError, match=r"another search: files\.weights was different"):
        tune(RunConfig.load(None, TINY), tmp_path / "out", **ASKED)


def test_trials_of_another_version_are_named(record, tmp_path, caplog):
    copied(record, tmp_path / "out", landsift="0.0.1")
    tune(RunConfig.load(None, TINY), tmp_path / "out", **ASKED)
    assert "the trials so far were trained by landsift 0.0.1" in caplog.text


def test_a_trial_that_ended_the_process_three_times_has_failed(record, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    said = told(record.folder)
    said |= {"trials": said["trials"][:2], "repeats": {}, "finished": None, "tested": None, "attempts": 3}
    (out / runs.METRICS).write_text(json.dumps(said))
    again = tune(RunConfig.load(None, TINY), out, **ASKED)
    assert again.trials[2].state == "failed"
    assert "ended 3 times" in again.trials[2].reason
    assert "ended 3 times" in (out / "report.html").read_text()


def opened(record):
    config = RunConfig.load(None, TINY)
    store = PatchStore.open(runs.Run.open(record.folder / "best").manifest["data"]["store"])
    return config, store, store.folder.name


def test_a_hopeless_training_ends_early_and_leaves_nothing_also_if_it_is_in_the_cache(record):
    config, store, key = opened(record)
    assert train(config, store, key, "r", "it", is_hopeless=lambda _: True).state == "pruned"  # from the cache
    other = config.replace("strategy=[{name: head, epochs: 3, lr_head: 0.003}]")
    ended = train(other, store, key, "r", "it", is_hopeless=lambda curve: 3 in curve)
    assert (ended.state, ended.epochs, set(ended.curve)) == ("pruned", 1, {1, 2, 3})
    stopped = train(other, store, key, "r", "it", until=time.monotonic())
    assert (stopped.state, stopped.epochs) == ("stopped", 1)
    assert not [*(Path(os.environ["LANDSIFT_HOME"]) / "unfinished").glob("*")]


def test_a_training_that_diverges_fails_with_its_cause(record):
    config, store, key = opened(record)
    wild = config.replace("strategy=[{name: head, epochs: 1, lr_head: 1.0e+30}]", "training.max_skipped_steps=0")
    outcome = train(wild, store, key, "r", "it")
    assert outcome.state == "failed"
    assert "not finite" in outcome.reason
    assert not [*(Path(os.environ["LANDSIFT_HOME"]) / "unfinished").glob("*")]


def test_if_all_trials_fail_that_is_an_error_with_the_cause(record, tmp_path):
    wild = ["strategy=[{name: head, epochs: 1, lr_head: 1.0e+30}]", "training.max_skipped_steps=0"]
    with pytest.raises(RunError, match=r"all trials failed: .*not finite"):
        tune(RunConfig.load(None, [*TINY, *wild]), tmp_path / "out", trials=2, search=["color_jitter"])
    assert [t["state"] for t in told(tmp_path / "out")["trials"]] == ["failed", "failed"]


def test_if_all_trials_fail_minutes_alone_end_the_search_as_well(record, tmp_path, monkeypatch):
    monkeypatch.setattr("landsift.pipeline.tuning.search.FAILED_AT_FIRST", 2)
    wild = ["strategy=[{name: head, epochs: 1, lr_head: 1.0e+30}]", "training.max_skipped_steps=0"]
    with pytest.raises(RunError, match=r"all trials failed: .*not finite") as caught:
        tune(RunConfig.load(None, [*TINY, *wild]), tmp_path / "out", minutes=1e5, search=["color_jitter"])
    assert "a new folder" in caught.value.hint
    assert [t["state"] for t in told(tmp_path / "out")["trials"]] == ["failed", "failed"]
    assert told(tmp_path / "out")["spent"] > 0


@pytest.mark.parametrize(
    ("error", "is_kept"),
    [(RunError("a full disk"), True), (ProcessError("killed"), False), (ModelError("a loss"), False)],
)
def test_a_checkpoint_is_kept_where_the_search_ends_and_not_where_a_trial_fails(tmp_path, error, is_kept):
    (tmp_path / "it").mkdir()
    with pytest.raises(type(error)), _deleted_if_failed(tmp_path / "it"):
        raise error
    assert (tmp_path / "it").exists() == is_kept
    assert _ends_search(error) == is_kept


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"trials": 0}, "--trials is 0"),
        ({"minutes": -1.0}, "--minutes is -1"),
        ({"minutes": float("inf")}, "--minutes is inf"),
    ],
)
def test_limits_are_checked(tmp_path, limits, said):
    with pytest.raises(ConfigError, match=said):
        tune(RunConfig.load(None, TINY), tmp_path / "out", **limits)
    assert not (tmp_path / "out").exists()


def call(*arguments: str):
    return CliRunner().invoke(app, ["tune", *arguments])


def test_the_command_prints_both_accuracies_the_verdict_and_the_next_command(record):
    settings = [part for setting in TINY for part in ("--set", setting)]
    done = call(*settings, "--out", str(record.folder), "--trials", "3", "--search", "lr_head, color_jitter")
    assert done.exit_code == 0, done.exception
    assert "test accuracy, chosen" in done.stdout
    assert "chosen on validation from 3 trials" in done.stdout
    assert f"landsift run --config {record.folder}/best.yaml --out RUN" in done.stdout
    as_json = call(
        *settings, "--out", str(record.folder), "--trials", "3", "--search", "lr_head,color_jitter", "--json"
    )
    assert json.loads(as_json.stdout)["trials"] == 3


def test_the_page_is_written_again_by_report(record, tmp_path):
    out = str(tmp_path / "again.html")
    assert CliRunner().invoke(app, ["report", str(record.folder), "--out", out]).exit_code == 0
    assert Path(out).read_text() == (record.folder / "report.html").read_text()


def test_a_configuration_without_patches_and_an_unknown_name_are_refused(tmp_path):
    assert "no patches are named" in str(call("--out", str(tmp_path / "out")).exception)
    settings = [part for setting in TINY for part in ("--set", setting)]
    wrong = call(*settings, "--out", str(tmp_path / "out"), "--search", "strateg")
    assert "there is nothing called 'strateg'" in str(wrong.exception)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_search_that_was_killed_resumes_and_ends_as_another(record, tmp_path, number):
    settings = [part for setting in TINY for part in ("--set", setting)]
    line = [sys.executable, "-m", "landsift", "tune", *settings, "--search", "lr_head,color_jitter", "--trials", "3"]
    env = os.environ | {"LANDSIFT_HOME": str(tmp_path / "home")}
    first = subprocess.Popen([*line, "--out", "out"], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while first.poll() is None and time.monotonic() < deadline:
        if (tmp_path / "out" / "best.yaml").is_file():
            first.send_signal(number)
            break
        time.sleep(0.05)
    said = first.communicate(timeout=300)[1]
    assert first.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130), said
    assert "interrupted" in said or number == signal.SIGKILL
    RunConfig.load(tmp_path / "out" / "best.yaml")
    subprocess.run([*line, "--out", "out"], cwd=tmp_path, env=env, check=True, timeout=600, capture_output=True)
    found = told(tmp_path / "out")
    assert [t["values"] for t in found["trials"]] == [t.values for t in record.trials]
    assert [t["accuracy"] for t in found["trials"]] == [t.accuracy for t in record.trials]
