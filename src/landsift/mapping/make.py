"""From a trained model and a scene to a map."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.errors import DataError
from landsift.mapping.agreement import ENOUGH, WORTH, Agreement, choose
from landsift.mapping.classes import ClassTable
from landsift.mapping.classify import MIN_VALID, Model, PatchByPatch, classify
from landsift.mapping.gdal import gdal
from landsift.mapping.judged import JudgedCells, answers_of
from landsift.mapping.map_info import MapAbout
from landsift.mapping.map_key import files_of, key_of
from landsift.mapping.map_options import LoadedModel, MapOptions, Source, Tta, classes_of
from landsift.mapping.map_place import check_place, map_path
from landsift.mapping.map_writer import MapWriter
from landsift.mapping.masks import NO_MASK
from landsift.mapping.patch_grid import PatchGrid
from landsift.mapping.scenes import Scene, open_scene
from landsift.mapping.sketch import Sketch
from landsift.mapping.smoothing import VARIANCE, Smoother
from landsift.models.loading import AnyPredictor
from landsift.models.predictor import Predictor
from landsift.runtime import threads
from landsift.runtime.memory_allocator import keep_freed_memory
from landsift.runtime.outputs import as_path, check_outside
from landsift.runtime.progress_bar import progress_bar

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox


logger = logging.getLogger("landsift")

_NOT_FINITE = (
    "are the scene's numbers those that the model was trained on? `landsift predict` on a patch of it may show"
)


@dataclass(frozen=True)
class MapResult:
    """A map that was made.

    Attributes:
        path: of it.
        grid: its cells.
        scene: name of the scene.
        classes: names, K.
        cells: of each class, K.
        hectares: of each class, K; NaN where they are not known.
        no_data: cells without a class.
        patches: classified.
        seconds: from the opening of the scene to the end.
        agreement: of dense mode with patch by patch; None: it was not measured.
        smoothed: share of cells that got another class by smoothing; None: there was none.
        judged: from how many cells the model abstains, how many are out of distribution; None: it has no thresholds.
    """

    path: Path
    grid: GeoBox
    scene: str
    classes: tuple[str, ...]
    cells: tuple[int, ...]
    hectares: tuple[float, ...]
    no_data: int
    patches: int
    seconds: float
    agreement: Agreement | None = None
    smoothed: float | None = None
    judged: JudgedCells | None = None

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the mapped area, K; of cells where hectares are not known."""
        amounts = self.cells if any(map(math.isnan, self.hectares)) else self.hectares
        total = sum(amounts)
        return tuple(amount / total if total else 0.0 for amount in amounts)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        areas = {
            name: {
                "cells": cells,
                "hectares": None if math.isnan(amount) else round(amount, 4),
                "share": round(share, 6),
            }
            for name, cells, amount, share in zip(self.classes, self.cells, self.hectares, self.shares, strict=True)
        }
        return {
            "map": str(self.path),
            "scene": self.scene,
            "height": self.grid.height,
            "width": self.grid.width,
            "areas": areas,
            "no_data": self.no_data,
            "patches": self.patches,
            "seconds": round(self.seconds, 3),
            "agreement": None if self.agreement is None else self.agreement.to_json(),
            "smoothed": self.smoothed,
            "judged": None if self.judged is None else self.judged.to_json(),
        }


def map_scene(
    model: Source,
    sources: Source | Sequence[Source],
    out: Source,
    *,
    stride: int | None = None,
    dense: bool = False,
    agreement: float = ENOUGH,
    mask: Source | None = None,
    mask_classes: Collection[int] | None = None,
    min_valid: float = MIN_VALID,
    probabilities: bool = False,
    smooth: int | None = None,
    smooth_variance: float = VARIANCE,
    tta: Tta | None = None,
    reading: Mapping[str, Any] | None = None,
    module: str | None = None,
    device: str = "auto",
) -> MapResult:
    """Map a scene with a trained model; writes a Cloud-Optimized GeoTIFF and what lies beside it (`MapWriter`).

    Args:
        model: a run directory, its `model/` folder, or a file that `landsift export` wrote.
        sources: the files of one scene, as of `open_scene`.
        out: of the map, ending in .tif.
        stride: pixels from a patch to the next, and side of the map's cells; None: those of a patch.
        dense: whether the first part of the network passes over the scene once, for all patches.
        agreement: share of patches that should get the same class dense as patch by patch.
        mask: a raster of pixels that do not show the ground; "none": none; None: what the scene brings.
        mask_classes: numbers of the mask that do not show the ground.
        min_valid: share of a patch's pixels, and of a cell's, that must be valid for a class.
        probabilities: whether to write the probabilities of all classes and their entropy.
        smooth: side in cells of the neighbourhood of Bayesian smoothing, odd; None: none.
        smooth_variance: of that smoothing.
        tta: "none" or "flips"; None: as the model says.
        reading: how the files are read, as of `predict_files`.
        module: as of `load_model`.
        device: as of `load_model`.

    Raises:
        ConfigError: an option is none.
        DataError: the scene cannot be read, has not what the model takes, or is smaller than a patch.
        ModelError: there is no model, or its network has no dense mode.
        RunError: the map cannot be written.
    """
    options = MapOptions(
        stride=stride,
        dense=dense,
        agreement=agreement,
        mask=mask,
        mask_classes=None if mask_classes is None else classes_of(mask_classes),
        min_valid=min_valid,
        probabilities=probabilities,
        smooth=smooth,
        smooth_variance=smooth_variance,
        tta=tta,
        reading=reading or {},
    )
    given = listed_sources(sources)
    check_map(out, given, options)
    return mapped(LoadedModel.load(model, options, module=module, device=device), given, as_path(out), options)


def listed_sources(sources: Source | Iterable[Source]) -> list[Source]:
    """One or several sources as a list; raises RunError where one is no path."""
    given = [sources] if isinstance(sources, str | os.PathLike) or not isinstance(sources, Iterable) else list(sources)
    return [each if isinstance(each, str) and "://" in each else as_path(each) for each in given]


def check_map(out: Source, sources: Sequence[Source], options: MapOptions) -> None:
    """Check that a map may be written, and that it and what lies beside it replace none of the files that are read.

    Raises:
        RunError: it may not.
    """
    given = [*sources, *([options.mask] if options.mask not in (None, NO_MASK) else [])]
    here = [each for each in given if each is not None and "://" not in str(each)]
    map_path(as_path(out))
    check_outside(out, here)
    check_place(as_path(out), [file for each in here for file in files_of(each)], probabilities=options.probabilities)


def mapped(
    model: LoadedModel,
    sources: Sequence[Source],
    out: Path,
    options: MapOptions,
    finish: Callable[[Path, Scene], object] | None = None,
    key: str | None = None,
) -> MapResult:
    """Map a scene with a model that is loaded.

    Args:
        model: that maps.
        sources: the files of one scene.
        out: of the map.
        options: how.
        finish: called with the map and the scene, still open, when the map is written.
        key: of the map, where it is known; `sources` may then be copies of the files that `key_of` was asked for.
    """
    begun = time.perf_counter()
    keep_freed_memory()
    threads.after_fork()
    predictor = model.predictor
    with gdal(), _opened(sources, predictor, options) as scene:
        scene.sketch = Sketch(scene.grid, scene.bands)  # read once for the map and for the picture under it
        grid = PatchGrid.of(scene.name, scene.grid, predictor.description.patch_size, options.stride)
        trust = predictor.trust
        judged = None if trust is None else JudgedCells(trust, len(predictor.classes))
        answers, agreement = answers_of(predictor), None
        if options.dense and isinstance(predictor, Predictor):
            answers, agreement = _dense(scene, grid, predictor, PatchByPatch(predictor), options)
        smoother = None if options.smooth is None else Smoother(options.smooth, options.smooth_variance)
        about = MapAbout(
            patch=_side(grid.patch),
            stride=_side((grid.rows.stride, grid.cols.stride)),
            gsd=_metres(scene.grid),
            when=scene.when,
            scenes=(scene.name,),
            model=model.fingerprint,
            run=model.source,
            dense=options.dense,
            agreement=None if agreement is None else agreement.to_json(),
            tta=predictor.description.tta,
            smoothing=None if smoother is None else str(smoother),
            mask=scene.mask,
            min_valid=options.min_valid,
            key=key or key_of(model, sources, options),
        )
        count = 0

        def counted(patches: int, classified: int) -> None:
            nonlocal count
            count += classified
            advance(patches)

        with (
            progress_bar(f"Mapping {scene.name}", grid.rows.count * grid.cols.count) as advance,
            MapWriter(
                out, grid.cells, ClassTable.of(predictor.classes), about,
                probabilities=options.probabilities, entropy=options.probabilities, trust=judged is not None,
            ) as writer,
            closing(classify(scene, answers, grid, min_valid=options.min_valid, advance=counted)) as strips,
        ):  # fmt: skip
            cells = strips if judged is None else judged.judge(strips, writer)
            for strip in cells if smoother is None else smoother.smooth(cells):
                if not np.isfinite(strip.probabilities).all():
                    rows = f"{strip.rows.start} to {strip.rows.stop}"
                    raise DataError(f"{scene.name}: the model gives NaN for cells in rows {rows}", _NOT_FINITE)
                writer.write(*strip)
        if finish is not None:
            finish(out, scene)
    changed = None if smoother is None else smoother.changed / max(smoother.cells, 1)
    if changed is not None:
        logger.info("smoothing: %.1f %% of the cells get another class", 100 * changed)
    if judged is not None:
        judged.say(scene.name)
    areas = writer.areas
    return MapResult(
        path=out,
        grid=grid.cells,
        scene=scene.name,
        classes=areas.classes.names,
        cells=tuple(int(each) for each in areas.cells[1:]),
        hectares=tuple(float(each) for each in areas.hectares[1:]),
        no_data=int(areas.cells[0]),
        patches=count,
        seconds=time.perf_counter() - begun,
        agreement=agreement,
        smoothed=changed,
        judged=judged,
    )


def _opened(sources: Sequence[Source], predictor: AnyPredictor, options: MapOptions) -> Scene:
    more: dict[str, Any] = {} if options.mask_classes is None else {"mask_classes": options.mask_classes}
    return open_scene(sources, predictor.description, reading=options.reading, mask=options.mask, **more)


def _dense(
    scene: Scene, grid: PatchGrid, predictor: Predictor, single: Model, options: MapOptions
) -> tuple[Model, Agreement | None]:
    """Dense mode, and how far it agrees with patch by patch on this scene."""
    patches = grid.rows.count * grid.cols.count
    if patches < WORTH:
        logger.info(
            "%s: for %s patches dense mode takes longer to choose how many layers are shared than it saves",
            scene.name,
            f"{patches:,}",
        )
    dense, agreement = choose(scene, grid, predictor, single, options.min_valid, options.agreement)
    if agreement is not None:
        enough = agreement.same >= options.agreement
        hint = "" if enough else f" (less than {100 * options.agreement:g} %: compare it with a map without --dense)"
        logger.log(logging.INFO if enough else logging.WARNING, "%s: %s%s", scene.name, agreement, hint)
    return dense, agreement


def _side(size: tuple[int, int]) -> int | None:
    return size[0] if size[0] == size[1] else None


def _metres(grid: GeoBox) -> float | None:
    """Side of a grid's pixels in metres; None where it is not known."""
    from pyproj import CRS

    if grid.crs is None:
        return None
    crs = CRS(grid.crs.to_wkt())
    return None if crs.is_geographic else abs(grid.affine.a) * float(crs.axis_info[0].unit_conversion_factor)
