"""`landsift tune`: trials one after the other, the best few once more with other seeds, and the test at the end."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from landsift.config import BUILT_IN_SOURCES, RunConfig, cache_folder
from landsift.data.sources.base import content_fingerprint
from landsift.data.split_rows import known_by_content
from landsift.data.splits import make_split
from landsift.data.store.patch_store import PatchStore, build_store
from landsift.errors import ConfigError, RunError
from landsift.models import own_networks
from landsift.models.fingerprint import weights_fingerprint
from landsift.models.timm_networks import has_fixed_input
from landsift.pipeline import inputs, preflight
from landsift.pipeline.cache import keys, locks, results
from landsift.pipeline.flyte import local
from landsift.pipeline.stage_table import DECODE
from landsift.pipeline.tuning.record import ATTEMPTS, BEST_CONFIG, Record
from landsift.pipeline.tuning.trial import Outcome, train
from landsift.runtime import interruption, outputs, surroundings
from landsift.training.strategies import settled, strategy_of
from landsift.tuning.choice import REPEATS, chosen, finalists, ranked
from landsift.tuning.space import Space, space_of
from landsift.tuning.suggest import Suggestion
from landsift.tuning.trials import Trial

logger = logging.getLogger("landsift")

MINUTES = 30.0
"""Of all trainings together, where neither minutes nor trials are given."""
KEPT_FOR_REPEATS = 0.5
"""Largest share of the minutes that is kept for the repeats of the finalists."""
SAME_IN_A_ROW = 20
"""Suggestions that were all tried before, after which there is nothing left to try."""
FAILED_AT_FIRST = 8
"""Trials that have all failed, after which the others would as well: more than the known good configurations."""


@dataclass(frozen=True)
class _Work:
    """What a search works with; `patches` are those of validation, `run` is what the cache calls it."""

    record: Record
    space: Space
    store: PatchStore
    store_key: str
    patches: int
    limits: Mapping[str, float | None]
    repeats: int
    run: str

    @property
    def seconds_left(self) -> float | None:
        """For trainings; None: there is no limit."""
        minutes = self.limits["minutes"]
        return None if minutes is None else 60 * minutes - self.record.spent

    @property
    def reserved(self) -> float:
        """Seconds that are kept for the repeats of the present finalists."""
        takes = self.repeats * sum(trial.seconds for trial in finalists(self.record.trials))
        return min(takes, KEPT_FOR_REPEATS * 60 * (self.limits["minutes"] or 0))

    def train(self, config: RunConfig, what: str, **more: Any) -> Outcome:
        """As `trial.train`."""
        return train(config, self.store, self.store_key, self.run, what, **more)


def tune(
    config: inputs.Config,
    out: Path | str,
    *,
    data: inputs.Data = None,
    trials: int | None = None,
    minutes: float | None = None,
    search: Sequence[str] = (),
    repeats: int = REPEATS,
    command: Sequence[str] | None = None,
) -> Record:
    """Search settings on the validation patches, and test the chosen ones once.

    Args:
        config: a configuration, nested values, a YAML file, or None. What it sets is fixed; the rest is searched.
        out: the folder to make: new, empty, or that of the same search, which resumes.
        data: a store, or what `data.source` may name; None: what the configuration names.
        trials: how many to try; None: as many as the minutes allow.
        minutes: how long all trainings may take, repeats and those before an interruption included; the trial that
            runs is ended then, and the test comes after it. None: 30 where `trials` is None, else no limit.
        search: names of `space.Dimension` to search and no other, also where the configuration sets their keys.
        repeats: with how many further seeds the best trials are trained before one is chosen.
        command: the command line, for the page.

    Returns:
        The finished search.

    Raises:
        LandsiftError: the output, the data, the model or a setting cannot be used, or all trials failed.
        KeyboardInterrupt: Ctrl+C; what was trained is kept, best.yaml is the best so far, and the same call resumes.
    """
    from landsift.pipeline.tuning.final import finish, finish_check

    base = inputs.configured(config, data).absolute()
    out = outputs.absolute(out)
    limits = _limits(trials, minutes)
    if base.pretraining.method is not None:
        raise ConfigError("pretraining.method: a search begins with weights", "pretrain first, and set model.weights")
    if base.data.source not in BUILT_IN_SOURCES:
        outputs.check_outside(out, [base.data.source])
    stopped = f"stopped; {out} holds the best configuration so far, and the same command resumes"
    with (
        interruption.interruptible(stopped),
        surroundings.alone("landsift tune"),
        surroundings.as_guest(also=local.OF_A_CLUSTER),
        locks.only_writer(out),
        locks.using(cache_folder()),
    ):
        preflight.check_training(base)
        store, store_key = _store(base)
        split = make_split(store, base.data.split, base.data.budget, base.data.budget_seed)
        space = _space(base, store, len(split.train), search)
        record = Record.opened(out, asked_of(space, store))
        finish_check(record, limits)
        if record.tested is None:
            _say(space)
            run = f"tune-{uuid.uuid4().hex[:12]}"
            work = _Work(record, space, store, store_key, len(split.val), limits, repeats, run)
            try:
                _search(work)
                _repeat(work)
            except (KeyboardInterrupt, SystemExit):
                _tell_best(record)
                raise
    return finish(record, space, limits, command)


def asked_of(space: Space, store: PatchStore) -> dict[str, Any]:
    """What decides a search: on resuming it must be the same, also in the files that the configuration names."""
    config = space.base.model_dump(mode="json", exclude={"tracking", "cluster"})
    return {
        "config": config,
        "search": {
            name: asdict(d) | {"choices": list(d.choices), "keys": list(d.keys)} for name, d in space.dimensions.items()
        },
        "fixed": space.fixed,
        "patches": store.fingerprint,
        "files": {
            "weights": weights_fingerprint(settled(space.base).model),
            "module": own_networks.fingerprint(space.base.model.module),
            "split": known_by_content(space.base.data.split),
        },
    }


def _limits(trials: int | None, minutes: float | None) -> dict[str, float | None]:
    if trials is not None and trials < 1:
        raise ConfigError(f"--trials is {trials}", "a whole number of at least 1 is needed")
    if minutes is not None and not 0 < minutes < 1e6:
        raise ConfigError(f"--minutes is {minutes:g}", "a number above 0 and below a million is needed")
    return {"trials": trials, "minutes": MINUTES if minutes is None and trials is None else minutes}


def _store(config: RunConfig) -> tuple[PatchStore, str]:
    """The patches and their store's key; decoded as every run decodes them, and kept in the cache."""
    fingerprint = content_fingerprint(config.data)
    key = keys.store_key(config.data, fingerprint)
    folder = results.place(DECODE, key, local=True)
    if results.damage(folder):
        with locks.sole_maker(folder, "this patch store"):
            if results.damage(folder):
                with results.building(folder, "tune", DECODE.checked) as partial:
                    build_store(keys.store_settings(config.data), partial, 2)
    return PatchStore.open(folder), key


def _space(base: RunConfig, store: PatchStore, train: int, search: Sequence[str]) -> Space:
    side = int(min(store.images.shape[1:3]))
    return space_of(base, side, train, search, has_fixed_input(base.model.backbone))


def _say(space: Space) -> None:
    logger.info("searched: %s", ", ".join(space.dimensions))
    if fixed := [f"{name} {why}" for name, why in space.fixed.items() if not why.endswith("--search")]:
        logger.info("fixed: %s", "; ".join(fixed))
    if space.base.training.balances_classes:
        logger.info("trials are ranked by accuracy on validation, also where training balances the classes")
    if space.base.training.devices > 1:
        logger.info("training.devices is above 1: trials are not ended early, the last one may exceed the minutes")


def _search(work: _Work) -> None:
    """Try configurations until the trials or the minutes are over."""
    record, space, most = work.record, work.space, work.limits["trials"]
    while (most is None or len(record.trials) < most) and not record.repeats:
        left = None if work.seconds_left is None else work.seconds_left - work.reserved
        if left is not None and record.trials and left <= 0:
            if len(record.trials) == 1:
                logger.warning("trial 1, which is always trained to its end, took all the time: give more --minutes")
            return
        if len(record.trials) >= FAILED_AT_FIRST and all(trial.state == "failed" for trial in record.trials):
            return
        last = record.trials[-SAME_IN_A_ROW:]
        if len(last) == SAME_IN_A_ROW and all(trial.same_as is not None for trial in last):
            logger.info("the last %d suggestions had all been tried: the search is complete", SAME_IN_A_ROW)
            return
        suggestion = Suggestion(space, space.base.seed, record.trials, work.patches)
        config = space.config(suggestion.values)
        phase = strategy_of(config)[-1]
        trial = Trial(suggestion.number, suggestion.values, "failed", rates=(phase.lr_head, phase.lr_backbone))
        earlier = next((t for t in record.trials if t.same_as is None and space.config(t.values) == config), None)
        if earlier is not None:
            record.add(_with(trial, earlier, same_as=earlier.number), space)
            continue
        until = None if left is None or not record.trials else time.monotonic() + left
        outcome = _tried(work, config, suggestion, until)
        record.add(_with(trial, outcome), space)
        _tell(record, space)
        if outcome.state == "stopped":
            return
    if not ranked(record.trials):
        _all_failed(record)


def _tried(work: _Work, config: RunConfig, suggestion: Suggestion, until: float | None) -> Outcome:
    """Train a trial; one that ended the process several times, as by taking all memory, has failed."""
    record = work.record
    if record.attempts >= ATTEMPTS:
        reason = f"the process ended {ATTEMPTS} times during this trial, killed or out of memory"
        return Outcome("failed", {}, 0, 0.0, reason=reason)
    record.attempts += 1
    record.save()
    early = {"is_hopeless": suggestion.is_hopeless, "until": until} if config.training.devices == 1 else {}
    try:
        return work.train(config, f"trial {suggestion.number + 1}", **early)
    except BaseException:  # the process is alive to tell: an interruption, a full disk
        record.attempts -= 1
        record.save()
        raise


def _with(trial: Trial, found: Outcome | Trial, same_as: int | None = None) -> Trial:
    """The trial with what its training, or an equal earlier one, has found."""
    taken = {name: getattr(found, name) for name in Outcome.__dataclass_fields__}
    return Trial(**{**vars(trial), **taken, "same_as": same_as})


def _repeat(work: _Work) -> None:
    """Train the finalists with further seeds, a seed at a time for all of them, as far as the minutes go."""
    record, space = work.record, work.space
    if not ranked(record.trials):
        _all_failed(record)
    final = finalists(record.trials)
    if len(final) < 2:
        return
    for number in range(1, work.repeats + 1):
        missing = [t for t in final if len(record.repeats.get(t.number, ())) < number]
        left, takes = work.seconds_left, sum(trial.seconds for trial in missing)
        begun = len(missing) < len(final)
        if missing and not begun and left is not None and left < takes:
            logger.info("no time is left to train the best trials with seed %d", space.base.seed + number)
            return
        for trial in missing:
            seed = (space.base.seed + number) % 2**32
            config = space.config(trial.values).replace(f"seed={seed}")
            outcome = work.train(config, f"trial {trial.number + 1} with seed {seed}")
            if outcome.state == "failed":
                logger.warning("trial %d with seed %d failed: %s", trial.number + 1, seed, outcome.reason)
            else:
                logger.info(
                    "trial %d with seed %d: val accuracy %.2f %%  (%.1f s)",
                    trial.number + 1, seed, 100 * (outcome.accuracy or 0), outcome.seconds,
                )  # fmt: skip
            record.repeats.setdefault(trial.number, []).append(outcome.accuracy if outcome.state == "done" else None)
            record.spent += outcome.seconds
            record.put_best(space.config(record.trials[chosen(record.trials, record.repeats)[0]].values))
            record.save()


def _tell(record: Record, space: Space) -> None:
    """A line of the last trial."""
    trial, best = record.trials[-1], ranked(record.trials)
    number, said = trial.number + 1, _in_words(trial)
    if trial.state == "failed":
        logger.warning("trial %d failed: %s  (%s)", number, trial.reason, said)
        return
    state = {"done": "", "pruned": f", pruned after {trial.epochs} epochs", "stopped": ", the time was over"}[
        trial.state
    ]
    of = f"  best {100 * (best[0].accuracy or 0):.2f} %, trial {best[0].number + 1}" if best else ""
    accuracy = 100 * (trial.accuracy or 0)
    logger.info("trial %d: val accuracy %.2f %%%s  %s  (%.1f s)%s", number, accuracy, state, said, trial.seconds, of)


def _tell_best(record: Record) -> None:
    """What an interrupted search leaves to be used."""
    if best := ranked(record.trials):
        accuracy, number = 100 * (best[0].accuracy or 0), best[0].number + 1
        message = "best so far: trial %d, val accuracy %.2f %%, in %s; the same command resumes"
        logger.info(message, number, accuracy, record.folder / BEST_CONFIG)


def _in_words(trial: Trial) -> str:
    """The values of a trial: "strategy layer_decay, lr_head ×0.5, epochs 20"."""
    if trial.number == 0:
        return "the configuration as it is"
    said = []
    for name, value in trial.values.items():
        shown = f"{value:.3g}" if isinstance(value, float) else value
        said.append(f"{name} {'×' if name in ('lr_head', 'lr_backbone') else ''}{shown}")
    return ", ".join(said)


def _all_failed(record: Record) -> None:
    """Raise what the trials failed with."""
    failed = [trial for trial in record.trials if trial.state == "failed"]
    if not failed:
        raise RunError("no trial was complete when the time was over", "give more --minutes: the same command resumes")
    raise RunError(f"all trials failed: {failed[0].reason}", _what_next(failed))


def _what_next(failed: Sequence[Trial]) -> str:
    """What to do next where all trials failed."""
    reasons = {trial.reason for trial in failed}
    more = f"{len(reasons)} causes are in trials.csv; " if len(reasons) > 1 else ""
    return f"{more}`landsift run` with the same settings shows the first one in full; to try again, use a new folder"
