"""What is judged of the cells of a map: how many classes may be right, where the model abstains, what is far away.

Cells are judged by their probabilities before any smoothing, as thresholds were chosen for what the model says. A cell
that several patches cover is out of distribution if most of them are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.mapping.classify import BATCH, Model, PatchByPatch
from landsift.mapping.map_writer import EMPTY, MapWriter
from landsift.mapping.overlap import Flags, Probabilities, Strip

if TYPE_CHECKING:
    from landsift.models.loading import AnyPredictor
    from landsift.models.trust import Trust

logger = logging.getLogger("landsift")


class PatchAndDistance(PatchByPatch):
    """Answers as `PatchByPatch` does, with one more channel: 1 for patches out of distribution."""

    def __init__(self, predictor: AnyPredictor, trust: Trust) -> None:
        super().__init__(predictor)
        self._trust = trust
        self.classes += 1

    def answers(self, patches: NDArray[Any]) -> Probabilities:
        """Float32 [B, K + 1]."""
        probabilities, features = self._predictor.probabilities_and_features(patches, BATCH)
        ood = ~(self._trust.distances(features) <= self._trust.thresholds.distance)
        return np.concatenate([probabilities, ood[:, None].astype(np.float32)], axis=1)


@dataclass
class JudgedCells:
    """Judges the rows of a map and writes what it finds.

    Attributes:
        trust: the model's; None in another process than the one that judged, to which only the counts are sent.
        classes: K.
        cells: that have a class, so far.
        several: of them, with more than one class in their set.
        abstained: of them; None: the model has no threshold.
        ood: of them; None: it is not known (dense mode).
    """

    trust: Trust
    classes: int
    cells: int = 0
    several: int = 0
    abstained: int | None = None
    ood: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without what is of use only while it judges, megabytes."""
        return self.__dict__ | {"trust": None}

    def judge(self, strips: Iterator[Strip], writer: MapWriter) -> Iterator[Strip]:
        """The same rows without the channel of distances; what is judged of them is written to `writer`."""
        K = self.classes
        for rows, found, valid in strips:
            probabilities = np.ascontiguousarray(found[..., :K])
            ood = found[..., K] > 0.5 if found.shape[-1] > K else None
            writer.write_trust(rows, self._bands(probabilities, ood, valid))
            yield Strip(rows, probabilities, valid)

    def to_json(self) -> dict[str, Any]:
        """Counts of cells and their shares of those with a class, for JSON."""
        counts = {"several": self.several, "abstained": self.abstained, "ood": self.ood}
        shares = {
            f"{name}_share": None if count is None or not self.cells else round(count / self.cells, 6)
            for name, count in counts.items()
        }
        return {"cells": self.cells, **counts, **shares}

    def say(self, scene: str) -> None:
        """Say it."""
        said = []
        if self.abstained is not None:
            said.append(f"the model abstains from {self.abstained:,} ({self._share(self.abstained)})")
        if self.ood is not None:
            said.append(f"{self.ood:,} ({self._share(self.ood)}) are out of distribution")
        elif self.cells:
            said.append("ood is not known in dense mode, so abstain goes by the probability alone")
        logger.info("%s: of %s cells with a class %s", scene, f"{self.cells:,}", " and ".join(said))

    def _share(self, count: int) -> str:
        return f"{100 * count / max(1, self.cells):.1f} %"

    def _bands(self, probabilities: Probabilities, ood: Flags | None, valid: Flags) -> NDArray[np.uint8]:
        """As `MapWriter.write_trust` takes them."""
        cells = probabilities[valid]
        bands = np.full((3, *valid.shape), EMPTY, np.uint8)
        sizes = self.trust.sets(cells).sum(axis=1)
        bands[0][valid] = np.minimum(sizes, EMPTY - 1)
        self.several += int((sizes > 1).sum())
        far = np.zeros(len(cells), bool) if ood is None else ood[valid]
        abstain = self.trust.abstain(cells, far)
        if abstain is not None:
            bands[1][valid] = abstain
            self.abstained = (self.abstained or 0) + int(abstain.sum())
        if ood is not None:
            bands[2][valid] = far
            self.ood = (self.ood or 0) + int(far.sum())
        self.cells += len(cells)
        return bands


def answers_of(predictor: AnyPredictor) -> Model:
    """What answers for patches, one by one: with distances, if the model has thresholds."""
    if predictor.trust is None:
        return PatchByPatch(predictor)
    return PatchAndDistance(predictor, predictor.trust)
