"""A trial: the values it had, how far its training came, and what the validation patches said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from landsift.tuning.space import Values

State = Literal["done", "pruned", "stopped", "failed"]
TENTHS = 10
"""A training reports at each tenth of its epochs: trainings of other lengths are compared at the same share."""


@dataclass(frozen=True)
class Trial:
    """One configuration and its training.

    Attributes:
        number: in the order in which they were tried, from 0.
        values: of the dimensions that are searched.
        state: "done"; "pruned": ended early because it was worse than most at that share of its epochs; "stopped":
            the time was over; "failed".
        curve: best validation accuracy so far, by tenths of the epochs.
        accuracy: on validation, of the epoch that a run would test; of a trial that is not done, the best that it had;
            None: it had none.
        loss: of that epoch; None as before.
        epoch: of that, from 0.
        epochs: how many it trained.
        seconds: what it took, attempts before an interruption included as far as their epochs were kept.
        reason: why it failed.
        same_as: number of an earlier trial with the same configuration, whose result this is.
        rates: learning rates of the last phase, head and backbone.
    """

    number: int
    values: Values
    state: State
    curve: dict[int, float] = field(default_factory=dict)
    accuracy: float | None = None
    loss: float | None = None
    epoch: int | None = None
    epochs: int = 0
    seconds: float = 0.0
    reason: str = ""
    same_as: int | None = None
    rates: tuple[float, float] = (0.0, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self) | {"curve": {str(step): value for step, value in self.curve.items()}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Trial:
        """What `to_dict` made; raises KeyError, TypeError or ValueError for something else."""
        curve = {int(step): float(value) for step, value in values["curve"].items()}
        return cls(**{**values, "curve": curve, "rates": tuple(values["rates"])})


def passed(rows: Sequence[Mapping[str, Any]], epochs: int) -> dict[int, float]:
    """The best validation accuracy so far at each tenth of the epochs that has been passed.

    Args:
        rows: of metrics.json.
        epochs: how many the training is to have.
    """
    curve, best, step = {}, 0.0, 0
    for row in rows:
        best = max(best, float(row["val_acc"]))
        while step < (row["epoch"] + 1) * TENTHS // epochs:
            step += 1
            curve[step] = best
    return curve
