"""Submit the pipeline to a Flyte cluster: the same tasks, the same code."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from landsift.config import RunConfig, cache_folder
from landsift.errors import ConfigError, LandsiftError, RunError
from landsift.pipeline import artifacts, engine, tracking
from landsift.pipeline.checks import check_training
from landsift.pipeline.keys import BUILT_IN_SOURCES
from landsift.training.phases import settled

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
    config = settled(config)
    remote = _check_remote(config, remote)
    flyte = engine.quiet_flyte()
    from landsift.pipeline import environments
    from landsift.pipeline.tasks import landsift_pipeline

    check_training(config, local=False)
    environments.training_resources(config.cluster)
    with artifacts.writing(cache_folder()):
        environments.write_requirements()
    config = config.replace("data.eurosat.root=null")
    environments.PIPELINE.include = environments.bundled_files()
    if config.tracking.wandb == "offline":
        logger.warning("W&B is offline: on a cluster its files end with the task; tracking.wandb=online keeps them")

    async def send() -> Any:
        await engine.initialise(flyte.init_from_config.aio, remote)
        environments.use_image(environments.image())  # now that the registry is that of `remote`, no ambient file's
        runner = flyte.with_runcontext(
            mode="remote",
            # Only the files of `include`, in a bundle that is known by its content.
            copy_style="none",
            version=environments.bundle_version(),
            overwrite_cache=not cache,
            dry_run=bundle_to is not None,
            copy_bundle_to=bundle_to,
            custom_context=tracking.context(config, local=False),
        )
        return await runner.run.aio(
            landsift_pipeline, config_json=config.model_dump_json(), command_json=json.dumps(command and [*command])
        )

    try:
        submitted = engine.in_loop(send())
    except LandsiftError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(f"the run could not be submitted to the cluster of {remote}: {reason}") from error
    return str(submitted.code_bundle.tgz if bundle_to else submitted.url)


def _check_remote(config: RunConfig, remote: Path) -> Path:
    """Check Flyte's configuration file and that a cluster can read what the run names; the file's absolute path."""
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
    if config.data.source not in BUILT_IN_SOURCES:
        raise ConfigError(
            f"data.source {config.data.source}: a cluster cannot read files of this machine",
            "submit with data.source eurosat or synthetic, or run without --remote",
        )
    if config.model.weights not in {"imagenet", "none"}:
        raise ConfigError(
            f"model.weights {config.model.weights}: a cluster cannot read files of this machine",
            "submit with model.weights imagenet or none, or run without --remote",
        )
    return remote
