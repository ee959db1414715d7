"""Thresholds travel with an exported model, and a file that is damaged, cut off or of something else is told so."""

import json
import os
from dataclasses import replace

import numpy as np
import onnx
import pytest
from exported_models import CLASSES, pictures, save_pictures
from onnx import TensorProto, helper

import landsift
from landsift.errors import ModelError
from landsift.evaluation.predict import predict_files
from landsift.export.check import LEAST, Check, accept
from landsift.export.write import export_onnx
from landsift.models.onnx_predictor import METADATA
from landsift.models.predictor import answers


@pytest.fixture
def run(there):
    return there / "run"


@pytest.fixture
def folder(there):
    return there / "pictures"


@pytest.fixture
def exported(there):
    return there / "model.onnx"


def test_an_exported_model_judges_as_its_run_does(run, exported):
    ours, theirs = landsift.load_model(exported), landsift.load_model(run, "cpu")
    assert ours.trust.thresholds == theirs.trust.thresholds
    found, expected = (m.trust.judge(*answers(m, pictures(60, seed=1))) for m in (ours, theirs))
    np.testing.assert_array_equal(found.sets, expected.sets)
    np.testing.assert_array_equal(found.abstain, expected.abstain)
    np.testing.assert_array_equal(found.ood, expected.ood)
    assert 0 < found.ood.mean() < 1
    np.testing.assert_allclose(ours.features(pictures(9)), theirs.features(pictures(9)), atol=1e-4)
    np.testing.assert_array_equal(ours(pictures(9)), ours.probabilities_and_features(pictures(9))[0])
    assert ours.export["check"]["judged"] == 1.0


def test_its_table_has_the_columns_of_the_runs(run, exported, folder):
    ours, theirs = (predict_files(model, folder / "water").columns() for model in (exported, run))
    assert list(ours) == list(theirs) == ["path", "predicted", "set", "abstain", "ood", *(f"p_{c}" for c in CLASSES)]
    for name in ("set", "abstain", "ood"):
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_other_views_than_the_thresholds_were_chosen_with_are_told(run, tmp_path, caplog):
    few = save_pictures(tmp_path / "few", 12)
    with pytest.raises(ModelError, match="and there are 12 images of"):  # said before the work, as this is
        export_onnx(run, tmp_path / "new" / "folder" / "m.onnx", check=few, tta="none")
    assert "were chosen with test-time augmentation flips, and hold less well with none" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few"]


def changed(file, out, change):
    """The file with other metadata."""
    graph = onnx.load(file)
    stored = json.loads(graph.metadata_props[0].value)
    change(stored)
    helper.set_model_props(graph, {METADATA: json.dumps(stored)})
    onnx.save(graph, out)
    return out


DAMAGE = {
    "its thresholds are damaged": lambda stored: stored["trust"]["distances"].pop("rest"),
    "do not fit each other": lambda stored: stored["trust"]["distances"]["means"].update(shape=[-1, 1]),
    "confidence": lambda stored: stored["trust"]["thresholds"].update(confidence=7),
    "belongs to another model": lambda stored: stored["trust"]["thresholds"].update(temperature=2.0),
    "newer landsift": lambda stored: stored["trust"]["thresholds"].update(format=99),
    "thresholds are damaged": lambda stored: stored.update(trust=[1]),
}


@pytest.mark.parametrize("said", DAMAGE)
def test_damaged_thresholds_of_a_file_are_refused(exported, tmp_path, said):
    with pytest.raises(ModelError, match=said) as caught:
        landsift.load_model(changed(exported, tmp_path / "m.onnx", DAMAGE[said]))
    assert str(caught.value).count("\n") == 1


def test_a_file_without_thresholds_predicts_without_the_columns(exported, folder, tmp_path):
    """As one of a run that has none, and as those of earlier versions, which also give no features."""
    file = changed(exported, tmp_path / "m.onnx", lambda stored: stored.pop("trust"))
    assert "set" not in predict_files(file, folder / "water").columns()
    graph = onnx.load(file)
    del graph.graph.output[1]
    onnx.save(graph, file)
    early = landsift.load_model(file)
    np.testing.assert_array_equal(early(pictures(5)), landsift.load_model(exported)(pictures(5)))
    with pytest.raises(ModelError, match="without features"):
        early.features(pictures(2))


def foreign():
    """A network of somebody else."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in ("x", "y")]
    return helper.make_model(
        helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", ends[:1], ends[1:]),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 18)],
    )


@pytest.mark.parametrize("what", ["empty", "cut", "newer file", "newer operations", "foreign", "weights elsewhere"])
def test_what_is_wrong_with_a_file_is_said_in_words(exported, tmp_path, monkeypatch, what):
    file, graph = tmp_path / "m.onnx", onnx.load(exported)
    monkeypatch.chdir(tmp_path)  # where ONNX Runtime looks for the weights of a model that was read as bytes
    if what == "empty":
        file.write_bytes(b"")
    elif what == "cut":
        file.write_bytes(exported.read_bytes()[:5000])
    elif what == "newer file":
        graph.ir_version = 99
        file.write_bytes(graph.SerializeToString())
    elif what == "newer operations":
        graph.opset_import[0].version = 99
        file.write_bytes(graph.SerializeToString())
    elif what == "foreign":
        onnx.save(foreign(), file)
    else:
        onnx.save(graph, file, save_as_external_data=True, location="w.data", size_threshold=1)
    said = {
        "empty": "is empty",
        "cut": "is no ONNX file, or is cut off",
        "newer file": "needs a newer ONNX Runtime",
        "newer operations": "needs a newer ONNX Runtime",
        "foreign": "was not written by landsift",
        "weights elsewhere": "keeps its weights in other files",
    }
    with pytest.raises(ModelError, match=said[what]) as caught:
        landsift.load_model("m.onnx")
    assert str(caught.value).count("\n") == 1
    assert "onnxruntime_src" not in str(caught.value)


def test_an_export_that_was_renamed_is_told(exported, tmp_path):
    (tmp_path / "model.bin").write_bytes(exported.read_bytes())
    with pytest.raises(ModelError, match=r"(?s)is a file, and no model.* whose name ends in \.onnx"):
        landsift.load_model(tmp_path / "model.bin")


def test_files_of_odd_names_are_read(exported, tmp_path):
    file = tmp_path / "Ümläut, modél 'x'.ONNX"
    os.link(exported, file)
    np.testing.assert_array_equal(landsift.load_model(file)(pictures(3)), landsift.load_model(exported)(pictures(3)))


def test_a_handful_of_labels_says_nothing_of_accuracy():
    """Three labelled patches of 2,000, all right: an INT8 export that answers otherwise must not pass."""
    check = Check(
        patches=2000, source="images of f", same=0.6, largest=0.9, mean=0.2, labelled=3, accuracy=1.0,
        accuracy_torch=1.0, patches_per_second=2.0, patches_per_second_torch=1.0,
    )  # fmt: skip
    with pytest.raises(ModelError, match=f"(?s)refused.*fewer than {LEAST} labels"):
        accept(check, int8=True, max_loss=0.005)
    judged = replace(check, same=1.0, largest=0.0, labelled=2000, judged=0.99)
    with pytest.raises(ModelError, match=r"set, abstain and ood are the same for 99\.00 %"):
        accept(judged, int8=False, max_loss=0.005)


@pytest.mark.slow
def test_few_patches_for_the_ranges_of_int8_are_told(run, folder, tmp_path, caplog):
    few = save_pictures(tmp_path / "few", 3)
    export_onnx(run, tmp_path / "m.onnx", "onnx-int8", check=folder, calibrate=few, max_loss=1)
    assert "ranges of INT8 are from 3 patches, not from 32" in caplog.text
