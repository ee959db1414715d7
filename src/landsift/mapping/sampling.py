"""A probability sample of a map's cells: how many, in which strata, and which.

Size and allocation follow Olofsson et al., "Good practices for estimating area and assessing accuracy of land change",
Remote Sensing of Environment 148, 2014, section 5. The map is read twice, block by block, so memory does not
grow with it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from landsift.errors import DataError, listed, nearest
from landsift.mapping.cell_areas import cell_areas
from landsift.mapping.classes import NO_DATA
from landsift.mapping.map_file import blocks, read_classes, read_confidence, read_info
from landsift.mapping.map_info import MapInfo
from landsift.mapping.sample_design import DrawnPoint, MappedClass, SampleDesign, Stratum

ALLOCATIONS = ("proportional", "equal", "neyman")
ERROR, MINIMUM = 0.02, 50
"""Standard error of the overall accuracy that a sample is made for, and points of a stratum at least: the paper names
0.01, and 50 to 100."""
EXPECTED = 0.8
"""Accuracy expected of a stratum of a map that says nothing about it."""
LEAST, MOST = 0.5, 0.95
"""Between which the mean confidence of a map stands for an accuracy: a model is often too sure of itself."""
WHOLE = "the whole map"
logger = logging.getLogger(__name__)


def sample_size(cells: ArrayLike, expected: ArrayLike, error: float) -> int:
    """Size of a sample, equation 13 of the paper, rounded up.

    Args:
        cells: per stratum, [S].
        expected: accuracy per stratum, 0..1, [S].
        error: standard error of the overall accuracy, such as 0.02.
    """
    counts, accuracy = np.asarray(cells, float), np.asarray(expected, float)
    share, spread = counts / counts.sum(), np.sqrt(accuracy * (1 - accuracy))
    size = np.sum(share * spread) ** 2 / (error**2 + np.sum(share * spread**2) / counts.sum())
    return int(np.ceil(np.round(size, 6)))


def allocate(
    cells: ArrayLike, expected: ArrayLike, size: int, allocation: str = "proportional", minimum: int = MINIMUM
) -> NDArray[np.int64]:
    """Points per stratum, [S]; they add up to `size`.

    Args:
        cells: per stratum, [S].
        expected: accuracy per stratum, 0..1, [S].
        size: points in all.
        allocation: "proportional" to cells, "equal", or "neyman": proportional to cells times the standard deviation of
            a cell's being right.
        minimum: of a stratum, or all its cells where it has fewer.

    Raises:
        DataError: the allocation is not known, or the size is too small for the minimum or larger than the map.
    """
    counts, accuracy = np.asarray(cells, np.int64), np.asarray(expected, float)
    weights = {
        "proportional": counts.astype(float),
        "equal": np.ones(len(counts)),
        "neyman": counts * np.sqrt(accuracy * (1 - accuracy)),
    }
    if allocation not in weights:
        raise DataError(f"allocation {allocation!r} is not known", f"choose one of {', '.join(ALLOCATIONS)}")
    least = np.minimum(counts, minimum)
    if least.sum() > size:
        hint = f"take a --size of at least {least.sum():,}, or a smaller --minimum"
        raise DataError(f"{size:,} points do not give {len(counts)} strata {minimum:,} each", hint)
    if size > counts.sum():
        raise DataError(f"{size:,} points are more than the map has cells, {counts.sum():,}", "take a smaller --size")
    weight = np.maximum(weights[allocation], 1e-9)

    def scaled(scale: float) -> NDArray[np.float64]:
        return np.asarray(np.clip(scale * weight, least, counts))

    low, high = 0.0, float(np.max(counts / weight))
    for _ in range(200):  # the scale at which the strata, held between minimum and cells, add up to the size
        middle = (low + high) / 2
        low, high = (middle, high) if scaled(middle).sum() < size else (low, middle)
    exact = scaled(high)
    points = np.clip(np.floor(exact + 1e-9).astype(np.int64), least, counts)
    while (rest := size - int(points.sum())) > 0:
        first = np.argsort(np.where(points < counts, points - exact, np.inf), kind="stable")[:rest]
        points[first] += points[first] < counts[first]
    while (rest := int(points.sum()) - size) > 0:
        first = np.argsort(np.where(points > least, exact - points, np.inf), kind="stable")[:rest]
        points[first] -= points[first] > least[first]
    return points


@dataclass(frozen=True)
class Survey:
    """What one pass over a map counts.

    Attributes:
        fingerprint: of its cells, grid and class names.
        strata: names of the codes 1 to S.
        cells, hectares, confidence: per stratum, [S]; confidence is the mean, NaN where the map has none.
        classes: cells and hectares of each class; of cells that have a class and a stratum.
        outside: cells that have a class and no stratum.
    """

    fingerprint: str
    strata: tuple[str, ...]
    cells: NDArray[np.int64]
    hectares: NDArray[np.float64]
    confidence: NDArray[np.float64]
    classes: tuple[MappedClass, ...]
    outside: int


def draw_sample(
    map_path: Path | str,
    *,
    size: int | None = None,
    error: float | None = None,
    allocation: str = "proportional",
    minimum: int = MINIMUM,
    expected: Mapping[str, float] | float | None = None,
    strata: Path | str | None = None,
    random: bool = False,
    seed: int = 0,
) -> SampleDesign:
    """Draw cells of a map at random, with equal chance within each stratum; the points come in a random order.

    Args:
        map_path: a map, of landsift or of another tool that names its classes.
        size: of the sample.
        error: instead of a size, the standard error of the overall accuracy to aim at; 0.02 where neither is given.
        allocation: one of `ALLOCATIONS`.
        minimum: points of a stratum.
        expected: accuracy of every stratum, or of strata by name; of others it is the map's mean confidence between 0.5
            and 0.95, or 0.8 where it has none.
        strata: a raster of classes on the map's grid whose classes are the strata, instead of the map's own.
        random: draw from the whole map, without strata.
        seed: of the draw.

    Raises:
        DataError: a value cannot be used, the map cannot be read or has no CRS, or the strata have another grid.
    """
    if size is not None and error is not None:
        raise DataError("a size and a standard error are both given", "give one of them")
    if size is not None and size < 2:
        raise DataError(f"a sample of {size} says nothing", "take a --size of 2 or more")
    if error is not None and not 0 < error < 0.5:
        raise DataError(f"a standard error of {error:g} cannot be aimed at", "give a share, such as 0.01")
    if minimum < 2:
        raise DataError(f"a minimum of {minimum} gives no standard error", "take a --minimum of 2 or more")
    if seed < 0:
        raise DataError(f"the seed {seed} is negative", "take 0 or more")
    if random and strata is not None:
        raise DataError("a random sample of the whole map has no strata", "leave out one of the two")
    minimum = 2 if random else minimum
    info = read_info(map_path)
    by = _strata_info(info, strata)
    found = survey(info, by, random=random)
    there = np.flatnonzero(found.cells)
    if not len(there):
        raise DataError(f"{info.path} has no cells with a class to draw from", "give a map with data")
    names = [found.strata[i] for i in there]
    if missing := [name for name, count in zip(found.strata, found.cells, strict=True) if not count]:
        logger.info("strata without cells have no points: %s", listed(missing))
    if found.outside:
        logger.warning("%s cells with a class lie in no stratum: nothing is said about them", f"{found.outside:,}")
    accuracy = _expected(names, found.confidence[there], expected, used=size is None or allocation == "neyman")
    cells = found.cells[there]
    if size is None:
        least = int(np.minimum(cells, minimum).sum())
        wanted = sample_size(cells, accuracy, ERROR if error is None else error)
        size = min(max(wanted, least), int(cells.sum()))
        if size > wanted:
            logger.info("%d points would do for that standard error; %d give every stratum its minimum", wanted, size)
    points = allocate(cells, accuracy, size, allocation, minimum)
    if few := [f"{name} ({n})" for name, n, count in zip(names, points, cells, strict=True) if n == count < minimum]:
        logger.info("strata of fewer cells than the minimum are drawn whole: %s", listed(few))
    rng = np.random.default_rng(seed)
    ranks = {
        int(code) + 1: np.sort(rng.choice(count, n, replace=False))
        for code, count, n in zip(there.tolist(), cells.tolist(), points.tolist(), strict=True)
    }
    drawn = np.array(sorted(_cells_of(info, by, ranks, random=random)), np.int64)
    drawn = drawn[rng.permutation(len(drawn))]
    area = cell_areas(info.grid)
    crs = info.grid.crs
    assert crs is not None  # else there were no areas
    return SampleDesign(
        map=info.path.name,
        fingerprint=found.fingerprint,
        when=info.when.isoformat() if info.when else None,
        crs=crs.to_wkt(),
        transform=tuple(map(float, info.grid.affine[:6])),
        strata_from=Path(strata).name if strata is not None else None,
        allocation="simple random" if random else allocation,
        seed=seed,
        classes=found.classes,
        strata=tuple(
            Stratum(name, int(found.cells[i]), float(found.hectares[i]), int(n), float(p))
            for name, i, n, p in zip(names, there, points, accuracy, strict=True)
        ),
        points=tuple(
            DrawnPoint(k, int(r), int(c), found.strata[s - 1], info.classes.name(int(m)), float(area[r]))
            for k, (r, c, s, m) in enumerate(drawn, start=1)
        ),
    )


def survey(info: MapInfo, by: MapInfo | None = None, *, random: bool = False) -> Survey:
    """Count a map's cells and hectares by stratum, block by block.

    Args:
        info: of the map.
        by: a raster of the strata on the same grid; None: the map's classes.
        random: one stratum, the whole map.

    Raises:
        DataError: the map cannot be read or has no CRS.
    """
    names = (WHOLE,) if random else (by or info).classes.names
    S, K = len(names), len(info.classes)
    area = cell_areas(info.grid)
    cells, hectares, confidence = np.zeros(S + 1, np.int64), np.zeros(S + 1), np.zeros(S + 1)
    class_cells, class_hectares = np.zeros(K + 1, np.int64), np.zeros(K + 1)
    told = [list(info.classes.names), list(map(float, info.grid.affine[:6])), list(info.grid.shape)]
    digest, outside = hashlib.sha256(json.dumps(told).encode()), 0
    for rows in blocks(info):
        codes, strata = _read(info, by, rows, random=random)
        digest.update(np.ascontiguousarray(codes, "<u2").tobytes())
        outside += int(np.count_nonzero((codes != NO_DATA) & (strata == NO_DATA)))
        sure = read_confidence(info, rows)
        for k, hectare in enumerate(area[rows]):
            line = np.bincount(strata[k], minlength=S + 1)
            cells += line
            hectares += hectare * line
            mapped = np.bincount(np.where(strata[k] != NO_DATA, codes[k], NO_DATA), minlength=K + 1)
            class_cells += mapped
            class_hectares += hectare * mapped
            if sure is not None:
                confidence += np.bincount(strata[k], weights=sure[k], minlength=S + 1)
    known = (cells[1:] > 0) & (info.confidence_band is not None)
    mean = np.divide(confidence[1:], cells[1:], where=known, out=np.full(S, np.nan))
    return Survey(
        fingerprint=digest.hexdigest(),
        strata=names,
        cells=cells[1:],
        hectares=hectares[1:],
        confidence=mean,
        classes=tuple(
            MappedClass(name, int(class_cells[k]), float(class_hectares[k]))
            for k, name in enumerate(info.classes.names, start=1)
        ),
        outside=outside,
    )


def _read(info: MapInfo, by: MapInfo | None, rows: slice, *, random: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """Codes of classes and of strata of rows of a map, [h, w] each; a cell without a class has no stratum."""
    codes = read_classes(info, rows)
    if random:
        return codes, (codes != NO_DATA).astype(codes.dtype)
    return codes, codes if by is None else np.where(codes != NO_DATA, read_classes(by, rows), NO_DATA)


def _cells_of(
    info: MapInfo, by: MapInfo | None, ranks: Mapping[int, NDArray[np.int64]], *, random: bool
) -> Iterator[tuple[int, int, int, int]]:
    """Row, column, stratum and class of cells, by their ranks in their strata, block by block."""
    seen = dict.fromkeys(ranks, 0)
    width = info.grid.width
    for rows in blocks(info):
        codes, strata = _read(info, by, rows, random=random)
        flat, mapped = strata.ravel(), codes.ravel()
        here = np.bincount(flat, minlength=max(ranks) + 1)
        for stratum, wanted in ranks.items():
            count = int(here[stratum])
            first, last = np.searchsorted(wanted, [seen[stratum], seen[stratum] + count])
            if last > first:
                for cell in np.flatnonzero(flat == stratum)[wanted[first:last] - seen[stratum]].tolist():
                    yield rows.start + cell // width, cell % width, stratum, int(mapped[cell])
            seen[stratum] += count


def _strata_info(info: MapInfo, strata: Path | str | None) -> MapInfo | None:
    if strata is None:
        return None
    by = read_info(strata)
    if by.grid != info.grid:
        raise DataError(f"{by.path} has another grid than {info.path}", "warp it to the map's grid with gdalwarp")
    return by


def _expected(
    names: list[str], confidence: NDArray[np.float64], given: Mapping[str, float] | float | None, *, used: bool
) -> NDArray[np.float64]:
    """The accuracy expected of each stratum."""
    by_name = dict(given) if isinstance(given, Mapping) else dict.fromkeys(names, given) if given is not None else {}
    for name, value in by_name.items():
        if name not in names:
            raise DataError(f"there is no stratum {name!r} to expect an accuracy of", nearest(name, names))
        if value is None or not 0 < value < 1:
            raise DataError(f"an accuracy of {value} of {name} cannot be expected", "give a share between 0 and 1")
    known = np.isfinite(confidence)
    found = np.where(known, np.clip(confidence, LEAST, MOST), EXPECTED)
    if used and len(by_name) < len(names):
        what = "the mean confidence of the map, between 50 and 95 %" if known.any() else f"{EXPECTED:.0%}"
        logger.info("expected accuracy of strata: %s", what)
    return np.array([by_name.get(name, value) for name, value in zip(names, found, strict=True)], float)
