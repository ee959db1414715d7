"""landsift: from labelled satellite patches to a tested land-use classifier.

import landsift

run = landsift.run({"data": {"source": "eurosat"}}, "runs/first")
predictor = landsift.load_model("runs/first")
probabilities = predictor(patches)  # uint8 [B, H, W, 3] -> float32 [B, classes]; predictor.bands, logits, features
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from landsift.version import __version__

if TYPE_CHECKING:
    from landsift.bands import BandSpec
    from landsift.config import RunConfig
    from landsift.data.checks.check import check_data
    from landsift.data.store.patch_store import PatchStore, build_store
    from landsift.errors import LandsiftError
    from landsift.evaluation.predict import iter_predictions, predict_files
    from landsift.evaluation.stream import predict_into
    from landsift.mapping.change import map_change
    from landsift.mapping.make import map_scene
    from landsift.mapping.zones import zone_areas
    from landsift.models.loading import load_model
    from landsift.models.onnx_predictor import OnnxPredictor
    from landsift.models.predictor import Predictor
    from landsift.pipeline.comparison.compare import compare
    from landsift.pipeline.pretrain import pretrain
    from landsift.pipeline.run import run
    from landsift.runs import Run
    from landsift.training.phases import Phase

_HOMES = {
    "BandSpec": "landsift.bands",
    "LandsiftError": "landsift.errors",
    "OnnxPredictor": "landsift.models.onnx_predictor",
    "PatchStore": "landsift.data.store.patch_store",
    "Phase": "landsift.training.phases",
    "Predictor": "landsift.models.predictor",
    "Run": "landsift.runs",
    "RunConfig": "landsift.config",
    "build_store": "landsift.data.store.patch_store",
    "check_data": "landsift.data.checks.check",
    "compare": "landsift.pipeline.comparison.compare",
    "iter_predictions": "landsift.evaluation.predict",
    "load_model": "landsift.models.loading",
    "map_scene": "landsift.mapping.make",
    "map_change": "landsift.mapping.change",
    "pretrain": "landsift.pipeline.pretrain",
    "predict_files": "landsift.evaluation.predict",
    "predict_into": "landsift.evaluation.stream",
    "run": "landsift.pipeline.run",
    "zone_areas": "landsift.mapping.zones",
}

_BEYOND_MAPS = ("map_change", "zone_areas")

__all__ = [
    "BandSpec",
    "LandsiftError",
    "OnnxPredictor",
    "PatchStore",
    "Phase",
    "Predictor",
    "Run",
    "RunConfig",
    "__version__",
    "build_store",
    "check_data",
    "compare",
    "iter_predictions",
    "load_model",
    "map_change",
    "map_scene",
    "predict_files",
    "predict_into",
    "pretrain",
    "run",
    "zone_areas",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that `import landsift` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'landsift' has no attribute '{name}'")
    if _HOMES[name].startswith("landsift.pipeline"):
        import_module("landsift.pipeline.flyte")  # first, so that it is its extra that is named where nothing is there
    if name in _BEYOND_MAPS:
        import_module("landsift.mapping.beyond_maps")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted(__all__)
