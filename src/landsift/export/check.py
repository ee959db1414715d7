"""An exported model beside the run that it comes from, on real patches."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landsift.errors import ModelError
from landsift.export.patches import LEAST, Sample
from landsift.models.loading import AnyPredictor
from landsift.models.onnx_predictor import OnnxPredictor
from landsift.models.predictor import Predictor, answers

SAME, LARGEST = 0.999, 1e-3
"""Of a float32 export: share of patches that must get the same class, and the largest difference of probabilities."""
SAME_INT8 = 0.98
"""Of an INT8 export on patches of which too few have labels: share that must get the same class."""
CHUNK = 256


@dataclass(frozen=True)
class Check:
    """An exported model beside torch.

    Attributes:
        patches: compared.
        source: what they are, in words.
        same: share that get the same class.
        largest: difference of probabilities.
        mean: difference of probabilities, over classes and patches.
        labelled: patches with a label.
        accuracy: of the export on those; None: there are none.
        accuracy_torch: of the run on them.
        patches_per_second: of the export.
        patches_per_second_torch: of the run, in the same process, in turns.
        judged: share with the same set, abstain and ood; None: the model has no thresholds.
    """

    patches: int
    source: str
    same: float
    largest: float
    mean: float
    labelled: int
    accuracy: float | None
    accuracy_torch: float | None
    patches_per_second: float
    patches_per_second_torch: float
    judged: float | None = None

    @property
    def lost(self) -> float | None:
        """Accuracy lost, as a share; None: too few patches are labelled to tell."""
        if self.accuracy is None or self.accuracy_torch is None or self.labelled < LEAST:
            return None
        return self.accuracy_torch - self.accuracy

    @property
    def faster(self) -> float:
        """Patches per second in those of torch."""
        return self.patches_per_second / self.patches_per_second_torch

    def to_dict(self) -> dict[str, Any]:
        """Plain values, rounded where more digits say nothing."""
        found = asdict(self)
        for name in ("patches_per_second", "patches_per_second_torch"):
            found[name] = round(found[name], 1)
        return {name: float(f"{each:.6g}") if isinstance(each, float) else each for name, each in found.items()}

    def lines(self) -> list[str]:
        """For people."""
        lines = [
            f"checked on     {self.patches:,} {self.source}",
            f"same class     {100 * self.same:.2f} %",
            f"probabilities  differ by {self.largest:.1e} at most, by {self.mean:.1e} on average",
        ]
        if self.accuracy is not None and self.accuracy_torch is not None:
            lines.append(
                f"accuracy       {100 * self.accuracy:.2f} %, by torch {100 * self.accuracy_torch:.2f} % "
                f"({self.labelled:,} patches with a label)"
            )
        if self.judged is not None:
            lines.append(f"thresholds     set, abstain and ood are the same for {100 * self.judged:.2f} %")
        speed = f"{self.patches_per_second:,.0f} patches/s, torch {self.patches_per_second_torch:,.0f}"
        return [*lines, f"speed          {speed} ({self.faster:.2f} times)"]


def check_enough(sample: Sample) -> None:
    """Refuse patches that are too few to show anything.

    Raises:
        ModelError: they are.
    """
    if len(sample) < LEAST:
        raise ModelError(
            f"an export is checked on {LEAST} patches or more, and there are {len(sample)} {sample.source}",
            "give a folder with more: --check FOLDER",
        )


def compare(torch_model: Predictor, exported: OnnxPredictor, sample: Sample) -> Check:
    """Both on the same patches, chunk by chunk in turns, so that what else the machine does slows both alike.

    Raises:
        ModelError: there are too few patches, or the export gives no probabilities.
    """
    check_enough(sample)
    seconds = [0.0, 0.0]
    found: tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]] = ([], [])
    distances: tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]] = ([], [])
    models: tuple[AnyPredictor, ...] = (torch_model, exported)
    for model in models:
        answers(model, sample.images[:CHUNK])  # the first batch allocates, and chooses kernels
    for number, start in enumerate(range(0, len(sample), CHUNK)):
        chunk = sample.images[start : start + CHUNK]
        for i in (0, 1) if number % 2 else (1, 0):
            begun = time.perf_counter()
            probabilities, distance = answers(models[i], chunk)
            seconds[i] += time.perf_counter() - begun
            found[i].append(probabilities)
            distances[i].append(distance)
    ours, theirs = np.concatenate(found[1]), np.concatenate(found[0])
    if not np.isfinite(ours).all():
        raise ModelError("the export is refused: it gives NaN for some patches")
    difference = np.abs(ours - theirs)
    labelled = sample.labels >= 0
    accuracy, own = (
        float((each.argmax(1) == sample.labels)[labelled].mean()) if labelled.any() else None for each in (ours, theirs)
    )
    return Check(
        patches=len(sample),
        source=sample.source,
        same=float((ours.argmax(1) == theirs.argmax(1)).mean()),
        largest=float(difference.max()),
        mean=float(difference.mean()),
        labelled=int(labelled.sum()),
        accuracy=accuracy,
        accuracy_torch=own,
        patches_per_second=len(sample) / seconds[1],
        patches_per_second_torch=len(sample) / seconds[0],
        judged=_judged_alike(models, (theirs, ours), tuple(map(np.concatenate, distances))),
    )


def _judged_alike(
    models: tuple[AnyPredictor, ...],
    probabilities: tuple[NDArray[np.float32], ...],
    distances: tuple[NDArray[np.float64], ...],
) -> float | None:
    """Share of the patches with the same set, abstain and ood; None where there are no thresholds."""
    if any(model.trust is None for model in models):
        return None
    one, other = (
        model.trust.judge(p, d)  # type: ignore[union-attr]
        for model, p, d in zip(models, probabilities, distances, strict=True)
    )
    alike = (one.sets == other.sets).all(axis=1) & (one.ood == other.ood)
    if one.abstain is not None and other.abstain is not None:
        alike &= one.abstain == other.abstain
    return float(alike.mean())


def accept(check: Check, *, int8: bool, max_loss: float) -> None:
    """Refuse an export that does not answer as its run does.

    Args:
        check: the two side by side.
        int8: whether it is quantised: then accuracy counts, and with too few labels the share of equal classes.
        max_loss: accuracy that an INT8 export may lose, as a share.

    Raises:
        ModelError: it is refused; the figures are in the message.
    """
    figures = "; ".join(" ".join(line.split()) for line in check.lines()[1:-1])
    if not int8:
        if check.same >= SAME and check.largest < LARGEST and (check.judged is None or check.judged >= SAME):
            return
        raise ModelError(
            f"the export is refused, and nothing is written: {figures}",
            f"{100 * SAME:g} % must get the same class (and set, abstain, ood), and probabilities differ by less than "
            f"{LARGEST:g}",
        )
    lost = check.lost
    if lost is None and check.same < SAME_INT8:
        raise ModelError(
            f"the export is refused, and nothing is written: {figures}",
            f"with fewer than {LEAST} labels {100 * SAME_INT8:g} % must get the same class: give labelled patches with "
            "--check, or use --format onnx",
        )
    if lost is not None and lost > max_loss and not math.isclose(lost, max_loss):
        raise ModelError(
            f"the export is refused, and nothing is written: it loses {100 * lost:.2f} points; {figures}",
            f"at most {100 * max_loss:g} may be lost (--max-loss); --format onnx loses none",
        )
