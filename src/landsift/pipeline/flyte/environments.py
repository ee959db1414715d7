"""What each stage gets on a cluster: its machine and its image. On one machine none of it is used.

The image holds the libraries of `requirements.lock`, each checked against its hashes; landsift itself travels as a
code bundle, so that a changed line needs no new image. An installed wheel has no lock beside it: then the image holds
the versions installed here.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import flyte

from landsift.config import ClusterConfig, RunConfig, cache_folder
from landsift.errors import ConfigError

EXTRAS = ("", "torch", "train", "report", "pipeline")
"""What the stages need of landsift's extras; each includes those before it."""
MORE_EXTRAS = ("bands", "maps")
"""What rasters and maps need besides; an image has those of their libraries that are installed here."""
RETRIES = 3
"""How often a cluster tries a training again, which then resumes."""
PACKAGE = Path(__file__).parents[2]
LOCK = PACKAGE.parents[1] / "requirements.lock"
REQUIREMENTS = cache_folder() / "images" / "requirements.txt"
"""A copy of the lock for the image's builder, which takes only files that end in .txt."""


def image() -> flyte.Image:
    """The image of all stages: the same libraries as here, so that a result does not depend on where it was made."""
    base = flyte.Image.from_debian_base(name="landsift")
    if LOCK.is_file():
        return base.with_requirements(REQUIREMENTS, extra_args="--require-hashes")
    return base.with_pip_packages(*installed())


def write_requirements() -> None:
    """Put the copy of the lock in its place; only a submission needs it."""
    from landsift.runs import write_text

    if LOCK.is_file():
        write_text(REQUIREMENTS, LOCK.read_text(encoding="utf-8"))


def installed() -> list[str]:
    """What landsift[pipeline] depends on, pinned to the versions installed here, such as "numpy==2.3.4"."""
    from packaging.requirements import Requirement
    from packaging.version import Version

    try:
        wanted = [Requirement(line) for line in requires("landsift") or []]
    except PackageNotFoundError:  # inside a cluster's container, where no image is built
        return []

    def names_of(extras: tuple[str, ...]) -> set[str]:
        marked = ((w.name, w.marker) for w in wanted if w.name != "landsift")
        return {name for name, mark in marked if mark is None or any(mark.evaluate({"extra": each}) for each in extras)}

    # Without the local part of a version, such as torch's +cu128, which an index may not have.
    pinned = {f"{name}=={Version(version(name)).public}" for name in names_of(EXTRAS)}
    for name in names_of(MORE_EXTRAS):
        with suppress(PackageNotFoundError):
            pinned.add(f"{name}=={Version(version(name)).public}")
    return sorted(pinned)


def training_resources(cluster: ClusterConfig) -> flyte.Resources:
    """The training task's machine: `cluster.gpu` and 32 GiB.

    Raises:
        ConfigError: Flyte knows no such GPU.
    """
    if cluster.gpu.strip().lower() == "none":
        return flyte.Resources(cpu=4, memory="32Gi")
    try:
        resources = flyte.Resources(cpu=4, memory="32Gi", gpu=cluster.gpu)  # type: ignore[arg-type,unused-ignore]
        resources.get_device()
    except (ValueError, TypeError):
        raise ConfigError(
            f"configuration key 'cluster.gpu': Flyte knows no GPU '{cluster.gpu}'",
            "write type and number such as T4:1, L4:1 or A100:1, or none",
        ) from None
    return resources


def on_cluster(training: Any, config: RunConfig) -> Any:
    """The training task with the configured GPU, a link to W&B and, where that is online, its key from the cluster."""
    from flyteplugins.wandb import wandb_init

    return with_resources(wandb_init(training), config)


def with_resources(training: Any, config: RunConfig) -> Any:
    """A task that trains, with the configured GPU and, where W&B is online, its key from the cluster."""
    secrets = [flyte.Secret(key="WANDB_API_KEY", as_env_var="WANDB_API_KEY")]
    online = config.tracking.wandb == "online"
    resources = training_resources(config.cluster)
    return training.override(resources=resources, secrets=secrets if online else None, retries=RETRIES)


def bundled_files() -> tuple[str, ...]:
    """Every file of the landsift package, for the code bundle: lazy imports must find theirs on the cluster."""
    files = (f for f in sorted(PACKAGE.rglob("*")) if f.is_file() and "__pycache__" not in f.parts)
    return tuple(os.fspath(f) for f in files)


def bundle_version() -> str:
    """The version that the tasks are submitted under: the content of the bundle."""
    hashed = hashlib.sha256()
    for name in bundled_files():
        hashed.update(os.path.relpath(name, PACKAGE).encode() + b"\0" + Path(name).read_bytes())
    return hashed.hexdigest()[:16]


_IMAGE = image()
_SMALL = flyte.Resources(cpu=2, memory="4Gi")

DATA = flyte.TaskEnvironment(name="landsift-data", image=_IMAGE, resources=flyte.Resources(cpu=2, memory="2Gi"))
REPORT = flyte.TaskEnvironment(name="landsift-report", image=_IMAGE, resources=_SMALL)
TRAINING = flyte.TaskEnvironment(
    name="landsift-training", image=_IMAGE, resources=training_resources(ClusterConfig()), depends_on=[REPORT]
)
PIPELINE = flyte.TaskEnvironment(
    name="landsift-pipeline", image=_IMAGE, resources=_SMALL, depends_on=[DATA, TRAINING, REPORT]
)
MAP = flyte.TaskEnvironment(name="landsift-map", image=_IMAGE, resources=flyte.Resources(cpu=4, memory="8Gi"))
MAPS = flyte.TaskEnvironment(name="landsift-maps", image=_IMAGE, resources=_SMALL, depends_on=[MAP])


def use_image(chosen: flyte.Image) -> None:
    """Give all stages this image."""
    for environment in (DATA, TRAINING, REPORT, PIPELINE, MAP, MAPS):
        environment.image = chosen
