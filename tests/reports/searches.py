"""The record of a finished search, without a training: seeded trials over settings of each kind."""

import numpy as np

from landsift.config import RunConfig

SEARCHED = {
    "strategy": {"what": "training strategy", "choices": ["two_phase", "everything"], "log": False},
    "lr_head": {"what": "learning rate of the head", "choices": [], "low": 0.1, "high": 10.0, "log": True},
    "epochs": {"what": "epochs of all phases", "choices": [], "low": 5, "high": 60, "log": True},
    "ema": {"what": "decay of the average", "choices": ["off", 0.9, 0.98], "log": False},
}


def search_record(trials: int = 14, *, chosen: int = 3, difference: float = 0.031) -> dict:
    """What metrics.json holds: the second last trial has failed, and the last was tried before."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(trials):
        values = {"strategy": ("two_phase", "everything")[number % 2], "lr_head": float(10 ** rng.uniform(-1, 1))}
        values |= {"epochs": int(rng.integers(5, 60)), "ema": ("off", 0.9, 0.98)[number % 3]}
        state = "failed" if number == trials - 2 else "pruned" if number % 4 == 2 else "done"
        accuracy = None if state == "failed" else 0.95 if number == chosen else float(rng.uniform(0.7, 0.9))
        made.append(
            {
                **{"number": number, "values": values, "state": state, "curve": {}, "accuracy": accuracy},
                **{"loss": accuracy and 1 - accuracy, "epoch": 3, "epochs": 7, "seconds": 12.5, "rates": [2e-3, 1e-3]},
                "reason": "training <diverged> at learning rates 0.1" if state == "failed" else "",
                "same_as": 1 if number == trials - 1 else None,
            }
        )
    figure = {"interval": [0.85, 0.93], "macro_f1": 0.89, "n": 4860}
    both = {
        "best": figure | {"accuracy": 0.9}, "default": figure | {"accuracy": 0.9 - difference},
        "difference": difference, "interval": [difference - 0.01, difference + 0.01], "p": 0.001,
    }  # fmt: skip
    config = RunConfig.load(None, ["data.source=patches", "data.budget=500"]).to_dict()
    finished = {
        "created": "2026-01-02T03:04:05+00:00",
        "command": ["landsift", "tune", "--data", "odd 'n' quoted", "--out", "DIR"],
        "chosen": chosen,
        "standings": [
            {"number": chosen, "accuracies": [0.95, 0.93, 0.94]}, {"number": 0, "accuracies": [0.8, 0.81, 0.82]},
        ],
        "first_state": "done",
        "trained_again": [],
        "importances": {"lr_head": 0.6, "strategy": 0.4},
        "val": both,
        "test": both if chosen else {"best": both["best"]},
    }  # fmt: skip
    return {
        "kind": "tuning",
        "landsift": "0.1.0",
        "asked": {"config": config, "search": SEARCHED, "fixed": {"image_size": "64: training.image_size is set"}},
        "trials": made,
        "repeats": {},
        "attempts": 0,
        "tested": {"trials": trials, "minutes": None},
        "spent": 734.0,
        "finished": finished,
    }
