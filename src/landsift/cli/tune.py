"""`landsift tune`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from landsift.cli.options import ConfigOption, JsonOption
from landsift.cli.slips import needs_source
from landsift.errors import RunError


def tune(
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="The folder to write: a new one, or that of the same search, which resumes.",
            show_default=False,
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help="As in `landsift run`.  Default: data.source of the configuration.",
            show_default=False,
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes",
            metavar="N",
            help="How long all trainings may take together; the test comes after them.  Default: 30, without --trials.",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials",
            metavar="N",
            help="How many configurations to try.  Default: as many as the minutes allow.",
            show_default=False,
        ),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(
            "--search",
            metavar="NAMES",
            help="Search these and no other, even if they are set: strategy, lr_head, lr_backbone, layer_decay, "
            "epochs, image_size, head, ema, weight_decay, crop, color_jitter, mixing.  Default: all that are not set.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="Set one setting, which is then fixed; repeatable."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Search learning rates, augmentation, image size and strategy for your patches.

    Trials are judged on validation alone. At the end the best and the
    configuration as it was are tested, once. What --set and --config set is
    fixed. Trials are cached; the same command resumes.
    """
    from landsift.cli.printing import print_tuning
    from landsift.config import RunConfig

    chosen = RunConfig.load(config, settings or ())
    if data is not None:
        chosen = chosen.replace(f"data.source={json.dumps(data)}")
    needs_source(chosen.data, "tune", {"--out": str(out)})
    from landsift.pipeline.tuning.search import tune as call

    names = [name.strip() for name in (search or "").split(",") if name.strip()]
    command = ["landsift", *sys.argv[1:]]
    record = call(chosen, out, trials=trials, minutes=minutes, search=names, command=command)
    print_tuning(record.folder, record.to_dict(), as_json=as_json)


def page_again(folder: Path) -> str:
    """The page of a search that has ended; raises RunError for one that has not."""
    from landsift.reports.tuning.page import tuning_html
    from landsift.runs import METRICS, read_json

    record = read_json(folder / METRICS)
    if record["finished"] is None:
        raise RunError(f"{folder} holds a search that has not ended", "the same `landsift tune` resumes it")
    return tuning_html(record, str(folder))
