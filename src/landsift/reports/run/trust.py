"""The parts of a run's page about its probabilities: calibration, sets of classes, abstention, out of distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landsift.evaluation.calibration_figures import reliability
from landsift.reports.style import ACCENT, PALE, PAPER, QUIET, SECOND, WARM, Figure, axis_of, layout_of
from landsift.reports.wording import percent, percents, span
from landsift.runs import Run

FIGURES = {
    "ece": "calibration error (ECE)",
    "classwise_ece": "classwise calibration error",
    "brier": "Brier score",
    "log_loss": "log loss",
}


def calibration_rows(calibration: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """Figures of the test without and with the temperature; none of a run without them."""
    if calibration is None:
        return []
    before, after = calibration["before"]["test"], calibration["after"]["test"]
    return [
        {
            "name": name,
            "before": f"{before[key]:.4f}",
            "before_interval": span(before["intervals"].get(key), 4),
            "after": f"{after[key]:.4f}",
            "after_interval": span(after["intervals"].get(key), 4),
        }
        for key, name in FIGURES.items()
    ]


def temperature_note(calibration: Mapping[str, Any] | None) -> str:
    """Whether the model has a temperature, and why."""
    if calibration is None:
        return ""
    choice = calibration["choice"]
    if choice is None:
        return "No temperature was fitted (evaluation.calibration is none)."
    why = str(choice["reason"]).split(": ", 1)[1]
    (before, after), (ece_before, ece_after) = choice["log_loss"], choice["ece"]
    numbers = (
        f"log loss {before:.4f} without, {after:.4f} with a temperature that was fitted without the patch; "
        f"calibration error {ece_before:.4f} and {ece_after:.4f}"
    )
    if not choice["applied"]:
        return (
            f"The model has no temperature: {why} ({numbers}). The one fitted on validation would be "
            f"{choice['fitted']:.3f}."
        )
    return (
        f"Logits are divided by a temperature of {choice['fitted']:.3f}, which was fitted on the validation patches: "
        f"{why} ({numbers}). The best epoch was chosen on the same patches; the test reports."
    )


def reliability_rows(run: Run) -> list[dict[str, Any]]:
    """The bins of the reliability diagram of the test, as in evaluation.json; of an older run from its predictions."""
    calibration = run.evaluation.get("calibration")
    if calibration is not None:
        return list(calibration["after"]["test"]["reliability"])
    rows = run.predictions[run.predictions["split"] == "test"]
    confidence = rows.filter(regex="^p_").max(axis=1).clip(0, 1).to_numpy(dtype=np.float64)
    return reliability(confidence, (rows["label"] == rows["predicted"]).to_numpy())


def diagram(rows: Sequence[Mapping[str, Any]], without: Sequence[Mapping[str, Any]] = ()) -> Figure:
    """Reliability diagram of the test, with 95 % intervals; bins with few patches are merged.

    Points below the diagonal are over-confident. Beneath is a histogram of the test patches.

    Args:
        rows: as `reliability_rows`.
        without: the same without the temperature; none where the model has none.
    """
    traces: list[dict[str, Any]] = [
        {"type": "scatter", "x": [0, 1], "y": [0, 1], "mode": "lines", "hoverinfo": "skip",
         "line": {"color": QUIET, "dash": "dot", "width": 1}, "name": "perfectly calibrated"},
    ]  # fmt: skip
    if without:
        traces.append(_curve(without, "without the temperature", SECOND, "dash"))
    traces.append(_curve(rows, "test", ACCENT, "solid"))
    traces.append(
        {"type": "bar", "x": [(row["low"] + row["high"]) / 2 for row in rows], "y": [row["n"] for row in rows],
         "width": [row["high"] - row["low"] for row in rows],
         "marker": {"color": PALE, "line": {"color": PAPER, "width": 0.5}}, "showlegend": False,
         "hovertemplate": "%{y:,} test patches<extra></extra>", "xaxis": "x2", "yaxis": "y2"}
    )  # fmt: skip
    across: dict[str, Any] = {"range": [0, 1.01], "tickformat": ".0%"}
    layout = layout_of(
        420,
        hovermode="closest",
        xaxis=axis_of(anchor="y", matches="x2", showticklabels=False, **across),
        yaxis=axis_of("accuracy", anchor="x", domain=[0.27, 1], range=[-0.02, 1.03], tickformat=".0%"),
        xaxis2=axis_of("confidence (highest probability)", anchor="y2", **across),
        yaxis2=axis_of("patches", anchor="x2", domain=[0, 0.21], nticks=3),
    )
    return {"data": traces, "layout": layout}


def _curve(rows: Sequence[Mapping[str, Any]], name: str, colour: str, dash: str) -> dict[str, Any]:
    bounds = [row["interval"] or [row["accuracy"]] * 2 for row in rows]
    spans = [f"95 % interval {percents(row['interval'], 1)}, {row['n']:,} patches" for row in rows]
    return {
        "type": "scatter", "mode": "lines+markers", "name": name, "customdata": spans,
        "x": [row["confidence"] for row in rows], "y": [row["accuracy"] for row in rows],
        "line": {"color": colour, "width": 2, "dash": dash}, "marker": {"size": 7},
        "error_y": {
            "type": "data", "symmetric": False, "color": colour, "thickness": 1, "width": 3,
            "array": [b[1] - row["accuracy"] for b, row in zip(bounds, rows, strict=True)],
            "arrayminus": [row["accuracy"] - b[0] for b, row in zip(bounds, rows, strict=True)],
        },
        "hovertemplate": "confidence %{x:.1%}: accuracy %{y:.1%}<br>%{customdata}",
    }  # fmt: skip


def risk_figure(abstention: Mapping[str, Any]) -> Figure:
    """The risk–coverage curve of the test with its 95 % intervals, and the chosen threshold.

    Args:
        abstention: As in evaluation.json.
    """
    curve = abstention["curve"]
    shown = [row for row in curve if row["interval"] is not None]
    x = [row["answered"] for row in shown]
    traces: list[dict[str, Any]] = [
        {"type": "scatter", "x": x + x[::-1], "mode": "lines", "fill": "toself", "fillcolor": "rgba(29,92,150,0.15)",
         "y": [row["interval"][1] for row in shown] + [row["interval"][0] for row in shown[::-1]],
         "line": {"width": 0}, "hoverinfo": "skip", "name": "95 % interval"},
        {"type": "scatter", "x": [row["answered"] for row in curve], "y": [row["risk"] for row in curve],
         "mode": "lines", "line": {"color": ACCENT, "width": 2}, "name": "test",
         "hovertemplate": "%{x:.1%} answered: %{y:.2%} wrong"},
    ]  # fmt: skip
    row = next((row for row in abstention["rows"] if row["risk"] == abstention["risk"] and row["test"]), None)
    if row is not None and row["test"]["risk"] is not None:
        test = row["test"]
        low, high = test["interval"] or [test["risk"]] * 2
        traces.append(
            {"type": "scatter", "x": [test["answered"]], "y": [test["risk"]], "mode": "markers", "name": "threshold",
             "marker": {"size": 9, "color": WARM},
             "error_y": {"type": "data", "symmetric": False, "array": [high - test["risk"]],
                         "arrayminus": [test["risk"] - low], "color": WARM, "thickness": 1.5, "width": 4},
             "hovertemplate": f"threshold for {percent(row['risk'], 1)}: %{{x:.1%}} answered, %{{y:.2%}} wrong"}
        )  # fmt: skip
    most = max([row["risk"] for row in curve] + [0.002])
    layout = layout_of(
        340,
        hovermode="closest",
        xaxis=axis_of("share of the test patches that is answered", range=[0, 1.01], tickformat=".0%"),
        yaxis=axis_of("share of wrong answers", range=[0, 1.6 * most], tickformat=".1%"),
    )
    return {"data": traces, "layout": layout}


def texts(trust: Mapping[str, Any] | None) -> dict[str, Any]:
    """Tables and notes about sets, abstention and out-of-distribution flags, by their names in the template."""
    if trust is None:
        return {"sets_note": "", "set_rows": [], "class_sets": [], "risk_rows": [], "risk_note": "", "ood_note": ""}
    sets, ood = trust["sets"], trust["ood"]
    chosen = (sets["coverage"], sets["kind"])
    reported = sets["rows"] or sets["from_validation"]
    own = next(row for row in reported if (row["nominal"], row["kind"]) == chosen)
    return {
        "sets_note": _sets_note(sets),
        "set_rows": [
            _set_row(row, there, chosen) for row, there in zip(reported, sets["from_validation"], strict=True)
        ],
        "class_sets": [
            {
                "name": name,
                "n": f"{row['n']:,}",
                "coverage": percent(row["coverage"], 1),
                "interval": percents(row["interval"], 1),
                "size": f"{row['size']:.2f}",
            }
            for name, row in sorted(own["per_class"].items(), key=lambda item: item[1]["coverage"])
        ],
        "chosen_sets": f"{_share(sets['coverage'])}, {_KIND[sets['kind']]}",
        "risk_rows": [_risk_row(row) for row in trust["abstention"]["rows"]],
        "risk_note": _risk_note(trust["abstention"]),
        "ood_note": (
            f"A patch is out of distribution if its features lie farther from all classes than those of 99 % of the "
            f"validation patches do (Mahalanobis distance, from {ood['fitted_on']:,} training patches). "
            f"{percent(ood['test'], 1)} of the test patches do. The model abstains from them, too."
            + _few_to_choose_on(ood.get("chosen_on"))
        ),
    }


def _few_to_choose_on(patches: int | None) -> str:
    """Where validation is too small to tell its farthest hundredth; the number is not known of older runs."""
    if patches is None or patches >= 99:
        return ""
    return (
        f" Validation has only {patches:,} patches, so the limit is the farthest of them: of patches like those of the "
        f"training about 1 in {patches + 1:,} is flagged."
    )


def _share(value: float) -> str:
    """A chosen share, without digits that it does not have."""
    return f"{100 * value:.10g}\N{NO-BREAK SPACE}%"


_KIND = {"marginal": "over all patches", "class": "by class"}


def _set_row(row: Mapping[str, Any], there: Mapping[str, Any], chosen: tuple[float, str]) -> dict[str, Any]:
    alone = row["by_threshold"]
    return {
        "chosen": (row["nominal"], row["kind"]) == chosen,
        "nominal": _share(row["nominal"]),
        "kind": _KIND[row["kind"]],
        "coverage": percent(row["coverage"], 1),
        "interval": percents(row["interval"], 1),
        "size": f"{row['size']:.2f}",
        "alone": percent(alone["coverage"], 1),
        "expected": _expected(row),
        "there": percent(there["by_threshold"]["coverage"], 1),
    }


def _expected(row: Mapping[str, Any]) -> str:
    """The range that chance allows, or, of sets by class, how many classes have a coverage within theirs."""
    alone = row["by_threshold"]
    if "expected" in alone:
        return percents(alone["expected"], 1)
    found = [one["by_threshold"] for one in row["per_class"].values()]
    if any(one["expected"] is None for one in found):
        return percents(None, 1)
    held = sum(row["expected"][0] <= row["coverage"] <= row["expected"][1] for row in found)
    return f"{held} of {len(found)} classes"


def _sets_note(sets: Mapping[str, Any]) -> str:
    note = (
        f"A set holds the true class with the chosen probability, for patches like those of the test. Its thresholds "
        f"come from {sets['calibrated_on']:,} test patches, which selected nothing, and are tested on the other "
        f"{sets['tested_on']:,}. Each set has the most probable class, so that it may hold the true one more often "
        "than was chosen; the thresholds alone should be in the range that chance allows. The last column is the "
        "coverage by thresholds from the validation patches, on all test patches: if the parts lie in different "
        "places, what it becomes where nothing was calibrated."
    )
    if not sets["rows"]:
        note = "The test has too few patches to calibrate sets on one half and test them on the other. " + note
    if any(row["by_threshold"].get("expected", ()) is None for row in sets["rows"]):
        note += (
            " Patches come in groups, and the halves are halves of the groups: how far chance lets the coverage be "
            "from the chosen one depends on how much the groups differ, so there is no range."
        )
    own = (sets["coverage"], sets["kind"])
    few = [name for row in sets["rows"] if (row["nominal"], row["kind"]) == own for name in row["classes_without"]]
    if few:
        note += f" Too few patches for a threshold, so in every set: {', '.join(few)}."
    return note


def _risk_row(row: Mapping[str, Any]) -> dict[str, str]:
    def of(part: Mapping[str, Any] | None) -> str:
        if part is None or part["risk"] is None:
            return "–"
        return f"{percent(part['risk'])} ({percents(part['interval'])}) of {percent(part['answered'], 1)}"

    return {
        "risk": percent(row["risk"], 1),
        "confidence": "none found" if row["confidence"] is None else f"{row['confidence']:.3f}",
        "val": of(row["val"]),
        "test": of(row["test"]),
    }


def _risk_note(abstention: Mapping[str, Any]) -> str:
    note = (
        "The model answers patches from a confidence on, and abstains from the others. The threshold is chosen on the "
        "validation patches: the most answers for which the 95 % interval of the share of wrong ones ends below the "
        "risk. The test reports what it does."
    )
    if abstention["confidence"] is None:
        note += (
            f" For the chosen risk of {percent(abstention['risk'], 1)} there is no such threshold: validation has too "
            "few patches, or too many mistakes among the surest ones. Predictions have no column abstain."
        )
    return note
