"""The public API: these names and nothing more, imported when they are asked for."""

import subprocess
import sys

import pytest

import landsift


def test_every_public_name_can_be_had_and_there_are_no_more():
    assert set(landsift.__all__) == {
        "LandsiftError", "PatchStore", "Phase", "Predictor", "Run", "RunConfig", "__version__", "compare", "load_model",
        "run",
    }  # fmt: skip
    for name in set(landsift.__all__) - {"__version__"}:
        assert getattr(landsift, name).__module__.startswith("landsift.")
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = landsift.trian


def test_importing_landsift_imports_nothing_heavy():
    code = "import sys, landsift; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "flyte", "numpy", "pydantic", "pandas"} & set(done.stdout.split())


def test_training_and_prediction_import_neither_flyte_nor_wandb():
    code = (
        "import sys, landsift.training.start, landsift.training.fit, landsift.training.module, "
        "landsift.training.callbacks, landsift.evaluation.predict, landsift.data.store.patch_store; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"flyte", "flyteplugins", "wandb", "rasterio"} & set(done.stdout.split())
