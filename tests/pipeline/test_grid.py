"""What a comparison is asked to train."""

import numpy as np
import pytest

from landsift.config import RunConfig
from landsift.errors import ConfigError
from landsift.pipeline.comparison import grid
from landsift.pipeline.comparison.grid import Grid, load_base, read_variants
from landsift.training.strategies import STRATEGIES, deciding_settings, strategy_of

OWN = "strategies={short: [{name: all, epochs: 1, lr_head: 0.001}]}"


def test_a_cell_differs_from_the_base_in_strategy_budget_and_seed_alone():
    base = RunConfig.load(None, [OWN])
    found = Grid.of(base, ["linear_probe", "short"], [100, 50], [1, 0])
    assert [cell.label for cell in found.cells[:4]] == [
        "linear_probe, 50 labels, seed 0",
        "short, 50 labels, seed 0",
        "linear_probe, 100 labels, seed 0",
        "short, 100 labels, seed 0",
    ]
    assert len(found.cells) == 8
    expected = base.replace("strategy=short", "data.budget=100", "data.budget_seed=1", "seed=1")
    assert found.cells[-1].config == expected
    without = base.replace("strategy=linear_probe", "data.budget=100", "data.budget_seed=1", "seed=1", "strategies={}")
    assert found.cells[-2].config == without  # another own strategy does not make this one train again


def test_where_nothing_is_named_all_strategies_and_all_labels_are_compared():
    found = Grid.of(RunConfig.load(None, [OWN]))
    assert [row.name for row in found.rows] == [*STRATEGIES, "short"]
    assert found.budgets == (None,)
    assert found.seeds == (0, 1, 2)
    assert found.cells[0].label == f"{next(iter(STRATEGIES))}, all labels, seed 0"
    assert Grid.of(RunConfig(), ["full"], [None, 20]).budgets == (20, None)


def test_large_budgets_may_be_trained_with_fewer_seeds():
    found = Grid.of(RunConfig(), ["full"], {200: 1, 100: 2}, [4, 3])
    assert [(c.budget, c.seed) for c in found.cells] == [(100, 3), (200, 3), (100, 4)]
    for repeats in (0, 3):
        with pytest.raises(ConfigError, match="1 to 2 seeds"):
            Grid.of(RunConfig(), ["full"], {200: repeats}, [4, 3])


def test_a_grid_crosses_processes_unchanged():
    variants = {"small": {"model.backbone": "resnet18"}, "large": {"model.backbone": "resnet50"}}
    found = Grid.of(RunConfig.load(None, [OWN]), ["full", "short"], [50, None], [3], variants)
    assert Grid.from_json(found.to_json()) == found
    assert [row.name for row in found.rows] == ["full · small", "short · small", "full · large", "short · large"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategies": ["linear_prob"]}, "linear_prob"),
        ({"strategies": ["full", "full"]}, "strategy full is given twice"),
        ({"budgets": [50, 50]}, "budget 50 is given twice"),
        ({"seeds": [1, 1]}, "seed 1 is given twice"),
        ({"seeds": []}, "at least one"),
        ({"seeds": [-1]}, "from 0"),
        ({"seeds": 3}, "seeds is '3'\nneeded: a list of whole numbers"),
        ({"seeds": "012"}, "seeds is '012'"),
        ({"seeds": None}, "seeds is 'None'"),
        ({"seeds": [0.5]}, "seeds is"),
        ({"seeds": [True]}, "seeds is"),
        ({"budgets": 500}, r"budgets is '500'\nneeded: a list such as \[100, 500, None\]"),
        ({"budgets": ["500"]}, "budgets is"),
        ({"strategies": "full"}, "strategies is 'full'\nneeded: a list of names"),
        ({"strategies": [{"epochs": 1}]}, "strategies is"),
        ({"budgets": {"500": 1}}, "budgets is"),
        ({"budgets": {500: None}}, "budgets is .*\nneeded: numbers of seeds"),
        ({"budgets": [50, 0]}, "a budget of 0 labels"),
        ({"budgets": [50, -5]}, "a budget of -5 labels"),
        ({"variants": {"a": {"training.batch_size": {8}}}}, r"sets \{8\}, which is no value"),
        ({"variants": {"a": {5: 1}}}, "5"),
        ({"variants": {"a": {"data": {"source": "eurosat"}}}}, "variant 'a' sets data.source"),
        ({"variants": ["a"]}, "variants are settings by name"),
        ({"variants": {"a": None}}, "variants are settings by name"),
        ({"variants": {"a": {"data.source": "eurosat"}}}, "variant 'a' sets data.source"),
        ({"variants": {"a": {"seed": 1}}}, "variant 'a' sets seed"),
        ({"variants": {"a": {"model.backbon": "x"}}}, "model.backbon"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_words(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Grid.of(RunConfig(), **{"strategies": ["full"]} | arguments)


def test_a_strategy_is_trained_as_a_run_trains_it_and_trials_are_not_tracked(tmp_path):
    base, variants = load_base(None, ["training.weight_decay=0.5"])
    assert variants == {}
    run = RunConfig.load(None, ["training.weight_decay=0.5"])
    assert base.replace("tracking={}") == run
    assert base.tracking.wandb == "disabled"
    for name in STRATEGIES:
        [cell] = Grid.of(base, [name], [None], [0]).cells
        asked = run.replace(f"strategy={name}")
        assert strategy_of(cell.config) == strategy_of(asked)
        assert deciding_settings(cell.config) == deciding_settings(asked)
    (tmp_path / "c.yaml").write_text("training: {gradient_clip: 3.0}\ntracking: {project: mine}\n")
    base, _ = load_base(tmp_path / "c.yaml", [])
    assert base.training.gradient_clip == 3.0
    assert base.training.weight_decay == 0.01
    assert (base.tracking.project, base.tracking.wandb) == ("mine", "disabled")
    assert "project" not in grid.DEFAULTS["tracking"]
    assert load_base(None, ["tracking.project=other"])[0].tracking.project == "other"
    assert load_base(None, [])[0].tracking.project == "landsift"


def test_keys_given_several_times_make_variants_of_each_combination():
    sets = ["model.backbone=resnet18", "seed=5", "model.backbone=resnet34", "training.image_size=64"]
    base, variants = load_base(None, sets)
    assert base.seed == 5
    assert base.training.image_size == 64
    assert variants == {"resnet18": {"model.backbone": "resnet18"}, "resnet34": {"model.backbone": "resnet34"}}
    _, variants = load_base(None, [*sets, "training.image_size=96"])
    assert list(variants) == ["resnet18, 64", "resnet18, 96", "resnet34, 64", "resnet34, 96"]
    assert variants["resnet34, 96"] == {"model.backbone": "resnet34", "training.image_size": 96}
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_base(None, ["model.backbone=[", "model.backbone=resnet18"])
    with pytest.raises(ConfigError, match="resnet18 twice"):
        load_base(None, ["model.backbone=resnet18", "model.backbone=resnet18"])


def test_variants_come_from_a_file(tmp_path):
    file = tmp_path / "variants.yaml"
    file.write_text("small: {model.backbone: resnet18}\n34: {model.backbone: resnet34}\n")
    assert read_variants(file) == {"small": {"model.backbone": "resnet18"}, "34": {"model.backbone": "resnet34"}}
    for text in ("", "[]", "small: resnet18", "a: {", "\x00"):
        file.write_text(text)
        with pytest.raises(ConfigError, match=r"variants\.yaml"):
            read_variants(file)
    with pytest.raises(ConfigError, match="nowhere"):
        read_variants(tmp_path / "nowhere.yaml")


def test_names_that_cannot_be_folders_side_by_side_are_refused_before_anything_is_trained():
    def named(*names):
        return Grid.of(
            RunConfig(), ["full"], variants={name: {"training.image_size": 64 + i} for i, name in enumerate(names)}
        )

    assert [row.folder for row in named("Öl", "Äl", "a/b").rows] == ["full-Öl", "full-Äl", "full-a-b"]
    for names, said in ((("a b", "a/b"), "the same folder"), (("x" * 300,), "too long")):
        with pytest.raises(ConfigError, match=said):
            named(*names)


def test_what_is_named_may_come_from_numpy_or_one_after_the_other():
    expected = Grid.of(RunConfig(), ["full"], [20, None], [0, 1])
    assert Grid.of(RunConfig(), iter(["full"]), iter([np.int64(20), None]), np.arange(2)) == expected
    assert Grid.from_json(expected.to_json()) == expected


def test_a_variants_nested_settings_leave_the_rest_of_their_section_as_it_is(tmp_path):
    """They took the whole section's place, so that a variant without weights began with pretrained ones."""
    base = RunConfig.load(None, ["model.weights=none", "training.augment.crop=0.5", "training.ema=0.9"])
    nested = {
        "model": {"backbone": "resnet18", "backbone_args": {"drop_rate": np.float64(0.5)}, "module": tmp_path / "n.py"},
        "training.augment": {"flips": False},
    }
    config = Grid.of(base, ["full"], variants={"a": nested}).rows[0].config
    assert (config.model.backbone, config.model.weights, config.model.module) == (
        "resnet18",
        "none",
        str(tmp_path / "n.py"),
    )
    assert config.model.backbone_args == {"drop_rate": 0.5}
    assert (config.training.augment.flips, config.training.augment.crop, config.training.ema) == (False, 0.5, 0.9)
