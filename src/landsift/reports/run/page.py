"""The page of a run: one HTML file that works offline, with the summary at the top and its evidence below."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from landsift.palette import class_colours
from landsift.reports.document import render
from landsift.reports.run import figures, sections, trust
from landsift.reports.run.confusion import confusion_table
from landsift.reports.run.mistakes import (
    ELSEWHERE,
    Picture,
    common_folder,
    confident_mistakes,
    correct_examples,
    heat_maps,
    thumbnails,
)
from landsift.reports.run.tables import csv_tables
from landsift.reports.run.tsne_figure import embedding_figure, shown_epoch
from landsift.reports.style import Figure
from landsift.reports.wording import percent
from landsift.runs import EMBEDDINGS, Run

if TYPE_CHECKING:
    import pandas as pd

    from landsift.data.store.patch_store import PatchStore

MISTAKES = 24
"""Thumbnails of wrong predictions at most."""


def report_html(run: Run, store: PatchStore | None = None, source: str | None = None) -> str:
    """The report of a run as one self-contained HTML page.

    Args:
        run: A run directory with at least its manifest, metrics, evaluation and predictions.
        store: Where thumbnails are read from; None: as in `thumbnails`.
        source: As `data.source`: the run's patches on this machine, or None.

    Returns:
        HTML of about 5 MB, most of it plotly.js.

    Raises:
        RunError: a file of the run directory is missing or cannot be parsed.
        DataError: there is no such source.
    """
    classes = list(run.evaluation["classes"])
    embeddings = _embeddings(run)
    plots = _plots(run, classes, embeddings)
    all_mistakes = confident_mistakes(run.predictions, None)
    mistakes = all_mistakes.head(MISTAKES)
    named = set(mistakes["label"]) | set(mistakes["predicted"])
    right = correct_examples(run.predictions, [name for name in classes if name in named], MISTAKES)
    paths = [*mistakes["path"], *right["path"]]
    root = common_folder(paths)
    pictures = thumbnails(paths, run, store, source)
    heat = heat_maps(mistakes["path"].tolist(), run)
    test = run.evaluation["test"]
    return render(
        "run.html",
        plots,
        csv_tables(run, all_mistakes),
        **sections.page(run),
        confusion=confusion_table(test["confusion"], classes),
        colours=class_colours(classes),
        frame_count=0 if embeddings is None else embeddings["epoch"].nunique(),
        frame_note="" if embeddings is None else _frame_note(embeddings, run.evaluation.get("epoch")),
        mistakes_total=f"{test['n'] - sum(row[i] for i, row in enumerate(test['confusion'])):,}",
        mistakes_root=root,
        pictures_note=_missing(pictures),
        explained=any(over is not None for over in heat),
        mistakes=[
            _shown(row, picture, root) | {"heat": over}
            for row, picture, over in zip(mistakes.to_dict("records"), pictures[: len(mistakes)], heat, strict=True)
        ],
        examples=[
            _shown(row, picture, root)
            for row, picture in zip(right.to_dict("records"), pictures[len(mistakes) :], strict=True)
        ],
    )


def _shown(row: Mapping[Hashable, Any], picture: Picture, root: str) -> dict[str, Any]:
    """A patch with what was predicted for it, as the template shows it."""
    return {
        "image": picture.uri,
        "heat": None,
        "reason": picture.reason,
        "path": row["path"],
        "name": row["path"].removeprefix(root),
        "label": row["label"],
        "predicted": row["predicted"],
        "probability": percent(row["probability"], 1),
    }


def _missing(pictures: Sequence[Picture]) -> str:
    """Note on pictures that the page does not show."""
    reasons = [picture.reason for picture in pictures if picture.uri is None]
    if not reasons:
        return ""
    counts = ", ".join(f"{n} {reason}" for reason, n in Counter(reasons).most_common())
    note = f"{len(reasons)} of {len(pictures)} pictures are not shown: {counts}."
    if ELSEWHERE in reasons:
        note += " To show them, name their source: landsift report RUN --data SOURCE."
    return note


def _plots(run: Run, classes: list[str], embeddings: pd.DataFrame | None) -> dict[str, tuple[Figure, str]]:
    """The page's figures with their descriptions, by the name of their place in the template."""
    test, calibration = run.evaluation["test"], run.evaluation.get("calibration")
    plots = {
        "accuracy": (
            figures.accuracy_figure(run.metrics, run.evaluation.get("epoch")),
            "Line chart of validation accuracy over epochs",
        ),
        "loss": (
            figures.loss_figure(run.metrics, sections.trained_on(run)),
            "Line chart of training and validation loss over epochs",
        ),
        "learning_rate": (figures.learning_rate_figure(run.metrics), "Line chart of the learning rates, log scale"),
        "classes": (figures.class_figure(test), "Bars of precision, recall and F1 for each class"),
        "reliability": (
            trust.diagram(trust.reliability_rows(run), _without_temperature(calibration)),
            "Reliability diagram: accuracy against confidence",
        ),
    }
    if "trust" in run.evaluation:
        plots["risk"] = (
            trust.risk_figure(run.evaluation["trust"]["abstention"]),
            "Line chart of the share of wrong answers over the share of answered patches",
        )
    places = sections.places_of(run.manifest)
    if places is not None:
        plots["places"] = (figures.place_figure(places["map"]), "Map of the patches of train, val and test")
    if embeddings is not None:
        plots["embeddings"] = (
            embedding_figure(embeddings, classes, run.evaluation.get("epoch")),
            "t-SNE scatter plots of validation patches, one frame per epoch",
        )
    return plots


def _without_temperature(calibration: Mapping[str, Any] | None) -> Sequence[Mapping[str, Any]]:
    """The bins of the reliability diagram without the temperature, of a model that has one."""
    if calibration is None or calibration["temperature"] is None:
        return ()
    return list(calibration["before"]["test"]["reliability"])


def _frame_note(embeddings: pd.DataFrame, model: int | None) -> str:
    """The epoch of the frame that is shown first, and the model's epoch."""
    shown = shown_epoch(embeddings, model)
    if model is None:
        return f"The frame of epoch {shown + 1} is shown first."
    if shown == model:
        return f"The frame of epoch {model + 1} is shown first: the model has the weights of that epoch."
    return (
        f"The frame of epoch {shown + 1} is shown first; the model has the weights of epoch {model + 1}, "
        "which has no frame."
    )


def _embeddings(run: Run) -> pd.DataFrame | None:
    """The t-SNE frames; None where the run made none."""
    if not (run.path / EMBEDDINGS).is_file() or run.embeddings.empty:
        return None
    return run.embeddings
