"""What the levels of a folder mean: which of its folders are classes, and which are parts of a split.

    CLASS/...                     classes alone; images in folders below a class belong to it
    PART/CLASS/...                train, val and test, each with class folders, as most public archives have it
    CLASS/PART/...                the other way round

Whatever could be read in two ways is refused with the layout that was seen, because a wrong guess trains on regions,
on parts of a split or on masks, and its test figures look fine.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from landsift.data.sources.split_names import SPLIT_NAMES, decoration, is_filling, part_of, words_of
from landsift.data.sources.walk import PassedOver
from landsift.errors import DataError

_NAMES = "name them train, val and test, or alike but for that word"
_TABLE = "write a table with the columns path, label and, if you like, split and group"
_MASK_WORDS = frozenset({"mask", "masks"})
_MASK_NAMES = frozenset({
    "label", "labels", "annotation", "annotations", "gt", "gts", "groundtruth", "segmentation", "segmentations",
})  # fmt: skip
_DATE = re.compile(r"(19|20)\d\d([-_.]?\d\d){0,2}")
_SEEN = 8  # folders named in a message at most


class Place(NamedTuple):
    """What a folder's images are."""

    label: str
    split: str | None


class Layout(NamedTuple):
    """How the folders below a source's root are read."""

    places: dict[str, Place]
    """Class folders, with or without images, by path: what lies in and below each."""
    left_out: list[PassedOver]
    """Folders and loose images that belong to no class."""
    notices: list[str]
    """What was made of the folders, where that is not plain."""


class Tree:
    """Folders below a root, with how many images each has.

    Args:
        images: Number of images directly in each folder, by its path relative to the root, which is "".
    """

    def __init__(self, images: Mapping[str, int]) -> None:
        self.own = Counter(images)
        self.total = Counter[str]()
        """Images in and below each folder."""
        self._children = defaultdict[str, list[str]](list)
        for path, count in images.items():
            if path:
                parent, _, name = path.rpartition("/")
                self._children[parent].append(name)
            self.total[path] += count
            while count and path:
                path = path.rpartition("/")[0]
                self.total[path] += count

    def inside(self, path: str) -> list[str]:
        """Names of the folders in a folder, sorted."""
        return sorted(self._children[path])

    def filled(self, path: str) -> list[str]:
        """Of these, the ones with an image in or below them."""
        return [name for name in self.inside(path) if self.total[_join(path, name)]]


def find_layout(root: Path, tree: Tree) -> Layout:
    """Read the levels of a folder.

    Raises:
        DataError: there are no class folders with images, a part of the split is missing, or the levels contradict
            each other or could be read in two ways.
    """
    reader = _Reader(root, tree)
    tops = tree.filled("")
    parts = reader.parts(tops)
    if parts:
        layout = reader.part_then_class(parts)
    elif len(tops) == 1 and not tree.own[tops[0]]:
        inside = root / tops[0]
        raise DataError(f"{root} holds one class only: '{tops[0]}'", f"are the class folders in {inside}?")
    elif len(tops) > 1 and all(map(part_of, tops)):
        raise reader.refused(
            "all folders are named as parts of a split, and which belong together is not clear", _NAMES
        )
    elif alone := [name for name in tops if part_of(name) and not decoration(name) and name.lower() != "dev"]:
        raise reader.refused(
            f"'{alone[0]}' is the name of a part of a split, not of a class",
            f"put class folders into train, val and test, or rename '{alone[0]}' or move it out of {root}",
        )
    else:
        layout = reader.class_first()
    reader.check(layout.places)
    if tree.own[""]:
        layout.left_out.insert(0, PassedOver("", _images(tree.own[""]) + " in no class folder"))
    return layout


class _Reader:
    def __init__(self, root: Path, tree: Tree) -> None:
        self._root = root
        self._tree = tree

    def refused(self, what: str, hint: str) -> DataError:
        return DataError(f"{what}; seen in {self._root}: {self._seen()}", hint)

    def _seen(self) -> str:
        """The first two levels in words."""
        names = self._tree.inside("")
        texts = []
        for name in names[:_SEEN]:
            inside, own = self._tree.filled(name), self._tree.own[name]
            within = [", ".join(inside[:4]) + (", …" if len(inside) > 4 else "")] if inside else []
            if own or not inside:
                within.append(_images(own))
            texts.append(f"{name}/ ({'; '.join(within)})")
        return ", ".join(texts) + (f" and {len(names) - _SEEN} more" if len(names) > _SEEN else "")

    def parts(self, names: Sequence[str]) -> dict[str, str]:
        """Which of some folders are the parts of a split, by part; empty where they are none."""
        groups = defaultdict[tuple[str, ...], dict[str, list[str]]](lambda: defaultdict(list))
        for name in names:
            if part := part_of(name):
                groups[decoration(name)][part].append(name)
        splits = {decoration: group for decoration, group in groups.items() if len(group) > 1}
        if not splits:
            return {}
        if len(splits) > 1 and () not in splits:
            several = [name for group in splits.values() for found in group.values() for name in found]
            raise self.refused(f"several splits stand side by side: {', '.join(sorted(several))}", "keep one of them")
        chosen: dict[str, str] = {}
        split = splits.get((), next(iter(splits.values())))
        for part in ("train", "val", "test"):
            if part not in split:
                continue
            found = split[part]
            plain = [name for name in found if name.lower() in SPLIT_NAMES]
            if len(found) > 1 and len(plain) != 1:
                raise self.refused(f"several folders are the part {part}: {', '.join(found)}", "keep one of them")
            chosen[part] = plain[0] if plain else found[0]
        for part, what in (("train", "to learn from"), ("test", "to test on")):
            if part not in chosen:
                given = ", ".join(f"'{name}'" for name in chosen.values())
                hint = "add it" if part == "train" else "name one folder 'test': without 'val', it is taken from train"
                raise self.refused(f"the folders {given} leave no part {what}: '{part}' is missing", hint)
        return chosen

    def part_then_class(self, parts: Mapping[str, str]) -> Layout:
        """PART/CLASS/..."""
        tree = self._tree
        places: dict[str, Place] = {}
        left_out = []
        for part, name in parts.items():
            folder = self._unwrapped(name, part)
            if not tree.filled(folder):
                raise self.refused(f"'{name}' holds images, but no class folders", f"make some in it, or {_TABLE}")
            if tree.own[folder]:
                left_out.append(PassedOver(folder, _images(tree.own[folder]) + " in no class folder"))
            places |= {_join(folder, label): Place(label, part) for label in tree.inside(folder)}
        labels = {place.label.lower() for place in places.values()}
        for name in tree.filled(""):
            if name in parts.values():
                continue
            if name.lower() in labels:
                raise self.refused(f"'{name}' stands beside the parts of a split and in them", "keep one of the two")
            left_out.append(PassedOver(name, f"{_images(tree.total[name])} in a folder that is no part of the split"))
        return Layout(places, left_out, [self._told(parts, "split")])

    def class_first(self) -> Layout:
        """CLASS/PART/... or CLASS/..."""
        tree = self._tree
        tops = tree.filled("")
        inner = Counter(name for top in tops for name in tree.filled(top))
        named = [name for name in inner if part_of(name) and not decoration(name)]
        parts = self.parts(sorted(inner))
        if not parts:
            if named and (len(inner) > 1 or inner[named[0]] < len(tops)):
                owner = next(top for top in tops if named[0] in tree.filled(top))
                raise self.refused(
                    f"'{owner}/{named[0]}' is named as a part of a split, but the other classes have none", _TABLE
                )
            below = [f"{top}/{name}" for top in tops for name in tree.filled(top)]
            told = f"its folders are the classes; what lies deeper belongs to them, such as {below[0]}" if below else ""
            return Layout({top: Place(top, None) for top in tree.inside("")}, [], [told] if told else [])
        places: dict[str, Place] = {}
        left_out = []
        for top in tops:
            here = {part: _join(top, name) for part, name in parts.items() if tree.total[_join(top, name)]}
            if not here:
                raise self.refused(f"'{top}' is not divided as the other classes are", "divide it, or move it out")
            if tree.own[top]:
                raise self.refused(f"images lie beside the parts of the split in '{top}'", "move them into a part")
            for name in tree.filled(top):
                if name not in parts.values():
                    what = f"{_images(tree.total[_join(top, name)])} in a folder that is no part of the split"
                    left_out.append(PassedOver(_join(top, name), what))
            places |= {path: Place(top, part) for part, path in here.items()}
        places |= {top: Place(top, None) for top in tree.inside("") if top not in tops}
        return Layout(places, left_out, [self._told(parts, "split in each class")])

    def check(self, places: Mapping[str, Place]) -> None:
        """Refuse masks and regions among the classes."""
        tree = self._tree
        levels = defaultdict[int, dict[str, set[str]]](lambda: defaultdict(set))  # depth -> name -> classes
        images = Counter[tuple[int, str]]()
        for path, count in tree.total.items():
            home = home_of(path, places)
            if home is None or not count:
                continue
            name = path.rpartition("/")[2]
            if _is_mask(name):
                raise self.refused(
                    f"'{path}' looks like masks, not patches", f"move it out of {self._root}, or {_TABLE}"
                )
            depth = path.count("/") - home.count("/")
            if depth:
                levels[depth][name].add(places[home].label)
                images[depth, name] += count
        direct = sum(tree.own[home] for home in places)
        for depth, names in sorted(levels.items()):
            shared = [name for name, labels in names.items() if len(labels) > 1 and not _DATE.fullmatch(name)]
            if len(names) > 1 and direct < sum(images[depth, name] for name in shared):
                one, other = sorted(names[shared[0]])[:2]
                raise self.refused(
                    f"which level holds the classes? '{one}' and '{other}' have folders of the same names "
                    f"({', '.join(sorted(shared)[:4])})",
                    f"keep one level of class folders, or {_TABLE}",
                )

    def _unwrapped(self, name: str, part: str) -> str:
        """A part's folder, or the one within that says no more, as in Kaggle's seg_train/seg_train or train/images."""
        path = name
        while not self._tree.own[path] and len(inside := self._tree.filled(path)) == 1:
            if part_of(inside[0]) != part and not is_filling(inside[0]):
                break
            if not self._tree.filled(_join(path, inside[0])):
                break
            path = _join(path, inside[0])
        return path

    @staticmethod
    def _told(parts: Mapping[str, str], what: str) -> str:
        names = list(parts.values())
        return f"its folders {', '.join(names[:-1])} and {names[-1]} are taken as the {what}"


def home_of(path: str, places: Mapping[str, Place]) -> str | None:
    """The class folder that a folder is or lies below, or None."""
    while path:
        if path in places:
            return path
        path = path.rpartition("/")[0]
    return None


def _is_mask(name: str) -> bool:
    words = words_of(name)
    return bool(_MASK_WORDS & set(words)) or "".join(words) in _MASK_NAMES


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"
