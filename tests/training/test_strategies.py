"""Every strategy on every family of networks: what trains, what stands still, and at which rates."""

import copy
from dataclasses import replace
from functools import cache

import lightning as L
import numpy as np
import pytest
import timm
import torch

from landsift.config import HeadConfig, ModelConfig, Normalization, TrainingConfig
from landsift.data.batches import PatchBatches
from landsift.models.backbone import create_backbone
from landsift.models.classifier import PatchClassifier
from landsift.training.callbacks import PhaseChange
from landsift.training.module import PatchModule
from landsift.training.phases import total_epochs
from landsift.training.strategies import STRATEGIES

LAST_BLOCKS = {
    "test_efficientnet": [("blocks.4.", "conv_head.", "bn2."), ("blocks.3.",), ("blocks.2.",), ("blocks.1.",)],
    "test_resnet": [("layer4.",), ("layer3.",), ("layer2.",), ("layer1.",)],
    "test_convnext": [("stages.3.", "head.norm."), ("stages.2.",), ("stages.1.",), ("stages.0.",)],
    "mobilenetv3_small_050": [("blocks.5.", "conv_head."), ("blocks.4.",), ("blocks.3.",), ("blocks.2.",)],
    "test_vit": [("blocks.5.", "norm."), ("blocks.4.",), ("blocks.3.",), ("blocks.2.",)],
}
"""How each family names the parameters of its last block, of the one before it, and so on."""
BLOCKS = {
    "two_phase": [0, "all"],
    "linear_probe": [0],
    "last_block": [1],
    "full": ["all"],
    "differential": ["all"],
    "progressive": [0, 1, 2, 3, 4],
    "layer_decay": ["all"],
    "scratch": ["all"],
}
"""How many blocks train in each phase."""
TRAINABLE = {
    "test_efficientnet": {0: 67_332, 1: 113_168, 2: 127_352, 3: 151_416, 4: 162_344, "all": 166_528},
    "test_resnet": {0: 26_372, 1: 294_212, 2: 336_644, 3: 373_028, 4: 391_588, "all": 399_060},
    "test_convnext": {0: 18_180, 1: 103_716, 2: 194_836, 3: 218_084, 4: 224_084, "all": 225_308},
    "mobilenetv3_small_050": {0: 263_940, 1: 574_276, 2: 756_476, 3: 774_764, 4: 827_036, "all": 832_164},
    "test_vit": {0: 18_180, 1: 60_036, 2: 101_764, 3: 143_492, 4: 185_220, "all": 318_276},
}
"""Parameters that train with so many blocks, the head's included; of four classes."""

every_strategy = pytest.mark.parametrize("name", STRATEGIES)
every_family = pytest.mark.parametrize("family", LAST_BLOCKS)
# In trainings without `--complete`: every strategy on one family, and on every family the one that meets most blocks.
every_pair = pytest.mark.parametrize(
    ("family", "name"),
    [
        pytest.param(
            family, name, marks=[] if family == "test_efficientnet" or name == "progressive" else pytest.mark.slow
        )
        for family in LAST_BLOCKS
        for name in STRATEGIES
    ],
)


@cache
def classifier(family):
    torch.manual_seed(0)
    backbone = create_backbone(ModelConfig(backbone=family, weights="none"), 32)
    made = PatchClassifier(backbone.network, backbone.features, 4, HeadConfig(hidden=256, dropout=0.3))
    with torch.no_grad():  # away from zero-initialised branches, which pass no gradient
        for parameter in made.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return made


def module(made, strategy):
    normal = Normalization(mean=(0.5,) * 3, std=(0.5,) * 3)
    return PatchModule(made, strategy, TrainingConfig(image_size=32), classes=4, normalization=normal, seed=0)


def fit(family, strategy, *watchers):
    """Train with two steps an epoch."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (16, 16, 16, 3), dtype=np.uint8), np.arange(16) % 4
    batches = PatchBatches(images, labels, np.arange(16), batch_size=8, shuffle=True)
    trainer = L.Trainer(
        max_epochs=total_epochs(strategy),
        accelerator="cpu",
        callbacks=[PhaseChange(batches), *watchers],
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trained = module(copy.deepcopy(classifier(family)), strategy)
    trainer.fit(trained, batches)
    return trained


def test_these_are_all_the_strategies_of_the_table():
    assert set(BLOCKS) == set(STRATEGIES)


@every_family
@every_strategy
def test_the_parameters_that_train_are_counted_in_each_phase(family, name):
    counted = module(classifier(family), STRATEGIES[name])
    found = []
    for i in range(len(STRATEGIES[name])):
        counted.enter_phase(i)
        found.append(counted.trainable_parameters())
    assert found == [TRAINABLE[family][blocks] for blocks in BLOCKS[name]]


class Moved(L.Callback):
    """Which weights and statistics are other ones after an epoch than before it."""

    def __init__(self):
        self.by_epoch = []

    def on_train_epoch_start(self, _trainer, module):
        self.before = {name: value.clone() for name, value in module.classifier.state_dict().items()}

    def on_train_epoch_end(self, _trainer, module):
        now = module.classifier.state_dict()
        self.by_epoch.append({name for name, value in now.items() if not torch.equal(value, self.before[name])})


@every_pair
def test_training_moves_what_trains_and_nothing_else_by_a_bit(family, name):
    """Weights, and the statistics of batch norms where they are not at rest; in an epoch of each phase."""
    moved = Moved()
    fit(family, tuple(replace(phase, epochs=1) for phase in STRATEGIES[name]), moved)
    everything = set(classifier(family).state_dict())
    statistics = {n for n in everything if n.startswith("backbone.") and ("running_" in n or "num_batches" in n)}
    for phase, blocks, found in zip(STRATEGIES[name], BLOCKS[name], moved.by_epoch, strict=True):
        last = LAST_BLOCKS[family][: 0 if blocks == "all" else blocks]
        trained = [f"backbone.{start}" for block in last for start in block]
        expected = everything if blocks == "all" else {n for n in everything if n.startswith(("head.", *trained))}
        assert found == (expected if phase.batch_norm == "train" else expected - statistics)


class Rates(L.Callback):
    """The rates and the optimizer of every step."""

    def __init__(self):
        self.rates, self.optimizers = [], []

    def on_train_batch_start(self, trainer, module, _batch, _batch_idx):
        assert trainer.lr_scheduler_configs[0].scheduler.optimizer is trainer.optimizers[0]
        self.rates.append(tuple(module.learning_rates().values()))
        self.optimizers.append(trainer.optimizers[0])


def test_progressive_trains_at_rates_that_fall_over_the_run_with_one_optimizer_a_phase():
    steps = Rates()
    trained = fit("test_resnet", STRATEGIES["progressive"], steps)
    cosine = 0.5 * (1 + np.cos(np.pi * np.arange(30) / 30))
    head, backbone = np.array(steps.rates).T
    np.testing.assert_allclose(head, np.where(np.arange(30) < 6, 1e-3, 2e-5) * cosine)
    np.testing.assert_allclose(backbone, np.where(np.arange(30) < 6, 0.0, 2e-5) * cosine)
    changes = [i for i in range(1, 30) if steps.optimizers[i] is not steps.optimizers[i - 1]]
    assert changes == [6, 12, 18, 24]
    last = steps.optimizers[-1].state[trained.classifier.head[-1].weight]
    assert int(last["step"]) == 6  # none of its memory is lost within the phase


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("linear_probe", [4_614]),
        ("last_block", [7_094_022]),
        ("full", [85_803_270]),
        ("progressive", [4_614, 7_094_022, 14_181_894, 21_269_766, 28_357_638]),
    ],
)
def test_vit_base_with_six_classes_trains_what_the_case_study_says(name, expected):
    """768 × 6 + 6 of a linear head; 7,087,872 in each transformer block, 1,536 in the norm after the last."""
    with torch.device("meta"):
        network = timm.create_model("vit_base_patch16_224", num_classes=0)
        made = module(PatchClassifier(network, 768, 6, HeadConfig(hidden=None, dropout=0.0)), STRATEGIES[name])
    found = []
    for i in range(len(expected)):
        made.enter_phase(i)
        found.append(made.trainable_parameters())
    assert found == expected
