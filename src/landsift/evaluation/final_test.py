"""The test of a training: its best weights as the model that users load, and that model's figures."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift import runs
from landsift.config import RunConfig
from landsift.errors import RunError
from landsift.runtime import surroundings
from landsift.runtime.notices import said_before
from landsift.runtime.whole import write_whole
from landsift.version import __version__

if TYPE_CHECKING:
    from landsift.data.store.patch_store import PatchStore


def final_test(config: RunConfig, store: PatchStore, trained: Path, folder: Path) -> None:
    """Write model/, predictions.parquet and evaluation.json: of the validation patches, and of the test patches.

    Args:
        config: the configuration that was trained, and how its model predicts (`evaluation`).
        store: the patches that it was trained on.
        trained: what the training has left: its manifest and its weights.
        folder: where the files go; may be `trained`.

    Raises:
        RunError: a file of the training is missing or damaged, or one cannot be written.
        ModelError: the weights do not fit the model, or give no finite numbers.
    """
    from landsift.runtime.memory_allocator import keep_freed_memory
    from landsift.training.torch_state import as_meant

    with surroundings.as_guest(), as_meant():
        keep_freed_memory()
        _test(config, store, trained, folder)


def _test(config: RunConfig, store: PatchStore, trained: Path, folder: Path) -> None:
    import pandas as pd

    from landsift.data.patch_reader import PatchReader
    from landsift.data.splits import dependent_units, make_split
    from landsift.evaluation.metrics import evaluate
    from landsift.evaluation.predictions import predictions_table
    from landsift.models.predictor import load_model

    manifest = runs.read_json(trained / runs.MANIFEST)
    best = manifest["best"]
    _write_model(config, store, manifest["model"], trained / runs.WEIGHTS, folder / runs.MODEL)
    device = "cpu" if config.training.accelerator == "cpu" else "auto"
    predictor = load_model(folder / runs.MODEL, device, module=config.model.module)  # what users load is what is tested
    with said_before():
        split = make_split(store, config.data.split, config.data.budget, config.data.budget_seed)
    figures: dict[str, Any] = {"checkpoint": best["checkpoint"], "epoch": best["epoch"], "classes": list(store.classes)}
    tables, read, groups = [], PatchReader(store.images), dependent_units(store, config.data.split)
    for name, rows in (("val", split.val), ("test", split.test)):
        probabilities = np.concatenate([predictor(read(rows[i : i + 1024])) for i in range(0, len(rows), 1024)])
        of_rows = None if groups is None else groups[rows]
        figures[name] = evaluate(store.labels[rows], probabilities, store.classes, groups=of_rows, seed=config.seed)
        label = np.asarray(store.classes, dtype=object)[store.labels[rows]]
        tables.append(predictions_table(store.paths(rows), store.classes, probabilities, split=name, label=label))
    runs.write_parquet(folder / runs.PREDICTIONS, pd.concat(tables, ignore_index=True))
    runs.write_json(folder / runs.EVALUATION, figures)


def _write_model(config: RunConfig, store: PatchStore, trained: dict[str, Any], weights: Path, folder: Path) -> None:
    """Make a model's folder of the weights that a training has left.

    Args:
        config: the configuration.
        store: the patches.
        trained: what the training's manifest says of its model.
        weights: the file of the weights.
        folder: of the model.
    """
    from landsift.models import own_networks
    from landsift.models.first_layer import for_bands
    from landsift.models.model_json import DESCRIPTION_FILE, WEIGHTS_FILE, ModelDescription

    normalization = trained["normalization"]
    description = ModelDescription(
        backbone=config.model.backbone,
        backbone_args=dict(for_bands(config.model, len(store.bands)).backbone_args),
        head=config.model.head.model_dump(),
        classes=store.classes,
        patch_size=(int(store.images.shape[1]), int(store.images.shape[2])),
        image_size=trained["image_size"],
        mean=tuple(normalization["mean"]),
        std=tuple(normalization["std"]),
        bands=store.bands,
        reading=store.info.get("reading", {}),
        tta=config.evaluation.tta,
        landsift=__version__,
        module=config.model.module,
        code=own_networks.fingerprint(config.model.module),
    )
    if not weights.is_file():
        raise RunError(f"{weights} is missing", "train again")
    write_whole(folder / WEIGHTS_FILE, lambda partial: shutil.copyfile(weights, partial))
    runs.write_json(folder / DESCRIPTION_FILE, description.to_dict())
