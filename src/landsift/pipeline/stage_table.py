"""The stages whose results are kept, as data: what each of them reads, and so what runs it again.

A stage is given the settings that it names and no other: everything else in its configuration has its default. So what
is not named cannot matter to it, and a new section of the configuration runs nothing again. `docs/decisions/0009` has a
table of edits and of what each runs again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import reduce
from operator import getitem
from typing import Any

from landsift.config import WEIGHTS_BY_NAME, RunConfig
from landsift.data.split_rows import known_by_content
from landsift.training.strategies import settled, strategy_of

DECODING = ("numpy", "pillow")
"""Libraries whose version may change a decoded pixel."""
NETWORKS = (*DECODING, "torch", "torchvision", "timm")
"""... or what a network answers."""


@dataclass(frozen=True)
class Stage:
    """One kind of result.

    Attributes:
        name: of its task, and in a manifest's `stages`.
        folder: of the cache folder, which its results lie in.
        what: people call it.
        settings: what it is given of the configuration: keys, or whole sections.
        uncounted: those of them that change no result, or that the content of the patches stands for.
        code: the modules that its work begins in; those that they import belong to it as well.
        libraries: those whose version may change its result.
        reads: names of the stages whose results it reads.
        checked: which of its files are known by their content and not by their size alone, because later stages
            compute with them: names, or folders.
    """

    name: str
    folder: str
    what: str
    settings: tuple[str, ...]
    code: tuple[str, ...]
    libraries: tuple[str, ...]
    uncounted: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()


SPLIT = ("data.split", "data.budget", "data.budget_seed")
TRAINED = (*SPLIT, "model", "strategy", "strategies", "training", "seed")
GUARDS = ("training.checkpoint_minutes", "training.max_skipped_steps")
PRETRAINED_BY = (
    "training.accelerator", "training.precision", "training.devices", "training.num_nodes", *GUARDS,
)  # fmt: skip
"""What a pretraining takes of the section `training`: where and how it computes."""
OWN_CODE = ("model.module",)
"""Its content counts, wherever it lies."""
TESTED = (*SPLIT, "model", "training.accelerator", "evaluation", "seed")
TRAINING, TESTING = "landsift.training.start", "landsift.evaluation.final_test"
TRAINING_LIBRARIES = (*NETWORKS, "lightning")
TESTING_LIBRARIES = (*NETWORKS, "scikit-learn", "scipy", "torchmetrics")

BY_CONTENT = ("data.labels", "data.bands", "data.sensor", "data.reflectance", "data.indices", "data.locations")
"""The content's fingerprint stands for them."""

DECODE = Stage(
    name="load_dataset",
    folder="stores",
    what="the patch store",
    settings=(
        "data.source", "data.synthetic", "data.eurosat", "data.patch_size", "data.max_unreadable", *BY_CONTENT,
    ),
    uncounted=("data.synthetic", "data.eurosat", *BY_CONTENT),
    code=("landsift.data.store.patch_store",),
    libraries=(*DECODING, "rasterio", "spyndex"),
    checked=("store.json", "index.parquet"),
)  # fmt: skip
TRAIN = Stage(
    name="train_model",
    folder="trained",
    what="the trained model",
    settings=TRAINED,
    uncounted=(*GUARDS, *OWN_CODE),
    code=(TRAINING,),
    libraries=TRAINING_LIBRARIES,
    reads=("load_dataset",),
    checked=("weights.safetensors", "manifest.json", "metrics.json", "validation_features"),
)
TEST = Stage(
    name="test_model",
    folder="tested",
    what="the test of the model",
    settings=TESTED,
    uncounted=OWN_CODE,
    code=(TESTING,),
    libraries=TESTING_LIBRARIES,
    reads=("load_dataset", "train_model"),
    checked=("model", "evaluation.json", "predictions.parquet"),
)
EMBED = Stage(
    name="create_embeddings",
    folder="embeddings",
    what="the t-SNE frames",
    settings=(*SPLIT, "seed", "tracking.tsne_every", "tracking.tsne_per_class"),
    code=("landsift.evaluation.tsne",),
    libraries=("numpy", "scikit-learn", "scipy"),
    reads=("load_dataset", "train_model"),
    checked=("embeddings.parquet",),
)
PRETRAIN = Stage(
    name="pretrain_network",
    folder="pretrained",
    what="the pretrained backbone",
    settings=("data.split", "model", "pretraining", *PRETRAINED_BY, "seed"),
    uncounted=(*GUARDS, *OWN_CODE, "pretraining.watch.probe"),
    code=("landsift.pretraining.start",),
    libraries=(*TRAINING_LIBRARIES, "lightly"),
    reads=("load_dataset",),
    checked=("model", "manifest.json", "metrics.json", "features.npz"),
)
CELL = Stage(  # keeps no model, so that its training and its test are one
    name="train_cell",
    folder="cells",
    what="the training",
    settings=(*TRAINED, "evaluation.tta", "evaluation.calibration"),
    uncounted=(*GUARDS, *OWN_CODE),
    code=(TRAINING, TESTING),
    libraries=(*TRAINING_LIBRARIES, *TESTING_LIBRARIES),
    reads=("load_dataset",),
    checked=("manifest.json", "metrics.json", "evaluation.json", "predictions.parquet"),
)

STAGES = {stage.name: stage for stage in (DECODE, TRAIN, TEST, EMBED, CELL, PRETRAIN)}


def given(stage: Stage, config: RunConfig) -> RunConfig:
    """The configuration as a stage gets it: with the settings that it names, and defaults for the rest."""
    return with_settings(config, *stage.settings)


def with_settings(config: RunConfig, *settings: str) -> RunConfig:
    """A configuration with some of another's settings, keys or whole sections, and defaults for the rest."""
    return _with(RunConfig(), settings, config)


def for_pretraining(config: RunConfig) -> RunConfig:
    """What a pretraining reads of a configuration, with the method's settings; nothing of a classifier's training.

    Raises:
        ConfigError: as `landsift.pretraining.fit.completed`.
    """
    from landsift.pretraining.fit import completed

    return completed(with_settings(config, *DECODE.settings, *PRETRAIN.settings, "tracking", "cluster"))


def counted(stage: Stage, config: RunConfig) -> dict[str, Any]:
    """The values of a stage's settings that count, by key: of a strategy its phases, of a budget the seed it has.

    Raises:
        ConfigError: the strategy cannot be resolved.
    """
    config = given(stage, settled(config))
    values = _with(config, stage.uncounted, RunConfig()).to_dict()
    found: dict[str, Any] = {
        key: reduce(getitem, key.split("."), values) for key in stage.settings if key not in stage.uncounted
    }
    if "strategy" in found:
        found["strategy"], found["strategies"] = [asdict(phase) for phase in strategy_of(config)], None
    if "model" in found and config.model.weights not in WEIGHTS_BY_NAME:
        found["model"]["weights"] = "file"  # which the key knows by its content, wherever it lies
    if "data.split" in found:
        found["data.split"] = known_by_content(config.data.split)
    if "data.budget_seed" in found:
        found["data.budget_seed"] = config.data.effective_budget_seed
    return found


def _with(config: RunConfig, keys: tuple[str, ...], other: RunConfig) -> RunConfig:
    """A configuration with the values that another one has for some keys."""
    values, others = config.to_dict(), other.to_dict()
    for key in keys:
        *sections, last = key.split(".")
        reduce(getitem, sections, values)[last] = reduce(getitem, [*sections, last], others)
    return RunConfig.from_dict(values)


def manifest_with(config: RunConfig, manifest: dict[str, Any]) -> dict[str, Any]:
    """A training's manifest with what a training is not told: the source, and how the model predicts."""
    data, model = manifest["data"] | {"source": config.data.source}, manifest["model"] | {"tta": config.evaluation.tta}
    model["weights"] = settled(config).model.weights  # a file may have been moved since
    return manifest | {"data": data, "model": model}
