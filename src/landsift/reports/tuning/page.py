"""The page of a search: whether it helped, what was tried, what mattered, and how to train the best on all labels."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from landsift.errors import listed
from landsift.reports.document import render
from landsift.reports.style import Figure
from landsift.reports.tuning.figures import history_figure, importance_figure, slice_figure
from landsift.reports.tuning.tables import trials_csv
from landsift.reports.wording import duration, moment, number_of, percent, percents

BEST, DEFAULT = "best", "default"


def tuning_html(record: Mapping[str, Any], folder: str = "DIR") -> str:
    """The report of a finished search as one self-contained HTML page.

    Args:
        record: what metrics.json holds.
        folder: what the commands on the page call the search's folder.
    """
    trials, found, asked = record["trials"], record["finished"], record["asked"]
    searched, config = asked["search"], asked["config"]
    chosen = trials[found["chosen"]]
    plots: dict[str, tuple[Figure, str]] = {
        "history": (history_figure(trials, found["chosen"]), "Validation accuracy of each trial, and the best so far")
    }
    for name, dimension in searched.items():
        plots[f"slice-{name}"] = (slice_figure(trials, name, dimension), f"Validation accuracy over values of {name}")
    if found["importances"]:
        plots["importances"] = (importance_figure(found["importances"]), "Share that each setting explains")
    return render(
        "tuning.html",
        plots,
        {"trials.csv": trials_csv(trials, searched)},
        version=record["landsift"],
        created=moment(found),
        title=f"Search of settings for {config['model']['backbone']}",
        subtitle=f"{config['data']['source']}, {_labels(config)}; "
        f"{number_of(found['test'][BEST]['n'], 'test patch', 'test patches')}",
        headline=_headline(trials, found),
        sentence=verdict(found),
        trained_again=listed(number + 1 for number in found["trained_again"]),
        counts=counts(trials),
        standings=[_standing(standing, found) for standing in found["standings"]],
        seeds=len(found["standings"][0]["accuracies"]),
        compared=_compared(found),
        searched=[
            {"name": name, "what": d["what"], "range": _range(d), "best": _value(name, chosen["values"].get(name))}
            for name, d in searched.items()
        ],
        fixed=list(asked["fixed"].items()),
        failed=[
            {"number": t["number"] + 1, "reason": t["reason"], "settings": in_words(t["values"])}
            for t in trials
            if t["state"] == "failed"
        ],
        best_first=found["chosen"] == 0,
        chosen_number=found["chosen"] + 1,
        minutes=duration(record["spent"]),
        trials=[
            {
                "number": t["number"] + 1,
                "state": _state(t),
                "accuracy": "–" if t["accuracy"] is None else percent(t["accuracy"]),
                "seconds": duration(t["seconds"]),
                "settings": in_words(t["values"]),
                "chosen": t["number"] == found["chosen"],
            }
            for t in trials
        ],
        train_all=train_all(config, folder),
        predict=f"landsift predict {shlex.quote(folder)}/{BEST} PATH --out predictions.csv",
        config=yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
        command=shlex.join(found["command"] or []),
    )


def verdict(found: Mapping[str, Any]) -> str:
    """Whether the search helped, in a sentence: by the interval of the difference on test.

    Args:
        found: `finished` of metrics.json.
    """
    if found["chosen"] == 0 and len(found["standings"]) == 1:
        return "No trial beside the configuration as it was came to its end, so that nothing was compared."
    if found["chosen"] == 0:
        return "No trial was better on validation than the configuration as it was, which is therefore the best."
    test = found["test"]
    if "difference" not in test:
        return "The configuration as it was could not be trained, so that there is nothing to compare with."
    points = f"{100 * abs(test['difference']):.2f} percentage points"
    way = "better" if test["difference"] >= 0 else "worse"
    if test["interval"] is None:
        return f"On test the chosen configuration is {points} {way}; of one group there is no interval."
    low, high = (100 * end for end in test["interval"])
    span = f"95 % interval {low:+.2f} to {high:+.2f}"
    if low <= 0 <= high:
        return f"On test no difference to the configuration as it was is shown: {points} {way} ({span})."
    return f"On test the chosen configuration is {points} {way} than the configuration as it was ({span})."


def counts(trials: Sequence[Mapping[str, Any]]) -> str:
    """How the trials ended: "12 trials: 7 trained to the end, 4 ended early, 1 failed"."""
    of = Counter("same" if t["same_as"] is not None else t["state"] for t in trials)
    words = {
        "done": "trained to the end", "pruned": "ended early", "stopped": "out of time", "failed": "failed",
        "same": "tried before",
    }  # fmt: skip
    said = ", ".join(f"{of[state]} {text}" for state, text in words.items() if of[state])
    return f"{number_of(len(trials), 'trial')}: {said}"


def train_all(config: Mapping[str, Any], folder: str) -> str:
    """The command that trains the best configuration on all labels."""
    line = ["landsift", "run", "--config", f"{folder}/best.yaml"]
    if config["data"]["budget"] is not None:
        line += ["--set", "data.budget=null"]
    return shlex.join([*line, "--out", "RUN"])


def _labels(config: Mapping[str, Any]) -> str:
    budget = config["data"]["budget"]
    return "all labels of train" if budget is None else f"{budget:,} labels"


def _headline(trials: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> list[dict[str, Any]]:
    test = found["test"]
    cards = [{"name": "test accuracy, chosen", "figure": percent(test[BEST]["accuracy"]), "lines": [_span(test[BEST])]}]
    if DEFAULT in test:
        cards.append(
            {"name": "as it was", "figure": percent(test[DEFAULT]["accuracy"]), "lines": [_span(test[DEFAULT])]}
        )
        cards.append(
            {"name": "difference, points", "figure": f"{100 * test['difference']:+.2f}", "lines": [_gap(test)]}
        )
    cards.append({"name": "chosen from", "figure": str(len(trials)), "lines": ["trials, on validation"]})
    return cards


def _compared(found: Mapping[str, Any]) -> list[dict[str, str]]:
    """Rows of the table of both models: on validation, which has chosen, and on test, which has not."""
    names = {BEST: "chosen", DEFAULT: "as it was"}
    rows = []
    for part, words in (("val", "validation"), ("test", "test")):
        for key, name in names.items():
            if key in found[part]:
                said = found[part][key]
                rows.append(
                    {
                        "name": name,
                        "part": words,
                        "accuracy": percent(said["accuracy"]),
                        "interval": percents(said["interval"]),
                        "macro_f1": f"{said['macro_f1']:.4f}",
                        "n": f"{said['n']:,}",
                    }
                )
        if "difference" in found[part]:
            gap = found[part]
            rows.append(
                {
                    "name": "difference, points", "part": words, "accuracy": f"{100 * gap['difference']:+.2f}",
                    "interval": _gap(gap).removeprefix("95 % interval "), "macro_f1": "", "n": "",
                }
            )  # fmt: skip
    return rows


def _standing(standing: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    figures = standing["accuracies"]
    return {
        "number": standing["number"] + 1,
        "chosen": standing["number"] == found["chosen"],
        "first": standing["number"] == 0,
        "mean": percent(sum(figures) / len(figures)),
        "figures": [percent(figure) for figure in figures],
    }


def _span(said: Mapping[str, Any]) -> str:
    return f"95 % interval {percents(said['interval'])}"


def _gap(said: Mapping[str, Any]) -> str:
    if said["interval"] is None:
        return "no interval: one group"
    return "95 % interval {:+.2f} to {:+.2f}".format(*(100 * end for end in said["interval"]))


def _state(trial: Mapping[str, Any]) -> str:
    if trial["same_as"] is not None:
        return f"as trial {trial['same_as'] + 1}"
    words = {"done": "trained", "pruned": f"ended after {trial['epochs']} epochs", "stopped": "out of time"}
    return words.get(trial["state"], "failed")


def _range(dimension: Mapping[str, Any]) -> str:
    if dimension["choices"]:
        return ", ".join(map(str, dimension["choices"]))
    scale = " (logarithmic)" if dimension["log"] else ""
    return f"{dimension['low']:g} to {dimension['high']:g}{scale}"


def _value(name: str, value: object) -> str:
    if value is None:
        return "–"
    shown = f"{value:.3g}" if isinstance(value, float) else str(value)
    return f"× {shown}" if name in ("lr_head", "lr_backbone") else shown


def in_words(values: Mapping[str, object]) -> str:
    """The values of a trial: "strategy layer_decay, lr_head × 0.5, epochs 20"."""
    return ", ".join(f"{name} {_value(name, value)}" for name, value in values.items())
