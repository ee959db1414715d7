"""From the stages' results to the run directory: the training's files, this run's manifest, and the report."""

from __future__ import annotations

import datetime
import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from landsift import runs
from landsift.config import DataConfig, RunConfig
from landsift.data.checks.check import check_data
from landsift.data.checks.findings import DataChecks
from landsift.data.store.patch_store import PatchStore
from landsift.evaluation.tsne import embeddings_table
from landsift.pipeline import reproduce
from landsift.pipeline.cache.results import STAGE, stage_record
from landsift.pipeline.stage_table import EMBED, PRETRAIN, TEST, TRAIN, manifest_with
from landsift.reports.run.page import report_html
from landsift.runtime import links
from landsift.runtime.notices import said_before
from landsift.runtime.whole import writing

_log = logging.getLogger("landsift")

AFTER_DECODING = (TRAIN, TEST, EMBED)
"""The stages whose results a run directory is made of."""
BETWEEN_STAGES = (STAGE, runs.WEIGHTS, runs.VALIDATION_FEATURES)
"""What they leave to each other."""


def assemble(
    folder: Path,
    store: Path,
    made: Sequence[Path],
    pretrained: Sequence[Path],
    config: RunConfig,
    command: list[str] | None,
    repeats: reproduce.Original | None,
    run: str,
) -> Path:
    """Fill `folder` with a complete run directory and return it.

    The files are copies, and large ones that nobody changes are shared with the cache (`links`): who edits or deletes
    one of them does not harm it.

    Args:
        folder: where the run directory goes; must not exist.
        store: the patch store.
        made: what the training, its test and, where there are any, the t-SNE frames have left, in this order.
        pretrained: what a pretraining has left, or nothing.
        config: this run's configuration.
        command: the command line, or None.
        repeats: the run that this one repeats, or None.
        run: name of the Flyte run; a stage whose result another run made was cached.

    Raises:
        RunError: a file cannot be written.
    """
    start = time.monotonic()
    with writing(folder):
        for result in made:
            shutil.copytree(
                result,
                folder,
                ignore=shutil.ignore_patterns(*BETWEEN_STAGES),
                copy_function=links.put,
                dirs_exist_ok=True,
            )
    runs.write_text(folder / runs.CONFIG, config.to_yaml())
    manifest = manifest_with(config, runs.read_json(folder / runs.MANIFEST))
    manifest["created"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    manifest["command"] = command
    manifest |= {key: said for key in ("name", "note") if (said := getattr(config.tracking, key)) is not None}
    patches = PatchStore.open(store)
    manifest["data"]["store"] = str(store)
    manifest["data"]["checks"] = _checks(patches, config.data).to_dict()
    if len(made) < len(AFTER_DECODING):
        runs.write_parquet(folder / runs.EMBEDDINGS, embeddings_table([], np.empty(0, np.int64), patches))
    manifest["stages"] = {"load_dataset": _stage(store, run)}
    manifest["stages"] |= {stage.name: _stage(result, run) for stage, result in zip(AFTER_DECODING, made, strict=False)}
    for result in pretrained:
        manifest["pretraining"] = _pretraining(result, folder / runs.PRETRAINING)
        manifest["stages"] |= {PRETRAIN.name: _stage(result, run)}
    if repeats is not None:
        manifest["repeats"] = reproduce.compared(repeats, manifest, runs.read_json(folder / runs.METRICS))
        _say(manifest["repeats"])
    runs.write_json(folder / runs.MANIFEST, manifest)
    page = report_html(runs.Run.open(folder), patches)
    runs.write_text(folder / runs.REPORT, page)
    manifest["stages"]["create_report"] = {"seconds": round(time.monotonic() - start, 3), "cached": False}
    runs.write_json(folder / runs.MANIFEST, manifest)
    return folder


def _pretraining(result: Path, folder: Path) -> dict[str, Any]:
    """Keep the history of a pretraining in `folder`, and say what the weights are that a training began with."""
    with writing(folder):
        folder.mkdir()
        for name in (runs.MANIFEST, runs.METRICS, "probe.json"):
            if (result / name).is_file():
                shutil.copyfile(result / name, folder / name)
    said = runs.read_json(result / runs.MANIFEST)
    return {
        "method": said["method"],
        "patches": said["data"]["learned_from"]["patches"],
        "weights_before": said["model"]["weights"],
    }


def _say(repeats: dict[str, Any]) -> None:
    """Tell whether the run has repeated another, and what was different."""
    differs = "; ".join(f"{d['what']} {d['then']} → {d['now']}" for d in repeats["differs"])
    if repeats["same_metrics"]:
        _log.info(
            "metrics are bit-identical to those of %s%s", repeats["run"], f", although: {differs}" * bool(differs)
        )
    else:
        because = differs or "the same data, versions and machine: something is not repeatable"
        _log.warning("metrics differ from those of %s: %s", repeats["run"], because)


def _checks(patches: PatchStore, data: DataConfig) -> DataChecks:
    """The quick checks of the data; warns of what is wrong."""
    with said_before():
        checks = check_data(patches, data.split, data.budget, data.effective_budget_seed, thorough=False, gsd=data.gsd)
    for section in checks.sections:
        if section.verdict == "wrong":
            _log.warning("the data, %s: %s", section.name, section.text)
        elif section.name == "places" and section.verdict == "look":
            _log.info("the split: %s", section.text)
    return checks


def _stage(result: Path, run: str) -> dict[str, Any]:
    record = stage_record(result)
    return {"seconds": record["seconds"], "cached": record["run"] != run}
