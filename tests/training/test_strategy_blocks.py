"""Strategies that tell blocks apart are refused where a backbone has none, and say where it has too few."""

import logging

import pytest
import timm
import torch
from small_runs import small
from torch import nn

from landsift.errors import ConfigError
from landsift.pipeline.preflight import check_training
from landsift.training.module import PatchModule
from landsift.training.strategies import STRATEGIES, check_blocks, strategy_of

TELL_BLOCKS_APART = {"last_block": "blocks", "progressive": "blocks", "layer_decay": "layer_decay"}


class Undivided(nn.Module):
    """A network of which timm says nothing."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_backbone_of_one_block_is_refused_by_strategies_that_tell_blocks_apart(name):
    """They trained everything, and a comparison ranked the same training several times."""
    config = small(f"strategy={name}")
    if name in TELL_BLOCKS_APART:
        with pytest.raises(ConfigError) as error:
            check_blocks(config, strategy_of(config), Undivided())
        assert f"{TELL_BLOCKS_APART[name]}: the blocks of test_efficientnet are not known" in str(error.value)
        assert "such as two_phase" in str(error.value)
    else:
        check_blocks(config, strategy_of(config), Undivided())


def test_it_is_refused_before_any_work(monkeypatch):
    """Networks that one cannot make here without memory for their weights are looked at when they are made."""
    monkeypatch.delattr(timm.models.efficientnet.EfficientNet, "group_matcher")
    config = small("strategy=last_block", "model.backbone=test_efficientnet")
    check_training(config)  # by its stages
    monkeypatch.setattr("landsift.models.blocks._by_features", lambda _network: [])
    with pytest.raises(ConfigError, match="the blocks of test_efficientnet are not known"):
        check_training(config)


@pytest.mark.parametrize(("count", "said"), [(5, False), (6, False), (7, True), (100, True)])
def test_more_blocks_than_there_are_is_said(count, said, caplog):
    phases = f"strategy=[{{name: most, epochs: 1, lr_head: 0.1, blocks: {count}, lr_backbone: 0.1}}]"
    config, network = small(phases), timm.create_model("test_efficientnet", num_classes=0)
    with caplog.at_level(logging.INFO, "landsift"):
        check_blocks(config, strategy_of(config), network)
    expected = f"phase 'most' asks for the last {count} blocks of test_efficientnet, which has 6: all train"
    assert (expected in caplog.text) == said


@pytest.mark.parametrize("backbone", ["poolformer_s12", "pit_ti_224", "rdnet_tiny", "csatv2"])
def test_with_the_last_block_less_trains_than_with_all(backbone):
    """Of networks that timm has no matcher of."""
    from landsift.config import HeadConfig, Normalization, TrainingConfig
    from landsift.models.classifier import PatchClassifier

    with torch.device("meta"):
        made = PatchClassifier(timm.create_model(backbone, num_classes=0), 8, 2, HeadConfig(hidden=256, dropout=0.3))
        normal = Normalization(mean=(0.5,) * 3, std=(0.5,) * 3)
        strategy = STRATEGIES["progressive"]
        module = PatchModule(made, strategy, TrainingConfig(), classes=2, normalization=normal, seed=0)
        counts = []
        for phase in range(len(strategy)):
            module.enter_phase(phase)
            counts.append(module.trainable_parameters())
    assert counts == sorted(set(counts))
