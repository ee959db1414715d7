"""Beside the map of a model with thresholds: how many classes each cell may be, where it abstains, what is far away."""

import json
import logging

import numpy as np
import pytest
import rasterio
from map_models import CLASSES, pictures, save_random_model
from scene_models import raster

import landsift
from landsift.mapping.make import map_scene
from landsift.mapping.many import map_scenes, scenes_of
from landsift.mapping.map_file import read_info
from landsift.mapping.map_options import LoadedModel, MapOptions
from landsift.mapping.trust_raster import ABSTAINS, OOD, TrustCount, count_trust, small_trust
from landsift.models.loading import model_files
from landsift.models.trust import Distances, Thresholds, Trust
from landsift.models.trust_files import write_trust

SIDE, ROWS, COLS = 32, 4, 5


def with_thresholds(folder, **changes):
    """A random model that has thresholds, with which each of its flags is set for some patches."""
    values = {
        "classes": CLASSES, "temperature": None, "coverage": 0.9, "sets": "marginal", "least": (0.1,) * 4, "risk": 0.05,
        "confidence": 0.7, "landsift": "0",
    }  # fmt: skip
    features = landsift.load_model(folder, device="cpu").features(np.concatenate(list(patches_of(scene_values()))))
    D = features.shape[1]
    distances = Distances(features[:1] * 0, np.zeros((0, D), np.float32), np.zeros(0, np.float32), 1.0)
    values["distance"] = float(np.median(distances(features)))
    write_trust(Trust(Thresholds(**(values | changes)), distances), folder / "model")
    return folder


def scene_values():
    return pictures(SIDE * ROWS, SIDE * COLS)


def patches_of(values):
    return values.reshape(ROWS, SIDE, COLS, SIDE, 3).transpose(0, 2, 1, 3, 4)


@pytest.fixture
def scene(tmp_path):
    return raster(tmp_path / "scene.tif", scene_values(), photometric="RGB")


def bands(path):
    with rasterio.open(path) as dataset:
        assert dataset.descriptions == ("classes in the set", "abstain", "ood")
        return dataset.read()


@pytest.mark.parametrize("tta", ["none", "flips"])
def test_each_cell_is_judged_as_predict_judges_its_patch(scene, tmp_path, tta):
    run = with_thresholds(save_random_model(tmp_path / "run", tta=tta))
    result = map_scene(run, scene, tmp_path / "map.tif", device="cpu")
    predictor = landsift.load_model(run, device="cpu")
    probabilities, features = predictor.probabilities_and_features(np.concatenate(list(patches_of(scene_values()))))
    judged = predictor.trust.judge(probabilities, predictor.trust.distances(features))
    found = bands(tmp_path / "map.trust.tif").reshape(3, -1)
    np.testing.assert_array_equal(found[0], judged.sets.sum(axis=1))
    np.testing.assert_array_equal(found[1], judged.abstain)
    np.testing.assert_array_equal(found[2], judged.ood)
    assert 0 < judged.ood.sum() < len(judged.ood)
    counts = {
        "several": (judged.sets.sum(axis=1) > 1).sum(), "abstained": judged.abstain.sum(), "ood": judged.ood.sum(),
    }  # fmt: skip
    shares = {f"{name}_share": pytest.approx(count / (ROWS * COLS), abs=1e-6) for name, count in counts.items()}
    assert result.to_dict()["judged"] == {"cells": ROWS * COLS, **counts, **shares}
    assert count_trust(read_info(tmp_path / "map.tif")) == TrustCount(ROWS * COLS, *map(int, counts.values()))
    expected = np.where(judged.ood, OOD, np.where(judged.abstain, ABSTAINS, judged.sets.sum(axis=1) > 1))
    np.testing.assert_array_equal(small_trust(read_info(tmp_path / "map.tif"), 100), expected.reshape(ROWS, COLS))
    assert "trust" in json.loads((tmp_path / "map.json").read_text())["assets"]


def test_a_map_of_a_model_without_thresholds_stays_as_it_was(scene, tmp_path):
    run = save_random_model(tmp_path / "run")
    map_scene(run, scene, tmp_path / "plain.tif", device="cpu")
    with_thresholds(run)
    map_scene(run, scene, tmp_path / "judged.tif", device="cpu")
    with rasterio.open(tmp_path / "plain.tif") as plain, rasterio.open(tmp_path / "judged.tif") as judged:
        np.testing.assert_array_equal(plain.read(), judged.read())
    assert not (tmp_path / "plain.trust.tif").exists()
    (run / "model" / "trust.json").unlink()
    map_scene(run, scene, tmp_path / "judged.tif", device="cpu")
    assert not (tmp_path / "judged.trust.tif").exists()  # what is there is of this map


def test_overlapping_patches_smoothing_and_no_data(tmp_path):
    """Cells are judged before smoothing, those without a class are 255."""
    values = scene_values()
    values[:40, :40] = 0
    scene = raster(tmp_path / "scene.tif", values, photometric="RGB", nodata=0)
    run = with_thresholds(save_random_model(tmp_path / "run"))
    how = {"stride": 16, "device": "cpu"}
    map_scene(run, scene, tmp_path / "plain.tif", **how)
    map_scene(run, scene, tmp_path / "smooth.tif", smooth=3, **how)
    plain, smooth = bands(tmp_path / "plain.trust.tif"), bands(tmp_path / "smooth.trust.tif")
    np.testing.assert_array_equal(plain, smooth)
    with rasterio.open(tmp_path / "plain.tif") as dataset:
        empty = dataset.read(1) == 0
    assert empty.any()
    assert ((plain == 255) == empty).all()


def test_dense_mode_says_that_ood_is_not_known(scene, tmp_path, caplog):
    caplog.set_level(logging.INFO, "landsift")
    run = with_thresholds(save_random_model(tmp_path / "run"))
    result = map_scene(run, scene, tmp_path / "map.tif", stride=8, dense=True, device="cpu", agreement=0.01)
    assert (bands(tmp_path / "map.trust.tif")[2] == 255).all()
    assert result.judged.ood is None
    assert "ood is not known in dense mode" in caplog.text


def test_without_a_threshold_for_a_risk_nothing_is_said_of_it(scene, tmp_path):
    run = with_thresholds(save_random_model(tmp_path / "run"), confidence=None)
    result = map_scene(run, scene, tmp_path / "map.tif", device="cpu")
    assert (bands(tmp_path / "map.trust.tif")[1] == 255).all()
    assert result.judged.abstained is None


def test_other_views_than_the_thresholds_were_chosen_with_are_a_warning(scene, tmp_path, caplog):
    run = with_thresholds(save_random_model(tmp_path / "run", tta="flips"))
    map_scene(run, scene, tmp_path / "map.tif", tta="none", device="cpu")
    assert "were chosen with test-time augmentation flips" in caplog.text


def test_dense_mode_has_the_temperature_of_the_model(scene, tmp_path):
    run = save_random_model(tmp_path / "run", tta="flips")
    confidences = []
    for temperature in (None, 3.0):
        file = run / "model" / "model.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"temperature": temperature}))
        for dense in (False, True):
            out = tmp_path / f"{temperature}-{dense}.tif"
            map_scene(run, scene, out, stride=8, dense=dense, agreement=0.01, device="cpu")
            with rasterio.open(out) as dataset:
                confidences.append(dataset.read(2).mean())
    plain, dense_plain, cooled, dense_cooled = confidences
    assert cooled < plain - 5
    assert dense_cooled < dense_plain - 5


def test_all_files_of_a_model_go_where_it_maps_and_a_missing_raster_is_made_again(tmp_path):
    folder = with_thresholds(save_random_model(tmp_path / "run"))
    names = [each.name for each in model_files(folder)]
    assert names == ["model.json", "model.safetensors", "trust.json", "trust.safetensors"]
    (tmp_path / "scenes").mkdir()
    raster(tmp_path / "scenes" / "a.tif", scene_values(), photometric="RGB")
    options, scenes = MapOptions(), scenes_of([tmp_path / "scenes"])
    loaded = LoadedModel.load(folder, options, device="cpu")

    def again():
        return len(map_scenes(loaded, scenes, tmp_path / "maps", options).made)

    assert [again(), again()] == [1, 0]
    (tmp_path / "maps" / "a.trust.tif").unlink()
    assert [again(), again()] == [1, 0]
