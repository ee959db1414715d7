"""Likely slips of the command line, answered with the line that was probably meant.

A slip costs nobody anything but time: it is refused as before, with exit code 2. This module loads nothing heavy unless
there is one.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from landsift.errors import LandsiftError

WrongUsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""What typer raises for a wrong line (click's UsageError, or typer's own copy of it)."""

COMMANDS = {
    "train": "run", "fit": "run", "finetune": "run", "test": "evaluate", "eval": "evaluate", "score": "evaluate",
    "infer": "predict", "inference": "predict", "classify": "predict", "predictions": "predict", "convert": "export",
    "onnx": "export", "view": "report", "show": "report", "html": "report", "download": "data download",
    "check": "data check", "build": "data build", "synthesize": "data synthesize", "prune": "cache prune",
    "configuration": "config", "defaults": "config", "settings": "config", "area": "areas", "pretraining": "pretrain",
    "comparison": "compare", "search": "tune", "optimize": "tune", "sweep": "tune", "hpo": "tune", "help": "--help",
    "version": "--version",
}  # fmt: skip
"""Names that people give to commands, and their names here."""
OPTIONS = {
    "dataset": "--data", "source": "--data", "folder": "--data", "input": "--data", "datadir": "--data",
    "images": "--data", "patches": "--data", "traindir": "--data", "output": "--out", "outputdir": "--out",
    "outdir": "--out", "outputfolder": "--out", "run": "--out", "rundir": "--out", "save": "--out",
    "cfg": "--config", "yaml": "--config", "configuration": "--config", "title": "--name", "description": "--note",
}  # fmt: skip
"""Names that people give to options, without hyphens, and their names here."""
SETTINGS = {
    "batch": "training.batch_size", "bs": "training.batch_size", "size": "training.image_size",
    "imgsize": "training.image_size", "imagesize": "training.image_size", "resolution": "training.image_size",
    "model": "model.backbone", "arch": "model.backbone", "architecture": "model.backbone", "network": "model.backbone",
    "pretrained": "model.weights", "labels": "data.budget", "gpu": "training.devices", "gpus": "training.devices",
    "device": "training.accelerator", "wandb": "tracking.wandb", "root": "data.eurosat.root", "dropout":
    "model.head.dropout", "smoothing": "training.label_smoothing", "randomseed": "seed", "tta": "evaluation.tta",
    "amp": "training.precision", "fp16": "training.precision",
}  # fmt: skip
"""Names that people give to options, without hyphens, and the key that `--set` takes."""
OF_A_PHASE = {
    "epochs": "epochs", "epoch": "epochs", "nepochs": "epochs", "numepochs": "epochs", "lr": "lr_head",
    "learningrate": "lr_head", "lrhead": "lr_head", "lrbackbone": "lr_backbone",}  # fmt: skip
"""... and the key of a phase of the strategy."""
TRAINING = ("run", "compare", "tune", "pretrain")
RUN_FIRST = ("predict", "evaluate", "map", "export", "card")
"""Commands whose first argument is the run."""
OF_THE_RUN = ("run", "rundir", "model", "checkpoint", "ckpt", "weights")


class WrongUsage(LandsiftError):  # noqa: N818 (an answer more than an error)
    """A line that cannot be run, and the one that was probably meant."""


class Command(TyperCommand):
    """A command that answers a likely slip with the right line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; raises WrongUsage for a slip that is known, else typer's own error."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except WrongUsageError as error:
            answer = answered(ctx, given, error)
            if answer is None:
                raise
            raise answer from None


class Commands(TyperGroup):
    """The commands, of which a wrong name is answered with the right one."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; raises WrongUsage where its name is known under another."""
        name, rest = args[0], args[1:]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            right = COMMANDS.get(name.lower().replace("-", "").replace("_", ""))
            above = "data" if ctx.info_name == "data" else "cache" if ctx.info_name == "cache" else ""
            if above:
                right = right.split()[-1] if right and right.startswith(f"{above} ") else None
            if right is None:
                known = {each: each for each in self.list_commands(ctx)} | ({} if above else COMMANDS)
                right = next((known[each] for each in get_close_matches(name.lower(), known, n=1, cutoff=0.75)), None)
            if right:
                line = ["landsift", *([above] if above else []), *right.split(), *([] if right[0] == "-" else rest)]
                raise WrongUsage(f"there is no command '{name}'", f"try: {shlex.join(line)}")
        return super().resolve_command(ctx, args)


def answered(ctx: Any, args: Sequence[str], error: Exception) -> WrongUsage | None:
    """What to say of a line that cannot be parsed; None where no likely slip is in it.

    Args:
        ctx: of the command.
        args: those of the line after the command's name.
        error: typer's.
    """
    options = [name for parameter in ctx.command.params for name in getattr(parameter, "opts", ())]
    options += [name for parameter in ctx.command.params for name in getattr(parameter, "secondary_opts", ())]
    wrong = getattr(error, "option_name", None)
    said = _wrong_option(ctx, args, wrong, options) if wrong else None
    if said is None and not wrong and "unexpected extra argument" in str(getattr(error, "message", error)):
        said = _extra(ctx, args, options)
    return said


def _wrong_option(ctx: Any, args: Sequence[str], wrong: str, options: Sequence[str]) -> WrongUsage | None:
    at = next((i for i, each in enumerate(args) if each.split("=")[0].startswith(wrong)), None)
    if at is None:
        return None
    token, equals, value = args[at].partition("=")
    if token in options:  # its value is missing
        return None
    rest = list(args[at + 1 :])
    if not equals and rest and not rest[0].startswith("-"):
        value, rest = rest[0], rest[1:]
    name = token.lstrip("-").lower().replace("_", "-")
    plain = name.replace("-", "")

    def with_option(option: str) -> WrongUsage:
        return _try(ctx, f"there is no option {token}", [*args[:at], option, *([value] if value else []), *rest])

    several = f"--{name[:-1]}ies" if name.endswith("y") else f"--{name}s"
    given = {each.split("=")[0] for each in args}
    for option in (f"--{name}", several, OPTIONS.get(plain)):
        if option and option in options and option not in given:
            return with_option(option)
    if ctx.command.name in RUN_FIRST and value:
        message = f"there is no option {token}: its value stands alone"
        if plain in OF_THE_RUN:
            return _try(ctx, message, [value, *args[:at], *rest])
        if plain in ("data", *(word for word, option in OPTIONS.items() if option == "--data")):
            return _try(ctx, message, [*args[:at], *rest, value])
    if "--set" in options and ctx.command.name in TRAINING:
        if plain in OF_A_PHASE:
            return WrongUsage(f"there is no option {token}", _of_a_phase(ctx, args, OF_A_PHASE[plain], value))
        if key := SETTINGS.get(plain) or _key_named(name):
            return with_set(ctx, f"there is no option {token}", [*args[:at], *rest], f"{key}={value or 'VALUE'}")
    return None


def with_set(ctx: Any, message: str, args: Sequence[str], setting: str) -> WrongUsage:
    """A slip whose right line has one more `--set`."""
    return _try(ctx, message, [*args, "--set", setting])


def _extra(ctx: Any, args: Sequence[str], options: Sequence[str]) -> WrongUsage | None:
    """A value without its option: a source, a file of settings, or a setting."""
    taking = {
        name
        for parameter in ctx.command.params
        if not getattr(parameter, "is_flag", False)
        for name in getattr(parameter, "opts", ())
        if name.startswith("-")
    }
    alone = [
        i
        for i, each in enumerate(args)
        if not each.startswith("-") and not (i and args[i - 1] in taking) and "--" not in args[:i]
    ]
    if not alone or ctx.command.name not in TRAINING:
        return None
    at = alone[0]
    value = args[at]
    before, after = list(args[:at]), list(args[at + 1 :])
    if before and before[-1].startswith("--set=") and before[-1].count("=") == 1:
        return _try(ctx, "--set takes key=value", [*before[:-1], "--set", f"{before[-1][6:]}={value}", *after])
    if len(before) > 1 and before[-2] in ("--set", "-s") and "=" not in before[-1]:
        return _try(ctx, "--set takes key=value", [*before[:-1], f"{before[-1]}={value}", *after])
    if "=" in value:
        return _try(ctx, f"'{value}' stands alone", [*before, "--set", value, *after])
    if value.endswith((".yaml", ".yml")) and "--config" not in args and "-c" not in args:
        return _try(ctx, f"'{value}' stands alone", [*before, "--config", value, *after])
    if "--data" in options and not any(each.split("=")[0] == "--data" for each in args):
        return _try(ctx, f"'{value}' stands alone", [*before, "--data", value, *after])
    if not {"--out", "-o"} & {each.split("=")[0] for each in args}:
        return _try(ctx, f"'{value}' stands alone", [*before, "--out", value, *after])
    return None


def _try(ctx: Any, message: str, args: Sequence[str]) -> WrongUsage:
    command = ctx.command.name
    line = ["landsift", command, *args]
    if command in TRAINING and not {"--out", "-o", "--remote"} & {each.split("=")[0] for each in args}:
        line += ["--out", "RUN" if command == "run" else "DIR"]
    return WrongUsage(message, f"try: {shlex.join(line)}")


def _key_named(name: str) -> str | None:
    """The key of the configuration of which `name` is the last part."""
    from landsift.config import known_keys

    wanted = name.replace("-", "_")
    found = [key for key in known_keys() if key.rpartition(".")[2] == wanted]
    return min(found, key=lambda key: key.count("."), default=None)


def _of_a_phase(ctx: Any, args: Sequence[str], key: str, value: str) -> str:
    from landsift.config import RunConfig
    from landsift.errors import ConfigError
    from landsift.training.strategies import resolve_strategy, spelled_out

    why = "epochs and learning rates belong to the phases of the strategy"
    default = RunConfig.model_fields["strategy"].default
    named = next((each.partition("=")[2] for each in args if each.startswith("strategy=")), default)
    try:
        phases = resolve_strategy(named)
    except ConfigError:
        return f"{why}: docs/strategies.md"
    if ctx.command.name != "run":
        return f"{why}; give a strategy of your own under strategies: docs/strategies.md"
    return f"{why}: --set {shlex.quote(spelled_out(phases, key, value or 'VALUE'))}"


def run_first(command: str, run: Path, others: Iterable[Path | str], out: Path | str | None = None) -> None:
    """Refuse patches in the place of the run, and the run among what is to be classified.

    Raises:
        WrongUsage: names the right line.
    """
    named = [str(other) for other in others]
    if _is_run(run) or not any(map(_is_run, map(Path, named))):
        return
    right = next(name for name in named if _is_run(Path(name)))
    rest = [str(run) if name == right else name for name in named]
    line = ["landsift", command, right, *rest, *(["--out", str(out)] if out is not None else [])]
    raise WrongUsage(f"{run} is no run; the run comes first", f"try: {shlex.join(line)}")


def _is_run(path: Path) -> bool:
    inside = any((path / name).is_file() for name in ("model.json", "model/model.json"))
    return inside or (path.suffix == ".onnx" and path.is_file())


def needs_source(data: Any, command: str, given: Mapping[str, str]) -> None:
    """Refuse a command without patches: the configuration's default, generated ones, is hardly what was meant.

    Args:
        data: the section of the configuration.
        command: its name.
        given: the other options of the right line.

    Raises:
        WrongUsage: neither `--data` nor the configuration names a source.
    """
    if data.model_fields_set & {"source", "synthetic"}:
        return
    line = ["landsift", command, "--data", "SOURCE", *(part for pair in given.items() for part in pair)]
    raise WrongUsage(
        "no patches are named",
        f"{shlex.join(line)}: SOURCE is a folder with one folder per class, a CSV or Parquet table, eurosat, or "
        "synthetic (generated patches)",
    )
