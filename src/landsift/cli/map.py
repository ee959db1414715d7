"""`landsift map`: a trained model on whole scenes."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from landsift.cli.options import (
    EngineOption,
    GpusOption,
    JsonOption,
    ModuleOption,
    ReadingOption,
    RemoteOption,
    RunArgument,
    ThreadsOption,
    TtaOption,
    reading,
)
from landsift.cli.slips import run_first
from landsift.engine.options import LOCAL
from landsift.extras import lacks, needs

if TYPE_CHECKING:
    from collections.abc import Callable

    from landsift.engine import EngineOptions
    from landsift.mapping.make import MapResult
    from landsift.mapping.many import Maps
    from landsift.mapping.map_options import MapOptions
    from landsift.mapping.scenes import Scene

logger = logging.getLogger("landsift")

_OF_PAGES = ("jinja2", "maplibre", "pandas", "plotly", "pyarrow", "scipy")
_FILE = re.compile(r".*\.(g(eo)?tiff|cog|vrt|img|jp2|png|jpe?g|html|json|csv|gpkg)", re.IGNORECASE | re.DOTALL)
"""A name for --out that means a file: no folder is called so."""


def map_command(
    run: RunArgument,
    scenes: Annotated[
        list[str],
        typer.Argument(
            metavar="SCENE...",
            help="One scene: a raster, the files of its bands, a STAC item or a folder .SAFE.  With --out FOLDER "
            "several: rasters, folders of them, STAC items or collections; with --remote their addresses.",
            show_default=False,
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="MAP.tif|FOLDER",
            help="The map to write, or, for several scenes, a folder for their maps; with --remote its address, such "
            "as s3://bucket/maps.",
            show_default=False,
        ),
    ],
    stride: Annotated[
        int | None,
        typer.Option(
            "--stride",
            metavar="N",
            help="Pixels from a patch to the next, and side of a cell; less than a patch: they overlap.  "
            "Default: those of a patch.",
            show_default=False,
        ),
    ] = None,
    dense: Annotated[
        bool,
        typer.Option(
            "--dense",
            help="For overlapping patches: let the first layers pass over the scene once, for all patches. "
            "Convolutional backbones only; how far it agrees with patch by patch is measured first.",
        ),
    ] = False,
    agreement: Annotated[
        float | None,
        typer.Option(
            "--agreement",
            metavar="SHARE",
            help="With --dense: share of patches that should get the same class as patch by patch; the higher, the "
            "slower.  Default: 0.95.",
            show_default=False,
        ),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(
            "--mask",
            metavar="FILE",
            help="A raster of pixels that do not show the ground, such as SCL.tif; none: no mask.  "
            "Default: the one that the scene brings.",
            show_default=False,
        ),
    ] = None,
    mask_classes: Annotated[
        str | None,
        typer.Option(
            "--mask-classes",
            metavar="N,M",
            help="Numbers of the mask that do not show the ground.  Default: of SCL clouds, their shadows and defects; "
            "of a mask of 0 and 255 the 0.",
            show_default=False,
        ),
    ] = None,
    min_valid: Annotated[
        float | None,
        typer.Option(
            "--min-valid",
            metavar="SHARE",
            help="Share of a patch's pixels that must be valid for a class.  Default: 0.9.",
            show_default=False,
        ),
    ] = None,
    probabilities: Annotated[
        bool,
        typer.Option("--probabilities", help="Write the probabilities of all classes too: MAP.probabilities.tif."),
    ] = False,
    smooth: Annotated[
        int | None,
        typer.Option(
            "--smooth",
            metavar="N",
            help="Bayesian smoothing with the N × N cells around each.  Default: none.",
            show_default=False,
        ),
    ] = None,
    smooth_variance: Annotated[
        float | None,
        typer.Option(
            "--smooth-variance",
            metavar="X",
            help="Variance of the logits of one class; the larger, the smoother.  Default: 20.",
            show_default=False,
        ),
    ] = None,
    tta: TtaOption = None,
    page: Annotated[
        bool | None,
        typer.Option(
            "--page/--no-page",
            help="Write MAP.html beside a map.  Default: where what it needs is installed.",
            show_default=False,
        ),
    ] = None,
    settings: ReadingOption = None,
    device: Annotated[
        str, typer.Option("--device", metavar="DEVICE", help="auto (a GPU if there is one), cpu, cuda, cuda:1, ...")
    ] = "auto",
    module: ModuleOption = None,
    engine: EngineOption = LOCAL,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            "-j",
            metavar="N",
            help="Processes of this machine, each with a scene at a time.  Default: this one alone.  With --remote: "
            "scenes that are mapped at the same time.  Default: 8.",
            min=1,
            show_default=False,
        ),
    ] = None,
    threads: ThreadsOption = None,
    gpus: GpusOption = None,
    remote: RemoteOption = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            "--schedule",
            metavar="CRON",
            help='With --remote: map what is new at these times, such as "0 3 * * *", instead of now.  Made but not '
            "active.",
            show_default=False,
        ),
    ] = None,
    activate: Annotated[bool, typer.Option("--activate", help="With --schedule: active from now on.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --remote: check, print what would be sent, and send nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Map scenes: the class of each patch, with its confidence, as a GeoTIFF with names and colours.

    Of RUN only the folder RUN/model is needed. With --out FOLDER every SCENE is a
    scene of its own; maps that are there already are left, and a scene that cannot
    be mapped does not stop the others.
    """
    from landsift.models.onnx_predictor import ENDING

    if run.suffix.lower() == ENDING:
        needs("odc", "pyproj", "pystac", "rasterio", "shapely", extra="runtime-maps", what="a map")
    from landsift.mapping.map_options import LoadedModel, MapOptions

    for name, value, needed, by in (
        ("--schedule", schedule, remote, "--remote"),
        ("--dry-run", dry_run, remote, "--remote"),
        ("--activate", activate, schedule, "--schedule"),
    ):
        if value not in (None, False) and needed is None:
            raise typer.BadParameter(f"changes nothing without {by}", param_hint=name)
    one = Path(out).suffix.lower() in (".tif", ".tiff")
    _check_engine(engine, None if remote else workers, threads, gpus, device, remote=remote is not None, one=one)
    of_cluster = [each for each in settings or () if remote and each.startswith("cluster.gpu=")]
    settings = [each for each in settings or () if each not in of_cluster]
    given = {
        "stride": stride,
        "agreement": agreement,
        "mask": mask,
        "mask_classes": None if mask_classes is None else _numbers(mask_classes),
        "min_valid": min_valid,
        "smooth": smooth,
        "smooth_variance": smooth_variance,
        "tta": tta,
    }
    run_first("map", run, scenes, out)
    options = MapOptions(
        dense=dense,
        probabilities=probabilities,
        reading=reading(settings, "in a map"),
        **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
    )
    if agreement is not None and not dense:
        raise typer.BadParameter("changes nothing without --dense", param_hint="--agreement")
    if smooth is None and smooth_variance is not None:
        raise typer.BadParameter("changes nothing without --smooth", param_hint="--smooth-variance")
    if remote is not None:
        if device != "auto":
            raise typer.BadParameter("with --remote, --set cluster.gpu=T4:1 asks for a GPU", param_hint="--device")
        if module is not None:
            raise typer.BadParameter("a cluster gets landsift's own code alone", param_hint="--module")
        from landsift.cli.map_remote import Remote, map_remote

        cluster = Remote(remote, workers or 8, of_cluster, schedule, activate, dry_run)
        map_remote(run, scenes, out, options, cluster, page=page is not False, as_json=as_json)
        return

    finish = _page(page)
    if one:
        _one(
            lambda: LoadedModel.load(run, options, module=module, device=device),
            scenes,
            Path(out),
            options,
            finish,
            as_json=as_json,
        )
        return
    from landsift.evaluation.on_engine import options_of

    work = _Work(run, options, module, device, options_of(engine, workers, threads, gpus))
    _many(work, scenes, Path(out), finish, as_json=as_json)


def _check_engine(
    engine: str, workers: int | None, threads: int | None, gpus: int | None, device: str, *, remote: bool, one: bool
) -> None:
    """Refuse options of an engine that change nothing, or say two things."""
    given = {"--engine": engine != LOCAL, "--workers": workers, "--threads": threads, "--gpus": gpus}
    name = next((name for name, value in given.items() if value), None)
    if name is None:
        return
    if remote:
        raise typer.BadParameter("changes nothing with --remote, where each scene is a task", param_hint=name)
    if one:
        raise typer.BadParameter("changes nothing with one map; --out FOLDER has one of each scene", param_hint=name)
    if gpus and device not in ("auto", "cuda"):
        message = (
            f"{device} changes nothing with --gpus, which gives each process GPUs of its own; leave one of both out"
        )
        raise typer.BadParameter(message, param_hint="--device")
    if engine == LOCAL and workers in (None, 1) and (threads or gpus):
        logger.warning("--threads and --gpus change nothing in one process; --workers N has several")


def _one(loaded: Any, scenes: list[str], out: Path, options: MapOptions, finish: Any, *, as_json: bool) -> None:
    from landsift.cli.printing import print_result
    from landsift.mapping.make import check_map, mapped

    check_map(out, scenes, options)
    result = mapped(loaded(), scenes, out, options, finish)
    print_result(result.to_dict(), _lines(result), as_json=as_json)


class _Work(NamedTuple):
    """Who maps several scenes, with what."""

    run: Path
    options: MapOptions
    module: str | None
    device: str
    engine: EngineOptions


def _many(work: _Work, scenes: list[str], out: Path, finish: Any, *, as_json: bool) -> None:
    from landsift.cli.printing import print_result
    from landsift.errors import RunError
    from landsift.mapping.many import check_all_made, map_scenes, scenes_of
    from landsift.mapping.many_on_engine import Making, on_engine
    from landsift.mapping.map_options import LoadedModel
    from landsift.runtime.outputs import check_file

    if _FILE.fullmatch(out.name) and not out.is_dir():
        raise RunError(f"--out {out}: a map is a .tif, several are a folder", f"give {out.with_suffix('.tif')}")
    found = scenes_of(scenes)
    check_file(out / f"{found[0].name}.tif")
    run, options, module, device, engine = work
    # With an engine the model is loaded here to know the maps that are there: its workers have the GPUs.
    model = LoadedModel.load(run, options, module=module, device=device if engine.in_process else "cpu")
    others = None
    if not engine.in_process:
        making = Making.of(model, options, finish, module=module, device=device)
        others = on_engine(engine, making, [each.sources for each in found], out)
    maps = map_scenes(model, found, out, options, finish, () if finish in (None, _no_page) else ("html",), others)
    print_result(maps.to_dict(), _summary(maps), as_json=as_json)
    check_all_made(maps.to_dict())


def _page(wanted: bool | None) -> Callable[[Path, Scene], None] | None:
    """What writes a map's page, or says that what it needs is not installed; None: there is to be none."""
    if wanted is False:
        return None
    if wanted is None and lacks(*_OF_PAGES):
        return _no_page
    from landsift.reports.maps.page import write_page_of  # where something is missing it is said before the map is made

    return write_page_of


def _no_page(path: Path, scene: Scene) -> None:
    logger.info("no page beside %s: it needs landsift[maps] (%s)", path.name, ", ".join(lacks(*_OF_PAGES)))


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(sorted({int(each) for each in text.split(",")}))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no list of whole numbers", param_hint="--mask-classes") from None


def _lines(result: MapResult) -> list[str]:
    import math

    known = not any(map(math.isnan, result.hectares))
    width = max(map(len, [*result.classes, "no data"]))
    lines = [f"{'':<{width}}  {'cells':>10}  {'hectares' if known else '':>14}   share"]
    rows = zip(result.classes, result.cells, result.hectares, result.shares, strict=True)
    for name, cells, hectares, share in sorted(rows, key=lambda row: -row[1]):
        amount = f"{hectares:>14,.1f}" if known else f"{'':>14}"
        lines.append(f"{name:<{width}}  {cells:>10,}  {amount}  {100 * share:>5.1f} %")
    lines.append(f"{'no data':<{width}}  {result.no_data:>10,}")
    if result.agreement is not None:
        lines += ["", f"dense mode: {result.agreement}"]
    if result.smoothed is not None:
        lines += ["", f"smoothing: {100 * result.smoothed:.1f} % of the cells got another class"]
    return [*lines, "", _told(result)]


def _summary(maps: Maps) -> list[str]:
    from landsift.mapping.many import counts_of

    lines = [_told(each) for each in maps.made]
    lines += [f"{each}  left as it is" for each in maps.left]
    return [*lines, "", counts_of(maps.to_dict())]


def _told(result: MapResult) -> str:
    speed = result.patches / max(result.seconds, 1e-9)
    return (
        f"{result.path}  {result.grid.height:,} × {result.grid.width:,} cells, {result.patches:,} patches in "
        f"{result.seconds:.1f} s ({speed:,.0f} patches/s)"
    )
