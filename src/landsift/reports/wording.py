"""How values are written on every page: percentages, areas, intervals, durations, dates, counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any


def percent(share: float, digits: int = 2) -> str:
    """A share as a percentage: 0.9731 is "97.31 %", with a space that does not break."""
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def span(interval: Sequence[float] | None, digits: int = 3, scale: float = 1.0, unit: str = "") -> str:
    """An interval as "0.955 to 0.966"; None is a dash."""
    return "–" if interval is None else f"{scale * interval[0]:.{digits}f} to {scale * interval[1]:.{digits}f}{unit}"


def percents(interval: Sequence[float] | None, digits: int = 2) -> str:
    """An interval of shares as "95.60 to 96.67 %"; None is a dash."""
    return span(interval, digits, 100, "\N{NO-BREAK SPACE}%")


def duration(seconds: float | None) -> str:
    """Seconds in readable units: "0.4 s", "38 s", "4 min 12 s", "2 h 5 min"."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def operations(count: float) -> str:
    """Floating-point operations: "420 GFLOP", "1.2 PFLOP"."""
    power = min(max(int(math.log10(max(count, 1.0)) // 3), 0), 6)
    size = count / 1000.0**power
    return f"{size:.{0 if size >= 99.5 else 1}f} {('', 'k', 'M', 'G', 'T', 'P', 'E')[power]}FLOP"


def moment(made: Mapping[str, Any]) -> str:
    """When a run or a comparison was made: "2026-01-02 03:04 UTC", or "... UTC+02:00"; "" if that is not recorded."""
    said = str(made.get("created") or "")
    try:
        when = datetime.fromisoformat(said)
    except ValueError:
        return said[:16].replace("T", " ")
    return f"{when:%Y-%m-%d %H:%M %Z}".strip()


def number_of(things: int, one: str, many: str | None = None) -> str:
    """A count with its noun: "1 seed", "3 seeds", "1,200 patches" (`many` where an s is not enough)."""
    return f"{things:,} {one if things == 1 else many or one + 's'}"


def hectares(amount: float) -> str:
    """Hectares as people read them: 12,345; 12.3; 0.0123."""
    if amount == 0 or amount >= 1000:
        return f"{amount:,.0f}"
    return f"{amount:.1f}" if amount >= 10 else f"{amount:.3g}"
