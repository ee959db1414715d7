"""Parts of a prediction on an engine: in several processes of this machine, or on workers at an address."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from landsift import engine
from landsift.data.unlabelled.entries import Entry, is_url
from landsift.engine import LOCAL, EngineOptions
from landsift.evaluation.in_parts import Runner
from landsift.evaluation.parts import Part, PartDone, predict_part
from landsift.models.loading import model_files
from landsift.runtime.outputs import absolute


def options_of(address: str, workers: int | None, threads: int | None, gpus: int | None) -> EngineOptions:
    """The options of an engine; on this machine one process, unless more are asked for: a model uses all its cores.

    Raises:
        ConfigError: as `EngineOptions`.
    """
    return EngineOptions(address, (workers or 1) if address == LOCAL else workers, threads, gpus)


def shared_files(model: Path | str, entries: Iterable[Entry], work: Path) -> list[Path]:
    """What workers at an address must see at the same path: the model, the first file to be read, and the output.

    To prove it, a file is written to the folder `work` for a moment; what is read may be read-only.

    Args:
        model: path of the model.
        entries: to be classified.
        work: folder of the output's own.
    """
    first = next(iter(entries), None)
    read = None if first is None else first.archive or first.path
    return [model_files(model)[0].absolute(), *([] if read is None or is_url(read) else [absolute(read)]), work]


def on_engine(options: EngineOptions, shared: Sequence[Path | str]) -> Runner:
    """What has parts done by an engine, several at the same time.

    Args:
        options: where, and in how many processes.
        shared: files and folders that workers at an address must see at the same path.
    """

    def run(parts: Iterator[Part], advance: Callable[[int], None]) -> Iterator[PartDone]:
        with engine.open(**options.to_dict(), shared=shared) as workers:
            for part, done in workers.unordered(predict_part, parts, name=lambda part: f"part {part.number}"):
                advance(part.count)
                yield done

    return run
