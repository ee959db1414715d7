"""The command of a comparison's row trains, by itself, what the row stands for on all labels."""

import json
import shlex

import pytest

from landsift.config import RunConfig
from landsift.pipeline.comparison.grid import Grid, load_base
from landsift.pipeline.comparison.winner import OF_TRIALS, training_command
from landsift.training.strategies import STRATEGIES, deciding_settings, strategy_of

OWN = (
    "strategies={mine: [{name: head, epochs: 1, lr_head: 0.001}, "
    "{epochs: 2, lr_head: 1.0e-5, blocks: all, lr_backbone: 1.0e-5}]}"
)


def parsed(command: str) -> RunConfig:
    """The configuration that the command line makes of a command, as a shell would pass it on."""
    program, run, *options = shlex.split(command)
    assert (program, run) == ("landsift", "run")
    given = list(zip(options[::2], options[1::2], strict=True))
    [out] = [value for option, value in given if option == "--out"]
    assert out.startswith("runs/")
    [data] = [value for option, value in given if option == "--data"]
    settings = [value for option, value in given if option == "--set"]
    assert len(given) == len(settings) + 2
    return RunConfig.load(None, settings).replace(f"data.source={json.dumps(data)}")


HALF = "model.normalization={mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}"
SETTINGS = {
    "defaults": (),
    "a network": ("model.backbone=mobilenetv2_100", "training.image_size=64", "model.backbone_args={pad_type: same}"),
    "values that look like others": (
        "model.backbone=1e5",
        "model.backbone_args={a: 'null', b: 'yes', c: '1.0', d: null, e: [1, 2.5e-7]}",
    ),
    "quotes and spaces": (
        """data.source=it's "here", in {a} folder""",
        "model.weights='a b/$HOME `x`.safetensors'",
    ),
    "letters of the world": ("data.source=Düsseldorf/ζ/地図",),
    "nothing set": ("training.gradient_clip=null", "training.checkpoint_minutes=null"),
    "sections": ("training.early_stopping={patience: 2}", HALF),
    "numbers": ("training.weight_decay=1.0e-09", "training.augment.color_jitter=[0.05, 0, 0, 0.5]"),
    "folds": ("data.split.kind=spatial", "data.split.seed=7", "seed=3"),
    "own strategies": (OWN, "training.ema=0.998"),
    "tracking": ("tracking.name=a name", "tracking.wandb=online"),
    "synthetic": ("data.source=synthetic", "data.synthetic.patches=60", "data.synthetic.bands=all"),
    "classes count the same": ("training.sampler=balanced", "evaluation={tta: flips, risk: 0.3}"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_it_parses_to_the_rows_configuration_with_all_labels(case):
    base, _ = load_base(None, SETTINGS[case])
    folds = 3 if case == "folds" else None
    for row in Grid.of(base, ["layer_decay", *base.strategies], [20, 40], [1, 2], folds=folds).rows:
        found = parsed(training_command(row))
        assert found.replace("tracking={}").to_dict() == row.config.replace(*OF_TRIALS, "tracking={}").to_dict()
        assert found.data.budget is None
        assert found.data.split.fold is None


def test_every_strategy_is_trained_by_its_name_as_in_the_comparison():
    base, _ = load_base(None, ["data.source=patches"])
    for row in Grid.of(base).rows:
        found = parsed(training_command(row))
        assert found.strategy == row.strategy
        assert strategy_of(found) == strategy_of(row.config) == STRATEGIES[row.strategy]
        assert deciding_settings(found) == deciding_settings(row.config)


def test_the_defaults_need_no_setting_and_variants_name_their_own():
    base, variants = load_base(None, ["data.source=patches", "model.backbone=resnet18", "model.backbone=resnet50"])
    commands = [training_command(row) for row in Grid.of(base, ["layer_decay", "full"], variants=variants).rows]
    assert [len(shlex.split(command)) for command in commands] == [8, 10, 8, 10]
    assert commands[1].endswith("--set model.backbone=resnet18 --set strategy=full --out runs/full-resnet18")
    plain, _ = load_base(None, ["data.source=patches"])
    [row] = Grid.of(plain, ["layer_decay"]).rows
    assert training_command(row) == "landsift run --data patches --out runs/layer_decay"
