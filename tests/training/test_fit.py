"""A training leaves a complete run directory, twice the same, with figures that are what they say."""

import itertools
import json
import logging
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from small_runs import small, train

from landsift.config import ModelConfig, RunConfig
from landsift.data.splits import make_split
from landsift.data.store.patch_store import build_store
from landsift.errors import ConfigError, ModelError
from landsift.models.backbone import create_backbone
from landsift.models.predictor import load_model
from landsift.models.preprocess import Normalize, resize, to_float
from landsift.runs import Run
from landsift.training.fit import build_classifier

TWO_PHASES = (
    "strategy=[{name: head, epochs: 2, lr_head: 5.0e-3}, "
    "{name: all, epochs: 2, lr_head: 2.0e-3, lr_backbone: 2.0e-3, blocks: all, lr_min: 1.0e-6}]"
)
SETTINGS = ("data.synthetic.difficulty=0.2", "tracking.tsne_every=2", TWO_PHASES)


def configured(*changes: str) -> RunConfig:
    return small(*SETTINGS, *changes)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return build_store(configured().data, tmp_path_factory.mktemp("store") / "s")


@pytest.fixture(scope="module")
def run(store, tmp_path_factory) -> Run:
    return train(configured(), store, tmp_path_factory.mktemp("run") / "r")


def test_the_directory_holds_every_file_of_the_contract(run):
    names = {p.name for p in run.path.iterdir()}
    assert names == {
        "config.yaml", "manifest.json", "metrics.json", "evaluation.json", "predictions.parquet", "embeddings.parquet",
        "checkpoints", "model", "mistakes.safetensors", "weights.safetensors", "validation_features",
    }  # fmt: skip
    assert {p.name for p in run.model_dir.iterdir()} == {
        "model.safetensors", "model.json", "trust.safetensors", "trust.json",
    }  # fmt: skip
    assert run.config == configured()


def test_there_is_one_row_per_epoch_with_its_phase_and_rates(run):
    assert [row["epoch"] for row in run.metrics] == [0, 1, 2, 3]
    assert [row["phase"] for row in run.metrics] == [1, 1, 2, 2]
    assert [row["phase_name"] for row in run.metrics] == ["head", "head", "all", "all"]
    assert [row["lr_backbone"] > 0 for row in run.metrics] == [False, False, True, True]
    assert set(run.metrics[0]) == {
        "epoch", "phase", "phase_name", "train_loss", "val_loss", "val_acc", "lr_head", "lr_backbone", "seconds",
        "val_seconds",
    }  # fmt: skip


def test_the_rates_are_those_of_each_phases_own_schedule(run):
    """Of 5 steps an epoch and 10 a phase, the last of each epoch: cosine to 0 in the head's phase, then a fresh one."""
    head = [row["lr_head"] for row in run.metrics]
    backbone = [row["lr_backbone"] for row in run.metrics]
    cosine = [0.5 * (1 + np.cos(np.pi * step / 10)) for step in (4, 9)]
    assert head[:2] == pytest.approx([5e-3 * c for c in cosine])
    assert head[2:] == backbone[2:] == pytest.approx([1e-6 + (2e-3 - 1e-6) * c for c in cosine])


def test_the_training_loss_is_that_of_the_very_epoch(store, tmp_path):
    """With one batch an epoch, an epoch's loss is that of the weights that the epoch before it left."""
    plain = [
        "strategy=[{epochs: 3, lr_head: 1.0, schedule: constant}]",
        "training.batch_size=128",
        "training.augment={flips: false, color_jitter: [0, 0, 0, 0]}",
        "model.head={hidden: null, dropout: 0.0}",
        "training.label_smoothing=0.0",
        "tracking.tsne_every=0",
    ]
    config = configured(*plain)
    run = train(config, store, tmp_path / "r")
    split = make_split(store, config.data.split)
    classifier, normalization = build_classifier(config, store, split)
    images = Normalize(normalization.mean, normalization.std)(
        resize(to_float(torch.from_numpy(store.images[split.train])), 32)
    )
    for file in run.checkpoints:
        epoch = int(file.stem.split("-")[1])
        state = torch.load(file, weights_only=True)["state_dict"]
        classifier.load_state_dict({k.removeprefix("classifier."): v for k, v in state.items()})
        with torch.inference_mode():
            logits = classifier.eval()(images)
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(store.labels[split.train]))
        if epoch + 1 < len(run.metrics):
            assert run.metrics[epoch + 1]["train_loss"] == pytest.approx(loss.item(), abs=1e-4)
    losses = [row["train_loss"] for row in run.metrics]
    assert len(run.checkpoints) == 3
    assert min(abs(a - b) for a, b in itertools.pairwise(losses)) > 0.01


def test_the_number_in_a_checkpoints_name_is_its_validation_accuracy(run):
    files = sorted((run.path / "checkpoints").glob("best-*.ckpt"))
    assert len(files) == 3
    for file in files:
        _, epoch, accuracy = file.stem.split("-")
        assert float(accuracy) == pytest.approx(run.metrics[int(epoch)]["val_acc"], abs=5e-4)
    kept = sorted((float(f.stem.split("-")[2]) for f in files), reverse=True)
    best = sorted((row["val_acc"] for row in run.metrics), reverse=True)[:3]
    assert kept == pytest.approx(best, abs=5e-4)


def test_the_tables_groups_reach_the_intervals(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for i in range(60):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
        rows.append({"path": f"{i}.png", "label": "ab"[i % 2], "group": f"scene {i // 5}"})
    pd.DataFrame(rows).to_csv(tmp_path / "patches.csv", index=False)
    config = small(f"data.source={tmp_path / 'patches.csv'}", "strategy=[{epochs: 1, lr_head: 1.0e-3}]")
    evaluation = train(config, build_store(config.data, tmp_path / "store"), tmp_path / "run").evaluation
    for name in ("val", "test"):
        intervals = evaluation[name]["intervals"]
        assert intervals["over"] == "groups"
        assert intervals["groups"] == evaluation[name]["n"] / 5
        assert "groups" in intervals["methods"]["shares"]


def test_the_last_checkpoint_is_that_of_the_last_epoch_and_needs_no_code_to_load(run):
    last = torch.load(run.path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] == 3
    assert last["optimizer_states"][0]["state"]


def test_the_optimizers_state_is_in_the_last_checkpoint_alone(run):
    """It is twice as large as the weights, and a training goes on from no other; the best are Lightning checkpoints."""
    for file in run.checkpoints:
        best = torch.load(file, weights_only=True)
        assert not {"optimizer_states", "lr_schedulers", "callbacks"} & set(best)
        assert {"state_dict", "epoch", "global_step", "pytorch-lightning_version"} <= set(best)


def test_the_best_checkpoint_is_evaluated_not_the_last(store, tmp_path):
    """The last phase ruins what the first has learned."""
    ruin = "strategy=[{epochs: 6, lr_head: 5.0e-3, blocks: all, lr_backbone: 5.0e-3}, {epochs: 1, lr_head: 50.0}]"
    run = train(configured(ruin, "tracking.tsne_every=0"), store, tmp_path / "r")
    assert run.evaluation["epoch"] < 6
    assert run.metrics[6]["val_acc"] < run.evaluation["val"]["accuracy"] - 0.1
    best = max(run.metrics, key=lambda row: row["val_acc"])["val_acc"]
    assert run.evaluation["val"]["accuracy"] == pytest.approx(best, abs=1e-6)
    assert run.metrics[run.evaluation["epoch"]]["val_acc"] == pytest.approx(best)
    state = torch.load(run.path / "checkpoints" / run.evaluation["checkpoint"], weights_only=True)["state_dict"]
    from safetensors.torch import load_file

    saved = load_file(run.model_dir / "model.safetensors")
    assert all(torch.equal(value, state[f"classifier.{name}"]) for name, value in saved.items())


def test_predictions_are_those_of_the_saved_model_and_agree_with_the_figures(run, store):
    table = run.predictions
    columns = ["path", "split", "label", "predicted", *(f"p_{c}" for c in store.classes)]
    assert list(table.columns) == columns
    assert table["split"].value_counts().to_dict() == {"val": 24, "test": 24}
    test = table[table["split"] == "test"]
    assert (test["label"] == test["predicted"]).mean() == pytest.approx(run.evaluation["test"]["accuracy"])
    np.testing.assert_allclose(table[columns[4:]].sum(axis=1), 1.0, atol=1e-5)
    rows = pd.Index(store.index["path"]).get_indexer(test["path"])
    np.testing.assert_array_equal(load_model(run.path)(store.images[rows]), test[columns[4:]].to_numpy())


def test_frames_are_balanced_and_made_every_few_epochs_after_the_last_and_of_the_models_own(run):
    frames = run.embeddings
    assert sorted(frames["epoch"].unique()) == sorted({0, 2, 3, run.evaluation["epoch"]})
    assert (frames.groupby(["epoch", "label"]).size() == 4).all()  # 24 validation patches: 4 of each class
    assert np.isfinite(frames[["x", "y"]].to_numpy()).all()


def of_train(store):
    """Mean and std of the training patches alone."""
    pixels = store.images[make_split(store, configured().data.split).train] / 255
    mean, std = (pytest.approx(list(f(pixels, axis=(0, 1, 2)))) for f in (np.mean, np.std))
    assert list(store.mean) != mean
    return {"mean": mean, "std": std}


def test_the_manifest_tells_what_was_trained_on_what(run, store):
    manifest = run.manifest
    assert manifest["data"]["fingerprint"] == store.fingerprint
    assert manifest["data"]["split"] == {"train": 72, "val": 24, "test": 24}
    assert [p["trainable"] for p in manifest["phases"]] == [67_846, 167_042]
    assert [p["first_epoch"] for p in manifest["phases"]] == [0, 2]
    assert manifest["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert manifest["model"]["normalization"] == of_train(store)


def without_seconds(run: Run) -> str:
    return json.dumps([{k: v for k, v in row.items() if "seconds" not in k} for row in run.metrics])


def test_one_seed_makes_two_runs_agree_to_the_last_bit_and_another_does_not(run, store, tmp_path):
    again = train(configured(), store, tmp_path / "again")
    assert without_seconds(again) == without_seconds(run)
    assert (again.model_dir / "model.safetensors").read_bytes() == (run.model_dir / "model.safetensors").read_bytes()
    assert again.predictions.equals(run.predictions)
    assert again.embeddings.equals(run.embeddings)
    other = train(configured("seed=1", "tracking.tsne_every=0"), store, tmp_path / "other")
    assert without_seconds(other) != without_seconds(run)
    assert other.embeddings.empty


def test_early_stopping_waits_for_the_last_phase(store, tmp_path):
    phases = "strategy=[{epochs: 3, lr_head: 1.0e-12}, {epochs: 6, lr_head: 1.0e-12}]"
    changes = (phases, "training.early_stopping={patience: 1, min_delta: 0.5}", "tracking.tsne_every=9")
    run = train(configured(*changes), store, tmp_path / "r")
    assert [row["phase"] for row in run.metrics] == [1, 1, 1, 2, 2]
    assert sorted(run.embeddings["epoch"].unique()) == [0, 4]  # and after the last epoch, though that came early


def test_weights_that_diverge_are_an_error_that_names_epoch_and_rates(store, tmp_path):
    with pytest.raises(
        ModelError, match=r"epoch 1 \(phase 1\): the loss is not finite: training diverged.* 1e\+30 \(head\)"
    ):
        train(configured("strategy=[{epochs: 2, lr_head: 1.0e+30, schedule: constant}]"), store, tmp_path / "r")


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_an_error(store, tmp_path):
    with pytest.raises(ConfigError, match="torch sees no GPU here"):
        train(configured("training.accelerator=gpu"), store, tmp_path / "r")


def test_a_network_of_fixed_input_size_refuses_phases_of_another(store, tmp_path):
    phases = "strategy=[{epochs: 1, lr_head: 1.0e-3, image_size: 16}]"
    with pytest.raises(ConfigError, match="images of one size only, 32 pixels"):
        train(configured("model.backbone=test_vit", phases), store, tmp_path / "r")


def test_a_phase_may_have_its_own_image_size(store, tmp_path):
    phases = "strategy=[{epochs: 1, lr_head: 1.0e-3, image_size: 16}, {epochs: 1, lr_head: 1.0e-3, image_size: 48}]"
    run = train(configured(phases, "tracking.tsne_every=0"), store, tmp_path / "r")
    trained_at = [16, 48][run.evaluation["epoch"]]
    assert json.loads((run.model_dir / "model.json").read_text())["image_size"] == trained_at


def test_mixup_cutmix_crops_and_clipping_train(store, tmp_path):
    changes = ("training.augment={crop: 0.5, mixup: 0.2, cutmix: 1.0}", "training.gradient_clip=1.0")
    one = ("strategy=[{epochs: 1, lr_head: 1.0e-3, blocks: 1, lr_backbone: 1.0e-4}]", "tracking.tsne_every=0")
    run = train(configured(*changes, *one), store, tmp_path / "r")
    assert np.isfinite(run.metrics[0]["train_loss"])


def test_normalization_with_another_number_of_bands_is_refused(store, tmp_path):
    with pytest.raises(ConfigError, match="3 means and 3 stds"):
        train(configured("model.normalization={mean: [0.5], std: [0.5]}"), store, tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_network_for_another_number_of_bands_than_the_patches_have_is_refused(store, tmp_path):
    with pytest.raises(ConfigError, match=r"the network takes images of 4 bands, the patches have 3"):
        train(configured("model.backbone_args={in_chans: 4}"), store, tmp_path / "r")


def test_a_checkpoint_of_a_training_is_refused_as_weights_in_favour_of_its_run(run):
    """It holds averages and a head beside the weights; the run's model is what was tested."""
    file = run.checkpoints[0]
    with pytest.raises(ModelError, match="it is a checkpoint of a training of landsift; give its run directory"):
        create_backbone(ModelConfig(backbone="test_efficientnet", weights=str(file)), 32)


def test_what_is_assumed_of_a_file_of_weights_is_said_once(store, tmp_path, caplog):
    torch.save(timm.create_model("test_efficientnet").state_dict(), tmp_path / "w.pth")
    config = configured(f"model.weights={tmp_path / 'w.pth'}")
    split = make_split(store, config.data.split)
    with caplog.at_level(logging.INFO, "landsift"):
        build_classifier(config, store, split)
        assert caplog.text.count("are taken to expect inputs of mean 0.485, 0.456, 0.406") == 1
        caplog.clear()
        build_classifier(configured(), store, split)  # random weights expect nothing
    assert "are taken to expect" not in caplog.text


def test_it_trains_from_real_pretrained_weights_in_their_own_normalization(shared, store, tmp_path):
    file: Path = shared / "weights" / "mobilenetv2_100.imagenet.safetensors"
    changes = (
        "model.backbone=mobilenetv2_100",
        f"model.weights={file}",
        "model.backbone_args={pad_type: same}",
        "model.normalization={mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}",
        "strategy=[{epochs: 3, lr_head: 2.0e-3}]",
        "tracking.tsne_every=0",
    )
    run = train(configured(*changes), store, tmp_path / "r")
    assert run.evaluation["val"]["accuracy"] > 0.5  # chance is one in six
    assert json.loads((run.model_dir / "model.json").read_text())["mean"] == [0.5, 0.5, 0.5]


def test_a_training_leaves_pythons_own_random_numbers_alone(store, tmp_path):
    """Others draw names of files from them, which must not repeat after every training."""
    config = configured("strategy=[{epochs: 1, lr_head: 5.0e-3}]", "tracking.tsne_every=0")
    drawn = []
    for name in ("a", "b"):
        train(config, store, tmp_path / name)
        drawn.append(random.random())
    assert drawn[0] != drawn[1]


def test_from_scratch_no_weights_are_looked_for_and_the_patches_own_statistics_normalise(store, run, tmp_path):
    phases = TWO_PHASES.replace("lr_head: 5.0e-3}", "lr_head: 5.0e-3, from_scratch: true}")
    scratch = train(configured(phases, "model.weights=nowhere.safetensors"), store, tmp_path / "r")
    assert scratch.manifest["model"]["weights"] == scratch.config.model.weights == "none"
    assert scratch.manifest["model"]["normalization"] == of_train(store)
    assert [phase["from_scratch"] for phase in scratch.manifest["phases"]] == [True, False]
    assert without_seconds(scratch) == without_seconds(run)  # which was asked for random weights


def test_a_strategy_of_ones_own_trains_by_its_name(store, run, tmp_path):
    phases = TWO_PHASES.removeprefix("strategy=")
    named = train(configured(f"strategies.mine={phases}", "strategy=mine"), store, tmp_path / "r")
    assert without_seconds(named) == without_seconds(run)
    assert named.config.strategy == "mine"


def test_another_seed_of_the_budget_trains_on_other_labels_and_tests_on_the_same(store, run, tmp_path):
    one = ("strategy=[{epochs: 1, lr_head: 5.0e-3}]", "data.budget=36", "tracking.tsne_every=0")
    runs = [
        train(configured(*one, f"data.budget_seed={seed}"), store, tmp_path / str(seed)) for seed in ("null", "0", "4")
    ]
    assert [r.manifest["data"]["budget_seed"] for r in runs] == [0, 0, 4]
    assert run.manifest["data"]["budget_seed"] is None
    assert {r.manifest["data"]["split"]["train"] for r in runs} == {36}
    assert all(r.predictions["path"].equals(run.predictions["path"]) for r in runs)
    losses = [r.metrics[0]["train_loss"] for r in runs]
    assert losses[0] == losses[1] != losses[2]
