"""A comparison.json as a real comparison would give it: learning curves with seeded noise."""

import math
from itertools import combinations

import numpy as np

CLASSES = (
    "AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture", "PermanentCrop", "Residential",
    "River", "SeaLake",
)  # fmt: skip
BUDGETS = (500, 1000, 2000, 4000, 8000)
TEST = 4860
PARAMETERS = 2_553_000
MARGIN = 0.02
# Error at 500 labels, how fast it falls, share of the parameters that train, seconds for 1,000 labels, phases.
CURVES = {
    "linear_probe": (0.185, 0.16, 0.130, 4, ("head",)),
    "last_block": (0.150, 0.26, 0.460, 22, ("last block",)),
    "full": (0.125, 0.60, 1.0, 58, ("all",)),
    "differential": (0.100, 0.56, 1.0, 58, ("all",)),
    "progressive": (0.108, 0.55, 1.0, 49, ("head", "last blocks", "all")),
    "two_phase": (0.140, 0.38, 1.0, 47, ("head", "fine-tune")),
    "layer_decay": (0.097, 0.55, 1.0, 59, ("all",)),
    "scratch": (0.560, 0.42, 1.0, 58, ("all",)),
}
FAILED = {("scratch", 500, 2): "the loss is not finite from epoch 3 on: nan"}

FINDINGS = [
    "With 500 labels, layer_decay is better than linear_probe by 8.4 points (95 % interval 7.2 to 9.5).",
    "With 8,000 labels, layer_decay is better than linear_probe by 9.8 points (95 % interval 8.9 to 10.8).",
    "From 500 to 8,000 labels, the gap between layer_decay and linear_probe does not change distinguishably "
    "(+1.5 points, 95 % interval -0.2 to +3.3).",
]


def comparison(
    strategies=tuple(CURVES), variants=(None,), budgets=BUDGETS, seeds=(0, 1, 2), classes=CLASSES, failed=FAILED
):
    """A comparison of strategies (names of CURVES, or others that learn alike) × variants × budgets × seeds.

    Args:
        failed: {(row, budget, seed): reason}
    """
    rng = np.random.default_rng(0)
    rows = [
        {
            "name": name if variant is None else f"{name} · {variant}",
            "strategy": name,
            "variant": variant,
            "command": f"landsift run --data eurosat --set strategy={name} --out runs/{name}",
        }
        for variant in variants
        for name in strategies
    ]
    hardness = np.exp(rng.normal(0, 0.6, len(classes)))
    cells = [
        _cell(rng, row, variants.index(row["variant"]), budget, seed, dict(zip(classes, hardness, strict=True)), failed)
        for row in rows
        for budget in budgets
        for seed in seeds
    ]
    results = _results(cells, rows, budgets)
    pairs = _pairs(results, budgets)
    recommendations = [_recommendation(results, budget) for budget in budgets]
    return {
        "landsift": "0.1.0",
        "created": "2026-11-20T15:00:00+00:00",
        "command": ["landsift", "compare", "--data", "eurosat", "--strategies", ",".join(strategies), "--out", "a b"],
        "data": {
            "source": "eurosat",
            "fingerprint": "f1d2d2f924e986ac86fdf7b36c94bcdf32beec15",
            "patches": 24_300,
            "classes": list(classes),
            "split": {"train": 14_580, "val": 4_860, "test": TEST},
        },
        "config": {"data": {"source": "eurosat", "budget": None}, "model": {"backbone": "mobilenetv2_100"}, "seed": 0},
        "rows": rows,
        "budgets": list(budgets),
        "seeds": list(seeds),
        "cells": cells,
        "rule": {"criterion": "accuracy", "margin": MARGIN, "alpha": 0.05},
        "patches": TEST,
        "groups": None,
        "results": results,
        "pairs": pairs,
        "recommendations": [advice for advice in recommendations if advice],
        "findings": FINDINGS if len(budgets) > 1 and {"layer_decay", "linear_probe"} <= set(strategies) else [],
    }


def _cell(rng, row, variant, budget, seed, hardness, failed):
    key = (row["name"], budget, seed)
    cell = {"row": row["name"], "budget": budget, "seed": seed}
    if key in failed:
        return cell | {"state": "failed", "reason": failed[key]}
    start, slope, share, seconds, phases = CURVES.get(row["strategy"], CURVES["two_phase"])
    error = (1 + 0.2 * variant) * start * (budget / 500) ** -slope * np.exp(rng.normal(0, 0.05))
    relative = np.array(list(hardness.values())) / np.mean(list(hardness.values()))
    f1 = 1 - np.clip(error * relative * np.exp(rng.normal(0, 0.1, len(hardness))), 0.0, 0.95)
    trainable = round(share * PARAMETERS)
    seconds = seconds * budget / 1000 * (1 + variant) + 2.5
    return cell | {
        "state": "done",
        "reason": None,
        "cached": seed == 0,
        "accuracy": round(float(1 - error) * TEST) / TEST,
        "macro_f1": float(f1.mean()),
        "ece": float(0.3 * error),
        "val_accuracy": float(1 - error) + 0.004,
        "f1": dict(zip(hardness, map(float, f1), strict=True)),
        "epochs": 12,
        "best_epoch": int(rng.integers(8, 12)),
        "work": 1e10 * seconds,
        "train_seconds": seconds,
        "seconds": seconds + 3.0,
        "trainable": trainable,
        "parameters": PARAMETERS,
        "phases": [
            {"name": name, "epochs": 12 // len(phases), "trainable": round(trainable / (len(phases) - i))}
            for i, name in enumerate(phases)
        ],
    }


def _results(cells, rows, budgets):
    results = []
    for row in rows:
        for budget in budgets:
            done = [c for c in cells if (c["row"], c["budget"], c["state"]) == (row["name"], budget, "done")]
            if not done:
                continue
            each = [c["accuracy"] for c in done]
            mean = float(np.mean(each))
            half = 1.96 * math.hypot(np.std(each) / math.sqrt(len(each)), math.sqrt(mean * (1 - mean) / TEST))
            results.append(
                {
                    "row": row["name"],
                    "budget": budget,
                    "seeds": [c["seed"] for c in done],
                    "accuracy": mean,
                    "accuracy_interval": [mean - half, min(1.0, mean + half)],
                    "accuracy_per_seed": each,
                    "macro_f1": (macro := float(np.mean([c["macro_f1"] for c in done]))),
                    "macro_f1_interval": [macro - half, min(1.0, macro + half)],
                    "balanced_accuracy": macro + 0.002,
                    "balanced_accuracy_interval": [macro - half, min(1.0, macro + half)],
                    "validation": {
                        "accuracy": mean + 0.004,
                        "macro_f1": macro + 0.004,
                        "balanced_accuracy": macro + 0.006,
                    },
                    "f1": {name: float(np.mean([c["f1"][name] for c in done])) for name in done[0]["f1"]},
                    "trainable": done[0]["trainable"],
                    "share": done[0]["trainable"] / PARAMETERS,
                    "work": float(np.mean([c["work"] for c in done])),
                    "train_seconds": float(np.mean([c["train_seconds"] for c in done])),
                }
            )
    for result in results:
        name = result["row"].replace(result["row"].split(" · ")[0], "linear_probe", 1)
        probe = [r["work"] for r in results if (r["row"], r["budget"]) == (name, result["budget"])]
        result["relative_work"] = result["work"] / probe[0] if probe else None
    return results


def _pairs(results, budgets):
    pairs = []
    for budget in budgets:
        couples = list(combinations([r for r in results if r["budget"] == budget], 2))
        for a, b in couples:
            difference = a["accuracy"] - b["accuracy"]
            error = math.sqrt((2 - a["accuracy"] - b["accuracy"]) / TEST) * 0.8
            p = math.erfc(abs(difference) / error / math.sqrt(2))
            corrected = min(1.0, p * len(couples))
            verdict = "not distinguishable" if corrected >= 0.05 else "better" if difference > 0 else "worse"
            pairs.append(
                {
                    "budget": budget,
                    "a": a["row"],
                    "b": b["row"],
                    "seeds": sorted(set(a["seeds"]) & set(b["seeds"])),
                    "difference": difference,
                    "interval": [difference - 1.96 * error, difference + 1.96 * error],
                    "p": p,
                    "p_corrected": corrected,
                    "verdict": verdict,
                    "test": "two-way" if len(a["seeds"]) > 1 else "mcnemar",
                }
            )
    return pairs


def _recommendation(results, budget):
    """The best on validation, or the cheapest of those that are within two points of it on the test."""
    here = sorted((r for r in results if r["budget"] == budget), key=lambda r: -r["validation"]["accuracy"])
    if not here:
        return None
    best, others = here[0], here[1:]
    within = [best, *(r for r in others if r["accuracy"] > best["accuracy"] - MARGIN)]
    use = min(within, key=lambda r: r["work"])
    reason = "nothing else was trained"
    if use is not best:
        reason = (
            f"with {100 * use['work'] / best['work']:.0f} % of the work of {best['row']} "
            f"({100 * best['accuracy']:.1f} %), the best on validation, it is shown to be at most 2 points worse"
        )
    elif others:
        reason = f"the best of {len(here)} on validation"
    standings = [
        {
            "row": r["row"],
            "difference": r["accuracy"] - best["accuracy"],
            "worst": r["accuracy"] - best["accuracy"] - 0.01,
            "p": 0.01,
            "verdict": "within the margin" if r in within else "beyond the margin",
            "limited_by": "test patches",
        }
        for r in others
    ]
    return {
        "budget": budget,
        "row": use["row"],
        "best": best["row"],
        "within_margin": [r["row"] for r in within],
        "standings": standings,
        "sentence": f"With {budget:,} labels: {use['row']} ({100 * use['accuracy']:.1f} % on the test); {reason}.",
    }
