"""A small run directory with all that a report reads: random but seeded predictions."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from landsift import runs
from landsift.config import RunConfig
from landsift.evaluation.calibration_figures import calibration_figures
from landsift.evaluation.metrics import evaluate
from landsift.evaluation.temperature import Temperature, scaled
from landsift.evaluation.trust import Answers, fit_distances, fit_trust, trust_figures

CLASSES = ("Forest", "<b>Über & Co</b>", "River", 'Say "hi"')

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
]  # fmt: skip


def predictions_table(rng, classes: Sequence[str], paths: Sequence[str], split: str, right: float) -> pd.DataFrame:
    """Predictions that are right for a share of the patches."""
    K, N = len(classes), len(paths)
    labels = np.arange(N) % K
    favoured = np.where(rng.random(N) < right, labels, rng.integers(K, size=N))
    logits = rng.normal(size=(N, K)) + 4.0 * np.eye(K)[favoured]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = np.asarray(classes, dtype=object)
    table = pd.DataFrame(
        {"path": paths, "split": split, "label": names[labels], "predicted": names[probabilities.argmax(axis=1)]}
    )
    return table.assign(**{f"p_{name}": probabilities[:, k].astype(np.float32) for k, name in enumerate(classes)})


def write_run(
    folder: Path,
    *,
    classes: Sequence[str] = CLASSES,
    patches: int = 200,
    phases: Sequence[int] = (2, 3),
    epochs: int | None = None,
    frames: int = 2,
    right: float = 0.8,
    stages: bool = True,
    images: bool = True,
    trust: bool = True,
) -> runs.Run:
    """Write a run directory with `patches` val and as many test patches, phases of so many epochs, t-SNE `frames`."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    tables, evaluation = [], {"checkpoint": "best-003-0.900.ckpt", "epoch": 3, "classes": list(classes)}
    for split in ("val", "test"):
        paths = [str(folder / "patches" / "odd 'n' \"quoted\"" / f"{split}_{i}<i>.png") for i in range(patches)]
        table = predictions_table(rng, classes, paths, split, right)
        labels = np.asarray([list(classes).index(name) for name in table["label"]])
        evaluation[split] = evaluate(labels, table.filter(regex="^p_").to_numpy(), classes, draws=20)
        tables.append(table)
        if images and split == "test":
            Path(paths[0]).parent.mkdir(parents=True, exist_ok=True)
            for path in paths:
                Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    if trust:
        evaluation |= probabilities_of(evaluation, tables, classes)
    runs.write_text(folder / runs.CONFIG, RunConfig().to_yaml())
    runs.write_json(folder / runs.EVALUATION, evaluation)
    runs.write_parquet(folder / runs.PREDICTIONS, pd.concat(tables, ignore_index=True))
    runs.write_parquet(folder / runs.EMBEDDINGS, _embeddings(rng, tables[0], frames))
    runs.write_json(folder / runs.METRICS, _metrics(phases)[:epochs])
    runs.write_json(folder / runs.MANIFEST, _manifest(folder, classes, patches, phases, stages=stages))
    return runs.Run.open(folder)


def probabilities_of(evaluation: dict, tables: Sequence[pd.DataFrame], classes: Sequence[str]) -> dict:
    """What a run says of its temperature, sets, abstention and out-of-distribution flags."""
    rng = np.random.default_rng(1)
    before, after, answers = {}, {}, []
    for split, table in zip(("val", "test"), tables, strict=True):
        labels = np.asarray([list(classes).index(name) for name in table["label"]])
        probabilities = table.filter(regex="^p_").to_numpy()
        before[split] = calibration_figures(labels, scaled(probabilities, 2.0), draws=20)
        after[split] = calibration_figures(labels, probabilities, draws=20)
        answers.append(Answers(labels, probabilities, rng.random(len(labels)), None))
    choice = Temperature(0.5, True, "applied: in cross-validation on validation it lowers the log loss", (0.4, 0.3),
                         (0.06, 0.01), [0.05, 0.15])  # fmt: skip
    distances = fit_distances(rng.normal(size=(40, 8)).astype(np.float32), np.arange(40) % 4)
    half = np.arange(len(answers[1].labels)) % 3 == 0
    trust = fit_trust(RunConfig().evaluation, classes, 0.5, distances, *answers, half)
    return {
        "calibration": {"temperature": 0.5, "choice": asdict(choice), "before": before, "after": after},
        "trust": trust_figures(trust, *answers, half, fitted_on=40),
    }


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; skips where there is none."""
    if BROWSER is None:
        pytest.skip("no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def make_run(tmp_path):
    """Function that writes a run directory; its arguments are those of `write_run`."""
    return lambda name="run", **settings: write_run(tmp_path / name, **settings)


def _embeddings(rng, table: pd.DataFrame, frames: int) -> pd.DataFrame:
    empty = pd.DataFrame(columns=["epoch", "path", "label", "x", "y"])
    place = {name: 10 * rng.normal(size=2) for name in table["label"].unique()}
    parts = []
    for k in range(frames):
        spread = 12.0 / (k + 1)
        centre = np.stack([place[name] for name in table["label"]])
        xy = (centre + spread * rng.normal(size=(len(table), 2))).astype(np.float32)
        frame = table[["path", "label"]].assign(epoch=3 * k, x=xy[:, 0], y=xy[:, 1])
        parts.append(frame[empty.columns])
    return pd.concat(parts, ignore_index=True) if parts else empty


def _metrics(phases: Sequence[int]) -> list[dict]:
    rows = []
    for number, epochs in enumerate(phases, start=1):
        for _ in range(epochs):
            e = len(rows)
            rows.append(
                {
                    "epoch": e,
                    "phase": number,
                    "phase_name": "head" if number == 1 else "fine-tune",
                    "train_loss": 1.5 / (e + 1),
                    "val_loss": 1.4 / (e + 1) + 0.1,
                    "val_acc": 0.95 - 0.4 / (e + 1),
                    "lr_head": 2e-3 / number,
                    "lr_backbone": 0.0 if number == 1 else 1e-5,
                    "seconds": 12.5,
                }
            )
    return rows


def _manifest(folder: Path, classes: Sequence[str], patches: int, phases: Sequence[int], *, stages: bool) -> dict:
    done = {
        "load_dataset": {"seconds": 71.0, "cached": True},
        "train_model": {"seconds": 62.5, "cached": False},
        "create_report": {"seconds": 0.8, "cached": False},
    }
    return {
        "landsift": "0.1.0",
        "created": "2026-01-02T03:04:05+00:00",
        "command": ["landsift", "run", "--data", "odd 'n' quoted", "--out", str(folder)],
        "seed": 7,
        "data": {
            "source": "patches",
            "fingerprint": "f1d2d2f924e986ac86fdf7b36c94bcdf32beec15",
            "patches": 5 * patches,
            "patch_shape": [8, 8, 3],
            "classes": {name: 5 * patches // len(classes) for name in classes},
            "split": {"train": 3 * patches, "val": patches, "test": patches},
            "budget": None,
            "skipped": [{"path": "patches/broken <script>.png", "reason": "cannot identify image file"}],
            "store": str(folder / "no-store"),
            "checks": {
                "verdict": "wrong",
                "sections": [
                    {
                        "name": "labels",
                        "verdict": "wrong",
                        "text": "2 pictures stand in <i>two</i> classes.",
                        "counts": {},
                        "examples": [],
                    },
                ],
            },
        },
        "model": {
            "backbone": "efficientnet_b0",
            "weights": "imagenet",
            "parameters": 4_340_000,
            "image_size": 224,
            "normalization": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        },
        "phases": [
            {
                "name": "head" if i == 0 else "fine-tune",
                "epochs": epochs,
                "first_epoch": sum(phases[:i]),
                "trainable": 331_000 if i == 0 else 4_340_000,
                "lr_head": 2e-3,
                "lr_backbone": 0.0 if i == 0 else 1e-5,
            }
            for i, epochs in enumerate(phases)
        ],
        "best": {"epoch": 3, "val_acc": 0.9, "checkpoint": "best-003-0.900.ckpt"},
        "versions": {"python": "3.11.9", "torch": "2.11.0"},
        "hardware": {"cpu": "A processor", "cores": 2, "memory_gib": 23.4, "gpu": None, "precision": "32-true"},
        "stages": done if stages else {},
    }
