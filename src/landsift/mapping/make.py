"""A map of a scene: from a model and the scene's files to the raster and what lies beside it."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from landsift.errors import DataError
from landsift.mapping.class_areas import AreaCount
from landsift.mapping.classes import ClassTable
from landsift.mapping.classify import MIN_VALID, classify, map_grid, side_of
from landsift.mapping.map_info import MapAbout
from landsift.mapping.map_writer import MapWriter, map_path
from landsift.mapping.scenes import open_scene
from landsift.models.model_json import WEIGHTS_FILE
from landsift.models.predictor import load_model, model_folder
from landsift.runtime.outputs import check_outside
from landsift.runtime.progress_bar import progress_bar

logger = logging.getLogger("landsift")


@dataclass(frozen=True)
class MapResult:
    """A map that was made.

    Attributes:
        path: of the raster.
        areas: cells and hectares per class.
        patches: how many were classified.
        seconds: that it took, from the model's loading on.
        stride: side of a cell in pixels.
    """

    path: Path
    areas: AreaCount
    patches: int
    seconds: float
    stride: int


def map_scene(
    run: Path | str,
    scene: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    stride: int | None = None,
    min_valid: float = MIN_VALID,
    probabilities: bool = False,
    entropy: bool = False,
    tta: bool = True,
    reading: Mapping[str, Any] | None = None,
    module: str | None = None,
    device: str = "auto",
) -> MapResult:
    """Classify a scene patch by patch and write a map.

    Args:
        run: a run directory or its model's folder.
        scene: a raster, or several that hold the bands of one scene.
        out: the map, ending in .tif.
        stride: side of a cell in pixels; where it is less than a patch's, a cell has the mean over the patches that
            cover it. None: a patch's.
        min_valid: share of the pixels of a patch that must be valid for a class.
        probabilities: whether to write those of all classes beside it.
        entropy: whether to write that of a cell's probabilities beside it.
        tta: False: without test-time augmentation, also where the model was trained to be used with it.
        reading: how the scene's files are read, as of `predict_files`.
        module: what registers the model's network, as of `load_model`.
        device: as of `load_model`.

    Raises:
        ConfigError: a key of `reading` is none.
        DataError: `stride` or `min_valid` is out of range, or the scene cannot be read or has not what the model
            takes.
        ModelError: there is no model.
        RunError: the map cannot be written.
    """
    began = time.monotonic()
    out = map_path(out)
    sources = [Path(each) for each in ([scene] if isinstance(scene, str | Path) else scene)]
    check_outside(out, sources, hint="give --out another name")
    predictor = load_model(run, device, module=module)
    if not tta:
        predictor.description = replace(predictor.description, tta="none")
    patch = side_of(predictor)
    if stride is not None and not 1 <= stride <= patch:
        raise DataError(f"a stride of {stride} pixels", f"give one between 1 and {patch}, the side of a patch")
    if not 0 < min_valid <= 1:
        raise DataError(f"--min-valid {min_valid:g} is no share", "give a number above 0 and up to 1")
    cell = stride or patch
    with open_scene(sources, predictor.description, reading=reading) as opened:
        grid = map_grid(opened.grid, cell)
        about = MapAbout(
            patch=patch, stride=cell, gsd=opened.bands.gsd, when=opened.when, scenes=tuple(map(str, sources)),
            model=_fingerprint(run), run=str(run), min_valid=min_valid,
            tta=predictor.description.tta,
        )  # fmt: skip
        writer = MapWriter(
            out, grid, ClassTable.of(predictor.classes), about, probabilities=probabilities, entropy=entropy
        )
        patches = 0
        with writer, progress_bar("Mapping", grid.height) as advance:
            for strip in classify(opened, predictor, stride=cell, min_valid=min_valid, advance=advance):
                writer.write(strip.rows, strip.probabilities, strip.valid)
                patches += strip.patches
    return MapResult(out, writer.areas, patches, time.monotonic() - began, cell)


def _fingerprint(run: Path | str) -> str:
    """Of the model's weights: the beginning of their SHA-256."""
    with (model_folder(run) / WEIGHTS_FILE).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
