"""From a training's folder to a whole run directory, without a pipeline: the test and the t-SNE frames."""

from __future__ import annotations

from pathlib import Path

from landsift.config import RunConfig
from landsift.data.store.patch_store import PatchStore
from landsift.evaluation.final_test import final_test
from landsift.evaluation.tsne import make_embeddings
from landsift.runs import MANIFEST, Run, read_json, write_json


def complete_run(config: RunConfig, store: PatchStore, folder: Path) -> Run:
    """Test what `landsift.training.start.train` has left in `folder`, and make its t-SNE frames.

    Args:
        config: the configuration that was trained.
        store: the patches that it was trained on.
        folder: of the training; the files go there too.

    Returns:
        The run, with all its files but the report.

    Raises:
        RunError, ModelError: as `final_test` and `make_embeddings`.
    """
    final_test(config, store, folder, folder)
    make_embeddings(config, store, folder, folder)
    manifest = read_json(folder / MANIFEST)
    manifest["model"]["tta"] = config.evaluation.tta
    write_json(folder / MANIFEST, manifest)
    return Run.open(folder)
