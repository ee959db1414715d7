"""Submit the pipeline to a Flyte cluster: the same tasks, the same code."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from landsift.config import BUILT_IN_SOURCES, WEIGHTS_BY_NAME, RunConfig, cache_folder
from landsift.errors import ConfigError, LandsiftError, RunError
from landsift.pipeline import tracking
from landsift.pipeline.flyte import local
from landsift.pipeline.preflight import check_begun_with, check_training
from landsift.runtime import surroundings
from landsift.runtime.whole import writing
from landsift.training.strategies import settled

logger = logging.getLogger("landsift")


def submit(
    config: RunConfig,
    remote: Path,
    *,
    cache: bool = True,
    command: Sequence[str] | None = None,
    bundle_to: Path | None = None,
) -> str:
    """Submit the same tasks to a Flyte cluster.

    Args:
        config: the complete configuration.
        remote: Flyte's configuration file, which names the cluster.
        cache: False runs every stage again.
        command: the command line, for the manifest.
        bundle_to: a folder to put the code bundle in, instead of sending it; nothing is submitted.

    Returns:
        The address of the run in Flyte's console; with `bundle_to`, the bundle's path.

    Raises:
        LandsiftError: the file cannot be read, the configuration cannot run there, or the cluster refuses it.
    """
    config = for_cluster(config)
    if config.pretraining.method is not None:
        check_begun_with(config, local=False)
    inputs = {
        "config_json": config.model_dump_json(),
        "command_json": json.dumps(command and [*command]),
        "repeats_json": json.dumps(None),
        "afresh": "no",  # no attempt of another run is ever found there
    }
    return send("landsift_pipeline", inputs, [config], remote, cache=cache, bundle_to=bundle_to)


def for_cluster(config: RunConfig) -> RunConfig:
    """The configuration for a cluster, which downloads EuroSAT to a folder of its own."""
    return settled(config).replace("data.eurosat.root=null")


@surroundings.as_guest()
def send(
    task: str,
    inputs: Mapping[str, str],
    configs: Sequence[RunConfig],
    remote: Path,
    *,
    cache: bool = True,
    bundle_to: Path | None = None,
) -> str:
    """Submit a task of `tasks.py`, with the code that it runs.

    Args:
        task: its name.
        inputs: of the task.
        configs: of all trainings that it starts, the first for all of them where they share settings.
        remote: as in `submit`.
        cache: as in `submit`.
        bundle_to: as in `submit`.
    """
    remote = check_remote(remote)
    for config in configs:
        _check_readable(config)
    flyte = local.quiet_flyte()
    from landsift.pipeline import tasks
    from landsift.pipeline.flyte import environments

    for config in configs:
        check_training(config, local=False)
    environments.training_resources(configs[0].cluster)
    if configs[0].tracking.wandb == "offline":
        logger.warning(
            "W&B is offline: on a cluster its files are lost with the task; set tracking.wandb=online to keep them"
        )

    async def start() -> Any:
        await connect(environments.PIPELINE, remote)
        runner = flyte.with_runcontext(
            mode="remote",
            # Only the files of `include`, in a bundle that is known by its content.
            copy_style="none",
            version=environments.bundle_version(),
            overwrite_cache=not cache,
            dry_run=bundle_to is not None,
            copy_bundle_to=bundle_to,
            custom_context=tracking.context(configs[0], local=False),
        )
        return await runner.run.aio(getattr(tasks, task), **inputs)

    with in_words("the run could not be submitted to", remote):
        submitted = local.in_loop(start())
    return str(submitted.code_bundle.tgz if bundle_to else submitted.url)


async def connect(root: Any, remote: Path) -> None:
    """Have Flyte speak with a cluster, and the environment of the task that is submitted bring image and code.

    Args:
        root: that environment.
        remote: from `check_remote`.
    """
    from landsift.pipeline.flyte import environments

    with writing(cache_folder()):
        environments.write_requirements()
    root.include = environments.bundled_files()
    await local.initialise(local.quiet_flyte().init_from_config.aio, remote)
    environments.use_image(environments.image())  # now that the registry is that of `remote`, no ambient file's


@contextmanager
def in_words(what: str, remote: Path) -> Iterator[None]:
    """Errors of Flyte and of the cluster as a RunError; `what` ends where the cluster's name follows."""
    try:
        yield
    except LandsiftError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(f"{what} the cluster of {remote}: {reason}") from error


def check_remote(remote: Path) -> Path:
    """Check Flyte's configuration file; its absolute path."""
    remote = Path(os.path.abspath(Path(remote).expanduser()))
    try:
        values = yaml.safe_load(remote.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"Flyte configuration not found: {remote}", "give --remote a Flyte config file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read Flyte configuration {remote}: {error}") from None
    except yaml.YAMLError:
        raise ConfigError(f"Flyte configuration {remote} is not valid YAML") from None
    admin = values.get("admin") if isinstance(values, dict) else None
    if not (isinstance(admin, dict) and admin.get("endpoint")):
        raise ConfigError(f"{remote} names no cluster", "Flyte's config file has a key admin.endpoint")
    return remote


def _check_readable(config: RunConfig) -> None:
    """Refuse patches and weights that lie on this machine alone."""
    if config.data.source not in BUILT_IN_SOURCES:
        raise ConfigError(
            f"data.source {config.data.source}: a cluster cannot read files of this machine",
            "submit with data.source eurosat or synthetic, or run without --remote",
        )
    split, lists = config.data.split, config.data.split.lists
    for key, file, instead in (
        ("data.split.rows", split.rows, "a split by a seed, data.split.kind and seed"),
        ("data.split.lists", lists and lists.train, "a split by a seed, data.split.kind and seed"),
        ("data.locations", config.data.locations, "no locations"),
    ):
        if file is not None:
            raise ConfigError(
                f"{key} {file}: a cluster cannot read files of this machine",
                f"submit with {instead}, or run without --remote",
            )
    if config.model.module is not None:
        raise ConfigError(
            f"model.module {config.model.module}: a cluster gets landsift's own code and the locked libraries alone",
            "run without --remote, or use a network of timm",
        )
    if config.model.weights not in WEIGHTS_BY_NAME:
        raise ConfigError(
            f"model.weights {config.model.weights}: a cluster cannot read files of this machine",
            "submit with model.weights imagenet or none, or run without --remote",
        )
