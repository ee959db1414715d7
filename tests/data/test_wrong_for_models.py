"""Files that are not what a model was trained on: converted with a word, or left out."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from raster_files import numbers, raster
from rasterio.transform import from_origin

from landsift.bands import BandSpec
from landsift.config import DataConfig, HeadConfig, ModelConfig
from landsift.data.sensors import sensor
from landsift.data.store.patch_store import build_store
from landsift.errors import ConfigError, DataError
from landsift.evaluation.model_files import files_for
from landsift.evaluation.new_data import evaluate_store
from landsift.evaluation.predict import predict_files
from landsift.models.backbone import create_backbone
from landsift.models.classifier import PatchClassifier
from landsift.models.first_layer import for_bands
from landsift.models.model_json import ModelDescription
from landsift.models.predictor import load_model, save_model

NAMED = ("B02", "B03", "B04", "B08")
SENTINEL = BandSpec(NAMED, "uint16", (1e-4,) * 4, (0.0,) * 4, None, "reflectance", 10.0)
EMPTY = replace(SENTINEL, nodata=0)
FLOAT = replace(SENTINEL, dtype="float32", scale=(1.0,) * 4, nodata=math.nan)
EUROSAT = BandSpec(sensor("eurosat").names, "uint16", (1e-4,) * 13, (0.0,) * 13, None, "reflectance", 10.0)
RGB = BandSpec.pictures()
NUMBERED = ["B02=1", "B03=2", "B04=3", "B08=4"]
SENSOR = {"sensor": "eurosat"}

FOUR = 2 * (numbers(4, size=(16, 16)) // 2)
HOLED = FOUR.copy()
HOLED[:3] = 0
ALL = numbers(13, size=(16, 16))
ALL[..., 9] = 12  # the cirrus band, which is dark
COLOURS = numbers(3, "uint8", (16, 16))
L1C = sensor("sentinel2_l1c").names
IN_L1C_ORDER = [EUROSAT.names.index(name) for name in L1C]


class Wrong(NamedTuple):
    """A file, the model it is for, and what is said of it."""

    what: str
    model: BandSpec
    values: np.ndarray
    options: dict[str, Any]
    said: str
    """Of the reason why it is left out, or of the notice."""
    patch: np.ndarray | None = None
    """The patch of the model's bands that it becomes, [H, W, C]; None: it is left out."""
    reading: dict[str, Any] = {}  # noqa: RUF012
    """How the files of the training were read."""
    told: dict[str, Any] = {}  # noqa: RUF012
    """What is said of this file."""


def named(**options: Any) -> dict[str, Any]:
    return {"names": NAMED, "scale": 1e-4, "units": "reflectance"} | options


def missing(values: np.ndarray, number: float, dtype: str = "float32") -> np.ndarray:
    found = values.astype(dtype)
    found[:3] = number
    return found


def filled(number: float) -> np.ndarray:
    """Reflectances of FOUR in float32, with nothing in three rows."""
    return missing((FOUR * 1e-4).astype(np.float32), number)


CONVERTED = [
    Wrong("another order", SENTINEL, FOUR[..., ::-1], named(names=NAMED[::-1]), "read by name, in another order", FOUR),
    Wrong(
        "more bands",
        SENTINEL,
        np.concatenate([FOUR[..., :1] + 7, FOUR], -1),
        named(names=("B01", *NAMED)),
        "read by name; 1 is not used",
        FOUR,
    ),
    Wrong(
        "Sentinel-2's offset in a tag of its own",
        SENTINEL,
        FOUR + 1000,
        {"names": NAMED, "tags": {"BOA_ADD_OFFSET": "-1000", "PROCESSING_BASELINE": "05.09"}},
        "B02 × 1 - 1,000",
        FOUR,
    ),
    Wrong(
        "Sentinel-2's offset of Level-1C",
        SENTINEL,
        FOUR + 1000,
        {"names": NAMED, "tags": {"RADIO_ADD_OFFSET": "-1000"}},
        "B02 × 1 - 1,000",
        FOUR,
    ),
    Wrong("Sentinel-2's offset as GDAL has it", SENTINEL, FOUR + 1000, named(offset=-0.1), "B02 × 1 - 1,000", FOUR),
    Wrong("another scale", SENTINEL, FOUR // 2, named(scale=2e-4), "B02 × 2", FOUR),
    Wrong(
        "floats",
        SENTINEL,
        (FOUR * 1e-4).astype(np.float32),
        named(scale=1.0),
        "float32 brought to uint16",
        FOUR,
        told={"reflectance": [1, 0]},
    ),
    Wrong("int16", SENTINEL, FOUR.astype(np.int16), named(), "int16 brought to uint16", FOUR),
    Wrong("int32", SENTINEL, FOUR.astype(np.int32), named(), "float32 brought to uint16", FOUR),
    Wrong(
        "8 bits with a scale",
        SENTINEL,
        (FOUR // 100).astype(np.uint8),
        named(scale=0.01),
        "uint8 brought",
        FOUR // 100 * 100,
    ),
    Wrong(
        "-9,999 declared, and nowhere", SENTINEL, FOUR.astype(np.int16), named(nodata=-9999), "number for no data", FOUR
    ),
    Wrong(
        "other names for bands",
        SENTINEL,
        FOUR,
        named(names=("blue", "Green", "b_4", "NIR")),
        "",
        FOUR,
        reading={"sensor": "sentinel2_l2a"},
    ),
    Wrong(
        "pixels of 20 m",
        SENTINEL,
        FOUR,
        named(transform=from_origin(500_000, 5_500_000, 20, 20)),
        "another ground sampling distance than the 10 m",
        FOUR,
    ),
    Wrong(
        "no names, said for these files",
        SENTINEL,
        FOUR,
        {},
        "",
        FOUR,
        told={"bands": NUMBERED, "reflectance": [1e-4, 0]},
    ),
    Wrong(
        "no names, said for the training", SENTINEL, FOUR, {}, "", FOUR, {"bands": NUMBERED, "reflectance": [1e-4, 0]}
    ),
    Wrong(
        "names that contradict the training's numbers",
        SENTINEL,
        FOUR[..., ::-1],
        named(names=NAMED[::-1]),
        "",
        FOUR,
        {"bands": NUMBERED},
    ),
    Wrong(
        "tags that contradict the training",
        SENTINEL,
        FOUR + 1000,
        named(offset=-0.1),
        "rather than data.reflectance",
        FOUR,
        {"reflectance": [1e-4, 0]},
    ),
    Wrong(
        "a baseline without an offset, said for the training",
        SENTINEL,
        FOUR,
        {"names": NAMED, "tags": {"PROCESSING_BASELINE": "05.09"}},
        "05.09 of Sentinel-2 and no tag of its offset: 0",
        FOUR,
        {"reflectance": [1e-4, 0]},
    ),
    Wrong(
        "no baseline",
        SENTINEL,
        FOUR,
        {"names": NAMED},
        "no processing baseline",
        FOUR,
        {"sensor": "sentinel2_l1c"},
    ),
    Wrong(
        "65,535 for nothing", EMPTY, missing(FOUR, 65535, "uint16"), named(nodata=65535), "number for no data", HOLED
    ),
    Wrong("0 for nothing, undeclared", EMPTY, HOLED, named(), "numbers that mean no data to the model", HOLED),
    Wrong("NaN for nothing", EMPTY, filled(np.nan), named(scale=1.0), "", HOLED, told={"reflectance": [1, 0]}),
    Wrong(
        "-9,999 for nothing",
        FLOAT,
        filled(-9999),
        named(scale=1.0, nodata=-9999),
        "no data",
        filled(np.nan),
        told={"reflectance": [1, 0]},
    ),
    Wrong(
        "13 bands in the order of Level-1C, named",
        EUROSAT,
        ALL[..., IN_L1C_ORDER],
        named(names=L1C),
        "another order",
        ALL,
        SENSOR,
    ),
    Wrong(
        "Level-1C said for these files",
        EUROSAT,
        ALL[..., IN_L1C_ORDER],
        {},
        "another order",
        ALL,
        SENSOR,
        {"sensor": "sentinel2_l1c"},
    ),
    Wrong(
        "13 bands in the order of Level-1C, unnamed",
        EUROSAT,
        ALL[..., IN_L1C_ORDER],
        {},
        "not the darkest band",
        ALL[..., IN_L1C_ORDER],
        SENSOR,
    ),
    Wrong(
        "aerial images of four bands, named",
        RGB,
        np.concatenate([COLOURS[..., :1] + 1, COLOURS], -1),
        {"names": ("nir", "red", "green", "blue")},
        "read by name; 1 is not used",
        COLOURS,
    ),
]

LEFT_OUT = [
    Wrong("a band missing", SENTINEL, FOUR[..., :3], named(names=NAMED[:3]), "no band B08 among B02, B03, B04"),
    Wrong("no names", SENTINEL, FOUR, {}, "4 bands of uint16 without names"),
    Wrong("13 bands without names", SENTINEL, ALL, {}, "13 bands of uint16 without names"),
    Wrong("names that nobody knows", SENTINEL, FOUR, named(names=("a", "b", "c", "d")), "no band B02 among a, b, c, d"),
    Wrong(
        "8 bits for reflectance",
        SENTINEL,
        numbers(4, "uint8", (16, 16)),
        {"names": NAMED},
        "numbers in brightness units, where reflectance is taken",
    ),
    Wrong("no units", SENTINEL, FOUR, {"names": NAMED}, "numbers in unknown units, where reflectance is taken"),
    Wrong("decibels", SENTINEL, FOUR, named(units="dB"), "numbers in dB units"),
    Wrong(
        "a baseline without an offset",
        SENTINEL,
        FOUR,
        {"names": NAMED, "tags": {"PROCESSING_BASELINE": "04.00"}},
        "no tag that says whether its offset of 1,000",
    ),
    Wrong("two offsets", SENTINEL, FOUR, named(tags={"BOA_ADD_OFFSET": "-1000"}), "in one tag and of -0.1 in another"),
    Wrong("-9,999 undeclared", SENTINEL, missing(FOUR, -9999, "int16"), named(), "-9999 stands in"),
    Wrong(
        "-9,999 undeclared in floats",
        FLOAT,
        filled(-9999),
        named(scale=1.0),
        "-9999 stands in",
        told={"reflectance": [1, 0]},
    ),
    Wrong("nothing, for a model that knows none", SENTINEL, HOLED, named(nodata=0), "nothing in 18.8% of its numbers"),
    Wrong(
        "NaN, for a model that knows none",
        SENTINEL,
        filled(np.nan),
        named(scale=1.0),
        "nothing in 18.8%",
        told={"reflectance": [1, 0]},
    ),
    Wrong("a scale a hundred times too large", SENTINEL, FOUR, named(scale=1e-2), "which nothing has"),
    Wrong("a scale a thousand times too small", SENTINEL, FOUR, named(scale=1e-8), "which nothing has"),
    Wrong(
        "an offset that is not in the numbers",
        SENTINEL,
        np.minimum(FOUR, 700),
        named(offset=-0.1),
        "is that offset in them?",
    ),
    Wrong("one name twice", SENTINEL, FOUR, named(names=("B02", "B02", "B04", "B08")), "two of them called B02"),
    Wrong("complex numbers", SENTINEL, FOUR.astype(np.complex64), {"names": NAMED}, "complex64"),
    Wrong(
        "numbers of bands that were said of files of 13",
        SENTINEL,
        FOUR,
        {},
        "where the training's files had 13",
        reading={"bands": NUMBERED, "reflectance": [1e-4, 0], "of": 13},
    ),
    Wrong(
        "8 bits, and a scale that was said of 16",
        SENTINEL,
        numbers(4, "uint8", (16, 16)),
        {},
        "where data.reflectance of the training was said of uint16",
        reading={"bands": NUMBERED, "reflectance": [1e-4, 0], "of": 4},
    ),
    Wrong(
        "12 bands for 13",
        EUROSAT,
        ALL[..., :12],
        {},
        "12 bands of uint16, where files of eurosat have 13",
        reading=SENSOR,
    ),
    Wrong(
        "Level-2A for Level-1C",
        EUROSAT,
        ALL[..., :12],
        named(names=sensor("sentinel2_l2a").names),
        "no band B10",
        reading=SENSOR,
    ),
    Wrong(
        "8 bits of 13 bands",
        EUROSAT,
        numbers(13, "uint8", (16, 16)),
        {},
        "numbers of uint8, where files of eurosat hold",
        reading=SENSOR,
    ),
    Wrong("floats of 13 bands", EUROSAT, (ALL * 1e-4).astype(np.float32), {}, "numbers of float32", reading=SENSOR),
    Wrong(
        "a sensor of other bands",
        SENTINEL,
        FOUR,
        {},
        "4 bands of uint16, where files of sentinel2_l2a have 12",
        told={"sensor": "sentinel2_l2a"},
    ),
    Wrong(
        "reflectances for a model of images",
        RGB,
        FOUR[..., :3],
        named(names=("red", "green", "blue")),
        "numbers in reflectance units, where brightness is taken",
    ),
    Wrong("16 bits for a model of images", RGB, FOUR[..., :3], {"photometric": "RGB"}, "16 bits"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Callable[..., Path]:
    """A `model/` folder for patches of some bands, its weights at random."""

    def saved(bands: BandSpec, reading: dict[str, Any]) -> Path:
        torch.manual_seed(0)
        config = for_bands(ModelConfig(backbone="test_efficientnet", weights="none"), len(bands))
        backbone = create_backbone(config, 32)
        head = HeadConfig(hidden=None, dropout=0.0)
        description = ModelDescription(
            backbone="test_efficientnet", backbone_args=config.backbone_args, head=head.model_dump(), landsift="0",
            classes=("a", "b"), patch_size=(16, 16), image_size=32, mean=(0.2,) * len(bands), std=(0.1,) * len(bands),
            bands=bands, reading=reading,
        )  # fmt: skip
        folder = tmp_path_factory.mktemp("model")
        save_model(PatchClassifier(backbone.network, backbone.features, 2, head), description, folder)
        return folder

    return saved


@pytest.mark.parametrize("wrong", CONVERTED, ids=[each.what for each in CONVERTED])
def test_what_need_not_be_guessed_is_converted_with_a_word(wrong, model, tmp_path, caplog):
    caplog.set_level("INFO", "landsift")
    file = raster(tmp_path / "wrong.tif", wrong.values, **wrong.options)
    folder = model(wrong.model, wrong.reading)
    found = predict_files(folder, file, reading=wrong.told)
    np.testing.assert_array_equal(found.probabilities, load_model(folder)(wrong.patch[None].astype(wrong.model.dtype)))
    assert wrong.said in caplog.text
    assert found.table()[["lon", "lat"]].notna().all(axis=None)


@pytest.mark.parametrize("wrong", LEFT_OUT, ids=[each.what for each in LEFT_OUT])
def test_what_would_have_to_be_guessed_is_left_out_with_its_reason(wrong, model, tmp_path):
    file = raster(tmp_path / "wrong.tif", wrong.values, **wrong.options)
    with pytest.raises(DataError) as error:
        predict_files(model(wrong.model, wrong.reading), file, reading=wrong.told)
    assert wrong.said in str(error.value)
    assert len(str(error.value).splitlines()) <= 2


def test_there_are_more_than_thirty_of_them():
    assert len({each.what for each in [*CONVERTED, *LEFT_OUT]}) > 30


def test_files_of_several_kinds_are_answered_each_in_its_way(model, tmp_path, caplog):
    caplog.set_level("INFO", "landsift")
    raster(tmp_path / "in" / "a.tif", FOUR, **named())
    raster(tmp_path / "in" / "b.tif", FOUR + 1000, **named(offset=-0.1))
    raster(tmp_path / "in" / "c.tif", FOUR[..., ::-1], **named(names=NAMED[::-1]), crs=None)
    raster(tmp_path / "in" / "d.tif", FOUR, crs=None)
    Image.fromarray(COLOURS).save(tmp_path / "in" / "e.png")
    found = predict_files(model(SENTINEL, {}), tmp_path / "in")
    assert [Path(path).name for path in found.paths] == ["a.tif", "b.tif", "c.tif"]
    assert {Path(each["path"]).name for each in found.skipped} == {"d.tif", "e.png"}
    assert len(np.unique(found.probabilities, axis=0)) == 1
    assert np.isnan(found.places[2]).all()
    assert list(found.table().columns) == ["path", "lon", "lat", "predicted", "p_a", "p_b"]
    assert "1 of 3 files: bands read by name, in another order" in caplog.text


def test_a_model_of_images_has_no_columns_of_a_place(model, tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    found = predict_files(model(RGB, {}), tmp_path / "a.png")
    assert list(found.table().columns) == ["path", "predicted", "p_a", "p_b"]


def test_larger_files_are_resized_as_the_predictor_does(model, tmp_path):
    values = numbers(4, size=(40, 23))
    values[:20, :9] = 0
    file = raster(tmp_path / "a.tif", values, **named(nodata=0))
    folder = model(EMPTY, {})
    np.testing.assert_array_equal(predict_files(folder, file).probabilities, load_model(folder)(values[None]))


def test_a_test_on_files_brings_them_to_the_models_bands(model, tmp_path):
    for i, label in enumerate("abab"):
        values = numbers(4, size=(16, 16), seed=i)
        raster(tmp_path / "right" / label / f"{i}.tif", values, **named())
        if i % 2:
            raster(tmp_path / "wrong" / label / f"{i}.tif", values + 1000, **named(offset=-0.1))
        else:
            raster(tmp_path / "wrong" / label / f"{i}.tif", values[..., ::-1], **named(names=NAMED[::-1]))
    predictor = load_model(model(SENTINEL, {}))
    read, taken = files_for(predictor.description, {})
    tables = []
    for name in ("right", "wrong"):
        data = DataConfig(source=str(tmp_path / name), **read.reading)
        store = build_store(data, tmp_path / f"store-{name}", taken=taken)
        assert store.bands == SENTINEL
        tables.append(evaluate_store(predictor, store)[1].drop(columns="path"))
    assert tables[0].equals(tables[1])


@pytest.mark.parametrize(
    "reading", [{"sensors": "eurosat"}, {"sensor": "sentinel-9"}, {"bands": []}, {"patch_size": 32}]
)
def test_what_cannot_be_said_of_files_is_refused(reading, model, tmp_path):
    file = raster(tmp_path / "a.tif", FOUR, **named())
    with pytest.raises(ConfigError):
        predict_files(model(SENTINEL, {}), file, reading=reading)
