"""The test of a training: its best weights as the model that users load, and that model's figures."""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift import runs
from landsift.config import RunConfig
from landsift.data.patch_reader import PatchReader
from landsift.data.splits import Split, dependent_units, make_split, nested_order
from landsift.errors import RunError
from landsift.evaluation.calibration_figures import calibration_figures
from landsift.evaluation.explanations import write_mistakes
from landsift.evaluation.metrics import check_finite, evaluate
from landsift.evaluation.predictions import predictions_table
from landsift.evaluation.temperature import choose_temperature
from landsift.evaluation.trust import (
    MOST_PATCHES,
    Answers,
    calibrating_half,
    fit_distances,
    fit_trust,
    shortfalls,
    trust_figures,
)
from landsift.models.model_json import DESCRIPTION_FILE, WEIGHTS_FILE, ModelDescription
from landsift.models.predictor import Predictor, load_model, tempered
from landsift.models.trust import Distances
from landsift.models.trust_files import FEATURES_FILE, TRUST_FILE, write_trust
from landsift.runtime import surroundings
from landsift.runtime.notices import said_before
from landsift.runtime.whole import write_whole
from landsift.training.learned_from import LEARNED_FILE
from landsift.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from landsift.data.store.patch_store import PatchStore

logger = logging.getLogger("landsift")

_CHUNK = 1024
"""Patches at a time."""


def final_test(config: RunConfig, store: PatchStore, trained: Path, folder: Path, *, thresholds: bool = True) -> None:
    """Write model/, predictions.parquet and evaluation.json: of the validation patches, and of the test patches.

    The model is calibrated on the validation patches, where that helps.

    Args:
        config: the configuration that was trained, and how its model predicts (`evaluation`).
        store: the patches that it was trained on.
        trained: what the training has left: its manifest and its weights.
        folder: where the files go; may be `trained`.
        thresholds: whether the model gets those of sets, abstention and out-of-distribution flags, and the most
            confident mistakes are explained.

    Raises:
        RunError: a file of the training is missing or damaged, or one cannot be written.
        ModelError: the weights do not fit the model, or give no finite numbers.
    """
    from landsift.runtime.memory_allocator import keep_freed_memory
    from landsift.training.torch_state import as_meant

    with surroundings.as_guest(), as_meant():
        keep_freed_memory()
        _test(config, store, trained, folder, thresholds=thresholds)


def _test(config: RunConfig, store: PatchStore, trained: Path, folder: Path, *, thresholds: bool) -> None:
    import pandas as pd

    manifest = runs.read_json(trained / runs.MANIFEST)
    best = manifest["best"]
    description = _write_model(config, store, manifest["model"], trained / runs.WEIGHTS, folder / runs.MODEL)
    device = "cpu" if config.training.accelerator == "cpu" else "auto"
    for name in (TRUST_FILE, FEATURES_FILE):
        (folder / runs.MODEL / name).unlink(missing_ok=True)  # of an earlier test
    module = config.model.module
    predictor = load_model(folder / runs.MODEL, device, module=module, calibrated=False)  # what users load is tested
    with said_before():
        split = make_split(store, config.data.split, config.data.budget, config.data.budget_seed)
    units = dependent_units(store, config.data.split)
    groups = {name: None if units is None else units[rows] for name, rows in _tested(split)}
    distances, fitted_on = None, 0
    if thresholds:
        rows = split.train[nested_order(store.labels[split.train], config.seed)[:MOST_PATCHES]]
        fitted_on = len(rows)
        rows = np.sort(rows)
        features = _features(predictor, store, rows)
        check_finite(features, "features")
        distances = fit_distances(features, store.labels[rows])
    raw = {name: _answers(predictor, store, rows, distances) for name, rows in _tested(split)}
    for found, _ in raw.values():
        check_finite(found, "probabilities")
    labels = {name: store.labels[rows] for name, rows in _tested(split)}
    chosen = None
    if config.evaluation.calibration == "auto":
        chosen = choose_temperature(raw["val"][0], labels["val"], groups["val"], config.seed)
    temperature = None if chosen is None else chosen.value
    if temperature is not None:
        runs.write_json(folder / runs.MODEL / DESCRIPTION_FILE, replace(description, temperature=temperature).to_dict())
    probabilities = {name: _tempered(found, temperature) for name, (found, _) in raw.items()}

    figures: dict[str, Any] = {"checkpoint": best["checkpoint"], "epoch": best["epoch"], "classes": list(store.classes)}
    tables = []
    for name, rows in _tested(split):
        figures[name] = evaluate(
            labels[name], probabilities[name], store.classes, groups=groups[name], seed=config.seed
        )
        label = np.asarray(store.classes, dtype=object)[labels[name]]
        tables.append(predictions_table(store.paths(rows), store.classes, probabilities[name], split=name, label=label))
    figures["calibration"] = {
        "temperature": temperature,
        "choice": None if chosen is None else asdict(chosen),
        "before": {n: calibration_figures(labels[n], raw[n][0], groups[n], seed=config.seed) for n in labels},
        "after": {n: calibration_figures(labels[n], probabilities[n], groups[n], seed=config.seed) for n in labels},
    }
    if distances is not None:
        answers = {n: Answers(labels[n], probabilities[n], raw[n][1], groups[n]) for n in labels}
        half = calibrating_half(store.contents()[split.test], groups["test"], config.seed)
        both = (answers["val"], answers["test"], half)
        trust = fit_trust(config.evaluation, store.classes, temperature, distances, *both)
        write_trust(trust, folder / runs.MODEL)
        (folder / runs.MISTAKES).unlink(missing_ok=True)
        write_mistakes(folder / runs.MISTAKES, predictor, store, split.test, labels["test"], probabilities["test"])
        figures["trust"] = trust_figures(trust, *both, fitted_on)
        for sentence in shortfalls(figures["trust"]):
            logger.info("%s", sentence)
    runs.write_parquet(folder / runs.PREDICTIONS, pd.concat(tables, ignore_index=True))
    runs.write_json(folder / runs.EVALUATION, figures)


def _tested(split: Split) -> tuple[tuple[str, NDArray[np.int64]], ...]:
    return ("val", split.val), ("test", split.test)


def _answers(
    predictor: Predictor, store: PatchStore, rows: NDArray[np.int64], distances: Distances | None
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Probabilities [N, K] without a temperature, and distances [N]; zeros where there is nothing to measure with."""
    read, found = PatchReader(store.images), []
    for start in range(0, len(rows), _CHUNK):
        images = read(rows[start : start + _CHUNK])
        if distances is None:
            found.append((predictor(images), np.zeros(len(images))))
        else:
            probabilities, features = predictor.probabilities_and_features(images)
            found.append((probabilities, distances(features)))
    return np.concatenate([p for p, _ in found]), np.concatenate([d for _, d in found])


def _features(predictor: Predictor, store: PatchStore, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    read = PatchReader(store.images)
    return np.concatenate(
        [predictor.features(read(rows[start : start + _CHUNK])) for start in range(0, len(rows), _CHUNK)]
    )


def _tempered(probabilities: NDArray[np.float32], temperature: float | None) -> NDArray[np.float32]:
    """What the predictor makes of its probabilities when it has the temperature."""
    import torch

    found: NDArray[np.float32] = tempered(torch.from_numpy(probabilities), temperature).numpy()
    return found


def _write_model(
    config: RunConfig, store: PatchStore, trained: dict[str, Any], weights: Path, folder: Path
) -> ModelDescription:
    """Make a model's folder of the weights that a training has left.

    Args:
        config: the configuration.
        store: the patches.
        trained: what the training's manifest says of its model.
        weights: the file of the weights.
        folder: of the model.

    Returns:
        The content of its model.json.
    """
    from landsift.models import own_networks
    from landsift.models.first_layer import for_bands

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
    if (weights.parent / LEARNED_FILE).is_file():
        write_whole(folder / LEARNED_FILE, lambda partial: shutil.copyfile(weights.parent / LEARNED_FILE, partial))
    return description
