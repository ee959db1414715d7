"""Have a Flyte cluster map scenes: now, or by a schedule."""

from __future__ import annotations

import hashlib
import posixpath
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landsift.config import ClusterConfig
from landsift.errors import ConfigError
from landsift.mapping.map_options import LoadedModel, MapOptions
from landsift.models.loading import is_exported, model_files
from landsift.pipeline.flyte import local
from landsift.pipeline.flyte.submit import check_remote, connect, in_words
from landsift.pipeline.maps import cron
from landsift.pipeline.maps.listing import SCHEMES, is_address
from landsift.pipeline.maps.plan import Plan
from landsift.runtime import surroundings


@dataclass(frozen=True)
class Schedule:
    """When a cluster maps what is new.

    Attributes:
        expression: five fields, as cron has them.
        zone: of time.
        active: whether it runs from now on.
    """

    expression: str
    zone: str
    active: bool

    @classmethod
    def of(cls, text: str, *, active: bool) -> Schedule:
        """From what `--schedule` says; raises ConfigError."""
        return cls(*cron.parsed(text), active)

    def __str__(self) -> str:
        return f"{self.expression} ({self.zone}), {'active' if self.active else 'not active'}"


def plan_of(
    run: Path | str,
    scenes: Sequence[str],
    out: str,
    options: MapOptions,
    *,
    page: bool = True,
    at_once: int = 8,
    gpu: str = "none",
) -> Plan:
    """Check what is asked of a cluster.

    Args:
        run: a run directory on this machine, or its `model/` folder.
        scenes: addresses of scenes, folders and collections.
        out: address of the folder for the maps.
        options: how.
        page: whether to write a page beside each map.
        at_once: scenes that are mapped at the same time.
        gpu: as `cluster.gpu`, of each scene's task.

    Raises:
        ConfigError: a cluster could not do it.
        LandsiftError: the model cannot be loaded.
    """
    out = out.rstrip("/")
    _check_addresses(scenes, out)
    if options.mask not in (None, "none"):
        raise ConfigError(
            f"--mask {options.mask}: a cluster cannot read files of this machine",
            "leave it out for the masks that scenes bring, or give none",
        )
    if is_exported(run):
        raise ConfigError(f"{run}: a cluster maps with a run, not with an exported model", "give the run itself")
    if (module := LoadedModel.load(run, options, device="cpu").predictor.description.module) is not None:
        raise ConfigError(
            f"the model's network is of {module}: a cluster gets landsift's own code and the locked libraries alone",
            "map without --remote",
        )
    plan = Plan(tuple(scenes), out, str(run), options, page, at_once, gpu)
    resources_of(plan)
    return plan


def described(plan: Plan, model: Path, schedule: Schedule | None) -> dict[str, Any]:
    """What is sent, in plain values."""
    from landsift.pipeline.flyte import environments
    from landsift.pipeline.maps import tasks

    return {
        "task": f"{tasks.landsift_maps.name} ({_words(environments.MAPS.resources)})",
        "per scene": f"{tasks.map_scene.name} ({_words(resources_of(plan))}), {plan.at_once} at once",
        "libraries": environments.LOCK.name if environments.LOCK.is_file() else "those installed here",
        "version": environments.bundle_version(),
        "model": [str(each) for each in model_files(model)],
        "scenes": [*plan.scenes],
        "maps": plan.out,
        "trigger": None if schedule is None else trigger_name(plan),
        "schedule": None if schedule is None else str(schedule),
    }


def resources_of(plan: Plan) -> Any:
    """The machine of a scene's task; raises ConfigError where Flyte knows no such GPU."""
    from landsift.pipeline.flyte import environments

    if plan.gpu == "none":
        return environments.MAP.resources
    return environments.training_resources(ClusterConfig(gpu=plan.gpu))


def trigger_name(plan: Plan) -> str:
    """One for each folder of maps, so that another schedule of it takes the place of the first."""
    name = re.sub(r"[^a-z0-9]+", "-", plan.out.rpartition("/")[2].lower()).strip("-")
    return f"landsift-{name[:30] or 'maps'}-{hashlib.sha256(plan.out.encode()).hexdigest()[:8]}"


def trigger(plan: Plan, schedule: Schedule, model: Any) -> Any:
    """Flyte's trigger of a schedule, which gives `model` to the task."""
    import flyte

    return flyte.Trigger(
        name=trigger_name(plan),
        automation=flyte.Cron(schedule.expression, timezone=schedule.zone),
        description=f"Maps of what is new in {', '.join(plan.scenes)}",
        auto_activate=schedule.active,
        inputs={"model": model, "plan_json": plan.to_json()},
    )


@surroundings.as_guest()
def send(plan: Plan, model: Path, remote: Path, schedule: Schedule | None = None) -> dict[str, str]:
    """Have a Flyte cluster map the scenes now, or by a schedule; the model is uploaded.

    Returns:
        `url` of the run in Flyte's console; of a schedule `trigger` and `task`, their names.

    Raises:
        LandsiftError: Flyte's configuration cannot be read, or the cluster refuses.
    """
    remote = check_remote(remote)
    flyte = local.quiet_flyte()
    from landsift.pipeline.flyte import environments
    from landsift.pipeline.maps import tasks

    async def start() -> dict[str, str]:
        await connect(environments.MAPS, remote)
        there, version = await _uploaded(model_files(model)), environments.bundle_version()
        if schedule is None:
            runner = flyte.with_runcontext(mode="remote", copy_style="none", version=version)
            run = await runner.run.aio(tasks.landsift_maps, model=there, plan_json=plan.to_json())
            return {"url": str(run.url)}
        await flyte.deploy.aio(environments.MAPS, version=version, copy_style="none")
        made, task = trigger(plan, schedule, there), tasks.landsift_maps.name
        await flyte.remote.Trigger.create.aio(made, task_name=task, task_version=version)
        return {"trigger": made.name, "task": task}

    what = "the run could not be submitted to" if schedule is None else "the schedule could not be made on"
    with in_words(what, remote):
        return dict(local.in_loop(start()))


async def _uploaded(model: Sequence[Path]) -> Any:
    from flyte import remote
    from flyte.io import Dir

    with tempfile.TemporaryDirectory(prefix="landsift-") as scratch:
        for each in model:  # and nothing else of the folder
            (Path(scratch) / each.name).symlink_to(each.absolute())
        return Dir.from_existing_remote(await remote.upload_dir.aio(Path(scratch)))


def _check_addresses(scenes: Sequence[str], out: str) -> None:
    """Check that a cluster can read the scenes and write the maps, and that it would not take maps for scenes."""
    known = ", ".join(f"{scheme}://" for scheme in SCHEMES[:3])
    for each in (*scenes, out):
        _check_open(each)
    for scene in scenes:
        if not is_address(scene):
            elsewhere = "does not read such an address" if "://" in scene else "cannot read files of this machine"
            raise ConfigError(
                f"{scene}: a cluster {elsewhere}",
                f"give an address of its object store, such as s3://bucket/scenes ({known} are known)",
            )
        if _plain(out).startswith(_plain(scene)):
            raise ConfigError(
                f"--out {out} lies in {scene}, so that its maps would be taken for scenes", "give --out another folder"
            )
    if out.lower().endswith((".tif", ".tiff")):
        raise ConfigError(
            f"--out {out} is the name of a map", "give the address of a folder for the maps of all scenes"
        )
    if not is_address(out):
        raise ConfigError(
            f"--out {out}: a cluster cannot write to this machine",
            f"give the address of a folder, such as s3://bucket/maps ({known} are known)",
        )


def _plain(address: str) -> str:
    """An address by which it is told whether another one lies in it."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{posixpath.normpath('/' + rest).lstrip('/')}/"


def _check_open(address: str) -> None:
    """Check that an address holds no password, which Flyte would store and show, and nothing that is cut off."""
    scheme, apart, rest = address.partition("://")
    if not apart or scheme == "file":
        return
    place = rest.partition("/")[0].rpartition("@")[0]
    if ":" in place:
        raise ConfigError(
            f"an address {scheme}://NAME:PASSWORD@...: Flyte would store the password and show it",
            "give the address without, and let the cluster's machines have the rights",
        )
    if scheme in SCHEMES and (cut := next((letter for letter in "?#" if letter in rest), None)):
        raise ConfigError(
            f"{address.partition(cut)[0]}: a cluster reads no address with {cut}",
            "give the address alone, without a signature or a version",
        )


def _words(resources: Any) -> str:
    gpu = f", GPU {resources.gpu}" if resources.gpu else ""
    return f"{resources.cpu} CPUs, {resources.memory}{gpu}"
