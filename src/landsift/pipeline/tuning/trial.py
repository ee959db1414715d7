"""One training of a search: an ordinary one, under the key that a run of the same configuration looks for."""

from __future__ import annotations

import contextlib
import gc
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landsift.config import RunConfig
from landsift.data.store.patch_store import PatchStore
from landsift.errors import DataError, LandsiftError, ProcessError, RunError
from landsift.pipeline.cache import keys, locks, results
from landsift.pipeline.stage_table import TRAIN, given
from landsift.runs import MANIFEST, METRICS, read_json
from landsift.training.phases import total_epochs
from landsift.training.strategies import settled, strategy_of
from landsift.tuning.trials import State, passed

logger = logging.getLogger("landsift")

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """How a training ended; the attributes are those of `trials.Trial`."""

    state: State
    curve: dict[int, float]
    epochs: int
    seconds: float
    accuracy: float | None = None
    loss: float | None = None
    epoch: int | None = None
    reason: str = ""


class _EndedError(Exception):
    """A training that is not worth its time, or has none left."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.state: State = state


def train(
    config: RunConfig,
    store: PatchStore,
    store_key: str,
    run: str,
    what: str,
    is_hopeless: Callable[[dict[int, float]], bool] = lambda _: False,
    until: float | None = None,
) -> Outcome:
    """Train a configuration up to its last validation; the test patches are not looked at.

    A result that is in the cache is not made again: it is looked at as it would have been while it trained, so that
    the same search comes to the same end with a cache and without.

    Args:
        config: of the trial.
        store: the patches.
        store_key: of the store.
        run: what the cache calls the search.
        what: people call the trial.
        is_hopeless: whether to end it at what it has reached, tenths of its epochs and accuracies.
        until: when the time is over (`time.monotonic`); None: never.

    Raises:
        DataError: the patches cannot be used; no trial could.
        RunError: the cache folder cannot be written.
    """
    epochs, seen = total_epochs(strategy_of(config)), 0
    last: Rows = ()
    began = time.monotonic()

    def look(rows: Rows, *, is_whole: bool = False) -> None:
        nonlocal seen, last
        last = rows
        for count in range(seen + 1, len(rows) + 1):
            seen = count
            if is_hopeless(passed(rows[:count], epochs)):
                last = rows[:count]
                raise _EndedError("pruned")
        is_last = is_whole or rows[-1]["epoch"] + 1 == epochs
        if until is not None and time.monotonic() > until and not is_last:
            raise _EndedError("stopped")

    try:
        folder = _trained(config, store, store_key, run, what, look)
        look(read_json(folder / METRICS), is_whole=True)
    except _EndedError as ended:
        best = max(last, key=lambda row: row["val_acc"])
        found = {"accuracy": best["val_acc"], "loss": best["val_loss"], "epoch": best["epoch"]}
        return Outcome(ended.state, passed(last, epochs), len(last), _seconds(last), **found)
    except Exception as error:
        if _ends_search(error):
            raise
        reason = _reason(error)
        _free_memory()
        # Its epochs may be none: without what it took to fail, trials that all fail would never use up the minutes.
        seconds = max(_seconds(last), round(time.monotonic() - began, 3))
        return Outcome("failed", passed(last, epochs), len(last), seconds, reason=reason)
    rows, epoch = read_json(folder / METRICS), read_json(folder / MANIFEST)["best"]["epoch"]
    found = {"accuracy": rows[epoch]["val_acc"], "loss": rows[epoch]["val_loss"], "epoch": epoch}
    return Outcome("done", passed(rows, epochs), len(rows), results.stage_record(folder)["seconds"], **found)


def _trained(
    config: RunConfig, store: PatchStore, store_key: str, run: str, what: str, look: Callable[[Rows], None]
) -> Path:
    """The folder of the training's result, from the cache or made now; raises what `look` raises."""
    from landsift.training.history import EachEpoch
    from landsift.training.start import train as fit

    folder = results.place(TRAIN, keys.training_key(config, store_key), local=True)
    with contextlib.ExitStack() as stack:
        if results.damage(folder):
            stack.enter_context(locks.sole_maker(folder, what))
        if results.damage(folder):
            continuing = results.continuing(folder, run, TRAIN.checked)
            with continuing as unfinished, _deleted_if_failed(unfinished), _quieter():
                fit(given(TRAIN, settled(config)), store, unfinished, watchers=[EachEpoch(look)])
    return folder


def _ends_search(error: Exception) -> bool:
    """Whether no other trial can be trained either: the patches cannot be used, or nothing can be written."""
    return isinstance(error, DataError | RunError) and not isinstance(error, ProcessError)


@contextlib.contextmanager
def _deleted_if_failed(unfinished: Path) -> Iterator[None]:
    """Keep a training to resume where it or the search was interrupted, not where it failed or was ended early."""
    try:
        yield
    except Exception as error:
        if not _ends_search(error):
            shutil.rmtree(unfinished, ignore_errors=True)
        raise


@contextlib.contextmanager
def _quieter() -> Iterator[None]:
    """Without a line per epoch: warnings alone."""
    before = logger.level
    logger.setLevel(max(logging.WARNING, before))
    try:
        yield
    finally:
        logger.setLevel(before)


def _seconds(rows: Rows) -> float:
    return round(float(sum(row["seconds"] for row in rows)), 3)


def _reason(error: Exception) -> str:
    """Why a training failed, on one line."""
    if isinstance(error, LandsiftError):
        return error.message
    text = " ".join(str(error).split())[:300]
    if "out of memory" in text.lower() or isinstance(error, MemoryError):
        return f"out of memory: {text}"
    return f"{type(error).__name__}: {text}"


def _free_memory() -> None:
    """Give back what a training that failed held on a GPU."""
    import torch

    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
