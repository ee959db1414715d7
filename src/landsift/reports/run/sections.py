"""The text and tables of a run's page: everything but its figures."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from landsift.data.checks.findings import SHOWN
from landsift.data.geodesy import distance
from landsift.errors import RunError
from landsift.reports.run import facts, trust
from landsift.reports.run.figures import phase_starts
from landsift.reports.wording import duration, moment, percent, percents, span
from landsift.runs import Run

SKIPPED = 500
"""Skipped files listed at most."""
CONFUSIONS = 6
"""Pairs of classes listed at most."""
CHOSEN_BY = {"val_acc": "validation accuracy", "val_recall": "balanced accuracy on validation"}
"""What the best epoch was selected by: its name in `manifest.json` (best.chosen_by) and its name on the page."""


def page(run: Run) -> dict[str, Any]:
    """The text of a run's page, by its names in the template."""
    manifest, evaluation, metrics = run.manifest, run.evaluation, run.metrics
    data = manifest.get("data", {})
    skipped = data.get("skipped", [])
    return {
        "title": manifest.get("name") or _trained(manifest),
        "note": manifest.get("note") or "",
        "subtitle": _subtitle(manifest),
        "version": manifest.get("landsift", ""),
        "created": moment(manifest),
        "headline": _headline(evaluation, metrics, manifest.get("best", {}).get("chosen_by")),
        "sentence": _sentence(evaluation, places_of(manifest)),
        "place_note": _place_note(places_of(manifest)),
        "intervals_over": intervals_over(evaluation["test"], "blocks" if _by_place(run) else "groups"),
        "training_note": _training_note(metrics, manifest, trained_on(run)),
        "calibration_note": _calibration_note(run),
        "temperature_note": trust.temperature_note(evaluation.get("calibration")),
        "calibration_rows": trust.calibration_rows(evaluation.get("calibration")),
        **trust.texts(evaluation.get("trust")),
        "confusions": _confusions(evaluation),
        "class_rows": _class_rows(evaluation),
        "data_facts": facts.data_facts(data),
        "model_facts": facts.model_facts(manifest, run),
        "machine_facts": facts.machine_facts(manifest),
        "version_facts": list(manifest.get("versions", {}).items()),
        "phases": facts.phases(manifest, metrics),
        "stages": facts.stages(manifest),
        "cache_note": facts.cache_note(manifest),
        "count_rows": facts.count_rows(data),
        "check_rows": [
            section | {key: SHOWN.get(section[key], section[key]) for key in ("name", "verdict")}
            for section in (data.get("checks") or {}).get("sections", [])
        ],
        "skipped": skipped[:SKIPPED],
        "skipped_total": f"{len(skipped):,}",
        "skipped_more": max(0, len(skipped) - SKIPPED),
        "repeats_note": facts.repeats_note(manifest),
        "command": shlex.join(str(part) for part in manifest.get("command") or []),
        "config": _config(run),
    }


def _trained(manifest: Mapping[str, Any]) -> str:
    data, model = manifest.get("data", {}), manifest.get("model", {})
    return f"{model.get('backbone', 'model')} on {data.get('source', 'patches')}"


def _subtitle(manifest: Mapping[str, Any]) -> str:
    data = manifest.get("data", {})
    parts = [_trained(manifest)] if manifest.get("name") else []
    parts += [f"{data['patches']:,} patches in {len(data['classes'])} classes"] if data.get("patches") else []
    if unlabelled := data.get("unlabelled"):
        parts.append(f"{unlabelled:,} of them unlabelled")
    if budget := data.get("budget"):
        parts.append(f"label budget {budget:,}")
    if phases := manifest.get("phases"):
        parts.append(" → ".join(str(phase["name"]) for phase in phases))
    if made := moment(manifest):
        parts.append(made)
    return " · ".join(parts)


def trained_on(run: Run) -> list[str]:
    """What makes a run's training loss differ from its validation loss."""
    try:
        config = run.config
    except RunError:  # a run whose configuration was not kept still has a report
        return []
    training, augment = config.training, config.training.augment
    found = {
        "augmentation": augment.flips
        or augment.crop is not None
        or any((*augment.color_jitter, augment.blur, augment.noise, augment.band_dropout)),
        "mixup or CutMix": augment.mixup > 0 or augment.cutmix > 0,
        "label smoothing": training.label_smoothing > 0,
        "class balancing": training.balances_classes,
        "dropout": config.model.head.dropout > 0,
    }
    return [words for words, applies in found.items() if applies]


def _headline(
    evaluation: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]], chosen_by: str | None
) -> list[dict[str, Any]]:
    test, val = evaluation["test"], evaluation.get("val")
    intervals = test["intervals"]

    def card(name: str, figure: str, interval: str, beside: str) -> dict[str, Any]:
        return {"name": name, "figure": figure, "lines": [line for line in (interval, beside) if line]}

    epoch = evaluation.get("epoch")
    return [
        card(
            "Test accuracy",
            percent(test["accuracy"]),
            f"95 % interval {percents(intervals['accuracy'])}",
            f"validation {percent(val['accuracy'])}" if val else "",
        ),
        card(
            "Macro F1",
            f"{test['macro_f1']:.3f}",
            f"95 % interval {span(intervals['macro_f1'])}",
            f"validation {val['macro_f1']:.3f}" if val else "",
        ),
        card(
            "Calibration error (ECE)",
            f"{test['ece']:.3f}",
            f"95 % interval {span(intervals['ece'])}",
            f"validation {val['ece']:.3f}" if val else "",
        ),
        card(
            "Best epoch",
            "–" if epoch is None else str(epoch + 1),
            f"of {len(metrics)}, by {CHOSEN_BY.get(chosen_by or 'val_acc', str(chosen_by))}",
            str(evaluation.get("checkpoint") or ""),
        ),
    ]


def _sentence(evaluation: Mapping[str, Any], places: Mapping[str, Any] | None = None) -> str:
    test, classes = evaluation["test"], evaluation["classes"]
    right = f"The model classifies {percent(test['accuracy'])} of {test['n']:,} unseen test patches correctly"
    supported = [name for name in classes if test["per_class"][name]["support"]]
    hardest = min(supported, key=lambda name: test["per_class"][name]["f1"])
    f1, interval = test["per_class"][hardest]["f1"], test["intervals"]["per_class"][hardest]["f1"]
    bounds = f", 95 % interval {span(interval)}" if interval else ""
    if f1 == 1.0:
        return f"{right}.{_location_sentence(places)}"
    row = list(test["confusion"][classes.index(hardest)])
    row[classes.index(hardest)] = 0
    rival = classes[row.index(max(row))] if max(row) else None
    taken = f", most often confused with {rival}" if rival else ""
    return f"{right}; the hardest class is {hardest} (F1 {f1:.3f}{bounds}){taken}.{_location_sentence(places)}"


def places_of(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the data check says of locations: the section's text and its figures; None where they are not known."""
    for section in ((manifest.get("data") or {}).get("checks") or {}).get("sections", []):
        if section["name"] == "places" and "median_km" in section["counts"]:
            return {"text": section["text"], "verdict": section["verdict"], **section["counts"]}
    return None


def _location_sentence(places: Mapping[str, Any] | None) -> str:
    if places is None:
        return ""
    half, right = "the test patches", "all test patches"
    if places.get("test_placed") != places.get("test"):
        half = f"the {places['test_placed']:,} of {places['test']:,} test patches whose location is known"
        right = "them"
    return (
        f" Half of {half} are {distance(places['median_km'])} or more from any training patch. Location alone, "
        f"without the image, classifies {percent(places['location_accuracy'], 1)} of {right} correctly."
    )


def _place_note(places: Mapping[str, Any] | None) -> str:
    return "" if places is None else f"{places['text'][0].upper()}{places['text'][1:]}"


def _by_place(run: Run) -> bool:
    try:
        return run.config.data.split.kind == "spatial"
    except RunError:  # a run whose configuration was not kept still has a report
        return False


def intervals_over(figures: Mapping[str, Any], units: str = "groups") -> str:
    """The variation that the intervals of an evaluation cover."""
    intervals = figures["intervals"]
    groups = intervals.get("groups")
    if intervals.get("over") == "groups":
        return f"the sampling of the {groups:,} test {units}"
    if groups == 1:
        return f"the sampling of test patches within the one {units[:-1]} they are all in, but not other {units}"
    return "the sampling of the test patches"


def _training_note(metrics: Sequence[Mapping[str, Any]], manifest: Mapping[str, Any], trained_on: Sequence[str]) -> str:
    planned = sum(phase.get("epochs", 0) for phase in manifest.get("phases", []))
    total = duration(sum(row.get("seconds") or 0.0 for row in metrics))
    note = f"{len(metrics)} epochs in {total}."
    if planned > len(metrics):
        note = f"Stopped early after {len(metrics)} of {planned} epochs, in {total}."
    if starts := phase_starts(metrics):
        named = ", ".join(f"phase {number} ({name})" if name else f"phase {number}" for _, number, name in starts)
        note += f" {'A dashed line marks' if len(starts) == 1 else 'Dashed lines mark'} the start of {named}."
    if any(not row.get("lr_backbone") for row in metrics):
        note += " While the backbone is frozen it has no learning rate."
    if trained_on:
        note += (
            f" The training loss includes {', '.join(trained_on)}; the validation loss does not. The two are therefore "
            "not directly comparable: either may be the higher one."
        )
    for said in manifest.get("notes", []):
        note += f" {said[0].upper()}{said[1:]}."
    return note + " Epochs are numbered from 1 on this page and from 0 in checkpoint names."


def _calibration_note(run: Run) -> str:
    test = run.evaluation["test"]
    rows = run.predictions[run.predictions["split"] == "test"]
    gap = float(rows.filter(regex="^p_").max(axis=1).mean()) - test["accuracy"]
    tendency = f"{'over' if gap > 0 else 'under'}-confident by {abs(100 * gap):.1f} percentage points on average"
    if abs(gap) < 0.005:
        tendency = "neither over- nor under-confident on average"
    return (
        f"The model is {tendency}. The expected calibration error (ECE) of {test['ece']:.3f} is the mean distance "
        "between the curve and the diagonal over 15 bins, weighted by their numbers of patches. Below the diagonal the "
        "model is over-confident, above it under-confident."
    )


def _confusions(evaluation: Mapping[str, Any]) -> list[dict[str, str]]:
    classes, matrix = evaluation["classes"], evaluation["test"]["confusion"]
    pairs = [(n, i, j) for i, row in enumerate(matrix) for j, n in enumerate(row) if i != j and n]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    return [
        {
            "true": classes[i],
            "predicted": classes[j],
            "count": f"{n:,}",
            "total": f"{sum(matrix[i]):,}",
            "share": percent(n / sum(matrix[i]), 1),
        }
        for n, i, j in pairs[:CONFUSIONS]
    ]


def _class_rows(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    test, val = evaluation["test"], evaluation.get("val")
    names = sorted(test["per_class"], key=lambda name: test["per_class"][name]["f1"])
    return [
        {
            "name": name,
            "support": f"{test['per_class'][name]['support']:,}",
            **{key: _with_interval(test, name, key) for key in ("precision", "recall", "f1")},
            "val_f1": f"{val['per_class'][name]['f1']:.3f}" if val else "–",
        }
        for name in names
    ]


def _with_interval(test: Mapping[str, Any], name: str, metric: str) -> tuple[str, str]:
    return f"{test['per_class'][name][metric]:.3f}", span(test["intervals"]["per_class"][name][metric])


def _config(run: Run) -> str:
    try:
        return run.config.to_yaml()
    except RunError:  # a run whose configuration was not kept still has a report
        return ""
