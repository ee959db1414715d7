"""`landsift export`: a trained model in a form that runs elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landsift.cli.options import JsonOption, ModuleOption, TtaOption


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE.onnx|DIR",
            help="The file to write; with --format timm a new or empty folder.",
            show_default=False,
        ),
    ],
    format: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            metavar="onnx|onnx-int8|timm",
            help="onnx: float32.  onnx-int8: smaller and faster, a little less accurate.  timm: a checkpoint for "
            "timm.create_model, where the head is linear.",
        ),
    ] = "onnx",
    check: Annotated[
        Path | None,
        typer.Option(
            "--check",
            metavar="FOLDER",
            help="Patches on which the export is compared with the run, in folders named like the classes if they are "
            "labelled.  Default: the run's test patches in the cache.",
            show_default=False,
        ),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            "--calibrate",
            metavar="FOLDER",
            help="Patches whose values give the ranges of INT8.  Default: the run's training patches in the cache.",
            show_default=False,
        ),
    ] = None,
    max_loss: Annotated[
        float | None,
        typer.Option(
            "--max-loss",
            metavar="POINTS",
            help="Percentage points of accuracy that INT8 may lose.  Default: 0.5.",
            show_default=False,
        ),
    ] = None,
    tta: TtaOption = None,
    module: ModuleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a model for use without landsift's training libraries, checked against the run first.

    ONNX files take stored pixels and give probabilities; `landsift predict`
    and `landsift map` take them in place of RUN, without torch. A file is
    written only if it answers real patches as the run does.
    """
    from landsift.cli.printing import print_result
    from landsift.runtime.outputs import check_file, check_output

    if format == "timm":
        given = {"--check": check, "--calibrate": calibrate, "--max-loss": max_loss, "--tta": tta}
        if idle := [name for name, value in given.items() if value is not None]:
            raise typer.BadParameter("changes nothing with --format timm", param_hint=idle[0])
        from landsift.export.plain_timm import export_timm

        plain = export_timm(run, check_output(out), module=module)
        print_result(plain.to_dict(), plain.lines(), as_json=as_json)
        return
    if format not in ("onnx", "onnx-int8"):
        raise typer.BadParameter(f"'{format}' is not known: onnx, onnx-int8 or timm", param_hint="--format")
    if tta not in (None, "none", "flips"):
        raise typer.BadParameter(f"'{tta}' is not known: none or flips", param_hint="--tta")
    if format == "onnx":
        given = {"--calibrate": calibrate, "--max-loss": max_loss}
        if idle := [name for name, value in given.items() if value is not None]:
            raise typer.BadParameter("changes nothing without --format onnx-int8", param_hint=idle[0])
    if max_loss is not None and not 0 <= max_loss <= 100:
        raise typer.BadParameter(f"{max_loss} is no number of percentage points", param_hint="--max-loss")
    from landsift.export.write import MAX_LOSS, export_onnx

    check_file(out)
    found = export_onnx(
        run,
        out,
        format,  # type: ignore[arg-type]
        check=check,
        calibrate=calibrate,
        max_loss=MAX_LOSS if max_loss is None else max_loss / 100,
        tta=tta,  # type: ignore[arg-type]
        module=module,
    )
    print_result(found.to_dict(), found.lines(), as_json=as_json)


def card(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="A folder for the two files.", show_default=False),
    ],
    license: Annotated[
        str | None,
        typer.Option(
            "--license",
            metavar="NAME",
            help="Licence of the weights, such as apache-2.0.  Default: none is named.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Describe a run's model: README.md, a model card, and model.stac.json, for catalogues of models.

    Both are written from the run: data, split, intended use, figures with 95 %
    intervals, limits.
    """
    from landsift.cli.printing import print_result
    from landsift.export.cards import write_cards
    from landsift.runtime.outputs import check_file

    check_file(out / "README.md")
    written = write_cards(run, out, license=license)
    print_result({"run": str(run), "written": [str(path) for path in written]}, map(str, written), as_json=as_json)
