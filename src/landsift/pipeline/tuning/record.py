"""The folder of a search: metrics.json is its record, from which an interrupted one resumes.

    DIR/
      metrics.json   what is searched, all trials, the finalists, and, at the end, the test
      trials.csv     a line per trial
      best.yaml      the best configuration so far; at the end the one that is chosen
      best/          the run of the chosen configuration
      default/       the run of the configuration as it was, unless that is the chosen one
      report.html    the page

A trial is in the record when it has ended, so that one that was running when the process was killed is not counted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from landsift.config import RunConfig
from landsift.errors import RunError
from landsift.reports.tuning.tables import trials_csv
from landsift.runs import METRICS, REPORT, TUNING, is_search, read_json, write_json, write_text
from landsift.runtime import outputs
from landsift.runtime.whole import remove_left_behind
from landsift.tuning.choice import ranked
from landsift.tuning.space import Space
from landsift.tuning.trials import Trial
from landsift.version import __version__

logger = logging.getLogger("landsift")

TRIALS, BEST_CONFIG, BEST, DEFAULT = "trials.csv", "best.yaml", "best", "default"
OWN = {METRICS, TRIALS, BEST_CONFIG, BEST, DEFAULT, REPORT}
ATTEMPTS = 3
"""Times that a trial may end the process before it counts as failed."""


@dataclass
class Record:
    """A search as far as it has come.

    Attributes:
        folder: it lies in.
        asked: what decides the search: the configuration, what is searched, and the patches.
        trials: those that have ended.
        repeats: validation accuracies of finalists with further seeds, by the number of the trial; None: failed.
        tested: the trials and minutes of a search whose test has begun, after which nothing is searched; None before.
        attempts: how often the next trial has begun and ended neither itself nor by an interruption.
        finished: what the end has found; None before it.
        spent: seconds of all trainings so far.
    """

    folder: Path
    asked: dict[str, Any]
    trials: list[Trial] = field(default_factory=list)
    repeats: dict[int, list[float | None]] = field(default_factory=dict)
    attempts: int = 0
    tested: dict[str, float | None] | None = None
    finished: dict[str, Any] | None = None
    spent: float = 0.0

    @classmethod
    def opened(cls, folder: Path, asked: dict[str, Any]) -> Record:
        """The record in a folder, or a new one.

        Raises:
            RunError: the folder holds something else, or a search of something else, or its record cannot be read.
        """
        folder = outputs.absolute(folder)
        remove_left_behind(folder)
        file = folder / METRICS
        try:
            is_older = is_search(folder)
        except RunError as error:
            raise RunError(error.message, "give --out a new folder; equal trials come from the cache") from None
        if not is_older:
            outputs.check_output(folder)
            return cls(folder, asked)
        others = sorted(p.name for p in folder.iterdir() if p.name not in OWN and not p.name.startswith("."))
        if others:
            raise RunError(f"{folder} holds a search of settings, but also {others[0]}", "give --out a new folder")
        said = read_json(file)
        differs = _differences(said.get("asked", {}), asked)
        if differs:
            message = f"{folder} holds another search: {differs[0]} was different"
            raise RunError(message, "give --out a new folder; equal trials come from the cache")
        if (version := said.get("landsift")) != __version__:
            logger.warning(
                "the trials so far were trained by landsift %s, this is %s, which may give other accuracies",
                version,
                __version__,
            )
        try:
            return cls(
                folder,
                asked,
                [Trial.from_dict(trial) for trial in said["trials"]],
                {int(number): list(found) for number, found in said["repeats"].items()},
                int(said["attempts"]),
                said["tested"],
                said["finished"],
                float(said["spent"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"cannot read {file}: {type(error).__name__}: {error}", "give --out a new folder") from None

    def to_dict(self) -> dict[str, Any]:
        """What metrics.json holds."""
        return {
            "kind": TUNING,
            "landsift": __version__,
            "asked": self.asked,
            "trials": [trial.to_dict() for trial in self.trials],
            "repeats": {str(number): found for number, found in self.repeats.items()},
            "attempts": self.attempts,
            "tested": self.tested,
            "spent": round(self.spent, 3),
            "finished": self.finished,
        }

    def save(self) -> None:
        """Write metrics.json, whole or not at all."""
        write_json(self.folder / METRICS, self.to_dict())

    def add(self, trial: Trial, space: Space) -> None:
        """Take in a trial that has ended; what the folder shows of the search follows."""
        self.trials.append(trial)
        self.attempts = 0
        self.spent += trial.seconds if trial.same_as is None else 0.0
        write_text(self.folder / TRIALS, trials_csv(map(Trial.to_dict, self.trials), space.dimensions))
        if best := ranked(self.trials):
            self.put_best(space.config(best[0].values))
        self.save()  # last: what it does not name is made again

    def put_best(self, config: RunConfig) -> None:
        """Write best.yaml."""
        write_text(self.folder / BEST_CONFIG, config.to_yaml())


def _differences(then: Any, now: Any, at: str = "") -> list[str]:
    """Keys whose values differ, as `config.training.batch_size`."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        names = dict.fromkeys((*then, *now))
        return [
            each for name in names for each in _differences(then.get(name), now.get(name), f"{at}.{name}".strip("."))
        ]
    return [] if then == now else [at]
