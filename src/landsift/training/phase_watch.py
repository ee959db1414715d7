"""What the curve over epochs says against a strategy: a phase that loses what the one before had, or adds nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LEVEL = 0.95
"""Coverage of the interval that a fall has to leave."""


def falls(rows: Sequence[Mapping[str, Any]], patches: int) -> list[str]:
    """What there is to say of phases that fell at their start.

    Args:
        rows: of metrics.json.
        patches: how many are validated.
    """
    return [fall for i in range(2, len(rows) + 1) if (fall := fall_at(rows[:i], patches))]


def idle_phases(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What there is to say of phases that did not improve on the ones before; the last row's phase counts as ended."""
    starts = [i for i in range(1, len(rows)) if rows[i]["phase"] != rows[i - 1]["phase"]]
    return [note for i in starts if (note := _no_gain(rows, i))]


def fall_at(rows: Sequence[Mapping[str, Any]], patches: int) -> str | None:
    """What there is to say if the last row is the first of its phase, and fell.

    A fall is a validation accuracy below the 95 % interval (Wilson 1927) of that of the epoch before. Both are of the
    same patches, so that the interval is rather too wide.
    """
    from scipy.stats import binomtest

    if len(rows) < 2 or rows[-1]["phase"] == rows[-2]["phase"]:
        return None
    before, now = rows[-2]["val_acc"], rows[-1]["val_acc"]
    interval = binomtest(round(before * patches), patches).proportion_ci(LEVEL, method="wilson")
    if now >= interval.low:
        return None
    return (
        f"{_named(rows[-1])} lowered the validation accuracy at its start: {_percent(now)} after its first epoch, "
        f"{_percent(before)} before it (95 % interval {_percent(interval.low)} to {_percent(interval.high)})"
    )


def _no_gain(rows: Sequence[Mapping[str, Any]], start: int) -> str | None:
    """What there is to say of the phase that begins with row `start` if its best epoch is none of the run's so far."""
    before = max(row["val_acc"] for row in rows[:start])
    highest = max(row["val_acc"] for row in rows[start:] if row["phase"] == rows[start]["phase"])
    if highest > before:
        return None
    return (
        f"{_named(rows[start])} did not improve on the phases before it: validation accuracy {_percent(highest)} at "
        f"best, {_percent(before)} before"
    )


def _named(row: Mapping[str, Any]) -> str:
    return f"phase {row['phase']} ({row['phase_name']})"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
