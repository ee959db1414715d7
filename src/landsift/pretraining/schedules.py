"""Numbers that change over a run, as functions of the share of it that is done."""

from __future__ import annotations

import math


def cosine(start: float, end: float, done: float) -> float:
    """From `start` at 0 to `end` at 1, along half a cosine."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, max(0.0, done))))


def linear(start: float, end: float, done: float, over: float) -> float:
    """From `start` at 0 to `end` at `over`, where it stays."""
    return end if done >= over else start + (end - start) * done / over
