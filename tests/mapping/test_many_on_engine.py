"""Maps of many scenes on an engine: those of one process, in its order, whatever becomes of processes."""

import logging
import os
import pickle
import re
import signal
import threading
import time
from contextlib import closing
from pathlib import Path

import killing
import pytest
from map_models import pictures, save_random_model
from scene_models import raster
from test_judged import with_thresholds

from landsift.engine import EngineOptions
from landsift.errors import ConfigError, ModelError
from landsift.mapping.many import map_scenes, scenes_of
from landsift.mapping.many_on_engine import Making, loaded_model, map_task, on_engine, shared_files
from landsift.mapping.map_options import LoadedModel, MapOptions
from landsift.mapping.scene_tasks import SceneTask, apart

HERE = EngineOptions(workers=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return with_thresholds(save_random_model(tmp_path_factory.mktemp("run")))


@pytest.fixture
def scenes(tmp_path):
    for seed, name in enumerate("acd"):
        raster(tmp_path / "scenes" / f"{name}.tif", pictures(64, 96, seed), photometric="RGB")
    raster(tmp_path / "scenes" / "b.tif", pictures(20, 96), photometric="RGB")
    return tmp_path / "scenes"


@pytest.fixture(autouse=True)
def forgotten():
    loaded_model.cache_clear()


def mapped_into(out, run, scenes, engine=None, options=None, finish=None):
    """All scenes of a folder, by an engine if one is given."""
    options = options or MapOptions()
    model, found = LoadedModel.load(run, options, device="cpu"), scenes_of([scenes])
    runner = None
    if engine is not None:
        making = Making.of(model, options, finish, module=None, device="cpu")
        runner = on_engine(engine, making, [each.sources for each in found], out)
    return map_scenes(model, found, out, options, finish, run=runner)


def contents(folder):
    """Of all files but STAC items, which hold the time."""
    return {each.name: each.read_bytes() for each in folder.iterdir() if each.suffix != ".json"}


def told(maps):
    """What is said of maps, without places and times."""
    result = maps.to_dict()
    made = [each | {"map": Path(each["map"]).name, "seconds": 0} for each in result["made"]]
    return made, [Path(each).name for each in result["left"]], result["failed"]


def test_maps_and_what_is_said_of_them_are_those_of_one_process(run, scenes, tmp_path, caplog):
    options = MapOptions(stride=16, probabilities=True, smooth=3)
    caplog.set_level(logging.INFO, "landsift")
    one = mapped_into(tmp_path / "one", run, scenes, options=options)
    before, _ = caplog.messages[:], caplog.clear()
    other = mapped_into(tmp_path / "other", run, scenes, HERE, options)
    assert told(other) == told(one)
    assert [each.scene for each in other.made] == ["a.tif", "c.tif", "d.tif"]
    assert "less than one patch of 32 × 32" in other.failed["b"]
    assert contents(tmp_path / "other") == contents(tmp_path / "one")
    assert caplog.messages == before

    (tmp_path / "other" / "c.tif").unlink()
    again = mapped_into(tmp_path / "other", run, scenes, HERE, options)
    assert [each.name for each in again.left] == ["a.tif", "d.tif"]
    assert [each.path.name for each in again.made] == ["c.tif"]
    assert [*again.failed] == ["b"]


def test_a_task_and_its_map_are_small_and_can_be_pickled(run, scenes, tmp_path, monkeypatch):
    options = MapOptions(stride=16)
    monkeypatch.chdir(tmp_path)
    model = LoadedModel.load(run, options, device="cpu")
    making = Making.of(model, options, None, module=None, device="cpu")
    task = SceneTask(1, 2, "a", (Path("scenes/a.tif"),), Path("maps/a.tif"), "key")
    sent = pickle.dumps((making, task))
    monkeypatch.chdir("/")  # relative paths go from where the command was called
    made = map_task(pickle.loads(sent))
    assert (tmp_path / "maps" / "a.tif").is_file()
    assert Path.cwd() == Path("/")
    back = pickle.dumps(made)
    assert len(sent) < 5_000
    assert len(back) < 5_000
    assert pickle.loads(back).to_dict() == made.to_dict()
    assert made.to_dict()["map"] == "maps/a.tif"
    assert made.judged.cells


def test_a_model_that_was_replaced_meanwhile_ends_the_command(run, scenes, tmp_path):
    options = MapOptions()
    model = LoadedModel.load(run, options, device="cpu")
    making = Making(str(run), "another", None, "cpu", options, None, str(tmp_path))
    with pytest.raises(ModelError, match="was replaced while it was at work"):
        map_scenes(model, scenes_of([scenes]), tmp_path / "maps", options, run=on_engine(HERE, making, [], tmp_path))
    options = MapOptions(dense=True)
    with pytest.raises(ConfigError, match="--dense saves nothing"):
        mapped_into(tmp_path / "maps", run, scenes, HERE, options)


def test_maps_that_share_a_file_are_not_made_at_the_same_time(tmp_path):
    names = ["a", "B.Trust", "a.probabilities", "b", "c.d", "c"]
    assert apart([(tmp_path / f"{name}.tif", name) for name in names]) == [
        ["a", "B.Trust", "c.d", "c"],
        ["a.probabilities", "b"],
    ]


def test_workers_must_see_the_model_a_scene_the_mask_and_the_maps(run, scenes, tmp_path):
    model = LoadedModel.load(run, MapOptions(), device="cpu")

    def shared(sources, options=None):
        making = Making.of(model, options or MapOptions(), None, module=None, device="cpu")
        return shared_files(making, sources, tmp_path / "maps")

    always = run / "model" / "model.json", tmp_path / "maps"
    (tmp_path / "x.SAFE").mkdir()
    assert shared([["http://127.0.0.1/a.json"], [tmp_path / "none.tif"], [tmp_path / "x.SAFE"]]) == [*always]
    (tmp_path / "x.SAFE" / "MTD.xml").touch()
    assert shared([[tmp_path / "x.SAFE"]]) == [always[0], tmp_path / "x.SAFE" / "MTD.xml", always[1]]
    mask = scenes / "c.tif"
    assert shared([[scenes / "a.tif"]], MapOptions(mask=mask)) == [always[0], scenes / "a.tif", mask, always[1]]
    assert shared([[scenes / "a.tif"]], MapOptions(mask="none")) == [always[0], scenes / "a.tif", always[1]]


def kill_who_writes(folder, name, pids):
    """Kill the process that is writing a map, as soon as there is one."""
    while not pids:
        for each in folder.glob(f".{name}.tif.*.partial") if folder.is_dir() else ():
            pids.append(int(re.search(r"\.(\d+)-\d+\.partial", each.name)[1]))
            os.kill(pids[0], signal.SIGKILL)
            break
        time.sleep(0.01)


@pytest.mark.slow
def test_two_processes_make_the_maps_of_one_and_a_killed_one_leaves_nothing(run, scenes, tmp_path):
    raster(scenes / "a.tif", pictures(600, 600), photometric="RGB")
    options = MapOptions(stride=8)
    one = mapped_into(tmp_path / "one", run, scenes, options=options)
    pids = []
    threading.Thread(target=kill_who_writes, args=(tmp_path / "two", "a", pids), daemon=True).start()
    two = mapped_into(tmp_path / "two", run, scenes, EngineOptions(workers=2), options)
    assert pids
    assert os.getpid() not in pids
    assert told(two) == told(one)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


@pytest.mark.slow
def test_a_scene_that_kills_every_process_stops_no_other(run, scenes, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    raster(scenes / "b.tif", pictures(64, 96), photometric="RGB")
    maps = mapped_into(tmp_path / "maps", run, scenes, EngineOptions(workers=2), finish=killing.at_b)
    assert [each.scene for each in maps.made] == ["a.tif", "c.tif", "d.tif"]
    assert "the worker that ran it died, 4 times" in maps.failed["b"]
    assert "it is tried once more, alone" in caplog.text
    assert not [*(tmp_path / "maps").glob(".*")]


@pytest.mark.slow
def test_work_that_is_ended_leaves_no_half_written_map(run, scenes, tmp_path):
    for name in "cd":
        raster(scenes / f"{name}.tif", pictures(600, 600), photometric="RGB")
    options, out = MapOptions(stride=8), tmp_path / "maps"
    model, found = LoadedModel.load(run, options, device="cpu"), scenes_of([scenes])
    tasks = [SceneTask(n, 4, each.name, each.sources, out / f"{each.name}.tif", each.name) for n, each in
             enumerate(found, 1)]  # fmt: skip
    making = Making.of(model, options, None, module=None, device="cpu")
    out.mkdir()
    other = out / ".c.tif.elsewhere.1-0.partial"  # another command's, on another machine
    other.mkdir()
    runner = on_engine(EngineOptions(workers=2), making, [], out)
    with closing(runner([tasks])) as done:
        next(done)
        while not [each for each in out.glob(".*.partial") if each != other]:
            time.sleep(0.01)
    assert [*out.glob(".*")] == [other]
