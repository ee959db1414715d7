"""The end of a search: the chosen configuration and the one it began with are tested, once, and the page is written.

Both comparisons were fixed before the first trial: the test compares the chosen model with the configuration as it was,
whichever trial is chosen, and nothing is chosen after it. So a finished search does not go on.
"""

from __future__ import annotations

import datetime
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift import runs
from landsift.config import cache_folder
from landsift.data.splits import dependent_units, make_split
from landsift.data.store.patch_store import PatchStore
from landsift.errors import RunError
from landsift.pipeline import run as pipeline
from landsift.pipeline.cache import locks
from landsift.pipeline.tuning.record import BEST, DEFAULT, Record
from landsift.reports.tuning.page import tuning_html
from landsift.runtime.notices import said_before
from landsift.runtime.surroundings import alone
from landsift.tuning.choice import chosen, gap
from landsift.tuning.space import Space
from landsift.tuning.suggest import importances

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger("landsift")


def finish_check(record: Record, limits: Mapping[str, float | None]) -> None:
    """Refuse to go on with a search whose test patches have been looked at, or may have been.

    Raises:
        RunError: other trials or minutes are asked for than it had.
    """
    if record.tested is not None and record.tested != dict(limits):
        kind = "a finished search" if record.finished else "a search whose test was interrupted"
        raise RunError(
            f"{record.folder} holds {kind}: its test patches have been looked at",
            "to search longer, give --out a new folder; the trials of this one come from the cache",
        )


def finish(record: Record, space: Space, limits: Mapping[str, float | None], command: Sequence[str] | None) -> Record:
    """Test the chosen trial and the first one, and write what the folder holds; nothing if that was done before.

    Args:
        record: of a search whose trials and repeats have ended.
        space: what was searched.
        limits: trials and minutes.
        command: the command line, or None.

    Raises:
        LandsiftError: as `landsift.pipeline.run.run`.
    """
    number, standings = chosen(record.trials, record.repeats)
    best, first = space.config(record.trials[number].values), record.trials[0]
    record.put_best(best)
    if record.finished is not None and (record.folder / runs.REPORT).is_file():
        return record
    record.tested = dict(limits)
    record.save()  # first: from here on somebody may have seen what the test says
    tested = {BEST: _run(best, record.folder / BEST, command)}
    if number != 0 and first.state == "done":
        tested[DEFAULT] = _run(space.base, record.folder / DEFAULT, command)
    with alone("landsift tune"), locks.only_writer(record.folder), locks.using(cache_folder()):
        found: dict[str, Any] = {
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "command": command and [*command],
            "chosen": number,
            "standings": [asdict(standing) for standing in standings],
            "first_state": first.state,
            "trained_again": _trained_again(record, number, tested),
            "importances": importances(space, record.trials),
            **{part: _figures(part, tested) for part in ("val", "test")},
        }
        record.finished = found
        runs.write_text(record.folder / runs.REPORT, tuning_html(record.to_dict(), str(record.folder)))
        record.save()
    return record


def _run(config: Any, folder: Path, command: Sequence[str] | None) -> runs.Run:
    """The run of a configuration, whose training is in the cache; the one that is there, if it is whole."""
    if (folder / runs.MANIFEST).is_file() and (folder / runs.REPORT).is_file():
        there = runs.Run.open(folder)
        if there.config.absolute() == config:
            return there
    if folder.exists():
        shutil.rmtree(folder)
    return pipeline.run(config, folder, command=command)


def _trained_again(record: Record, chosen: int, tested: Mapping[str, runs.Run]) -> list[int]:
    """Numbers of the tested trials whose model is not the one that validation judged: the cache had lost it.

    A training made again by the same code on the same CPU is the same to the bit, and not named.
    """
    found = []
    for name, number in ((BEST, chosen), (DEFAULT, 0)):
        if name not in tested:
            continue
        then, now = record.trials[number].accuracy, tested[name].manifest["best"]["val_acc"]
        if then != now:
            found.append(number)
            logger.warning(
                "trial %d was trained again for the test, as its model is not in the cache any more or landsift has "
                "changed, and is not the same: val accuracy %.2f %%, as a trial %.2f %%",
                number + 1, 100 * now, 100 * (then or 0.0),
            )  # fmt: skip
    return found


def _figures(part: str, tested: Mapping[str, runs.Run]) -> dict[str, Any]:
    """Accuracy of each run with its interval, and their difference on the same patches.

    Args:
        part: "val" or "test".
        tested: the runs, by their folder's name.
    """
    figures: dict[str, Any] = {}
    right: dict[str, NDArray[np.bool_]] = {}
    for name, run in tested.items():
        said = run.evaluation[part]
        low, high = said["intervals"]["accuracy"]
        figures[name] = {
            "accuracy": said["accuracy"],
            "interval": [low, high],
            "macro_f1": said["macro_f1"],
            "n": said["n"],
        }
        table = run.predictions
        of_part = table[table["split"] == part]
        right[name] = (of_part["label"] == of_part["predicted"]).to_numpy()
    if DEFAULT in right:
        figures |= gap(right[BEST], right[DEFAULT], units_of_part(tested[BEST], part))
    return figures


def units_of_part(run: runs.Run, part: str) -> NDArray[np.int64] | None:
    """The groups or blocks of a part's patches, in the order of the predictions; None: patches are independent."""
    store = PatchStore.open(run.manifest["data"]["store"])
    data = run.config.data
    units = dependent_units(store, data.split)
    if units is None:
        return None
    with said_before():
        split = make_split(store, data.split, data.budget, data.budget_seed)
    return np.asarray(units[getattr(split, part)])
