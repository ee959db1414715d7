"""A trained model on labelled patches that it was not trained for: another year, another region, another campaign."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.data.dealing import PARTS
from landsift.data.group_split import group_numbers
from landsift.data.patch_reader import PatchReader
from landsift.data.sources.split_names import part_of
from landsift.data.store.patch_store import PatchStore
from landsift.errors import DataError, nearest
from landsift.evaluation.calibration_figures import calibration_figures
from landsift.evaluation.metrics import evaluate
from landsift.evaluation.predictions import predictions_table
from landsift.evaluation.trust import judged_figures
from landsift.image_sizes import by
from landsift.models.input_checks import check_bands
from landsift.models.loading import AnyPredictor
from landsift.models.predictor import answers
from landsift.models.trust import columns, tell
from landsift.runtime.progress_bar import progress_bar

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("landsift")

ALL = "all"
_CHUNK = 1024


def evaluate_store(
    predictor: AnyPredictor,
    store: PatchStore,
    *,
    part: str | None = None,
    known_only: bool = False,
    trained_on: PatchStore | None = None,
    seed: int = 0,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """All figures of a model on the labelled patches of a store, with 95 % intervals: over groups where it has them.

    Classes go by name. Of the model's classes those without patches have support 0; macro F1 is over the others.

    Args:
        predictor: the model.
        store: the patches.
        part: "train", "val" or "test" of a store whose source is divided, or "all"; such a store needs one of them.
        known_only: leave out patches of classes that the model does not know.
        trained_on: the store that the model was trained from, to count what both hold.
        seed: of the draws for the calibration error's interval.

    Returns:
        What evaluation.json holds: `classes`, `left_out` {class: patches}, `seen` (how many of the patches have the
        pixels of one of `trained_on`, or None where that is not known), `figures` (as `evaluate` returns them),
        `calibration` (as `calibration_figures`) and `trust` (as `judged_figures`; None of a model without thresholds);
        and a row per patch: path, label, predicted, p_<class>, and set, abstain and ood of a model with thresholds.

    Raises:
        DataError: the source is divided and `part` says nothing or another thing, or it has classes that the model does
            not know.
        ModelError: the store's numbers mean something else than those that the model was trained on.
    """
    check_bands(predictor.bands, store.bands, "the store")
    rows = _labelled(store, _rows_of(store, part))
    names = np.asarray(store.classes, dtype=object)
    left_out = _unknown(names[store.labels[rows]], predictor, known_only)
    known = {name: k for k, name in enumerate(predictor.classes)}
    number = np.array([known.get(name, -1) for name in store.classes], dtype=np.int64)
    rows = rows[number[store.labels[rows]] >= 0]
    if not len(rows):
        raise DataError("none of these patches is of a class that the model knows", f"it knows: {_list(known)}")
    labels = number[store.labels[rows]]
    if missing := [name for name, k in known.items() if not (labels == k).any()]:
        logger.info("no patches of %s: metrics cover the other classes only", _list(missing))
    (height, width), own = store.images.shape[1:3], predictor.description.patch_size
    stored = (height, width)
    if stored != tuple(own):
        logger.info(
            "patches of the store are resized from %s to %s pixels, the size the model was trained on",
            by(stored),
            by(own),
        )
    seen = _seen(store, rows, trained_on)
    if seen is None:
        why = "there is no store of its patches here" if trained_on is None else "they are stored at another size"
        logger.info("cannot check whether the model was trained on some of these patches: %s", why)
    if seen:
        logger.warning(
            "%d of %d patches have the same pixels as patches of the model's own data: the results are too good "
            "where it was trained or selected on them",
            seen,
            len(rows),
        )
    if again := len(rows) - len(np.unique(store.contents()[rows])):
        logger.warning(
            "%d of %d patches are exact duplicates of another one: each counts, so the intervals are too narrow",
            again,
            len(rows),
        )
    probabilities, distance = _answers(predictor, store, rows)
    groups = group_numbers(store.column("group"))
    groups = None if groups is None else groups[rows]
    figures = evaluate(labels, probabilities, predictor.classes, groups=groups, seed=seed)
    if figures["intervals"]["groups"] == 1:
        logger.warning(
            "all patches are of one group: the intervals are over patches, and too narrow for other groups than this"
        )
    result = {"classes": list(predictor.classes), "left_out": left_out, "seen": seen, "figures": figures}
    result["calibration"] = calibration_figures(labels, probabilities, groups, seed=seed)
    result["trust"], judged = None, None
    if predictor.trust is not None:
        tell(predictor.trust)
        found = predictor.trust.judge(probabilities, distance)
        over = groups if figures["intervals"]["over"] == "groups" else None
        result["trust"] = judged_figures(predictor.trust, found, probabilities, labels, over)
        judged = columns(found, probabilities, predictor.classes)
    of_classes = np.asarray(predictor.classes, dtype=object)[labels]
    return result, predictions_table(store.paths(rows), predictor.classes, probabilities, judged, label=of_classes)


def _labelled(store: PatchStore, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows that somebody has labelled; there must be some, and the others are said."""
    labelled = rows[store.labels[rows] >= 0]
    if not len(labelled):
        raise DataError(f"none of the {len(rows)} patches has a label", "a test needs labels")
    if without := len(rows) - len(labelled):
        logger.info("%d of %d patches have no label, and are left out", without, len(rows))
    return labelled


def _rows_of(store: PatchStore, part: str | None) -> NDArray[np.int64]:
    split = store.column("split")
    divided = bool(split.notna().any())
    if part == ALL or (part is None and not divided):
        return np.arange(len(store), dtype=np.int64)
    if part is None:
        sizes = ", ".join(f"{n:,} {name}" for name, n in split.astype(object).value_counts().items())
        if without := int(split.isna().sum()):
            sizes += f", {without:,} in no part"
        raise DataError(f"these patches are divided ({sizes})", "say which to take, such as --part test, or --part all")
    if part not in PARTS:
        raise DataError(f"there is no part '{part}'", f"known: {', '.join(PARTS)}, all")
    if not divided:
        raise DataError(f"these patches are not divided, and have no part '{part}'", "leave --part out")
    names = split.astype(object).where(split.notna(), None)
    rows = np.array([i for i, name in enumerate(names) if name is not None and part_of(name) == part], dtype=np.int64)
    if not len(rows):
        raise DataError(f"the part '{part}' has no patches")
    return rows


def _unknown(labels: NDArray[Any], predictor: AnyPredictor, known_only: bool) -> dict[str, int]:
    """How many patches are of each class that the model does not know; refused unless they are to be left out."""
    names, counts = np.unique(labels, return_counts=True)
    found = {str(n): int(c) for n, c in zip(names, counts, strict=True) if n not in predictor.classes}
    if found and not known_only:
        name = next(iter(found))
        hint = nearest(name, predictor.classes) or f"it knows: {_list(predictor.classes)}"
        raise DataError(
            f"the model does not know {_list(f'{n} ({c:,} patches)' for n, c in found.items())}",
            f"{hint}; --known-only leaves such patches out",
        )
    if found:
        logger.warning(
            "left out, of classes that the model does not know: %s",
            _list(f"{n} ({c:,} patches)" for n, c in found.items()),
        )
    return found


def _seen(store: PatchStore, rows: NDArray[np.int64], trained_on: PatchStore | None) -> int | None:
    if trained_on is None or trained_on.images.shape[1:] != store.images.shape[1:] or trained_on.bands != store.bands:
        return None
    known = set(trained_on.column("sha256"))
    return sum(content in known for content in store.column("sha256").iloc[rows])


def _answers(
    predictor: AnyPredictor, store: PatchStore, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Probabilities [N, K] and distances [N]."""
    read, found = PatchReader(store.images), []
    with progress_bar("Classifying", len(rows)) as advance:
        for start in range(0, len(rows), _CHUNK):
            images = read(rows[start : start + _CHUNK])
            found.append(answers(predictor, images))
            advance(len(images))
    return np.concatenate([p for p, _ in found]), np.concatenate([d for _, d in found])


def _list(names: Any, most: int = 12) -> str:
    names = [str(name) for name in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
