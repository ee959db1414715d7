"""The page of a pretraining: its measures with their limits, what lies near what, and a map of the features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.config import RunConfig
from landsift.errors import RunError
from landsift.evaluation.tsne import tsne_frame
from landsift.pretraining.collapse import SIGNS
from landsift.pretraining.probe import PROBE
from landsift.reports.csv_text import csv_text
from landsift.reports.document import render
from landsift.reports.pretraining.figures import measure_figures, projection_figure
from landsift.reports.run.mistakes import Picture, picture_of
from landsift.reports.wording import duration, moment, number_of, percent
from landsift.runs import CONFIG, LEARNED_FEATURES, MANIFEST, METRICS, read_json

if TYPE_CHECKING:
    from landsift.data.store.patch_store import PatchStore

QUERIES, NEIGHBOURS = 8, 6


def pretraining_html(folder: Path, store: PatchStore | None = None) -> str:
    """The report of a pretraining as one self-contained HTML page.

    Args:
        folder: as `landsift pretrain` leaves it.
        store: of the patches that it learned from; None: the one in this machine's cache. Without one neither pictures
            nor labels are shown.

    Raises:
        RunError: a file is missing or cannot be read.
    """
    manifest, rows = read_json(folder / MANIFEST), read_json(folder / METRICS)
    store = _kept(manifest) if store is None else store
    probe = read_json(folder / PROBE) if (folder / PROBE).is_file() else []
    limits = {sign.figure: sign.limit for sign in SIGNS}
    shown, features = _features(folder)
    labels = np.full(len(shown), -1) if store is None else store.labels[shown]
    classes = () if store is None else store.classes
    plots = measure_figures(rows, probe, limits)
    plots["projection"] = (
        projection_figure(tsne_frame(features, seed=manifest["seed"]), labels, classes),
        "t-SNE of features of patches that it learned from",
    )
    config, _ = RunConfig.load_stored(folder / CONFIG)
    data, model, last = manifest["data"], manifest["model"], rows[-1]
    learned = data["learned_from"]
    return render(
        "pretraining.html",
        plots,
        {name: _csv(table) for name, table in (("epochs.csv", rows), ("probe.csv", probe)) if table},
        version=manifest["landsift"],
        created=moment(manifest),
        title=config.tracking.name or f"Pretraining of {model['backbone']}",
        note=config.tracking.note or "",
        subtitle=f"{manifest['method']}, {data['source']}, "
        f"{number_of(learned['patches'], 'patch', 'patches')} without labels",
        headline=_headline(manifest, rows, probe),
        limits={name: f"{limit:g}" for name, limit in limits.items()},
        features=features.shape[1],
        highest_rank=f"{min(config.pretraining.watch.patches, features.shape[1]):,}",
        last={name: f"{value:.3g}" for name, value in last.items() if isinstance(value, float)},
        neighbours=_neighbours(shown, features, labels, store),
        facts_rows=_facts(manifest),
        seconds=duration(sum(row["seconds"] for row in rows)),
        epochs=len(rows),
        has_labels=bool((labels >= 0).any()),
        config=config.to_yaml(),
        command=" ".join(manifest["command"] or []),
    )


def _csv(rows: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return csv_text(columns, (row | {"epoch": row["epoch"] + 1} for row in rows))


def _kept(manifest: dict[str, Any]) -> PatchStore | None:
    """The store that it learned from, where it is still there."""
    from landsift.data.store.patch_store import PatchStore
    from landsift.errors import DataError

    try:
        store = PatchStore.open(manifest["data"]["store"])
    except DataError:
        return None
    return store if store.fingerprint == manifest["data"]["fingerprint"] else None


def _features(folder: Path) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    try:
        with np.load(folder / LEARNED_FEATURES, allow_pickle=False) as kept:
            return kept["rows"], kept["features"]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"cannot read {folder / LEARNED_FEATURES}: {error}", "pretrain again") from None


def _headline(manifest: dict[str, Any], rows: list[dict[str, Any]], probe: list[dict[str, Any]]) -> list[Any]:
    last = rows[-1]
    cards: list[dict[str, Any]] = [
        {
            "name": "RankMe",
            "figure": f"{last['rank_me']:.0f}",
            "lines": [f"{rows[0]['rank_me']:.0f} after the first epoch"],
        },
        {
            "name": "feature deviation",
            "figure": f"{last['feature_std']:.2f}",
            "lines": ["of 1/√D; 0: collapsed"],
        },
        {
            "name": "views agree",
            "figure": f"{last['agreement']:.2f}",
            "lines": [f"different patches {last['others_agreement']:.2f}"],
        },
    ]
    if probe:
        found = probe[-1]
        cards.append(
            {
                "name": f"kNN-{found['neighbours']} of the probe",
                "figure": percent(found["knn_accuracy"], 1),
                "lines": ["validation patches"],
            }
        )
    return cards


def _neighbours(
    shown: NDArray[np.int64], features: NDArray[np.float32], labels: NDArray[Any], store: PatchStore | None
) -> list[dict[str, Any]]:
    """Of some patches, spread over the features, the nearest by features, as pictures; none without a store."""
    if store is None or len(shown) < 2:
        return []
    length = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(length, 1e-12)
    found = []
    for query in _spread(unit, QUERIES):
        similar = unit @ unit[query]
        near = [int(i) for i in np.argsort(-similar, kind="stable") if i != query][:NEIGHBOURS]
        found.append(
            {
                "query": _shown(store, int(shown[query])),
                "near": [_shown(store, int(shown[i])) | {"similarity": f"{similar[i]:.2f}"} for i in near],
            }
        )
    return found


def _spread(unit: NDArray[np.float32], count: int) -> list[int]:
    """Rows that are far from each other: each next one has the least similarity to those before (k-centre, greedy)."""
    chosen = [0]
    nearest = unit @ unit[0]
    while len(chosen) < min(count, len(unit)):
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, unit @ unit[chosen[-1]])
    return chosen


def _shown(store: PatchStore, row: int) -> dict[str, Any]:
    picture: Picture = picture_of(store.images[row], store.bands)
    label = int(store.labels[row])
    path = store.paths(np.array([row]))[0]
    return {"image": picture.uri, "name": Path(path).name, "label": store.classes[label] if label >= 0 else ""}


def _facts(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    data, model = manifest["data"], manifest["model"]
    learned, out = data["learned_from"], data["learned_from"]["left_out"]
    left = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in out.items() if count)
    hardware = manifest["hardware"]
    rows = [
        ("source", data["source"]),
        ("learned from", f"{learned['patches']:,} patches: {learned['of']}"),
        ("left out", left or "none"),
        ("bands", ", ".join(data["bands"]["names"])),
        ("backbone", f"{model['backbone']}, {model['parameters']:,} parameters"),
        ("started from", str(model["weights"])),
        ("input", f"{model['image_size']} pixels"),
        ("machine", f"{hardware['cpu']}, {hardware['cores']} cores" + (f", {hardware['gpu']}" * bool(hardware["gpu"]))),
        ("lightly, torch", f"{manifest['versions']['lightly']}, {manifest['versions']['torch']}"),
    ]
    return [(name, value) for name, value in rows if value]
