"""Maps of many scenes on an engine: in several processes of this machine, or on workers at an address."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from landsift import engine
from landsift.engine import EngineOptions, WorkerLostError
from landsift.errors import ModelError
from landsift.mapping.make import MapResult
from landsift.mapping.map_key import files_of
from landsift.mapping.map_options import LoadedModel, MapOptions, Source, Tta
from landsift.mapping.map_place import beside_map
from landsift.mapping.masks import NO_MASK
from landsift.mapping.scene_tasks import Finish, Runner, SceneTask, attempt
from landsift.models.loading import model_files
from landsift.runtime.memory_allocator import keep_freed_memory
from landsift.runtime.outputs import absolute
from landsift.runtime.whole import remove_others, writing

logger = logging.getLogger("landsift")


@dataclass(frozen=True)
class Making:
    """What a worker needs to know of all maps of a command; it sees the same files at the same paths.

    Attributes:
        model: path of the model, as it was given.
        fingerprint: of its files (`fingerprint_of`).
        module: as of `load_model`.
        device: the same.
        options: of the maps.
        finish: as of `mapped`; a module's own function, because it is pickled.
        folder: from which relative paths go.
    """

    model: str
    fingerprint: str
    module: str | None
    device: str
    options: MapOptions
    finish: Finish | None
    folder: str

    @classmethod
    def of(
        cls, model: LoadedModel, options: MapOptions, finish: Finish | None, *, module: str | None, device: str
    ) -> Making:
        """That of a model that is loaded in this process, for its fingerprint."""
        return cls(model.source, model.fingerprint, module, device, options, finish, str(absolute(".")))


class Lost(str):
    """Why a task has no map whose workers died."""

    __slots__ = ()


def map_task(work: tuple[Making, SceneTask]) -> MapResult | str:
    """Map a scene, or say why it has no map. The model stays loaded in this process for the next scene.

    Raises:
        ConfigError: which would be the same for every scene.
        LandsiftError: as `LoadedModel.load`; of the model or the options.
    """
    making, task = work
    # At an address the folder may be missing where no path is relative.
    with contextlib.chdir(making.folder) if Path(making.folder).is_dir() else contextlib.nullcontext():
        model = loaded_model(
            making.folder, making.model, making.fingerprint, making.module, making.device, making.options.tta
        )
        return attempt(model, task, making.options, making.finish)


@functools.lru_cache(maxsize=1)
def loaded_model(
    folder: str, model: str, fingerprint: str, module: str | None, device: str, tta: Tta | None
) -> LoadedModel:
    """The model of a task, loaded once; what is to be said of it was said by the command.

    Raises:
        ModelError: it cannot be loaded, or is another than when the work began.
    """
    keep_freed_memory()
    loaded = LoadedModel.load(model, MapOptions(tta=tta), module=module, device=device, quiet=True)
    if loaded.fingerprint != fingerprint:
        raise ModelError(f"{model} was replaced while it was at work", "run the command again")
    return loaded


def shared_files(making: Making, scenes: Iterable[Sequence[Source]], out: Path) -> list[Path]:
    """What workers at an address must see at the same path: the model, one file of the scenes, the mask, the output.

    Args:
        making: what is made.
        scenes: their sources.
        out: folder for the maps.
    """
    here = (each for sources in scenes for each in sources if "://" not in str(each))
    first = next((file for each in here for file in files_of(each) if Path(file).is_file()), None)
    mask = making.options.mask
    more = [first, mask if mask is not None and mask != NO_MASK and Path(mask).is_file() else None]
    return [absolute(model_files(making.model)[0]), *(absolute(each) for each in more if each is not None), out]


def on_engine(options: EngineOptions, making: Making, scenes: Sequence[Sequence[Source]], folder: Path) -> Runner:
    """Has scenes mapped by an engine, several at the same time.

    A scene whose workers died time and again is tried once more when no other runs: they may have died of another
    scene, because Dask blames what waits beside it as well.

    Args:
        options: where, and in how many processes.
        making: what is made.
        scenes: the sources of all.
        folder: for the maps.
    """

    def run(groups: Iterable[Iterable[SceneTask]]) -> Iterator[tuple[SceneTask, MapResult | str]]:
        out, begun = absolute(folder), set[Path]()
        spared = {*out.glob(".*.partial")}
        shared = [] if options.is_local else shared_files(making, scenes, out)

        def work(group: Iterable[SceneTask]) -> Iterator[tuple[Making, SceneTask]]:
            for task in group:
                begun.add(absolute(task.out))
                yield making, task

        with _there(out) if shared else contextlib.nullcontext():
            try:
                with engine.open(**options.to_dict(), shared=shared) as workers:
                    for group in groups:
                        again: list[SceneTask] = []
                        for (_, task), became in workers.unordered(map_task, work(group), _name, _lost):
                            if isinstance(became, Lost):
                                logger.warning("%s; it is tried once more, alone", became.split("\n")[0])
                                again.append(task)
                            else:
                                yield task, became
                        for one in again:
                            for (_, task), became in workers.unordered(map_task, work([one]), _name, _lost):
                                yield task, str(became) if isinstance(became, Lost) else became
            finally:
                loaded_model.cache_clear()  # of a single scene, which needs no process of its own
                for path in begun:  # some were ended in the midst, also on machines whose processes are not seen here
                    for each in (path, beside_map(path, "html")):
                        remove_others(each, spared)

    return run


def _name(work: tuple[Making, SceneTask]) -> str:
    return work[1].name


def _lost(error: WorkerLostError) -> MapResult | str:
    return Lost(error)


@contextlib.contextmanager
def _there(folder: Path) -> Iterator[None]:
    """While this lasts a folder is there; where nothing was written to it, it is not there afterwards."""
    made = not folder.exists()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if made:
            with contextlib.suppress(OSError):  # it has maps
                folder.rmdir()
