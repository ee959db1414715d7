"""Dense mode: the first part of a network passes over a piece of a scene once, for all of the patches in it.

A piece is brought to the scale at which the network sees patches. Where patches do not begin at whole cells of the
shared features, the piece is shifted: a stride of half a cell takes two passes along each side. The rest of the network
then takes the features of each patch alone, padded as those of a patch.

What a patch's shared features are made of differs from `predict` at its edges: there the network pads patches, here it
sees what lies beside them. Where to cut the network is decided by measuring that (`agreement.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.mapping.overlap import Flags, Probabilities
from landsift.mapping.patch_grid import PatchGrid, Run
from landsift.models.predictor import symmetries, tempered

if TYPE_CHECKING:
    from torch import Tensor

    from landsift.image_sizes import Size
    from landsift.mapping.shared_features import Cut
    from landsift.models.predictor import Predictor

PIECE = 896
"""Side of a piece in pixels of the network's input: with a larger one, what its layers hand on leaves the caches."""
PATCHES = 4
"""Sides of a patch that a piece has at least: where pieces meet, they overlap by almost a patch."""
BATCH = 512
"""Patches that the rest of the network takes at a time on a GPU."""


class Dense:
    """Answers for all patches of a window; a `classify.Model`.

    Args:
        predictor: the model.
        grid: of the patches.
        cut: the model's network in two parts.
    """

    def __init__(self, predictor: Predictor, grid: PatchGrid, cut: Cut) -> None:
        self._predictor, self._input, self._cut = predictor, predictor.description.image_size, cut
        self._head = predictor.network[1]
        self.classes = len(predictor.classes)
        self._zoom = (self._input / grid.rows.patch, self._input / grid.cols.patch)
        self._square = grid.rows.patch == grid.cols.patch
        self._steps = steps_of(grid, self._input)
        piece = max(PIECE, PATCHES * self._input)
        self.most = tuple(max(1, int((piece - self._input) / step) + 1) for step in self._steps)
        """Patches of a piece along its height and its width."""
        self.side: Size = (round(piece / self._zoom[0]), round(piece / self._zoom[1]))

    def __call__(self, values: NDArray[Any], wanted: Flags, rows: Run, cols: Run) -> Probabilities:
        """As of `classify.Model`."""
        found = np.zeros((*wanted.shape, self.classes), np.float32)
        for top in range(0, rows.count, self.most[0]):
            for left in range(0, cols.count, self.most[1]):
                some = (slice(top, top + self.most[0]), slice(left, left + self.most[1]))
                n, m = wanted[some].shape
                if not wanted[some].any():
                    continue
                y, x = top * rows.stride, left * cols.stride
                height, width = (n - 1) * rows.stride + rows.patch, (m - 1) * cols.stride + cols.patch
                found[some] = self._piece(values[y : y + height, x : x + width], wanted[some])
        return found

    def _piece(self, pixels: NDArray[Any], wanted: Flags) -> Probabilities:
        """Probabilities of the patches of a piece, [n, m, K]; its pixels are [h, w, C]."""
        import torch

        with torch.inference_mode():
            image = self._prepared(pixels)
            if self._predictor.description.tta == "none":
                return self._calibrated(self._view(image, wanted, self._steps), wanted)
            views = symmetries(image, square=self._square)
            half = len(views) // 2
            total = torch.zeros(*wanted.shape, self.classes, device=image.device)
            for number, view in enumerate(views):
                turns = number % half * (4 // half)
                turned = np.rot90(wanted[:, ::-1] if number >= half else wanted, turns)
                steps = self._steps[::-1] if turns % 2 else self._steps
                found = torch.rot90(self._view(view, turned, steps), -turns, dims=(0, 1))
                total += found.flip(1) if number >= half else found
            return self._calibrated(total / len(views), wanted)

    def _calibrated(self, found: Tensor, wanted: Flags) -> Probabilities:
        """Probabilities [n, m, K] with the model's temperature, zeros of what is not wanted."""
        answers: Probabilities = found.cpu().numpy()
        if self._predictor.temperature is not None:
            answers[wanted] = tempered(found.cpu()[wanted], self._predictor.temperature).numpy()
        return answers

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

    def _view(self, image: Tensor, wanted: Flags, steps: tuple[int, ...]) -> Tensor:
        """Probabilities of patches whose first lies in the corner of an image [1, C, H, W]: float32 [n, m, K]."""
        import torch

        from landsift.models.inference import cpu_batch

        found = torch.zeros(*wanted.shape, self.classes, device=image.device)
        cell, cells = self._cut.cell, self._input // self._cut.cell
        batch = cpu_batch(self._input) if image.device.type == "cpu" else BATCH
        starts = [np.arange(count) * step for count, step in zip(wanted.shape, steps, strict=True)]
        around = torch.arange(cells, device=image.device)
        for top in np.unique(starts[0] % cell):
            for left in np.unique(starts[1] % cell):
                row, col = np.nonzero(wanted & np.logical_and.outer(*_at(starts, (top, left), cell)))
                if not len(row):
                    continue
                # Up to the end of the last of these patches: whole cells of the features.
                bottom, right = starts[0][row.max()] + self._input, starts[1][col.max()] + self._input
                moved = image[:, :, top:bottom, left:right].contiguous(memory_format=torch.channels_last)
                features = self._cut.first(moved)[0].permute(1, 2, 0)  # [h, w, D]
                y, x = (
                    torch.from_numpy((axis[each] - shift) // cell).to(image.device)
                    for axis, each, shift in ((starts[0], row, top), (starts[1], col, left))
                )
                for start in range(0, len(row), batch):
                    some = slice(start, start + batch)
                    rows, cols = y[some, None, None] + around[:, None], x[some, None, None] + around
                    patches = features[rows, cols].permute(0, 3, 1, 2)  # [b, D, cells, cells], channels last
                    found[row[some], col[some]] = self._head(self._cut.rest(patches)).float().softmax(dim=1)
        return found


def _at(starts: list[NDArray[np.int64]], shifts: tuple[int, int], cell: int) -> list[Flags]:
    """Which patches along both sides begin at whole cells of a shifted piece."""
    return [axis % cell == shift for axis, shift in zip(starts, shifts, strict=True)]


def steps_of(grid: PatchGrid, image_size: int) -> tuple[int, ...]:
    """From a patch to the next along both sides, in whole pixels of the network's input; 0 where they are not whole."""
    found = []
    for axis in (grid.rows, grid.cols):
        step, rest = divmod(axis.stride * image_size, axis.patch)
        found.append(0 if rest else step)
    return tuple(found)
