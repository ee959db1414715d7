"""What all tasks share: results under their keys, from the cache or made, and what Flyte is told of them."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import flyte
from flyte.io import Dir

from landsift.config import RunConfig
from landsift.data.store.patch_store import PatchStore
from landsift.pipeline.cache import locks, results
from landsift.pipeline.flyte import transfer
from landsift.pipeline.stage_table import Stage

logger = logging.getLogger("landsift")


def by_key(*others: str) -> flyte.Cache:
    """Flyte's cache by the input `key` alone, which stands for all that decides the result; `others` do not count."""
    return flyte.Cache("override", version_override="key", ignored_inputs=(*others, "run"))


async def made_under(
    stage: Stage, key: str, run: str, what: str, make: Callable[[Path], object], made_from: str = ""
) -> Dir:
    """The result under a key, made if no other process has made it meanwhile; `make` fills the folder that it gets.

    `what` is what people call it; the rest as in `results.building`.
    """
    folder = place(stage, key)
    async with locks.turn(folder, what) as made:
        if not made:
            with results.building(folder, run, stage.checked, made_from) as unfinished:
                make(unfinished)
    return await Dir.from_local(str(folder))


async def stage_result(
    stage: Stage, task: Any, key: str, afresh: str, note: str = "", /, *, tell: bool = True, **inputs: Any
) -> Dir:
    """The result of a stage: on one machine the folder under its key where that is whole, else what its task makes.

    Args:
        stage: which.
        task: makes it.
        key: of the result.
        afresh: "yes": only what this very run has made will do.
        note: what a result from the cache means.
        tell: whether to say that it comes from there.
        inputs: of the task.
    """
    if transfer.is_local():
        folder = place(stage, key)
        trained = inputs.get("trained")
        damage = results.damage(folder, results.weights_of(transfer.path_of(trained)) if trained else "")
        record = {} if damage else results.stage_record(folder)
        own = record.get("run") == run_name()
        if record and (own or afresh != "yes"):
            if tell and not own:
                logger.info("%s comes from the cache, where it took %.1f s%s", stage.what, record["seconds"], note)
            return await Dir.from_local(str(folder))
        if damage and folder.is_dir():
            logger.warning("%s is in the cache, but %s; it is made again", stage.what, damage)
    return cast(Dir, await task(key=key, run=run_name(), **inputs))


def run_name() -> str:
    """The name of the run that the running task belongs to."""
    return flyte.ctx().action.run_name or ""


def place(stage: Stage, key: str) -> Path:
    """Where the result of a stage lies on this machine."""
    return results.place(stage, key, local=transfer.is_local())


async def opened(config_json: str, store: Dir) -> tuple[RunConfig, PatchStore]:
    """A task's configuration and patches."""
    return RunConfig.model_validate_json(config_json), PatchStore.open(await transfer.fetch(store))


async def shown(folder: Path) -> Dir:
    """The folder as a result; on a cluster its page is shown in Flyte's console."""
    if not transfer.is_local():  # on one machine nobody sees Flyte's own page
        page = html.escape((folder / "report.html").read_text(encoding="utf-8"))
        # Flyte puts what it is given into a <div>; a frame keeps the page's styles and scripts to itself.
        frame = f'<iframe srcdoc="{page}" style="width:100%;height:95vh;border:0"></iframe>'
        await flyte.report.replace.aio(frame, do_flush=True)
    return await Dir.from_local(str(folder))
