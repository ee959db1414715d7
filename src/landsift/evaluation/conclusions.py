"""The conclusions of a comparison as sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from landsift.evaluation.criteria import WORDS
from landsift.evaluation.recommendation import BEYOND, OPEN, Recommendation, Rule, Standing, cheaper

Rows = Sequence[Mapping[str, Any]]
PREFERENCE = ("better", "not distinguishable", "worse")


def recommendation_sentence(budget: int, found: Recommendation, results: Rows, rule: Rule) -> str:
    """What to use at a budget, and why.

    Args:
        budget: number of labels.
        found: the choice.
        results: of `compare_cells`, at this budget.
        rule: by what was chosen.
    """
    figure = {result["row"]: result[rule.criterion] for result in results}
    work = {result["row"]: result["work"] for result in results}
    # Accuracy needs no name: it is the share of patches.
    of = "on the test" if rule.criterion == "accuracy" else f"{WORDS[rule.criterion]} on the test"
    start = f"{_with(budget)}: {found.row} ({_percent(figure[found.row])} {of})"
    if len(results) == 1:
        return f"{start}, the only one trained."
    margin = _points(rule.margin, digits=None)
    if found.row != found.best:
        chosen = next(s for s in found.standings if s.row == found.row)
        reason = (
            f"{start}. The best on validation is {found.best} ({_percent(figure[found.best])}); {found.row} needs "
            f"{_share(work[found.row], work[found.best])} of its compute, and the test shows it to be at most {margin} "
            f"worse ({_at_most(chosen, rule)})"
        )
    else:
        reason = f"{start}, the best of {len(results)} on validation"
    apart = [row for row in found.apart if work[row] < work[found.row]]
    untested = f". Not compared, for want of a common seed: {', '.join(apart)}" if apart else ""
    return f"{reason}{_undecided(found, work, rule)}{untested}."


def _undecided(found: Recommendation, work: Mapping[str, float], rule: Rule) -> str:
    """What is known of the rows that need less compute than the recommended one."""
    margin = _points(rule.margin, digits=None)
    undecided, beyond = (cheaper(found, work, verdict) for verdict in (OPEN, BEYOND))
    if undecided:
        lacking = undecided[0].limited_by
        rows = [s.row for s in undecided]
        named = _listed(rows, "or")
        share = "" if len(rows) > 1 else f", which needs {_share(work[rows[0]], work[found.best])} of the compute,"
        worse = "" if found.row == found.best else f" than {found.best}"
        detail = (
            "" if len(rows) > 1 else f" ({_signed(undecided[0].difference)} points, {_at_most(undecided[0], rule)})"
        )
        return f". Too few {lacking} to decide whether {named}{share} is at most {margin} worse{worse}{detail}"
    if beyond:
        count = "The one that needs" if len(beyond) == 1 else f"All {len(beyond)} that need"
        return f". {count} less compute {'is' if len(beyond) == 1 else 'are'} more than {margin} worse"
    return "" if found.row != found.best or found.apart else ", and none needs less compute"


def _at_most(standing: Standing, rule: Rule) -> str:
    """How much worse a row may be, by the corrected test."""
    return f"up to {_points(max(0.0, -standing.worst))} worse at {_percent(1 - rule.alpha, 0)} confidence"


def findings(results: Rows, pairs: Rows, trends: Rows, reference: Callable[[str], str | None], rule: Rule) -> list[str]:
    """Sentences: for each reference and budget the best row compared with it, and how that changes with the budget.

    Args:
        results: of `compare_cells`.
        pairs: of `compare_cells`; their corrected verdicts allow for choosing the best.
        trends: of `compare_cells`.
        reference: which row a row is compared with.
        rule: by what rows are compared.
    """
    oriented = {(pair["budget"], *names): _oriented(pair, *names) for pair in pairs for names in _both(pair)}
    cover = f"{_percent(1 - rule.alpha, 0)} interval"
    criterion = rule.criterion
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
        sentences += _trend([trend for trend in trends if trend["reference"] == base], results, base, cover, criterion)
    alone = sorted({pair["budget"] for pair in pairs if not {"seeds", "folds"} & set(pair["covers"].split())})
    if alone:
        budgets = _listed([f"{budget:,}" for budget in alone], "and")
        sentences.append(
            f"The tests with {budgets} labels cover the sampling of test patches, but not the variation between seeds: "
            "there is one seed only."
        )
    return sentences


def _against(rivals: Rows, base: str, cover: str) -> str:
    """The rows compared with their reference at one budget, by the best of them."""
    rival = min(rivals, key=lambda pair: (PREFERENCE.index(pair["verdict"]), -pair["difference"], pair["row"]))
    gap, row = rival["difference"], rival["row"]
    if rival["verdict"] == "better":
        return f"{row} is significantly better than {base}, by {_points(gap)} ({cover} {_range(rival['interval'])})."
    if rival["verdict"] == "worse":
        worse = [-end for end in reversed(rival["interval"])]
        size = f"by {_points(-gap)} ({cover} {_range(worse)})"
        if len(rivals) == 1:
            return f"{row} is significantly worse than {base}, {size}."
        return f"{base} is significantly better than all {len(rivals)} others; than the closest, {row}, {size}."
    interval = _range(rival["interval"], signed=True)
    p = rival["p_corrected"]
    evidence = f"{_signed(gap)} points, {cover} {interval}, corrected p {p:.{3 if p < 0.1 else 2}f}"
    if len(rivals) == 1:
        return f"{row} and {base} do not differ significantly ({evidence})."
    return f"no strategy is significantly better than {base}; the closest is {row} ({evidence})."


def _trend(trends: Rows, results: Rows, base: str, cover: str, criterion: str) -> list[str]:
    """How the gap of the row that is best at the largest budget develops; one sentence, or none."""
    if not trends:
        return []
    figure = {(result["budget"], result["row"]): result[criterion] for result in results}
    trend = max(trends, key=lambda trend: (figure[trend["to"], trend["row"]], trend["row"]))
    change, row, verdict = trend["difference"], trend["row"], trend["verdict"]
    spans = f"From {trend['from']:,} to {trend['to']:,} labels"
    if verdict == "gains":
        return [f"{spans}, {row} gains {_points(change)} on {base} ({cover} {_range(trend['interval'])})."]
    if verdict == "loses":
        lost = [-end for end in reversed(trend["interval"])]
        return [f"{spans}, {row} loses {_points(-change)} to {base} ({cover} {_range(lost)})."]
    return [
        f"{spans}, the gap between {row} and {base} does not change significantly "
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


def _listed(names: Sequence[str], word: str) -> str:
    """A list in a sentence: "a", "a or b", "a, b or c"."""
    return f" {word} ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _with(budget: int) -> str:
    return f"With {budget:,} label{'s' if budget != 1 else ''}"


def _share(work: float, of: float) -> str:
    """The compute of a row as a share of another's."""
    share = work / of if of else 1.0
    return f"{_percent(share, 0)}" if share >= 0.01 else "less than 1 %"


def _percent(figure: float, digits: int = 1) -> str:
    return f"{100 * figure:.{digits}f} %"


def _signed(gap: float) -> str:
    return f"{round(100 * gap, 1) + 0.0:+.1f}"  # the zero, so that -0.0 is +0.0


def _points(gap: float, digits: int | None = 1) -> str:
    """Percentage points; without digits as many as it has, such as "1 point" and "0.5 points"."""
    said = f"{100 * gap:.{digits}f}" if digits is not None else f"{round(100 * gap, 6):g}"
    return f"{said} point{'' if said == '1' else 's'}"


def _range(interval: Sequence[float], signed: bool = False) -> str:
    low, high = (_signed(end) if signed else f"{100 * end:.1f}" for end in interval)
    return f"{low} to {high}"
