"""A pretraining reads no label, resumes to the same bits, stops where it collapses, and its result is for others."""

import json
import shutil

import numpy as np
import pytest
import torch
from tiny import left, patches, settings

from landsift.data.splits import make_split
from landsift.data.store.patch_store import PatchStore
from landsift.errors import CollapseError, ConfigError, DataError, ModelError, RunError
from landsift.models.model_json import read_description
from landsift.models.predictor import load_model
from landsift.pretraining.start import pretrain
from landsift.runtime.interruption import Terminated
from landsift.training.fit import build_backbone

METHODS = ("dino", "lejepa", "simclr")


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory):
    """What a pretraining by each method leaves that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    return {m: pretrain(settings(f"pretraining.method={m}"), store, folder / m) for m in METHODS}


@pytest.mark.parametrize("method", METHODS)
def test_it_leaves_a_backbone_that_a_training_begins_with(whole, store, method):
    folder = whole[method]
    config = settings(f"model.weights={folder}", "training.image_size=32")
    made, normalization = build_backbone(config, store, make_split(store, config.data.split).train)
    description = read_description(folder / "model" / "model.json")
    assert (normalization.mean, normalization.std) == (description.mean, description.std)
    assert description.classes == ()
    from safetensors.torch import load_file

    kept = load_file(folder / "model" / "model.safetensors")
    assert all(torch.equal(value, kept[f"backbone.{name}"]) for name, value in made.network.state_dict().items())
    assert all(name.startswith("backbone.") for name in kept)


@pytest.mark.parametrize("method", METHODS)
def test_its_history_has_the_measures_of_every_epoch(whole, method):
    rows = json.loads((whole[method] / "metrics.json").read_text())
    measures = {"agreement", "others_agreement", "rank_me", "feature_std"}
    outputs = {"output_entropy", "output_kl"}
    assert [row["epoch"] for row in rows] == [0, 1]
    for row in rows:
        assert measures <= row.keys()
        assert (outputs <= row.keys()) == (method == "dino")
    manifest = json.loads((whole[method] / "manifest.json").read_text())
    assert manifest["kind"] == "pretraining"
    assert manifest["best"]["epoch"] == 1
    assert manifest["data"]["learned_from"]["patches"] == 66


def test_labels_are_not_read(whole, tmp_path):
    images, labels, split = patches()
    other = PatchStore.from_arrays(
        images, np.random.default_rng(1).permutation(labels), ["c", "b", "a"], folder=tmp_path / "s", split=split
    )
    again = pretrain(settings("pretraining.method=dino"), other, tmp_path / "r")
    assert left(again)["weights"] == left(whole["dino"])["weights"]
    assert left(again)["metrics"] == left(whole["dino"])["metrics"]


def test_a_probe_changes_nothing_and_looks_at_no_test_patch(whole, store, tmp_path, monkeypatch):
    from landsift.pretraining import probe

    seen = []
    real = probe.KnnProbe

    class Noting(real):
        def on_train_epoch_end(self, trainer, module):
            super().on_train_epoch_end(trainer, module)
            seen.extend([*self.train, *self.val])

    monkeypatch.setattr(probe, "KnnProbe", Noting)
    config = settings("pretraining.method=dino", "pretraining.watch.probe_every=1")
    probed = pretrain(config, store, tmp_path / "r", probe=store)
    assert left(probed)["weights"] == left(whole["dino"])["weights"]
    rows = json.loads((probed / "probe.json").read_text())
    assert [row["epoch"] for row in rows] == [0, 1]
    assert all(0 <= row["knn_accuracy"] <= 1 for row in rows)
    assert set(store.column("split").to_numpy(dtype=object)[seen]) == {"train", "val"}


class Killed(BaseException):
    """Stands for a process that is gone."""


@pytest.mark.parametrize(("method", "step"), [("dino", 3), ("dino", 6), ("lejepa", 5)])
def test_an_interrupted_pretraining_goes_on_to_the_same_bits(whole, store, tmp_path, method, step):
    """An epoch has five steps, the last of two patches."""
    import itertools
    import signal

    from torch.optim.optimizer import register_optimizer_step_post_hook

    steps = itertools.count(1)
    handle = register_optimizer_step_post_hook(
        lambda *_: signal.raise_signal(signal.SIGTERM) if next(steps) == step else None
    )
    config = settings(f"pretraining.method={method}")
    try:
        with pytest.raises(Terminated):
            pretrain(config, store, tmp_path / "r")
    finally:
        handle.remove()
    assert left(pretrain(config, store, tmp_path / "r")) == left(whole[method])


def test_progressive_sizes_resume_at_their_boundary(store, tmp_path):
    import itertools
    import signal

    from torch.optim.optimizer import register_optimizer_step_post_hook

    config = settings("pretraining.progressive=[[16, 0.5]]")
    expected = left(pretrain(config, store, tmp_path / "whole"))
    assert [row["phase"] for row in expected["metrics"]] == [1, 2]
    steps = itertools.count(1)
    handle = register_optimizer_step_post_hook(
        lambda *_: signal.raise_signal(signal.SIGTERM) if next(steps) == 4 else None
    )
    try:
        with pytest.raises(Terminated):
            pretrain(config, store, tmp_path / "r")
    finally:
        handle.remove()
    assert left(pretrain(config, store, tmp_path / "r")) == expected


def test_a_folder_of_another_pretraining_is_refused(whole, store, tmp_path):
    shutil.copytree(whole["simclr"], tmp_path / "r")
    with pytest.raises(RunError, match="holds a training of other settings"):
        pretrain(settings("pretraining.method=simclr", "pretraining.lr=0.002"), store, tmp_path / "r")


def test_no_centring_ends_with_its_name(store, tmp_path):
    sabotaged = settings(
        "pretraining.dino={center_momentum: 1, teacher_momentum: 0.5, teacher_temperature: [0.01, 0.01], "
        "freeze_last_layer: 0}",
        "pretraining.lr=0.004",
        "pretraining.epochs=20",
        "pretraining.watch.patience=2",
    )
    with pytest.raises(CollapseError, match="outputs are not centred") as raised:
        pretrain(sabotaged, store, tmp_path / "r")
    assert raised.value.hint == "set pretraining.dino.center_momentum=0.9"


def test_a_temperature_too_high_ends_with_its_name(store, tmp_path):
    sabotaged = settings(
        "pretraining.dino.teacher_temperature=[2.0, 2.0]", "pretraining.epochs=4", "pretraining.watch.patience=2"
    )
    with pytest.raises(CollapseError, match="outputs are not sharpened: the teacher's temperature is 2"):
        pretrain(sabotaged, store, tmp_path / "r")


def test_a_learning_rate_far_too_high_ends_with_its_name(store, tmp_path):
    sabotaged = settings("pretraining.lr=500", "pretraining.gradient_clip=null", "pretraining.epochs=6")
    with pytest.raises(CollapseError, match=r"learning rate is too high|diverged"):
        pretrain(sabotaged, store, tmp_path / "r")


def test_it_warns_before_it_stops(store, tmp_path, caplog):
    sabotaged = settings(
        "pretraining.dino.teacher_temperature=[2.0, 2.0]", "pretraining.epochs=9", "pretraining.watch.patience=3"
    )
    with pytest.raises(CollapseError, match="in the last 3 epochs"):
        pretrain(sabotaged, store, tmp_path / "r")
    assert [f"({n} of 3 epochs)" in caplog.text for n in (1, 2, 3)] == [True, True, False]


def test_commands_that_need_classes_refuse_it(whole):
    with pytest.raises(ModelError, match="a pretrained backbone without classes") as raised:
        load_model(whole["dino"])
    assert "model.weights=" in raised.value.hint


def test_a_vit_takes_local_views_and_is_left_in_timms_layout(store, tmp_path):
    config = settings("model.backbone=test_vit", "pretraining.progressive=[[16, 0.5]]")
    folder = pretrain(config, store, tmp_path / "r")
    description = read_description(folder / "model" / "model.json")
    assert "dynamic_img_size" not in description.backbone_args
    other = settings("model.backbone=test_vit", f"model.weights={folder}", "training.image_size=32")
    build_backbone(other, store, np.arange(10))


def test_sizes_that_a_vit_cannot_cut_are_refused(store, tmp_path):
    config = settings("model.backbone=test_vit", "pretraining.image_size=40")
    with pytest.raises(ConfigError, match="takes views of multiples of 16 pixels, not 40"):
        pretrain(config, store, tmp_path / "r")


def test_views_that_are_too_small_for_a_network_are_refused(store, tmp_path):
    with pytest.raises(ConfigError, match="test_convnext does not take views of 16 pixels") as raised:
        pretrain(settings("model.backbone=test_convnext"), store, tmp_path / "r")
    assert "pretraining.views.local_size" in raised.value.hint


def test_all_bands_are_learned_from_and_others_are_refused(tmp_path):
    from landsift.bands import BandSpec

    rng = np.random.default_rng(0)
    images = rng.integers(0, 3000, (40, 32, 32, 5)).astype(np.uint16)
    names = ("blue", "green", "red", "nir", "swir")
    bands = BandSpec(names=names, dtype="uint16", scale=(1e-4,) * 5, offset=(0.0,) * 5, units="reflectance")
    store = PatchStore.from_arrays(images, np.full(40, -1), [], folder=tmp_path / "s", bands=bands)
    folder = pretrain(settings("pretraining.method=simclr"), store, tmp_path / "r")
    assert read_description(folder / "model" / "model.json").bands == bands
    asked = settings(f"model.weights={folder}", "training.image_size=32")
    build_backbone(asked, store, np.arange(40))
    others = BandSpec(
        names=(*names[:4], "tir"), dtype="uint16", scale=(1e-4,) * 5, offset=(0.0,) * 5, units="reflectance"
    )
    other = PatchStore.from_arrays(images, np.full(40, -1), [], folder=tmp_path / "t", bands=others)
    with pytest.raises(ConfigError, match="was pretrained on other patches than these"):
        build_backbone(asked, other, np.arange(40))
    rgb = PatchStore.from_arrays(patches(40)[0], np.full(40, -1), [], folder=tmp_path / "rgb")
    with pytest.raises(ModelError, match=r"of 5 bands \(blue, green, red, nir, swir\), these patches have 3"):
        build_backbone(asked, rgb, np.arange(40))
    with pytest.raises(DataError, match="the probe's patches are not like"):
        pretrain(settings(), store, tmp_path / "p", probe=other)


@pytest.mark.slow
def test_two_processes_train_what_one_with_their_joint_batch_trains(store, tmp_path):
    """Of a network without batch norms, whose statistics each process takes of its own patches."""
    from safetensors.torch import load_file

    of_both = ("model.backbone=test_convnext", "pretraining.epochs=1", "pretraining.views.local_size=32")
    one = pretrain(settings(*of_both, "pretraining.batch_size=20"), store, tmp_path / "one")
    two = pretrain(settings(*of_both, "pretraining.batch_size=10", "training.devices=2"), store, tmp_path / "two")
    first, second = (load_file(folder / "model" / "model.safetensors") for folder in (one, two))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, atol=1e-4, rtol=1e-2, msg=name)
    losses = [json.loads((folder / "metrics.json").read_text())[0]["train_loss"] for folder in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_weights_that_have_seen_the_test_patches_of_a_training_say_so(whole, store, unlabelled, tmp_path, caplog):
    from landsift.training.learned_from import seen_before

    split = make_split(store, settings().data.split)
    assert seen_before(settings(f"model.weights={whole['dino']}").model, store, split) == {"val": 0, "test": 0}
    assert "have learned" not in caplog.text
    every = pretrain(settings("pretraining.method=simclr", "pretraining.epochs=1"), unlabelled, tmp_path / "r")
    copied = shutil.copy(every / "model" / "model.safetensors", tmp_path / "copied.safetensors")
    for weights in (every, every / "model", every / "model" / "model.safetensors", copied):
        found = seen_before(settings(f"model.weights={weights}").model, store, split)
        assert found == {"val": len(split.val), "test": len(split.test)}
    assert "from 15 of 15 patches of val and 15 of 15 of test" in caplog.text
    assert seen_before(settings().model, store, split) is None


def test_weights_know_what_the_weights_before_them_have_learned_from(whole, store, unlabelled, tmp_path):
    """Through a second pretraining, and through a training and its test."""
    from landsift.evaluation.final_test import final_test
    from landsift.training.fit import train_here
    from landsift.training.learned_from import learned_before, seen_before

    split, short = make_split(store, settings().data.split), ("pretraining.method=simclr", "pretraining.epochs=1")
    every = pretrain(settings(*short), unlabelled, tmp_path / "every")
    second = pretrain(settings(*short, f"model.weights={every}"), store, tmp_path / "second")
    assert seen_before(settings(f"model.weights={second}").model, store, split) == {"val": 15, "test": 15}
    config = settings(
        f"model.weights={every}", "training.image_size=32", "training.batch_size=32",
        "strategy=[{epochs: 1, lr_head: 0.01}]",
    )  # fmt: skip
    train_here(config, store, tmp_path / "trained")
    final_test(config, store, tmp_path / "trained", tmp_path / "tested", thresholds=False)
    assert len(learned_before(str(tmp_path / "tested"))) == 96
    manifest = json.loads((tmp_path / "trained" / "manifest.json").read_text())
    assert manifest["model"]["learned_from_before"] == {"val": 15, "test": 15}
