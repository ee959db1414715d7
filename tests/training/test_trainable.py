"""The loop trains what offers what it asks for: a classifier, and a module that has no classes at all."""

import json
import logging
from pathlib import Path

import lightning as L
import pytest
import torch
from interruptions import Killed, after_steps, kill, sigterm
from self_distillation import SelfDistillation
from small_runs import small

from landsift.config import HeadConfig, ModelConfig, Normalization, RunConfig
from landsift.data.splits import make_split
from landsift.errors import ConfigError
from landsift.models.backbone import create_backbone
from landsift.models.classifier import PatchClassifier
from landsift.runtime import surroundings
from landsift.runtime.interruption import Terminated
from landsift.training import resume
from landsift.training.module import PatchModule
from landsift.training.strategies import strategy_of
from landsift.training.torch_state import as_meant
from landsift.training.trainable import Averaging, Compiling, FeatureCaching, KeepingFeatures, Recalibrating, Trainable
from landsift.training.trainer import fit_module

CONFIG = small(
    "strategy=[{name: head, epochs: 2, lr_head: 5.0e-3}, "
    "{name: all, epochs: 2, lr_head: 2.0e-3, lr_backbone: 2.0e-3, blocks: all, image_size: 24}]",
    "training.augment.crop=0.5",
    "training.compile=false",
)
NORMAL = Normalization(mean=(0.5,) * 3, std=(0.25,) * 3)


def student(config: RunConfig) -> SelfDistillation:
    made = create_backbone(ModelConfig(backbone="test_efficientnet", weights="none"), 32)
    network = PatchClassifier(made.network, made.features, 16, HeadConfig(hidden=256, dropout=0.3))
    return SelfDistillation(network, strategy_of(config), config.training, NORMAL, config.seed)


def distilled(store, folder: Path, config: RunConfig = CONFIG):
    """Train a student, from where it was interrupted in the same folder; what is known of its best epoch."""
    with surroundings.as_guest(), as_meant():
        L.seed_everything(config.seed, workers=True, verbose=False)
        before = resume.settled_before(folder, "a student")
        split = make_split(store, config.data.split)
        module = student(config)
        best, _ = fit_module(config, module, [], store, split, folder, None, before or {"identity": "a student"})
    return module, best


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory):
    """What a training left that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "r"
    module, best = distilled(store, folder)
    return folder, module, best


def rows(folder: Path):
    found = json.loads((folder / "metrics.json").read_text())
    return [{name: value for name, value in row.items() if "seconds" not in name} for row in found]


def test_a_student_offers_what_the_loop_needs_and_a_classifier_all_there_is():
    made = create_backbone(ModelConfig(backbone="test_efficientnet", weights="none"), 32)
    network = PatchClassifier(made.network, made.features, 4, HeadConfig(hidden=256, dropout=0.3))
    classifier = PatchModule(network, strategy_of(CONFIG), CONFIG.training, classes=4, normalization=NORMAL, seed=0)
    for offered in (Trainable, Recalibrating, FeatureCaching, Compiling, KeepingFeatures, Averaging):
        assert isinstance(classifier, offered)
        assert isinstance(student(CONFIG), offered) == (offered is Trainable)
    assert not isinstance(L.LightningModule(), Trainable)


def test_a_student_trains_through_two_phases_and_has_a_history(whole):
    folder, module, best = whole
    found = rows(folder)
    assert [(row["epoch"], row["phase"], row["phase_name"]) for row in found] == [
        (0, 1, "head"), (1, 1, "head"), (2, 2, "all"), (3, 2, "all"),
    ]  # fmt: skip
    assert list(found[0]) == ["epoch", "phase", "phase_name", "train_loss", "val_loss", "lr_head", "lr_backbone"]
    assert [row["lr_backbone"] > 0 for row in found] == [False, False, True, True]
    assert best["val_loss"] == min(row["val_loss"] for row in found) == found[best["epoch"]]["val_loss"]
    assert best["chosen_by"] == "val_loss"
    assert best["checkpoint"] == f"best-{best['epoch']:03d}-{best['val_loss']:.3f}.ckpt"
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    student_moved = {name: torch.equal(last[name], last[name.replace("student.", "teacher.module.")]) for name in last
                     if name.startswith("student.") and last[name].is_floating_point()}  # fmt: skip
    assert not any(student_moved.values())  # the teacher lags behind in every weight and statistic
    assert not any(parameter.requires_grad for parameter in module.teacher.parameters())


@pytest.mark.parametrize(("step", "how"), [(1, sigterm), (5, sigterm), (10, sigterm), (13, sigterm), (13, kill)])
def test_an_interrupted_student_and_its_teacher_go_on_to_the_same_bits(store, whole, tmp_path, step, how):
    """Steps 5 and 10 are the last of an epoch, 10 of the first phase."""
    with after_steps(step, how), pytest.raises((Terminated, Killed)):
        distilled(store, tmp_path / "r")
    _, best = distilled(store, tmp_path / "r")
    folder, _, expected = whole
    assert best == expected
    assert rows(tmp_path / "r") == rows(folder)
    for name in ("last.ckpt", best["checkpoint"]):
        ours, theirs = (
            torch.load(at / "checkpoints" / name, weights_only=True)["state_dict"] for at in (tmp_path / "r", folder)
        )
        assert ours.keys() == theirs.keys()
        assert [key for key, value in theirs.items() if not torch.equal(value, ours[key])] == []


def test_what_a_module_does_not_offer_is_refused_or_said(store, tmp_path, caplog):
    with pytest.raises(ConfigError, match="phase 'head': batch_norm: recalibrate does not work with this module"):
        distilled(store, tmp_path / "r", CONFIG.replace("strategy.0.batch_norm=recalibrate"))
    one = CONFIG.replace("training.compile=true", "strategy=[{epochs: 1, lr_head: 1.0e-3}]")
    with caplog.at_level(logging.WARNING, "landsift"):
        distilled(store, tmp_path / "s", one)
    assert "training.compile changes nothing: SelfDistillation has no backbone to compile" in caplog.messages
