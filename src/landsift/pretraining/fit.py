"""One pretraining: from a store and a configuration to a model without classes, checkpoints and a history."""

from __future__ import annotations

import contextlib
import logging
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from landsift import runs
from landsift.config import RunConfig, digest
from landsift.config_pretraining import PretrainingConfig
from landsift.data.split_rows import known_by_content
from landsift.errors import CollapseError, ModelError
from landsift.models import hub, own_networks
from landsift.models.fingerprint import weights_fingerprint
from landsift.pretraining import causes, methods, network, patches
from landsift.runtime import surroundings
from landsift.runtime.whole import remove_partials
from landsift.training.torch_state import as_meant

if TYPE_CHECKING:
    from landsift.data.store.patch_store import PatchStore

logger = logging.getLogger("landsift")
FEW = 100
"""Steps below which a pretraining is said to be short."""


def completed(config: RunConfig) -> RunConfig:
    """The configuration as a pretraining reads it: with the method's settings, and paths from the root."""
    own = methods.complete(config.pretraining, from_weights=config.model.weights != "none")
    config = config.model_copy(update={"pretraining": own}).absolute()
    return network.for_views(config)


def pretrain_here(
    config: RunConfig,
    store: PatchStore,
    folder: Path,
    experiment: Any | None = None,
    probe: PatchStore | None = None,
) -> Path:
    """Pretrain in this process, alone or as one of several; arguments and errors as of `start.pretrain`.

    What is written: model/ (a model without classes, for `model.weights`), checkpoints/, metrics.json, config.yaml,
    manifest.json, with a probe probe.json. If the same pretraining was interrupted there, it resumes.

    Args:
        config: as `completed` leaves it.
        store: the patches.
        folder: where the files go.
        experiment: a Weights & Biases run, or None.
        probe: labelled patches, or None.

    Returns:
        `folder`.
    """
    meant = surroundings.TORCHRUN if surroundings.in_rank() else None
    own_networks.load(config.model)
    own_networks.trust(config.model.module)
    with surroundings.alone("training"), surroundings.as_guest(meant), as_meant():
        return _pretrain(config, store, folder, experiment, probe)


def identity_of(config: RunConfig, store: PatchStore) -> str:
    """What decides a pretraining's result, as a hash: equal for attempts at the same one."""
    model = config.model.model_dump(mode="json", exclude={"module"}) | {"weights": weights_fingerprint(config.model)}
    own = config.pretraining.model_dump(mode="json")
    asked = {
        "pretraining": own,
        "model": model,
        "training": methods.as_training(config).training.model_dump(
            mode="json", exclude={"checkpoint_minutes", "max_skipped_steps"}
        ),
        "split": known_by_content(config.data.split),
        "seed": config.seed,
        "data": store.fingerprint,
        "code": own_networks.fingerprint(config.model.module),
    }
    return digest(asked)


def _pretrain(
    config: RunConfig, store: PatchStore, folder: Path, experiment: Any | None, probe: PatchStore | None
) -> Path:
    import lightning as L

    from landsift.data.splits import Split
    from landsift.pretraining.module import PretrainingModule
    from landsift.pretraining.probe import KnnProbe, check_probe
    from landsift.pretraining.results import write_results
    from landsift.pretraining.watch import CollapseWatch
    from landsift.runtime.memory_allocator import keep_freed_memory
    from landsift.training import ranks, resume
    from landsift.training.trainer import fit_module

    own, asked = config.pretraining, methods.as_training(config)
    identity = identity_of(config, store)
    ranks.join_group(asked, identity)
    strategy = methods.phases_of(own)
    if config.training.num_nodes > 1:
        resume.share_between_nodes(folder)
    how = resume.settled_before(folder, identity)
    if ranks.rank() == 0:
        remove_partials(folder)
        if how is None:  # of what was killed before its first checkpoint
            shutil.rmtree(folder / runs.CHECKPOINTS, ignore_errors=True)
    ranks.wait_for_all()
    keep_freed_memory()
    rows, facts = patches.learned_from(store, config.data.split)
    weights_file = hub.pretrained(config.model).to_dict() if config.model.weights == "imagenet" else None
    python_numbers = random.getstate()
    L.seed_everything(config.seed, workers=True, verbose=False)
    random.setstate(python_numbers)  # as in a training: Flyte draws names there
    side = network.patch_side(asked)
    network.check_sizes(config, strategy, side)
    sizes = [phase.image_size or own.image_size for phase in strategy]
    sizes += [methods.local_size(own, size, side) for size in sizes] if own.views.local else []
    student, normalization = network.projected(asked, store, rows, sizes)
    module = PretrainingModule(
        student,
        strategy,
        asked.training,
        own,
        normalization=normalization,
        seed=config.seed,
        bands=store.bands,
        multiple=side,
    )
    if ranks.rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        runs.write_text(folder / runs.CONFIG, config.to_yaml())
    split = Split(rows, patches.watched(rows, own.watch.patches, config.seed), rows[:0])
    same = patches.alike(store.images, split.val)
    if ranks.rank() == 0:
        full, rest = divmod(len(rows), own.batch_size * ranks.world())
        _say(own, own.epochs * (full + (rest > 1 or not full)), same)
    causes.check_rate(own, student.backbone)
    watchers: list[Any] = [CollapseWatch(own, same)]
    if probe is not None:
        check_probe(store, probe)
        watchers.insert(0, KnnProbe(probe, config, folder))
    with _in_terms_of(config, config.training.precision):
        best, found = fit_module(
            asked,
            module,
            watchers,
            cast("PatchStore", patches.Unlabelled.of(store)),
            split,
            folder,
            experiment,
            how or {"identity": identity},
        )
    random.setstate(python_numbers)
    if ranks.rank() == 0:
        found |= {"learned_from": facts, "weights_file": weights_file}
        write_results(config, store, module, normalization, folder, rows, best, found)
    return folder


@contextlib.contextmanager
def _in_terms_of(config: RunConfig, precision: str) -> Iterator[None]:
    """A training that diverges is told with the keys of a pretraining."""
    try:
        yield
    except CollapseError:
        raise
    except ModelError as error:
        if "not finite" not in error.message:
            raise
        raise causes.diverged(config, error.message, precision) from None


def _say(own: PretrainingConfig, steps: int, same: str) -> None:
    """Warn of what is likely to fail, before it does."""
    for key in causes.unread(own):
        logger.info("%s is not read: the method is %s", key, own.method)
    for cause in causes.causes(own):
        logger.warning("%s; %s", cause.text, cause.change)
    if same:
        logger.warning("%s", same)
    if steps < FEW:
        message = (
            "%d steps in all, in which little is learned: raise pretraining.epochs or lower pretraining.batch_size"
        )
        logger.warning(message, steps)
