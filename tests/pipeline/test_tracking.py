"""What W&B gets to see of a training: every step's loss and rates, every epoch's figures, the t-SNE frames."""

import json
from pathlib import Path

import pytest
from pipeline_helpers import TINY
from wandb_offline import read_offline_run, read_offline_settings, read_offline_summary

from landsift.config import RunConfig, cache_folder
from landsift.pipeline.run import run
from landsift.pipeline.tracking import tell_of_cached


def test_an_offline_run_holds_steps_epochs_rates_and_frames(tmp_path, caplog):
    phases = "strategy=[{epochs: 2, lr_head: 2.0e-3}, {epochs: 1, lr_head: 1.0e-3, blocks: all, lr_backbone: 1.0e-4}]"
    changes = ("tracking.wandb=offline", "tracking.project=meadows", "tracking.entity=us", "tracking.tsne_every=1")
    config = RunConfig.load(None, [*TINY, *changes, phases, "training.batch_size=2"])
    with caplog.at_level("INFO", logger="landsift"):
        finished = run(config, tmp_path / "out")
    folders = list((cache_folder() / "tracking" / "wandb").glob("offline-run-*"))
    assert len(folders) == 1
    assert any("wandb sync" in message and str(folders[0]) in message for message in caplog.messages)

    settings = read_offline_settings(folders[0])
    assert (settings["project"], settings["entity"], settings["name"]) == ("meadows", "us", "out")
    assert settings["config"]["training"]["image_size"] == 32

    history = read_offline_run(folders[0])
    steps = [row for row in history if "train_loss_step" in row]
    assert [row["trainer/global_step"] for row in steps] == list(range(1, 55, 10))  # 3 epochs of 18 steps
    assert all(row["train_loss_step"] > 0 and row["lr_head"] > 0 for row in steps)
    assert [row["lr_backbone"] > 0 for row in steps] == [row["epoch"] == 2 for row in steps]
    epochs = [row for row in history if "val_acc" in row]
    for key in ("train_loss", "val_loss", "val_acc"):
        assert [row[key] for row in epochs] == pytest.approx([row[key] for row in finished.metrics], abs=1e-6)
    assert [row["phase"] for row in epochs] == [1, 1, 2]

    frames = [
        row["tsne"] if isinstance(row.get("tsne"), dict) else row for row in history if any("tsne" in k for k in row)
    ]
    assert len(frames) == 3
    media = sorted(Path(folders[0], "files", "media", "plotly").glob("tsne*.json"))
    assert len(media) == 3
    drawn = json.loads(media[0].read_text())["data"]
    assert {trace["name"] for trace in drawn} == {"barren", "cropland", "forest", "urban", "water", "wetland"}
    check_results(folders[0], finished, cached=False)


def check_results(folder, finished, *, cached):
    """W&B has the test's figures, its confusion matrix and the report."""
    test = finished.evaluation["test"]
    summary = read_offline_summary(folder)
    assert summary["test/accuracy"] == test["accuracy"]
    assert summary["test/n"] == test["n"]
    assert [summary[f"test/accuracy_{side}"] for side in ("low", "high")] == test["intervals"]["accuracy"]
    assert summary["cached"] is cached
    (table,) = Path(folder, "files", "media", "table", "test").glob("confusion_matrix_table*.json")
    rows = json.loads(table.read_text())["data"]
    assert sum(row[-1] for row in rows) == test["n"]
    assert sum(row[-1] for row in rows if row[0] == row[1]) == sum(r[i] for i, r in enumerate(test["confusion"]))
    (page,) = Path(folder, "files", "media", "html").glob("report*.html")
    assert "Confusion matrix" in page.read_text(encoding="utf-8")


def test_a_run_whose_training_is_cached_says_so_in_a_run_of_its_own(tmp_path, caplog):
    changes = ("tracking.wandb=offline", "tracking.project=meadows", "tracking.name=again", "tracking.note=Look twice.")
    config = RunConfig.load(None, [*TINY, *changes])
    finished = run(config.replace("tracking.wandb=disabled"), tmp_path / "out")
    (cache_folder() / "tracking").mkdir(exist_ok=True)
    tell_of_cached(finished, config.tracking)
    (folder,) = (cache_folder() / "tracking" / "wandb").glob("offline-run-*")
    settings = read_offline_settings(folder)
    assert (settings["project"], settings["name"], settings["tags"]) == ("meadows", "again", ["cached"])
    assert settings["notes"] == "The training comes from the cache. Look twice."
    assert settings["config"]["cached"] is True
    check_results(folder, finished, cached=True)
    with caplog.at_level("WARNING", logger="landsift"):
        tell_of_cached(finished, config.tracking.model_copy(update={"project": "a/b"}))
    assert "W&B was not told of this run" in caplog.text
