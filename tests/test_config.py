"""The configuration: complete, frozen, and unknown keys refused with the nearest known one."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from landsift.config import RunConfig, digest
from landsift.errors import ConfigError
from landsift.training.phases import Phase
from landsift.training.strategies import resolve_strategy

ROOT = Path(__file__).resolve().parents[1]


def test_the_defaults_are_the_contract():
    config = RunConfig().to_dict()
    assert config["data"]["split"] == {
        "kind": "auto", "rows": None, "lists": None, "block_km": 100.0, "buffer_km": 0.0,
        "fractions": [0.6, 0.2, 0.2], "seed": 0,
        "folds": None, "fold": None,
    }  # fmt: skip
    assert config["model"]["backbone"] == "efficientnet_b0"
    assert config["model"]["head"] == {"hidden": None, "dropout": 0.0}
    assert config["strategy"] == "layer_decay"
    assert (config["training"]["image_size"], config["training"]["batch_size"]) == (224, 64)
    assert (config["training"]["label_smoothing"], config["training"]["weight_decay"]) == (0.0, 0.01)
    assert config["training"]["gradient_clip"] == 1.0
    assert config["training"]["augment"]["color_jitter"] == [0.0, 0.0, 0.0, 0.0]
    assert config["tracking"]["wandb"] == "offline"
    assert config["cluster"]["gpu"] == "T4:1"


@pytest.mark.parametrize("name", ["fast", "best", "by_place", "demo", "eurosat", "eurosat_mobilenetv2"])
def test_a_recipe_with_a_measured_accuracy_says_all_that_it_trains_with(name):
    """So that other defaults train nothing else under its name."""
    config = RunConfig.load(ROOT / "configs" / f"{name}.yaml")
    assert {"image_size", "label_smoothing", "weight_decay", "gradient_clip", "augment"} <= (
        config.training.model_fields_set
    )
    assert "color_jitter" in config.training.augment.model_fields_set
    assert {"hidden", "dropout"} <= config.model.head.model_fields_set
    assert "strategy" in config.model_fields_set


def test_the_tutorials_recipe_is_a_configuration():
    config = RunConfig.load(ROOT / "configs" / "eurosat.yaml")
    assert (config.model.backbone, config.strategy) == ("efficientnet_b0", "two_phase")
    assert config.model.head.model_dump() == {"hidden": 256, "dropout": 0.3}
    training = config.training
    assert (training.image_size, training.batch_size) == (224, 64)
    assert (training.label_smoothing, training.weight_decay, training.gradient_clip) == (0.1, 1e-4, None)
    assert training.augment.color_jitter == (0.2, 0.2, 0.2, 0.1)


def test_yaml_holds_every_key_and_reads_back_equal(tmp_path):
    config = RunConfig.load(
        None, ["seed=7", "data.budget=500", "training.augment.crop=0.5", "training.early_stopping={}"]
    )
    (tmp_path / "c.yaml").write_text(config.to_yaml())
    assert RunConfig.load(tmp_path / "c.yaml") == config
    assert yaml.safe_load(config.to_yaml()) == config.to_dict()


def test_overrides_lie_over_the_file(tmp_path):
    (tmp_path / "c.yaml").write_text("training: {image_size: 96, batch_size: 32}\n")
    config = RunConfig.load(tmp_path / "c.yaml", ["training.image_size=64"])
    assert (config.training.image_size, config.training.batch_size) == (64, 32)


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValidationError):
        RunConfig().seed = 1
    assert RunConfig().replace("seed=3").seed == 3


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers() | st.text(max_size=5)))
def test_the_digest_does_not_depend_on_the_order_of_keys(values):
    assert digest(values) == digest(dict(reversed(list(values.items()))))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.imag_size=3", "unknown configuration key 'training.imag_size'\ndid you mean 'training.image_size'?"),
        ("trainig.image_size=2", "unknown configuration key 'trainig'\ndid you mean 'training'?"),
        ("image_size=3", "did you mean 'training.image_size'?"),
        ("training.zzz=1", "known here: training.image_size, training.batch_size"),
        (
            "zzz=1",
            "known here: data, model, strategy, strategies, training, pretraining, evaluation, tracking, cluster, seed",
        ),
        ("training.image_size=3", "'training.image_size': input should be greater than or equal to 16 (got 3)"),
        ("training.image_size=big", "'training.image_size'"),
        ("training.precision=16", "'training.precision': input should be 'auto', '32' or 'bf16' (got '16')"),
        ("data.split.fractions=[0.5, 0.2, 0.2]", "sum to 1"),
        ("data.split.fractions=[0.5, 0.5]", "data.split.fractions"),
        ("data.split.kind=randomly", "'auto', 'stratified', 'column', 'group' or 'spatial'"),
        ("model.normalization={mean: [0.5], std: [0]}", "model.normalization.std"),
        ("training.augment.color_jitter=[2, 0, 0, 0]", "training.augment.color_jitter"),
        ("tracking.wandb=on", "'tracking.wandb': input should be 'offline', 'online' or 'disabled'"),
        ("seed=-1", "'seed'"),
        ("strategy=[]", "at least one phase"),
        ("strategies=full", "strategies: lists of phases by name are needed, not 'full'\nsuch as strategies.mine=[{"),
        ("strategies.mine=[]", "strategies.mine: a list of phases is needed"),
        ("strategies.full.0.epochs=3", "strategies.full: a list of phases is needed"),
        ("strategies.mine=[full]", "strategies.mine: a list of phases is needed"),
        ("strategies={my own: [{epochs: 1}]}", "strategies: 'my own' is no name\nletters, digits, - and _"),
        ("training={sampler: balanced, class_weights: balanced}", "training.sampler and training.class_weights both"),
        ("training.class_weights=null", "'training.class_weights': input should be 'none' or 'balanced'"),
        ("training.=3", "unknown configuration key 'training.'"),
        ("Seed=3", "did you mean 'seed'?"),
        ("training.Image_size=3", "did you mean 'training.image_size'?"),
        ("training.early_stopping={patiense: 3}", "did you mean 'training.early_stopping.patience'?"),
        ("training", "not of the form key=value"),
        ("seed=[1", "not valid YAML"),
        ("training=3", "'training': "),
    ],
)
def test_a_wrong_key_or_value_is_named_in_two_lines_at_most(override, said):
    with pytest.raises(ConfigError) as error:
        RunConfig.load(None, [override])
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) <= 2
    assert "pydantic" not in str(error.value)


def test_a_file_that_cannot_be_used_is_named(tmp_path):
    for text, said in [("a: [1", "not valid YAML (line"), ("- 1", "holds no keys")]:
        (tmp_path / "c.yaml").write_text(text)
        with pytest.raises(ConfigError) as error:
            RunConfig.load(tmp_path / "c.yaml")
        assert said in str(error.value)
        assert "c.yaml" in str(error.value)
    with pytest.raises(ConfigError, match="not found"):
        RunConfig.load(tmp_path / "none.yaml")


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda f: f.name)
def test_shipped_configurations_load_and_their_strategies_resolve(file):
    from landsift.training.strategies import resolve_strategy

    config = RunConfig.load(file)
    assert resolve_strategy(config.strategy, config.strategies)
    assert file.read_text().startswith("#")


PHASES = "strategy=[{epochs: 1, lr_head: 0.1}, {epochs: 2, lr_head: 0.1}]"


def test_a_phase_of_a_list_is_reached_by_its_position():
    changed = RunConfig.load(None, [PHASES, "strategy.1.epochs=5", "strategy.0={epochs: 3, lr_head: 0.2}"])
    assert changed.strategy == ({"epochs": 3, "lr_head": 0.2}, {"epochs": 5, "lr_head": 0.1})


def test_strategies_of_ones_own_are_kept_and_reached_by_name_and_position(tmp_path):
    mine = "strategies.mine=[{epochs: 1, lr_head: 0.1}]"
    config = RunConfig.load(None, [mine, "strategy=mine", "strategies.mine.0.epochs=4"])
    assert config.strategies == {"mine": ({"epochs": 4, "lr_head": 0.1},)}
    (tmp_path / "c.yaml").write_text(config.to_yaml())
    assert RunConfig.load(tmp_path / "c.yaml") == config


def test_a_budgets_seed_is_the_splits_unless_it_has_one():
    data = RunConfig().replace("data.split.seed=3").data
    assert data.effective_budget_seed is None
    assert RunConfig().replace("data.split.seed=3", "data.budget=9").data.effective_budget_seed == 3
    assert (
        RunConfig().replace("data.budget_seed=0", "data.split.seed=3", "data.budget=9").data.effective_budget_seed == 0
    )


@pytest.mark.parametrize("position", ["2", "-1", "head"])
def test_a_phase_that_is_not_there_is_refused(position):
    with pytest.raises(ConfigError, match=f"'{position}' is no phase here\nthere are 2 phases, counted from 0"):
        RunConfig.load(None, [PHASES, f"strategy.{position}.epochs=5"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: " + "[" * 5000, "not valid YAML"),
        ("seed: 2001-99-99", "not valid YAML"),
        ("seed: !!int ''", "not valid YAML"),
        ("seed: !!float abc", "not valid YAML"),
        ("seed: !!timestamp abc", "not valid YAML"),
        ("seed: !!python/object/apply:os.system [true]", "not valid YAML"),
        ("seed: " + "9" * 5000, "not valid YAML"),
        ("strategy: &a [*a]", "more than 100,000 values"),
        ("seed: 1 " + "#" * 2**20, "larger than 1 MiB"),
        ("seed: " + "x" * 5000, "…)"),
        ('{"a\\nb\\e[31m": 2}', "a\\nb\\x1b[31m"),
        ("{1: 2}", "should be strings"),
        (
            "training: {ema: 0.99}\nseed: 1\ntraining: {batch_size: 8}",
            "line 3: the key 'training' stands there a second",
        ),
        ("training:\n  ema: 0.9\n  ema: 0.99", "line 3: the key 'ema' stands there a second time"),
        ("training.ema: 0.9", "keys are nested here: training: {ema: ...}"),
    ],
)
def test_a_hostile_file_is_refused_in_two_short_lines(tmp_path, text, said):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        RunConfig.load(tmp_path / "c.yaml")
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) <= 2
    assert len(str(error.value)) < 500


def test_aliases_that_make_a_few_bytes_an_endless_tree_are_refused(tmp_path):
    """Printing the value that was refused took all memory."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    (tmp_path / "c.yaml").write_text("\n".join([*lines, "seed: *a11"]))
    with pytest.raises(ConfigError, match="more than 100,000 values"):
        RunConfig.load(tmp_path / "c.yaml")


def test_an_override_that_cannot_be_parsed_is_an_error():
    for text in ("[" * 5000, "2001-99-99"):
        with pytest.raises(ConfigError, match="the value of --set seed is not valid YAML"):
            RunConfig.load(None, [f"seed={text}"])


def test_paths_become_absolute_and_names_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("patches", "run"):
        (tmp_path / name).mkdir()
    (tmp_path / "w.safetensors").touch()
    config = RunConfig.load(None, ["data.source=patches", "model.weights=w.safetensors", "model.module=a/nets.py"])
    config = config.replace("data.eurosat.root=eurosat").absolute()
    assert config.data.source == str(tmp_path / "patches")
    assert config.data.eurosat.root == tmp_path / "eurosat"
    assert config.model.weights == str(tmp_path / "w.safetensors")
    assert config.model.module == str(tmp_path / "a" / "nets.py")
    assert config.absolute() == config
    assert RunConfig().absolute() == RunConfig()
    kept = RunConfig.load(None, ["data.source=eurosta", "model.weights=missing.pth", "model.module=nets"])
    assert kept.absolute() == kept  # whose errors name what was given


def test_a_key_of_a_mapping_that_is_merged_may_be_set_again(tmp_path):
    (tmp_path / "c.yaml").write_text("training: &a {ema: 0.9, batch_size: 8}\nevaluation: {}\n")
    assert RunConfig.load(tmp_path / "c.yaml").training.batch_size == 8
    (tmp_path / "c.yaml").write_text("model: {backbone_args: &a {x: 1}}\nstrategy: [{<<: *a, x: 2}, {<<: *a}]\n")
    assert RunConfig.load(tmp_path / "c.yaml").strategy == ({"x": 2}, {"x": 1})


def test_from_python_paths_and_phases_are_given_as_what_they_are(tmp_path):
    phase = Phase(name="head", epochs=3, lr_head=0.01)
    given = {
        "data": {"source": tmp_path, "split": {"rows": tmp_path / "rows.csv"}},
        "model": {"weights": tmp_path / "w.safetensors", "module": tmp_path / "net.py"},
        "strategy": [phase],
    }
    config = RunConfig.from_dict(given)
    assert (config.data.source, config.model.weights) == (str(tmp_path), str(tmp_path / "w.safetensors"))
    assert config.model.module == str(tmp_path / "net.py")
    assert resolve_strategy(config.strategy) == (phase,)
    assert RunConfig.from_dict(config.to_dict()) == config


def test_an_empty_file_is_the_defaults_but_no_runs_configuration(tmp_path):
    """A run's says everything; a copy that was cut to nothing would be told as a run with other settings."""
    (tmp_path / "config.yaml").write_text("")
    assert RunConfig.load(tmp_path / "config.yaml") == RunConfig()
    with pytest.raises(ConfigError, match=r"config.yaml is empty\n"):
        RunConfig.load_stored(tmp_path / "config.yaml")


def test_what_is_no_override_is_refused_and_so_is_what_is_no_mapping():
    for call in (lambda: RunConfig.load(None, [3]), lambda: RunConfig().replace({"seed": 3})):
        with pytest.raises(ConfigError, match="is not of the form key=value"):
            call()
    with pytest.raises(ConfigError, match="valid dictionary"):
        RunConfig.from_dict(None)
