"""From a folder of 13-band rasters to a model, and from its `model/` folder alone back to the same probabilities."""

import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.transform import from_origin

import landsift
from landsift.cli.main import main
from landsift.runs import Run

SETTINGS = {
    "model": {"backbone": "test_efficientnet", "weights": "none"},
    "training": {"image_size": 32, "batch_size": 16, "accelerator": "cpu", "precision": "32"},
    "strategy": [{"name": "all", "epochs": 2, "lr_head": 1e-2, "lr_backbone": 1e-2, "blocks": "all"}],
    "tracking": {"wandb": "disabled", "tsne_every": 1},
}


def generated(folder):
    """36 patches of three classes as EuroSAT has them: 13 bands without names, each patch at a place of its own."""
    rng = np.random.default_rng(0)
    levels = rng.uniform(300, 3000, (3, 13, 1, 1))
    levels[:, 9] = 12  # the cirrus band
    for row in range(36):
        values = (levels[row % 3] + rng.normal(0, 30, (13, 16, 16))).clip(1).astype(np.uint16)
        file = folder / "abc"[row % 3] / f"{row}.tif"
        file.parent.mkdir(parents=True, exist_ok=True)
        with rasterio.open(
            file, "w", driver="GTiff", height=16, width=16, count=13, dtype="uint16", crs="EPSG:32631",
            transform=from_origin(500_000 + 1000 * row, 5_500_000, 10, 10),
        ) as raster:  # fmt: skip
            raster.write(values)
    return folder


def command(monkeypatch, capsys, *arguments):
    """Run a command; its result as JSON, and what it said."""
    monkeypatch.setattr(sys, "argv", ["landsift", *map(str, arguments), "--json"])
    capsys.readouterr()
    with pytest.raises(SystemExit) as leaving:
        main()
    assert not leaving.value.code
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def trained_and_asked(source, tmp_path, monkeypatch, capsys):
    """Train on a folder, ask the model alone; returns the run."""
    data = {"source": str(source), "sensor": "eurosat"}
    run = landsift.run(SETTINGS | {"data": data}, tmp_path / "run")
    model = shutil.copytree(tmp_path / "run" / "model", tmp_path / "elsewhere")
    described = json.loads((model / "model.json").read_text())
    assert (described["reading"], described["bands"]["units"]) == ({"sensor": "eurosat"}, "reflectance")

    table = pd.read_parquet(run.path / "predictions.parquet")
    tested = table[table["split"] == "test"].reset_index(drop=True)
    columns = [name for name in table if name.startswith("p_")]
    tested[["path"]].to_csv(tmp_path / "files.csv", index=False)  # in the order of the test: in the same batches
    command(monkeypatch, capsys, "predict", model, tmp_path / "files.csv", "--out", tmp_path / "p.parquet")
    again = pd.read_parquet(tmp_path / "p.parquet")
    assert again["path"].tolist() == tested["path"].tolist()
    np.testing.assert_array_equal(again[columns], tested[columns])
    with rasterio.open(again["path"][0]) as raster:
        assert raster.crs.is_projected
    assert again[["lon", "lat"]].notna().all(axis=None)

    result, _ = command(monkeypatch, capsys, "evaluate", model, source, "--out", tmp_path / "figures")
    assert result["figures"]["n"] == len(list(source.glob("*/*.tif")))
    of_all = pd.read_parquet(tmp_path / "figures" / "predictions.parquet").set_index("path")
    np.testing.assert_allclose(of_all.loc[tested["path"], columns], tested[columns], atol=1e-6)
    return run


def test_rasters_are_answered_as_in_the_test_from_the_model_alone(tmp_path, monkeypatch, capsys):
    run = trained_and_asked(generated(tmp_path / "in"), tmp_path, monkeypatch, capsys)
    assert run.manifest["data"]["reading"] == {"sensor": "eurosat"}


def test_a_model_that_was_trained_from_a_store_reads_files_as_the_store_did(tmp_path, monkeypatch, capsys):
    source = generated(tmp_path / "in")
    command(monkeypatch, capsys, "data", "build", source, "--out", tmp_path / "store", "--set", "data.sensor=eurosat")
    landsift.run(SETTINGS, tmp_path / "run", data=str(tmp_path / "store"))
    _, said = command(monkeypatch, capsys, "predict", tmp_path / "run", source, "--out", tmp_path / "p.csv")
    assert len(pd.read_csv(tmp_path / "p.csv")) == 36
    settings = ("--set", "data.sensor=sentinel2_l1c")
    _, said = command(monkeypatch, capsys, "predict", tmp_path / "run", source, "--out", tmp_path / "q.csv", *settings)
    assert "36 of 36 files: bands read by name, in another order" in said
    assert "not the darkest band" in said
    monkeypatch.setattr(sys, "argv", ["landsift", "predict", str(tmp_path / "run"), str(source), "--out",
                                      str(tmp_path / "r.csv"), "--set", "data.patch_size=32"])  # fmt: skip
    with pytest.raises(SystemExit):
        main()
    assert "'data.patch_size' changes nothing in a prediction" in capsys.readouterr().err


@pytest.mark.shared
def test_the_98_real_patches_are_answered_as_in_the_test(shared, tmp_path, monkeypatch, capsys):
    source = shared / "data" / "eurosat_ms"
    run = trained_and_asked(source, tmp_path, monkeypatch, capsys)
    assert isinstance(run, Run)
    assert run.manifest["data"]["patches"] == 98
    checked, _ = command(monkeypatch, capsys, "data", "check", source, "--set", "data.sensor=eurosat")
    assert "error" not in {section["verdict"] for section in checked["sections"]}
