"""Names that a person would take for the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation


def alike(name: str, others: Sequence[str]) -> str | None:
    """Another name that a person would take for the same."""
    return next((other for other in others if other != name and likeness(other) == likeness(name)), None)


def likeness(name: str) -> str:
    """Equal for names that a person would take for the same."""
    try:
        return str(Decimal(name.strip()).normalize())  # 1, 01 and 1.0
    except InvalidOperation:
        pass
    plain = unicodedata.normalize("NFKD", name).casefold()
    letters = re.sub(r"(?<=\d)[\W_]+(?=\d)", "#", plain)  # 1-2 is not 12
    return re.sub(r"[^\w#]|_", "", letters) or plain
