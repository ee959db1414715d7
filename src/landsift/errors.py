"""The errors that landsift shows to people: what happened, to which file or key, what to do next."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from difflib import get_close_matches


def plain(text: str) -> str:
    """`text` on one line, with escapes for what cannot be printed, such as a file name's line breaks."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class LandsiftError(Exception):
    """An error a person can act on.

    Args:
        message: What happened and to which file or key, in one line; what cannot be printed in it is escaped.
        hint: What to do next, in one line; may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        message, hint = plain(message), plain(hint)
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class ConfigError(LandsiftError):
    """A configuration key or value cannot be used."""


class DataError(LandsiftError):
    """The patches, their labels or their split cannot be used."""


class DownloadError(DataError):
    """A download failed in a way that trying again later may mend."""


class ModelError(LandsiftError):
    """A backbone or its weights cannot be used."""


class CollapseError(ModelError):
    """A pretraining has collapsed: its features or outputs no longer tell patches apart."""


class RunError(LandsiftError):
    """A run directory cannot be read or written."""


class ProcessError(RunError):
    """A process of a training died, or failed in a way that has no error of its own, as where memory runs out."""


class TrackingError(LandsiftError):
    """Experiment tracking cannot start."""


def to_record(error: BaseException) -> dict[str, str]:
    """An error as plain text for another process: `kind` ("" for foreign ones), `message`, `hint` and `where`."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f"{last[0].filename}:{last[0].lineno}" if last else ""
    if isinstance(error, LandsiftError):
        return {"kind": type(error).__name__, "message": error.message, "hint": error.hint, "where": where}
    reason = " ".join(str(error).split())[:500]
    return {"kind": "", "message": f"{type(error).__name__}: {reason}", "hint": "", "where": where}


def from_record(record: Mapping[str, str], who: str) -> LandsiftError:
    """The error that `to_record` described; a foreign one becomes a ProcessError of `who`."""
    if record["kind"]:
        kind: type[LandsiftError] = globals().get(record["kind"], LandsiftError)
        return kind(record["message"], record["hint"])
    return ProcessError(f"{who} failed: {record['message']}", f"it happened at {record['where']}")


def listed(values: Iterable[object], most: int = 5) -> str:
    """The first few values by name, and how many more there are."""
    shown = [str(value) for value in values]
    more = f" and {len(shown) - most:,} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def nearest(name: str, known: Iterable[str], count: int = 1) -> str:
    """Say which known names are close to `name`: "did you mean 'a'?", or "" where none is."""
    close = get_close_matches(name, list(known), n=count, cutoff=0.6)
    if not close:
        return ""
    return "did you mean " + " or ".join(f"'{c}'" for c in close) + "?"
