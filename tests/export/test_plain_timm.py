"""A plain checkpoint is loaded by timm alone and answers as the run's network does."""

import json

import numpy as np
import pytest
import timm
import torch
from exported_models import CLASSES, pictures, save_model_of

from landsift.bands import BandSpec
from landsift.errors import ModelError
from landsift.export.plain_timm import export_timm
from landsift.models.predictor import load_model


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_timm_loads_it_and_answers_alike(tmp_path, backbone):
    run = save_model_of(tmp_path / "run", backbone, image_size=64)
    found = export_timm(run, tmp_path / "plain")
    network = timm.create_model(f"local-dir:{tmp_path / 'plain'}", pretrained=True).eval()
    predictor = load_model(run, "cpu")
    prepared = predictor.preprocess(torch.from_numpy(pictures(6)))
    with torch.inference_mode():
        answers = network(prepared).softmax(dim=1).numpy()
    np.testing.assert_allclose(answers, predictor(pictures(6)), atol=1e-5)
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    assert config["num_classes"] == len(CLASSES)
    assert config["label_names"] == list(CLASSES)
    assert config["pretrained_cfg"]["mean"] == pytest.approx([0.45] * 3)
    assert config["pretrained_cfg"]["input_size"] == [3, 64, 64]
    assert any("were resized to 64" in note for note in found.notes)


def test_a_temperature_is_in_the_last_layer_unless_it_is_of_averaged_views(tmp_path):
    plain = load_model(save_model_of(tmp_path / "none"), "cpu").logits(pictures(4))
    hot = save_model_of(tmp_path / "hot", temperature=2.0)
    found = export_timm(hot, tmp_path / "checkpoint")
    network = timm.create_model(f"local-dir:{tmp_path / 'checkpoint'}", pretrained=True).eval()
    with torch.inference_mode():
        logits = network(load_model(hot, "cpu").preprocess(torch.from_numpy(pictures(4)))).numpy()
    np.testing.assert_allclose(logits, plain / 2, atol=1e-4)
    assert any("is in its last layer" in note for note in found.notes)
    views = export_timm(save_model_of(tmp_path / "views", tta="flips", temperature=2.0), tmp_path / "other")
    assert any("looks once" in note for note in views.notes)
    assert any("not in it" in note for note in views.notes)


def test_networks_of_other_bands(tmp_path):
    bands = BandSpec(("a", "b", "c", "d", "e"), "uint16", (1e-4,) * 5, (0.0,) * 5)
    export_timm(save_model_of(tmp_path / "run", bands=bands), tmp_path / "plain")
    network = timm.create_model(f"local-dir:{tmp_path / 'plain'}", pretrained=True).eval()
    assert network(torch.zeros(1, 5, 32, 32)).shape == (1, len(CLASSES))


def test_a_head_of_two_layers_is_refused_and_nothing_is_written(tmp_path):
    run = save_model_of(tmp_path / "run", hidden=16)
    with pytest.raises(ModelError, match="has a head of two layers"):
        export_timm(run, tmp_path / "plain")
    assert not (tmp_path / "plain").exists()


def test_the_ten_lines_of_the_docs_rebuild_a_head_of_two_layers(tmp_path, monkeypatch):
    from pathlib import Path

    run = save_model_of(tmp_path / "run", hidden=16, image_size=64)
    text = (Path(__file__).resolve().parents[2] / "docs" / "export.md").read_text()
    code = text.split("<!-- ten lines -->")[1].split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    space: dict = {}
    exec(code.replace("RUN/model", "run/model"), space)
    prepared = load_model(run, "cpu").preprocess(torch.from_numpy(pictures(5)))
    with torch.inference_mode():
        found = space["network"](prepared).softmax(dim=1).numpy()
    np.testing.assert_allclose(found, load_model(run, "cpu")(pictures(5)), atol=1e-5)
