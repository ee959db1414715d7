"""Temperature scaling (Guo et al. 2017): one number, fitted on validation, by which logits are divided.

It is applied only where it can be shown to help. Patches of validation are scaled with a temperature that was fitted
without them (cross-validation): their log loss must be lower than without one, by more than chance, and their
calibration error must not be higher. A model that is calibrated already would otherwise be made worse. In a small
validation chance also leaves mistakes out: of ten patches that are right four times in five, all are right in one of
ten draws, and their log losses differ so little that an interval of them is narrow. So the log loss must be lower with
two more mistakes as well, as the interval of a share takes two for granted (Agresti & Coull 1998).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from landsift.evaluation.calibration import calibration_error
from landsift.evaluation.calibration_figures import log_losses, mean_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOWEST, HIGHEST = 0.05, 20.0
"""Temperatures that are looked at."""
FOLDS = 5
MISTAKES = 2
"""That are added to those of validation."""
_TINY = 1e-38  # the smallest float32: of a probability of 0 nothing is known but that it is less


@dataclass(frozen=True)
class Temperature:
    """A temperature, and what cross-validation on validation says of it.

    Attributes:
        fitted: on all of validation.
        applied: whether the model has it.
        reason: in words.
        log_loss: of validation, without one and with one that was fitted without the patch.
        ece: likewise.
        gain: 95 % interval of the difference of the log losses, positive where the temperature helps; None of fewer
            than two patches or groups.
    """

    fitted: float
    applied: bool
    reason: str
    log_loss: tuple[float, float]
    ece: tuple[float, float]
    gain: list[float] | None

    @property
    def value(self) -> float | None:
        """For model.json."""
        return self.fitted if self.applied else None


def scaled(probabilities: NDArray[Any], temperature: float) -> NDArray[np.float64]:
    """Probabilities [N, K] to the power of 1 / temperature, rows summing to 1."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), _TINY)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return found


def fit_temperature(probabilities: NDArray[Any], labels: NDArray[Any]) -> float:
    """The temperature of the lowest log loss.

    Labels are smoothed by 1 / (N + 2) (Platt 1999): patches that are all right would ask for a certainty that no
    number of patches can show.

    Args:
        probabilities: uncalibrated, float [N, K].
        labels: int [N].
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    N, K = probabilities.shape
    if K < 2 or N == 0:
        return 1.0
    logits = np.log(np.maximum(probabilities.astype(np.float64), _TINY))
    wrong = 1 / (N + 2)
    targets = np.full((N, K), wrong / (K - 1))
    targets[np.arange(N), labels] = 1 - wrong

    def loss(log_temperature: float) -> float:
        found: float = float((targets * log_softmax(logits / np.exp(log_temperature), axis=1)).sum())
        return -found / int(N)

    bounds = (float(np.log(LOWEST)), float(np.log(HIGHEST)))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-5}).x))


def choose_temperature(
    probabilities: NDArray[Any], labels: NDArray[Any], groups: NDArray[np.int64] | None = None, seed: int = 0
) -> Temperature:
    """Fit a temperature on validation, and decide whether the model gets it.

    Args:
        probabilities: uncalibrated, of validation, float [N, K]; with test-time augmentation their mean over the views.
        labels: int [N].
        groups: int [N], what must be in one fold of the cross-validation; None: patches are independent.
        seed: of the folds.
    """
    over = None if groups is None else np.unique(groups, return_inverse=True)[1]
    units = np.arange(len(labels)) if over is None else over
    fold = np.random.default_rng([seed, 18]).permutation(int(units.max()) + 1)[units] % FOLDS
    without = probabilities.astype(np.float64)
    held_out = without.copy()
    for f in np.unique(fold):
        rest = fold != f
        if rest.any():
            held_out[~rest] = scaled(probabilities[~rest], fit_temperature(probabilities[rest], labels[rest]))
    before, after = log_losses(labels, without), log_losses(labels, held_out)
    gain = mean_interval(before - after, over)
    shown = gain is not None and gain[0] > 0
    errors = tuple(
        calibration_error(np.minimum(p.max(axis=1), 1.0), p.argmax(axis=1) == labels) for p in (without, held_out)
    )
    if not shown:
        applied, reason = False, "not applied: cross-validation on validation does not show that it lowers the log loss"
    elif not _outlives_mistakes(labels, without, held_out, over):
        few = f"{len(labels):,} patches" + ("" if over is None else f" in {int(over.max()) + 1:,} groups")
        reason = (
            f"not applied: validation is too small to show it ({few}): {MISTAKES} more mistakes would undo the gain"
        )
        applied = False
    elif errors[1] > errors[0]:
        applied, reason = False, "not applied: in cross-validation on validation it raises the calibration error"
    else:
        applied, reason = True, "applied: in cross-validation on validation it lowers the log loss"
    losses = float(before.mean()), float(after.mean())
    return Temperature(fit_temperature(probabilities, labels), applied, reason, losses, (errors[0], errors[1]), gain)


def _outlives_mistakes(
    labels: NDArray[Any], without: NDArray[np.float64], held_out: NDArray[np.float64], groups: NDArray[np.int64] | None
) -> bool:
    """Whether the log loss is lower, by more than chance, if some more patches had another label than was predicted.

    Args:
        labels: int [N].
        without: probabilities without a temperature, [N, K].
        held_out: with one that was fitted without the patch, [N, K].
        groups: int [N], 0 to G - 1, or None.
    """
    first, second = np.argsort(-without, axis=1, kind="stable")[:, :2].T
    mistaken = np.where(first == labels, second, labels)
    lost = float((log_losses(mistaken, without) - log_losses(mistaken, held_out)).mean())
    differences = log_losses(labels, without) - log_losses(labels, held_out)
    more = None if groups is None else np.concatenate([groups, groups.max() + 1 + np.arange(MISTAKES)])
    gain = mean_interval(np.concatenate([differences, [min(lost, 0.0)] * MISTAKES]), more)
    return gain is not None and gain[0] > 0
