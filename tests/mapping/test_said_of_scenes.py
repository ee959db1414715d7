"""What is said with a scene is used as it is meant, or refused: options without an effect, types, times, names."""

import json
import logging
from datetime import UTC, datetime

import numpy as np
import pytest
from map_models import pictures, save_random_model
from scene_models import MODEL, NAMED, SAID, VALUES, raster
from test_many import item

from landsift.errors import ConfigError, DataError, LandsiftError, RunError
from landsift.mapping.make import map_scene
from landsift.mapping.many import map_scenes, scenes_of
from landsift.mapping.map_options import LoadedModel, MapOptions
from landsift.mapping.scenes import open_scene


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_random_model(tmp_path_factory.mktemp("run"))


def scene_of(path, **options):
    return raster(path, pictures(64, 96), photometric="RGB", **options)


def test_classes_of_a_mask_that_is_not_there_are_refused(run, tmp_path):
    scene = scene_of(tmp_path / "a.tif")
    with pytest.raises(DataError, match="it brings no mask, so --mask-classes changes nothing"):
        map_scene(run, scene, tmp_path / "map.tif", mask_classes=[3])
    with pytest.raises(ConfigError, match="--mask-classes changes nothing without a mask"):
        map_scene(run, scene, tmp_path / "map.tif", mask="none", mask_classes=[3])


def test_classes_that_no_mask_holds_are_told(run, tmp_path, caplog):
    caplog.set_level(logging.INFO, "landsift")
    scene = scene_of(tmp_path / "a.tif")
    mask = raster(tmp_path / "clouds.tif", np.full((64, 96, 1), 4, np.uint8))
    map_scene(run, scene, tmp_path / "map.tif", mask=mask, mask_classes=[3, 9])
    assert "mask clouds.tif: 3, 9 do not show the ground; none of them was found in it, but 4" in caplog.text
    map_scene(run, scene, tmp_path / "map.tif", mask=mask, mask_classes=[4])
    assert "mask clouds.tif: 4 do not show the ground\n" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"stride": "8"}, "--stride '8' is no whole number"),
        ({"stride": True}, "--stride True is no whole number"),
        ({"stride": 8.5}, "--stride 8.5 is no whole number"),
        ({"smooth": float("nan")}, "--smooth nan is no whole number"),
        ({"min_valid": "0.9"}, "--min-valid '0.9' is no number"),
        ({"agreement": None, "dense": True}, "--agreement None is no number"),
        ({"smooth": 3, "smooth_variance": "x"}, "--smooth-variance 'x' is no number"),
        ({"mask_classes": "12"}, "mask_classes='12': no list of whole numbers"),
        ({"mask_classes": 3}, "mask_classes=3: no list of whole numbers"),
        ({"mask_classes": ["clouds"]}, "--mask-classes 'clouds' is no whole number"),
        ({"reading": 5}, "reading=5 is none"),
        ({"sources": None}, "a path is needed, not NoneType"),
        ({"sources": [5]}, "a path is needed, not int"),
        ({"sources": 5}, "a path is needed, not int"),
        ({"out": 5}, "a path is needed, not int"),
        ({"model": None}, "a path is needed, not NoneType"),
    ],
)
def test_other_types_are_refused_before_the_work(wrong, said, run, tmp_path):
    scene = scene_of(tmp_path / "a.tif")
    given = {"model": run, "sources": scene, "out": tmp_path / "map.tif"} | wrong
    with pytest.raises(LandsiftError) as error:
        map_scene(**given)
    assert said in str(error.value)
    assert not (tmp_path / "map.tif").exists()


def test_numbers_of_numpy_and_any_kind_of_list_will_do(run, tmp_path):
    scene = scene_of(tmp_path / "a.tif")
    results = [
        map_scene(run, sources, tmp_path / f"{number}.tif", stride=np.int64(16), smooth=3.0, min_valid=np.float32(0.5))
        for number, sources in enumerate([(str(scene),), iter([scene]), {scene: 1}])
    ]
    assert {result.cells for result in results} == {results[0].cells}


def test_times_of_other_zones_are_brought_to_utc(tmp_path):
    late = datetime(2020, 7, 4, 5, 30, tzinfo=UTC)
    for text in ("2020-07-03T23:30:00-06:00", "2020-07-04T05:30:00Z", "2020-07-04T05:30:00"):
        tagged = raster(tmp_path / "a.tif", VALUES, names=NAMED, **SAID, tags={"ACQUISITIONDATETIME": text})
        with open_scene(tagged, MODEL) as scene:
            assert scene.when == late
        stored = {name: {"href": f"./{name}.tif"} for name in NAMED}
        for i, name in enumerate(NAMED):
            raster(tmp_path / f"{name}.tif", VALUES[..., i : i + 1], **SAID)
        found = json.loads(item(tmp_path / "x.json", "").read_text()) | {"assets": stored}
        found["properties"]["datetime"] = text
        (tmp_path / "x.json").write_text(json.dumps(found))
        with open_scene(tmp_path / "x.json", MODEL) as scene:
            assert scene.when == late


def test_hrefs_are_read_with_and_without_their_escapes(run, tmp_path):
    scene_of(tmp_path / "my scenes" / "ä b.tif")
    scene_of(tmp_path / "my scenes" / "100%25.tif")
    for number, href in enumerate(("./my%20scenes/%C3%A4%20b.tif", "./my scenes/ä b.tif", "./my scenes/100%25.tif")):
        map_scene(run, item(tmp_path / f"{number}.json", href), tmp_path / f"map{number}.tif")


def test_a_crs_that_its_item_does_not_say_is_told(tmp_path, caplog):
    caplog.set_level(logging.INFO, "landsift")
    for i, name in enumerate(NAMED):
        raster(tmp_path / f"{name}.tif", VALUES[..., i : i + 1], **SAID)
    found = json.loads(item(tmp_path / "x.json", "").read_text())
    found["assets"] = {name: {"href": f"./{name}.tif"} for name in NAMED}
    found["properties"]["proj:code"] = "EPSG:32633"
    (tmp_path / "x.json").write_text(json.dumps(found))
    with open_scene(tmp_path / "x.json", MODEL) as scene:
        assert scene.grid.crs.epsg == 32631
    assert "its CRS is EPSG:32631, and its STAC item says EPSG:32633" in caplog.text


def test_json_that_is_no_item_is_refused_by_name(run, tmp_path, caplog):
    (tmp_path / "found.json").write_text('{"type": "FeatureCollection", "features": []}')
    (tmp_path / "other.json").write_text('{"type": "Feature"}')
    (tmp_path / "list.json").write_text("[1, 2]")
    scenes = scenes_of([*tmp_path.glob("*.json")])
    maps = map_scenes(LoadedModel.load(run, MapOptions()), scenes, tmp_path / "maps", MapOptions())
    assert {*maps.failed} == {"found", "other", "list"}
    assert "write each item to a file of its own" in maps.failed["found"]


def test_the_bands_of_one_scene_that_are_taken_for_scenes_are_told(tmp_path, caplog):
    run = save_random_model(tmp_path / "run", bands=MODEL.bands)
    for i, name in enumerate(NAMED):
        raster(tmp_path / "scene" / f"{name}.tif", VALUES[..., i : i + 1], **SAID)
    maps = map_scenes(
        LoadedModel.load(run, MapOptions()), scenes_of([tmp_path / "scene"]), tmp_path / "maps", MapOptions()
    )
    assert len(maps.failed) == 4
    assert "are these the bands of one scene? They are mapped together with --out MAP.tif" in caplog.text


@pytest.mark.parametrize(("white", "nodata", "told"), [(40, None, True), (2, None, False), (40, 255, False)])
def test_a_white_border_that_is_classified_is_told(white, nodata, told, run, tmp_path, caplog):
    values = pictures(64, 96)
    values[:, :white] = 255
    raster(tmp_path / "a.tif", values, photometric="RGB", nodata=nodata)
    map_scene(run, tmp_path / "a.tif", tmp_path / "map.tif")
    assert ("many pixels are 255 in all bands, and are classified" in caplog.text) is told


def test_a_name_in_the_home_folder_of_nobody(run, tmp_path):
    with pytest.raises(RunError, match="no such user's home folder"):
        map_scene(run, "~nobody-at-all/a.tif", tmp_path / "map.tif")
