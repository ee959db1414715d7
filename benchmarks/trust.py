"""Calibration, conformal sets, abstention and out-of-distribution scores of runs, in tables.

    python benchmarks/trust.py RUN... [--scenes FOLDER]

Calibration, sets and abstention are those of each run's evaluation.json; nothing is trained or calibrated again. With
`--scenes`, features of 1,500 test patches are compared with those of other imagery, and a table gives the AUROC of four
scores: the Mahalanobis distance that models have, the relative Mahalanobis distance (Ren et al. 2021), the distance to
the 10th nearest of 5,000 training patches (Sun et al. 2022), and the probability of the predicted class (Hendrycks &
Gimpel 2017). The folder holds `naip`, `landsat8`, `boadella` and `s2_l2a`. Runs whose names differ only by a number at
the end are seeds of one setting.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from common import table

TEST_PATCHES, OTHERS = 1500, 300
TRUE_COLOUR = 255 / 2750
"""EuroSAT's images are reflectance × 10⁻⁴ from 0 to 2750 (`decisions/0015`)."""
CLOUDS = (8, 9)
"""Of Sentinel-2's scene classification: medium and high probability."""


def percent(value: float | None, digits: int = 2) -> str:
    """A share in per cent."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def interval(ends: Sequence[float] | None, digits: int = 1) -> str:
    """An interval of shares in per cent."""
    return "–" if ends is None else f"{percent(ends[0], digits)} to {percent(ends[1], digits)}"


def plain(ends: Sequence[float]) -> str:
    """An interval of figures."""
    return f"{ends[0]:.3f} to {ends[1]:.3f}"


def calibration_rows(found: dict[str, dict[str, Any]]) -> Iterator[list[str]]:
    """Of each run: the temperature, and figures of the test before and after."""
    for name, evaluation in found.items():
        calibration = evaluation["calibration"]
        before, after = calibration["before"]["test"], calibration["after"]["test"]
        temperature = calibration["temperature"]
        yield [
            name,
            "not applied" if temperature is None else f"{temperature:.3f}",
            f"{before['ece']:.4f}",
            f"{after['ece']:.4f} ({plain(after['intervals']['ece'])})",
            *(f"{before[key]:.4f} → {after[key]:.4f}" for key in ("classwise_ece", "brier", "log_loss")),
        ]


def set_rows(found: dict[str, dict[str, Any]]) -> Iterator[list[str]]:
    """Of each run, coverage and kind: what was held, whether that is in the expected range, and the size."""
    for name, evaluation in found.items():
        sets = evaluation["trust"]["sets"]
        for row, there in zip(sets["rows"], sets["from_validation"], strict=True):
            alone, far = row["by_threshold"], there["by_threshold"]
            of_classes = row["per_class"].values()
            lowest = min(one["by_threshold"]["coverage"] for one in of_classes)
            inside = "–"  # where patches come in groups
            if alone.get("expected"):
                low, high = alone["expected"]
                inside = f"{'yes' if low <= alone['coverage'] <= high else 'no'} ({interval(alone['expected'])})"
            elif all(one["by_threshold"].get("expected") for one in of_classes):
                ranges = [one["by_threshold"] for one in of_classes]
                held = sum(one["expected"][0] <= one["coverage"] <= one["expected"][1] for one in ranges)
                inside = f"{held} of {len(ranges)} classes"
            yield [
                name,
                f"{100 * row['nominal']:g} %, {row['kind']}",
                f"{percent(alone['coverage'])} ({interval(alone['interval'])})",
                inside,
                percent(lowest, 1),
                f"{percent(row['coverage'])}",
                f"{row['size']:.3f}",
                f"{percent(far['coverage'])} ({interval(far['interval'])})",
            ]


def risk_rows(found: dict[str, dict[str, Any]]) -> Iterator[list[str]]:
    """Of each run and risk: what is answered, and how much of it is wrong."""
    for name, evaluation in found.items():
        for row in evaluation["trust"]["abstention"]["rows"]:
            test = row["test"]
            shown = [name, f"{100 * row['risk']:g} %"]
            if test is None:
                yield [*shown, "no threshold", "–", "–", "–"]
                continue
            yield [
                *shown,
                f"{row['confidence']:.3f}",
                f"{percent(test['answered'])}",
                f"{percent(1 - test['risk'])}",
                f"{percent(test['risk'])} ({interval(test['interval'], 2)})",
            ]


def other_imagery(scenes: Path, patch: int, colours: np.ndarray) -> dict[str, np.ndarray]:
    """Patches [n, patch, patch, 3] of 8 bits of what no training patch shows, by kind.

    `colours` are training patches, whose mean and standard deviation per band one kind of noise has.
    """
    import rasterio

    def read(file: Path, bands: Sequence[int] = (1,)) -> np.ndarray:
        with rasterio.open(file) as dataset:
            return np.moveaxis(dataset.read(list(bands)), 0, -1)

    def as_eurosat(reflectance: np.ndarray) -> np.ndarray:
        return np.clip(np.round(reflectance * TRUE_COLOUR), 0, 255).astype(np.uint8)

    def together(folder: Path, names: Sequence[str]) -> np.ndarray:
        return np.concatenate([read(folder / name) for name in names], axis=-1).astype(np.float64)

    kinds: dict[str, np.ndarray] = {}
    kinds["NAIP, 0.6 to 1 m"] = np.concatenate(
        [cut(read(file, (1, 2, 3)), patch) for file in sorted((scenes / "naip").glob("*.tif"))]
    )
    landsat = together(scenes / "landsat8", ["l8_B4.tif", "l8_B3.tif", "l8_B2.tif"])
    kinds["Landsat 8, 30 m"] = cut(as_eurosat(landsat * 0.2 - 1000), patch)  # Collection 1's factors, × 10⁴
    clouds, clear = [], []
    for folder in sorted(path for path in (scenes / "s2_l2a").iterdir() if path.is_dir()):
        image = as_eurosat(together(folder, ["B04.tif", "B03.tif", "B02.tif"]))
        classes = read(folder / "SCL.tif")
        factor = image.shape[0] // classes.shape[0] or 1
        classes = classes.repeat(factor, 0).repeat(factor, 1)[: image.shape[0], : image.shape[1]]
        pieces, masks = cut(image, patch, most=10**6), cut(classes, patch, most=10**6)[..., 0]
        cloudy = np.isin(masks, CLOUDS).mean(axis=(1, 2))
        whole = (masks > 0).all(axis=(1, 2))
        clouds.append(pieces[(cloudy > 0.5) & whole])
        clear.append(pieces[(cloudy == 0) & whole])
    kinds["Sentinel-2 at 120 m, mostly clouds"] = np.concatenate(clouds)
    cloudy_day = read(scenes / "boadella" / "Boadella_2020-01-18.tif", (4, 3, 2))
    kinds["Sentinel-2, clouds over Boadella"] = cut(as_eurosat(cloudy_day), patch, step=patch // 2)
    rng = np.random.default_rng(0)
    kinds["noise, uniform"] = rng.integers(0, 256, (OTHERS, patch, patch, 3), dtype=np.uint8)
    pixels = colours.reshape(-1, 3).astype(np.float64)
    noise = rng.normal(pixels.mean(axis=0), pixels.std(axis=0), (OTHERS, patch, patch, 3))
    kinds["noise, colours of training"] = np.clip(noise, 0, 255).astype(np.uint8)
    kinds["training patches, red and blue swapped"] = np.ascontiguousarray(colours[:OTHERS, ..., ::-1])
    kinds["Sentinel-2 at 120 m, clear"] = np.concatenate(clear)
    days = ("2020-06-21", "2020-09-14", "2022-03-08", "2022-06-01")
    kinds["for comparison: Sentinel-2 at 10 m, Boadella, clear"] = np.concatenate(
        [cut(as_eurosat(read(scenes / "boadella" / f"Boadella_{day}.tif", (4, 3, 2))), patch) for day in days]
    )
    return {name: some(patches) for name, patches in kinds.items()}


def cut(image: np.ndarray, patch: int, step: int | None = None, most: int = OTHERS) -> np.ndarray:
    """Patches of an image [H, W, C], side by side or `step` pixels apart; `most` of them, drawn."""
    step = step or patch
    H, W = image.shape[:2]
    corners = [(y, x) for y in range(0, H - patch + 1, step) for x in range(0, W - patch + 1, step)]
    if len(corners) > most:
        corners = [corners[i] for i in np.sort(np.random.default_rng(0).permutation(len(corners))[:most])]
    return np.stack([image[y : y + patch, x : x + patch] for y, x in corners])


def some(patches: np.ndarray) -> np.ndarray:
    """At most `OTHERS` of them, drawn."""
    return patches[np.sort(np.random.default_rng(1).permutation(len(patches))[:OTHERS])]


def scores(trust: Any, features: np.ndarray, labels: np.ndarray) -> dict[str, Callable[..., np.ndarray]]:
    """Scores by name: of features [N, D] and probabilities [N, K], the higher the farther, [N]."""
    train = features.astype(np.float64)
    unit = train / np.linalg.norm(train, axis=1, keepdims=True)
    from landsift.evaluation.trust import fit_distances

    background = fit_distances(features, np.zeros(len(labels), np.int64))

    def neighbour(x: np.ndarray, _p: np.ndarray) -> np.ndarray:
        near = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ unit.T
        return -np.partition(near, -10, axis=1)[:, -10]

    return {
        "Mahalanobis": lambda x, _p: trust.distances(x),
        "relative Mahalanobis": lambda x, _p: trust.distances(x) - background(x),
        "10th neighbour": neighbour,
        "1 − probability": lambda _x, p: 1 - p.max(axis=1),
    }


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """How often a patch from outside has the higher score."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score([0] * len(inside) + [1] * len(outside), np.concatenate([inside, outside])))


def ood_figures(folder: Path, scenes: Path) -> dict[str, dict[str, float]]:
    """AUROC by kind of imagery and score, and the share of the kind that is flagged."""
    from landsift.data.splits import make_split, nested_order
    from landsift.data.store.store_of_run import store_of_run
    from landsift.evaluation.trust import MOST_PATCHES
    from landsift.models.predictor import load_model
    from landsift.runs import Run

    run = Run.open(folder)
    store, predictor = store_of_run(run), load_model(folder, "cpu")
    assert store is not None
    assert predictor.trust is not None
    split = make_split(store, run.config.data.split)
    train = np.sort(split.train[nested_order(store.labels[split.train], run.config.seed)[:MOST_PATCHES]])
    test = np.sort(np.random.default_rng(0).permutation(split.test)[:TEST_PATCHES])
    by = scores(predictor.trust, predictor.features(store.images[train]), store.labels[train])
    inside = predictor.probabilities_and_features(store.images[test])
    patches = other_imagery(scenes, store.images.shape[1], np.asarray(store.images[test[:OTHERS]]))
    found = {}
    for name, images in patches.items():
        p, x = predictor.probabilities_and_features(images)
        judged = predictor.trust.judge(p, predictor.trust.distances(x))
        found[f"{name} ({len(images)})"] = {
            **{key: auroc(score(inside[1], inside[0]), score(x, p)) for key, score in by.items()},
            "flagged": float(judged.ood.mean()),
            "abstained": float("nan") if judged.abstain is None else float(judged.abstain.mean()),
        }
    return found


def main() -> None:
    """Print the tables in Markdown."""
    from landsift.runs import Run

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--scenes", type=Path, help="folder of other imagery")
    given = parser.parse_args()
    found = {folder.name: Run.open(folder).evaluation for folder in given.runs}
    shrunk = ["classwise ECE", "Brier score", "log loss"]
    print("### Calibration on the test\n")
    header = ["run", "temperature", "ECE before", "ECE after (95 % interval)", *shrunk]
    print(table(header, calibration_rows(found)))
    print("\n### Sets\n")
    header = ["run", "chosen", "thresholds alone hold, % (95 %)", "in the expected range", "lowest class, %"]
    header += ["sets hold, %", "classes per set", "thresholds from validation hold, %"]
    print(table(header, set_rows(found)))
    print("\n### Abstention\n")
    header = ["run", "risk", "threshold", "answered, %", "accuracy, %", "wrong, % (95 % interval)"]
    print(table(header, risk_rows(found)))
    print("\n### Patches out of distribution, by the model's own threshold\n")
    shares = (
        [name, percent(e["trust"]["ood"]["val"]), percent(e["trust"]["ood"]["test"])] for name, e in found.items()
    )
    print(table(["run", "of validation, %", "of test, %"], shares))
    if given.scenes is None:
        return
    settings: dict[str, list[Path]] = {}
    for folder in given.runs:
        settings.setdefault(re.sub(r"-\d+$", "", folder.name), []).append(folder)
    for setting, folders in settings.items():
        runs = [ood_figures(folder, given.scenes) for folder in folders]
        print(f"\n### AUROC of out-of-distribution scores: {setting}, mean (lowest) of {len(runs)} seeds\n")
        keys = [key for key in runs[0][next(iter(runs[0]))] if key not in ("flagged", "abstained")]
        rows = []
        for kind in runs[0]:
            cells = [f"{mean(r[kind][k] for r in runs):.3f} ({min(r[kind][k] for r in runs):.3f})" for k in keys]
            shares = [percent(mean(r[kind][key] for r in runs), 0) for key in ("flagged", "abstained")]
            rows.append([kind, *cells, *shares])
        print(table(["imagery (patches)", *keys, "flagged, %", "abstained, %"], rows))


if __name__ == "__main__":
    main()
