"""One training: from a store and a configuration to weights, checkpoints and a history; the test is no part of it."""

from __future__ import annotations

import logging
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift import runs
from landsift.bands import REFLECTANCE, RGB_NAMES, BandSpec
from landsift.config import Normalization, RunConfig, digest
from landsift.data.sensors import red_green_blue
from landsift.errors import ConfigError
from landsift.models import hub, own_networks
from landsift.models.fingerprint import weights_fingerprint
from landsift.runtime import surroundings
from landsift.runtime.whole import remove_partials
from landsift.training.learned_from import LEARNED_FILE, learned_before, seen_before, write_learned
from landsift.training.phases import Strategy, lr_factor, scale_rates
from landsift.training.strategies import check_blocks, deciding_settings, resolve_strategy, strategy_of
from landsift.training.torch_state import as_meant

if TYPE_CHECKING:
    import numpy as np
    from lightning.pytorch.callbacks import Callback
    from numpy.typing import NDArray

    from landsift.data.splits import Split
    from landsift.data.store.patch_store import PatchStore
    from landsift.models.backbone import Backbone
    from landsift.models.classifier import PatchClassifier
    from landsift.training.module import PatchModule


logger = logging.getLogger("landsift")

WHITE = 0.275
"""Reflectance that is 255 in EuroSAT's 8-bit images: they are Level-1C's numbers, × 255 / 2750. On 98 patches that are
there as numbers and as images, the two differ by 1.7 levels of 255 in the mean (with 2700 by 1.9, with 2800 by 2.7)."""
LEAST_STD = 1e-3
"""Of the bands of pictures, for those of one value."""
LEAST_SHARE = 1e-6
"""Of a band's mean, below which its standard deviation is rounding."""


def train_here(
    config: RunConfig,
    store: PatchStore,
    folder: Path,
    experiment: Any | None = None,
    repeats: Mapping[str, Any] | None = None,
    watchers: Sequence[Callback] = (),
) -> runs.Run:
    """Train in this process, alone or as one of several; arguments and errors as of `landsift.training.start.train`.

    What is written: weights.safetensors (of the best epoch), checkpoints/, metrics.json, validation_features/,
    config.yaml, manifest.json. The test patches are not looked at: `landsift.evaluation.complete_run` makes the
    rest of a run directory.

    Args:
        config: the complete configuration, as `strategies.settled` leaves it.
        store: the decoded patches.
        folder: where the files go.
        experiment: a Weights & Biases run, or None.
        repeats: how the run that is to be repeated computed, or None.
        watchers: further callbacks.
    """
    meant = surroundings.TORCHRUN if surroundings.in_rank() else None
    own_networks.load(config.model)
    own_networks.trust(config.model.module)
    with surroundings.alone("training"), surroundings.as_guest(meant), as_meant():
        return _train_here(config, store, folder, experiment, repeats, watchers)


def _train_here(
    config: RunConfig,
    store: PatchStore,
    folder: Path,
    experiment: Any | None,
    repeats: Mapping[str, Any] | None,
    watchers: Sequence[Callback],
) -> runs.Run:
    import lightning as L

    from landsift.data.splits import make_split
    from landsift.models.weights_file import write_state
    from landsift.runtime.memory_allocator import keep_freed_memory
    from landsift.training import ranks, resume
    from landsift.training.run_files import manifest_of
    from landsift.training.trainer import fit_module
    from landsift.training.validation_features import ValidationFeatures

    ranks.join_group(config, store.fingerprint)
    strategy = strategy_of(config)
    if ranks.rank() == 0 and strategy != resolve_strategy(config.strategy, config.strategies):
        logger.info("batch norms run in train mode: random weights have no running statistics to keep")
    strategy = scale_rates(strategy, lr_factor(config.training))
    check_image_sizes(config, strategy)
    split = make_split(store, config.data.split, config.data.budget, config.data.budget_seed)
    seen = seen_before(config.model, store, split) if ranks.rank() == 0 else None
    code = own_networks.fingerprint(config.model.module)
    settings = deciding_settings(config)
    settings["model"]["weights"] = weights_fingerprint(config.model)  # a file is the same wherever it lies
    identity = digest({"settings": settings, "data": store.fingerprint, "code": code})
    if config.training.num_nodes > 1:
        resume.share_between_nodes(folder)
    how = resume.settled_before(folder, identity)
    if ranks.rank() == 0:
        remove_partials(folder)
        if how is None:  # of what was killed before its first checkpoint
            for name in (runs.CHECKPOINTS, runs.VALIDATION_FEATURES):
                shutil.rmtree(folder / name, ignore_errors=True)
    ranks.wait_for_all()
    keep_freed_memory()
    weights_file = hub.pretrained(config.model).to_dict() if config.model.weights == "imagenet" else None
    python_numbers = random.getstate()
    L.seed_everything(config.seed, workers=True, verbose=False)
    # No training draws from Python's own generator, but Flyte draws its files' names there: seeded, they would repeat.
    random.setstate(python_numbers)
    classifier, normalization = build_classifier(config, store, split)
    module = _module(config, strategy, classifier, normalization, store, split)
    trainable = _trainable_per_phase(module)
    if ranks.rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        runs.write_text(folder / runs.CONFIG, config.to_yaml())

    keeping = ValidationFeatures(folder, module.keep_rows.numpy())
    how = how or {"identity": identity, **(repeats or {})}
    best, facts = fit_module(config, module, [keeping, *watchers], store, split, folder, experiment, how)
    random.setstate(python_numbers)  # a checkpoint brings its own
    if ranks.rank():
        return runs.Run(folder)  # which the first process writes
    write_state(module.classifier, folder / runs.WEIGHTS)
    manifest = manifest_of(config, store, split, module, strategy, trainable, normalization, best, facts)
    manifest["model"] |= {"weights_file": weights_file, "module": config.model.module, "code": code}
    if seen is not None:
        manifest["model"]["learned_from_before"] = seen
        learned = learned_before(config.model.weights)
        assert learned is not None
        write_learned(folder / LEARNED_FILE, learned)  # so that a training from these weights knows it too
    runs.write_json(folder / runs.MANIFEST, manifest)
    return runs.Run.open(folder)


def check_image_sizes(config: RunConfig, strategy: Strategy) -> None:
    """Refuse a phase with another input size than a network takes that is built for one size (ViT, Swin)."""
    from landsift.models.timm_networks import has_fixed_input

    size = config.training.image_size
    other = next((p for p in strategy if p.image_size not in {None, size}), None)
    if other and has_fixed_input(config.model.backbone):
        raise ConfigError(
            f"strategy, phase '{other.name}': {config.model.backbone} takes images of one size only, {size} pixels",
            "leave image_size out of the phases, or choose a backbone without position embeddings",
        )


def build_classifier(config: RunConfig, store: PatchStore, split: Split) -> tuple[PatchClassifier, Normalization]:
    """The classifier with its weights, and the statistics its inputs are normalised with.

    Raises:
        ConfigError: the strategy or the statistics do not fit the backbone and the patches.
        ModelError: as `landsift.models.backbone.create_backbone`.
    """
    from landsift.models.classifier import PatchClassifier

    backbone, normalization = build_backbone(config, store, split.train)
    check_blocks(config, strategy_of(config), backbone.network)
    classifier = PatchClassifier(backbone.network, backbone.features, len(store.classes), config.model.head)
    if not store.bands.is_rgb8 and any(config.training.augment.color_jitter[2:]) and store.bands.names != RGB_NAMES:
        message = "training.augment.color_jitter: saturation and hue are of red, green and blue, and are left out here"
        logger.info(message)
    return classifier, normalization


def build_backbone(config: RunConfig, store: PatchStore, train: NDArray[np.int64]) -> tuple[Backbone, Normalization]:
    """The backbone with its weights, and the statistics its inputs are normalised with.

    `model.normalization: auto` takes what the weights were trained with. Of 8-bit images it takes the same for the red,
    green and blue of reflectances, which are scaled as such images are made (`as_images`). For random weights, or
    weights of other bands or units than the patches have, it takes the statistics of the training patches.

    Args:
        config: names backbone and weights.
        store: the patches.
        train: rows of those that it trains on.

    Raises:
        ConfigError: the statistics do not fit the backbone and the patches.
        ModelError: as `landsift.models.backbone.create_backbone`.
    """
    from landsift.data.store.robust import robust_mean_and_std
    from landsift.data.store.statistics import mean_and_std
    from landsift.models.backbone import create_backbone, expected_input
    from landsift.models.first_layer import for_bands, input_bands

    bands, chosen = len(store.bands), config.model.normalization
    model = for_bands(config.model, bands)
    backbone = create_backbone(model, config.training.image_size, red_green_blue(store.bands.names))
    taken = input_bands(model, backbone.network, bands)
    if taken != bands:
        raise ConfigError(f"model.backbone_args: the network takes images of {taken} bands, the patches have {bands}")
    if backbone.is_pretrained and not backbone.bands.is_rgb8 and (others := backbone.bands.differences(store.bands)):
        here = "; ".join(others)
        raise ConfigError(
            f"model.weights: {config.model.weights} was pretrained on other patches than these: here {here}",
            "give patches of the same bands and units, or pretrain on patches like these",
        )
    if isinstance(chosen, Normalization):
        normalization, key = chosen, "model.normalization"
    elif backbone.normalization is not None and not backbone.bands.differences(store.bands):
        normalization, key = backbone.normalization, backbone.source
    elif backbone.normalization is not None and backbone.bands.is_rgb8 and is_rgb_reflectance(store.bands):
        normalization, key = as_images(backbone.normalization), backbone.source
        logger.info(
            "the weights %s are of 8-bit images: reflectances of 0 to %g are taken as their 0 to 255, as in EuroSAT's "
            "images (model.normalization: %s)",
            config.model.weights,
            WHITE,
            f"mean {_listed(normalization.mean)}, std {_listed(normalization.std)}",
        )
    else:
        if store.bands.is_rgb8:
            mean, std = mean_and_std(store.images, train, store.bands)
            std = tuple(max(s, LEAST_STD) for s in std)
        else:
            mean, std = robust_mean_and_std(store.images, train, store.bands)
            std = tuple(map(_divided_by, mean, std))
        normalization, key = Normalization(mean=mean, std=std), "the training patches"
    if len(normalization.mean) != bands or len(normalization.std) != bands:
        raise ConfigError(f"{key}: {bands} means and {bands} stds are needed, one per band")
    if config.model.weights not in {"imagenet", "none"}:
        own = backbone.normalization
        expected = own if own is not None and key == backbone.source else normalization
        logger.info("%s", expected_input(backbone, config.model, expected))
    if config.model.weights != "none" and (others := backbone.bands.differences(store.bands)):
        message = "the weights %s were trained on other patches than these: here %s"
        logger.warning(message, config.model.weights, "; ".join(others))
    return backbone, normalization


def is_rgb_reflectance(bands: BandSpec) -> bool:
    """Whether these are red, green and blue in this order, in units of reflectance, whatever a sensor calls them."""
    return bands.units == REFLECTANCE and len(bands) == 3 and red_green_blue(bands.names) == (0, 1, 2)


def as_images(normalization: Normalization) -> Normalization:
    """What normalises reflectances as 8-bit images are normalised that were made of them."""
    mean, std = (tuple(WHITE * value for value in values) for values in (normalization.mean, normalization.std))
    return Normalization(mean=mean, std=std)


def _listed(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in values) + "]"


def _divided_by(mean: float, std: float) -> float:
    """What a band is divided by: its standard deviation, and 1 where that is nothing beside the mean's rounding."""
    return std if std > LEAST_SHARE * abs(mean) else 1.0


def _module(
    config: RunConfig,
    strategy: Strategy,
    classifier: PatchClassifier,
    normalization: Normalization,
    store: PatchStore,
    split: Split,
) -> PatchModule:
    import torch

    from landsift.training.kept_features import drawn_rows, most_per_class
    from landsift.training.losses import balanced_weights
    from landsift.training.module import PatchModule

    rows = drawn_rows(split.val, store.labels, most_per_class(len(store.classes)), config.seed)
    weights = None
    if config.training.class_weights == "balanced":
        weights = balanced_weights(store.labels[split.train], len(store.classes))
    return PatchModule(
        classifier,
        strategy,
        config.training,
        classes=len(store.classes),
        normalization=normalization,
        seed=config.seed,
        keep_rows=torch.from_numpy(rows),
        class_weights=weights,
        bands=store.bands,
    )


def _trainable_per_phase(module: PatchModule) -> list[int]:
    counts = []
    for i in range(len(module.strategy)):
        module.enter_phase(i)
        counts.append(module.trainable_parameters())
    module.enter_phase(0)
    return counts
