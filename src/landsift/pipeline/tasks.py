"""The stages as Flyte tasks, and the task that calls them one after the other.

The same tasks run on one machine and on a cluster. On one machine a result is a folder of the cache folder, and the
`Dir` that names it is a path; on a cluster Flyte uploads and downloads it.

A task imports all of landsift that it runs inside its body: `keys.code_version` reads those imports.
"""

from __future__ import annotations

import html
import json
import logging
from pathlib import Path
from typing import Any, cast

import flyte
from flyte.io import Dir

from landsift.pipeline.flyte import environments
from landsift.pipeline.tracking import tracked

logger = logging.getLogger("landsift")


@environments.DATA.task(cache=flyte.Cache("auto", ignored_inputs=("data_json", "fingerprint", "run")), retries=2)
async def load_dataset(key: str, again: str, data_json: str, fingerprint: str, run: str) -> Dir:
    """Decode the patches into a store.

    Args:
        key: `keys.store_key`: stands for all that decides the result, so Flyte's cache looks at nothing else.
        again: another value runs the stage although its result is in the cache.
        data_json: the data section.
        fingerprint: of the content that `key` was made from; patches that change while they are read are refused.
        run: name of the run, which the result notes.

    Returns:
        The store's folder.
    """
    from landsift.pipeline.flyte import failures

    with failures.carried():
        from landsift.config import DataConfig
        from landsift.data.store.patch_store import build_store
        from landsift.errors import DataError
        from landsift.pipeline.cache import locks, results
        from landsift.pipeline.flyte import transfer

        folder = results.place(results.STORES, key, local=transfer.is_local())
        async with locks.turn(folder, "this patch store") as made:
            if not made:
                with results.building(folder, run) as partial:
                    store = build_store(DataConfig.model_validate_json(data_json), partial)
                    if store.fingerprint != fingerprint:
                        raise DataError("the patches changed while they were read", "run again when they are complete")
        return await Dir.from_local(str(folder))


@tracked
@environments.TRAINING.task(cache=flyte.Cache("auto", ignored_inputs=("store", "config_json", "repeats_json", "run")))
async def train_model(key: str, again: str, store: Dir, config_json: str, repeats_json: str, run: str) -> Dir:
    """Train, evaluate, and keep everything: the model leaves the task with its checkpoints and figures.

    An interrupted training goes on: on one machine from the cache folder, on a cluster from Flyte's checkpoint of the
    attempt before.

    Args:
        key: `keys.training_key`.
        again: as in `load_dataset`; an interrupted training of an earlier run does not go on then.
        store: what `load_dataset` returned.
        config_json: the complete configuration.
        repeats_json: `repeating.Original` of a run that is to be repeated, or null.
        run: name of the run.

    Returns:
        A folder with all files of a run directory but the report.
    """
    from landsift.pipeline.flyte import failures

    with failures.carried():
        from landsift.config import RunConfig
        from landsift.data.store.patch_store import PatchStore
        from landsift.pipeline import repeat, tracking
        from landsift.pipeline.cache import locks, results
        from landsift.pipeline.flyte import checkpoint, transfer
        from landsift.training.start import train

        config = RunConfig.model_validate_json(config_json)
        patches = PatchStore.open(await transfer.fetch(store))
        folder = results.place(results.TRAINED, key, local=transfer.is_local())
        experiment = tracking.current_run(config.tracking)
        async with locks.turn(folder, "this model") as made:
            if not made:
                with results.continuing(folder, run, afresh=bool(again)) as partial, checkpoint.kept(partial):
                    places = tracking.note(experiment, partial)
                    train(config, patches, partial, experiment, repeat.arithmetic(repeats_json))
                tracking.say_where(places, config.tracking)
        return await Dir.from_local(str(folder))


@environments.TRAINING.task(
    cache=flyte.Cache("auto", ignored_inputs=("store", "config_json", "run", "label", "group")), retries=2
)
async def train_cell(key: str, again: str, store: Dir, config_json: str, run: str, label: str, group: str) -> Dir:
    """Train one cell of a comparison and keep its figures.

    Args:
        key: of `keys.cell_keys`.
        again: as in `load_dataset`.
        store: what `load_dataset` returned.
        config_json: the cell's complete configuration.
        run: name of the run.
        label: what people call the cell.
        group: what W&B calls the comparison.

    Returns:
        A folder with the files of `cell_training.KEPT`.
    """
    from landsift.pipeline.flyte import failures

    with failures.carried():
        from landsift.config import RunConfig
        from landsift.pipeline.cache import locks, results
        from landsift.pipeline.comparison import cell
        from landsift.pipeline.flyte import checkpoint, transfer

        config = RunConfig.model_validate_json(config_json)
        patches = await transfer.fetch(store)
        folder = results.place(results.CELLS, key, local=transfer.is_local())
        async with locks.turn(folder, label) as made:
            if not made:
                async with cell.process_for(label) as train:
                    with results.continuing(folder, run, afresh=bool(again)) as partial, checkpoint.kept(partial):
                        await train(config, patches, partial, label, group)
        return await Dir.from_local(str(folder))


@environments.REPORT.task(report=True, cache="disable")
async def create_comparison(store: Dir, cells: list[Dir], outline_json: str, command_json: str, rule_json: str) -> Dir:
    """Compare the trained cells and write the comparison's folder; never cached, as `create_report`.

    Args:
        store: what `load_dataset` returned.
        cells: what `train_cell` returned, of those that did not fail.
        outline_json: `comparing.Outcome`: the grid, and which cell each of `cells` is.
        command_json: the command line as a list, or null.
        rule_json: `recommending.Rule`.

    Returns:
        The complete folder.
    """
    from landsift.pipeline.flyte import failures

    with failures.carried():
        from landsift.evaluation.recommendation import Rule
        from landsift.pipeline.comparison import assemble
        from landsift.pipeline.flyte import transfer

        folder = assemble.assemble(
            transfer.output_folder(),
            await transfer.fetch(store),
            [await transfer.fetch(cell) for cell in cells],
            json.loads(outline_json),
            json.loads(command_json),
            Rule(**json.loads(rule_json)),
        )
        if not transfer.is_local():
            await _show(folder)
        return await Dir.from_local(str(folder))


@environments.PIPELINE.task
async def landsift_comparison(grid_json: str, command_json: str, group: str, processes: str, rule_json: str) -> Dir:
    """Train all cells of a grid, side by side, and compare them; returns the comparison's folder.

    A cell that fails is reported and does not take the others down.

    Args:
        grid_json: `grid.Grid`.
        command_json: the command line as a list, or null.
        group: what W&B calls the comparison.
        processes: how many train at once on one machine; a cluster takes what it has.
        rule_json: by what rows are chosen: `recommending.Rule`.
    """
    from landsift.pipeline.flyte import failures

    with failures.carried():
        from landsift.pipeline.comparison import stages
        from landsift.pipeline.comparison.grid import Cell, Grid

        grid = Grid.from_json(grid_json)
        run = flyte.ctx().action.run_name or ""
        plan = stages.plan(grid)
        stage = {"key": plan.store_key, "data_json": plan.data_json, "fingerprint": plan.fingerprint}
        store = await _stage(load_dataset, "the patch store", **stage)
        await stages.check_budgets(grid, store)

        async def train(cell: Cell, key: str) -> Dir:
            inputs = {"key": key, "store": store, "config_json": cell.config.model_dump_json()}
            task = stages.task_of(train_cell, cell.config)
            return await stages.again_if_damaged(task, inputs | {"label": cell.label, "group": group}, run)

        outcome = await stages.train_all(grid, plan.cell_keys, train, run, int(processes))
        return await create_comparison(
            store=store,
            cells=outcome.folders,
            outline_json=outcome.to_json(),
            command_json=command_json,
            rule_json=rule_json,
        )


@environments.REPORT.task(report=True, cache="disable")
async def create_report(
    store: Dir, trained: Dir, config_json: str, command_json: str, repeats_json: str, run: str
) -> Dir:
    """Put the run directory together and write its report; never cached, because both tell of this very run.

    Args:
        store: what `load_dataset` returned.
        trained: what `train_model` returned.
        config_json: the complete configuration.
        command_json: the command line as a list, or null.
        repeats_json: `repeating.Original` of a run that is to be repeated, or null.
        run: name of the run.

    Returns:
        The complete run directory.
    """
    from landsift.pipeline.flyte import failures

    with failures.carried():
        from landsift.config import RunConfig
        from landsift.pipeline import run_directory
        from landsift.pipeline.flyte import transfer

        folder = run_directory.assemble(
            transfer.output_folder(),
            await transfer.fetch(store),
            await transfer.fetch(trained),
            RunConfig.model_validate_json(config_json),
            json.loads(command_json),
            json.loads(repeats_json),
            run,
        )
        if not transfer.is_local():  # on one machine nobody sees Flyte's own page
            await _show(folder)
        return await Dir.from_local(str(folder))


@environments.PIPELINE.task
async def landsift_pipeline(config_json: str, command_json: str, repeats_json: str, afresh: str) -> Dir:
    """Call the stages one after the other; returns the complete run directory.

    Args:
        config_json: the complete configuration.
        command_json: the command line as a list, or null.
        repeats_json: `repeating.Original` of a run that is to be repeated, or null.
        afresh: "yes": what an interrupted run has left is not used.
    """
    from landsift.pipeline.flyte import failures

    with failures.carried():
        from landsift.config import RunConfig
        from landsift.data.sources.base import content_fingerprint
        from landsift.pipeline import preflight
        from landsift.pipeline.cache import keys, results
        from landsift.pipeline.flyte import transfer

        config = RunConfig.model_validate_json(config_json)
        run = flyte.ctx().action.run_name or ""
        local = transfer.is_local()
        fingerprint = content_fingerprint(config.data)
        store_key = keys.store_key(config.data, fingerprint)
        training_key = keys.training_key(config, store_key)
        if local and not results.place(results.TRAINED, training_key, local=True).is_dir():
            preflight.check_training(config)
        data_json = keys.store_settings(config.data).model_dump_json()
        store = await _stage(
            load_dataset, "the patch store", key=store_key, data_json=data_json, fingerprint=fingerprint
        )
        training = train_model if local else environments.on_cluster(train_model, config)
        note = "; W&B gets no new run" if config.tracking.wandb == "online" else ""
        trained = await _stage(
            training,
            "the trained model",
            note,
            afresh == "yes",
            key=training_key,
            store=store,
            config_json=config_json,
            repeats_json=repeats_json,
        )
        return await create_report(
            store=store,
            trained=trained,
            config_json=config_json,
            command_json=command_json,
            repeats_json=repeats_json,
            run=run,
        )


async def _show(folder: Path) -> None:
    """Show the folder's page in Flyte's console."""
    page = html.escape((folder / "report.html").read_text(encoding="utf-8"))
    # Flyte puts what it is given into a <div>; a frame keeps the page's styles and scripts to itself.
    frame = f'<iframe srcdoc="{page}" style="width:100%;height:95vh;border:0"></iframe>'
    await flyte.report.replace.aio(frame, do_flush=True)


async def _stage(task: Any, what: str, note: str = "", afresh: bool = False, /, **inputs: object) -> Dir:
    """Call a stage; on one machine, say what came from the cache, and run it again where that is damaged."""
    from landsift.pipeline.cache import results
    from landsift.pipeline.flyte import transfer

    run = flyte.ctx().action.run_name or ""
    result: Dir = await task(again=run if afresh else "", run=run, **inputs)
    if not transfer.is_local():
        return result
    folder = transfer.path_of(result)
    if damage := results.damage(folder):
        logger.warning("the cache knows %s of this configuration, but %s; making it again", what, damage)
        return cast(Dir, await task(again=run, run=run, **inputs))
    record = results.stage_record(folder)
    if record["run"] != run:
        logger.info("%s comes from the cache, where it took %.1f s%s", what, record["seconds"], note)
    return result
