"""`landsift areas`: accuracy and areas of a map from labelled points."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from landsift.cli.options import JsonOption, MapArgument
from landsift.runtime.outputs import check_output, check_outside, output_error

if TYPE_CHECKING:
    from landsift.mapping.labelled import LabelledMap


def areas(
    map_path: MapArgument,
    labelled: Annotated[
        Path,
        typer.Argument(
            metavar="LABELLED", help="The points of `landsift sample`, with their classes.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="A new or empty folder for the tables.", show_default=False),
    ] = None,
    design: Annotated[
        Path | None,
        typer.Option(
            "--design",
            metavar="FILE",
            help="How the points were drawn.  Default: beside them, LABELLED.design.json.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Accuracy and areas of a map, with 95 % intervals, from labelled points.

    Only points that `landsift sample` drew from this map are taken, and only
    all of them; unlabelled ones are counted.
    """
    import landsift.mapping.beyond_maps  # noqa: F401
    from landsift.cli.printing import print_result
    from landsift.mapping.labelled import assess_map, to_json, write_assessment
    from landsift.runtime.whole import beside, writing

    if out is not None:
        out = check_output(out)
        check_outside(out, [map_path, labelled])
    found = assess_map(map_path, labelled, design=design)
    if out is not None:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(out, error) from None
        with writing(out), beside(out) as partial:
            partial.mkdir()
            write_assessment(found, partial)
            os.replace(partial, out)
    result = to_json(found) | {"out": None if out is None else str(out)}
    print_result(result, _lines(result, found, out), as_json=as_json)


def _lines(result: dict[str, Any], found: LabelledMap, out: Path | None) -> list[str]:
    names = found.assessment.classes
    width = max(len("class"), *map(len, names))
    few = f", {found.unlabelled:,} not" if found.unlabelled else ""
    lines = [f"{found.labelled:,} points labelled{few}; {result['hectares']:,.1f} hectares; intervals of 95 %", ""]
    lines += ["error matrix, points (rows: map, columns: reference)", *_matrix(names, found.assessment.counts, "{:,}")]
    lines += ["", "the same, per cent of the area", *_matrix(names, 100 * found.assessment.proportions, "{:.2f}")]
    lines += ["", f"overall accuracy  {_per_cent(result['overall'])}", ""]
    lines += [f"{'class':<{width}}  {'user’s, %':>22}  {'producer’s, %':>22}"]
    for each in result["classes"]:
        lines += [f"{each['class']:<{width}}  {_per_cent(each['users']):>22}  {_per_cent(each['producers']):>22}"]
    lines += ["", f"{'class':<{width}}  {'mapped, ha':>15}  {'estimated, ha':>15}  interval, ha"]
    for each in result["classes"]:
        value, low, high = (each["hectares"][key] for key in ("value", "low", "high"))
        lines.append(
            f"{each['class']:<{width}}  {each['mapped_hectares']:>15,.2f}  {value:>15,.2f}  {low:,.2f} to {high:,.2f}"
        )
    return [*lines, *([] if out is None else ["", str(out)])]


def _per_cent(share: dict[str, float | None]) -> str:
    value, low, high = share["value"], share["low"], share["high"]
    if value is None or low is None or high is None:
        return "no points"
    return f"{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _matrix(names: tuple[str, ...], values: Any, form: str) -> list[str]:
    cells = [[form.format(value) for value in row] for row in values]
    width = max(map(len, names))
    column = [max(len(name), *(len(row[k]) for row in cells)) for k, name in enumerate(names)]
    head = f"{'':<{width}}  " + "  ".join(f"{name:>{column[k]}}" for k, name in enumerate(names))
    return [head] + [
        f"{name:<{width}}  " + "  ".join(f"{row[k]:>{column[k]}}" for k in range(len(names)))
        for name, row in zip(names, cells, strict=True)
    ]
