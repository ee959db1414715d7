"""From a pretraining's result to the folder that people get: its files, this run's manifest, and the report."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

from landsift import runs
from landsift.config import RunConfig
from landsift.data.store.patch_store import PatchStore
from landsift.pipeline.cache.results import STAGE, stage_record
from landsift.reports.pretraining.page import pretraining_html
from landsift.runtime import links
from landsift.runtime.whole import writing


def assemble(
    folder: Path, store: Path, pretrained: Path, config: RunConfig, command: list[str] | None, run: str
) -> Path:
    """Fill `folder` and return it; large files are shared with the cache, as in a run directory.

    Args:
        folder: where it goes; must not exist.
        store: the patch store.
        pretrained: what `landsift.pretraining.start.pretrain` has left.
        config: this run's configuration.
        command: the command line, or None.
        run: name of the Flyte run; a stage whose result another run made was cached.

    Raises:
        RunError: a file cannot be written.
    """
    with writing(folder):
        shutil.copytree(pretrained, folder, ignore=shutil.ignore_patterns(STAGE), copy_function=links.put)
    runs.write_text(folder / runs.CONFIG, config.to_yaml())
    manifest = runs.read_json(folder / runs.MANIFEST)
    manifest["created"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    manifest["command"] = command
    manifest["data"] |= {"source": config.data.source, "store": str(store)}
    manifest["model"]["weights"] = config.model.weights
    for name, result in (("load_dataset", store), ("pretrain_network", pretrained)):
        record = stage_record(result)
        manifest["stages"][name] = {"seconds": record["seconds"], "cached": record["run"] != run}
    runs.write_json(folder / runs.MANIFEST, manifest)
    runs.write_text(folder / runs.REPORT, pretraining_html(folder, PatchStore.open(store)))
    return folder
