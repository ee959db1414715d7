"""`landsift evaluate`: the figures of a test, on labelled patches that the model was not trained for."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from landsift.cli.main import main
from landsift.config import HeadConfig, ModelConfig, RunConfig, cache_folder
from landsift.data.store.patch_store import build_store
from landsift.evaluation.metrics import evaluate
from landsift.evaluation.new_data import evaluate_store
from landsift.evaluation.predict import predict_files
from landsift.models.backbone import create_backbone
from landsift.models.classifier import PatchClassifier
from landsift.models.model_json import ModelDescription
from landsift.models.predictor import load_model, save_model

CLASSES = ("field", "forest", "water")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory as far as this command reads it: a model of random weights, trained from 12 patches."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    backbone = create_backbone(ModelConfig(backbone="test_efficientnet", weights="none"), 32)
    classifier = PatchClassifier(backbone.network, backbone.features, 3, HeadConfig(hidden=256, dropout=0.3))
    values = {"backbone": "test_efficientnet", "backbone_args": {}, "head": {"hidden": 256, "dropout": 0.3}}
    values |= {"classes": CLASSES, "patch_size": (16, 16), "image_size": 32}
    values |= {"mean": (0.5,) * 3, "std": (0.5,) * 3, "landsift": "0"}
    save_model(classifier, ModelDescription(**values), folder / "model")
    patches(folder / "patches", seed=7)
    (folder / "manifest.json").write_text("{}")
    (folder / "evaluation.json").write_text(json.dumps({"test": {"accuracy": 0.5}}))
    return folder


def patches(folder, *, classes=CLASSES, each=4, seed=0, size=16):
    rng = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture
def call(run, monkeypatch, capsys):
    """Exit status, the result as JSON (or as text), standard error."""

    def evaluated(*arguments, as_json=True):
        command = ["landsift", "evaluate", str(run), *map(str, arguments), *(["--json"] if as_json else [])]
        monkeypatch.setattr(sys, "argv", command)
        status = 0
        try:
            main()
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        said = capsys.readouterr()
        return status, json.loads(said.out or "null") if as_json else said.out, said.err

    return evaluated


def test_figures_are_those_of_the_models_probabilities(call, run, tmp_path):
    source = patches(tmp_path / "new", each=7)
    status, result, _ = call(source, "--out", tmp_path / "out")
    assert status == 0
    table = predict_files(run, [source]).table()
    labels = np.array([CLASSES.index(path.split("/")[-2]) for path in table["path"]])
    probabilities = table[[f"p_{name}" for name in CLASSES]].to_numpy()
    expected = json.loads(json.dumps(evaluate(labels, probabilities, CLASSES)))
    assert result["figures"]["confusion"] == expected["confusion"]
    assert result["figures"]["intervals"]["accuracy"] == expected["intervals"]["accuracy"]
    assert result["figures"]["ece"] == pytest.approx(expected["ece"], abs=1e-6)
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert written["figures"] == result["figures"]
    kept = pd.read_parquet(tmp_path / "out" / "predictions.parquet").sort_values("path")
    assert list(kept["path"]) == sorted(table["path"])
    assert (kept["label"] == [path.split("/")[-2] for path in kept["path"]]).all()
    assert result["seen"] is None  # the run's store is not here


def test_people_get_accuracy_its_interval_and_a_row_per_class(call, tmp_path):
    status, text, _ = call(patches(tmp_path / "new", classes=("water", "forest")), as_json=False)
    assert status == 0
    assert "95 % interval" in text
    assert "8 patches" in text
    assert "own test       50.00 %   (test accuracy of the run)" in text
    assert [line.split()[:2] for line in text.splitlines()[-3:]] == [["field", "0"], ["forest", "4"], ["water", "4"]]


def test_a_class_that_the_model_does_not_know_is_refused_or_left_out_and_counted(call, tmp_path):
    source = patches(tmp_path / "new", classes=(*CLASSES, "waters"))
    status, _, said = call(source)
    assert status == 1
    assert "the model does not know waters (4 patches)" in said
    assert "did you mean 'water'?" in said
    assert "--known-only" in said
    status, result, said = call(source, "--known-only")
    assert status == 0
    assert result["left_out"] == {"waters": 4}
    assert result["figures"]["n"] == 12
    assert "left out, of classes that the model does not know: waters (4 patches)" in said


def test_classes_without_patches_are_said(call, tmp_path):
    status, result, said = call(patches(tmp_path / "new", classes=("water",)))
    assert status == 0
    assert result["figures"]["per_class"]["field"]["support"] == 0
    assert "no patches of field, forest" in said


def test_of_divided_patches_one_says_which(call, tmp_path):
    for part, each in (("train", 5), ("test", 3)):
        patches(tmp_path / "new" / part, each=each, seed=each)
    status, _, said = call(tmp_path / "new")
    assert status == 1
    assert "these patches are divided (15 train, 9 test)" in said
    assert call(tmp_path / "new", "--part", "test")[1]["figures"]["n"] == 9
    assert call(tmp_path / "new", "--part", "all")[1]["figures"]["n"] == 24
    assert call(tmp_path / "new", "--part", "val")[0] == 1
    status, _, said = call(patches(tmp_path / "whole"), "--part", "test")
    assert status == 1
    assert "not divided" in said


def test_intervals_are_over_groups_where_there_are_any(call, tmp_path):
    patches(tmp_path / "new", each=6)
    rows = [f"{c}/{i}.png,{c},scene {i // 2}" for c in CLASSES for i in range(6)]
    (tmp_path / "new" / "t.csv").write_text("\n".join(["path,label,group", *rows]))
    _, result, _ = call(tmp_path / "new" / "t.csv")
    assert result["figures"]["intervals"]["over"] == "groups"
    assert result["figures"]["intervals"]["groups"] == 3


def test_one_group_alone_gives_no_intervals_over_groups_and_that_is_said(call, tmp_path):
    patches(tmp_path)
    table = pd.DataFrame([{"path": f"{c}/{i}.png", "label": c, "group": "scene"} for c in CLASSES for i in range(4)])
    table.to_csv(tmp_path / "table.csv", index=False)
    status, printed, said = call(tmp_path / "table.csv", as_json=False)
    assert status == 0
    assert "12 patches)" in printed
    assert "all patches are of one group: the intervals are over patches" in said


def test_patches_of_the_training_are_counted_and_said(call, run, tmp_path):
    """As long as the run's store lies in the cache folder, which is a fresh one in every test."""
    data = RunConfig.load(None, [f"data.source={run / 'patches'}"]).data
    store = build_store(data, cache_folder() / "stores" / "of the run")
    known = {"data": {"store": str(store.folder), "fingerprint": store.fingerprint}}
    (run / "manifest.json").write_text(json.dumps(known))
    source = patches(tmp_path / "new")
    for i in range(2):
        (source / "water" / f"again-{i}.png").write_bytes((run / "patches" / "forest" / f"{i}.png").read_bytes())
    _, result, said = call(source)
    assert result["seen"] == 2
    assert "2 of 14 patches have the same pixels as patches of the model's own data" in said


def test_patches_that_repeat_others_are_counted_and_said(call, tmp_path):
    source = patches(tmp_path / "new")
    (source / "field" / "copy.png").write_bytes((source / "field" / "0.png").read_bytes())
    status, result, said = call(source)
    assert (status, result["figures"]["n"]) == (0, 13)
    assert "1 of 13 patches are exact duplicates of another one" in said


def test_of_a_split_with_gaps_the_rest_is_counted(call, tmp_path):
    patches(tmp_path)
    table = pd.DataFrame([{"path": f"{c}/{i}.png", "label": c, "split": "test"} for c in CLASSES for i in range(4)])
    table.loc[:4, "split"] = None
    table.to_csv(tmp_path / "table.csv", index=False)
    status, _, said = call(tmp_path / "table.csv")
    assert status == 1
    assert "these patches are divided (7 test, 5 in no part)" in said


def test_patches_of_another_size_are_brought_to_the_models(call, tmp_path):
    source = patches(tmp_path / "new", size=24)
    status, result, said = call(source)
    assert status == 0
    assert result["figures"]["n"] == 12
    assert "resized to 16 × 16" in said


def test_a_store_of_another_size_is_resized_and_that_is_said(call, tmp_path):
    data = RunConfig.load(None, [f"data.source={patches(tmp_path / 'new')}", "data.patch_size=8"]).data
    build_store(data, tmp_path / "store")
    status, result, said = call(tmp_path / "store")
    assert (status, result["seen"]) == (0, None)
    assert "resized from 8 × 8 to 16 × 16 pixels" in said
    assert "cannot check whether the model was trained on some of these patches" in said


def test_a_store_of_another_size_is_answered_as_its_files_are(run, tmp_path):
    source = patches(tmp_path / "new", size=40)
    store = build_store(RunConfig.load(None, [f"data.source={source}"]).data, tmp_path / "store")
    assert store.images.shape[1:3] == (40, 40)
    _, table = evaluate_store(load_model(run), store)
    of_files = predict_files(run, [source]).table()
    columns = [f"p_{name}" for name in CLASSES]
    merged = table.assign(path=[str(source / path) for path in table["path"]]).merge(of_files, on="path")
    assert len(merged) == 12
    np.testing.assert_array_equal(merged[[f"{c}_x" for c in columns]], merged[[f"{c}_y" for c in columns]])


def test_an_output_that_is_there_is_refused_before_the_work(call, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    status, _, said = call(tmp_path / "nowhere", "--out", tmp_path / "out")
    assert status == 1
    assert "is not empty" in said


@pytest.mark.parametrize("out", ["link", "file/out", "~nobody-of-this-name/out"])
def test_an_output_that_cannot_be_made_is_refused_before_the_work(call, tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "leads" / "nowhere")
    status, _, said = call(tmp_path / "no-such-source.csv", "--out", out)
    assert status == 1
    assert out.split("/")[0] in said
    assert "no-such-source" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def test_an_output_among_the_patches_is_refused_before_the_work(call, tmp_path, monkeypatch):
    source = patches(tmp_path / "new")
    (tmp_path / "link").symlink_to(source)
    monkeypatch.chdir(source)
    for given, out in ((source, source / "out"), (source, tmp_path / "link" / "a" / "out"), (".", "out")):
        status, result, said = call(given, "--out", out)
        assert (status, result) == (1, None)
        assert f"lies in {given}, which is read" in said
    assert sorted(path.name for path in source.iterdir()) == sorted(CLASSES)
    assert call(source, "--out", tmp_path / "new-figures")[0] == 0


def test_results_of_landsift_are_no_patches(call, run, tmp_path):
    """A run has tables too, and one of them was taken for a table of patches."""
    trained = tmp_path / "trained"
    trained.mkdir()
    for name in ("manifest.json", "metrics.json", "evaluation.json", "predictions.parquet"):
        (trained / name).write_text("{}")
    (trained / "config.yaml").write_text("data: {source: /fields/of/last/year}")
    status, _, said = call(trained)
    assert status == 1
    assert f"{trained} holds no patches: it is a run directory" in said
    assert "give a folder or a table of patches; it was made from /fields/of/last/year" in said
    assert call(patches(tmp_path / "new"), "--out", tmp_path / "figures")[0] == 0
    for folder, what in ((run / "model", "a model"), (tmp_path / "figures", "metrics and predictions")):
        assert f"{folder} holds no patches: it is " in call(folder)[2]
        assert what in call(folder)[2]


@pytest.mark.parametrize(
    "setting",
    [
        "model.backbone=resnet50",
        "data.patch_size=8",
        "data.budget=2",
        "data.source=x",
        "data.synthetic.size=8",
        "data.eurosat.root=x",
        "data={max_unreadable: 0.5, budget: 3}",
    ],
)
def test_a_setting_that_would_change_nothing_is_refused(call, tmp_path, setting):
    status, _, said = call(patches(tmp_path / "new"), "--set", setting)
    assert status == 1
    key = "data.budget" if "{" in setting else setting.partition("=")[0]
    assert f"'{key}' changes nothing in an evaluation" in said


def test_settings_of_the_source_and_the_seed_hold(call, tmp_path):
    source = patches(tmp_path / "new")
    (source / "field" / "broken.png").write_bytes(b"broken")
    status, result, _ = call(source, "--set", "data.max_unreadable=0.5", "--set", "seed=3")
    assert status == 0
    assert len(result["skipped"]) == 1


@pytest.mark.parametrize(
    ("risk", "said"), [(0.0, "80.00 %, of which 0.00 % are wrong, 0.00 to 21.50 (chosen"), (None, "0.00 % (chosen")]
)
def test_what_is_answered_is_said_also_where_it_is_nothing(risk, said):
    from landsift.cli.evaluate import _trust_lines

    interval = None if risk is None else [0.0, 0.215]  # of 15 patches
    abstention = {"answered": 0.0 if risk is None else 0.8, "risk": risk, "interval": interval}
    trust = {
        "coverage": 0.95,
        "risk": 0.01,
        "sets": {"coverage": 1, "size": 1, "interval": None},
        "abstention": abstention,
        "ood": 1.0,
    }
    assert any(line.startswith("answered") and said in line for line in _trust_lines(trust))
