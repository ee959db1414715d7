"""One scene among several as a task: what is to be mapped, the map of it or why there is none, and in which order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from landsift.errors import ConfigError, LandsiftError, ModelError, to_record
from landsift.mapping.make import MapResult, mapped
from landsift.mapping.map_options import LoadedModel, MapOptions, Source
from landsift.mapping.map_place import files_of_map
from landsift.mapping.scenes import Scene

logger = logging.getLogger("landsift")

Finish = Callable[[Path, Scene], object]
"""As of `mapped`."""


class SceneTask(NamedTuple):
    """A scene that is to be mapped.

    Attributes:
        number: of the scene, from 1.
        total: scenes of the command.
        name: of its map, without an ending.
        sources: its files, as of `open_scene`.
        out: path of its map.
        key: of its map.
    """

    number: int
    total: int
    name: str
    sources: tuple[Source, ...]
    out: Path
    key: str


Runner = Callable[[Iterable[Iterable[SceneTask]]], Iterator[tuple[SceneTask, MapResult | str]]]
"""Has tasks done, in any order: each with its map, or with why there is none. Those of one group are all done before
the next group begins."""
Out = TypeVar("Out")


def attempt(model: LoadedModel, task: SceneTask, options: MapOptions, finish: Finish | None = None) -> MapResult | str:
    """Map a scene; what is wrong with it alone is returned as a text.

    Raises:
        ConfigError: which would be the same for every scene, as a ModelError is.
    """
    logger.info("scene %d of %d: %s", task.number, task.total, task.name)
    try:
        return mapped(model, task.sources, task.out, options, finish, task.key)
    except (ConfigError, ModelError):
        raise
    except Exception as error:  # noqa: BLE001 (whatever is wrong with one must not cost the others)
        return reason(error)


def reason(error: Exception) -> str:
    """Why a scene has no map, in words."""
    if isinstance(error, LandsiftError):
        return str(error)
    record = to_record(error)
    return f"{record['message']}\nthis is an unexpected error, at {record['where']}"


def one_after_another(model: LoadedModel, options: MapOptions, finish: Finish | None) -> Runner:
    """Has scenes mapped by a model that is loaded, in this process."""

    def run(groups: Iterable[Iterable[SceneTask]]) -> Iterator[tuple[SceneTask, MapResult | str]]:
        for group in groups:
            for task in group:
                yield task, attempt(model, task, options, finish)

    return run


def apart(outs: Sequence[tuple[Path, Out]]) -> list[list[Out]]:
    """Groups of maps that share no file, so that those of one group may be written at the same time.

    `a.probabilities.tif` is a file of the map `a.tif`, and may be the map of another scene. There is one group where no
    name is such; within groups, and for maps that share files from group to group, the order stays.

    Args:
        outs: paths of the maps, none twice, each with what is to be grouped.
    """
    groups: list[list[Out]] = []
    level: dict[str, int] = {}
    for path, each in outs:
        files = {str(file).casefold() for file in files_of_map(path)}
        group = max((level[file] + 1 for file in files if file in level), default=0)
        level |= dict.fromkeys(files, group)
        groups += [[]] * (group == len(groups))
        groups[group] = [*groups[group], each]
    return groups
