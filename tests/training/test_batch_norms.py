"""Batch norms in a phase's mode: which statistics move, which stand still, and what a fine-tuned network keeps."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_runs import small, train

from landsift.data.batches import PatchBatches
from landsift.data.splits import make_split
from landsift.data.store.patch_store import build_store
from landsift.models.preprocess import resize, to_float
from landsift.training.batch_norms import PATCHES, drawn_rows, recalibrate, running_norms
from landsift.training.fit import build_classifier
from landsift.training.strategies import STRATEGIES, strategy_of

TWO_PHASES = "strategy=[{name: head, epochs: 2, lr_head: 2.0e-3}, {name: all, epochs: 2, lr_head: 1.0e-3, %s}]"
ALL = "blocks: all, lr_backbone: 1.0e-3"
NO_JITTER = "training.augment.color_jitter=[0, 0, 0, 0]"


@pytest.fixture(scope="module")
def pretrained(store, tmp_path_factory):
    """A network that knows the generated patches, in place of ImageNet's weights."""
    whole = "strategy=[{epochs: 12, blocks: all, lr_head: 5.0e-3, lr_backbone: 5.0e-3}]"
    return train(small(whole, "tracking.tsne_every=0"), store, tmp_path_factory.mktemp("pretrained") / "r")


def tuned(pretrained, store, folder, *changes):
    """A training that starts from the pretrained network."""
    return train(small(f"model.weights={pretrained.path}", "tracking.tsne_every=0", *changes), store, folder)


def statistics(run, epoch):
    """Running means and variances of the backbone in the checkpoint of an epoch (the three best are kept)."""
    file = next(run.path.glob(f"checkpoints/best-{epoch:03d}-*.ckpt"))
    state = torch.load(file, weights_only=True)["state_dict"]
    return {k: v for k, v in state.items() if k.startswith("classifier.backbone") and "running" in k}


def moved(run, before, after):
    """Names of the statistics that are not the same in two checkpoints."""
    then, now = statistics(run, before), statistics(run, after)
    return {name for name in then if not torch.equal(then[name], now[name])}


def test_in_eval_statistics_stand_still_while_weights_train(pretrained, store, tmp_path):
    run = tuned(pretrained, store, tmp_path / "r", TWO_PHASES % f"{ALL}, batch_norm: eval")
    last = torch.load(run.path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    first = load_file(pretrained.path / "model" / "model.safetensors")
    found = {k.removeprefix("classifier."): v for k, v in last.items() if k.startswith("classifier.backbone")}
    same = {k for k, v in found.items() if torch.equal(v, first[k])}
    assert same == {k for k in found if "running" in k or "num_batches" in k}


def test_in_train_they_follow_where_a_block_trains_and_nowhere_else(pretrained, store, tmp_path):
    blocks = "blocks: 1, lr_backbone: 1.0e-3"
    run = tuned(pretrained, store, tmp_path / "r", f"strategy=[{{epochs: 2, lr_head: 1.0e-3, {blocks}}}]")
    found = moved(run, 0, 1)
    assert found == {
        n for n in statistics(run, 0) if n.startswith(("classifier.backbone.blocks.4", "classifier.backbone.bn2"))
    }


def test_recalibrated_statistics_are_the_mean_of_the_batches_and_then_stand_still(pretrained, store, tmp_path):
    """All blocks' are, frozen ones' too, and in later phases they stay."""
    phases = TWO_PHASES % f"{ALL}, batch_norm: eval"
    run = tuned(pretrained, store, tmp_path / "r", phases, "strategy.0.batch_norm=recalibrate")
    checkpoints = sorted(run.path.glob("checkpoints/best-*.ckpt"))
    states = [torch.load(file, weights_only=True)["state_dict"] for file in checkpoints]
    names = [n for n in states[0] if n.startswith("classifier.backbone") and "running" in n]
    assert all(torch.equal(state[n], states[0][n]) for state in states for n in names)

    config = run.config
    split = make_split(store, config.data.split)
    classifier, normalization = build_classifier(config, store, split)
    stem = "classifier.backbone.bn1.running_mean"
    old = classifier.state_dict()[stem.removeprefix("classifier.")]
    assert not torch.allclose(states[0][stem], old, atol=1e-3)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (normalization.mean, normalization.std))
    means, sizes = [], []
    for batch in PatchBatches(store.images, store.labels, split.train, batch_size=16, shuffle=True):
        with torch.inference_mode():
            answers = classifier.backbone.conv_stem((resize(to_float(batch.images), 32) - mean) / std)
        means.append(answers.mean(dim=(0, 2, 3)) * len(batch.images))
        sizes.append(len(batch.images))
    assert len(means) == 5
    torch.testing.assert_close(states[0][stem], torch.stack(means).sum(0) / sum(sizes), rtol=1e-4, atol=1e-5)


def test_recalibrating_takes_batches_as_they_come_and_leaves_momentum_as_it_was():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3, momentum=0.3), torch.nn.Dropout(0.5))
    network[1].running_mean += 100
    batches = [torch.randn(8, 2), 5 + torch.randn(8, 2)]
    recalibrate(network, network, batches)
    with torch.inference_mode():
        answers = [network[0](batch) for batch in batches]
    torch.testing.assert_close(network[1].running_mean, torch.stack([a.mean(0) for a in answers]).mean(0))
    torch.testing.assert_close(network[1].running_var, torch.stack([a.var(0) for a in answers]).mean(0))
    assert network[1].momentum == 0.3


def test_a_last_batch_of_two_patches_counts_as_two_patches():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.BatchNorm1d(3))
    full, rest = torch.randn(64, 3), 100 + torch.randn(2, 3)
    recalibrate(network, network, [full, rest])
    torch.testing.assert_close(network[0].running_mean, torch.cat([full, rest]).mean(0))
    torch.testing.assert_close(network[0].running_var, (64 * full.var(0) + 2 * rest.var(0)) / 66)


def test_of_many_patches_some_are_drawn():
    rows = np.arange(3 * PATCHES)
    drawn = drawn_rows(rows, seed=1)
    assert len(np.unique(drawn)) == PATCHES
    assert drawn.mean() == pytest.approx(rows.mean(), rel=0.05)  # not the first ones, which are of one class
    assert np.array_equal(drawn, drawn_rows(rows, seed=1))
    assert np.array_equal(drawn_rows(rows[:7], seed=1), rows[:7])


@pytest.mark.parametrize("ema", ["null", "0.9"])
def test_kept_features_are_those_of_the_recalibrated_network(pretrained, store, tmp_path, ema):
    """With and without kept features the training is the same."""
    phases = "strategy=[{epochs: 2, lr_head: 2.0e-3, batch_norm: recalibrate}]"
    runs = [
        tuned(pretrained, store, tmp_path / kept, phases, NO_JITTER, f"training.ema={ema}", "model.head.dropout=0.0",
              "training.feature_views=8", f"training.cache_features={kept}")
        for kept in ("true", "false")
    ]  # fmt: skip
    figures = [[[row[k] for k in ("train_loss", "val_loss", "val_acc")] for row in run.metrics] for run in runs]
    np.testing.assert_allclose(*figures, rtol=1e-3)
    assert runs[0].manifest["phases"][0]["feature_seconds"] > 0


def test_averaged_weights_hold_the_recalibrated_statistics(pretrained, store, tmp_path):
    phases = f"strategy=[{{epochs: 2, lr_head: 2.0e-3, {ALL}, batch_norm: recalibrate}}]"
    run = tuned(pretrained, store, tmp_path / "r", phases, "training.ema=0.9")
    state = torch.load(run.path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    names = [n for n in state if n.startswith("classifier.backbone") and "running" in n]
    for name in names:
        averaged = name.replace("classifier.backbone", "averages.backbone.module")
        torch.testing.assert_close(state[averaged], state[name], rtol=1e-5, atol=1e-6)


def test_a_network_without_batch_norms_trains_the_same_in_every_mode(store, tmp_path, caplog):
    caplog.set_level(logging.INFO, "landsift")
    losses = []
    for mode in ("train", "eval", "recalibrate"):
        phases = f"strategy=[{{epochs: 2, lr_head: 1.0e-3, {ALL}, batch_norm: {mode}}}]"
        run = train(small(phases, "model.backbone=test_vit", "tracking.tsne_every=0"), store, tmp_path / mode)
        losses.append([(row["train_loss"], row["val_loss"]) for row in run.metrics])
    assert losses[0] == losses[1] == losses[2]
    assert caplog.text.count("has no batch norms: batch_norm: recalibrate changes nothing") == 1
    assert running_norms(torch.nn.Sequential(torch.nn.LayerNorm(3))) == []


def test_random_weights_have_no_statistics_to_stand_still_at():
    phases = TWO_PHASES % f"{ALL}, batch_norm: eval"
    assert [phase.batch_norm for phase in strategy_of(small(phases))] == ["train", "train"]
    assert strategy_of(small(phases, "model.weights=imagenet"))[1].batch_norm == "eval"
    scratch = small(phases, "strategy.0.from_scratch=true", "model.weights=imagenet")
    assert [phase.batch_norm for phase in strategy_of(scratch)] == ["train", "train"]


# What phase 2 must not lose


CLEAR = ("data.synthetic.patches=360", "data.synthetic.difficulty=0.0", "model.backbone=test_resnet", NO_JITTER)


@pytest.fixture(scope="module")
def knowing(tmp_path_factory):
    """A network that knows clear patches well, and a store of the same patches, darker by half and paler."""
    folder = tmp_path_factory.mktemp("knowing")
    whole = "strategy=[{epochs: 6, blocks: all, lr_head: 3.0e-3, lr_backbone: 3.0e-3}]"
    config = small(*CLEAR, whole, "tracking.tsne_every=0")
    store = build_store(config.data, folder / "s")
    for i, (image, label) in enumerate(zip(store.images, store.labels, strict=True)):
        place = folder / "patches" / store.classes[label] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((0.4 * image.astype(np.float32) + 20).astype(np.uint8)).save(place)
    other = build_store(small(f"data.source={folder / 'patches'}").data, folder / "other")
    return train(config, store, folder / "r"), other


def around_phase_2(knowing, folder, mode):
    """Validation accuracies of the recipe at its own rates: the best of phase 1 and each of phase 2, and the notes."""
    pretrained, other = knowing
    head, fine_tune = STRATEGIES["two_phase"]
    phases = [replace(head, epochs=6), replace(fine_tune, epochs=3, batch_norm=mode)]
    keys = ("epochs", "lr_head", "lr_backbone", "blocks", "lr_min", "batch_norm")
    as_text = ", ".join("{" + ", ".join(f"{key}: {getattr(p, key)}" for key in keys) + "}" for p in phases)
    half = "data.split.fractions=[0.5, 0.4, 0.1]"
    run = tuned(pretrained, other, folder, f"strategy=[{as_text}]", "model.backbone=test_resnet", half, NO_JITTER)
    accuracy = [row["val_acc"] for row in run.metrics]
    return max(accuracy[:6]), accuracy[6:], run.manifest["notes"]


def test_phase_2_of_the_recipe_keeps_what_phase_1_had(knowing, tmp_path):
    """Where statistics move and weights hardly do, what phase 1 has won is lost: the second half shows that it is."""
    before, after, notes = around_phase_2(knowing, tmp_path / "recipe", STRATEGIES["two_phase"][1].batch_norm)
    assert min(after) >= before - 0.03
    assert not [note for note in notes if "fell" in note]
    before, after, notes = around_phase_2(knowing, tmp_path / "moving", "train")
    assert min(after) < before - 0.1
    assert [note for note in notes if "lowered the validation accuracy at its start" in note]


def test_of_epochs_of_equal_accuracy_the_one_with_the_lowest_loss_is_best(knowing):
    """Small validation sets have many ties, and the first of them is an early epoch."""
    run, _ = knowing
    highest = max(row["val_acc"] for row in run.metrics)
    tied = [row for row in run.metrics if row["val_acc"] == highest]
    assert len(tied) > 1
    assert run.manifest["best"]["epoch"] == min(tied, key=lambda row: row["val_loss"])["epoch"]
    assert run.manifest["best"]["val_acc"] == highest
