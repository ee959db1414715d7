"""A run that splits by place, end to end: what it was worth stands in its manifest, its intervals and its page."""

import logging
import re

import numpy as np
import pytest
from PIL import Image
from pipeline_helpers import TINY

from landsift.config import RunConfig, SyntheticConfig
from landsift.data.sources import synthetic
from landsift.pipeline.run import run


@pytest.fixture
def table(tmp_path):
    """120 generated patches of two classes, in 24 villages."""
    rng, lines = np.random.default_rng(0), ["path,label,lon,lat"]
    for i in range(120):
        patch = synthetic.patch(SyntheticConfig(patches=720, size=16), 6 * i + i % 2)
        Image.fromarray(patch).save(tmp_path / f"{i}.png")
        lon, lat = 5 + (i // 5) % 6 + 0.01 * rng.random(), 50 + i // 30 + 0.01 * rng.random()
        lines.append(f"{i}.png,{'ab'[i % 2]},{lon:.5f},{lat:.5f}")
    (tmp_path / "patches.csv").write_text("\n".join(lines))
    return tmp_path / "patches.csv"


def test_a_run_says_what_its_split_is_worth(table, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("LANDSIFT_HOME", str(tmp_path / "home"))
    settings = [s for s in TINY if not s.startswith("data.")]
    config = RunConfig.load(None, [*settings, f"data.source={table}", "data.split={kind: spatial, block_km: 20}"])
    finished = run(config, tmp_path / "run")
    (places,) = (s for s in finished.manifest["data"]["checks"]["sections"] if s["name"] == "places")
    assert places["verdict"] == "ok"
    assert places["counts"]["median_km"] > 20
    test = finished.evaluation["test"]["intervals"]
    assert test["over"] == "groups"
    assert 3 <= test["groups"] <= 6  # the villages of the test: its patches are right or wrong together
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert re.search(r"Half of the test patches are \d+ km or more from any training patch", page)
    assert f"the sampling of the {test['groups']} test blocks" in page

    with caplog.at_level(logging.INFO, "landsift"):
        at_random = run(config.replace("data.split={kind: stratified}"), tmp_path / "random")
    assert at_random.manifest["stages"]["load_dataset"]["cached"]
    assert not at_random.manifest["stages"]["train_model"]["cached"]
    assert "the split: test patches are" in caplog.text
    assert "A random split measures accuracy close to the training patches" in caplog.text
