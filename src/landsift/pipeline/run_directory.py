"""From the stages' results to the run directory: the training's files, this run's manifest, and the report."""

from __future__ import annotations

import datetime
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from landsift import runs
from landsift.config import DataConfig, RunConfig
from landsift.data.checks.check import check_data
from landsift.data.checks.findings import DataChecks
from landsift.data.store.patch_store import PatchStore
from landsift.pipeline import repeat
from landsift.pipeline.cache import links
from landsift.pipeline.cache.results import STAGE, stage_record, writing
from landsift.reports.run.page import report_html

_log = logging.getLogger("landsift")


def assemble(
    folder: Path,
    store: Path,
    trained: Path,
    config: RunConfig,
    command: list[str] | None,
    repeats: repeat.Original | None,
    run: str,
) -> Path:
    """Fill `folder` with a complete run directory and return it.

    The files are copies, and large ones that nobody changes are shared with the cache (`links`): who edits or deletes
    one of them does not harm it.

    Args:
        folder: where the run directory goes; must not exist.
        store: the patch store.
        trained: the training's result.
        config: this run's configuration; the cached one may differ in what does not touch training.
        command: the command line, or None.
        repeats: the run that this one repeats, or None.
        run: name of the Flyte run; a stage whose result another run made was cached.

    Raises:
        RunError: a file cannot be written.
    """
    start = time.monotonic()
    with writing(folder):
        shutil.copytree(trained, folder, ignore=shutil.ignore_patterns(STAGE), copy_function=links.put)
    runs.write_text(folder / runs.CONFIG, config.to_yaml())
    manifest = runs.read_json(folder / runs.MANIFEST)
    manifest["created"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    manifest["command"] = command
    patches = PatchStore.open(store)
    manifest["data"]["store"] = str(store)
    manifest["data"]["checks"] = _checks(patches, config.data).to_dict()
    manifest["stages"] = {"load_dataset": _stage(store, run), "train_model": _stage(trained, run)}
    if repeats is not None:
        manifest["repeats"] = repeat.compared(repeats, manifest, runs.read_json(folder / runs.METRICS))
        _say(manifest["repeats"])
    runs.write_json(folder / runs.MANIFEST, manifest)
    page = report_html(runs.Run.open(folder), patches)
    runs.write_text(folder / runs.REPORT, page)
    manifest["stages"]["create_report"] = {"seconds": round(time.monotonic() - start, 3), "cached": False}
    runs.write_json(folder / runs.MANIFEST, manifest)
    return folder


def _say(repeats: dict[str, Any]) -> None:
    """Tell whether the run has repeated another, and what was different."""
    differs = "; ".join(f"{d['what']} {d['then']} → {d['now']}" for d in repeats["differs"])
    if repeats["same_metrics"]:
        _log.info("the same metrics as %s, to the last bit%s", repeats["run"], f", although: {differs}" * bool(differs))
    else:
        because = differs or "the same data, versions and machine: something is not repeatable"
        _log.warning("other metrics than %s: %s", repeats["run"], because)


def _checks(patches: PatchStore, data: DataConfig) -> DataChecks:
    """The quick checks of the data; warns of what is wrong."""
    with _unsaid():
        checks = check_data(patches, data.split, data.budget, data.effective_budget_seed, thorough=False)
    for section in checks.sections:
        if section.verdict == "wrong":
            _log.warning("the data, %s: %s", section.name, section.text)
    return checks


@contextmanager
def _unsaid() -> Iterator[None]:
    """Without the notices of a split: the training has said them."""
    before, _log.disabled = _log.disabled, True
    try:
        yield
    finally:
        _log.disabled = before


def _stage(result: Path, run: str) -> dict[str, Any]:
    record = stage_record(result)
    return {"seconds": record["seconds"], "cached": record["run"] != run}
