"""Class names that may be meant as one, or as none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from landsift.data.checks.findings import EXAMPLES, Section, number_of
from landsift.data.sources.similar_names import likeness

_NO_NAMES = frozenset({
    "nan", "nat", "na", "n/a", "#n/a", "<na>", "none", "null", "nil", "undefined", "unlabeled", "unlabelled", "nolabel",
})  # fmt: skip
"""Names (lower case) that usually stand for a missing label."""


def names_section(classes: Sequence[str]) -> Iterator[Section]:
    """Class names that differ only in case, spaces, marks or Unicode form, or that stand for a missing label."""
    by_likeness = defaultdict[str, list[str]](list)
    for name in classes:
        by_likeness[likeness(name)].append(name)
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
