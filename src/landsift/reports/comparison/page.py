"""The page of a comparison: which strategy to use at each label budget, and all that the advice rests on."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from landsift.evaluation.criteria import WORDS
from landsift.reports.comparison.budget_tables import VERDICTS, margin, panel, relative
from landsift.reports.comparison.figure import accuracy_figure
from landsift.reports.comparison.symbols import marks_of
from landsift.reports.document import render
from landsift.reports.wording import duration, moment, number_of, operations, percent, percents, span

FAILURES = 3
"""Failures shown at the top at most; the others can be unfolded there."""

TESTS = {
    "two-way": "a two-way analysis of variance over seeds and test {units} (Obuchowski & Rockette 1995, Hillis 2007), "
    "in which a pair has at least the median pair’s chance of the seeds",
    "mcnemar": "McNemar’s exact test over the test patches, because one seed tells nothing of other seeds",
    "folds": "Student’s t over the {units}, whose trainings share patches: the variance is corrected for that (Nadeau "
    "& Bengio 2003)",
    "t": "Student’s t over the test {units}, because one seed tells nothing of other seeds",
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
    shown = "Points with whiskers: test accuracy by strategy" if single else "Lines: test accuracy over label budgets"
    advice = _advice(comparison)
    return render(
        "comparison.html",
        {"accuracy": (accuracy_figure(comparison), f"{shown}, with 95 % intervals")} if results else {},
        title=f"Training strategies compared on {comparison['data']['source']}",
        subtitle=_subtitle(comparison),
        version=comparison["landsift"],
        created=moment(comparison),
        failed=_failures(failed),
        failed_first=FAILURES,
        failed_note=f"{len(failed)} of {number_of(len(comparison['cells']), 'training')} failed and "
        f"{'is' if len(failed) == 1 else 'are'} left out of every figure",
        headline=_headline(comparison, advice[0]) if advice else [],
        advice=advice,
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
        data_facts=_data_facts(comparison["data"]),
        comparison_facts=_comparison_facts(comparison),
        command=shlex.join(str(part) for part in comparison["command"] or []),
        config=yaml.safe_dump(comparison["config"], sort_keys=False, allow_unicode=True),
    )


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


def _headline(comparison: Mapping[str, Any], advice: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The cards at the top: what to use at the largest budget, and what it gives for which work."""
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
            "name": "Work of a training",
            "figure": advice["relative"] if counted else advice["work"],
            "lines": [*(["the linear probe’s"] if counted else []), f"{advice['seconds']} on this machine"],
        },
    ]


def _failures(cells: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The failed trainings with their reasons; seeds that failed alike are told together."""
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
    """What each strategy trains, phase after phase, as its training at the largest budget did."""
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
    """How it was done: (what, a sentence or two)."""
    split, seeds, rule = comparison["data"]["split"], comparison["seeds"], comparison["rule"]
    several, groups = len(seeds) > 1, comparison["groups"]
    units = f"{groups:,} groups" if (groups or 0) > 1 else "patches"
    mean = "The mean over seeds" if several else "That of one seed"
    chance = f"of the test {units} and of the {len(seeds)} seeds" if several else f"of the test {units}, not for that "
    if not several:
        chance += "of the seed"
    if folds := comparison.get("folds"):
        units = f"{folds} folds"
        chance = f"of the {units}: of their patches and of what was trained on" + (", and of the seeds" * several)
    elif groups == 1:
        chance += ". All test patches are of one group: what other groups would change is not known"
    words = WORDS[rule["criterion"]]
    rows = [
        (
            "Labels",
            "At a budget and seed every strategy trains on the same labelled patches."
            + (" A smaller budget’s patches are among a larger one’s." if len(comparison["budgets"]) > 1 else ""),
        ),
        (
            "Choosing",
            f"The epoch that is best on {split['val']:,} validation patches"
            f"{', which are none of its fold,' if folds else ''} is tested. "
            "They are labelled too, but the budget does not count them.",
        ),
        (
            "Testing",
            f"Every patch is tested once, in the fold that it is in: some {split['test']:,} patches, on which the "
            "training of that fold neither trained nor chose its epoch."
            if folds
            else f"All {split['test']:,} test patches, whatever the budget: "
            "the same ones for every training, and never trained on.",
        ),
        ("Accuracy", f"{mean}; its 95 % interval allows for the chance {chance}."),
        (
            "Recommending",
            f"The strategy with the highest {words} on the validation patches"
            f"{', mean over seeds' if several else ''}, or one that computes less and that the test patches show to be "
            f"at most {margin(rule)} worse: a one-sided test at {100 * rule['alpha']:.0f} %, corrected for the number "
            "of strategies held against the best. The same validation patches chose each training’s epoch, which makes "
            "figures on them a little too high, for all strategies alike; "
            + (
                "no test patches have chosen an epoch, but those of one fold are validation patches of others, so that "
                "the choice of the strategy is not blind to them."
                if folds
                else "the test patches have chosen nothing."
            ),
        ),
        (
            "Work",
            "Floating-point operations of the passes over training patches, forward and, through what trains, "
            f"backward{', the median over seeds' if several else ''}; validation and test are left out. Wall time "
            "stands beside it and decides nothing: it depends on what else the machine did.",
        ),
    ]
    if tests := sorted({pair["test"] for pair in comparison["pairs"]}):
        how = "; ".join(TESTS.get(test, test).format(units=units) for test in tests)
        verdicts = (
            "“Better” and “worse” hold at 5 % after p is corrected for the number of pairs of the budget (Holm 1979). "
            "“Not distinguishable” does not mean equal: more seeds or test patches may tell them apart."
        )
        rows[-2:-2] = [
            ("Pairs", f"The {words} of two strategies is compared on the same test patches, seed by seed, by {how}."),
            ("Verdicts", verdicts),
        ]
    return rows


def _data_facts(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    split = data["split"]
    return [
        ("source", data["source"]),
        ("patches", f"{data['patches']:,}"),
        ("classes", f"{len(data['classes'])}"),
        ("split", " / ".join(f"{split[key]:,} {key}" for key in ("train", "val", "test"))),
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
        ("trainings", f"{len(done):,} of {len(cells):,}, {cached:,} from the cache"),
        ("their time", duration(sum(cell["seconds"] or 0.0 for cell in done))),
        ("landsift", comparison["landsift"]),
    ]


def _listed(things: Iterable[object]) -> str:
    return " · ".join(str(thing) for thing in things)
