"""Maps of many scenes on Flyte: the tasks that a cluster runs, here in Flyte's local mode or as in a container."""

import asyncio
import json
import logging
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from map_models import pictures, save_random_model
from scene_models import raster

import landsift
from landsift.errors import DataError, DownloadError, RunError
from landsift.mapping.many import check_all_made, map_scenes, scenes_of
from landsift.mapping.map_file import read_classes, read_confidence, read_info
from landsift.mapping.map_options import LoadedModel, MapOptions
from landsift.pipeline.flyte import failures, local
from landsift.pipeline.maps.listing import list_scenes
from landsift.pipeline.maps.plan import Plan


def scene_of(path, seed=0, size=(64, 96), **options):
    return raster(path, pictures(*size, seed=seed), photometric="RGB", **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_random_model(tmp_path_factory.mktemp("run"))


@pytest.fixture
def scenes(tmp_path):
    """Three scenes, of which the second has no place."""
    for seed, name in enumerate("abc"):
        scene_of(tmp_path / "scenes" / f"{name}.tif", seed, **({"crs": None} if name == "b" else {}))
    return tmp_path / "scenes"


@pytest.fixture
def on_flyte(run, tmp_path, monkeypatch):
    """Run a plan as a cluster does; what the task returns, or the error that it ends with."""
    monkeypatch.setenv("HOME", str(tmp_path / "person"))  # which Flyte's cache of this machine is in

    def execute(plan):
        async def start(flyte):
            from flyte.io import Dir

            from landsift.pipeline.maps import tasks

            await local.initialise(flyte.init.aio)
            runner = flyte.with_runcontext(mode="local", raw_data_path=str(tmp_path / "flyte"))
            runner._metadata_path = str(tmp_path / "metadata")
            model = Dir.from_existing_remote(str(run / "model"))
            task = tasks.landsift_maps
            done = await runner.run.__wrapped__(runner, task, model=model, plan_json=plan.to_json())
            return json.loads((await done.outputs.aio())[0])

        failures.forget()
        with local.private_flyte() as flyte:
            try:
                return local.in_loop(start(flyte))
            except Exception as error:  # noqa: BLE001
                raise failures.original(error) from None

    return execute


@pytest.fixture
def plan(run, tmp_path):
    return Plan((f"file://{tmp_path}/scenes",), f"file://{tmp_path}/maps", str(run), MapOptions(), page=False)


def names(paths):
    return [Path(str(path)).name for path in paths]


def test_a_bad_scene_is_named_in_the_same_words_and_the_maps_are_those_of_one_machine(
    run, scenes, plan, on_flyte, tmp_path, caplog
):
    caplog.set_level(logging.INFO, "landsift")
    here = map_scenes(LoadedModel.load(run, MapOptions()), scenes_of([scenes]), tmp_path / "here", MapOptions())
    with pytest.raises(RunError) as alone:
        check_all_made(here.to_dict())
    caplog.clear()
    with pytest.raises(RunError) as there:
        on_flyte(replace(plan, page=True))
    assert str(there.value) == str(alone.value)
    assert here.failed["b"].replace(f"{scenes}/", "") in caplog.text
    assert "2 made, 0 left as they are, 1 failed" in caplog.text
    pages = {"a.html", "c.html"}
    assert {path.name for path in (tmp_path / "maps").iterdir()} - pages == {
        path.name for path in (tmp_path / "here").iterdir()
    }
    for name in ("a.tif", "c.tif"):
        one, other = read_info(tmp_path / "here" / name), read_info(tmp_path / "maps" / name)
        assert (read_classes(one) == read_classes(other)).all()
        assert (read_confidence(one) == read_confidence(other)).all()
        assert one.grid == other.grid
        assert replace(one.about, key=None) == replace(other.about, key=None)


def test_a_second_run_maps_what_is_new_and_leaves_the_rest(run, scenes, plan, on_flyte, tmp_path):
    """Night after night, over a folder that grows."""
    (scenes / "b.tif").unlink()
    first = on_flyte(plan)
    assert names(each["map"] for each in first["made"]) == ["a.tif", "c.tif"]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "maps").iterdir()}
    scene_of(scenes / "d.tif", 4)
    second = on_flyte(plan)
    assert (names(each["map"] for each in second["made"]), names(second["left"])) == (["d.tif"], ["a.tif", "c.tif"])
    assert {path: path.stat().st_mtime_ns for path in before} == before
    scene_of(scenes / "a.tif", 9)
    (tmp_path / "maps" / "d.json").write_text("{")  # half of a map, as an interruption leaves it
    third = on_flyte(plan)
    assert (names(each["map"] for each in third["made"]), names(third["left"])) == (["a.tif", "d.tif"], ["c.tif"])
    for name in ("c.tif", "d.tif"):
        (scenes / name).unlink()
    finer = on_flyte(replace(plan, options=MapOptions(stride=16)))
    assert (len(finer["made"]), finer["left"]) == (1, [])
    assert read_info(tmp_path / "maps" / "a.tif").stride == 16


def test_flytes_cache_knows_a_map_by_its_key_and_one_that_is_gone_is_made_again(
    run, scenes, plan, on_flyte, tmp_path, caplog
):
    (scenes / "b.tif").unlink()
    key = asyncio.run(list_scenes(plan.scenes, LoadedModel.load(run, MapOptions()), MapOptions()))[0].key
    on_flyte(plan)
    made = tmp_path / "flyte" / f"a-{key}" / "a.tif"
    assert read_info(made).about.key == read_info(tmp_path / "maps" / "a.tif").about.key == key
    before = made.stat().st_mtime_ns
    other = replace(plan, out=f"file://{tmp_path}/other")
    assert len(on_flyte(other)["made"]) == 2
    assert made.stat().st_mtime_ns == before
    shutil.rmtree(tmp_path / "flyte")
    shutil.rmtree(tmp_path / "other")
    assert len(on_flyte(other)["made"]) == 2
    assert "its map in Flyte's cache is gone; it is made again" in caplog.text


@pytest.fixture
def bucket(monkeypatch):
    """An object store in memory, which Flyte takes for s3://bucket."""
    import flyte.storage
    from flyte.storage import _storage
    from obstore.fsspec import FsspecStore
    from obstore.store import MemoryStore

    store, real = MemoryStore(), _storage.get_underlying_filesystem

    class InMemory(FsspecStore):
        def _construct_store(self, bucket):
            return store

    def of_path(protocol=None, anonymous=False, path=None, **options):
        of_bucket = str(path).startswith("s3://bucket/")
        return InMemory("s3") if of_bucket else real(protocol, anonymous, path, **options)

    for module in (flyte.storage, _storage):
        monkeypatch.setattr(module, "get_underlying_filesystem", of_path)
    return store


def test_an_object_store_is_listed_each_time_and_gets_the_maps(scenes, run, on_flyte, bucket):
    import obstore

    def there():
        return {each["path"] for each in obstore.list(bucket, "maps").collect()}

    plan = Plan(("s3://bucket/scenes",), "s3://bucket/maps", str(run), MapOptions(), page=False)
    for ending in ("html", "probabilities.tif", "probabilities.tif.aux.xml"):
        obstore.put(bucket, f"maps/a.{ending}", b"of an earlier map")
    obstore.put(bucket, "scenes/2026/a.tif", (scenes / "a.tif").read_bytes())
    assert [each["map"] for each in on_flyte(plan)["made"]] == ["s3://bucket/maps/2026.tif"]
    obstore.put(bucket, "scenes/a.tif", (scenes / "a.tif").read_bytes())
    second = on_flyte(plan)
    assert [each["map"] for each in second["made"]] == ["s3://bucket/maps/a.tif"]
    assert second["left"] == ["s3://bucket/maps/2026.tif"]
    endings = ("tif", "tif.aux.xml", "qml", "json", "areas.csv", "png")
    assert there() == {f"maps/{name}.{ending}" for name in ("2026", "a") for ending in endings}
    obstore.put(bucket, "scenes/a.tif", (scenes / "b.tif").read_bytes())
    with pytest.raises(RunError, match="1 of 2 scenes have no map: a"):
        on_flyte(plan)
    with pytest.raises(DataError, match="no such file or folder: s3://bucket/other"):
        on_flyte(replace(plan, scenes=("s3://bucket/other",)))


def test_a_collection_names_its_items_and_their_files_by_addresses(scenes, run, on_flyte, bucket, caplog):
    import obstore

    def put_item(name, href):
        asset = {"href": href, "type": "image/tiff", "roles": ["visual"]}
        thumbnail = {"href": "s3://another/preview.jpg", "roles": ["thumbnail"]}  # which nobody needs
        item = {
            "type": "Feature", "stac_version": "1.0.0", "id": name, "geometry": None, "links": [], "bbox": None,
            "properties": {"datetime": "2023-08-20T10:00:00Z"}, "assets": {"visual": asset, "thumbnail": thumbnail},
        }  # fmt: skip
        obstore.put(bucket, f"stac/{name}.json", json.dumps(item).encode())
        return {"rel": "item", "href": f"s3://bucket/stac/{name}.json"}

    hrefs = {"one": "s3://bucket/stac/b/a.tif", "two": "./b/c.tif", "gone": "s3://bucket/stac/none.tif"}
    links = [put_item(name, href) for name, href in hrefs.items()]
    links.append(put_item("elsewhere", "s3://another/a.tif"))
    obstore.put(bucket, "stac/collection.json", json.dumps({"type": "Collection", "links": links}).encode())
    obstore.put(bucket, "stac/b/a.tif", (scenes / "a.tif").read_bytes())
    obstore.put(bucket, "stac/b/c.tif", (scenes / "c.tif").read_bytes())
    plan = Plan(("s3://bucket/stac/collection.json",), "s3://bucket/maps", str(run), MapOptions(), page=False)
    with pytest.raises(RunError, match="2 of 4 scenes have no map: "):
        on_flyte(plan)
    assert "its asset visual is at s3://another/a.tif, and nothing is fetched from the network" in caplog.text
    made = {each["path"] for each in obstore.list(bucket, "maps").collect() if each["path"].endswith(".tif")}
    assert made == {"maps/one.tif", "maps/two.tif"}


def test_folders_items_and_collections_are_listed_as_on_one_machine(run, scenes, tmp_path, caplog):
    caplog.set_level(logging.INFO, "landsift")
    for band in ("B02", "B03"):
        scene_of(scenes / "two" / f"{band}.tif")
    (scenes / "a.tfw").write_text("10\n0\n0\n-10\n0\n0\n")
    (scenes / "notes.txt").write_text("")
    safe = scenes / "S2.SAFE" / "GRANULE" / "B02.jp2"
    safe.parent.mkdir(parents=True)
    safe.write_bytes(b"")
    (scenes / "S2.SAFE" / "MTD_MSIL2A.xml").write_text("<x/>")
    item = {"type": "Feature", "assets": {"visual": {"href": "../a.tif"}}, "links": []}
    (scenes / "items").mkdir()
    (scenes / "items" / "i.json").write_text(json.dumps(item))
    (tmp_path / "collection.json").write_text(
        json.dumps({"type": "Collection", "links": [{"rel": "item", "href": "scenes/items/i.json"}]})
    )
    model = LoadedModel.load(run, MapOptions())

    def listed(*paths):
        return asyncio.run(list_scenes([f"file://{path}" for path in paths], model, MapOptions()))

    found = listed(scenes)
    assert [each.name for each in found] == [each.name for each in scenes_of([scenes])]
    files = {each.name: (each.sources, sorted(each.files)) for each in found}
    assert files["a"] == (("a.tif",), ["a.tfw", "a.tif"])
    assert files["two"] == (("B02.tif", "B03.tif"), ["B02.tif", "B03.tif"])
    assert files["S2"] == (("S2.SAFE",), ["S2.SAFE/GRANULE/B02.jp2", "S2.SAFE/MTD_MSIL2A.xml"])
    assert files["i"] == (("items/i.json",), ["a.tfw", "a.tif", "items/i.json"])
    assert "notes.txt: neither a raster nor a folder of rasters" in caplog.text
    assert next(each.files for each in found if each.name == "a")["a.tif"] == f"file://{scenes}/a.tif"
    assert [each.name for each in listed(tmp_path / "collection.json")] == ["i"]
    assert sorted(listed(safe)[0].files) == ["GRANULE/B02.jp2", "MTD_MSIL2A.xml"]  # its offsets are there


def test_nothing_at_an_address_is_an_error_that_names_it(run, scenes, tmp_path):
    model = LoadedModel.load(run, MapOptions())
    (tmp_path / "empty").mkdir()
    for place in ("nowhere", "scenes/no.tif", "empty"):
        with pytest.raises(DataError, match=f"no such file or folder: file://{tmp_path}/{place}"):
            asyncio.run(list_scenes([f"file://{tmp_path}/{place}"], model, MapOptions()))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=f"no scene in file://{tmp_path}/texts"):
        asyncio.run(list_scenes([f"file://{tmp_path}/texts"], model, MapOptions()))


def test_the_plan_comes_back_from_json_with_the_same_keys(run, scenes):
    reading = {"bands": (3, 2, 1), "reflectance": (0.0001, -0.1)}
    options = MapOptions(stride=16, mask_classes=(0, 3), smooth=5, tta="flips", reading=reading)
    plan = Plan(("s3://bucket/scenes",), "s3://bucket/maps", "runs/7", options, gpu="L4:1")
    again = Plan.from_json(plan.to_json())
    assert again == plan
    model = LoadedModel.load(run, MapOptions())
    keys = [asyncio.run(list_scenes([f"file://{scenes}"], model, each))[0].key for each in (options, again.options)]
    assert keys[0] == keys[1]


@pytest.mark.slow
def test_a_scene_is_mapped_as_a_container_does_it(run, scenes, plan, tmp_path):
    from flyte._internal.runtime.convert import convert_from_native_to_inputs
    from flyte.io import Dir
    from flyteidl2.task import common_pb2

    from landsift.pipeline.maps.tasks import map_scene

    scene = asyncio.run(list_scenes(plan.scenes, LoadedModel.load(run, MapOptions()), MapOptions()))[0]
    texts = {"key": scene.key, "name": scene.name, "scene_json": scene.to_json(), "plan_json": plan.to_json()}
    model = Dir.from_existing_remote(str(run / "model"))
    inputs = asyncio.run(convert_from_native_to_inputs(map_scene.native_interface, model=model, **texts))
    (tmp_path / "inputs.pb").write_bytes(inputs.proto_inputs.SerializeToString())
    at = "--run-name r --name a1 --project fields --domain development --org university --version 1"
    where = f"--inputs {tmp_path}/inputs.pb --outputs-path {tmp_path} --run-base-dir {tmp_path}"
    where += f" --raw-data-path {tmp_path}/raw"
    task = "--resolver flyte._internal.resolvers.default.DefaultTaskResolver mod landsift.pipeline.maps.tasks"
    command = f"{sys.executable} -m flyte._bin.runtime a0 {at} {where} {task} instance map_scene"
    source = Path(landsift.__file__).parents[1]
    env = {"PYTHONPATH": str(source), "HOME": str(tmp_path), "DO_NOT_TRACK": "1", "TMPDIR": str(tmp_path)}
    done = subprocess.run(command.split(), env=env, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert (tmp_path / "outputs.pb").is_file(), done.stderr + done.stdout
    folder, result = common_pb2.Outputs.FromString((tmp_path / "outputs.pb").read_bytes()).literals
    made = read_info(Path(folder.value.scalar.blob.uri.removeprefix("file://")) / "a.tif")
    assert made.about.key == scene.key
    assert json.loads(result.value.scalar.primitive.string_value)["patches"] == 6


def files_at(run, *addresses):
    """Files of each scene at some addresses, by the name of its map."""
    found = asyncio.run(list_scenes(addresses, LoadedModel.load(run, MapOptions()), MapOptions()))
    return {scene.name: sorted(scene.files.values()) for scene in found}


def test_one_scene_of_a_folder_has_its_world_file(run, bucket, tmp_path):
    import obstore

    (tmp_path / "a.b.tif").touch()
    for name in ("a.b.tfw", "a.b.tif.aux.xml", "a.c.tif"):
        (tmp_path / name).touch()
        obstore.put(bucket, f"scenes/{name}", b"1")
    obstore.put(bucket, "scenes/a.b.tif", b"1")
    for place in (f"file://{tmp_path}", "s3://bucket/scenes"):
        files = [f"{place}/{name}" for name in ("a.b.tfw", "a.b.tif", "a.b.tif.aux.xml")]
        assert files_at(run, f"{place}/a.b.tif") == {"a.b": files}
        assert files_at(run, place) == {"a.b": files, "a.c": [f"{place}/a.c.tif"]}


def test_names_that_no_disk_holds_are_passed_over_and_said(run, bucket, caplog):
    import obstore

    odd = ("x" * 300 + ".tif", "b.tif/c.tif", "what?.tif", "a#1.tif")
    for name in ("a.tif", "b.tif", "marker", *odd):
        obstore.put(bucket, f"scenes/{name}", b"1")
    assert files_at(run, "s3://bucket/scenes") == {
        "a": ["s3://bucket/scenes/a.tif"], "b.tif": ["s3://bucket/scenes/b.tif/c.tif"],
    }  # fmt: skip
    for name in (odd[0], "b.tif", "what?.tif", "a#1.tif"):
        assert f"s3://bucket/scenes/{name} is passed over" in caplog.text


def test_a_scene_that_is_given_twice_is_mapped_once(run, tmp_path):
    for name in ("a.tif", "a.jp2"):
        (tmp_path / "scenes" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "scenes" / name).touch()
    scenes = f"file://{tmp_path}/scenes"
    assert list(files_at(run, scenes, f"{scenes}/a.tif", f"{scenes}/")) == ["a", "scenes-a"]
    here = scenes_of([tmp_path / "scenes", tmp_path / "scenes" / "a.tif"])
    assert [each.name for each in here] == ["a", "scenes-a"]


def test_a_folder_that_cannot_be_listed_is_an_error(run, tmp_path, monkeypatch):
    """And no empty one, whose scenes would be missing without a word."""
    from fsspec.implementations.local import LocalFileSystem

    (tmp_path / "closed").mkdir()
    (tmp_path / "a.tif").touch()
    real = LocalFileSystem.ls

    def ls(self, path, **options):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return real(self, path, **options)

    monkeypatch.setattr(LocalFileSystem, "ls", ls)
    with pytest.raises(DownloadError, match=r"cannot be listed: .*Permission denied"):
        files_at(run, f"file://{tmp_path}")


def test_thousands_of_scenes_are_listed_in_seconds(run, tmp_path):
    for number in range(2000):
        (tmp_path / f"scene_{number}.tif").touch()
    start = time.process_time()
    assert len(files_at(run, f"file://{tmp_path}")) == 2000
    assert time.process_time() - start < 15  # 2 s; it was 15 times that


def test_pages_that_are_missing_are_made(scenes, plan, on_flyte, tmp_path):
    (scenes / "b.tif").unlink()
    (scenes / "c.tif").unlink()
    on_flyte(plan)
    with_page = replace(plan, page=True)
    assert names(each["map"] for each in on_flyte(with_page)["made"]) == ["a.tif"]
    assert (tmp_path / "maps" / "a.html").is_file()
    assert names(on_flyte(with_page)["left"]) == ["a.tif"]
    (tmp_path / "maps" / "a.areas.csv").unlink()
    assert names(each["map"] for each in on_flyte(with_page)["made"]) == ["a.tif"]
    assert (tmp_path / "maps" / "a.areas.csv").is_file()
