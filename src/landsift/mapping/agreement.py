"""How far dense mode answers as the model does patch by patch, measured on patches of the scene itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from landsift.mapping.classify import Model, Pixels
from landsift.mapping.dense import Dense
from landsift.mapping.patch_grid import Axis, PatchGrid, Run, shares_of_patches

PATCHES, PIECES, PER_PIECE = 384, 48, 32
"""Patches that are compared, pieces of the scene that are looked at for them at most, and patches of one piece."""
ENOUGH = 0.95
"""Share of patches that should get the same class; below, a warning is given."""


@dataclass(frozen=True)
class Agreement:
    """Dense mode beside patch by patch.

    Attributes:
        patches: compared.
        same: share that get the same class.
        largest: difference of probabilities.
        mean: difference of probabilities, over classes and patches.
    """

    patches: int
    same: float
    largest: float
    mean: float

    def to_json(self) -> dict[str, Any]:
        """As the map's tag holds it."""
        return {key: round(value, 6) for key, value in asdict(self).items()}

    def __str__(self) -> str:
        """In a line for people."""
        return (
            f"of {self.patches:,} patches of the scene {100 * self.same:.1f} % get the same class dense as patch by patch; "
            f"probabilities differ by {self.mean:.4f} in the mean and {self.largest:.3f} at most"
        )


def measure(scene: Pixels, grid: PatchGrid, dense: Dense, single: Model, min_valid: float) -> Agreement | None:
    """Compare answers for patches that are spread over the scene; None where no patch of it is valid.

    Args:
        scene: that is read.
        grid: of its patches.
        dense: dense mode.
        single: patch by patch.
        min_valid: share of a patch's pixels that must be valid.

    Raises:
        DataError: a file of the scene is damaged.
    """
    draw = np.random.default_rng(0)
    ours, theirs = [], []
    count = 0
    for rows, cols in _spread(grid, dense.most, draw):
        values, valid = scene.read(rows.pixels, cols.pixels)
        row, col = np.nonzero(shares_of_patches(valid, rows, cols) >= min_valid)
        if not len(row):
            continue
        some = draw.permutation(len(row))[:PER_PIECE]
        wanted = np.zeros((rows.count, cols.count), bool)
        wanted[row[some], col[some]] = True
        ours.append(dense(values, wanted, rows, cols)[wanted])
        theirs.append(single(values, wanted, rows, cols)[wanted])
        count += len(some)
        if count >= PATCHES:
            break
    if not count:
        return None
    one, other = np.concatenate(ours), np.concatenate(theirs)
    difference = np.abs(one - other)
    same = float((one.argmax(axis=1) == other.argmax(axis=1)).mean())
    return Agreement(count, same, float(difference.max()), float(difference.mean()))


def _spread(grid: PatchGrid, most: tuple[int, ...], draw: np.random.Generator) -> list[tuple[Run, Run]]:
    """Pieces at random places of a scene, or all of one that has few."""
    sides = [_regular(axis, each) for axis, each in zip((grid.rows, grid.cols), most, strict=True)]
    total = len(sides[0]) * len(sides[1])
    chosen = draw.permutation(total) if total <= PIECES else draw.choice(total, PIECES, replace=False)
    return [(sides[0][i // len(sides[1])], sides[1][i % len(sides[1])]) for i in chosen]


def _regular(axis: Axis, most: int) -> list[Run]:
    """Runs of patches, without the one that is moved inwards."""
    return [run for run in axis.runs(most) if run.index < axis.regular]
