"""What the figures of a comparison say, in sentences that hold in either direction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]
PREFERENCE = ("better", "not distinguishable", "worse")


def recommendations(results: Rows, pairs: Rows) -> list[dict[str, Any]]:
    """For each budget the cheapest row that is not distinguishably worse than the best.

    Args:
        results: of `compare_cells`.
        pairs: of `compare_cells`. A row that shares no seed with the best is in no pair, and not recommended.
    """
    oriented = {(pair["budget"], *names): _oriented(pair, *names) for pair in pairs for names in _both(pair)}
    return [
        _recommendation(budget, [result for result in results if result["budget"] == budget], oriented)
        for budget in sorted({result["budget"] for result in results})
    ]


def findings(
    results: Rows, pairs: Rows, trends: Rows, reference: Callable[[str], str | None], alpha: float
) -> list[str]:
    """Sentences: for each reference and budget the row that does best against it, and how that changes with the budget.

    Args:
        results: of `compare_cells`.
        pairs: of `compare_cells`; their corrected verdicts allow for choosing the best.
        trends: of `compare_cells`.
        reference: which row a row is held against.
        alpha: what the intervals leave out.
    """
    oriented = {(pair["budget"], *names): _oriented(pair, *names) for pair in pairs for names in _both(pair)}
    cover = f"{_percent(1 - alpha, 0)} interval"
    bases = sorted({base for result in results if (base := reference(result["row"])) is not None})
    sentences = []
    for base in bases:
        for budget in sorted({result["budget"] for result in results}):
            rows = {
                result["row"] for result in results if result["budget"] == budget and reference(result["row"]) == base
            }
            rivals = [pair for row in sorted(rows - {base}) if (pair := oriented.get((budget, row, base)))]
            if rivals:
                sentences.append(f"{_with(budget)}, {_against(rivals, base, cover)}")
        sentences += _trend([trend for trend in trends if trend["reference"] == base], results, base, cover)
    alone = sorted({pair["budget"] for pair in pairs if pair["covers"] == "patches"})
    if alone:
        budgets = ", ".join(f"{budget:,}" for budget in alone)
        sentences.append(
            f"The tests with {budgets} labels cover the test patches, not the seeds: with one seed, what another draw "
            "of labels and random numbers would change is not known."
        )
    return sentences


def _recommendation(
    budget: int, results: Rows, oriented: Mapping[tuple[int, str, str], Mapping[str, Any]]
) -> dict[str, Any]:
    ranked = sorted(results, key=lambda result: (-result["accuracy"], result["train_seconds"], result["row"]))
    best, others = ranked[0], ranked[1:]
    against = {o["row"]: pair for o in others if (pair := oriented.get((budget, best["row"], o["row"])))}
    beaten = {row for row, pair in against.items() if pair["verdict"] == "better"}
    not_worse = [best, *(other for other in others if other["row"] in against.keys() - beaten)]
    chosen = min(not_worse, key=lambda result: (result["train_seconds"], ranked.index(result)))

    named = f"{chosen['row']} ({_percent(chosen['accuracy'])})"
    if not others:
        reason = "nothing else was trained"
    elif len(not_worse) == 1:
        reason = f"{_beaten(len(beaten), len(others))} distinguishably worse"
    elif chosen is best:
        reason = f"it is the best, and the cheapest of the {len(not_worse)} that are not distinguishably worse"
    else:
        reason = (
            f"it is the cheapest of the {len(not_worse)} that are not distinguishably worse than the best, "
            f"{best['row']} ({_percent(best['accuracy'])}), takes {_share_of_time(chosen, best)}, and may be as "
            f"much as {_points(against[chosen['row']]['interval'][1])} worse"
        )
    return {
        "budget": budget,
        "row": chosen["row"],
        "best": best["row"],
        "not_worse": [result["row"] for result in not_worse],
        "sentence": f"{_with(budget)}: {named}; {reason}.",
    }


def _against(rivals: Rows, base: str, cover: str) -> str:
    """How the rows stand against their reference at one budget, by the one that stands best."""
    rival = min(rivals, key=lambda pair: (PREFERENCE.index(pair["verdict"]), -pair["difference"], pair["row"]))
    gap, row = rival["difference"], rival["row"]
    if rival["verdict"] == "better":
        return f"{row} is better than {base} by {_points(gap)} ({cover} {_range(rival['interval'])})."
    if rival["verdict"] == "worse":
        worse = [-end for end in reversed(rival["interval"])]
        size = f"by {_points(-gap)} ({cover} {_range(worse)})"
        if len(rivals) == 1:
            return f"{row} is worse than {base} {size}."
        return f"{base} is better than all {len(rivals)} others, than the nearest, {row}, {size}."
    interval = _range(rival["interval"], signed=True)
    evidence = f"{_signed(gap)} points, {cover} {interval}, corrected p {rival['p_corrected']:.2f}"
    if len(rivals) == 1:
        return f"{row} and {base} are not distinguishable ({evidence})."
    return f"nothing is distinguishably better than {base}; the nearest to it is {row} ({evidence})."


def _trend(trends: Rows, results: Rows, base: str, cover: str) -> list[str]:
    """How the gap of the row that is best at the largest budget develops; one sentence, or none."""
    if not trends:
        return []
    accuracy = {(result["budget"], result["row"]): result["accuracy"] for result in results}
    trend = max(trends, key=lambda trend: (accuracy[trend["to"], trend["row"]], trend["row"]))
    change, row, verdict = trend["difference"], trend["row"], trend["verdict"]
    spans = f"From {trend['from']:,} to {trend['to']:,} labels"
    if verdict == "gains":
        return [f"{spans}, {row} gains {_points(change)} on {base} ({cover} {_range(trend['interval'])})."]
    if verdict == "loses":
        lost = [-end for end in reversed(trend["interval"])]
        return [f"{spans}, {row} loses {_points(-change)} to {base} ({cover} {_range(lost)})."]
    return [
        f"{spans}, the gap between {row} and {base} does not change distinguishably "
        f"({_signed(change)} points, {cover} {_range(trend['interval'], signed=True)})."
    ]


def _both(pair: Mapping[str, Any]) -> tuple[tuple[str, str], tuple[str, str]]:
    return (pair["a"], pair["b"]), (pair["b"], pair["a"])


def _oriented(pair: Mapping[str, Any], row: str, base: str) -> dict[str, Any]:
    """The pair as `row` against `base`."""
    if (pair["a"], pair["b"]) == (row, base):
        return {**pair, "row": row}
    verdict = {"better": "worse", "worse": "better"}.get(pair["verdict"], pair["verdict"])
    interval = [-end for end in reversed(pair["interval"])]
    return {**pair, "row": row, "difference": -pair["difference"], "interval": interval, "verdict": verdict}


def _with(budget: int) -> str:
    return f"With {budget:,} label{'s' if budget != 1 else ''}"


def _beaten(count: int, others: int) -> str:
    """How many of the others are worse; those that share no seed with the best cannot be said to be."""
    if count < others:
        return f"{count} of {others} others {'is' if count == 1 else 'are'}"
    return "the other is" if others == 1 else f"all {others} others are"


def _share_of_time(chosen: Mapping[str, Any], best: Mapping[str, Any]) -> str:
    share = chosen["train_seconds"] / best["train_seconds"] if best["train_seconds"] else 1.0
    if share > 0.95:
        return "about its training time"
    return f"{_percent(share, 0)} of its training time" if share >= 0.01 else "less than 1 % of its training time"


def _percent(figure: float, digits: int = 1) -> str:
    return f"{100 * figure:.{digits}f} %"


def _signed(gap: float) -> str:
    return f"{round(100 * gap, 1) + 0.0:+.1f}"  # the zero, so that -0.0 is +0.0


def _points(gap: float) -> str:
    return f"{100 * gap:.1f} points"


def _range(interval: Sequence[float], signed: bool = False) -> str:
    low, high = (_signed(end) if signed else f"{100 * end:.1f}" for end in interval)
    return f"{low} to {high}"
