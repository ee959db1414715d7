"""`landsift data`: download, synthesize, build and check patches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from landsift.cli.options import SPLIT, JsonOption, refuse_idle, settings_of
from landsift.cli.slips import Commands
from landsift.runtime.outputs import absolute, check_name

app = typer.Typer(cls=Commands, help="Download, synthesize, build and check patches.", no_args_is_help=True)


@app.command()
def download(
    root: Annotated[
        Path | None,
        typer.Option(
            "--root", metavar="FOLDER", help="Where to unpack it. Default: landsift's cache folder.", show_default=False
        ),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option("--base-url", metavar="URL", help="The URL of a mirror's folder with the archive.")
    ] = None,
    bands: Annotated[str, typer.Option(help="rgb: the pictures, 94 MB; all: all 13 bands, 2 GB.")] = "rgb",
    as_json: JsonOption = False,
) -> None:
    """Download and unpack EuroSAT, unless that is done already."""
    from landsift.cli.printing import print_result
    from landsift.config import RunConfig
    from landsift.data.sources.eurosat import ensure

    changes = [f"data.eurosat.bands={json.dumps(bands)}"]
    changes += [f"data.eurosat.root={json.dumps(str(root))}"] if root else []
    changes += [f"data.eurosat.base_url={json.dumps(base_url)}"] if base_url else []
    folder = ensure(RunConfig.load(None, changes).data.eurosat)
    print_result({"folder": str(folder)}, [str(folder)], as_json=as_json)


@app.command(no_args_is_help=True)
def synthesize(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="A new or empty folder.", show_default=False)
    ],
    patches: Annotated[int, typer.Option(help="Number of patches, in six classes.")] = 1200,
    size: Annotated[int, typer.Option(help="Height and width in pixels.")] = 64,
    difficulty: Annotated[float, typer.Option(help="0: pure class signatures; 1: classes overlap.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    bands: Annotated[str, typer.Option(help="rgb: PNG files; all: GeoTIFFs of the 13 bands of Sentinel-2.")] = "rgb",
    as_json: JsonOption = False,
) -> None:
    """Write generated patches as files, one folder per class."""
    from landsift.cli.printing import print_result
    from landsift.config import RunConfig
    from landsift.data.sources.synthetic import write_folder

    check_name(absolute(out), "--out", as_text=False)
    values = {"patches": patches, "size": size, "difficulty": difficulty, "seed": seed, "bands": bands}
    config = RunConfig.from_dict({"data": {"synthetic": values}}).data.synthetic
    count = write_folder(config, out)
    print_result({"folder": str(out), "patches": count}, [f"{count:,} patches: {out}"], as_json=as_json)


@app.command(no_args_is_help=True)
def build(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="As in `landsift run --data`.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="The store to write.", show_default=False)],
    settings: Annotated[
        list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE", help="Change one setting; repeatable.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Decode patches into a memory-mapped store."""
    from landsift.cli.printing import print_result
    from landsift.config import RunConfig
    from landsift.data.store.patch_store import build_store

    check_name(absolute(out), "--out", as_text=False)
    refuse_idle(settings or (), settings_of(source), "in a store of this source")
    config = RunConfig.load(None, settings or ()).replace(f"data.source={json.dumps(source)}")
    store = build_store(config.data, out)
    height, width, bands = store.images.shape[1:]
    result = {
        "store": str(store.folder),
        "patches": len(store),
        "shape": [height, width, bands],
        "classes": list(store.classes),
        "fingerprint": store.fingerprint,
        "skipped": list(store.skipped),
    }
    line = f"{len(store):,} patches of {height} × {width} × {bands} in {len(store.classes)} classes: {store.folder}"
    print_result(result, [line], as_json=as_json)


@app.command(no_args_is_help=True)
def check(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="As in `landsift run --data`, or a store written by `landsift data build`.",
            show_default=False,
        ),
    ],
    settings: Annotated[
        list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE", help="Change one setting; repeatable.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 on warnings too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check patches: near-duplicates across the split, conflicting labels, missing classes, unusual pixel values.

    Exits with 1 if there is an error.
    """
    from landsift.cli.printing import print_checks
    from landsift.config import RunConfig
    from landsift.data.checks.check import check_data
    from landsift.pipeline.cache.open_store import opened

    refuse_idle(settings or (), (*settings_of(source), *SPLIT, "data.gsd"), "in a check of this source")
    config = RunConfig.load(None, settings or ()).replace(f"data.source={json.dumps(source)}")
    data = config.data
    with opened(data) as store:
        checks = check_data(store, data.split, data.budget, data.effective_budget_seed, gsd=data.gsd)
    print_checks(source, checks, as_json=as_json)
    if checks.verdict == "wrong" or (strict and checks.verdict == "look"):
        raise typer.Exit(1)
