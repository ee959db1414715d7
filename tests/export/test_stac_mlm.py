"""Items of models are as STAC's MLM extension 1.5.0 asks: the rules of its schema, in short."""

import json
import math
import re
from dataclasses import replace

import jsonschema
import pystac
import pytest
from exported_models import ODD

from landsift.bands import BandSpec
from landsift.export.cards import write_cards
from landsift.export.described import _slug, describe_run
from landsift.export.stac_mlm import mlm_item

TASKS = {"type": "array", "uniqueItems": True, "items": {"enum": ["classification", "scene-classification"]}}
STRUCTURE = {
    "type": "object",
    "required": ["shape", "dim_order", "data_type"],
    "properties": {
        "shape": {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": -1}},
        "dim_order": {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"pattern": "^[a-z-_]+$"}},
        "data_type": {"enum": ["uint8", "uint16", "int16", "float32"]},
    },
}
FIELDS = {
    "type": "object",
    "required": ["mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output", "bands"],
    "properties": {
        "mlm:name": {"type": "string", "pattern": r"^[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]$"},
        "mlm:framework_version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        "mlm:tasks": TASKS,
        "mlm:total_parameters": {"type": "integer", "minimum": 0},
        "mlm:pretrained": {"type": "boolean"},
        "mlm:pretrained_source": {"type": ["string", "null"]},
        "mlm:input": {
            "type": "array",
            "items": {"required": ["name", "bands", "input"], "properties": {"input": STRUCTURE}},
        },
        "mlm:output": {
            "type": "array",
            "items": {"required": ["name", "tasks", "result"], "properties": {"tasks": TASKS, "result": STRUCTURE}},
        },
        "mlm:hyperparameters": {"type": "object", "minProperties": 1, "patternProperties": {"^[0-9a-zA-Z_.-]+$": True},
                                "additionalProperties": False},
        "bands": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["name"]}},
    },
}  # fmt: skip
"""What the extension's schema asks of the fields that are written, in short."""


def check_rules(item):
    """What else it asks: which fields stand where, and what belongs together."""
    properties = item["properties"]
    jsonschema.validate(properties, FIELDS)
    assert item["stac_version"] == "1.1.0"
    assert item["stac_extensions"][0] == "https://stac-extensions.github.io/mlm/v1.5.0/schema.json"
    known = {"accelerator", "architecture", "framework", "framework_version", "hyperparameters", "input", "name",
             "output", "pretrained", "pretrained_source", "tasks", "total_parameters"}  # fmt: skip
    assert {key[4:] for key in properties if key.startswith("mlm:")} <= known
    (given,), (found,) = properties["mlm:input"], properties["mlm:output"]
    order, shape = given["input"]["dim_order"], given["input"]["shape"]
    assert len(order) == len(shape)
    assert shape[order.index("bands")] == len(given["bands"])  # an axis of this name is wanted where bands are listed
    assert given["bands"] == [band["name"] for band in properties["bands"]]
    assert "bands" not in found["result"]["dim_order"]  # and forbidden where none are
    assert properties["mlm:pretrained"] or properties["mlm:pretrained_source"] is None
    classes = found["classification:classes"]
    assert all(set(each) == {"value", "name", "description"} for each in classes)  # version 1.1 has no title
    assert len({each["name"] for each in classes}) == len(classes) == found["result"]["shape"][1]
    for asset in item["assets"].values():
        fields = {key for key in asset if key.startswith("mlm:")}
        assert fields == ({"mlm:artifact_type"} if "mlm:model" in asset["roles"] else set())
        assert all(isinstance(asset[key], str) for key in fields)  # null is no value of them
        assert re.fullmatch("1220[0-9a-f]{64}", asset["file:checksum"])
        assert re.fullmatch(r"[!-~]+", asset["href"])
    assert [each for each in item["assets"].values() if "mlm:model" in each["roles"]]


def test_the_fields_are_as_the_extension_asks(run_of_cards, tmp_path):
    check_rules(json.loads(write_cards(run_of_cards, tmp_path)[1].read_text()))


def many_bands(about, dtype="uint16", count=13, **changes):
    bands = BandSpec(tuple(f"B{i:02}" for i in range(count)), dtype, (1e-4,) * count, (-0.1,) * count, **changes)
    return replace(about, model=replace(about.model, bands=bands, mean=(0.2,) * count, std=(0.1,) * count))


@pytest.mark.parametrize(
    "change",
    [
        many_bands,
        lambda about: many_bands(about, "float32", 2, nodata=math.nan, units="dB", gsd=10.0),
        lambda about: many_bands(about, "int16", 1, nodata=-9999),
        lambda about: replace(about, weights=None, versions={}, license=None, split=""),
        lambda about: replace(about, weights="imagenet", versions={"torch": "2.16.0.dev20260101+cu130"}),
        lambda about: replace(about, model=replace(about.model, classes=(*ODD, "a b", "a_b", ""), tta="flips")),
    ],
    ids=["thirteen bands", "nodata that is no number", "one band", "nothing known", "imagenet", "classes"],
)
def test_every_model_s_item_is_as_the_extension_asks(run_of_cards, tmp_path, change):
    item = json.loads(json.dumps(mlm_item(change(describe_run(run_of_cards)), run_of_cards, tmp_path), allow_nan=False))
    check_rules(item)
    item["stac_extensions"] = []
    pystac.Item.from_dict(item).validate()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("resnet18-EuroSAT", "resnet18-EuroSAT"),
        ("resnet18.a1_in1k-Städte und Dörfer", "resnet18.a1_in1k-St-dte-und-D-rfer"),
        ("resnet18-水田", "resnet18"),
        ("3d_net-2018", "model-3d_net-2018"),
        ("x-", "model-x"),
        ("水-田", "model"),
    ],
)
def test_a_name_is_one_for_catalogues_whatever_the_data_is_called(text, name):
    assert _slug(text) == name
    jsonschema.validate(name, FIELDS["properties"]["mlm:name"])
