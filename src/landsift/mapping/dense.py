"""Dense mode: the features of a piece of a scene are computed once, and pooled for each of its patches.

A piece is brought to the scale at which the network sees patches. Where patches do not begin at whole cells of the
features, the piece is shifted: a stride of half a cell takes two passes along each side. Where a cell is small beside a
patch (`FINE`), patches begin within a cell instead, which then counts by its share.

What a patch's features are made of differs from `predict` at its edges: there the network pads patches, here it sees
what lies beside them. How much that changes is measured (`agreement.py`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from landsift.mapping.local_networks import cell_side
from landsift.mapping.overlap import Flags, Probabilities
from landsift.mapping.patch_grid import PatchGrid, Run
from landsift.models.predictor import symmetries

if TYPE_CHECKING:
    from torch import Tensor

    from landsift.image_sizes import Size
    from landsift.models.predictor import Predictor

PIECE = 896
"""Side of a piece in pixels of the network's input: with a larger one, what its layers hand on leaves the caches."""
PATCHES = 6
"""Sides of a patch that a piece has at least, because the patches at its edges are not shared with the next."""
FINE = 6
"""Cells along a patch, from which on its edge may lie within a cell."""


class _Pass(NamedTuple):
    """Patches along one side that are pooled from one shifted pass.

    Attributes:
        shift: pixels of the network's input.
        which: numbers of the patches.
        weights: of the cells in the mean of each, float32 [len(which), cells].
    """

    shift: int
    which: NDArray[np.int64]
    weights: NDArray[np.float32]


class Dense:
    """Answers for all patches of a window from the features of its pieces; a `classify.Model`.

    Args:
        predictor: the model.
        grid: of the patches.

    Attributes:
        passes: of the network over a piece, for each of its views.

    Raises:
        ModelError: the network looks at patches as a whole.
    """

    def __init__(self, predictor: Predictor, grid: PatchGrid) -> None:
        description = predictor.description
        self._predictor, self._input = predictor, description.image_size
        self._backbone, self._head = predictor.network
        self._cell = cell_side(description.backbone, self._backbone, len(description.bands), self._input)
        self._zoom = (self._input / grid.rows.patch, self._input / grid.cols.patch)
        self.classes = len(predictor.classes)
        steps = [zoom * axis.stride for zoom, axis in zip(self._zoom, (grid.rows, grid.cols), strict=True)]
        self.passes = math.prod(shifts(step, self._cell, self._input) for step in steps)
        piece = max(PIECE, PATCHES * self._input)
        self.most = tuple(max(1, int((piece - self._input) / step) + 1) for step in steps)
        """Patches of a piece along its height and its width."""
        self.side: Size = (round(piece / self._zoom[0]), round(piece / self._zoom[1]))

    def __call__(self, values: NDArray[Any], wanted: Flags, rows: Run, cols: Run) -> Probabilities:
        """As of `classify.Model`."""
        found = np.zeros((*wanted.shape, self.classes), np.float32)
        for top in range(0, rows.count, self.most[0]):
            for left in range(0, cols.count, self.most[1]):
                some = (slice(top, top + self.most[0]), slice(left, left + self.most[1]))
                counts = wanted[some].shape
                if not wanted[some].any():
                    continue
                first = (top * rows.stride, left * cols.stride)
                height = (counts[0] - 1) * rows.stride + rows.patch
                width = (counts[1] - 1) * cols.stride + cols.patch
                piece = values[first[0] : first[0] + height, first[1] : first[1] + width]
                found[some] = self._piece(piece, counts, (rows.stride, cols.stride))
        found[~wanted] = 0
        return found

    def _piece(self, pixels: NDArray[Any], counts: tuple[int, ...], strides: Size) -> Probabilities:
        """Probabilities of the patches of a piece, [counts, K]; its pixels are [h, w, C]."""
        import torch

        with torch.inference_mode():
            image = self._prepared(pixels)
            steps = tuple(zoom * stride for zoom, stride in zip(self._zoom, strides, strict=True))
            square = len(set(self._predictor.description.patch_size)) == 1
            if self._predictor.description.tta == "none":
                return self._view(image, counts, steps).cpu().numpy()
            views = symmetries(image, square=square)
            total = torch.zeros(*counts, self.classes, device=image.device)
            for number, view in enumerate(views):
                turn, flipped = number % (len(views) // 2), number >= len(views) // 2
                quarter = turn if square else 2 * turn
                across = quarter % 2 == 1
                found = self._view(view, counts[::-1] if across else counts, steps[::-1] if across else steps)
                found = torch.rot90(found, -quarter, dims=(0, 1))
                total += found.flip(1) if flipped else found
            return np.asarray((total / len(views)).cpu().numpy())

    def _prepared(self, pixels: NDArray[Any]) -> Tensor:
        """A piece as the network takes it, at the scale at which it takes patches: float32 [1, C, H, W]."""
        import torch
        from torch.nn import functional as F

        preprocess = self._predictor.preprocess
        stored = torch.from_numpy(np.array(pixels, order="C"))[None].to(self._predictor.device)
        image = preprocess.to_units(stored)
        size = tuple(round(side * zoom) for side, zoom in zip(pixels.shape[:2], self._zoom, strict=True))
        if tuple(image.shape[2:]) != size:
            image = F.interpolate(image, size=size, mode="bilinear", antialias=True, align_corners=False)
        normalized: Tensor = preprocess.normalize(image)
        return normalized

    def _view(self, image: Tensor, counts: tuple[int, ...], steps: tuple[float, ...]) -> Tensor:
        """Probabilities of patches whose first lies in the corner of an image [1, C, H, W]: float32 [counts, K]."""
        import torch
        from torch.nn import functional as F

        found = torch.empty(*counts, self.classes, device=image.device)
        rows, cols = (passes(count, step, self._cell, self._input) for count, step in zip(counts, steps, strict=True))
        for row in rows:
            for col in cols:
                height, width = (each.weights.shape[1] * self._cell for each in (row, col))
                moved = image[:, :, row.shift : row.shift + height, col.shift : col.shift + width]
                # Beyond the end of the piece there is what convolutions pad with.
                padding = (0, width - moved.shape[3], 0, height - moved.shape[2])
                moved = F.pad(moved, padding).contiguous(memory_format=torch.channels_last)
                features = self._backbone.forward_features(moved)[0].float()  # [D, h, w]
                down, across = (torch.from_numpy(each.weights).to(features.device) for each in (row, col))
                pooled = (down @ features @ across.T).permute(1, 2, 0)  # [n, m, D]
                pooled = pooled.reshape(-1, pooled.shape[2], 1, 1)
                answers = self._head(self._backbone.forward_head(pooled)).float().softmax(dim=1)
                where = np.ix_(row.which, col.which)
                found[where] = answers.reshape(len(row.which), len(col.which), -1)
        return found


def shifts(step: float, cell: int, patch: int) -> int:
    """How many shifted passes along one side a stride takes.

    Args:
        step: from a patch to the next.
        cell: from a cell of the features to the next.
        patch: side of a patch; all in pixels of the network's input.
    """
    count = 1
    while cell % (2 * count) == 0 and not (math.isclose(step % (cell / count), 0) or cell / count <= patch / FINE):
        count *= 2
    return count


def passes(count: int, step: float, cell: int, patch: int) -> list[_Pass]:
    """The shifted passes along one side, and which patches are pooled from which; arguments as of `shifts`.

    Args:
        count: of the patches.
        step, cell, patch: as of `shifts`.
    """
    apart = cell // shifts(step, cell, patch)
    starts = np.arange(count) * step
    shift = (starts % cell + 1e-6).astype(np.int64) // apart * apart
    found = []
    for each in np.unique(shift):
        which = np.flatnonzero(shift == each)
        begin = (starts[which] - each) / cell  # in cells
        end = begin + patch / cell
        cells = np.arange(math.ceil(float(end.max()) - 1e-6))
        covered = np.minimum(end[:, None], cells + 1) - np.maximum(begin[:, None], cells)
        weights = np.clip(covered, 0, 1) * (cell / patch)
        found.append(_Pass(int(each), which, weights.astype(np.float32)))
    return found
