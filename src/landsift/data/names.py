"""Class names that may be meant as one, or as none."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation

from landsift.data.findings import EXAMPLES, Section, number_of

_NO_NAMES = frozenset({
    "nan", "nat", "na", "n/a", "#n/a", "<na>", "none", "null", "nil", "undefined", "unlabeled", "unlabelled", "nolabel",
})  # fmt: skip
"""Names (lower case) that usually stand for a missing label."""


def names_section(classes: Sequence[str]) -> Iterator[Section]:
    """Class names that differ only in case, spaces, marks or Unicode form, or that stand for a missing label."""
    by_likeness = defaultdict[str, list[str]](list)
    for name in classes:
        by_likeness[_likeness(name)].append(name)
    pairs = [names for names in by_likeness.values() if len(names) > 1]
    missing = [name for name in classes if name.strip().lower() in _NO_NAMES]
    if not pairs and not missing:
        return
    texts = []
    if pairs:
        named = "; ".join(" and ".join(repr(name) for name in names) for names in pairs[:EXAMPLES])
        several = number_of(len(pairs), "class has", "classes have")
        texts.append(f"{several} names that differ only in case, spaces, marks or Unicode form: {named}")
    if missing:
        texts.append(f"classes that read like a missing label: {', '.join(map(repr, missing[:EXAMPLES]))}")
    counts = {"alike": len(pairs), "missing": len(missing)}
    examples = [
        {"classes": [ascii(name) if not name.isascii() else name for name in names]} for names in pairs[:EXAMPLES]
    ]
    yield Section("class names", "look", f"{'; '.join(texts)}.", counts, examples)


def alike(name: str, others: Sequence[str]) -> str | None:
    """Another name that a person would take for the same."""
    return next((other for other in others if other != name and _likeness(other) == _likeness(name)), None)


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
    return [alike for alike in by_form.values() if len(alike) > 1]


def _likeness(name: str) -> str:
    """Equal for names that a person would take for the same."""
    try:
        return str(Decimal(name.strip()).normalize())  # 1, 01 and 1.0
    except InvalidOperation:
        pass
    plain = unicodedata.normalize("NFKD", name).casefold()
    letters = re.sub(r"(?<=\d)[\W_]+(?=\d)", "#", plain)  # 1-2 is not 12
    return re.sub(r"[^\w#]|_", "", letters) or plain
