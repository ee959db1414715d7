"""Whether a test result can be trusted: duplicates and groups across the split, conflicting labels, missing classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.config import SplitConfig
from landsift.data.checks.findings import EXAMPLES, DataChecks, Section, example, number_of
from landsift.data.checks.levels import Levels
from landsift.data.checks.near_duplicates import near_copies
from landsift.data.checks.pixels import bands_section, blank_section, pixel_facts
from landsift.data.checks.place import place_section
from landsift.data.dealing import PARTS
from landsift.data.sources.class_names import names_section
from landsift.data.sources.similar_names import written_alike
from landsift.data.sources.split_names import SPLIT_NAMES
from landsift.data.splits import given_columns, make_split
from landsift.data.store.patch_store import PatchStore
from landsift.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

Rows = NDArray[np.int64]

HANDFUL = 10
"""Patches of a class in a part, below which one patch moves its figures by more than ten points."""
LEAK = 0.01
"""Share of val and test patches with a relative in another part, from which their figures mislead."""
SAMPLE = 512
"""Patches whose pixels the quick check looks at, and fewer of large ones:"""
SAMPLE_BYTES = 2**26
"""Bytes of pixels that it reads at most."""


def check_data(
    store: PatchStore,
    split: SplitConfig | None = None,
    budget: int | None = None,
    budget_seed: int | None = None,
    *,
    thorough: bool = True,
    gsd: float | None = None,
) -> DataChecks:
    """Look for what would make a model's figures mislead.

    Args:
        store: The patches.
        split: How they will be divided; None: as a run does without settings.
        budget: How many training labels may be used; None: all.
        budget_seed: As in `make_split`.
        thorough: Look at every pixel and for near copies. False looks at some patches' pixels, and for exact copies
            alone, in well under a second.
        gsd: Ground sampling distance of the stored patches in metres; None: what is known of the source.

    Raises:
        DataError: the store is damaged.
    """
    given: object = store
    if not isinstance(given, PatchStore):
        hint = "PatchStore.open(path) opens a store, build_store(source, folder) makes one"
        raise DataError(f"a patch store is checked, not a {type(given).__name__}", hint)
    chosen: object = SplitConfig() if split is None else split
    if not isinstance(chosen, SplitConfig):
        raise DataError(f"split is a {type(chosen).__name__}", "give a SplitConfig; a RunConfig has it as .data.split")
    split = chosen
    labels, contents = store.labels, store.contents()
    part, kind, refused = _parts(store, split, budget, budget_seed)
    sections = [_patches(store), *names_section(store.classes), _split(part, kind, refused)]
    if part is not None:
        sections.append(_classes(store, labels, part))
    named = kind == "column" or (kind in {"rows", "lists"} and part is not None)
    given = given_columns(store, split)("split").where(labels >= 0) if named else None
    sections += [_copies(store, contents, given), _conflicts(store, labels, contents)]
    if part is not None:
        if thorough:
            sections.append(_near(store, labels, contents, part))
        sections += _groups(store, part, kind)
        sections += place_section(store, part, kind, gsd)
    some = max(1, min(SAMPLE, SAMPLE_BYTES // int(store.images[:1].nbytes)))
    facts = pixel_facts(store.images, None if thorough else some, store.bands)
    return DataChecks((*sections, bands_section(store, facts), blank_section(store, facts)))


def _parts(
    store: PatchStore, split: SplitConfig, budget: int | None, budget_seed: int | None
) -> tuple[Rows | None, str, str]:
    """The part of each patch (-1: in none), or None; the kind of split; and why there is none."""
    kind: str = "rows" if split.rows else "lists" if split.lists else split.kind
    if kind == "auto":
        given = [kind for kind, name in (("column", "split"), ("group", "group")) if store.column(name).notna().any()]
        kind = given[0] if given else "stratified"
    try:
        rows = make_split(store, split, budget, budget_seed)
    except DataError as error:
        return None, kind, error.message
    part = np.full(len(store), -1, dtype=np.int64)
    for p, name in enumerate(PARTS):
        part[getattr(rows, name)] = p
    return part, kind, ""


def _patches(store: PatchStore) -> Section:
    shape = " × ".join(map(str, store.images.shape[1:]))
    info = store.info
    text = f"{len(store):,} patches of {shape} (height, width, bands) in {len(store.classes)} classes."
    counts = {"patches": len(store), "skipped": len(store.skipped)} | {k: info[k] for k in ("resized", "squeezed")}
    if not store.bands.is_rgb8:
        text += f" They are {store.bands}."
    if without := len(store.unlabelled):
        counts["unlabelled"] = without
        text += f" {number_of(without, 'has', 'have')} no label, and no part of a split has them."
    if info["resized"]:
        text += f" {info['resized']:,} were resized to that"
        text += f", {info['squeezed']:,} of them with a changed aspect ratio." if info["squeezed"] else "."
    text += "".join(f" {count:,} {'has' if count == 1 else 'have'} {note}." for note, count in info["notes"].items())
    examples = [{"paths": [s["path"]], "reason": s["reason"]} for s in store.skipped[:EXAMPLES]]
    if store.skipped:
        text += f" {number_of(len(store.skipped), 'file or folder is left out', 'files or folders are left out')}."
    return Section("patches", "look" if store.skipped or info["squeezed"] else "ok", text, counts, examples)


def _split(part: Rows | None, kind: str, refused: str) -> Section:
    if part is None:
        return Section("split", "wrong", f"no split can be made: {refused}", {"kind": kind})
    sizes = {name: int(np.count_nonzero(part == p)) for p, name in enumerate(PARTS)}
    ways = {"column": "as the source gives it", "group": "by group", "rows": "as data.split.rows names them",
            "lists": "as data.split.lists names them", "spatial": "by place"}  # fmt: skip
    how = ways.get(kind, "stratified by class")
    return Section(
        "split", "ok", f"{', '.join(f'{n:,} {name}' for name, n in sizes.items())}, {how}.", {"kind": kind, **sizes}
    )


def _classes(store: PatchStore, labels: Rows, part: Rows) -> Section:
    K = len(store.classes)
    table = np.stack([np.bincount(labels[part == p], minlength=K) for p in range(len(PARTS))], axis=1)
    counts = {name: dict(zip(PARTS, row, strict=True)) for name, row in zip(store.classes, table.tolist(), strict=True)}
    short = [(int(table[c, p]), store.classes[c], PARTS[p]) for c, p in np.argwhere(table < HANDFUL)]
    few, missing = len({name for _, name, _ in short}), len({name for n, name, _ in short if n == 0})
    examples = [{"class": name, "part": where, "patches": n} for n, name, where in sorted(short)[:EXAMPLES]]
    name = "classes"
    if missing:
        text = f"{number_of(missing, 'class is', 'classes are')} missing from a part of the split."
        return Section(name, "wrong", text, counts, examples)
    if short:
        text = f"{number_of(few, 'class has', 'classes have')} fewer than {HANDFUL} patches in a part of the split."
        return Section(name, "look", text, counts, examples)
    return Section(name, "ok", f"every class has {table.min():,} patches or more in every part.", counts)


def _copies(store: PatchStore, contents: Rows, given: pd.Series | None) -> Section:
    """Exact copies; equal pixels never stand on two sides of a split, which `splits` sees to."""
    sizes = np.bincount(contents)
    copies = len(contents) - len(sizes)
    counts = {"copies": copies, "contents": int(np.count_nonzero(sizes > 1)), "across": 0}
    if not copies:
        return Section("exact copies", "ok", "no two patches have identical pixels.", counts)
    text = f"{number_of(copies, 'patch is an exact duplicate', 'patches are exact duplicates')} of another"
    across = np.empty(0, dtype=np.int64) if given is None else _across(given, contents)
    if not len(across):
        text += ", always in the same part of the split: exact duplicates are never split up."
        cases: Rows = np.flatnonzero(sizes > 1)
    else:
        counts["across"] = len(across)
        text += (
            f"; {number_of(len(across), 'image is', 'images are')} in several parts of the given split. "
            "Only the copies in test are used, or those in val if there are none in test; the others are left out."
        )
        cases = across
    return Section("exact copies", "look", text, counts, _cases(store, contents, cases))


def _across(given: pd.Series, contents: Rows) -> Rows:
    """Contents that the given split has in several parts."""
    column = given.astype("category").cat
    numbers = [PARTS.index(SPLIT_NAMES[name.lower()]) if name.lower() in SPLIT_NAMES else -1
               for name in column.categories]  # fmt: skip
    part = np.array([*numbers, -1])[column.codes.to_numpy()]  # code -1: no value
    return _mixed(contents, part)


def _conflicts(store: PatchStore, labels: Rows, contents: Rows) -> Section:
    mixed = _mixed(contents, labels)
    patches = int((np.isin(contents, mixed) & (labels >= 0)).sum())
    counts = {"contents": len(mixed), "patches": patches}
    if not len(mixed):
        return Section("labels", "ok", "no image has conflicting labels.", counts)
    text = (
        f"{number_of(len(mixed), 'image has', 'images have')} conflicting labels: identical pixels in several classes."
    )
    return Section("labels", "wrong", text, counts, _cases(store, contents, mixed))


def _near(store: PatchStore, labels: Rows, contents: Rows, part: Rows) -> Section:
    pictures = store.bands.dtype == "uint8" and store.bands.nodata is None
    images = store.images if pictures else Levels(store.images, store.bands, store.mean, store.std)
    pairs = near_copies(images, part, contents)
    patches = len(np.unique(pairs.later))
    share = float(patches / np.count_nonzero(part > 0))
    otherwise = int(np.count_nonzero(labels[pairs.earlier] != labels[pairs.later]))
    counts = {"pairs": len(pairs.later), "patches": patches, "share": share, "differently_labelled": otherwise}
    if not patches:
        return Section(
            "near copies", "ok", "no patch of val or test is a near-duplicate of one in another part.", counts
        )
    text = (
        f"{number_of(patches, 'patch', 'patches')} of val and test ({100 * share:.2f} %) "
        f"{'is a near-duplicate' if patches == 1 else 'are near-duplicates'} of one in an earlier part of the split"
        + (f"; {number_of(otherwise, 'pair has', 'pairs have')} different labels." if otherwise else ".")
    )
    examples = [
        example(store, [int(a), int(b)]) | {"parts": [PARTS[part[a]], PARTS[part[b]]], "likeness": round(float(r), 3)}
        for a, b, r in list(zip(*pairs, strict=True))[:EXAMPLES]
    ]
    return Section("near copies", "wrong" if share >= LEAK else "look", text, counts, examples)


def _groups(store: PatchStore, part: Rows, kind: str) -> Iterator[Section]:
    """Groups across parts, where there are groups."""
    column = store.column("group").astype("category").cat
    codes = column.codes.to_numpy().astype(np.int64)
    known = np.flatnonzero((codes >= 0) & (part >= 0))
    if not len(known):
        return
    mixed = _mixed(codes[known], part[known])
    first = np.full(len(column.categories), len(PARTS))
    np.minimum.at(first, codes[known], part[known])
    patches = int(np.count_nonzero(part[known] > first[codes[known]]))
    share = float(patches / np.count_nonzero(part > 0))
    counts = {"groups": len(np.unique(codes[known])), "across": len(mixed), "patches": patches, "share": share}
    alike = _written_alike(column.categories, codes[known], part[known])
    named = "; ".join(" and ".join(repr(name) for name in names) for names in alike[:EXAMPLES])
    of_names = (
        f" {number_of(len(alike), 'group', 'groups')} may be in several parts under names that differ only in case, "
        f"spaces or Unicode form: {named}."
        if alike
        else ""
    )
    if not len(mixed):
        text = f"every group is in one part of the split.{of_names}"
        yield Section("groups", "look" if alike else "ok", text, counts)
        return
    text = (
        f"{number_of(len(mixed), 'group is', 'groups are')} in several parts of the split: "
        f"{number_of(patches, 'patch', 'patches')} of val and test ({100 * share:.2f} %) "
        f"{'has' if patches == 1 else 'have'} patches of the same group in an earlier part."
        + ("" if kind == "group" else " data.split.kind=group keeps them together.")
        + of_names
    )
    examples = [{"group": str(column.categories[g])} | example(store, _firsts(codes, part, int(g)))
                for g in mixed[:EXAMPLES]]  # fmt: skip
    yield Section("groups", "wrong" if share >= LEAK else "look", text, counts, examples)


def _written_alike(names: Iterable[str], codes: Rows, part: Rows) -> list[list[str]]:
    """Names of different groups that may be meant as one, and stand in several parts of the split."""
    parts: dict[str, set[int]] = {}
    names = list(map(str, names))
    for code, p in np.unique(np.stack([codes, part], axis=1), axis=0).tolist():
        parts.setdefault(names[code], set()).add(p)
    return [alike for alike in written_alike(list(parts)) if len(set().union(*(parts[name] for name in alike))) > 1]


def _mixed(units: Rows, values: Rows) -> Rows:
    """Units (numbers from 0) of which two rows have different values, ascending; values below 0 do not count."""
    units, values = units[values >= 0], values[values >= 0]
    one = np.empty(units.max(initial=-1) + 1, dtype=np.int64)
    one[units] = values
    mixed: Rows = np.unique(units[values != one[units]])
    return mixed


def _firsts(codes: Rows, part: Rows, group: int) -> list[int]:
    """The first row of a group in each part that it stands in."""
    rows = np.flatnonzero((codes == group) & (part >= 0))
    return sorted(int(rows[part[rows] == p][0]) for p in np.unique(part[rows]))


def _cases(store: PatchStore, contents: Rows, cases: Rows) -> list[dict[str, Any]]:
    """The first few of some contents, with the paths of their patches."""
    return [example(store, np.flatnonzero(contents == case)[:EXAMPLES].tolist()) for case in cases[:EXAMPLES]]
