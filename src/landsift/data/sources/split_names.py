"""How people name the parts of a split."""

from __future__ import annotations

import re

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "trainval": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""The parts of a split under the names people give them."""

_FILLING = frozenset({"set", "sets", "data", "dataset", "images", "image", "imgs", "img", "patches", "folder", "split"})


def words_of(name: str) -> list[str]:
    """The words of a name in lower case, digits left out: "TrainSet_2017" has "train" and "set"."""
    return re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


def part_of(name: str) -> str | None:
    """The part of a split that a name speaks of, if it speaks of exactly one: of "seg_train", "TestSet", "val2017"."""
    words = [_without_filling(word) for word in words_of(name)]
    parts = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}
    return parts.pop() if len(parts) == 1 else None


def decoration(name: str) -> tuple[str, ...]:
    """What else a part's name says: "seg" of "seg_train"."""
    words = map(_without_filling, words_of(name))
    return tuple(word for word in words if word not in SPLIT_NAMES and word not in _FILLING)


def _without_filling(word: str) -> str:
    """The "train" of "trainset"."""
    return next((part for part in SPLIT_NAMES for more in _FILLING if word == part + more), word)


def is_filling(name: str) -> bool:
    """Whether a name says nothing: "images", "data"."""
    words = words_of(name)
    return bool(words) and _FILLING.issuperset(words)
