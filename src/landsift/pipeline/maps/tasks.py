"""Maps of many scenes as Flyte tasks: one for each scene, and one that lists them and puts the maps in their folder.

Inputs: `model`: the files of a model (`model_files`); `plan_json`: `plan.Plan`; `scene_json`: `listing.SceneThere`.
"""

from __future__ import annotations

import asyncio
import html
import json
import logging
import shutil
import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import flyte
import flyte.errors
from flyte import storage
from flyte.io import Dir

from landsift.config import ClusterConfig
from landsift.errors import DownloadError, LandsiftError, listed
from landsift.mapping.make import mapped
from landsift.mapping.many import check_all_made, counts_of
from landsift.mapping.map_options import LoadedModel
from landsift.mapping.map_place import BESIDE_SOME, ENDINGS, beside_map
from landsift.pipeline.flyte import environments, failures, transfer
from landsift.pipeline.maps import listing
from landsift.pipeline.maps.listing import SceneThere
from landsift.pipeline.maps.plan import Plan
from landsift.reports.maps.page import write_page_of

logger = logging.getLogger("landsift")

_FOR_ALL = ("ConfigError", "ModelError")
"""Errors that would be the same for every scene."""


# "auto", because Flyte's local mode does not look for what is cached as "override".
_BY_KEY = flyte.Cache("auto", version_override="map", ignored_inputs=("model", "scene_json", "plan_json"))


@environments.MAP.task(cache=_BY_KEY, retries=2)
async def map_scene(key: str, name: str, model: Dir, scene_json: str, plan_json: str) -> tuple[Dir, str]:
    """Map a scene; returns the map with what lies beside it, and `MapResult` as JSON.

    `key` is that of the map, which a map made on one machine has as well: Flyte's cache knows it by key and `name`.
    """
    with failures.carried(), tempfile.TemporaryDirectory(prefix="landsift-") as scratch:
        scene, plan = SceneThere.from_json(scene_json), Plan.from_json(plan_json)
        loaded = await _loaded(model, plan)
        await listing.fetch(scene.files, Path(scratch))
        here = {address: Path(scratch) / path for path, address in scene.files.items()}
        listing.make_relative(here.values(), here)
        folder = transfer.output_folder(f"{name}-{key}")
        sources = [Path(scratch) / source for source in scene.sources]
        finish = write_page_of if plan.page else None
        try:
            result = mapped(loaded, sources, folder / f"{name}.tif", plan.options, finish, key)
        except LandsiftError as error:
            raise type(error)(error.message.replace(f"{scratch}/", ""), error.hint) from error
        return await Dir.from_local(str(folder)), json.dumps(result.to_dict())


@environments.MAPS.task(report=True, cache="disable", retries=2)
async def landsift_maps(model: Dir, plan_json: str) -> str:
    """Map the scenes of a plan, several at once, and put the maps into its folder; returns what `Maps.to_dict` does.

    What is at the plan's addresses is listed now. A map that is in the folder already, of the same key, is left. A
    scene that fails does not stop the others; in the end the task fails and names them.
    """
    with failures.carried():
        plan = Plan.from_json(plan_json)
        scenes = await listing.list_scenes(plan.scenes, await _loaded(model, plan), plan.options)
        turns = asyncio.Semaphore(plan.at_once)
        made: dict[str, dict[str, Any]] = {}
        left: dict[str, str] = {}
        failed: dict[str, str] = {}

        async def one(scene: SceneThere) -> None:
            out = f"{plan.out}/{scene.name}.tif"
            async with turns:
                try:
                    if await _is_made(plan, scene):
                        logger.info("%s: its map is there already, of the same model, files and options", scene.name)
                        left[scene.name] = out
                        return
                    folder, result = await _mapped(scene, model, plan)
                    await _publish(folder, plan.out, scene.name)
                    if not transfer.is_local():
                        shutil.rmtree(folder, ignore_errors=True)
                    made[scene.name] = json.loads(result) | {"map": out}
                except Exception as error:  # whatever it is, it is reported and the other scenes continue
                    if isinstance(error, flyte.errors.BaseRuntimeError) and error.code in _FOR_ALL:
                        raise flyte.errors.NonRecoverableError(str(error), error.code) from error
                    logger.error("%s has no map: %s", scene.name, error)
                    failed[scene.name] = str(error)

        await asyncio.gather(*map(one, scenes))
        order = [scene.name for scene in scenes]
        result = {
            "made": [made[name] for name in order if name in made],
            "left": [left[name] for name in order if name in left],
            "failed": failed,
        }
        await _show(result)
        check_all_made(result)
        return json.dumps(result)


async def _loaded(model: Dir, plan: Plan) -> LoadedModel:
    loaded = LoadedModel.load(await transfer.fetch(model), plan.options)
    return replace(loaded, source=plan.run)


async def _mapped(scene: SceneThere, model: Dir, plan: Plan) -> tuple[Path, str]:
    """The folder of a scene's map; where Flyte's cache knows of one that is gone it is made again."""
    task: Any = map_scene
    if plan.gpu != "none" and not transfer.is_local():
        task = task.override(resources=environments.training_resources(ClusterConfig(gpu=plan.gpu)))
    texts = {"key": scene.key, "name": scene.name, "scene_json": scene.to_json(), "plan_json": plan.to_json()}
    folder, result = cast("tuple[Dir, str]", await task(model=model, **texts))
    here = await transfer.fetch(folder) if await folder.exists() else None
    if here is None or _missing(plan, scene.name, {path.name for path in here.iterdir()}):
        lack = "is gone" if here is None else "has no page"
        logger.warning("%s: its map in Flyte's cache %s; it is made again", scene.name, lack)
        folder, result = await task.override(cache="disable")(model=model, **texts)
        here = await transfer.fetch(folder)
    return here, result


def _missing(plan: Plan, name: str, there: Collection[str]) -> list[str]:
    """What is not there of a map and what lies beside it."""
    endings = (
        *ENDINGS,
        *(["html"] if plan.page else []),
        *(["probabilities.tif"] if plan.options.probabilities else []),
    )
    tif = Path(f"{name}.tif")
    return [each for each in (tif.name, *(beside_map(tif, ending).name for ending in endings)) if each not in there]


async def _is_made(plan: Plan, scene: SceneThere) -> bool:
    """Whether a map of this key is in the folder, whole; its STAC item says so, which is put there last."""
    out = plan.out
    item = f"{out}/{scene.name}.json"
    every = [f"{out}/{name}" for name in _missing(plan, scene.name, ())]
    there = [each for each in every if await storage.exists(each)]
    if item not in there or f"{out}/{scene.name}.tif" not in there:
        return False
    with tempfile.TemporaryDirectory(prefix="landsift-") as scratch:
        await listing.get(item, Path(scratch) / "item.json")
        try:
            stored = json.loads((Path(scratch) / "item.json").read_bytes())
            same = bool(stored["properties"]["landsift:key"] == scene.key)
        except (ValueError, KeyError, TypeError):
            same = False
    if not same:
        logger.info("%s/%s.tif is of another model, other files or other options: it is made anew", out, scene.name)
    elif len(there) < len(every):
        missing = listed(each.rpartition("/")[2] for each in every if each not in there)
        logger.info("%s/%s.tif is made anew, because %s is missing beside it", out, scene.name, missing)
    return same and len(there) == len(every)


async def _publish(folder: Path, out: str, name: str) -> None:
    """Put a map into the folder of the maps: its STAC item goes first and comes last, so that half a map is none."""
    item = f"{name}.json"
    files = {path.name: path for path in folder.iterdir()}
    stale = [beside_map(Path(f"{name}.tif"), ending).name for ending in BESIDE_SOME]
    store = storage.get_underlying_filesystem(path=out)
    try:
        if not store.async_impl:  # a disk, which has folders
            store.makedirs(out, exist_ok=True)
        for each in (item, *(other for other in stale if other not in files)):
            await _remove(f"{out}/{each}")
        for each in sorted(files, key=lambda each: each == item):
            await storage.put(str(files[each]), f"{out}/{each}")
    except Exception as error:
        raise DownloadError(f"{out}/{name}.tif cannot be written: {' '.join(str(error).split())[:300]}") from error


async def _remove(address: str) -> None:
    if not await storage.exists(address):
        return
    store = storage.get_underlying_filesystem(path=address)
    if store.async_impl:
        await store._rm(address)
    else:
        store.rm(address)


async def _show(result: dict[str, Any]) -> None:
    """What became of the scenes, in Flyte's console and the log."""
    lines = [counts_of(result), *(f"{name} has no map: {reason}" for name, reason in result["failed"].items())]
    lines += [each["map"] for each in result["made"]] + [f"{each}  left as it is" for each in result["left"]]
    logger.info("%s", lines[0])
    if not transfer.is_local():
        await flyte.report.replace.aio(f"<pre>{html.escape(chr(10).join(lines))}</pre>", do_flush=True)
