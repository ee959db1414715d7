"""What lies beside a map of a model with thresholds, MAP.trust.tif, read again: counts of its cells, and a picture."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landsift.mapping.map_file import blocks, open_raster
from landsift.mapping.map_info import MapInfo
from landsift.mapping.map_place import beside_map
from landsift.mapping.map_writer import EMPTY, TRUST
from landsift.mapping.overview import small_shape

logger = logging.getLogger("landsift")

ONE, SEVERAL, ABSTAINS, OOD = range(4)
"""Numbers of `small_trust`: one class in the set, several; the model abstains; out of distribution."""


@dataclass(frozen=True)
class TrustCount:
    """Cells of a map that have a class.

    Attributes:
        cells: all of them.
        several: those whose set has more than one class.
        abstained: from which the model abstains; None: it has no threshold for that.
        ood: out of distribution; None: not known, as with dense mode.
    """

    cells: int
    several: int
    abstained: int | None
    ood: int | None


def trust_of(info: MapInfo) -> Path | None:
    """MAP.trust.tif; None where there is none that belongs to the map.

    Raises:
        DataError: it is damaged.
    """
    path = beside_map(info.path, "trust.tif")
    if not info.own or not path.is_file():
        return None
    with open_raster(path) as dataset:
        fits = dataset.descriptions == TRUST and dataset.shape == info.grid.shape
        fits = fits and dataset.transform.almost_equals(info.grid.affine, 1e-6)
    if not fits:
        logger.warning("%s does not belong to %s, and is not shown", path.name, info.path.name)
    return path if fits else None


def count_trust(info: MapInfo) -> TrustCount | None:
    """Go through MAP.trust.tif in blocks of rows; None where there is none.

    Raises:
        DataError: it is damaged.
    """
    path = trust_of(info)
    if path is None:
        return None
    cells = several = 0
    flags: list[int | None] = [None, None]
    with open_raster(path) as dataset:
        for rows in blocks(info):
            sizes, *others = dataset.read(window=((rows.start, rows.stop), (0, info.grid.shape[1])))
            cells += int((sizes != EMPTY).sum())
            several += int(((sizes != EMPTY) & (sizes > 1)).sum())
            for i, band in enumerate(others):
                if (band != EMPTY).any():
                    flags[i] = (flags[i] or 0) + int((band == 1).sum())
    return TrustCount(cells, several, *flags)


def small_trust(info: MapInfo, longest: int) -> NDArray[np.uint8] | None:
    """An overview as of `overview.small_classes`, uint8 [h, w]: `ONE` to `OOD`, the last that holds; 255: no class.

    Of each square of cells the most frequent value of each band counts.

    Raises:
        DataError: the file is damaged.
    """
    from rasterio.enums import Resampling

    path = trust_of(info)
    if path is None:
        return None
    with open_raster(path) as dataset:
        shape = (len(TRUST), *small_shape(info.grid.shape, longest))
        sizes, abstain, ood = dataset.read(out_shape=shape, resampling=Resampling.mode)
    found = np.where(sizes > 1, SEVERAL, ONE).astype(np.uint8)
    found[abstain == 1] = ABSTAINS
    found[ood == 1] = OOD
    found[sizes == EMPTY] = EMPTY
    return found
