"""Maps of many scenes: which there are, those that are there are left, bad ones are named and stop nobody."""

import functools
import json
import logging
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from map_models import pictures, save_random_model
from scene_models import raster

from landsift.errors import ConfigError, DataError
from landsift.mapping.many import map_scenes, scenes_of
from landsift.mapping.map_file import read_info
from landsift.mapping.map_key import files_of
from landsift.mapping.map_options import LoadedModel, MapOptions


def scene_of(path, seed=0, size=(64, 96)):
    return raster(path, pictures(*size, seed=seed), photometric="RGB")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_random_model(tmp_path_factory.mktemp("run"))


def names(scenes):
    return [scene.name for scene in scenes]


def item(path, href):
    path.parent.mkdir(parents=True, exist_ok=True)
    asset = {"href": href, "type": "image/tiff", "roles": ["visual"]}
    stored = {
        "type": "Feature", "stac_version": "1.0.0", "id": path.stem, "geometry": None, "links": [], "bbox": None,
        "properties": {"datetime": "2023-08-20T10:00:00Z"}, "assets": {"visual": asset},
    }  # fmt: skip
    path.write_text(json.dumps(stored))
    return path


def test_a_bad_scene_among_good_ones_is_named_and_stops_nobody(run, tmp_path, caplog):
    scene_of(tmp_path / "scenes" / "a.tif", 1)
    scene_of(tmp_path / "scenes" / "b.tif", 2, size=(20, 96))
    (tmp_path / "scenes" / "c.tif").write_bytes(b"II*\0nothing")
    raster(tmp_path / "scenes" / "d.tif", pictures(64, 64), crs=None, photometric="RGB")
    scene_of(tmp_path / "scenes" / "e.tif", 3)
    scenes = scenes_of([tmp_path / "scenes"])
    assert names(scenes) == ["a", "b", "c", "d", "e"]
    maps = map_scenes(LoadedModel.load(run, MapOptions()), scenes, tmp_path / "maps", MapOptions())
    assert [each.path.name for each in maps.made] == ["a.tif", "e.tif"]
    assert [*maps.failed] == ["b", "c", "d"]
    assert "less than one patch of 32 × 32" in maps.failed["b"]
    assert "no CRS" in maps.failed["d"]
    assert {path.name.split(".")[0] for path in (tmp_path / "maps").iterdir()} == {"a", "e"}
    assert caplog.text.count("has no map") == 3
    json.dumps(maps.to_dict())


def test_maps_that_are_there_are_left_and_those_of_other_options_or_files_made_anew(run, tmp_path, caplog):
    caplog.set_level(logging.INFO, "landsift")
    for seed, name in enumerate("abc"):
        scene_of(tmp_path / "scenes" / f"{name}.tif", seed)
    out = tmp_path / "maps"

    def again(options):
        return map_scenes(LoadedModel.load(run, options), scenes_of([tmp_path / "scenes"]), out, options)

    assert len(again(MapOptions()).made) == 3
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    (out / "b.tif").unlink()  # as if it had been interrupted
    scene_of(tmp_path / "scenes" / "c.tif", 9)
    caplog.clear()
    maps = again(MapOptions())
    assert [path.name for path in maps.left] == ["a.tif"]
    assert [each.path.name for each in maps.made] == ["b.tif", "c.tif"]
    assert (out / "a.tif").stat().st_mtime_ns == before[out / "a.tif"]
    assert "a: its map is there already, of the same model, files and options" in caplog.text
    assert "c.tif is of another model, other files or other options: it is made anew" in caplog.text
    assert len(again(MapOptions()).left) == 3
    assert len(again(MapOptions(stride=16)).made) == 3
    assert read_info(out / "a.tif").stride == 16


def test_what_would_be_wrong_with_every_scene_is_said_at_once(run, tmp_path):
    scene_of(tmp_path / "a.tif")
    scene_of(tmp_path / "b.tif")
    options = MapOptions(dense=True)
    scenes = scenes_of([tmp_path / "a.tif", tmp_path / "b.tif"])
    with pytest.raises(ConfigError, match="--dense saves nothing"):
        map_scenes(LoadedModel.load(run, options), scenes, tmp_path / "maps", options)


def test_folders_stand_for_rasters_and_folders_of_rasters(tmp_path, caplog):
    caplog.set_level(logging.INFO, "landsift")
    root = tmp_path / "scenes"
    scene_of(root / "one.tif")
    scene_of(root / "two" / "B02.tif")
    scene_of(root / "two" / "B03.tif")
    (root / "S2A.SAFE").mkdir()
    (root / "notes.txt").write_text("")
    (root / ".hidden.tif").write_text("")
    scenes = scenes_of([root])
    assert names(scenes) == ["S2A", "one", "two"]
    assert [path.name for path in scenes[2].sources] == ["B02.tif", "B03.tif"]
    assert "notes.txt: neither a raster nor a folder of rasters; passed over" in caplog.text
    assert names(scenes_of([root / "one.tif", root / "S2A.SAFE"])) == ["one", "S2A"]


def test_items_and_collections_stand_for_their_items(tmp_path):
    for name in ("a", "b"):
        item(tmp_path / name / f"{name}.json", "B02.tif")
        scene_of(tmp_path / name / "B02.tif")
    assert names(scenes_of([tmp_path])) == ["a", "b"]
    child = tmp_path / "b" / "collection.json"
    below = [{"rel": "item", "href": "./b.json"}, {"rel": "parent", "href": "../catalog.json"}]
    child.write_text(json.dumps({"type": "Collection", "links": below}))
    links = [{"rel": "self", "href": "./catalog.json"}, {"rel": "item", "href": "./a/a.json"},
             {"rel": "child", "href": "./b/collection.json"}, {"rel": "item", "href": "./a/a.json"}]  # fmt: skip
    catalog = tmp_path / "catalog.json"
    catalog.write_text(json.dumps({"type": "Catalog", "links": links}))
    assert names(scenes_of([catalog])) == names(scenes_of([tmp_path])) == ["a", "b"]
    catalog.write_text(
        json.dumps({"type": "Catalog", "links": [{"rel": "item", "href": "https://example.org/a.json"}]})
    )
    with pytest.raises(DataError, match="nothing is fetched from the network"):
        scenes_of([catalog])
    catalog.write_text("{")
    with pytest.raises(DataError, match="no JSON"):
        scenes_of([catalog])


def test_a_collection_at_an_address_of_this_machine(tmp_path):
    item(tmp_path / "a.json", "B02.tif")
    links = [{"rel": "item", "href": "./a.json"}, {"rel": "item", "href": "sub/b.json"}]
    (tmp_path / "collection.json").write_text(json.dumps({"type": "Collection", "links": links}))
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        scenes = scenes_of([f"{address}/collection.json"])
        server.shutdown()
    assert names(scenes) == ["a", "b"]
    assert scenes[1].sources == (f"{address}/sub/b.json",)


def test_scenes_of_one_name_get_maps_of_two(tmp_path):
    for place in ("x", "y", "z/y"):
        scene_of(tmp_path / place / "a.tif")
    scenes = scenes_of([tmp_path / "x" / "a.tif", tmp_path / "y" / "a.tif", tmp_path / "z" / "y" / "a.tif"])
    assert names(scenes) == ["a", "y-a", "a-3"]


def test_a_scene_that_is_given_twice_is_mapped_once(tmp_path, caplog):
    for name in ("a.tif", "b.tif"):
        scene_of(tmp_path / "x" / name)
    with caplog.at_level("INFO", "landsift"):
        assert names(scenes_of([tmp_path / "x", tmp_path / "x" / ".." / "x" / "a.tif"])) == ["a", "b"]
    assert "is given twice" in caplog.text


def test_a_world_file_that_changes_makes_another_map(tmp_path):
    for scene, world in (("a.tif", "a.tfw"), ("b.jp2", "b.j2w"), ("c.png", "c.wld")):
        (tmp_path / scene).touch()
        (tmp_path / world).touch()
        assert tmp_path / world in files_of(tmp_path / scene)


def test_nothing_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no scene in"):
        scenes_of([tmp_path / "empty"])
    with pytest.raises(DataError, match="no such file or folder"):
        scenes_of([tmp_path / "nothing"])
    with pytest.raises(DataError, match="no such file"):
        scenes_of([tmp_path / "nothing.json"])


def test_a_map_is_never_written_over_its_scene(run, tmp_path):
    scene = scene_of(tmp_path / "a.tif")
    before = scene.read_bytes()
    maps = map_scenes(LoadedModel.load(run, MapOptions()), scenes_of([scene]), tmp_path, MapOptions())
    assert "would be replaced" in maps.failed["a"]
    assert scene.read_bytes() == before
    assert np.asarray([*tmp_path.glob("*.qml")]).size == 0
