"""What is tried next, and which trial is ended early: optuna's TPE sampler and median pruner.

Known good configurations come first, then the best trial so far with one setting changed at a time. Where the best has
no variation left that was not tried, the sampler suggests.

The record of finished trials is the only memory: a study is built from it for every trial, and the sampler is seeded
with the trial's number. So the suggestions of an interrupted search are those of one that was not, and a trial that was
running when the process was killed is suggested again, with the same values.

Bergstra et al. 2011 (TPE); Golovin et al. 2017 (median rule).
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from landsift.tuning.choice import accuracy_error, ranked
from landsift.tuning.space import Dimension, Space, Values
from landsift.tuning.trials import Trial
from landsift.tuning.variations import variations

if TYPE_CHECKING:
    import optuna

RANDOM_UNTIL = 6
"""Trials, the known good ones among them, before the sampler learns from them."""
COMPLETE_BEFORE, TENTHS_BEFORE = 4, 3
"""Trials that must be complete before one is pruned, and tenths of its epochs that each may train."""
ERRORS = 2.0
"""Standard errors of its accuracy by which a trial must be below the median to be pruned."""
WORST = 0.0
"""What the sampler is told of a trial that failed: such settings are not to be suggested again."""


class Suggestion:
    """The next trial.

    Args:
        space: what is searched.
        seed: of the search.
        trials: those before, in their order.
        patches: how many there are in validation.

    Attributes:
        number: of the trial.
        values: to be tried.
    """

    def __init__(self, space: Space, seed: int, trials: Sequence[Trial], patches: int) -> None:
        self._patches = patches
        self.number = len(trials)
        self._reported: set[int] = set()
        with _quiet():
            study = _study(space, seed * 100_003 + self.number, trials)
            if (known := _known(space, trials)) is not None:
                study.enqueue_trial(known)
            self._trial = study.ask()
            self.values = _asked(space, self._trial)

    def is_hopeless(self, curve: dict[int, float]) -> bool:
        """Whether it is below the median of the complete trials at one of these tenths by more than chance makes it.

        Args:
            curve: best validation accuracy so far, by tenths of the epochs.

        Returns:
            False for the first trial, which is always trained to its end.
        """
        if self.number == 0:
            return False
        for step in sorted(curve.keys() - self._reported):
            self._reported.add(step)
            self._trial.report(curve[step] + ERRORS * accuracy_error(curve[step], self._patches), step)
            if self._trial.should_prune():
                return True
        return False


def _known(space: Space, trials: Sequence[Trial]) -> Values | None:
    """The next known good configuration, or an untried variation of the best trial; None: the sampler's turn."""
    if len(trials) < len(space.starts):
        return space.starts[len(trials)]
    tried = [trial.values for trial in trials]
    best = ranked(trials)[:1]
    return next((found for trial in best for found in variations(space, trial.values) if found not in tried), None)


def importances(space: Space, trials: Sequence[Trial]) -> dict[str, float]:
    """How much of the variation among good trials each dimension explains (PED-ANOVA, Watanabe et al. 2023).

    Shares that add up to 1, of dimensions that apply to all trials; empty of fewer than eight complete ones, which
    tell nothing.
    """
    import optuna

    done = [trial for trial in trials if trial.state == "done"]
    if len(done) < 8 or len({trial.accuracy for trial in done}) < 3:
        return {}
    with _quiet():
        study = _study(space, 0, done)
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        try:
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
        except (ValueError, RuntimeError):  # no parameter applies to all, or they do not vary
            return {}
    return {name: float(share) for name, share in found.items()}


def _study(space: Space, seed: int, trials: Sequence[Trial]) -> optuna.Study:
    import optuna

    sampler = optuna.samplers.TPESampler(
        seed=seed % 2**32, n_startup_trials=RANDOM_UNTIL, multivariate=True, group=True, constant_liar=False
    )
    pruner = optuna.pruners.MedianPruner(
        n_startup_trials=COMPLETE_BEFORE, n_warmup_steps=TENTHS_BEFORE, n_min_trials=COMPLETE_BEFORE
    )
    study = optuna.create_study(sampler=sampler, pruner=pruner, direction="maximize")
    states = optuna.trial.TrialState
    for trial in trials:
        complete = trial.state in ("done", "failed")
        study.add_trial(
            optuna.trial.create_trial(
                state=states.COMPLETE if complete else states.PRUNED,
                value=(WORST if trial.state == "failed" else trial.accuracy) if complete else None,
                params=dict(trial.values),
                distributions={name: _distribution(space.dimensions[name]) for name in trial.values},
                intermediate_values=trial.curve,
            )
        )
    return study


def _distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    from optuna import distributions

    if dimension.choices:
        return distributions.CategoricalDistribution(dimension.choices)
    if isinstance(dimension.default, int):
        return distributions.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _asked(space: Space, trial: optuna.Trial) -> Values:
    """A value of every dimension that applies to the strategy, which is asked for first."""
    own = next(iter(space.rows))
    values: Values = {}
    for name, dimension in space.dimensions.items():
        if name != "strategy" and not space.applies(name, str(values.get("strategy", own))):
            continue
        value: Any
        if dimension.choices:
            value = trial.suggest_categorical(name, dimension.choices)
        elif isinstance(dimension.default, int):
            value = trial.suggest_int(name, int(dimension.low), int(dimension.high), log=dimension.log)
        else:
            value = trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)
        values[name] = value
    return values


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without optuna's line per trial and its warnings of what is new in it."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", "Some regimes for parameter")
            yield
    finally:
        optuna.logging.set_verbosity(before)
