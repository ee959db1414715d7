"""A run with thresholds, the file that was exported from it, and pictures, and a run as cards read it: made once."""

import numpy as np
import pytest
from exported_models import CLASSES, save_model_of, save_pictures, with_temperature, with_thresholds

from landsift import runs
from landsift.config import RunConfig
from landsift.evaluation.metrics import evaluate
from landsift.export.write import export_onnx


@pytest.fixture(scope="session")
def there(tmp_path_factory):
    """A folder with `run`, `model.onnx` and `pictures`; thresholds were chosen with test-time augmentation."""
    folder = tmp_path_factory.mktemp("there")
    with_thresholds(save_model_of(folder / "run", tta="flips", temperature=0.7))
    save_pictures(folder / "pictures")
    export_onnx(folder / "run", folder / "model.onnx", check=folder / "pictures")
    return folder


@pytest.fixture(scope="session")
def run_of_cards(tmp_path_factory):
    """A run directory as a training leaves it, as far as cards read it."""
    folder = save_model_of(tmp_path_factory.mktemp("run") / "mine")
    with_temperature(folder, 1.5)
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1, 2], [150, 120, 40]))
    probabilities = rng.dirichlet([1, 1, 1], len(labels)) * 0.6
    probabilities[np.arange(len(labels)), np.where(rng.random(len(labels)) < 0.9, labels, 0)] += 0.4
    test = evaluate(labels, probabilities.astype(np.float32), CLASSES, seed=0)
    config = RunConfig().replace(
        'data.source="/home/somebody/secret/patches"', 'model.weights="/home/somebody/w.safetensors"'
    )
    runs.write_text(folder / runs.CONFIG, config.to_yaml())
    runs.write_json(folder / runs.EVALUATION, {"epoch": 3, "classes": list(CLASSES), "test": test})
    runs.write_json(folder / runs.METRICS, [{"epoch": i} for i in range(4)])
    manifest = {
        "landsift": "0.1.0",
        "created": "2026-01-02T03:04:05+00:00",
        "seed": 7,
        "data": {
            "source": "/home/somebody/secret/patches",
            "patches": 900,
            "skipped": [{"path": "/home/somebody/x.png", "reason": "it is cut off"}],
            "classes": dict(zip(CLASSES, (500, 300, 100), strict=True)),
            "checks": {
                "sections": [
                    {"name": "split", "verdict": "ok", "text": "500 train, 90 val, 310 test, at random."},
                    {"name": "labels", "verdict": "look", "text": "3 images have conflicting labels."},
                ]
            },
        },
        "model": {"parameters": 12345},
        "phases": [{"name": "head"}, {"name": "everything"}],
        "versions": {"torch": "2.15.0+cpu", "timm": "1.0.31"},
    }
    runs.write_json(folder / runs.MANIFEST, manifest)
    return folder
