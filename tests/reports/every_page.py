"""One page of each kind, as its command writes it."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from comparisons import comparison
from searches import search_record

from conftest import write_run
from landsift import runs
from landsift.config import DataConfig, RunConfig
from landsift.data.store.patch_store import build_store
from landsift.reports.comparison.page import comparison_html
from landsift.reports.pretraining.page import pretraining_html
from landsift.reports.run.page import report_html
from landsift.reports.tuning.page import tuning_html

sys.path.insert(0, str(Path(__file__).parents[1] / "mapping"))

KINDS = ("run", "comparison", "tuning", "pretraining", "map", "change", "label")
NAME, NOTE = "Meadows <again>", "With the river's patches.\nLook at <b>Forest</b>."


def write_page(kind: str, folder: Path) -> Path:
    """Write a page of the kind into a new folder; returns its path."""
    folder.mkdir(parents=True)
    return WRITERS[kind](folder)


def _run(folder: Path) -> Path:
    run = write_run(folder / "run")
    runs.write_json(run.path / runs.MANIFEST, run.manifest | {"name": NAME, "note": NOTE})
    return _written(folder, report_html(runs.Run.open(run.path)))


def _comparison(folder: Path) -> Path:
    return _written(folder, comparison_html(comparison(strategies=("full", "scratch"), budgets=(500, 1000))))


def _tuning(folder: Path) -> Path:
    return _written(folder, tuning_html(search_record()))


def _pretraining(folder: Path) -> Path:
    source = {"source": "synthetic", "synthetic": {"patches": 60, "size": 8}}
    store = build_store(DataConfig(**source), folder / "store")
    write_pretraining(folder / "made", store)
    return _written(folder, pretraining_html(folder / "made", store))


def write_pretraining(folder: Path, store) -> None:
    """What `landsift pretrain` leaves, as far as its page reads it."""
    folder.mkdir()
    runs.write_text(folder / runs.CONFIG, RunConfig.load(None, ["pretraining.method=simclr"]).to_yaml())
    measures = {"train_loss": 4.2, "feature_std": 0.8, "agreement": 0.9, "others_agreement": 0.2, "rank_me": 14.0}
    runs.write_json(folder / runs.METRICS, [{"epoch": e, "phase": 1, "seconds": 2.0} | measures for e in range(3)])
    runs.write_json(folder / "probe.json", [{"epoch": 2, "neighbours": 5, "knn_accuracy": 0.6}])
    learned = {"patches": 60, "of": "all", "left_out": {"val": 0}}
    manifest = {
        "landsift": "0.1.0",
        "created": "2026-01-02T03:04:05+00:00",
        "command": ["landsift", "pretrain"],
        "seed": 0,
        "method": "simclr",
        "data": {"source": "synthetic", "bands": store.bands.to_dict(), "learned_from": learned},
        "model": {"backbone": "resnet18", "parameters": 11_000_000, "weights": "none", "image_size": 32},
        "hardware": {"cpu": "A processor", "cores": 2, "gpu": None},
        "versions": {"lightly": "1.6", "torch": "2.11"},
    }
    runs.write_json(folder / runs.MANIFEST, manifest)
    shown = np.arange(60)
    features = np.random.default_rng(0).normal(size=(60, 16)).astype(np.float32)
    np.savez(folder / runs.LEARNED_FEATURES, rows=shown, features=features)


def _map(folder: Path) -> Path:
    from small_maps import grid_of, write_map

    from landsift.reports.maps.page import write_map_page

    write_map(folder / "map.tif", grid_of(60, 80))
    return write_map_page(folder / "map.tif")


def _change(folder: Path) -> Path:
    from test_change import own_map

    from landsift.mapping.change import map_change
    from landsift.reports.maps.change_page import NAME as CHANGE
    from landsift.reports.maps.change_page import write_change_page

    rng = np.random.default_rng(0)
    paths = [
        own_map(folder / f"{year}.tif", rng.integers(1, 4, (40, 50)), names=("Forest", "Bare", "<b>River</b>"),
                when=datetime(year, 6, 1, tzinfo=UTC))
        for year in (2018, 2021, 2024)
    ]  # fmt: skip
    map_change(paths, folder / "out", finish=write_change_page)
    return folder / "out" / CHANGE


def _label(folder: Path) -> Path:
    from test_sampling import cells
    from test_sampling import write_map as write_cells

    from landsift.mapping.sampling import draw_sample
    from landsift.reports.maps.label_page import label_html, write_label_page

    path = write_cells(folder / "map.tif", cells(shape=(60, 60)))
    design = draw_sample(path, size=12, minimum=2)
    return write_label_page(folder / "points.csv", label_html(design, folder / "points.csv"))


def _written(folder: Path, html: str) -> Path:
    page = folder / "page.html"
    page.write_text(html, encoding="utf-8")
    return page


WRITERS = {
    "run": _run,
    "comparison": _comparison,
    "tuning": _tuning,
    "pretraining": _pretraining,
    "map": _map,
    "change": _change,
    "label": _label,
}
