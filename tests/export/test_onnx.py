"""An exported model answers as the run that it comes from, and a file that does not is never written."""

import json
import math

import numpy as np
import onnx
import pytest
import torch
from exported_models import CLASSES, pictures, save_model_of, save_pictures
from torch.nn import functional as F

import landsift
from landsift.bands import BandSpec
from landsift.errors import ModelError, RunError
from landsift.export.check import Check, accept
from landsift.export.graph import Resize, graph_of
from landsift.export.write import export_onnx
from landsift.models.onnx_predictor import METADATA, OnnxPredictor
from landsift.models.predictor import Predictor, load_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """With everything that a graph must hold: another input size, test-time augmentation, a temperature."""
    return save_model_of(tmp_path_factory.mktemp("run"), tta="flips", temperature=1.7)


@pytest.fixture(scope="module")
def exported(run, folder, tmp_path_factory):
    return export_onnx(run, tmp_path_factory.mktemp("exported") / "model.onnx", check=folder)


def session_of(predictor: Predictor, tmp_path) -> OnnxPredictor:
    """The graph of a predictor without a check."""
    graph = graph_of(predictor)
    stored = {"model": predictor.description.to_dict(), "export": {}}
    onnx.helper.set_model_props(graph, {METADATA: json.dumps(stored)})
    (tmp_path / "graph.onnx").write_bytes(graph.SerializeToString())
    return OnnxPredictor(tmp_path / "graph.onnx")


def test_it_answers_as_the_run_does_whatever_the_size_of_the_patches(run, exported):
    theirs, ours = load_model(run, "cpu"), landsift.load_model(exported.path)
    assert isinstance(ours, OnnxPredictor)
    for patches in (pictures(50, seed=1), pictures(7, size=40, seed=2), pictures(1)[:0]):
        np.testing.assert_allclose(ours(patches), theirs(patches), atol=1e-5)
    mixed = [pictures(1)[0], pictures(1, size=31)[0]]
    np.testing.assert_allclose(ours.probabilities(mixed), theirs.probabilities(mixed), atol=1e-5)
    np.testing.assert_allclose(ours(pictures(60)).sum(axis=1), 1, atol=1e-5)
    assert ours.classes == theirs.classes == CLASSES


def test_the_check_is_in_the_file_with_all_of_model_json(run, exported):
    found = landsift.load_model(exported.path)
    assert found.description == load_model(run, "cpu").description
    assert found.export["check"]["patches"] == 210
    assert found.export["check"]["same"] == 1
    assert found.export["check"]["largest"] < 1e-4
    assert found.export["check"]["accuracy"] == found.export["check"]["accuracy_torch"]
    assert found.export["check"]["labelled"] == 210
    assert found.export["fingerprint"] == exported.fingerprint
    assert exported.to_dict()["check"] == found.export["check"]


def test_without_a_temperature_or_views_the_answers_are_the_softmax_of_the_scores(tmp_path):
    run = save_model_of(tmp_path / "run", patch=(24, 32))
    theirs = load_model(run, "cpu")
    ours = session_of(theirs, tmp_path)
    patches = np.random.default_rng(0).integers(0, 256, (9, 24, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(ours(patches), theirs(patches), atol=1e-5)


@pytest.mark.parametrize("views", ["none", "flips"])
def test_a_temperature_is_a_power_of_the_probabilities(tmp_path, views):
    run = save_model_of(tmp_path / "run", tta=views)
    plain = load_model(run, "cpu")(pictures(20))
    hot = load_model(save_model_of(tmp_path / "hot", tta=views, temperature=2.5), "cpu")
    expected = plain ** (1 / 2.5)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(hot(pictures(20)), expected, atol=1e-5)
    np.testing.assert_allclose(session_of(hot, tmp_path)(pictures(20)), expected, atol=1e-5)


@pytest.mark.parametrize(("dtype", "nodata"), [("uint16", 0.0), ("int16", -9999.0), ("float32", math.nan)])
def test_other_bands_with_pixels_without_data(tmp_path, dtype, nodata):
    bands = BandSpec(("B02", "B03", "B04", "B08"), dtype, (1e-4,) * 4, (-0.1,) * 4, nodata, "reflectance")
    theirs = load_model(save_model_of(tmp_path / "run", bands=bands), "cpu")
    ours = session_of(theirs, tmp_path)
    patches = np.random.default_rng(0).integers(1000, 5000, (6, 30, 30, 4)).astype(dtype)
    patches[0, :9, :, 1] = nodata
    patches[1] = nodata
    np.testing.assert_allclose(ours(patches[:, :24, :24]), theirs(patches[:, :24, :24]), atol=1e-5)
    np.testing.assert_allclose(ours(patches), theirs(patches), atol=1e-5)  # resized, and no data never mixed in
    with pytest.raises(ModelError, match="the model takes"):
        ours(np.zeros((2, 24, 24, 4), np.uint8))


@pytest.mark.parametrize(("old", "new"), [((24, 24), 64), ((64, 48), 32), ((7, 200), 50)])
def test_the_matrices_of_a_resize_are_those_of_torch(old, new):
    images = torch.rand(2, 3, *old, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(images, size=(new, new), mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(Resize(old, new)(images), expected, atol=1e-6, rtol=1e-5)


def test_int8_is_smaller_and_says_what_it_costs(run, folder, tmp_path):
    found = export_onnx(run, tmp_path / "int8.onnx", "onnx-int8", check=folder, calibrate=folder, max_loss=1)
    assert found.size < 0.5 * found.model_size
    assert found.calibrated_on.startswith("32 images of ")
    assert found.check.same > 0.8
    graph = onnx.load(found.path)
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in graph.graph.node}
    kept = landsift.load_model(found.path)
    assert kept.export["format"] == "onnx-int8"
    assert np.isfinite(kept(pictures(5))).all()


def a_check(**figures) -> Check:
    good = {"patches": 2000, "source": "test patches of the run", "same": 1.0, "largest": 1e-6, "mean": 1e-7,
            "labelled": 2000, "accuracy": 0.95, "accuracy_torch": 0.95,
            "patches_per_second": 900.0, "patches_per_second_torch": 400.0}  # fmt: skip
    return Check(**good | figures)


@pytest.mark.parametrize("figures", [{"same": 0.998}, {"largest": 2e-3}])
def test_a_float_export_that_answers_otherwise_is_refused(figures):
    accept(a_check(), int8=False, max_loss=0.005)
    with pytest.raises(ModelError, match=r"refused, and nothing is written: same class .* accuracy 95.00 %"):
        accept(a_check(**figures), int8=False, max_loss=0.005)


def test_an_int8_export_is_judged_by_accuracy_or_by_the_share_of_equal_classes():
    accept(a_check(same=0.97, largest=0.4, accuracy=0.946), int8=True, max_loss=0.005)
    with pytest.raises(ModelError, match=r"it loses 0\.60 points"):
        accept(a_check(same=0.97, accuracy=0.944), int8=True, max_loss=0.005)
    unlabelled = {"labelled": 0, "accuracy": None, "accuracy_torch": None}
    accept(a_check(same=0.985, **unlabelled), int8=True, max_loss=0.005)
    with pytest.raises(ModelError, match="refused"):
        accept(a_check(same=0.97, **unlabelled), int8=True, max_loss=0.005)


def test_nothing_is_written_where_the_check_cannot_be_made(run, tmp_path):
    out = tmp_path / "model.onnx"
    few = save_pictures(tmp_path / "few", 30)
    with pytest.raises(ModelError, match="checked on 200 patches or more, and there are 30"):
        export_onnx(run, out, check=few)
    with pytest.raises(ModelError, match=r"the test patches of .* are not here"):
        export_onnx(run, out)
    with pytest.raises(RunError, match=r"does not end in \.onnx"):
        export_onnx(run, tmp_path / "model.pt", check=few)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few"]


def test_a_folder_without_labels_and_with_damaged_images_will_do(tmp_path, caplog):
    from landsift.export.patches import of_folder

    run = save_model_of(tmp_path / "run")
    folder = tmp_path / "mixed"
    save_pictures(folder, 12)
    (folder / "field").rename(folder / "somewhere")
    (folder / "water" / "bad.png").write_bytes(b"no picture")
    with caplog.at_level("WARNING", "landsift"):
        found = of_folder(folder, load_model(run, "cpu").description, 100)
    assert "1 of 13 images" in caplog.text
    assert len(found) == 12
    assert sorted(set(found.labels.tolist())) == [-1, 1, 2]


@pytest.mark.parametrize("what", ["no onnx", "cut", "foreign", "other classes", "damaged", "folder"])
def test_files_that_are_no_export_are_refused_in_two_lines(exported, tmp_path, what):
    file = tmp_path / "m.onnx"
    content = exported.path.read_bytes()
    graph = onnx.load_from_string(content)
    if what == "no onnx":
        file.write_bytes(b"hello" * 100)
    elif what == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif what == "foreign":
        del graph.metadata_props[:]
        file.write_bytes(graph.SerializeToString())
    elif what == "other classes":
        stored = json.loads(graph.metadata_props[0].value)
        stored["model"]["classes"] = ["a", "b"]
        onnx.helper.set_model_props(graph, {METADATA: json.dumps(stored)})
        file.write_bytes(graph.SerializeToString())
    elif what == "damaged":
        onnx.helper.set_model_props(graph, {METADATA: '{"model": 3'})
        file.write_bytes(graph.SerializeToString())
    else:
        file.mkdir()
    with pytest.raises(ModelError) as caught:
        landsift.load_model(file)
    assert str(caught.value).count("\n") <= 1
    assert "m.onnx" in str(caught.value)


def test_an_exported_model_says_what_it_does_not_do(exported, run):
    found = landsift.load_model(exported.path)
    assert found.trust is None  # as its run
    with pytest.raises(ModelError, match="run on the CPU"):
        landsift.load_model(exported.path, device="cuda")
    with pytest.raises(ModelError, match="is an exported model"):
        load_model(exported.path)
    logits = torch.from_numpy(found.logits(pictures(4)))
    np.testing.assert_allclose(logits.softmax(dim=1).numpy(), found(pictures(4)), atol=1e-6)
