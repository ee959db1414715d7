"""The page of a comparison: which strategy to use at each label budget, and the evidence for it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from landsift.evaluation.criteria import WORDS
from landsift.reports.comparison.budget_tables import VERDICTS, margin, panel, relative
from landsift.reports.comparison.csv_tables import tables
from landsift.reports.comparison.figure import accuracy_figure
from landsift.reports.comparison.symbols import DARK_MARKS, marks_of, on_page
from landsift.reports.document import render
from landsift.reports.wording import duration, moment, number_of, operations, percent, percents, span

FAILURES = 3
"""Failures shown at the top at most; the others can be unfolded there."""

TESTS = {
    "two-way": "a two-way analysis of variance over seeds and {units} (Obuchowski & Rockette 1995, Hillis 2007), "
    "in which the seed variance of a pair is taken to be at least that of the median pair",
    "mcnemar": "McNemar’s exact test over the test patches; with one seed, the variation between seeds is not known",
    "folds": "Student’s t-test over the {units}; its variance is corrected, because the folds share training patches "
    "(Nadeau & Bengio 2003)",
    "t": "Student’s t-test over the {units}; with one seed, the variation between seeds is not known",
}
"""How pairs are tested, by the name in comparison.json."""


def comparison_html(comparison: Mapping[str, Any]) -> str:
    """The report of a comparison as one self-contained HTML page.

    Args:
        comparison: What comparison.json holds.

    Returns:
        HTML of about 5 MB, most of it plotly.js; it asks for nothing from any network.
    """
    results, failed = comparison["results"], [cell for cell in comparison["cells"] if cell["state"] == "failed"]
    single = len(comparison["budgets"]) == 1
    shown = "Dot plot of test accuracy by strategy" if single else "Line chart of test accuracy by label budget"
    advice = _advice(comparison)
    return render(
        "comparison.html",
        {"accuracy": (accuracy_figure(comparison), f"{shown}, with 95 % intervals")} if results else {},
        tables(comparison),
        DARK_MARKS,
        on_page=on_page,
        title=_title(comparison),
        note=comparison["config"].get("tracking", {}).get("note") or "",
        subtitle=_subtitle(comparison),
        version=comparison["landsift"],
        created=moment(comparison),
        failed=_failures(failed),
        failed_first=FAILURES,
        failed_note=f"{len(failed)} of {number_of(len(comparison['cells']), 'trial')} failed and "
        f"{'is' if len(failed) == 1 else 'are'} excluded from all results",
        headline=_headline(comparison, advice[0]) if advice else [],
        advice=advice,
        training=_training_commands(comparison, advice),
        findings=comparison["findings"],
        single=single,
        panels=[panel(comparison, budget) for budget in comparison["budgets"]] if results else [],
        several=len(comparison["seeds"]) > 1,
        compared=bool(comparison["pairs"]),
        counted=any(r["relative_work"] is not None for r in results),
        criterion=WORDS[comparison["rule"]["criterion"]],
        second="balanced accuracy" if comparison["rule"]["criterion"] == "balanced_accuracy" else "macro F1",
        margin=margin(comparison["rule"]),
        verdicts=VERDICTS,
        marks=marks_of(comparison["rows"]),
        phase_rows=_phase_rows(comparison),
        methods=_methods(comparison),
        trainings=[_training(cell) for cell in comparison["cells"]],
        data_facts=_data_facts(comparison["data"], comparison.get("folds")),
        comparison_facts=_comparison_facts(comparison),
        command=shlex.join(str(part) for part in comparison["command"] or []),
        config=yaml.safe_dump(comparison["config"], sort_keys=False, allow_unicode=True),
    )


def _title(comparison: Mapping[str, Any]) -> str:
    name = comparison["config"].get("tracking", {}).get("name")
    return name or f"Training strategies compared on {comparison['data']['source']}"


def _subtitle(comparison: Mapping[str, Any]) -> str:
    data, rows = comparison["data"], comparison["rows"]
    strategies, variants = (len({row[key] for row in rows}) for key in ("strategy", "variant"))
    parts = [
        f"{number_of(data['patches'], 'patch', 'patches')} in {number_of(len(data['classes']), 'class', 'classes')}",
        number_of(strategies, "strategy", "strategies") + (f" × {variants} model variants" if variants > 1 else ""),
        number_of(len(comparison["budgets"]), "label budget"),
        number_of(len(comparison["seeds"]), "seed"),
        number_of(comparison["folds"], "fold") if comparison.get("folds") else "",
        moment(comparison),
    ]
    return " · ".join(part for part in parts if part)


def _advice(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The recommendation for each budget with its figures, the largest budget first."""
    results = {(r["row"], r["budget"]): r for r in comparison["results"]}
    table = []
    for advice in sorted(comparison["recommendations"], key=lambda advice: -advice["budget"]):
        use, best = (results[advice[key], advice["budget"]] for key in ("row", "best"))
        table.append(
            {
                "budget": f"{advice['budget']:,}",
                "row": advice["row"],
                "best": advice["best"],
                "sentence": advice["sentence"],
                "result": use,
                "accuracy": percent(use["accuracy"]),
                "interval": percents(use["accuracy_interval"]),
                "best_accuracy": percent(best["accuracy"]),
                "work": operations(use["work"]),
                "seconds": duration(use["train_seconds"]),
                "relative": relative(use["relative_work"]),
            }
        )
    return table


def _training_commands(comparison: Mapping[str, Any], advice: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Each recommended row, the one of the largest budget first, and the command that trains it on all labels."""
    commands = {row["name"]: row.get("command") for row in comparison["rows"]}
    return [(name, command) for name in dict.fromkeys(a["row"] for a in advice) if (command := commands[name])]


def _headline(comparison: Mapping[str, Any], advice: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The cards at the top: the recommendation at the largest budget, its results and its compute."""
    result = advice["result"]
    counted = result["relative_work"] is not None
    seeds = number_of(len(result["seeds"]), "seed")
    share = percent(result["share"], 0 if result["share"] >= 0.1 else 1)
    return [
        {
            "name": f"With {advice['budget']} labels, use",
            "figure": advice["row"],
            "lines": [f"trains {share} of the parameters"],
        },
        {
            "name": "Test accuracy",
            "figure": advice["accuracy"],
            "lines": [f"95 % interval {advice['interval']}"]
            + (
                [f"mean over {seeds}" if len(result["seeds"]) > 1 else "one seed"]
                if len(comparison["seeds"]) > 1
                else []
            ),
        },
        {
            "name": "Macro F1",
            "figure": f"{result['macro_f1']:.3f}",
            "lines": [f"95 % interval {span(interval)}"] if (interval := result.get("macro_f1_interval")) else [],
        },
        {
            "name": "Training compute",
            "figure": advice["relative"] if counted else advice["work"],
            "lines": [*(["that of the linear probe"] if counted else []), f"{advice['seconds']} on this machine"],
        },
    ]


def _failures(cells: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The failed trials with their reasons; seeds that failed for the same reason are listed together."""
    alike: dict[tuple[str, int, str], list[str]] = {}
    for cell in cells:
        alike.setdefault((cell["row"], cell["budget"], _reason(cell)), []).append(
            f"{cell['seed']}" + (f" (fold {cell['fold'] + 1})" if "fold" in cell else "")
        )
    return [
        {
            "name": row,
            "place": f"{budget:,} labels, seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}",
            "reason": reason,
        }
        for (row, budget, reason), seeds in alike.items()
    ]


def _reason(cell: Mapping[str, Any]) -> str:
    return str(cell["reason"] or "no reason given")


def _training(cell: Mapping[str, Any]) -> dict[str, Any]:
    fold = f", fold {cell['fold'] + 1}" if "fold" in cell else ""
    row = {"name": cell["row"], "budget": f"{cell['budget']:,}", "seed": f"{cell['seed']}{fold}"}
    row["done"] = cell["state"] == "done"
    if not row["done"]:
        return row | {"reason": _reason(cell)}
    best = cell["best_epoch"]
    return row | {
        "accuracy": percent(cell["accuracy"]),
        "validation": percent(cell["val_accuracy"]),
        "macro_f1": f"{cell['macro_f1']:.3f}",
        "ece": f"{cell['ece']:.3f}",
        "epoch": f"{'–' if best is None else best + 1} of {cell['epochs']}",
        "work": operations(cell["work"]),
        "time": duration(cell["train_seconds"]),
        "cached": "yes" if cell["cached"] else "no",
    }


def _phase_rows(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each strategy trains in each phase, as recorded by its trial at the largest budget."""
    done = sorted((c for c in comparison["cells"] if c["state"] == "done"), key=lambda cell: cell["budget"])
    last = {cell["row"]: cell for cell in done}
    return [
        {
            "name": row["name"],
            "epochs": last[row["name"]]["epochs"],
            "phases": [
                f"{phase['name']}: {number_of(phase['epochs'], 'epoch')}, {phase['trainable']:,} parameters"
                for phase in last[row["name"]]["phases"]
            ],
        }
        for row in comparison["rows"]
        if row["name"] in last
    ]


def _methods(comparison: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The method: (heading, a few sentences)."""
    split, seeds, rule = comparison["data"]["split"], comparison["seeds"], comparison["rule"]
    several, groups = len(seeds) > 1, comparison["groups"]
    units = f"{groups:,} groups of test patches" if (groups or 0) > 1 else "test patches"
    mean = "Mean over seeds" if several else "Of one seed"
    folds = comparison.get("folds")
    if folds:
        units = f"{folds} folds"
    chance = f"the sampling of the {units}" + (", of their test and training patches" if folds else "")
    if several:
        chance += f" and the variation between the {len(seeds)} seeds"
    elif not folds:
        chance += ", but not the variation between seeds"
    if groups == 1 and not folds:
        chance += ". All test patches are of one group, so the variation between groups is not known"
    words = WORDS[rule["criterion"]]
    rows = [
        (
            "Trials",
            "A trial is one training of a strategy with a label budget and a seed"
            f"{', on the training patches of a fold' if folds else ''}.",
        ),
        (
            "Labels",
            f"With the same budget{', seed and fold' if folds else ' and seed'}, all strategies train on the same "
            "labelled patches."
            + (
                " The patches of a smaller budget are a subset of those of a larger one."
                if len(comparison["budgets"]) > 1
                else ""
            ),
        ),
        (
            "Model selection",
            f"The best epoch on the {'about ' if folds else ''}{split['val']:,} validation patches is tested"
            f"{'; they are of other folds than the test patches' if folds else ''}. "
            "These patches are labelled too, but do not count towards the budget.",
        ),
        (
            "Test",
            f"Every patch is a test patch in one fold, about {split['test']:,} patches per fold. The trials of a fold "
            "are neither trained nor selected on its test patches."
            if folds
            else f"Every trial is tested on the same {split['test']:,} test patches, which are never trained on.",
        ),
        ("Accuracy", f"{mean}; the 95 % interval covers {chance}."),
        (
            "Recommendation",
            f"The strategy with the highest {words} on the validation patches"
            f"{', mean over seeds' if several else ''}, or one that needs less compute and that the test patches show "
            f"to be at most {margin(rule)} worse. This is a one-sided test at the {100 * rule['alpha']:.0f} % level, "
            "corrected for the number of strategies compared with the best. The same validation patches selected the "
            "epoch of each trial, so validation results are slightly optimistic, for all strategies alike. "
            + (
                "No epoch is selected on test patches, but the test patches of one fold are validation patches of "
                "others, so the choice of the strategy is not independent of them."
                if folds
                else "Nothing is selected on the test patches."
            ),
        ),
        (
            "Compute",
            "Floating-point operations of the forward passes over training patches, and of the backward passes "
            f"through the trained layers{'; the median over seeds' if several else ''}. Validation and test are not "
            "counted. Wall-clock time is shown too but not used: it depends on the load of the machine.",
        ),
    ]
    if tests := sorted({pair["test"] for pair in comparison["pairs"]}):
        how = "; ".join(TESTS.get(test, test).format(units=units) for test in tests)
        verdicts = (
            "Differences are significant at the 5 % level, after correction of p for the number of pairs at the budget "
            "(Holm 1979). “No significant difference” does not mean equal: more seeds or test patches may show one."
        )
        rows[-2:-2] = [
            (
                "Pairwise tests",
                f"The {words} of two strategies is compared on the same test patches and seeds by {how}.",
            ),
            ("Significance", verdicts),
        ]
    return rows


def _data_facts(data: Mapping[str, Any], folds: int | None) -> list[tuple[str, str]]:
    split = data["split"]
    of_folds = ", mean over folds" if folds else ""
    return [
        ("source", data["source"]),
        ("patches", f"{data['patches']:,}"),
        ("classes", f"{len(data['classes'])}"),
        ("split", " / ".join(f"{split[key]:,} {key}" for key in ("train", "val", "test")) + of_folds),
        ("fingerprint", data["fingerprint"]),
    ]


def _comparison_facts(comparison: Mapping[str, Any]) -> list[tuple[str, str]]:
    cells = comparison["cells"]
    done = [cell for cell in cells if cell["state"] == "done"]
    cached = sum(bool(cell["cached"]) for cell in done)
    return [
        ("strategies", _listed(row["name"] for row in comparison["rows"])),
        ("label budgets", _listed(f"{budget:,}" for budget in comparison["budgets"])),
        ("seeds", _listed(comparison["seeds"])),
        ("trials", f"{len(done):,} of {len(cells):,} finished, {cached:,} from the cache"),
        ("their total time", duration(sum(cell["seconds"] or 0.0 for cell in done))),
        ("landsift", comparison["landsift"]),
    ]


def _listed(things: Iterable[object]) -> str:
    return " · ".join(str(thing) for thing in things)
