"""What a run says of its model, in the words of its cards: no path of this machine is among them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landsift.config import BUILT_IN_SOURCES, WEIGHTS_BY_NAME, SplitConfig
from landsift.errors import plain
from landsift.evaluation.trust import shortfalls
from landsift.image_sizes import by
from landsift.models.loading import fingerprint_of
from landsift.models.model_json import DESCRIPTION_FILE, ModelDescription, read_description
from landsift.runs import Run, read_as_written

Interval = tuple[float, float]
CONFUSED = 3
"""Pairs of classes that are named for being taken for one another."""
WEAK = 0.9
"""F1 below which a class is named."""
FEW = 100
"""Test patches below which a class is named."""


@dataclass(frozen=True)
class ClassFigures:
    """Of one class on the test patches.

    Attributes:
        name: of it.
        patches: in all parts.
        tested: test patches.
        precision: a share.
        recall: a share.
        f1: a share.
        intervals: of the three, 95 %.
    """

    name: str
    patches: int
    tested: int
    precision: float
    recall: float
    f1: float
    intervals: dict[str, Interval]


@dataclass(frozen=True)
class Described:
    """A run's model.

    Attributes:
        name: of the model: a letter, then letters, digits, dots, dashes and underscores.
        model: what model.json says.
        fingerprint: of the model's files.
        data: name of the data source.
        split: how patches were divided, a sentence.
        by_place: whether test patches are apart from the others in place or group.
        patches: of the source.
        skipped: files of it that were left out.
        parameters: of the network.
        weights: what the training began with, in words; None: random weights.
        epochs: trained.
        strategy: names of the phases.
        seed: of the training.
        tested: test patches.
        figures: `accuracy`, `macro_f1` and `ece` on them, each with its 95 % interval.
        judged: name and value, in words, of what sets, abstention and out-of-distribution flags do on the test patches;
            empty of a model without thresholds.
        too_few: what its patches were too few for, a sentence each.
        over: what the intervals are over: "patches" or "groups".
        classes: their figures.
        confused: (label, predicted, patches), the most frequent first.
        findings: of the data check, those that are warnings or errors.
        created: when the run ended, ISO 8601.
        versions: of packages, by name.
        license: of the weights; None: not named.
    """

    name: str
    model: ModelDescription
    fingerprint: str
    data: str
    split: str
    by_place: bool
    patches: int
    skipped: int
    parameters: int
    weights: str | None
    epochs: int
    strategy: tuple[str, ...]
    seed: int
    tested: int
    figures: dict[str, tuple[float, Interval]]
    judged: tuple[tuple[str, str], ...]
    too_few: tuple[str, ...]
    over: str
    classes: tuple[ClassFigures, ...]
    confused: tuple[tuple[str, str, int], ...]
    findings: tuple[str, ...]
    created: str
    versions: dict[str, str]
    license: str | None

    @property
    def patch(self) -> str:
        """A patch in words."""
        gsd = self.model.bands.gsd
        side = f", {gsd:g} m each" if gsd else ""
        return f"{by(self.model.patch_size)} pixels{side}"


def describe_run(path: Path | str, license: str | None = None) -> Described:
    """What a run says of its model.

    Raises:
        ModelError: its model is damaged.
        RunError: it is no run directory, or files of it are missing.
    """
    run = Run.open(path)
    with read_as_written(run.path):
        return _described(run, license)


def _described(run: Run, license: str | None) -> Described:
    model = read_description(run.model_dir / DESCRIPTION_FILE)
    manifest, config = run.manifest, run.config
    data, test = manifest["data"], run.evaluation["test"]
    source = config.data.source if config.data.source in BUILT_IN_SOURCES else Path(config.data.source).name
    intervals, checks = test["intervals"], data["checks"]["sections"]
    split = next((section["text"] for section in checks if section["name"] == "split"), "")
    weights, trust = config.model.weights, run.evaluation.get("trust")
    kind = config.data.split.kind
    return Described(
        name=_slug(f"{model.backbone}-{source}"),
        model=model,
        fingerprint=fingerprint_of(run.path),
        data=source,
        split=" ".join(filter(None, (split, *_parts_of(data, config.data.split)))),
        by_place=kind in ("spatial", "group") or intervals.get("over") == "groups",
        patches=data["patches"],
        skipped=len(data["skipped"]),
        parameters=manifest["model"]["parameters"],
        weights=None if weights == "none" else weights if weights in WEIGHTS_BY_NAME else Path(weights).name,
        epochs=len(run.metrics),
        strategy=tuple(phase["name"] for phase in manifest["phases"]),
        seed=manifest["seed"],
        tested=test["n"],
        figures={name: (test[name], tuple(intervals[name])) for name in ("accuracy", "macro_f1", "ece")},
        judged=_judged(trust),
        too_few=tuple(shortfalls(trust)) if trust and "chosen_on" in trust["ood"] else (),
        over=intervals.get("over", "patches"),
        classes=tuple(_class(name, data["classes"], test) for name in model.classes),
        confused=_confused(model.classes, test["confusion"]),
        findings=tuple(f"{section['name']}: {section['text']}" for section in checks if section["verdict"] != "ok"),
        created=manifest["created"],
        versions=manifest["versions"],
        license=license,
    )


def _parts_of(data: dict[str, Any], split: SplitConfig) -> list[str]:
    """What else decides who is in which part: a budget of labels, one fold of several."""
    found = []
    if data.get("budget") is not None:
        found.append(f"Only {data['budget']:,} labels of the training part were used (data.budget).")
    if split.folds is not None:
        found.append(f"This is fold {split.fold} of {split.folds}, counted from 0: other folds are tested elsewhere.")
    return found


def _judged(trust: dict[str, Any] | None) -> tuple[tuple[str, str], ...]:
    if trust is None:
        return ()
    sets, abstention = trust["sets"], trust["abstention"]
    own = (sets["coverage"], sets["kind"])
    found = []
    for row in sets["rows"]:
        if (row["nominal"], row["kind"]) == own:
            kind = "by class" if row["kind"] == "class" else "over all patches"
            value = f"hold the class of {_per_cent(row['coverage'], row['interval'])} of the {row['n']:,} patches that "
            value += f"chose no threshold, {row['size']:.2f} classes on average"
            found.append((f"sets of {100 * row['nominal']:g} %, {kind}", value))
    risk = f"wrong answers, at most {100 * abstention['risk']:g} % wanted"
    answered = next((r["test"] for r in abstention["rows"] if r["risk"] == abstention["risk"]), None)
    if answered is None:
        found.append((risk, "validation did not show it: the model abstains from nothing"))
    elif answered["risk"] is None:
        found.append((risk, "the model abstains from all patches"))
    else:
        value = (
            f"{_per_cent(answered['risk'], answered['interval'])}, where it answers {100 * answered['answered']:.2f} %"
        )
        found.append((risk, value))
    return (*found, ("out of distribution", f"{100 * trust['ood']['test']:.2f} %"))


def _per_cent(value: float, interval: Sequence[float] | None) -> str:
    ends = f" ({100 * interval[0]:.2f} to {100 * interval[1]:.2f})" if interval else ""
    return f"{100 * value:.2f} %{ends}"


def markdown(text: str) -> str:
    """Text that is none of landsift's, such as a class, on one line and without a meaning in Markdown or HTML."""
    escaped = re.sub(r"([\\`*\[\]|]|(?<!\w)_|_(?!\w))", r"\\\1", plain(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _class(name: str, counts: dict[str, int], test: dict[str, Any]) -> ClassFigures:
    row = test["per_class"][name]
    intervals = {key: tuple(value) for key, value in test["intervals"]["per_class"].get(name, {}).items() if value}
    return ClassFigures(
        name, counts.get(name, 0), row["support"], row["precision"], row["recall"], row["f1"], intervals
    )


def _confused(classes: tuple[str, ...], confusion: list[list[int]]) -> tuple[tuple[str, str, int], ...]:
    pairs = [
        (classes[i], classes[j], count)
        for i, row in enumerate(confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return tuple(sorted(pairs, key=lambda pair: -pair[2])[:CONFUSED])


def _slug(text: str) -> str:
    """A name as hubs and catalogues take it: at least three characters, from a letter to a letter or digit."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")
    return slug if slug[:1].isalpha() and len(slug) > 2 else f"model-{slug}".rstrip("-")


def limits(about: Described) -> list[str]:
    """What a user must know of where the figures end, a sentence of Markdown each."""
    found = [
        f"Every patch gets one of the {len(about.classes)} classes, clouds and whatever is none of them included.",
        f"It was tested on patches of {markdown(about.data)} alone. Other sensors, seasons, processing levels and "
        "ground sampling distances were not tested: `landsift evaluate` tests it on labelled patches of yours.",
    ]
    if not about.by_place:
        found.append(
            "If training and test patches lie beside one another, the figures are too good for other places: the "
            "split says how they were divided."
        )
    weak = [each for each in about.classes if each.tested and each.f1 < WEAK]
    if weak:
        names = ", ".join(f"{markdown(each.name)} ({each.f1:.2f})" for each in sorted(weak, key=lambda each: each.f1))
        found.append(f"F1 is below {WEAK:g} for {names}.")
    if few := [each for each in about.classes if each.tested < FEW]:
        names = ", ".join(f"{markdown(each.name)} ({each.tested})" for each in few)
        found.append(f"Fewer than {FEW} test patches: {names}.")
    if about.confused:
        pairs = "; ".join(f"{markdown(one)} for {markdown(other)} ({count})" for one, other, count in about.confused)
        found.append(f"Most often it takes {pairs}, of {about.tested:,} test patches.")
    ece = about.figures["ece"][0]
    calibrated = "not calibrated" if about.model.temperature is None else f"calibrated ({about.model.temperature:.3g})"
    found.append(f"Its probabilities are {calibrated}: confidence and accuracy differ by {100 * ece:.1f} points (ECE).")
    found += [f"{text[:1].upper()}{text[1:]}." for text in map(markdown, about.too_few)]
    return [*found, *(f"Data check, {markdown(finding)}" for finding in about.findings)]
