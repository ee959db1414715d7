"""A map replaces nothing but an earlier map, and is never taken for a scene."""

import json
import logging
import shutil

import pytest
from map_models import pictures, save_random_model
from scene_models import raster
from small_maps import grid_of, write_map
from test_many import item

from landsift.errors import DataError, RunError
from landsift.mapping.make import map_scene
from landsift.mapping.many import map_scenes, scenes_of
from landsift.mapping.map_file import read_info
from landsift.mapping.map_key import files_of
from landsift.mapping.map_options import LoadedModel, MapOptions
from landsift.mapping.map_place import check_place


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_random_model(tmp_path_factory.mktemp("run"))


def scene_of(path, seed=0, **options):
    return raster(path, pictures(64, 96, seed=seed), **options)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_lies_beside_a_map_replaces_no_scene(run, tmp_path):
    """MAP.png would be the scene, and MAP.json its STAC item, or that of a scene whose assets are elsewhere."""
    scene_of(tmp_path / "scene.png", driver="PNG")
    scene_of(tmp_path / "visual.tif", photometric="RGB")
    scene_of(tmp_path / "item.png", driver="PNG")
    item(tmp_path / "scene.json", "./visual.tif")
    item(tmp_path / "item.geojson", "./item.png")
    before = contents(tmp_path)
    for source, out, lost in (
        ("scene.png", "scene.tif", r"scene\.png is read"),
        ("scene.json", "scene.tif", r"scene\.(json|png)"),
        ("item.geojson", "item.tif", r"item\.png is read"),
    ):
        with pytest.raises(RunError, match=lost):
            map_scene(run, tmp_path / source, tmp_path / out)
    mask = scene_of(tmp_path / "clouds.png", driver="PNG")
    with pytest.raises(RunError, match=r"clouds\.png is read"):
        map_scene(run, tmp_path / "visual.tif", tmp_path / "clouds.tif", mask=mask)
    mask.unlink()
    (tmp_path / "clouds.png.aux.xml").unlink()
    assert contents(tmp_path) == before


def test_items_that_are_mapped_into_their_own_folder_are_kept(run, tmp_path):
    scene_of(tmp_path / "visual.tif", photometric="RGB")
    item(tmp_path / "a.json", "./visual.tif")
    before = contents(tmp_path)
    maps = map_scenes(LoadedModel.load(run, MapOptions()), scenes_of([tmp_path]), tmp_path, MapOptions())
    assert "a.json is read, and would be replaced" in maps.failed["a"]
    assert contents(tmp_path) == before


def test_another_file_of_a_maps_name_is_kept(run, tmp_path):
    """The folder for maps holds other scenes of the same names."""
    scene_of(tmp_path / "one" / "a.tif")
    scene_of(tmp_path / "two" / "a.tif", 1)
    (tmp_path / "two" / "b.json").write_text('{"notes": 1}')
    (tmp_path / "two" / "c.html").write_text("<p>mine</p>")
    before = contents(tmp_path)
    maps = map_scenes(
        LoadedModel.load(run, MapOptions()), scenes_of([tmp_path / "one"]), tmp_path / "two", MapOptions()
    )
    assert "is there, and is no map of landsift: it would be lost" in maps.failed["a"]
    for name, said in (("b", "b.json belongs to no map of landsift"), ("c", "c.html belongs to no map of this name")):
        with pytest.raises(RunError, match=said):
            map_scene(run, tmp_path / "one" / "a.tif", tmp_path / "two" / f"{name}.tif")
    assert contents(tmp_path) == before
    (tmp_path / "two" / "d.tif").write_bytes(b"")  # as mktemp makes one
    check_place(tmp_path / "two" / "d.tif")


def test_an_earlier_map_is_replaced_also_where_it_was_interrupted(tmp_path):
    write_map(tmp_path / "map.tif", grid_of(3, 4), probabilities=True)
    (tmp_path / "map.html").write_text("a page")
    check_place(tmp_path / "map.tif")
    (tmp_path / "map.tif").unlink()  # which is the last to come
    (tmp_path / "map.areas.csv").unlink()
    check_place(tmp_path / "map.tif")
    write_map(tmp_path / "map.tif", grid_of(3, 4))
    assert not (tmp_path / "map.html").exists()


def test_a_damaged_map_is_replaced_where_its_item_is_there(tmp_path):
    write_map(tmp_path / "map.tif", grid_of(3, 4))
    (tmp_path / "map.tif").write_bytes((tmp_path / "map.tif").read_bytes()[:50])
    check_place(tmp_path / "map.tif")
    (tmp_path / "map.json").unlink()
    with pytest.raises(RunError, match="is no map of landsift: it would be lost"):
        check_place(tmp_path / "map.tif")


def test_a_map_of_another_name_beside_it_is_kept(tmp_path):
    write_map(tmp_path / "a.probabilities.tif", grid_of(3, 4))
    with pytest.raises(RunError, match=r"a\.probabilities\.tif belongs to no map of this name"):
        write_map(tmp_path / "a.tif", grid_of(3, 4))


def test_maps_whose_endings_alone_differ_do_not_share_what_lies_beside_them(tmp_path):
    write_map(tmp_path / "a.tif", grid_of(3, 4))
    before = contents(tmp_path)
    with pytest.raises(RunError, match=r"what lies beside a\.tif would be replaced"):
        write_map(tmp_path / "a.tiff", grid_of(5, 4))
    assert contents(tmp_path) == before
    write_map(tmp_path / "a.tif", grid_of(5, 4))


@pytest.mark.parametrize("ending", ["qml", "png", "html", "areas.csv", "json"])
def test_a_folder_in_the_place_of_a_part_is_told_before_anything_is_written(ending, run, tmp_path):
    scene = scene_of(tmp_path / "scene.tif")
    (tmp_path / f"map.{ending}").mkdir()
    before = contents(tmp_path)
    with pytest.raises(RunError, match="is a folder"):
        map_scene(run, scene, tmp_path / "map.tif")
    assert contents(tmp_path) == before


def test_a_name_too_long_for_its_parts_is_told_before_the_work(run, tmp_path):
    scene = scene_of(tmp_path / "scene.tif")
    name = "m" * 236
    with pytest.raises(RunError, match="is too long"):
        map_scene(run, scene, tmp_path / f"{name}.tif", probabilities=True)
    map_scene(run, scene, tmp_path / f"{name}.tif")


def test_maps_in_a_folder_of_scenes_are_no_scenes(run, tmp_path, caplog):
    """Maps are written beside their scenes, and below them; their items hide no scene."""
    caplog.set_level(logging.INFO, "landsift")
    scene_of(tmp_path / "a.tif")
    options = MapOptions(probabilities=True)
    loaded = LoadedModel.load(run, options)
    for out in (tmp_path / "maps", tmp_path / "maps"):
        scenes = scenes_of([tmp_path])
        assert [scene.name for scene in scenes] == ["a"]
        map_scenes(loaded, scenes, out, options)
    map_scene(run, tmp_path / "a.tif", tmp_path / "a_map.tif", probabilities=True)
    assert [scene.name for scene in scenes_of([tmp_path])] == ["a"]
    assert "passed over, as maps of landsift: a_map.tif" in caplog.text
    shutil.move(tmp_path / "a_map.tif", tmp_path / "maps" / "moved.tif")
    assert [scene.name for scene in scenes_of([tmp_path])] == ["a"]
    shutil.move(tmp_path / "maps" / "moved.tif", tmp_path / "a_map.tif")
    with pytest.raises(DataError, match="no scene in"):
        scenes_of([tmp_path / "maps"])
    with pytest.raises(DataError, match="a map of landsift, where a scene is read"):
        map_scene(run, tmp_path / "a_map.tif", tmp_path / "other.tif")


def test_rasters_that_items_do_not_name_are_told(tmp_path, caplog):
    scene_of(tmp_path / "my scene.tif")
    scene_of(tmp_path / "other.tif")
    item(tmp_path / "x.json", "./my%20scene.tif")
    assert [scene.name for scene in scenes_of([tmp_path])] == ["x"]
    assert "rasters that its STAC items do not name are passed over: other.tif" in caplog.text


def test_a_map_whose_page_or_table_is_missing_is_made_again(run, tmp_path, caplog):
    """As after an interruption between the map and its page."""
    caplog.set_level(logging.INFO, "landsift")
    scene_of(tmp_path / "scenes" / "a.tif")
    loaded, options, out = LoadedModel.load(run, MapOptions()), MapOptions(), tmp_path / "maps"

    def again(*finishes):
        def finish(path, scene):
            path.with_suffix(".html").write_text("a page")

        made = map_scenes(loaded, scenes_of([tmp_path / "scenes"]), out, options, finish, finishes)
        return len(made.made)

    assert [again(), again()] == [1, 0]
    (out / "a.html").unlink()
    assert [again(), again("html"), again("html")] == [0, 1, 0]
    assert "a.tif is made anew, because a.html is missing beside it" in caplog.text
    (out / "a.areas.csv").unlink()
    assert [again(), again()] == [1, 0]


def test_an_error_that_nobody_expects_stops_no_other_scene(run, tmp_path):
    for name in "abc":
        scene_of(tmp_path / f"{name}.tif")

    def finish(path, scene):
        if path.stem == "b":
            raise ZeroDivisionError("nobody knows why")

    scenes = scenes_of([tmp_path])
    maps = map_scenes(LoadedModel.load(run, MapOptions()), scenes, tmp_path / "maps", MapOptions(), finish, ["html"])
    assert [made.path.stem for made in maps.made] == ["a", "c"]
    assert maps.failed["b"].startswith("ZeroDivisionError: nobody knows why\nthis is an unexpected error, at ")


def test_a_scene_of_a_long_name(run, tmp_path):
    scene = scene_of(tmp_path / f"{'s' * 248}.tif")
    map_scene(run, scene, tmp_path / "map.tif")
    options = MapOptions()
    maps = map_scenes(LoadedModel.load(run, options), scenes_of([scene]), tmp_path / "maps", options)
    assert "is too long" in next(iter(maps.failed.values()))


def test_scenes_whose_names_differ_in_case_get_maps_of_two_names(tmp_path):
    for name in ("a", "A", "b/a"):
        scene_of(tmp_path / name / "x.tif")
    scenes = scenes_of([tmp_path / "a", tmp_path / "A" / "x.tif", tmp_path / "b" / "a" / "x.tif"])
    assert len({scene.name.casefold() for scene in scenes}) == 3


def test_files_that_a_source_names_count_for_its_map(tmp_path):
    """A VRT stays as it is where a file that it names changes."""
    import rasterio.shutil

    scene_of(tmp_path / "tiles" / "a.tif")
    rasterio.shutil.copy(tmp_path / "tiles" / "a.tif", tmp_path / "scene.vrt", driver="VRT")
    outer = (tmp_path / "scene.vrt").read_text().replace("tiles/a.tif", "scene.vrt")
    (tmp_path / "outer.vrt").write_text(outer)
    names = [path.name for path in files_of(tmp_path / "outer.vrt")]
    assert names[0] == "outer.vrt"
    assert {"scene.vrt", "a.tif"} <= {*names}


def test_a_picture_is_no_name_of_a_map(run, tmp_path, monkeypatch, capsys):
    import sys

    from landsift.cli.main import main

    scene_of(tmp_path / "a.tif")
    command = ["landsift", "map", str(run), str(tmp_path / "a.tif"), "--out"]
    for name in ("map.png", "map.geotiff"):
        monkeypatch.setattr(sys, "argv", [*command, str(tmp_path / name)])
        with pytest.raises(SystemExit) as leaving:
            main()
        assert leaving.value.code == 1
        assert "a map is a .tif, several are a folder" in capsys.readouterr().err
        assert not (tmp_path / name).exists()


def test_the_item_comes_first_and_the_map_last(tmp_path, monkeypatch):
    """An interrupted map is known by its item, and there by its raster."""
    import os

    order, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda one, other: (order.append(str(other)), replace(one, other)))
    write_map(tmp_path / "map.tif", grid_of(3, 4))
    names = [name.rsplit("/", 1)[-1] for name in order]
    assert (names[0], names[-1]) == ("map.json", "map.tif")
    assert json.loads((tmp_path / "map.json").read_text())["properties"]["landsift:version"]
    assert read_info(tmp_path / "map.tif").own
