"""`landsift pretrain`: a backbone that learns from patches without labels."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from landsift.cli.options import ConfigOption, JsonOption
from landsift.cli.slips import needs_source


def pretrain(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="The folder to write: new or empty.", show_default=False)
    ],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help="As in `landsift run --data`; labels are not read. Of labelled patches those of data.split's train "
            "are learned from.  Default: data.source of the configuration.",
            show_default=False,
        ),
    ] = None,
    probe: Annotated[
        str | None,
        typer.Option(
            "--probe",
            metavar="SOURCE",
            help="Labelled patches on which features are checked every few epochs (kNN on train and val).",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            metavar="KEY=VALUE",
            help="Change one setting, such as pretraining.method=lejepa; repeatable.",
        ),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Ignore the cache and run every stage from its start.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Pretrain a backbone on patches without their labels (DINO, LeJEPA or SimCLR).

    The result is a value for model.weights: landsift run --set model.weights=DIR.
    If the features collapse, the command stops, and names the cause.
    """
    from landsift.cli.printing import print_result
    from landsift.config import RunConfig
    from landsift.pipeline.pretrain import pretrain as call
    from landsift.runs import MANIFEST, METRICS, read_json

    chosen = RunConfig.load(config, settings or ())
    if data is not None:
        chosen = chosen.replace(f"data.source={json.dumps(data)}")
    needs_source(chosen.data, "pretrain", {"--out": str(out)})
    if probe is not None:
        chosen = chosen.replace(f"pretraining.watch.probe={json.dumps(probe)}")
    folder = call(chosen, out, cache=not no_cache, command=["landsift", *sys.argv[1:]])
    manifest, last = read_json(folder / MANIFEST), read_json(folder / METRICS)[-1]
    figures = {name: last[name] for name in ("train_loss", "feature_std", "rank_me", "agreement")}
    result = {
        "out": str(folder),
        "backbone": manifest["model"]["backbone"],
        "method": manifest["method"],
        "patches": manifest["data"]["learned_from"]["patches"],
        "last_epoch": figures,
    }
    lines = [
        f"{result['backbone']} pretrained by {result['method']} on {result['patches']:,} patches: {folder}",
        f"RankMe {last['rank_me']:.1f}, feature std {last['feature_std']:.3f} / √D",
        f"to train a classifier on it: --set model.backbone={result['backbone']} --set model.weights={folder}",
    ]
    print_result(result, lines, as_json=as_json)
