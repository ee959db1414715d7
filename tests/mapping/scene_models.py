"""Descriptions of models of some bands, without weights, and what `predict` reads of a file for them."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.transform import from_origin

sys.path.append(str(Path(__file__).parents[1] / "data"))
from raster_files import NORTH_UP, numbers, raster

from landsift.bands import BandSpec
from landsift.data.decoding.decode import read_bytes
from landsift.data.decoding.patches import Patches
from landsift.data.decoding.wanted import Wanted
from landsift.evaluation.model_files import files_for
from landsift.mapping.scenes import Scene, open_scene
from landsift.models.model_json import ModelDescription

__all__ = ["NORTH_UP", "numbers", "raster"]

NAMED = ("B02", "B03", "B04", "B08")
SENTINEL = BandSpec(NAMED, "uint16", (1e-4,) * 4, (0.0,) * 4, None, "reflectance", 10.0)
EMPTY = replace(SENTINEL, nodata=0)
RGB = BandSpec.pictures()


def described(bands: BandSpec, mean: float = 0.2, **reading: Any) -> ModelDescription:
    """What model.json says of a model of some bands."""
    return ModelDescription(
        backbone="test_efficientnet", backbone_args={}, head={"hidden": None, "dropout": 0.0}, landsift="0",
        classes=("a", "b"), patch_size=(16, 16), image_size=32, mean=(mean,) * len(bands), std=(0.1,) * len(bands),
        bands=bands, reading=reading,
    )  # fmt: skip


def as_predict_reads(path: Path, model: ModelDescription, **reading: Any) -> np.ndarray:
    """The patch [H, W, C] that `predict` makes of a file, at its own size."""
    patches = Patches(Wanted.of(*files_for(model, reading)))
    raw = read_bytes(path)
    return patches.look_and_read(path, None, raw)[1].array


SIZE = (48, 40)
VALUES = numbers(4, size=SIZE)
SAID = {"scale": 1e-4, "units": "reflectance"}
COARSE = from_origin(500_000, 5_500_000, 20, 20)
MODEL = described(SENTINEL, sensor="sentinel2_l2a")


def whole(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """All values of a scene, and which pixels are valid."""
    return scene.read(slice(0, scene.grid.shape[0]), slice(0, scene.grid.shape[1]))


def read(sources: Any, model: ModelDescription = MODEL, **how: Any) -> np.ndarray:
    """All values of the scene that some sources are."""
    with open_scene(sources, model, **how) as scene:
        return whole(scene)[0]
