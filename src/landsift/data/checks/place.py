"""Distances from test to training patches, and the accuracy of location alone.

If a test patch has a training patch beside it, a model may recognise the place and not the class. The accuracy of the
nearest training patches' classes, without the image, says how much of its accuracy that could be.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.data.checks.findings import Section, number_of
from landsift.data.dealing import PARTS
from landsift.data.geodesy import Places, distance, known, nearest_km
from landsift.data.sources.eurosat import GSD_M, SIDE
from landsift.runtime.notices import once

if TYPE_CHECKING:
    from landsift.data.store.patch_store import PatchStore

Rows = NDArray[np.int64]

NEIGHBOURS = (1, 3, 5, 10, 20, 50)
"""Numbers of nearest training patches that vote, of which validation chooses one."""
MOST = 20_000
"""Patches of a part that are looked at."""
ON_MAP = 400
"""Patches of a part that a map shows."""
NEIGHBOURING = "the median distance of neighbouring patches"
"""What stands for a patch's side where that is not known."""
BESIDE = 0.01
"""Share of test patches with a training patch nearer than their own side, from which a split by place is looked at."""


def place_section(store: PatchStore, part: Rows, kind: str, gsd: float | None = None) -> Iterator[Section]:
    """Distances and the accuracy of location alone; nothing if no location is known.

    If none is known in train or in test, the section says that alone.

    Args:
        store: The patches.
        part: 0, 1, 2 or -1 for each patch, [N].
        kind: of the split, as `stratified`.
        gsd: ground sampling distance of the stored patches in metres, if the store does not know it.
    """
    places = store.places()
    there = known(places)
    rows = [np.flatnonzero(there & (part == p)) for p in range(len(PARTS))]
    if not there.any():
        return
    if not len(rows[0]) or not len(rows[2]):
        placed, where = int(there.sum()), "train" if not len(rows[0]) else "test"
        text = f"locations are known for {placed:,} of {len(part):,} patches, but for none in {where}: no distances."
        yield Section("places", "look", text, {"placed": placed})
        return
    side, how = _side_km(store, places[there], gsd)
    figures = {
        "placed": int(there.sum()),
        "test_placed": len(rows[2]),
        "test": int((part == PARTS.index("test")).sum()),
        **distances(places, rows[0], rows[2], side),
        "side_from": how,
        **location_alone(places, store.labels, *rows),
        "map": {name: _points(places[of]) for name, of in zip(PARTS, rows, strict=True)},
    }
    beside = figures["nearer_than_side"]
    # Patches that are sampled far apart have no neighbour that could stand for their side.
    look = kind == "stratified" or (how != NEIGHBOURING and beside is not None and beside >= BESIDE)
    yield Section("places", "look" if look else "ok", _text(figures, len(part) - int(there.sum()), kind), figures)


def distances(places: Places, train: Rows, test: Rows, side_km: float | None) -> dict[str, Any]:
    """Kilometres from test patches to the nearest training patch: median, 5 % quantile, share nearer than a side."""
    near = nearest_km(places[_some(test)], places[train])[0][:, 0]
    return {
        "median_km": float(np.median(near)),
        "q05_km": float(np.quantile(near, 0.05)),
        "side_km": side_km,
        "nearer_than_side": None if side_km is None else float(np.mean(near < side_km)),
    }


def location_alone(places: Places, labels: Rows, train: Rows, val: Rows, test: Rows) -> dict[str, Any]:
    """Accuracy on test of the most frequent class among the k nearest training patches; validation chooses k.

    Returns:
        `location_accuracy`, `neighbours` (k), and `majority_accuracy`: of the most frequent class of train everywhere.
    """
    counts = [k for k in NEIGHBOURS if k <= len(train)]
    chosen = min(5, counts[-1])
    if len(val):
        found = _votes(places, labels, train, _some(val), counts)
        chosen = counts[int(np.argmax([np.mean(found[k] == labels[_some(val)]) for k in counts]))]
    test = _some(test)
    right = _votes(places, labels, train, test, [chosen])[chosen] == labels[test]
    most = np.bincount(labels[train]).argmax()
    return {
        "location_accuracy": float(np.mean(right)),
        "neighbours": chosen,
        "majority_accuracy": float(np.mean(labels[test] == most)),
    }


def _votes(places: Places, labels: Rows, train: Rows, rows: Rows, counts: list[int]) -> dict[int, Rows]:
    """The class that most of the k nearest training patches have, the nearest of equals, by k."""
    near = labels[train][nearest_km(places[rows], places[train], max(counts))[1]]
    votes = np.zeros((len(rows), int(labels.max()) + 1))
    found, each = {}, np.arange(len(rows))
    for k in range(max(counts)):
        votes[each, near[:, k]] += 1.0 - 1e-4 * k
        if k + 1 in counts:
            found[k + 1] = votes.argmax(axis=1).astype(np.int64)
    return found


def _side_km(store: PatchStore, places: Places, gsd: float | None) -> tuple[float | None, str]:
    """The side of a patch in kilometres, and where that is known from."""
    pixels = store.images.shape[1]
    of_bands = store.bands.gsd
    if of_bands is not None and 2 * store.info["resized"] > len(store):
        of_bands = None  # that of the files, and not of what is stored
    if of_bands is not None:
        if gsd is not None and not math.isclose(gsd, of_bands, rel_tol=0.01):
            once(logging.WARNING, f"data.gsd={gsd:g} is not used: the patches' bands have {of_bands:g} m")
        return of_bands * pixels / 1000, f"{of_bands:g} m per pixel"
    if gsd is not None:
        return gsd * pixels / 1000, "data.gsd"
    if store.info["source"] == "eurosat" and pixels == SIDE:
        return GSD_M * pixels / 1000, f"EuroSAT's {GSD_M:g} m per pixel"
    numbers = np.unique(places[:, 0] + 1j * places[:, 1])  # ten times as fast as rows of two
    distinct = np.stack([numbers.real, numbers.imag], axis=1)
    if len(distinct) < 2:
        return None, "nothing"
    some = distinct[_some(np.arange(len(distinct)))]
    return float(np.median(nearest_km(some, distinct, 2)[0][:, 1])), NEIGHBOURING


def _some(rows: Rows) -> Rows:
    """The rows, or where they are many so many of them, evenly."""
    return rows if len(rows) <= MOST else rows[np.linspace(0, len(rows) - 1, MOST).astype(np.int64)]


def _points(places: Places) -> str:
    """Some of the places as text, short enough for a manifest: "28.56 44.04, -0.20 52.62"."""
    some = places[np.random.default_rng(0).permutation(len(places))[:ON_MAP]]
    return ", ".join(f"{lon:.2f} {lat:.2f}" for lon, lat in some)


def _text(figures: dict[str, Any], without: int, kind: str) -> str:
    middle, few = distance(figures["median_km"]), distance(figures["q05_km"])
    text = f"test patches are {middle} (median; 5 % within {few}) from the nearest training patch"
    if figures["side_km"] is not None:
        share, side = 100 * figures["nearer_than_side"], distance(figures["side_km"])
        text += f", {share:.1f} % nearer than "
        neighbours = figures["side_from"] == NEIGHBOURING
        text += f"{side} ({NEIGHBOURING})" if neighbours else f"the side of a patch, {side} ({figures['side_from']})"
    text += (
        f"; location alone ({figures['neighbours']} nearest) classifies {100 * figures['location_accuracy']:.1f} % of "
        f"them correctly, the most frequent class {100 * figures['majority_accuracy']:.1f} %."
    )
    if kind == "stratified":
        text += " A random split measures accuracy close to the training patches; data.split.kind=spatial measures it "
        text += "elsewhere."
    if without:
        text += f" {number_of(without, 'has', 'have')} no known location."
    return text
