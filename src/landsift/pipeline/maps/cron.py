"""When a schedule runs: five fields, as Flyte takes them."""

from __future__ import annotations

import re
from zoneinfo import available_timezones

from landsift.errors import ConfigError, nearest

_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")),
    ("day of the week", 0, 6, ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")),
)
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_HINT = 'write minute, hour, day, month and weekday, such as "0 3 * * *", every night at three (UTC)'


def parsed(schedule: str) -> tuple[str, str]:
    """A cron expression and its time zone, UTC unless it begins with CRON_TZ=ZONE.

    Raises:
        ConfigError: it is none, or never comes.
    """
    expression, zone = " ".join(schedule.split()), "UTC"
    if match := re.fullmatch(r"(?:CRON_)?TZ=(\S+) (.*)", expression):
        zone, expression = match.groups()
        if zone not in available_timezones():
            raise ConfigError(
                f"--schedule '{schedule}': there is no time zone {zone}", nearest(zone, available_timezones())
            )
    fields = expression.split(" ")
    if len(fields) != len(_FIELDS):
        number = len(fields) if expression else 0
        raise ConfigError(f"--schedule '{schedule}': five fields are needed, not {number}", _HINT)
    values = [_values(schedule, text, *field) for text, field in zip(fields, _FIELDS, strict=True)]
    days, months, any_weekday = values[2], values[3], fields[4][0] in "*?"
    if any_weekday and all(min(days) > _DAYS[month - 1] for month in months):
        raise ConfigError(f"--schedule '{schedule}' never comes: no such month has a day {min(days)}", _HINT)
    return expression, zone


def _values(schedule: str, text: str, what: str, low: int, high: int, names: tuple[str, ...]) -> set[int]:
    """The numbers that a field stands for."""
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = ("", "", "") if span in ("*", "?") else span.partition("-")
        start = low if span in ("*", "?") else _number(first, low, names)
        stop = high if span in ("*", "?") or (slash and not dash) else _number(last, low, names) if dash else start
        width = (int(step) if step.isascii() and step.isdecimal() else 0) if slash else 1
        if start is None or stop is None or not low <= start <= stop <= high or width < 1:
            known = f"{low} to {high}" + (f" or {names[0]} to {names[-1]}" if names else "")
            raise ConfigError(f"--schedule '{schedule}': '{text}' is no {what}, {known}", _HINT)
        found.update(range(start, stop + 1, width))
    return found


def _number(text: str, low: int, names: tuple[str, ...]) -> int | None:
    if text.upper() in names:
        return names.index(text.upper()) + low
    return int(text) if text.isascii() and text.isdecimal() else None
