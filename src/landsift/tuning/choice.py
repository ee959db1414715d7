"""Which trial is chosen, on validation alone, and how it stands against the configuration as it was.

The best of many trials is best by luck as well: of ten equal ones, one is a standard error and a half above the mean.
So the best few are trained again with other seeds, as is the configuration as it was, and the best mean over seeds is
chosen. Its validation accuracy is still one that was selected; what is reported is the test's, which selects nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.tuning.trials import Trial

if TYPE_CHECKING:
    from numpy.typing import NDArray

FINALISTS, REPEATS = 3, 2
"""How many trials are trained again beside the first, and with how many further seeds."""


@dataclass(frozen=True)
class Standing:
    """A finalist's validation accuracies, the first of which is its trial's.

    Attributes:
        number: of the trial.
        accuracies: one per seed.
    """

    number: int
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(np.mean(self.accuracies))


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """The complete trials, each configuration once: by accuracy, then by loss, then the earlier one."""
    done = [trial for trial in trials if trial.state == "done" and trial.same_as is None]
    return sorted(done, key=lambda t: (-(t.accuracy or 0.0), math.inf if t.loss is None else t.loss, t.number))


def finalists(trials: Sequence[Trial]) -> list[Trial]:
    """The best few trials and the first one, if it is complete, by rank."""
    order = ranked(trials)
    return [trial for i, trial in enumerate(order) if i < FINALISTS or trial.number == 0]


def chosen(trials: Sequence[Trial], repeats: Mapping[int, Sequence[float | None]]) -> tuple[int, list[Standing]]:
    """The number of the trial that is chosen, and the finalists by their means.

    Finalists are compared over the seeds that all of them were trained with. One of which a training failed is out.
    Of equal means the one with the better rank in the search is chosen.

    Args:
        trials: all; at least one is complete.
        repeats: of each finalist's number, the validation accuracies with the further seeds; None: that training
            failed.
    """
    able = [trial for trial in finalists(trials) if None not in repeats.get(trial.number, ())]
    able = able or ranked(trials)[:1]
    seeds = min(len(repeats.get(trial.number, ())) for trial in able)
    standings = [
        Standing(
            trial.number,
            (float(trial.accuracy or 0.0), *(float(a or 0.0) for a in repeats.get(trial.number, ())[:seeds])),
        )
        for trial in able
    ]
    standings.sort(key=lambda standing: -standing.mean)
    return standings[0].number, standings


def accuracy_error(accuracy: float, patches: int) -> float:
    """Standard error of an accuracy on so many independent patches."""
    return math.sqrt(max(accuracy * (1 - accuracy), 1 / patches) / patches)


def gap(ours: NDArray[np.bool_], theirs: NDArray[np.bool_], units: NDArray[np.int64] | None) -> dict[str, Any]:
    """The difference of two accuracies on the same patches, with its 95 % interval and p-value.

    Args:
        ours: bool [N], whether the chosen model is right.
        theirs: bool [N], whether the other one is.
        units: int [N], what is right or wrong together; None: patches are independent.

    Returns:
        `difference`, `interval` and `p`; the interval is None where fewer than two units tell nothing.
    """
    from landsift.evaluation.intervals import LEVEL
    from landsift.evaluation.two_way import groups_df, over_groups, own_estimate

    values = (ours.astype(np.float64) - theirs)[None]
    df = None
    if units is not None:
        number = np.unique(units, return_inverse=True)[1].astype(np.int64)
        if number.max() < 1:
            return {"difference": float(values.mean()), "interval": None, "p": None}
        values, df = over_groups(values, number), groups_df(number)
    if values.shape[1] < 2:
        return {"difference": float(values.mean()), "interval": None, "p": None}
    found = own_estimate(values, df)
    return {"difference": found.mean, "interval": list(found.interval(1 - LEVEL)), "p": found.p}
