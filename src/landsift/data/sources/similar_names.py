"""Names that a person would take for the same."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation


def alike(name: str, others: Sequence[str]) -> str | None:
    """Another name that a person would take for the same."""
    return next((other for other in others if other != name and likeness(other) == likeness(name)), None)


def written_alike(names: Sequence[str]) -> list[list[str]]:
    """Names that differ only in case, spaces or Unicode form, or are one whole number: 7, 07 and 7.0.

    Marks are left as they are, because a group may be called by coordinates: x-1_y2 is not x1_y2.
    """
    by_form = defaultdict[str, list[str]](list)
    for name in names:
        form = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
        if re.fullmatch(r"\d+(\.0+)?", form):
            form = form.partition(".")[0].lstrip("0")
        by_form[form].append(name)
    return [several for several in by_form.values() if len(several) > 1]


def likeness(name: str) -> str:
    """Equal for names that a person would take for the same."""
    try:
        return str(Decimal(name.strip()).normalize())  # 1, 01 and 1.0
    except InvalidOperation:
        pass
    plain = unicodedata.normalize("NFKD", name).casefold()
    letters = re.sub(r"(?<=\d)[\W_]+(?=\d)", "#", plain)  # 1-2 is not 12
    return re.sub(r"[^\w#]|_", "", letters) or plain
