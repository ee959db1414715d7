"""Cards say what the run says, read back by the libraries that define them, and name no path of this machine."""

import copy
import json
import re
import shutil
from urllib.parse import unquote, urlsplit

import pystac
import pytest
from exported_models import CLASSES, ODD, save_model_of
from huggingface_hub import ModelCard
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.mlm import MLMExtension

from landsift import runs
from landsift.errors import LandsiftError, RunError
from landsift.export.cards import write_cards
from landsift.export.stac_mlm import _class_names


@pytest.fixture(scope="module")
def run(run_of_cards):
    return run_of_cards


@pytest.fixture(scope="module")
def cards(run, tmp_path_factory):
    return write_cards(run, tmp_path_factory.mktemp("cards"), license="apache-2.0")


def test_the_card_says_what_the_run_says(run, cards):
    text = cards[0].read_text()
    test = runs.Run.open(run).evaluation["test"]
    low, high = (100 * bound for bound in test["intervals"]["accuracy"])
    assert f"{100 * test['accuracy']:.2f} % ({low:.2f} to {high:.2f})" in text
    for name in CLASSES:
        assert f"| {name} |" in text
        assert f"{test['per_class'][name]['f1']:.3f}" in text
    for said in (
        "500 train, 90 val, 310 test, at random.",
        "1 files were left out",
        "Fewer than 100 test patches: water (40).",
        "Data check, labels: 3 images have conflicting labels.",
        "logits divided by 1.5",
        "head, everything; 4 epochs; seed 7",
        "w.safetensors",
    ):
        assert said in text, said


def test_its_front_matter_is_read_by_huggingface_hub(run, cards):
    data = ModelCard.load(cards[0]).data
    assert (data.library_name, data.license, data.pipeline_tag) == ("landsift", "apache-2.0", "image-classification")
    assert [each.metric_type for each in data.eval_results] == ["accuracy", "f1", "expected_calibration_error"]
    assert data.eval_results[0].metric_value == pytest.approx(
        runs.Run.open(run).evaluation["test"]["accuracy"], abs=1e-4
    )
    assert data.model_name == "test_resnet-patches"


def test_the_item_is_one_of_stac_and_of_its_mlm_extension(cards):
    stored = json.loads(cards[1].read_text())
    item = pystac.Item.from_dict(copy.deepcopy(stored))
    item.stac_extensions = []
    item.validate()  # the core, whose schemas pystac holds; those of extensions would be downloaded
    stored["stac_extensions"][0] = MLMExtension.get_schema_uri()  # the newest that pystac knows
    item = pystac.Item.from_dict(stored)
    model = MLMExtension.ext(item)
    assert (model.mlm_name, model.architecture, model.framework) == ("test_resnet-patches", "test_resnet", "PyTorch")
    assert model.framework_version == "2.15.0"
    assert model.total_parameters == 12345
    (given,), (found,) = model.input, model.output
    assert given.input.shape == [-1, 24, 24, 3]
    assert given.input.dim_order == ["batch", "height", "width", "bands"]
    assert list(given.bands) == [band["name"] for band in item.properties["bands"]]
    assert [each["name"] for each in found.to_dict()["classification:classes"]] == list(CLASSES)
    assert found.result.shape == [-1, len(CLASSES)]
    weights = item.assets["weights"]
    assert "mlm:model" in weights.roles
    assert ClassificationExtension.has_extension(item)


def test_an_asset_is_found_in_whatever_folder_it_is(run, tmp_path):
    folder = tmp_path / "run #2, ümläut 水: 50%?"
    shutil.copytree(run, folder)
    assets = json.loads(write_cards(folder, tmp_path / "cards")[1].read_text())["assets"]
    for asset in assets.values():
        address = urlsplit(asset["href"])
        assert (address.scheme, address.query, address.fragment) == ("", "", "")
        assert (tmp_path / "cards" / unquote(address.path)).is_file()


@pytest.mark.parametrize("name", ["CC BY 4.0", "", "Apache\n2", "lizenz-für-alle"])
def test_what_is_no_name_of_a_licence_is_refused(run, tmp_path, name):
    with pytest.raises(LandsiftError, match="names no licence"):
        write_cards(run, tmp_path / "cards", license=name)
    assert not (tmp_path / "cards").exists()


def test_no_path_of_this_machine_is_in_a_card(cards):
    for card in cards:
        text = card.read_text()
        assert "/home" not in text
        assert "secret" not in text


def test_a_readme_of_somebody_else_is_left(run, tmp_path):
    (tmp_path / "README.md").write_text("# My project\n")
    with pytest.raises(LandsiftError, match="is no card of landsift's"):
        write_cards(run, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    write_cards(run, tmp_path / "new")
    write_cards(run, tmp_path / "new")  # its own card is written anew


def test_what_is_no_run_is_refused(tmp_path):
    save_model_of(tmp_path / "run")
    with pytest.raises(RunError, match="is not a run directory"):
        write_cards(tmp_path / "run", tmp_path / "cards")
    assert not (tmp_path / "cards").exists()


@pytest.fixture
def odd(run, tmp_path):
    """The run with other names, thresholds and a budget."""
    folder = tmp_path / "run, ümläut"
    shutil.copytree(run, folder)
    rename = dict(zip(CLASSES, ODD, strict=True))
    for name in (runs.EVALUATION, runs.MANIFEST, "model/model.json"):
        stored = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(renamed(stored, rename)))
    manifest = json.loads((folder / runs.MANIFEST).read_text())
    manifest["data"]["budget"] = 60
    runs.write_json(folder / runs.MANIFEST, manifest)
    return folder


def renamed(value, names):
    """JSON with other texts, as keys too."""
    if isinstance(value, dict):
        return {names.get(key, key): renamed(each, names) for key, each in value.items()}
    return (
        [renamed(each, names) for each in value]
        if isinstance(value, list)
        else names.get(value, value)
        if isinstance(value, str)
        else value
    )


def test_names_are_text_in_a_card_whatever_they_mean_elsewhere(odd, tmp_path):
    text = write_cards(odd, tmp_path / "cards")[0].read_text()
    body = text.split("---\n", 2)[2]
    assert "<b>" not in body
    assert "| &lt;b&gt;Stadt&lt;/b&gt; &amp; \\*Dorf\\* |" in body
    assert "| Wald\\|Forst\\\\nalt |" in body
    rows = [line for line in body.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {3, 7}  # no name makes a column
    assert "Only 60 labels of the training part were used" in body


def test_classes_of_a_catalogue_have_names_of_their_own(odd, tmp_path):
    stored = json.loads(write_cards(odd, tmp_path / "cards")[1].read_text())
    classes = stored["properties"]["mlm:output"][0]["classification:classes"]
    assert [each["description"] for each in classes] == list(ODD)
    assert all(re.fullmatch("[0-9A-Za-z_-]+", each["name"]) for each in classes)
    assert _class_names(["水田", "森林", "a b", "a_b", "Wälder", "a_b_3"]) == [
        "class", "class_1", "a_b", "a_b_3", "Walder", "a_b_3_5",
    ]  # fmt: skip


def test_what_thresholds_do_is_in_the_card(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    sets = {"nominal": 0.95, "kind": "class", "n": 155, "coverage": 0.9613, "interval": [0.92, 0.98], "size": 1.25}
    answered = {"answered": 0.8, "risk": 0.004, "interval": [0.001, 0.02]}
    trust = {
        "sets": {"coverage": 0.95, "kind": "class", "rows": [sets | {"kind": "marginal"}, sets]},
        "abstention": {"risk": 0.01, "rows": [{"risk": 0.005, "test": None}, {"risk": 0.01, "test": answered}]},
        "ood": {"test": 0.0123},
    }
    stored = json.loads((folder / runs.EVALUATION).read_text())

    def card(**changes):
        runs.write_json(folder / runs.EVALUATION, stored | {"trust": trust | changes})
        return write_cards(folder, tmp_path / "cards")[0].read_text()

    text = card()
    assert (
        "| sets of 95 %, by class | hold the class of 96.13 % (92.00 to 98.00) of the 155 patches that chose no" in text
    )
    assert "| wrong answers, at most 1 % wanted | 0.40 % (0.10 to 2.00), where it answers 80.00 % |" in text
    assert "| out of distribution | 1.23 % |" in text
    assert "Out of distribution is what lies" not in text
    few = card(
        sets=trust["sets"] | {"rows": [sets | {"classes_without": ["water"]}]},
        abstention=trust["abstention"] | {"confidence": 0.9},
        ood={"test": 0.1, "chosen_on": 20},
    )
    assert "- Sets of 95 % by class: in every set is water: a threshold needs 19 patches" in few
    assert "- Out of distribution is what lies farther than all 20 validation patches" in few
    none = card(abstention={"risk": 0.01, "rows": [{"risk": 0.01, "test": None}]})
    assert "validation did not show it: the model abstains from nothing" in none
    assert "wrong answers" not in write_cards(run, tmp_path / "other")[0].read_text()
