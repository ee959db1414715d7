"""The tables of a comparison's page for one label budget: strategies, F1 per class, and pairwise tests.

All three sort the strategies by their test result at that budget, so that in the table of pairs those that do not
differ significantly stand together along the diagonal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from landsift.reports.comparison.figure import smallest_error
from landsift.reports.wording import duration, number_of, operations, percent, percents

VERDICTS = {
    "better": ("▲", "significantly better"),
    "worse": ("▼", "significantly worse"),
    "not distinguishable": ("≈", "no significant difference"),
}
"""The symbol and the words for each verdict of comparison.json."""
OPPOSITE = {"better": "worse", "worse": "better"}
STRONGEST = 0.58
"""Opacity of the highest F1's cell: text stays readable on it."""
FINEST = 0.002
"""From an F1 of 1 minus this, cells are equally dark: one perfect class must not make all others pale."""


def panel(comparison: Mapping[str, Any], budget: int) -> dict[str, Any]:
    """The three tables of a budget, by their names in the template."""
    results = [r for r in comparison["results"] if r["budget"] == budget]
    results.sort(key=lambda r: -r[comparison["rule"]["criterion"]])
    names = [r["row"] for r in results]
    advice = next((r for r in comparison["recommendations"] if r["budget"] == budget), None)
    asked, most = len(comparison["seeds"]), max((len(r["seeds"]) for r in results), default=0)
    return {
        "budget": budget,
        "name": f"{budget:,}",
        "seeds": f"{most} of {number_of(asked, 'seed')}" if 0 < most < asked else "",
        "sentence": advice["sentence"] if advice else "",
        "rows": _rows(results, advice, comparison, most),
        "failed": [row["name"] for row in comparison["rows"] if row["name"] not in names],
        "names": names,
        "classes": _classes(results, comparison),
        "macro_f1": [f"{r['macro_f1']:.3f}" for r in results],
        "pairs": _pairs(names, [pair for pair in comparison["pairs"] if pair["budget"] == budget]),
    }


def relative(times: float | None) -> str:
    """Compute relative to the linear probe: "4.1 ×", "120 ×"; None is a dash."""
    return "–" if times is None else f"{times:.1f} ×" if times < 99.5 else f"{times:,.0f} ×"


def probability(p: float | None) -> str:
    """A p value: "0.012", "0.43", "< 0.001"; None is a dash."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.{3 if p < 0.1 else 2}f}"


def _rows(
    results: Sequence[Mapping[str, Any]],
    advice: Mapping[str, Any] | None,
    comparison: Mapping[str, Any],
    seeds: int,
) -> list[dict[str, Any]]:
    scale = _Scale([v for r in results for v in r["accuracy_interval"]], smallest_error(comparison))
    rule, criterion = comparison["rule"], comparison["rule"]["criterion"]
    return [
        {
            "name": r["row"],
            "chosen": advice is not None and r["row"] == advice["row"],
            "badges": _badges(r, advice, seeds, margin(rule)),
            "accuracy": percent(r["accuracy"]),
            "interval": percents(r["accuracy_interval"]),
            "each": ", ".join(f"{100 * a:.2f}" for a in r["accuracy_per_seed"]),
            "bar": {
                "left": f"{100 * scale(r['accuracy_interval'][0]):.1f}",
                "width": f"{100 * (scale(r['accuracy_interval'][1]) - scale(r['accuracy_interval'][0])):.1f}",
                "dot": f"{100 * scale(r['accuracy']):.1f}",
            },
            "validation": percent(r["validation"][criterion]),
            "second": percent(r[criterion]) if criterion == "balanced_accuracy" else f"{r['macro_f1']:.3f}",
            "trainable": f"{r['trainable']:,}",
            "share": percent(r["share"], 0 if r["share"] > 0.995 else 1),
            "time": duration(r["train_seconds"]),
            "work": operations(r["work"]),
            "relative": relative(r["relative_work"]),
        }
        for r in results
    ]


def margin(rule: Mapping[str, Any]) -> str:
    """The margin in words: "1 point", "0.5 points"."""
    points = f"{round(100 * rule['margin'], 6):g}"
    return f"{points} point{'' if points == '1' else 's'}"


def _badges(
    result: Mapping[str, Any], advice: Mapping[str, Any] | None, seeds: int, within: str
) -> list[tuple[str, str]]:
    """The badges beside a row's name: (CSS class, words); `seeds` is the largest number of seeds of any row."""
    name, found = result["row"], []
    if advice and name == advice["row"]:
        found.append(("use", "recommended"))
    elif advice and name == advice["best"]:
        found.append(("best", "best on validation"))
    elif advice and name in advice["within_margin"]:
        found.append(("level", f"within {within}"))
    if len(result["seeds"]) < seeds:
        found.append(("warn", f"{len(result['seeds'])} of {number_of(seeds, 'seed')}"))
    return found


def _classes(results: Sequence[Mapping[str, Any]], comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """F1 of each class by strategy, the lowest first; one colour scale for all budgets."""
    known = [f1 for r in comparison["results"] for f1 in r["f1"].values() if f1 is not None]
    scale = _Scale(known, FINEST)
    table = []
    for name in comparison["data"]["classes"]:
        values = [r["f1"].get(name) for r in results]
        there = [f1 for f1 in values if f1 is not None]
        highest = f"{max(there):.3f}" if there else None
        cells = [
            {
                "f1": "–" if f1 is None else f"{f1:.3f}",
                "best": f1 is not None and f"{f1:.3f}" == highest,
                "opacity": "0" if f1 is None else f"{STRONGEST * scale(f1):.2f}",
            }
            for f1 in values
        ]
        table.append((sum(there) / len(there) if there else math.inf, {"name": name, "cells": cells}))
    return [row for _, row in sorted(table, key=lambda pair: pair[0])]


def _pairs(names: Sequence[str], pairs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per strategy with a cell for each other one: the row's strategy compared with the column's."""
    cells = {}
    for pair in pairs:
        a, b = pair["a"], pair["b"]
        cells[a, b] = _against(a, b, pair, 1, pair["verdict"])
        cells[b, a] = _against(b, a, pair, -1, OPPOSITE.get(pair["verdict"], pair["verdict"]))
    if not cells:
        return []
    return [{"name": a, "cells": [None if a == b else cells.get((a, b), {}) for b in names]} for a in names]


def _against(a: str, b: str, pair: Mapping[str, Any], sign: int, verdict: str) -> dict[str, str]:
    """`a` compared with `b`; `sign` is -1 where the pair has them the other way round."""
    points = f"{100 * sign * pair['difference']:+.2f}".replace("-", "−")
    low, high = (f"{100 * bound:+.2f}".replace("-", "−") for bound in sorted(sign * v for v in pair["interval"]))
    p = probability(pair["p_corrected"])
    symbol, words = VERDICTS[verdict]
    said = f"{a} is {words} than {b}" if verdict in OPPOSITE else f"{a} and {b} do not differ significantly"
    return {
        "kind": verdict.split()[0],
        "symbol": symbol,
        "words": words,
        "points": points,
        "p": p,
        "title": f"{said}: {points} percentage points (95 % interval of this pair alone {low} to {high}), "
        f"p {p} corrected, {probability(pair['p'])} uncorrected",
    }


class _Scale:
    """Position of a share between the lowest (0) and the highest (1) of some, by the logarithm of the error."""

    def __init__(self, shares: Sequence[float], least: float) -> None:
        self._least = least
        places = [self._place(share) for share in shares] or [0.0]
        self._low, self._high = min(places), max(places)

    def __call__(self, share: float) -> float:
        return (self._place(share) - self._low) / ((self._high - self._low) or 1.0)

    def _place(self, share: float) -> float:
        return -math.log10(max(1 - share, self._least))
