"""A run is repeated from its own config.yaml, and tells what was different then."""

import json
import logging
import shutil

import pytest

from landsift.config import RunConfig
from landsift.pipeline import reproduce
from landsift.pipeline.run import run
from landsift.runs import CONFIG, MANIFEST, METRICS, Run


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Run:
    """A run to repeat."""
    from pipeline_helpers import TINY

    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANDSIFT_HOME", str(folder / "home"))
        return run(RunConfig.load(None, (*TINY, "training.precision=auto")), folder / "run")


def again(first: Run, out, *changes: str, config=None) -> Run:
    file = (config or first.path) / CONFIG
    return run(RunConfig.load(file, changes), out, cache=False, config_file=file)


def test_a_run_repeated_on_the_same_machine_has_the_same_metrics_to_the_last_bit(first, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "landsift"):
        second = again(first, tmp_path / "again")
    assert second.manifest["repeats"] == {"run": str(first.path), "same_metrics": True, "differs": []}
    assert reproduce._numbers(second.metrics) == reproduce._numbers(first.metrics)
    assert (second.model_dir / "model.safetensors").read_bytes() == (first.model_dir / "model.safetensors").read_bytes()
    assert f"metrics are bit-identical to those of {first.path}" in caplog.text
    page = (second.path / "report.html").read_text()
    assert f"This run repeats {first.path}, with bit-identical metrics in every epoch." in page
    assert "Data, versions and machine are the same." in page


def test_the_report_says_which_versions_and_data_differ(first, tmp_path, caplog):
    shutil.copytree(first.path, tmp_path / "older")
    manifest = json.loads((tmp_path / "older" / MANIFEST).read_text())
    manifest["versions"] |= {"torch": "1.13.0", "apex": "0.1"}
    manifest["data"]["fingerprint"] = "e" * 64
    (tmp_path / "older" / MANIFEST).write_text(json.dumps(manifest))
    rows = json.loads((tmp_path / "older" / METRICS).read_text())
    rows[0]["val_loss"] += 1e-9
    (tmp_path / "older" / METRICS).write_text(json.dumps(rows))
    with caplog.at_level(logging.WARNING, "landsift"):
        second = again(first, tmp_path / "again", config=tmp_path / "older")
    repeats = second.manifest["repeats"]
    assert repeats["same_metrics"] is False
    assert {d["what"]: d["then"] for d in repeats["differs"]} == {"data": "e" * 64, "torch": "1.13.0", "apex": "0.1"}
    assert "metrics differ from those of" in caplog.text
    page = (second.path / "report.html").read_text()
    assert "with different metrics. Data was eeeeeeeeeeee… and is now " in page
    assert "apex was 0.1 and is now none; torch was 1.13.0 and is now " in page


def test_what_was_chosen_is_taken_over_on_the_same_machine_alone(first, tmp_path):
    shutil.copytree(first.path, tmp_path / "older")
    manifest = json.loads((tmp_path / "older" / MANIFEST).read_text())
    manifest["hardware"] |= {"precision": "bf16-mixed"}
    (tmp_path / "older" / MANIFEST).write_text(json.dumps(manifest))
    second = again(first, tmp_path / "again", config=tmp_path / "older")
    assert second.manifest["hardware"]["precision"] == "bf16-mixed"
    manifest["hardware"]["cores"] += 1
    (tmp_path / "older" / MANIFEST).write_text(json.dumps(manifest))
    third = again(first, tmp_path / "third", config=tmp_path / "older")
    assert third.manifest["hardware"]["precision"] == "32-true"
    assert "cores" in {d["what"] for d in third.manifest["repeats"]["differs"]}


def test_another_configuration_repeats_nothing(first, tmp_path):
    assert "repeats" not in again(first, tmp_path / "again", "seed=1").manifest
    tracked_elsewhere = RunConfig.load(first.path / CONFIG, ["tracking.project=other"])
    assert reproduce.original(tracked_elsewhere, first.path / CONFIG) is not None
    assert reproduce.original(first.config, None) is None
    (tmp_path / CONFIG).write_text(first.config.to_yaml())
    assert reproduce.original(first.config, tmp_path / CONFIG) is None
    (tmp_path / MANIFEST).write_text("{}")
    assert reproduce.original(first.config, tmp_path / CONFIG) is None
