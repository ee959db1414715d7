"""The findings of a data check: sections, each with a verdict.

ok      nothing found
look    a warning: may be intended; look at the examples
wrong   an error: a test result would mislead, or a model cannot learn what is asked
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from landsift.data.store.patch_store import PatchStore

Verdict = Literal["ok", "look", "wrong"]

SHOWN = {
    "look": "warning",
    "wrong": "error",
    "exact copies": "exact duplicates",
    "near copies": "near-duplicates",
    "likeness": "similarity",
}
"""What people read for some of the verdicts, section names and keys; in JSON they keep their names."""

EXAMPLES = 5
"""Examples listed of each finding at most."""
NO_LABEL = "(no label)"
"""What stands for the class of a patch that nobody has labelled."""


@dataclass(frozen=True)
class Section:
    """One subject of the check."""

    name: str
    verdict: Verdict
    text: str
    """What was found, in a sentence or two."""
    counts: dict[str, Any] = field(default_factory=dict)
    """The counts behind the text."""
    examples: list[dict[str, Any]] = field(default_factory=list)
    """The first few cases: `paths` and other details."""


@dataclass(frozen=True)
class DataChecks:
    """What `check_data` found."""

    sections: tuple[Section, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of all sections."""
        verdicts = {section.verdict for section in self.sections}
        return "wrong" if "wrong" in verdicts else "look" if "look" in verdicts else "ok"

    def to_dict(self) -> dict[str, Any]:
        """The content of the JSON output: `verdict` and `sections`."""
        return {"verdict": self.verdict, "sections": [asdict(section) for section in self.sections]}


def example(store: PatchStore, rows: Sequence[int]) -> dict[str, Any]:
    """The paths and classes of some patches."""
    numbers = np.asarray(rows, dtype=np.int64)
    labels = [store.classes[label] if label >= 0 else NO_LABEL for label in store.labels[numbers].tolist()]
    return {"paths": store.paths(numbers), "labels": labels}


def number_of(things: int, one: str, many: str) -> str:
    """A count with its noun: "1 patch is", "1,200 patches are"."""
    return f"{things:,} {one if things == 1 else many}"
