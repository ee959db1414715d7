"""The command line: parses, calls, prints.

Results go to standard output, progress and notices to standard error. Exit codes: 0 success, 1 error, 2 wrong usage,
130 interrupted, 143 ended by SIGTERM, and 128 plus the number of any other signal that ended it.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from landsift.cli import cache as cache_commands
from landsift.cli import data as data_commands
from landsift.cli import slips
from landsift.cli.areas import areas
from landsift.cli.change import change
from landsift.cli.compare import compare
from landsift.cli.config import config_command
from landsift.cli.crash_report import tell
from landsift.cli.export import card, export
from landsift.cli.map import map_command
from landsift.cli.options import (
    ConfigOption,
    CriterionOption,
    JsonOption,
    MarginOption,
    ModuleOption,
    RemoteOption,
    RunArgument,
    rule_changes,
)
from landsift.cli.predict import predict
from landsift.cli.pretrain import pretrain
from landsift.cli.sample import sample
from landsift.cli.tune import page_again, tune
from landsift.cli.zones import zones
from landsift.errors import LandsiftError
from landsift.runtime.interruption import Terminated, end_on_signals
from landsift.runtime.notices import open_missing_streams, put_out, show_on_stderr
from landsift.runtime.outputs import check_file, no_working_folder
from landsift.runtime.threads import settle


class _Commands(slips.Commands):
    def invoke(self, ctx: Any) -> Any:
        """Run the command; typer exits with 1 and no message where a library raises one of these."""
        try:
            return super().invoke(ctx)
        except (EOFError, BrokenPipeError) as error:
            tell(error)
            raise typer.Exit(1) from None


app = typer.Typer(
    name="landsift",
    cls=_Commands,
    help="From labelled satellite patches to a tested land-use classifier, its report and its predictions.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_commands.app, name="data")
app.add_typer(cache_commands.app, name="cache")

INTERRUPTED = 130


def _print_version(asked: bool) -> None:
    if asked:
        import landsift
        from landsift.cli.printing import say

        say(landsift.__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """From labelled satellite patches to a tested land-use classifier, its report and its predictions."""


@app.command(cls=slips.Command, no_args_is_help=True)
def run(
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="RUN", help="The run directory to write: new or empty.", show_default=False
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help="synthetic, eurosat, a folder with one folder per class, or a CSV or Parquet table "
            "(path, label; optional split, group).  Default: data.source of the configuration.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", "-s", metavar="KEY=VALUE", help="Change one setting, such as training.image_size=128; repeatable."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="TEXT", help="What the report and W&B call the run (tracking.name).", show_default=False
        ),
    ] = None,
    note: Annotated[
        str | None,
        typer.Option("--note", metavar="TEXT", help="What they say of it (tracking.note).", show_default=False),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Ignore the cache and run every stage from its start.")
    ] = False,
    remote: RemoteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a classifier, test it, and write a run directory with its report.

    Stages whose data, settings and code have not changed come from the cache;
    an interrupted training resumes.
    """
    from landsift.cli.printing import print_run, say
    from landsift.config import RunConfig

    if out is None and remote is None:
        raise typer.BadParameter("a run on this machine needs --out RUN", param_hint="--out")
    chosen = RunConfig.load(config, settings or ())
    given = {"data.source": data, "tracking.name": name, "tracking.note": note}
    chosen = chosen.replace(*(f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None))
    slips.needs_source(chosen.data, "run", {"--out": str(out or "RUN")})
    from landsift.pipeline import run as pipeline

    command = ["landsift", *sys.argv[1:]]
    if remote is not None:
        url = pipeline.submit(chosen, remote, cache=not no_cache, command=command)
        say(json.dumps({"url": url}) if as_json else url)
        return
    assert out is not None
    finished = pipeline.run(chosen, out, cache=not no_cache, command=command, config_file=config)
    print_run(finished, as_json=as_json)


app.command(cls=slips.Command, no_args_is_help=True)(compare)
app.command(cls=slips.Command, no_args_is_help=True)(predict)
app.command(cls=slips.Command, no_args_is_help=True)(tune)
app.command(cls=slips.Command, no_args_is_help=True)(pretrain)
app.command("map", cls=slips.Command, no_args_is_help=True)(map_command)
app.command("config", cls=slips.Command)(config_command)
for command in (zones, change, sample, areas, export, card):
    app.command(cls=slips.Command, no_args_is_help=True)(command)


@app.command(cls=slips.Command, no_args_is_help=True)
def evaluate(
    run: RunArgument,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Labelled patches, as in `landsift run --data`, or a store written by `landsift data build`.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="A new or empty folder for the metrics and predictions."),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option("--part", metavar="PART", help="For patches with a split: train, val, test or all."),
    ] = None,
    known_only: Annotated[
        bool, typer.Option("--known-only", help="Skip patches of classes that the model does not know.")
    ] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE", help="Change one setting; repeatable.")
    ] = None,
    module: ModuleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Test a trained model on other labelled patches: another year, another region.

    Reports all test metrics with their 95 % intervals. If a table has a column
    'group', the intervals are over groups.
    """
    from landsift.cli.evaluate import evaluate as call

    slips.run_first("evaluate", run, [source], out)
    call(
        run,
        source,
        out,
        part=part,
        known_only=known_only,
        settings=settings or (),
        module=module,
        as_json=as_json,
    )


@app.command(cls=slips.Command, no_args_is_help=True)
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN|DIR", help="A run directory, a comparison or a search.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE.html",
            help="The page to write.  Default: the one in the folder, with the tables and figures of a comparison.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help="Where the run's patches are, as in `landsift run`, to show pictures of them.  "
            "Default: those in the cache of this machine.",
            show_default=False,
        ),
    ] = None,
    criterion: CriterionOption = None,
    margin: MarginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rewrite the report of a run, pretraining or search, or re-evaluate a comparison and rewrite its files.

    Nothing is trained. A comparison keeps its criterion and margin unless you
    give others. Of the image files that a run names, only those in its own
    folder or in --data are opened.
    """
    from landsift.cli.printing import print_result
    from landsift.runs import COMPARISON, REPORT, Run, is_pretraining, is_search, read_as_written, write_text

    changes = rule_changes(criterion, margin)
    page_file = folder / REPORT if out is None else out
    check_file(page_file)
    result: dict[str, Any] = {"report": str(page_file)}
    lines = []
    if (folder / COMPARISON).is_file():
        from landsift.evaluation.finished_comparison import evaluated_again
        from landsift.reports.comparison.files import write_figures
        from landsift.reports.comparison.page import comparison_html

        again = evaluated_again(folder, changes)
        if out is None:
            write_figures(folder, again)
        else:
            write_text(out, comparison_html(again))
        result |= {"results": again["results"], "recommendations": again["recommendations"]}
        lines = [advice["sentence"] for advice in again["recommendations"]]
    elif is_pretraining(folder):
        from landsift.reports.pretraining.page import pretraining_html

        if changes or data is not None:
            raise typer.BadParameter(f"{folder} is a pretraining", param_hint="--criterion, --margin and --data")
        write_text(page_file, pretraining_html(folder))
    elif is_search(folder):
        if changes or data is not None:
            raise typer.BadParameter(f"{folder} is a search", param_hint="--criterion, --margin and --data")
        write_text(page_file, page_again(folder))
    else:
        from landsift.config import cache_folder
        from landsift.pipeline.cache.locks import using
        from landsift.reports.run.page import report_html

        if changes:
            raise typer.BadParameter(f"{folder} is not a comparison", param_hint="--criterion and --margin")
        with read_as_written(folder), using(cache_folder()):
            page = report_html(Run.open(folder), source=data)
        write_text(page_file, page)
    print_result(result, [*lines, str(page_file)], as_json=as_json)


def main() -> None:
    """Run the command line; the entry point of the `landsift` command."""
    open_missing_streams()
    settle()
    show_on_stderr()
    end_on_signals()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path need not be text
    try:
        _check_working_folder()
        app()
    except LandsiftError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, slips.WrongUsage) else 1)
    except Terminated as ended:
        print(f"ended by {ended.number.name}", file=sys.stderr)
        raise
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:  # typer exits with this code on Ctrl+C and prints nothing
            print("interrupted", file=sys.stderr)
        raise
    except Exception as error:  # noqa: BLE001 (two lines say more than a hundred)
        tell(error)
        sys.exit(1)
    finally:
        with contextlib.suppress(OSError):
            put_out(end="")  # what typer has printed


def _check_working_folder() -> None:
    try:
        Path.cwd()
    except FileNotFoundError:
        raise no_working_folder() from None
