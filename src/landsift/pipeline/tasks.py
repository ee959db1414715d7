"""The stages as Flyte tasks, and the tasks that call them one after the other.

The same tasks run on one machine and on a cluster. On one machine a result is a folder of the cache folder, and the
`Dir` that names it is a path: `_stage` looks whether it is there, and Flyte's own cache is off. On a cluster Flyte
uploads and downloads it, and Flyte's cache knows it by the same key.

Inputs that several tasks have: `key` of the result, from `keys`; `store`, `trained`: what the stages of these names
returned; `config_json`: the complete configuration, of which a stage hands on what it declares; `command_json`: the
command line as a list, or null; `repeats_json`: `repeat.Original` of a run that is to be repeated, or null; `run`: name
of the run, which results note; `afresh`: "yes": every stage runs, and what an interrupted run has left is not used.
"""

from __future__ import annotations

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

from flyte.io import Dir

from landsift.config import BUILT_IN_SOURCES, DataConfig, PretrainingConfig, RunConfig
from landsift.data.store.patch_store import PatchStore, build_store
from landsift.errors import DataError
from landsift.pipeline.cache import keys, locks, results
from landsift.pipeline.flyte import checkpoint, environments, failures, transfer
from landsift.pipeline.stage_table import CELL, DECODE, EMBED, PRETRAIN, TEST, TRAIN, for_pretraining, given
from landsift.pipeline.task_results import by_key, made_under, opened, place, run_name, shown, stage_result
from landsift.pipeline.tracking import tracked

logger = logging.getLogger("landsift")


@environments.DATA.task(cache=by_key("data_json", "fingerprint", "least_classes"), retries=2)
async def load_dataset(key: str, data_json: str, fingerprint: str, run: str, least_classes: int = 2) -> Dir:
    """Decode the patches into a store; returns its folder.

    `data_json` are `keys.store_settings`; `fingerprint` is of the content that `key` was made from: patches that change
    while they are read are refused. `least_classes`: a classifier needs two, a pretraining none.
    """
    with failures.carried():

        def make(folder: Path) -> None:
            data = DataConfig.model_validate_json(data_json)
            if build_store(data, folder, least_classes).fingerprint != fingerprint:
                raise DataError("the patches changed while they were read", "run again when they are complete")

        return await made_under(DECODE, key, run, "this patch store", make)


@tracked(TRAIN)
@environments.TRAINING.task(
    cache=by_key("store", "config_json", "command_json", "repeats_json", "embeddings_key", "test_key", "afresh")
)
async def train_model(
    key: str,
    store: Dir,
    config_json: str,
    command_json: str,
    repeats_json: str,
    embeddings_key: str,
    test_key: str,
    run: str,
    afresh: str,
) -> Dir:
    """Train, up to the last validation; returns what `landsift.training.start.train` writes.

    An interrupted training resumes: on one machine from the cache folder, on a cluster from Flyte's checkpoint of the
    attempt before. Where W&B tracks it, it gets the t-SNE frames, the test and the report as well, which are made by
    `create_embeddings` and `test_model`.
    """
    with failures.carried():
        from landsift.pipeline import reproduce, tracking
        from landsift.training.start import train
        from landsift.training.strategies import settled

        config, patches = await opened(config_json, store)
        folder, experiment = place(TRAIN, key), tracking.current_run(config.tracking)
        async with locks.turn(folder, "this model") as made:
            if not made:
                goes_on = results.continuing(folder, run, TRAIN.checked, afresh=afresh == "yes")
                with goes_on as unfinished, checkpoint.kept(unfinished):
                    places = tracking.note(experiment, unfinished)
                    asked = given(TRAIN, settled(config))
                    train(asked, patches, unfinished, experiment, reproduce.arithmetic(repeats_json))
        trained = await Dir.from_local(str(folder))
        if experiment is not None and not made:
            # Here, as long as W&B's run is open; the pipeline will find them done.
            read: dict[str, Any] = {"store": store, "trained": trained, "config_json": config_json}
            testing = test_model if transfer.is_local() else environments.with_resources(test_model, config)
            left = [
                folder,
                await transfer.fetch(await stage_result(TEST, testing, test_key, afresh, tell=False, **read)),
            ]
            if config.tracking.tsne_every:
                frames = await stage_result(EMBED, create_embeddings, embeddings_key, afresh, tell=False, **read)
                left.append(await transfer.fetch(frames))
                tracking.log_frames(experiment, left[-1], patches.classes)
            tracking.log_test(experiment, patches.folder, left, config, json.loads(command_json), run)
            tracking.say_where(places, config.tracking)
        return trained


@tracked(PRETRAIN)
@environments.TRAINING.task(cache=by_key("store", "probe", "config_json", "afresh"))
async def pretrain_network(key: str, store: Dir, probe: list[Dir], config_json: str, run: str, afresh: str) -> Dir:
    """Pretrain a backbone without labels; returns what `landsift.pretraining.start.pretrain` writes.

    `probe` is the store that features are checked on, or nothing. It resumes as `train_model`.
    """
    with failures.carried():
        from landsift.pipeline import tracking
        from landsift.pretraining.start import pretrain

        config, patches = await opened(config_json, store)
        checked = [PatchStore.open(await transfer.fetch(one)) for one in probe]
        folder, experiment, places = place(PRETRAIN, key), tracking.current_run(config.tracking), []
        async with locks.turn(folder, "this pretraining") as made:
            if not made:
                goes_on = results.continuing(folder, run, PRETRAIN.checked, afresh=afresh == "yes")
                with goes_on as unfinished, checkpoint.kept(unfinished):
                    places = tracking.note(experiment, unfinished)
                    pretrain(given(PRETRAIN, config), patches, unfinished, experiment, *checked)
        tracking.say_where(places, config.tracking)
        return await Dir.from_local(str(folder))


@environments.TRAINING.task(cache=by_key("store", "trained", "config_json"), retries=2)
async def test_model(key: str, store: Dir, trained: Dir, config_json: str, run: str) -> Dir:
    """Test the best weights of a training as the model that users load; returns model, predictions and evaluation."""
    with failures.carried():
        from landsift.evaluation.final_test import final_test

        config, patches = await opened(config_json, store)
        training = await transfer.fetch(trained)
        make = partial(final_test, given(TEST, config), patches, training)
        return await made_under(TEST, key, run, "this test", make, results.weights_of(training))


@environments.REPORT.task(cache=by_key("store", "trained", "config_json"), retries=2)
async def create_embeddings(key: str, store: Dir, trained: Dir, config_json: str, run: str) -> Dir:
    """Make the t-SNE frames of a training; returns a folder with embeddings.parquet."""
    with failures.carried():
        from landsift.evaluation.tsne import make_embeddings

        config, patches = await opened(config_json, store)
        training = await transfer.fetch(trained)
        make = partial(make_embeddings, given(EMBED, config), patches, training)
        return await made_under(EMBED, key, run, "these t-SNE frames", make, results.weights_of(training))


@environments.TRAINING.task(cache=by_key("store", "config_json", "label", "group", "afresh"), retries=2)
async def train_cell(key: str, store: Dir, config_json: str, label: str, group: str, run: str, afresh: str) -> Dir:
    """Train and test one cell of a comparison; returns the files of `cell.KEPT`.

    `label` is what people call the cell, `group` what W&B calls the comparison.
    """
    with failures.carried():
        from landsift.pipeline.comparison import trials

        config, patches = RunConfig.model_validate_json(config_json), await transfer.fetch(store)
        folder = place(CELL, key)
        async with locks.turn(folder, label) as made:
            if not made:
                async with trials.turn_for(label) as train:
                    goes_on = results.continuing(folder, run, CELL.checked, afresh=afresh == "yes")
                    with goes_on as unfinished, checkpoint.kept(unfinished):
                        await train(config, patches, unfinished, label, group)
        return await Dir.from_local(str(folder))


@environments.REPORT.task(report=True, cache="disable")
async def create_comparison(store: Dir, cells: list[Dir], outline_json: str, command_json: str, rule_json: str) -> Dir:
    """Compare the trained cells and write the comparison's folder; never cached, as `create_report`.

    `cells` are what `train_cell` returned, of those that did not fail; `outline_json` is `stages.Outcome`: the grid,
    and which cell each of them is; `rule_json` is `recommendation.Rule`.
    """
    with failures.carried():
        from landsift.evaluation.recommendation import Rule
        from landsift.pipeline.comparison import assemble

        folder = assemble.assemble(
            transfer.output_folder(),
            await transfer.fetch(store),
            [await transfer.fetch(cell) for cell in cells],
            json.loads(outline_json),
            json.loads(command_json),
            Rule(**json.loads(rule_json)),
        )
        return await shown(folder)


@environments.PIPELINE.task
async def landsift_comparison(
    grid_json: str, command_json: str, group: str, engine_json: str, rule_json: str, afresh: str
) -> Dir:
    """Train all cells of a grid, side by side, and compare them; returns the comparison's folder.

    A cell that fails is reported and does not take the others down. `grid_json` is `grid.Grid`; `engine_json` is
    `EngineOptions` and says where they train; on a Flyte cluster each is a task of its own.
    """
    with failures.carried():
        from landsift.engine import EngineOptions
        from landsift.pipeline.comparison import stages
        from landsift.pipeline.comparison.grid import Cell, Grid

        grid = Grid.from_json(grid_json)
        options = EngineOptions(**json.loads(engine_json))
        fingerprint, store_key, cell_keys = stages.plan(grid, options)
        store = await _store(grid.base.data, store_key, fingerprint, afresh)
        await stages.check_budgets(grid, store)

        async def train(cell: Cell, key: str) -> Dir:
            texts = {"config_json": cell.config.model_dump_json(), "label": cell.label, "group": group}
            task = train_cell if transfer.is_local() else environments.with_resources(train_cell, cell.config)
            return await stage_result(CELL, task, key, afresh, tell=False, store=store, **texts, afresh=afresh)

        outcome = await stages.train_all(grid, cell_keys, train, run_name(), options)
        return await create_comparison(
            store=store,
            cells=outcome.folders,
            outline_json=outcome.to_json(),
            command_json=command_json,
            rule_json=rule_json,
        )


@environments.REPORT.task(report=True, cache="disable")
async def create_report(
    store: Dir,
    made: list[Dir],
    pretrained: list[Dir],
    config_json: str,
    command_json: str,
    repeats_json: str,
    run: str,
) -> Dir:
    """Put the run directory together and write its report; never cached, because both tell of this very run.

    `made` are what `train_model`, `test_model` and, if it was called, `create_embeddings` returned; `pretrained` is
    what `pretrain_network` returned, or nothing.
    """
    with failures.carried():
        from landsift.pipeline import run_directory

        folder = run_directory.assemble(
            transfer.output_folder(),
            await transfer.fetch(store),
            [await transfer.fetch(result) for result in made],
            [await transfer.fetch(result) for result in pretrained],
            RunConfig.model_validate_json(config_json),
            json.loads(command_json),
            json.loads(repeats_json),
            run,
        )
        return await shown(folder)


@environments.PIPELINE.task
async def landsift_pipeline(config_json: str, command_json: str, repeats_json: str, afresh: str) -> Dir:
    """Call the stages one after the other; returns the complete run directory."""
    with failures.carried():
        from landsift.data.sources.base import content_fingerprint
        from landsift.pipeline import preflight

        asked, local = RunConfig.model_validate_json(config_json), transfer.is_local()
        config, pretrained = await _begun_with(asked, afresh)
        config_json = config.model_dump_json()
        fingerprint = content_fingerprint(config.data)
        known = keys.of_run(config, fingerprint)
        if local and not place(TRAIN, known.train_model).is_dir():
            preflight.check_training(config)
        store = await _store(config.data, known.load_dataset, fingerprint, afresh)

        training = train_model if local else environments.on_cluster(train_model, config)
        note = "; W&B is told so" if config.tracking.wandb == "online" and local else ""
        read: dict[str, Any] = {"store": store, "config_json": config_json}
        named: dict[str, Any] = {
            "command_json": command_json,
            "repeats_json": repeats_json,
            "embeddings_key": known.create_embeddings,
            "test_key": known.test_model,
            "afresh": afresh,
        }
        trained = await stage_result(TRAIN, training, known.train_model, afresh, note, **read, **named)
        read["trained"] = trained
        testing = test_model if local else environments.with_resources(test_model, config)
        made = [trained, await stage_result(TEST, testing, known.test_model, afresh, **read)]
        if config.tracking.tsne_every:
            made.append(await stage_result(EMBED, create_embeddings, known.create_embeddings, afresh, **read))
        texts = {"config_json": asked.model_dump_json(), "command_json": command_json, "repeats_json": repeats_json}
        return await create_report(store=store, made=made, pretrained=pretrained, run=run_name(), **texts)


@environments.REPORT.task(report=True, cache="disable")
async def create_pretraining_report(store: Dir, pretrained: Dir, config_json: str, command_json: str, run: str) -> Dir:
    """Put the folder of a pretraining together and write its report; never cached, as `create_report`."""
    with failures.carried():
        from landsift.pipeline import pretraining_folder

        folder = pretraining_folder.assemble(
            transfer.output_folder(),
            await transfer.fetch(store),
            await transfer.fetch(pretrained),
            RunConfig.model_validate_json(config_json),
            json.loads(command_json),
            run,
        )
        return await shown(folder)


@environments.PIPELINE.task
async def landsift_pretraining(config_json: str, command_json: str, afresh: str) -> Dir:
    """Pretrain a backbone and report on it; returns the complete folder."""
    with failures.carried():
        config = RunConfig.model_validate_json(config_json)
        store, pretrained = await _pretrained(config, afresh)
        texts = {"config_json": config_json, "command_json": command_json}
        return await create_pretraining_report(store=store, pretrained=pretrained, run=run_name(), **texts)


async def _begun_with(config: RunConfig, afresh: str) -> tuple[RunConfig, list[Dir]]:
    """The configuration of a classifier's training that begins with a pretraining's result, and that result.

    Of a configuration without a pretraining: itself, and nothing.
    """
    if config.pretraining.method is None:
        if config.pretraining != PretrainingConfig():
            message = "pretraining: nothing is pretrained, because pretraining.method is null"
            logger.warning("%s; set it to dino, lejepa or simclr", message)
        return config, []
    from landsift.pipeline import preflight

    preflight.check_begun_with(config, local=transfer.is_local())
    _, pretrained = await _pretrained(for_pretraining(config), afresh)
    weights = json.dumps(str(await transfer.fetch(pretrained)))
    return config.replace(f"model.weights={weights}", "pretraining={}"), [pretrained]


async def _pretrained(config: RunConfig, afresh: str) -> tuple[Dir, Dir]:
    """The store and the backbone that was pretrained on it, of a configuration as `start.completed` leaves it."""
    from landsift.data.sources.base import content_fingerprint
    from landsift.pipeline import preflight
    from landsift.pretraining.probe import as_of_probe

    local, source = transfer.is_local(), config.pretraining.watch.probe
    try:
        fingerprint = content_fingerprint(config.data)
    except DataError as error:
        if not config.data.labels or config.data.source in BUILT_IN_SOURCES:
            raise
        hint = "data.labels=false reads every image without a label, also those that a later run tests on"
        raise DataError(error.message, f"{error.hint}; or {hint}" if error.hint else hint) from None
    store_key = keys.store_key(config.data, fingerprint)
    probe_data = None if source is None else config.data.model_copy(update={"source": source, "labels": True})
    with as_of_probe():
        probe_content = "" if probe_data is None else content_fingerprint(probe_data)
    probe_key = "" if probe_data is None else keys.store_key(probe_data, probe_content)
    key = keys.pretraining_key(config, store_key, probe_key)
    if local and not place(PRETRAIN, key).is_dir():
        preflight.check_pretraining(config)
    store = await _store(config.data, store_key, fingerprint, afresh, 0)
    with as_of_probe():
        probe = [] if probe_data is None else [await _store(probe_data, probe_key, probe_content, afresh)]
    task = pretrain_network if local else environments.on_cluster(pretrain_network, config)
    read: dict[str, Any] = {"store": store, "probe": probe, "config_json": config.model_dump_json()}
    return store, await stage_result(PRETRAIN, task, key, afresh, **read, afresh=afresh)


async def _store(data: DataConfig, key: str, fingerprint: str, afresh: str, least_classes: int = 2) -> Dir:
    """The patch store of all pipelines."""
    read: dict[str, Any] = {"data_json": keys.store_settings(data).model_dump_json(), "fingerprint": fingerprint}
    return await stage_result(DECODE, load_dataset, key, afresh, **read, least_classes=least_classes)
