"""What each key of this process was made from, so that a result can say what it is a result of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from landsift.config import digest

_made: dict[str, dict[str, Any]] = {}


def keyed(parts: Mapping[str, Any]) -> str:
    """The key of these parts, which are remembered: SHA-256 (hex) of them."""
    key = digest(parts)
    _made[key] = dict(parts)
    return key


def parts_of(key: str) -> dict[str, Any] | None:
    """What a key of this process was made from, with the same of the keys in it under `above`; None for others'."""
    parts = _made.get(key)
    if parts is None:
        return None
    above = [parts_of(value) for value in parts.values() if isinstance(value, str) and value in _made]
    return parts | {"above": above}
