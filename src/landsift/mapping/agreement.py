"""Where a network is cut in dense mode: as deep as its answers stay those of patch by patch, on the scene itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from landsift.errors import ConfigError
from landsift.image_sizes import by
from landsift.mapping.classify import Model, Pixels
from landsift.mapping.dense import Dense, steps_of
from landsift.mapping.overlap import Flags
from landsift.mapping.patch_grid import Axis, PatchGrid, Run, shares_of_patches
from landsift.mapping.shared_features import Cut, cuts_of

if TYPE_CHECKING:
    from landsift.models.predictor import Predictor

PATCHES, PER_PIECE, PIECES = 384, 32, 48
"""Patches that are compared, of one piece of the scene, and pieces that are looked at for them; all at most."""
SIDE = 5
"""Of such a piece, in patches. Those that are compared have a patch beside them on each side, as nearly all have in a
map, or lie at the edge of the scene."""
ENOUGH = 0.95
"""Share of patches that should get the same class, unless another is asked for."""
WORTH = 4000
"""Patches of a scene below which the choice takes longer than dense mode saves: some ten cuts answer for `PATCHES`."""
SAVES = 0.9
"""Of the work of patch by patch, that dense mode may take."""
_APART = 0.01
"""Of the network's work, by which cuts differ that are tried."""


@dataclass(frozen=True)
class Agreement:
    """Dense mode beside patch by patch.

    Attributes:
        cut: the last module of the network whose features are shared.
        work: per area, in that of patches side by side.
        patches: compared.
        same: share that get the same class.
        largest: difference of probabilities.
        mean: difference of probabilities, over classes and patches.
    """

    cut: str
    work: float
    patches: int
    same: float
    largest: float
    mean: float

    def to_json(self) -> dict[str, Any]:
        """As the map's tag holds it."""
        return {key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(self).items()}

    def __str__(self) -> str:
        """In a line for people."""
        return (
            f"features up to {self.cut} are shared; of {self.patches:,} patches of the scene {100 * self.same:.1f} % "
            f"get the same class as patch by patch, and probabilities differ by {self.mean:.4f} in the mean and "
            f"{self.largest:.3f} at most"
        )


class _Piece(NamedTuple):
    """A piece of a scene, and answers for some of its patches."""

    rows: Run
    cols: Run
    values: NDArray[Any]
    wanted: Flags
    answers: NDArray[np.float32]


def choose(
    scene: Pixels, grid: PatchGrid, predictor: Predictor, single: Model, min_valid: float, enough: float = ENOUGH
) -> tuple[Dense, Agreement | None]:
    """Dense mode with the cut that takes the least work of those that agree with patch by patch.

    Where none agrees enough, it is the one that agrees most. The agreement is None where no patch of the scene is
    valid.

    Args:
        scene: that is read.
        grid: of its patches.
        predictor: the model.
        single: patch by patch.
        min_valid: share of a patch's pixels that must be valid.
        enough: share of patches that should get the same class.

    Raises:
        ConfigError: with this stride dense mode saves nothing.
        DataError: a file of the scene is damaged.
        ModelError: the network looks at patches as a whole.
    """
    cuts = cuts_to_try(grid, predictor)
    pieces = _sampled(scene, grid, single, min_valid)
    best: tuple[Dense, Agreement] | None = None
    for cut, work in cuts:
        dense = Dense(predictor, grid, cut)
        if not pieces:
            return dense, None
        found = _compared(dense, pieces, cut.name, work)
        if found.same >= enough:
            return dense, found
        if best is None or found.same > best[1].same:
            best = dense, found
    assert best is not None
    return best


def cuts_to_try(grid: PatchGrid, predictor: Predictor) -> list[tuple[Cut, float]]:
    """Cuts that save work with a stride, and their work per area in that of patches side by side, the least first.

    Raises:
        ConfigError: there is none.
        ModelError: the network looks at patches as a whole.
    """
    description = predictor.description
    steps = steps_of(grid, description.image_size)
    overlap = grid.rows.patch * grid.cols.patch / (grid.rows.stride * grid.cols.stride)
    cuts = cuts_of(description.backbone, predictor.network[0], len(description.bands), description.image_size)
    priced = sorted(((cut, cut.cost(steps, overlap)) for cut in cuts), key=lambda pair: pair[1])
    found: list[tuple[Cut, float]] = []
    for cut, work in priced:
        if work <= SAVES * overlap and all(abs(cut.share - other.share) > _APART for other, _ in found):
            found.append((cut, work))
    if not found:
        stride = by((grid.rows.stride, grid.cols.stride))
        raise ConfigError(
            f"--dense saves nothing with a stride of {stride} pixels and patches of {by(grid.patch)}",
            "leave it out, or take a smaller stride that is a part of a patch, such as a quarter",
        )
    return found


def _sampled(scene: Pixels, grid: PatchGrid, single: Model, min_valid: float) -> list[_Piece]:
    """Pieces that are spread over the scene, with the answers of patch by patch for some of their valid patches."""
    draw = np.random.default_rng(0)
    sides = [_regular(axis, max(1, (SIDE - 1) * axis.patch // axis.stride + 1)) for axis in (grid.rows, grid.cols)]
    total = len(sides[0]) * len(sides[1])
    chosen = draw.permutation(total) if total <= PIECES else draw.choice(total, PIECES, replace=False)
    per_piece = max(PER_PIECE, -(-PATCHES // total))
    found: list[_Piece] = []
    count = 0
    for number in chosen:
        rows, cols = sides[0][number // len(sides[1])], sides[1][number % len(sides[1])]
        values, valid = scene.read(rows.pixels, cols.pixels)
        enough = shares_of_patches(valid, rows, cols) >= min_valid
        row, col = np.nonzero(enough & np.logical_and.outer(_inner(rows, grid.rows), _inner(cols, grid.cols)))
        if not len(row):
            continue
        some = draw.permutation(len(row))[: min(per_piece, PATCHES - count)]
        wanted = np.zeros((rows.count, cols.count), bool)
        wanted[row[some], col[some]] = True
        found.append(_Piece(rows, cols, values, wanted, single(values, wanted, rows, cols)[wanted]))
        count += len(some)
        if count >= PATCHES:
            break
    return found


def _inner(run: Run, axis: Axis) -> Flags:
    """Which patches of a run do not see its ends, [count], unless those are the scene's."""
    margin = -(-run.patch // run.stride)
    place = np.arange(run.count)
    ends = run.index + run.count == axis.regular
    return np.asarray(((place >= margin) | (run.index == 0)) & ((place < run.count - margin) | ends))


def _compared(dense: Dense, pieces: Sequence[_Piece], cut: str, work: float) -> Agreement:
    one = np.concatenate([dense(each.values, each.wanted, each.rows, each.cols)[each.wanted] for each in pieces])
    other = np.concatenate([each.answers for each in pieces])
    difference = np.abs(one - other)
    same = float((one.argmax(axis=1) == other.argmax(axis=1)).mean())
    return Agreement(cut, float(work), len(one), same, float(difference.max()), float(difference.mean()))


def _regular(axis: Axis, most: int) -> list[Run]:
    """Runs of patches, without the one that is moved inwards."""
    return [run for run in axis.runs(most) if run.index < axis.regular]
