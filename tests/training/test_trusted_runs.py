"""A run's model has what its test has chosen: predictions say sets, abstentions and what is far away."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from small_runs import small, train

from landsift.cli.main import main
from landsift.data.splits import make_split
from landsift.data.store.patch_store import build_store
from landsift.errors import ModelError
from landsift.evaluation.final_test import final_test
from landsift.evaluation.new_data import evaluate_store
from landsift.evaluation.predict import predict_files
from landsift.models.predictor import load_model

SETTINGS = (
    "data.synthetic.patches=400", "data.synthetic.difficulty=0.4", "tracking.tsne_every=0", "evaluation.tta=flips",
    "strategy=[{name: all, epochs: 3, lr_head: 5.0e-3, lr_backbone: 5.0e-3, blocks: all}]", "evaluation.risk=0.3",
    "evaluation.coverage=0.8",
)  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return build_store(small(*SETTINGS).data, tmp_path_factory.mktemp("store") / "s")


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    return train(small(*SETTINGS), store, tmp_path_factory.mktemp("run") / "r")


@pytest.fixture
def files(store, tmp_path):
    """Twelve patches as files, and one of noise."""
    rng = np.random.default_rng(0)
    images = [*store.images[:12], rng.integers(0, 256, store.images.shape[1:], dtype=np.uint8)]
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i:02d}.png")
    return tmp_path


def test_what_users_load_is_what_was_tested(run, store):
    calibration, trust = run.evaluation["calibration"], run.evaluation["trust"]
    predictor = load_model(run.path, "cpu")
    assert predictor.temperature == calibration["temperature"]
    assert calibration["choice"]["applied"] == (predictor.temperature is not None)
    rows = make_split(store, small(*SETTINGS).data.split).test
    table = run.predictions[run.predictions["split"] == "test"].filter(regex="^p_")
    np.testing.assert_array_equal(predictor(store.images[rows]), table.to_numpy())
    assert calibration["after"]["test"]["ece"] == run.evaluation["test"]["ece"]
    assert trust["sets"]["calibrated_on"] + trust["sets"]["tested_on"] == len(rows)
    assert predictor.trust.thresholds.coverage == 0.8


def test_raw_probabilities_are_left_as_they_were(run, store):
    """Those of the run are calibrated; to the power of the temperature they are the network's own again."""
    raw = load_model(run.path, "cpu", calibrated=False)(store.images[:50]).astype(np.float64)
    temperature = run.evaluation["calibration"]["temperature"] or 1.0
    powers = load_model(run.path, "cpu")(store.images[:50]).astype(np.float64) ** temperature
    np.testing.assert_allclose(powers / powers.sum(axis=1, keepdims=True), raw, atol=1e-4)


def test_without_calibration_the_model_has_none(run, store, tmp_path):
    for name in ("manifest.json", "weights.safetensors"):
        (tmp_path / name).write_bytes((run.path / name).read_bytes())
    config = small(*SETTINGS, "evaluation.calibration=none")
    for _ in range(2):  # a test in the same folder again finds the files of the first
        final_test(config, store, tmp_path, tmp_path)
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["calibration"]["choice"] is None
    assert found["calibration"]["before"] == found["calibration"]["after"]
    assert load_model(tmp_path, "cpu").temperature is None
    final_test(config, store, tmp_path, tmp_path / "cell", thresholds=False)
    assert "trust" not in json.loads((tmp_path / "cell" / "evaluation.json").read_text())
    assert {p.name for p in (tmp_path / "cell" / "model").iterdir()} == {"model.json", "model.safetensors"}


@pytest.mark.parametrize("thresholds", [True, False])
def test_weights_that_have_diverged_are_told(run, store, tmp_path, thresholds):
    weights = load_file(run.path / "weights.safetensors")
    name = next(key for key in weights if key.startswith("head") and key.endswith("weight"))
    backbone = next(key for key in weights if key.startswith("backbone") and weights[key].ndim == 4)
    for damaged in (name, backbone):
        changed = {key: array.copy() for key, array in weights.items()}
        changed[damaged].flat[::2] = 3e38
        save_file(changed, tmp_path / "weights.safetensors")
        (tmp_path / "manifest.json").write_bytes((run.path / "manifest.json").read_bytes())
        with pytest.raises(ModelError, match="are not finite: its weights have diverged"):
            final_test(small(*SETTINGS), store, tmp_path, tmp_path, thresholds=thresholds)


def test_predictions_say_set_abstain_and_ood(run, files):
    found = predict_files(run.path, files)
    table = found.table()
    expected = ["path", "predicted", "set", "abstain", "ood", *(f"p_{name}" for name in found.classes)]
    if found.judged.abstain is None:
        expected.remove("abstain")
    assert list(table.columns) == expected
    for text, predicted in zip(table["set"], table["predicted"], strict=True):
        assert text.split("|")[0] == predicted  # the most probable class comes first
    assert table["ood"].dtype == bool
    assert found.judged.distance[-1] > np.median(found.judged.distance[:-1])


def test_a_model_without_thresholds_predicts_as_before(run, files, tmp_path):
    for name in ("model.json", "model.safetensors"):
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / name).write_bytes((run.path / "model" / name).read_bytes())
    with_them, without = predict_files(run.path, files), predict_files(tmp_path, files)
    np.testing.assert_array_equal(with_them.probabilities, without.probabilities)
    assert without.judged is None
    assert "set" not in without.table()


def test_an_evaluation_says_what_coverage_and_risk_become(run, store):
    result, table = evaluate_store(load_model(run.path, "cpu"), store)
    trust = result["trust"]
    assert trust["sets"]["n"] == len(store)
    held = [label in text.split("|") for label, text in zip(table["label"], table["set"], strict=True)]
    assert trust["sets"]["coverage"] == pytest.approx(np.mean(held))
    assert trust["ood"] == pytest.approx(table["ood"].mean())
    if trust["abstention"] is not None:
        answered = table[~table["abstain"]]
        assert trust["abstention"]["risk"] == pytest.approx((answered["label"] != answered["predicted"]).mean())
    assert set(result["calibration"]) >= {"ece", "classwise_ece", "brier", "log_loss", "reliability"}


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["landsift", *map(str, arguments)])
    status = 0
    try:
        main()
    except SystemExit as leaving:
        status = int(leaving.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_commands_write_and_print_them(run, files, tmp_path, monkeypatch, capsys):
    out, folder = tmp_path / "out.csv", tmp_path / "explained"
    paths = sorted(files.glob("*.png"))
    status, printed, _ = call(
        monkeypatch, capsys, "predict", run.path, *paths, "--out", out, "--explain", folder, "--json"
    )
    assert status == 0
    table = pd.read_csv(out)
    assert json.loads(printed)["ood"] == table["ood"].sum()
    assert [path.name for path in sorted(folder.iterdir())] == [f"{i + 1:06d}_{i:02d}.png" for i in range(13)]
    shown = np.asarray(Image.open(folder / "000001_00.png"))
    assert shown.shape == (224, 2 * 224 + 14, 3)
    status, _, said = call(monkeypatch, capsys, "predict", run.path, *paths, "--out", out, "--explain", folder)
    assert status == 1
    assert "give --explain a new or empty folder" in said


def test_the_table_and_the_pictures_are_not_of_one_name(run, files, tmp_path, monkeypatch, capsys):
    before = sorted(path.name for path in tmp_path.iterdir())
    arguments = (
        "predict",
        run.path,
        *files.glob("*.png"),
        "--out",
        tmp_path / "o.csv",
        "--explain",
        tmp_path / "o.csv",
    )
    status, _, said = call(monkeypatch, capsys, *arguments)
    assert status == 1
    assert "--out and --explain are both" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_nothing_is_left_of_explanations_where_no_file_can_be_read(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    out, folder = tmp_path / "out.csv", tmp_path / "explained"
    arguments = ("predict", run.path, tmp_path / "broken.png", "--out", out, "--explain", folder)
    assert call(monkeypatch, capsys, *arguments)[0] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["broken.png"]


def test_pictures_of_files_with_long_names(run, store, tmp_path):
    file = tmp_path / f"{'ä' * 120}.png"
    Image.fromarray(store.images[0]).save(file)
    predict_files(run.path, file, explain=tmp_path / "new" / "pictures")
    assert len(list((tmp_path / "new" / "pictures").glob("000001_ä*.png"))) == 1


def test_the_most_confident_mistakes_are_explained(run):
    test = run.predictions[run.predictions["split"] == "test"]
    wrong = test[test["label"] != test["predicted"]]
    maps = load_file(run.path / "mistakes.safetensors")
    assert len(maps) == min(24, len(wrong))
    assert set(maps) <= set(wrong["path"])
    assert all(heat.dtype == np.uint8 and heat.ndim == 2 for heat in maps.values())
