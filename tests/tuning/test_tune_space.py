"""What is searched: what nobody has set, with the configuration itself as the first trial."""

import pytest
import timm

from landsift.config import RunConfig
from landsift.errors import ConfigError
from landsift.training.phases import total_epochs
from landsift.training.strategies import resolve_strategy, strategy_of
from landsift.tuning.space import ROWS, STARTS, set_keys, space_of

BASE = RunConfig.load(None, ["data.source=eurosat", "model.backbone=test_efficientnet"])


@pytest.fixture(scope="module")
def space():
    return space_of(BASE, side=64, train=500)


def test_the_first_trial_is_the_configuration_itself(space):
    assert space.config(space.starts[0]) is space.base
    assert space.config(space.starts[0]).to_dict() == BASE.to_dict()


@pytest.mark.parametrize("setting", [
    "strategy=layer_decay", "strategy=[{name: a, epochs: 3, lr_head: 0.01, lr_min: 0.002}]", "training.ema=0.95",
    "training.augment.crop=0.3", "training.augment.color_jitter=[0.1, 0, 0, 0]", "training.augment.mixup=0.7",
    "model.head.hidden=64", "training.weight_decay=0.5", "training.image_size=96", "training.weight_decay=0",
])  # fmt: skip
def test_the_first_trial_is_the_configuration_whatever_it_sets(setting):
    base = RunConfig.load(None, ["model.backbone=test_efficientnet", setting])
    space = space_of(base, 64, 500, asked=list(space_of(base, 64, 500).dimensions))
    assert space.config(space.starts[0]).to_dict() == base.to_dict()


def test_known_good_configurations_come_first_each_once(space):
    assert len(space.starts) == len(STARTS)
    strategies = [values["strategy"] for values in space.starts]
    assert strategies[0] == "layer_decay"
    assert set(strategies) == {"everything", "layer_decay", "linear_probe"}
    longer = space.config(space.starts[2])
    assert total_epochs(strategy_of(longer)) == 30
    assert longer.training.augment.mixup == 0.2
    fast = space.config(space.starts[3])
    assert fast.training.image_size == 64
    assert fast.training.augment.color_jitter == (0, 0, 0, 0)
    assert fast.training.ema == 0.98
    assert fast.model.head.hidden is None
    assert strategy_of(fast)[0].lr_backbone == 2e-3


def test_what_is_set_is_fixed_and_said(space):
    base = BASE.replace("training.image_size=64", "training.augment.color_jitter=[0, 0, 0, 0]", "strategy=layer_decay")
    found = space_of(base, 64, 500)
    assert not {"image_size", "color_jitter", "strategy"} & set(found.dimensions)
    assert found.fixed["image_size"] == "64: training.image_size is set"
    assert {"lr_head", "lr_backbone", "layer_decay", "epochs", "crop", "mixing"} <= set(found.dimensions)
    assert all(found.config(start).training.image_size == 64 for start in found.starts)
    assert all(strategy_of(found.config(start))[0].blocks == "all" for start in found.starts)


def test_phases_that_are_written_out_are_set_with_their_rates():
    base = BASE.replace("strategy=[{name: head, epochs: 4, lr_head: 0.01}]")
    found = space_of(base, 64, 500)
    assert not {"strategy", "lr_head", "lr_backbone", "layer_decay", "epochs"} & set(found.dimensions)
    assert found.fixed["lr_head"] == "the strategy's: strategy is set"
    asked = space_of(base, 64, 500, asked=["lr_head", "epochs"])
    assert list(asked.dimensions) == ["lr_head", "epochs"]
    assert strategy_of(asked.config({"lr_head": 2.0, "epochs": 7}))[0].lr_head == 0.02


def test_a_complete_configuration_leaves_nothing_to_search_and_says_how():
    phases = [{"name": "head", "epochs": 4, "lr_head": 0.01}]
    complete = RunConfig.from_dict(BASE.to_dict() | {"strategy": phases})
    with pytest.raises(ConfigError, match="nothing is left to search") as caught:
        space_of(complete, 64, 500)
    assert "--search strategy,lr_head," in caught.value.hint
    assert list(space_of(complete, 64, 500, asked=["epochs"]).dimensions) == ["epochs"]


def test_a_name_that_is_unknown_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="nothing called 'lr_hed'") as caught:
        space_of(BASE, 64, 500, asked=["lr_hed"])
    assert caught.value.hint == "did you mean 'lr_head'?"


def test_rates_of_a_phased_strategy_are_multiplied_and_its_epochs_keep_their_shares(space):
    values = space.completed({"strategy": "two_phase", "lr_head": 0.5, "lr_backbone": 4.0, "epochs": 34})
    head, tune = strategy_of(space.config(values))
    assert (head.epochs, tune.epochs) == (14, 20)
    assert (head.lr_head, tune.lr_head, tune.lr_backbone) == (1e-3, 5e-5, 4e-5)
    assert (head.lr_backbone, tune.lr_min) == (0, 5e-7)


def test_every_row_can_be_trained_at_every_length(space):
    for name in space.rows:
        for epochs in (1, 5, 17, 60):
            phases = strategy_of(space.config(space.completed({"strategy": name}) | {"epochs": epochs}))
            assert total_epochs(phases) == max(epochs, len(phases))


def test_many_short_phases_train_as_many_epochs_as_the_trial_says():
    phases = [{"epochs": 1, "lr_head": 0.01} for _ in range(8)]
    space = space_of(RunConfig.from_dict(BASE.to_dict() | {"strategy": phases}), 64, 500, asked=["epochs"])
    assert space.dimensions["epochs"].low == 8
    assert all(total_epochs(strategy_of(space.config({"epochs": n}))) == n for n in range(8, 61))


def test_if_all_that_is_asked_for_is_fixed_the_reason_is_said():
    with pytest.raises(ConfigError, match="left to search: image_size 224: the network takes images of one size"):
        space_of(BASE, 64, 500, asked=["image_size"], fixed_input=True)


def test_a_frozen_backbone_has_no_rate_and_no_decay(space):
    assert not {"lr_backbone", "layer_decay"} & set(space.completed({"strategy": "linear_probe"}))
    assert {"lr_backbone", "layer_decay"} <= set(space.completed({"strategy": "everything"}))
    frozen = BASE.replace("strategy=linear_probe")
    found = space_of(frozen, 64, 500)
    assert found.fixed["lr_backbone"] == "no strategy that is searched trains the backbone's blocks"


def test_random_weights_are_trained_whole():
    found = space_of(BASE.replace("model.weights=none", "strategy=scratch"), 64, 500)
    assert "strategy" in set_keys(found.base)
    found = space_of(BASE.replace("model.weights=none"), 64, 500)
    assert set(found.rows) == {"layer_decay", "everything"}
    assert found.fixed["strategy linear_probe"] == "left out: random weights need a training of all blocks"


def test_image_sizes_are_the_patches_and_at_most_the_configurations(space):
    assert space.dimensions["image_size"].choices == (64, 96, 128, 224)
    assert space_of(BASE, 16, 500).dimensions["image_size"].choices == (32, 224)
    assert space_of(BASE, 256, 500).dimensions["image_size"].choices == (224, 256)
    fixed = space_of(BASE, 64, 500, fixed_input=True)
    assert fixed.fixed["image_size"] == "224: the network takes images of one size"


def test_few_labels_may_take_more_epochs():
    assert space_of(BASE, 64, 500).dimensions["epochs"].high == 60
    assert space_of(BASE, 64, 20_000).dimensions["epochs"].high == 15
    assert space_of(BASE, 64, 1000).dimensions["epochs"].high == 30


def test_rows_are_strategies_of_the_table():
    for name, row in ROWS.items():
        if name != "everything":
            assert row == resolve_strategy(name)


def test_a_network_of_one_block_has_no_layer_decay_and_no_strategy_that_needs_blocks(monkeypatch):
    monkeypatch.delattr(timm.models.efficientnet.EfficientNet, "group_matcher")
    monkeypatch.setattr("landsift.models.blocks._by_features", lambda _network: [])
    found = space_of(BASE, 64, 500)
    own = "layer_decay"  # the configuration's, whose training is refused
    assert set(found.rows) == {own, "two_phase", "linear_probe", "everything"}
    assert "layer_decay" not in found.dimensions
    assert found.fixed["layer_decay"] == "0.7: no other fits test_efficientnet"
    assert "blocks of test_efficientnet are not known" in found.fixed["strategy last_block"]


def test_no_weight_decay_may_become_some():
    found = space_of(BASE.replace("training.weight_decay=0"), 64, 500, asked=["weight_decay"])
    assert found.dimensions["weight_decay"].choices == (0.0, 1e-3, 1e-2, 0.1)
