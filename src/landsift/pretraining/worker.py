"""One process of a pretraining in several: `python -m landsift.pretraining.worker TASK`, started by `start`."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

from landsift.runtime.notices import show_on_stderr
from landsift.training.worker import reporting


def main(task: Path) -> None:
    """Pretrain as one of several; the first writes the result.

    Args:
        task: a JSON file with `config`, the `folder`, the `stores` of the patches and of a probe, each with the `root`
            of its files, and the `level` of notices.
    """
    asked = json.loads(task.read_text(encoding="utf-8"))
    show_on_stderr(asked["level"] if os.environ["RANK"] == "0" else logging.CRITICAL)
    from landsift.config import RunConfig
    from landsift.data.store.patch_store import PatchStore
    from landsift.pretraining import fit
    from landsift.training import ranks

    stores = [PatchStore.open(one["store"]) for one in asked["stores"]]
    for store, one in zip(stores, asked["stores"], strict=True):
        store.info["root"] = one["root"]
    patches, *probe = stores
    fit.pretrain_here(
        RunConfig.from_dict(asked["config"]), patches, Path(asked["folder"]), None, probe[0] if probe else None
    )
    ranks.leave_group()


if __name__ == "__main__":
    with reporting():
        main(Path(sys.argv[1]))
