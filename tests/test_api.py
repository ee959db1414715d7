"""The public API: these names and nothing more, imported when they are asked for, and what they may be given."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import landsift
from landsift.errors import ConfigError, DataError
from landsift.pipeline.comparison.grid import load_base, with_defaults
from landsift.pipeline.inputs import configured

TINY = {
    "model": {"backbone": "test_efficientnet", "weights": "none"},
    "strategy": [{"name": "head", "epochs": 1, "lr_head": 0.002}],
    "training": {"image_size": 32, "batch_size": 16},
    "tracking": {"tsne_every": 0, "wandb": "disabled"},
}


def test_every_public_name_can_be_had_and_there_are_no_more():
    assert set(landsift.__all__) == {
        "BandSpec", "LandsiftError", "OnnxPredictor", "PatchStore", "Phase", "Predictor", "Run", "RunConfig",
        "__version__", "build_store", "check_data", "compare", "iter_predictions", "load_model",
        "map_change", "map_scene", "predict_files", "predict_into", "pretrain", "run", "zone_areas",
    }  # fmt: skip
    for name in set(landsift.__all__) - {"__version__"}:
        assert getattr(landsift, name).__module__.startswith("landsift.")
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = landsift.trian


def test_dir_lists_the_public_names_before_they_are_loaded():
    code = "import sys, landsift; assert dir(landsift) == sorted(landsift.__all__); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "flyte", "numpy", "pydantic", "pandas"} & set(done.stdout.split())


def test_training_and_prediction_import_neither_flyte_nor_wandb():
    code = (
        "import sys, landsift.training.start, landsift.training.fit, landsift.training.module, "
        "landsift.training.callbacks, landsift.evaluation.predict, landsift.data.store.patch_store; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"flyte", "flyteplugins", "wandb", "rasterio"} & set(done.stdout.split())


def test_a_configuration_is_given_as_itself_as_nested_values_as_a_file_or_not_at_all(tmp_path):
    (tmp_path / "c.yaml").write_text("seed: 3\n")
    loaded = landsift.RunConfig.load(str(tmp_path / "c.yaml"))
    assert loaded == landsift.RunConfig.load(tmp_path / "c.yaml", ()) == landsift.RunConfig.load(None, "seed=3")
    for given in (loaded, {"seed": 3}, tmp_path / "c.yaml", str(tmp_path / "c.yaml")):
        assert configured(given, None) == loaded
    assert configured(None, None) == landsift.RunConfig()
    assert configured({"seed": 3}, Path("patches")).data.source == "patches"


@pytest.mark.parametrize(
    ("config", "data", "kind", "said"),
    [
        (3, None, ConfigError, "a configuration is a RunConfig, nested values or the path of a YAML file, not int"),
        (["seed=3"], None, ConfigError, "not list"),
        ({"sead": 3}, None, ConfigError, "unknown configuration key 'sead'\ndid you mean 'seed'"),
        ({3: 4}, None, ConfigError, "unknown configuration key"),
        ({"training": 4}, None, ConfigError, "configuration key 'training'"),
        ("nowhere.yaml", None, ConfigError, "configuration file not found: nowhere.yaml"),
        (None, np.zeros((2, 8, 8, 3), np.uint8), DataError, "data is a ndarray; .*\nlandsift.PatchStore.from_arrays"),
        (None, ["patches"], DataError, "data is a list"),
    ],
)
def test_whatever_else_is_given_is_refused(tmp_path, config, data, kind, said):
    for call in (landsift.run, landsift.compare):
        with pytest.raises(kind, match=said) as caught:
            call(config, str(tmp_path / "out"), data=data)
        assert str(caught.value).count("\n") <= 1
    assert not any(tmp_path.iterdir())


def test_no_configuration_and_one_that_sets_nothing_are_the_same_comparison(tmp_path):
    by_command, _ = load_base(None, ())
    (tmp_path / "c.yaml").write_text("")
    for given in (None, {}, landsift.RunConfig(), landsift.RunConfig.load(), str(tmp_path / "c.yaml")):
        assert with_defaults(configured(given, None)) == by_command
    assert (by_command.training.weight_decay, by_command.model.head.hidden) == (0.01, None)


def test_what_a_configuration_sets_holds_in_a_comparison_too_and_changes_set_what_they_name():
    own = landsift.RunConfig().replace("data.source=patches", "training.weight_decay=0.0001")
    base = with_defaults(own)
    assert (base.data.source, base.training.weight_decay, base.model.head.hidden) == ("patches", 1e-4, None)
    assert base == load_base(None, ["data.source=patches", "training.weight_decay=0.0001"])[0]
    jitter = own.replace("training.augment.color_jitter.0=0.5").training.augment
    assert jitter.color_jitter == (0.5, 0.0, 0.0, 0.0)
    assert with_defaults(own.replace("training.augment.color_jitter.0=0.5")).training.augment == jitter
    complete = landsift.RunConfig.from_dict(own.to_dict())
    assert with_defaults(complete) == complete


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ([], "no paths are given"),
        ([3], "a path is needed, not int"),
        (3, "a path is needed, not int"),
        (None, "a path is needed, not NoneType"),
        ("nowhere", "no such file or folder: nowhere"),
        ("~/nowhere", r"no such file or folder: /.*/nowhere"),
    ],
)
def test_paths_that_are_none_are_refused_before_the_model_is_read(paths, said):
    with pytest.raises(DataError, match=said):
        landsift.predict_files("no model", paths)


def test_a_folder_without_images_is_refused_with_the_endings_that_are_read(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="no images in") as refused:
        landsift.predict_files("no model", tmp_path)
    assert "images end in ." in refused.value.hint
    assert ".png, " in refused.value.hint


def test_patches_in_memory_are_trained_on_and_the_same_ones_come_from_the_cache(tmp_path, caplog):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    images = (rng.integers(0, 120, (60, 16, 16, 3)) + 100 * labels[:, None, None, None]).astype(np.uint8)
    store = landsift.PatchStore.from_arrays(images, labels, ["water", "forest"], folder=tmp_path / "store")
    run = landsift.run(TINY, str(tmp_path / "run"), data=store)
    assert run.evaluation["classes"] == ["water", "forest"]
    assert run.manifest["data"]["fingerprint"] == store.fingerprint
    kept = landsift.PatchStore.open(run.manifest["data"]["store"])
    assert (kept.folder / "images.npy").samefile(store.folder / "images.npy")
    assert set(run.predictions["path"]) < {f"{row:02}" for row in range(60)}
    probabilities = landsift.load_model(run.path)(images)
    assert probabilities.shape == (60, 2)
    caplog.set_level("INFO", "landsift")
    again = landsift.run(TINY | {"data": {"source": str(store.folder)}}, tmp_path / "again")
    assert "the trained model comes from the cache" in caplog.text
    assert again.evaluation == run.evaluation


def test_an_empty_text_is_not_the_working_folder():
    """It is what a variable holds that was never set."""
    for call in (landsift.load_model, landsift.Run.open, lambda path: landsift.run(TINY, path)):
        with pytest.raises(landsift.LandsiftError, match="not an empty text"):
            call("")
    with pytest.raises(landsift.LandsiftError, match="not an empty text"):
        landsift.predict_files("no model", "")


@pytest.mark.parametrize("given", [None, 3, b"runs/first", ["runs/first"]], ids=["None", "int", "bytes", "list"])
def test_what_is_no_path_is_refused_wherever_one_is_needed(given):
    for call in (
        landsift.load_model,
        landsift.Run,
        landsift.Run.open,
        landsift.PatchStore.open,
        lambda path: landsift.run(TINY, path),
        lambda path: landsift.compare(TINY, path),
        lambda path: landsift.predict_files(path, __file__),
        lambda path: landsift.build_store("synthetic", path),
        lambda path: landsift.PatchStore.from_arrays(np.zeros((2, 8, 8, 3), np.uint8), [0, 1], ["a", "b"], folder=path),
    ):
        with pytest.raises(landsift.LandsiftError, match=f"a path is needed, not {type(given).__name__}"):
            call(given)


def test_the_home_folder_is_where_a_shell_has_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for call in (landsift.load_model, landsift.Run.open, landsift.PatchStore.open):
        with pytest.raises(landsift.LandsiftError, match=f"{tmp_path}/nothing"):
            call("~/nothing")
    assert landsift.Run("~/first").path == tmp_path / "first"


def test_a_check_is_of_a_store_and_a_store_is_made_of_a_source(tmp_path):
    for given in (tmp_path, str(tmp_path), None):
        with pytest.raises(DataError, match=r"a patch store is checked, not a .*\nPatchStore.open"):
            landsift.check_data(given)
    for given in (None, {"source": "synthetic"}, landsift.RunConfig()):
        with pytest.raises(DataError, match="is no source of patches"):
            landsift.build_store(given, tmp_path / "store")
    assert not any(tmp_path.iterdir())
