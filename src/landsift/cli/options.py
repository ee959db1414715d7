"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from landsift.errors import ConfigError
from landsift.runtime.outputs import absolute

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="A YAML configuration.", show_default=False)
]
CriterionOption = Annotated[
    str | None,
    typer.Option(
        "--criterion",
        metavar="NAME",
        help="How strategies are ranked: accuracy, macro_f1 or balanced_accuracy.",
        show_default=False,
    ),
]
MarginOption = Annotated[
    float | None,
    typer.Option(
        "--margin",
        metavar="POINTS",
        help="A strategy that needs less compute is recommended if it is at most this many percentage points worse "
        "than the best.  Default: 1.",
        show_default=False,
    ),
]
ModuleOption = Annotated[
    str | None,
    typer.Option(
        "--module",
        metavar="MODULE",
        help="For a network that is not timm's own: the module or .py file that registers it with timm. It is "
        "executed.  Default: the one used in training, if that was on this machine.",
        show_default=False,
    ),
]
RunArgument = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="A run directory, or a file that `landsift export` wrote.", show_default=False),
]
MapArgument = Annotated[
    Path, typer.Argument(metavar="MAP", help="A raster whose classes have names in it.", show_default=False)
]
TtaOption = Annotated[
    str | None,
    typer.Option(
        "--tta",
        metavar="none|flips",
        help="Test-time augmentation; none is up to 8 times as fast as flips.  Default: as the model says.",
        show_default=False,
    ),
]
ReadingOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="How the files are read: data.bands, data.sensor, data.reflectance or data.indices; repeatable.  "
        "Default: as in training.",
    ),
]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="local|ADDRESS",
        help="Where it runs: in processes of this machine, or on the workers of the Dask scheduler at an address, such "
        "as tcp://host:8786, or of the file that it wrote.",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        help="Threads of each of the --workers.  Default: their share of the cores.",
        min=1,
        show_default=False,
    ),
]
GpusOption = Annotated[
    int | None,
    typer.Option(
        "--gpus",
        metavar="N",
        help="GPUs for each of the --workers alone.  Default: all see all.",
        min=1,
        show_default=False,
    ),
]
RemoteOption = Annotated[
    Path | None,
    typer.Option("--remote", metavar="FLYTE_CONFIG", help="Submit to the Flyte cluster of this configuration file."),
]


def rule_changes(criterion: str | None, margin: float | None) -> dict[str, Any]:
    """The changes that the two options make to the rule for recommending; points become shares."""
    return {
        **({} if criterion is None else {"criterion": criterion}),
        **({} if margin is None else {"margin": margin / 100}),
    }


SPLIT = ("data.split", "data.budget", "data.budget_seed")
"""The keys that decide the split; they do not change the patches."""


def settings_of(source: str, *, stored: bool = True) -> tuple[str, ...]:
    """The keys of the configuration that change how a source is decoded.

    Args:
        source: as in `landsift run --data`, or a store, which is decoded already.
        stored: whether their store is kept or checked; a model has its own patch size, and needs no locations.
    """
    from landsift.runs import STORE_META

    if (absolute(source) / STORE_META).is_file():
        return ()
    of_files: tuple[str, ...] = ("data.bands", "data.sensor", "data.reflectance", "data.indices", "data.max_unreadable")
    of_files = (*of_files, "data.locations") if stored else of_files
    own = {"synthetic": ("data.synthetic",), "eurosat": ("data.eurosat", *of_files)}
    size = ("data.patch_size",) if stored else ()
    return (*size, *own.get(source, of_files))


def reading(settings: Iterable[str], where: str) -> dict[str, Any]:
    """What `--set` says of how files are read, by the names of the keys; raises ConfigError for other keys.

    Args:
        settings: as `--set` gives them.
        where: as of `refuse_idle`.
    """
    from landsift.config import READING, RunConfig

    settings = list(settings)
    refuse_idle(settings, [f"data.{name}" for name in READING], where)
    data = RunConfig.load(None, settings).data
    return {name: getattr(data, name) for name in READING if name in data.model_fields_set}


def refuse_idle(settings: Iterable[str], acting: Iterable[str], where: str) -> None:
    """Refuse a setting that a command would ignore.

    Args:
        settings: as `--set` gives them.
        acting: keys, or sections of keys, that change something in this command.
        where: the end of "changes nothing ...".

    Raises:
        ConfigError: one changes nothing, or is not a setting.
    """
    from landsift import config_overrides
    from landsift.config import RunConfig

    acting, settings = tuple(acting), tuple(settings)
    RunConfig.load(None, settings)  # an unknown key is reported as unknown
    for setting in settings:
        values: dict[str, Any] = {}
        config_overrides.apply(values, setting)
        for key in _keys(values):
            if not any(key == one or key.startswith(f"{one}.") for one in acting):
                hint = f"keys that do: {', '.join(acting)}" if acting else "leave --set out"
                raise ConfigError(f"configuration key '{key}' changes nothing {where}", hint)


def _keys(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _keys(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"
