"""`landsift map --remote`: scenes that a Flyte cluster maps, now or by a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from landsift.mapping.map_options import MapOptions


@dataclass(frozen=True)
class Remote:
    """What the command says of a cluster.

    Attributes:
        file: Flyte's configuration.
        workers: scenes that are mapped at the same time.
        gpu: what `--set` says of `cluster.gpu`.
        schedule: cron's five fields; None: now.
        activate: whether the schedule runs from now on.
        dry_run: say what would be sent, and send nothing.
    """

    file: Path
    workers: int
    gpu: list[str]
    schedule: str | None
    activate: bool
    dry_run: bool


def map_remote(
    run: Path, scenes: Sequence[str], out: str, options: MapOptions, remote: Remote, *, page: bool, as_json: bool
) -> None:
    """Send scenes, or say what would be sent."""
    from landsift.cli.printing import print_result
    from landsift.config import RunConfig
    from landsift.pipeline.flyte.submit import check_remote
    from landsift.pipeline.maps.submit import Schedule, described, plan_of, send

    file = check_remote(remote.file)
    schedule = None if remote.schedule is None else Schedule.of(remote.schedule, active=remote.activate)
    gpu = RunConfig.load(None, remote.gpu).cluster.gpu if remote.gpu else "none"
    plan = plan_of(run, scenes, out, options, page=page, at_once=remote.workers, gpu=gpu)
    if remote.dry_run:
        planned = described(plan, run, schedule)
        rows = {name: value if isinstance(value, list) else [value] for name, value in planned.items() if value}
        lines = [f"{name:<10} {value}" for name, values in rows.items() for value in values]
        print_result(planned, [*lines, "", "nothing was sent"], as_json=as_json)
        return
    sent = send(plan, run, file, schedule)
    lines = [sent["url"]] if schedule is None else []
    if schedule is not None:
        change = "--deactivate" if schedule.active else "--activate"
        lines += [
            f"trigger {sent['trigger']}: {schedule}",
            f"flyte update trigger {sent['trigger']} {sent['task']} {change}",
        ]
    print_result(sent, lines, as_json=as_json)
