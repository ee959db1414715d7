"""What a training leaves behind: the model, its predictions, their evaluation, the frames and the manifest."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift import runs
from landsift.config import Normalization, RunConfig
from landsift.training.library_state import stated
from landsift.training.phases import Strategy, first_epoch, phase_of
from landsift.training.provenance import hardware, versions
from landsift.version import __version__

if TYPE_CHECKING:
    import pandas as pd

    from landsift.data.splits import Split
    from landsift.data.store.patch_store import PatchStore
    from landsift.models.predictor import Predictor
    from landsift.training.callbacks import TSNEFrames
    from landsift.training.module import PatchModule


def write_model_and_figures(
    config: RunConfig,
    module: PatchModule,
    store: PatchStore,
    split: Split,
    folder: Path,
    best: dict[str, Any],
    normalization: Normalization,
) -> Predictor:
    """With the best checkpoint's weights in `module`: write the model, its predictions and their evaluation.

    Returns:
        The model as users will load it.
    """
    from landsift.data.batches import PatchReader
    from landsift.data.group_split import group_numbers
    from landsift.evaluation.metrics import evaluate
    from landsift.evaluation.predictions import predictions_table
    from landsift.models import own_networks
    from landsift.models.model_json import ModelDescription
    from landsift.models.predictor import load_model, save_model

    phase = module.strategy[phase_of(module.strategy, best["epoch"])]
    description = ModelDescription(
        backbone=config.model.backbone,
        backbone_args=dict(config.model.backbone_args),
        head=config.model.head.model_dump(),
        classes=store.classes,
        patch_size=(int(store.images.shape[1]), int(store.images.shape[2])),
        image_size=phase.image_size or config.training.image_size,
        mean=normalization.mean,
        std=normalization.std,
        tta=config.evaluation.tta,
        landsift=__version__,
        module=config.model.module,
        code=own_networks.fingerprint(config.model.module),
    )
    save_model(module.classifier, description, folder / runs.MODEL)
    device = "cpu" if config.training.accelerator == "cpu" else "auto"
    predictor = load_model(
        folder / runs.MODEL, device, module=config.model.module
    )  # what users will load is what is tested
    figures: dict[str, Any] = {"checkpoint": best["checkpoint"], "epoch": best["epoch"], "classes": list(store.classes)}
    tables, read, groups = [], PatchReader(store.images), group_numbers(store.column("group"))
    for name, rows in (("val", split.val), ("test", split.test)):
        probabilities = np.concatenate([predictor(read(rows[i : i + 1024])) for i in range(0, len(rows), 1024)])
        of_rows = None if groups is None else groups[rows]
        figures[name] = evaluate(store.labels[rows], probabilities, store.classes, groups=of_rows, seed=config.seed)
        label = np.asarray(store.classes, dtype=object)[store.labels[rows]]
        tables.append(predictions_table(store.paths(rows), store.classes, probabilities, split=name, label=label))
    import pandas as pd

    runs.write_parquet(folder / runs.PREDICTIONS, pd.concat(tables, ignore_index=True))
    runs.write_json(folder / runs.EVALUATION, figures)
    return predictor


def embeddings_table(frames: TSNEFrames, store: PatchStore) -> pd.DataFrame:
    """The t-SNE frames as embeddings.parquet holds them: epoch, path, label, x, y."""
    import pandas as pd

    columns = ["epoch", "path", "label", "x", "y"]
    classes = np.asarray(store.classes, dtype=object)
    paths = store.paths(frames.rows)
    tables = [
        pd.DataFrame(
            {
                "epoch": epoch,
                "path": paths,
                "label": classes[frames.labels],
                "x": frame[:, 0],
                "y": frame[:, 1],
            }
        )
        for epoch, frame in frames.frames
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def manifest_of(
    config: RunConfig,
    store: PatchStore,
    split: Split,
    module: PatchModule,
    strategy: Strategy,
    trainable: list[int],
    normalization: Normalization,
    best: dict[str, Any],
    facts: dict[str, Any],
) -> dict[str, Any]:
    """What manifest.json says of a training; the pipeline adds command and stages.

    Args:
        config: the complete configuration.
        store: the patches.
        split: how they were divided.
        module: the trained module.
        strategy: its phases.
        trainable: how many parameters train, per phase.
        normalization: of the inputs.
        best: epoch, val_acc and checkpoint of the best epoch, and the figure it was chosen by.
        facts: precision, compiled_from_epoch; feature_seconds, by index of the phase; interruptions of this training,
            and the seconds that it took up to the last of them; notes on its phases, for people.
    """
    counts = np.bincount(store.labels, minlength=len(store.classes))
    return {
        "landsift": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": None,
        "seed": config.seed,
        "data": {
            "source": config.data.source,
            "fingerprint": store.fingerprint,
            "patches": len(store),
            "patch_shape": list(store.images.shape[1:]),
            "classes": {name: int(n) for name, n in zip(store.classes, counts, strict=True)},
            "split": {"train": len(split.train), "val": len(split.val), "test": len(split.test)},
            "budget": config.data.budget,
            "budget_seed": config.data.effective_budget_seed,
            "skipped": list(store.skipped),
            "store": str(store.folder),
        },
        "model": {
            "backbone": config.model.backbone,
            "weights": config.model.weights,
            "parameters": sum(p.numel() for p in module.classifier.parameters()),
            "image_size": strategy[phase_of(strategy, best["epoch"])].image_size or config.training.image_size,
            "normalization": normalization.model_dump(mode="json"),
            "ema": config.training.ema,
            "tta": config.evaluation.tta,
        },
        "phases": [
            asdict(phase)
            | {"first_epoch": first_epoch(strategy, i), "trainable": trainable[i]}
            | {"feature_seconds": facts["feature_seconds"].get(i)}
            for i, phase in enumerate(strategy)
        ],
        "best": best,
        "notes": facts["notes"],
        "interruptions": facts["interruptions"],
        "seconds_before": facts["seconds_before"],
        "versions": versions(),
        "numerics": stated(),
        "hardware": hardware() | {name: facts[name] for name in ("precision", "compiled_from_epoch")},
        "stages": {},
    }
