"""A phase is entered from its number alone, so that a checkpoint of any epoch goes on as if nothing had happened."""

import lightning as L
import numpy as np
import pytest
import torch

from landsift.config import AugmentConfig, HeadConfig, ModelConfig, Normalization, TrainingConfig
from landsift.data.batches import PatchBatches
from landsift.models.backbone import create_backbone
from landsift.models.classifier import PatchClassifier
from landsift.training.callbacks import History, PhaseChange, TSNEFrames, last_checkpoint
from landsift.training.features import FrozenFeatures
from landsift.training.module import PatchModule
from landsift.training.phases import Phase, total_epochs

STRATEGY = (
    Phase("head", epochs=2, lr_head=5e-3),
    Phase("last", epochs=2, lr_head=1e-3, blocks=1, lr_backbone=1e-3, schedule="run"),
    Phase("all", epochs=1, lr_head=1e-3, blocks="all", lr_backbone=1e-3, schedule="run"),
)


PLAIN = TrainingConfig(image_size=32)
FAST = TrainingConfig(image_size=32, ema=0.9, augment=AugmentConfig(color_jitter=(0, 0, 0, 0)))
"""With averaged weights and kept features."""


def module(settings):
    torch.manual_seed(0)
    backbone = create_backbone(ModelConfig(backbone="test_efficientnet", weights="none"), 32)
    # No dropout: its random state is the one thing that a checkpoint does not hold here.
    classifier = PatchClassifier(backbone.network, backbone.features, 3, HeadConfig(dropout=0.0))
    normal = Normalization(mean=(0.5,) * 3, std=(0.25,) * 3)
    kept = torch.arange(32, 48)
    return PatchModule(classifier, STRATEGY, settings, classes=3, normalization=normal, seed=0, keep_rows=kept)


def fit(settings, folder, epochs, resume=None):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (48, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(48, dtype=np.int64) % 3
    trained, history = module(settings), History(folder)
    frames = TSNEFrames(np.arange(32, 48), labels[32:], ("a", "b", "c"), every=2, seed=0)
    train = PatchBatches(images, labels, np.arange(32), batch_size=8, shuffle=True)
    val = PatchBatches(images, labels, np.arange(32, 48), batch_size=8)
    features = FrozenFeatures(
        folder / "features", PatchBatches(images, labels, np.arange(32), batch_size=8), val, settings
    )
    trainer = L.Trainer(
        max_epochs=total_epochs(STRATEGY),
        accelerator="cpu",
        callbacks=[PhaseChange(), history, features, frames, last_checkpoint(folder), StopAfter(epochs)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(trained, train, val, ckpt_path=resume)
    rows = [{key: value for key, value in row.items() if "seconds" not in key} for row in history.rows]
    return trained, rows, frames.frames


class StopAfter(L.Callback):
    """Ends the training after so many epochs, as an interruption would."""

    def __init__(self, epochs):
        self.epochs = epochs

    def on_train_epoch_end(self, trainer, _module):
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


@pytest.fixture(scope="module", params=[PLAIN, FAST], ids=["plain", "averages and features"])
def settings(request):
    return request.param


@pytest.fixture(scope="module")
def uninterrupted(settings, tmp_path_factory):
    return fit(settings, tmp_path_factory.mktemp("whole"), epochs=5)


@pytest.mark.parametrize("epochs", [1, 2, 3, 4], ids=lambda n: f"after epoch {n}")
def test_a_resumed_training_ends_with_the_same_weights_and_history(settings, uninterrupted, tmp_path, epochs):
    fit(settings, tmp_path, epochs)
    resumed, rows, frames = fit(settings, tmp_path, 5, resume=tmp_path / "last.ckpt")
    whole, all_rows, all_frames = uninterrupted
    assert resumed.phase.name == "all"
    for name, value in resumed.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name]), name
    assert rows == all_rows
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3, 4]
    assert {epoch for epoch, _ in all_frames} == {0, 2, 4} <= {epoch for epoch, _ in frames}
