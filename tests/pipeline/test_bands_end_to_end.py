"""A whole run on patches that are not 8-bit RGB: trained, tested, shown, loaded again with the same answers."""

import json
import math

import numpy as np
import pandas as pd
import pytest

import landsift
from landsift.bands import BandSpec
from landsift.errors import DataError

N, SIDE, CLASSES = 90, 16, ["field", "forest", "water"]
LABELS = np.arange(N) % 3
SETTINGS = {
    "model": {"backbone": "test_efficientnet", "weights": "none"},
    "training": {"image_size": 32, "batch_size": 16, "accelerator": "cpu", "precision": "32"},
    "strategy": [
        {"name": "head", "epochs": 1, "lr_head": 5e-3},
        {"name": "all", "epochs": 7, "lr_head": 1e-2, "lr_backbone": 1e-2, "blocks": "all"},
    ],
    "evaluation": {"tta": "flips"},
    "tracking": {"wandb": "disabled", "tsne_every": 1},
}


def reflectance():
    """13 bands as Sentinel-2 has them since processing baseline 04.00; a patch and a corner without data."""
    rng = np.random.default_rng(0)
    mean = rng.uniform(0.02, 0.4, (3, 13))[LABELS][:, None, None]
    stored = np.rint(1e4 * (mean + rng.normal(0, 0.02, (N, SIDE, SIDE, 13))) + 1000).clip(1, 65535).astype(np.uint16)
    stored[10], stored[11, :5, :5] = 0, 0
    names = tuple(f"B{band:02d}" for band in range(13))
    return stored, BandSpec(names, "uint16", (1e-4,) * 13, (-0.1,) * 13, nodata=0, units="reflectance", gsd=10.0)


def backscatter():
    """One band in dB, a tenth of it NaN."""
    rng = np.random.default_rng(1)
    stored = np.array([-18.0, -12.0, -6.0])[LABELS][:, None, None, None] + rng.normal(0, 1.0, (N, SIDE, SIDE, 1))
    stored[rng.random(stored.shape) < 0.1] = np.nan
    return stored.astype(np.float32), BandSpec(("VV",), "float32", (1.0,), (0.0,), math.nan, "dB", 10.0)


@pytest.mark.parametrize("patches", [reflectance, backscatter])
def test_a_run_on_other_bands(tmp_path, patches):
    images, bands = patches()
    labels = np.where(np.isin(np.arange(N), [0, 1]), -1, LABELS)
    store = landsift.PatchStore.from_arrays(images, labels, CLASSES, folder=tmp_path / "store", bands=bands)
    run = landsift.run(SETTINGS, tmp_path / "run", data=store)

    assert run.evaluation["test"]["accuracy"] > 0.6
    data = run.manifest["data"]
    assert (data["patches"], data["unlabelled"], sum(data["classes"].values())) == (N, 2, N - 2)
    assert BandSpec.from_dict(data["bands"]) == bands
    assert {"ok", "look"} >= {section["verdict"] for section in data["checks"]["sections"]}
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"{N} patches in 3 classes" in page
    assert "2 of them unlabelled" in page
    assert str(bands).split(",")[0] in page

    predictor = landsift.load_model(tmp_path / "run", "cpu")
    assert predictor.bands == bands
    table = pd.read_parquet(tmp_path / "run" / "predictions.parquet")
    assert not set(table["path"]) & {"00", "01"}
    tested = table[table["split"] == "test"]
    rows = tested["path"].astype(int).to_numpy()
    np.testing.assert_array_equal(predictor(images[rows]), tested[[f"p_{name}" for name in CLASSES]].to_numpy())

    model = json.loads((tmp_path / "run" / "model" / "model.json").read_text())
    assert (model["format"], model["backbone_args"]) == (3, {"in_chans": images.shape[-1]})
    again = landsift.run(SETTINGS, tmp_path / "again", data=store)
    assert again.manifest["stages"]["train_model"]["cached"]


def test_the_same_numbers_with_another_meaning_are_trained_anew(tmp_path):
    images, bands = reflectance()
    other = BandSpec.from_dict(bands.to_dict() | {"offset": [0.0] * 13})
    quick = SETTINGS | {"strategy": [{"name": "head", "epochs": 1, "lr_head": 5e-3}], "tracking": {"wandb": "disabled"}}
    runs = []
    for name, spec in (("one", bands), ("two", other)):
        store = landsift.PatchStore.from_arrays(images, LABELS, CLASSES, folder=tmp_path / f"{name}-store", bands=spec)
        runs.append(landsift.run(quick, tmp_path / name, data=store))
    assert not runs[1].manifest["stages"]["train_model"]["cached"]
    first, second = (run.manifest["model"]["normalization"]["mean"] for run in runs)
    np.testing.assert_allclose(np.array(second) - np.array(first), 0.1)


@pytest.mark.parametrize("classes", [[], CLASSES])
def test_a_training_without_labels_is_refused_and_leaves_nothing(tmp_path, classes):
    images, bands = backscatter()
    store = landsift.PatchStore.from_arrays(images, [-1] * N, classes, folder=tmp_path / "store", bands=bands)
    with pytest.raises(DataError, match="has a label" if classes else "holds no class"):
        landsift.run(SETTINGS, tmp_path / "run", data=store)
    assert not (tmp_path / "run").exists()
