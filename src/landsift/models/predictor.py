"""A trained model on disk, and the predictor made from it.

model/
  model.safetensors   weights of backbone and head
  model.json          how to rebuild them: backbone, head, classes, input size, normalisation, temperature
  trust.json          perhaps: what sets, abstention and out-of-distribution flags need (`trust`)
  trust.safetensors
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift.config import ModelConfig
from landsift.errors import ModelError
from landsift.extras import needs
from landsift.image_sizes import Size
from landsift.models import own_networks
from landsift.models.backbone import check_backbone
from landsift.models.in_batches import answer_all
from landsift.models.model_json import DESCRIPTION_FILE, WEIGHTS_FILE, ModelDescription, read_description
from landsift.models.timm_networks import unfilled
from landsift.models.trust import Trust
from landsift.models.trust_files import FEATURES_FILE, TRUST_FILE, read_trust
from landsift.models.weights_file import layers_of_one_value, one_line, read_tensors, write_state
from landsift.runs import MODEL, write_json
from landsift.runtime import threads
from landsift.runtime.outputs import as_path

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from landsift.models.classifier import PatchClassifier
    from landsift.models.input_checks import Patches
    from landsift.models.loading import AnyPredictor

logger = logging.getLogger("landsift")

_BATCH_PIXELS = 64 * 512**2


def save_model(classifier: PatchClassifier, description: ModelDescription, folder: Path) -> None:
    """Write `model.safetensors` and `model.json` into `folder`."""
    write_state(classifier, folder / WEIGHTS_FILE)
    write_json(folder / DESCRIPTION_FILE, description.to_dict())


class Predictor:
    """A trained model: class probabilities, logits and features of patches.

    Each method takes `images`, the pixels of the patches:

    - [B, H, W, C] of the type that `bands` names (of most models uint8), an array or a tensor, any B; or
    - a list of such arrays [H, W, C] or of PIL images (RGB), which may be of different sizes,

    and `batch_size`: patches per batch on the device; fewer if they or the network's input are large, or do not fit the
    caches of a CPU. Patches of another size than in training are resized, bit-identical to `landsift predict`, with a
    notice if there is room for several patches. Row i of the result belongs to patch i.

    Raises (each method):
        ModelError: the patches are of another type or shape.

    Attributes:
        classes: names, in the order of the probabilities.
        bands: what the numbers of patches must mean: those of the training.
        description: the content of model.json.
        preprocess: from stored pixels to the network's input.
        temperature: that logits are divided by; None where the model has none, or raw answers are wanted.
        trust: sets, abstention and out-of-distribution flags for its answers; None where the model has none.
    """

    def __init__(
        self,
        classifier: PatchClassifier,
        description: ModelDescription,
        device: str = "auto",
        *,
        calibrated: bool = True,
        trust: Trust | None = None,
    ) -> None:
        import torch

        from landsift.models.inference import find_folds, folded
        from landsift.models.preprocess import Preprocess

        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        try:
            self.device = torch.empty(0, device=chosen).device
        except (RuntimeError, AssertionError) as error:  # an AssertionError where torch was built for CPUs
            raise ModelError(f"there is no device '{device}' here: {one_line(error)}", "give auto or cpu") from None
        if self.device.type == "meta":
            raise ModelError("the device 'meta' computes nothing", "give auto or cpu")
        self.description = description
        self.classes = description.classes
        self.bands = description.bands
        self.temperature = description.temperature if calibrated else None
        self.trust = trust if calibrated else None
        self._classifier: PatchClassifier = classifier.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        backbone = self._classifier.backbone
        self._network = torch.nn.Sequential(folded(backbone, find_folds(backbone)), self._classifier.head)
        self.preprocess = Preprocess(
            description.mean, description.std, description.image_size, description.patch_size, description.bands
        ).to(self.device)
        self._told: set[Size] = set()

    @property
    def network(self) -> tuple[nn.Module, nn.Module]:
        """Backbone and head, in eval mode; batch norms are folded into the convolutions before them."""
        backbone, head = self._network
        return backbone, head

    @property
    def classifier(self) -> PatchClassifier:
        """Backbone and head as they were trained, in eval mode."""
        return self._classifier

    def __call__(self, images: Patches, batch_size: int = 64) -> NDArray[np.float32]:
        """The same as `probabilities`."""
        return self.probabilities(images, batch_size)

    def probabilities(self, images: Patches, batch_size: int = 64) -> NDArray[np.float32]:
        """Class probabilities, float32 [B, K]; rows sum to 1.

        With `evaluation.tta: flips` (test-time augmentation) they are the mean over the eight flips and rotations. A
        temperature T makes p^(1/T) of them, divided by the sum of the row.
        """

        def answer(prepared: Tensor) -> Tensor:
            views = self._views(prepared)
            total: Tensor = sum(self._network(view).float().softmax(dim=1) for view in views)
            return tempered(total / len(views), self.temperature)

        return self._answers(images, batch_size, len(self.classes), answer)

    def probabilities_and_features(
        self, images: Patches, batch_size: int = 64
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What `probabilities` and `features` return, float32 [B, K] and [B, D], in one pass of the network."""
        import torch

        backbone, head = self.network

        def answer(prepared: Tensor) -> Tensor:
            views = self._views(prepared)
            first = backbone(views[0])  # the patch as it is
            total: Tensor = head(first).float().softmax(dim=1)
            for view in views[1:]:
                total = total + head(backbone(view)).float().softmax(dim=1)
            return torch.cat([tempered(total / len(views), self.temperature), first.float()], dim=1)

        K = len(self.classes)
        both = self._answers(images, batch_size, K + self._classifier.features, answer)
        return both[:, :K].copy(), both[:, K:]

    def logits(self, images: Patches, batch_size: int = 64) -> NDArray[np.float32]:
        """Class scores before the softmax, float32 [B, K]; their softmax is always `probabilities`.

        They are the output of the head. With `evaluation.tta: flips` they are the logarithm of the mean probability,
        which is a logit up to a constant per row. Both are divided by the temperature, if there is one.
        """
        import torch

        def answer(prepared: Tensor) -> Tensor:
            views = self._views(prepared)
            scores: list[Tensor] = [self._network(view).float() for view in views]
            logits = scores[0]
            if len(views) > 1:
                logs = torch.stack([score.log_softmax(dim=1) for score in scores])  # [views, b, K]
                logits = logs.logsumexp(dim=0) - math.log(len(views))
            return logits if self.temperature is None else logits / self.temperature

        return self._answers(images, batch_size, len(self.classes), answer)

    def features(self, images: Patches, batch_size: int = 64) -> NDArray[np.float32]:
        """Pooled features of the backbone, before the head: float32 [B, D].

        They are computed without test-time augmentation, also with `evaluation.tta: flips`.
        """
        return self._answers(
            images, batch_size, self._classifier.features, lambda prepared: self._network[0](prepared).float()
        )

    def _answers(
        self, images: Patches, batch_size: int, width: int, answer: Callable[[Tensor], Tensor]
    ) -> NDArray[np.float32]:
        """The result of `answer` for preprocessed patches: float32 [B, width]."""
        import torch

        def answered(batch: NDArray[Any]) -> NDArray[np.float32]:
            prepared = self.preprocess(torch.from_numpy(batch).to(self.device))
            found: NDArray[np.float32] = answer(prepared).cpu().numpy()
            return found

        threads.after_fork()
        with torch.inference_mode():
            return answer_all(images, self.description, width, batch_size, self._at_a_time, answered, self._told)

    def _views(self, prepared: Tensor) -> list[Tensor]:
        """The images [b, C, S, S] that the model looks at: themselves, or their flips and rotations."""
        if self.description.tta == "none":
            return [prepared]
        return symmetries(prepared, square=len(set(self.description.patch_size)) == 1)

    def _at_a_time(self, size: Size, most: int) -> int:
        """How many patches of a size are on the device at a time."""
        from landsift.models.inference import cpu_batch

        pixels = self.description.image_size**2
        if self.device.type == "cpu":
            most = min(most, cpu_batch(self.description.image_size))
        if size != self.description.patch_size:
            pixels = max(pixels, math.prod(size))
        pixels *= max(1, len(self.bands) // 3)
        return max(1, min(most, _BATCH_PIXELS // pixels))


def answers(predictor: AnyPredictor, images: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Probabilities [B, K] of patches, and the distances of their features [B]; zeros of a model without `trust`.

    A patch without any data is infinitely far away: its features are those of whatever stands for nothing.

    Args:
        predictor: the model.
        images: [B, H, W, C].
    """
    import numpy as np

    if predictor.trust is None:
        probabilities = predictor(images)
        return probabilities, np.zeros(len(probabilities))
    probabilities, features = predictor.probabilities_and_features(images)
    distances = predictor.trust.distances(features)
    missing = predictor.bands.missing(images)
    if missing is not None:
        distances[missing.all(axis=(1, 2, 3))] = np.inf
    return probabilities, distances


def say_other_views(predictor: Predictor, tta: str) -> None:
    """Say that a model's thresholds were chosen with another test-time augmentation."""
    if tta != predictor.description.tta and (predictor.temperature is not None or predictor.trust is not None):
        logger.warning(
            "the model's temperature and thresholds were chosen with test-time augmentation %s, and hold less well "
            "with %s",
            predictor.description.tta,
            tta,
        )


def tempered(probabilities: Tensor, temperature: float | None) -> Tensor:
    """Probabilities [B, K] to the power of 1 / temperature, rows summing to 1; as they are where it is None.

    Of one look at a patch, that is the softmax of the logits divided by the temperature (Guo et al. 2017).
    """
    return probabilities if temperature is None else (probabilities.log() / temperature).softmax(dim=1)


def symmetries(images: Tensor, *, square: bool = True) -> list[Tensor]:
    """The eight flips and rotations of images [B, C, S, S], channels last in memory.

    Where the patches were not `square` before they were resized, only the four that keep their sides, as in training.
    """
    import torch

    turns = range(0, 4, 1 if square else 2)
    turned = [torch.rot90(base, turn, dims=(-2, -1)) for base in (images, images.flip(-1)) for turn in turns]
    return [view.contiguous(memory_format=torch.channels_last) for view in turned]


def load_model(
    path: Path | str, device: str = "auto", *, module: str | None = None, calibrated: bool = True
) -> Predictor:
    """Load the model of a run directory, or a `model/` folder; nothing in it is executed.

    Args:
        path: RUN, or RUN/model.
        device: "auto" (a GPU if there is one), or a torch device.
        module: what registers the model's network with timm, as `model.module`. None: what the model names, which is
            imported if a training on this machine has used it.
        calibrated: False: the network's own probabilities and logits, without the model's temperature, and no `trust`.

    Raises:
        ModelError: there is no model, its files do not fit each other, or there is no such device.
        RunError: `path` is no path.
    """
    folder = model_folder(path)
    module = None if module is None else os.fspath(module) if isinstance(module, os.PathLike) else module
    classifier, description = _rebuild(folder, module)
    trust = read_trust(folder, description) if calibrated else None
    if trust is not None and trust.distances.means.shape[1] != classifier.features:
        raise ModelError(f"{folder / FEATURES_FILE} is of another backbone", f"delete {TRUST_FILE} beside it")
    return Predictor(classifier, description, device, calibrated=calibrated, trust=trust)


def model_folder(path: Path | str) -> Path:
    """The folder that holds a model's two files: RUN/model, or `path` itself.

    Raises:
        ModelError: there is no model.
        RunError: `path` is no path.
    """
    path = as_path(path)
    if path.is_file() and path.suffix.lower() == ".onnx":
        raise ModelError(f"{path} is an exported model; this needs the run that it was exported from")
    if path.is_file():
        raise ModelError(
            f"{path} is a file, and no model by its name",
            "give a run directory, the folder that holds model.json, or an exported model, whose name ends in .onnx",
        )
    folder = path / MODEL if (path / MODEL).is_dir() else path
    if not (folder / DESCRIPTION_FILE).is_file() or not (folder / WEIGHTS_FILE).is_file():
        raise ModelError(f"no model at {path}", f"give a run directory or the folder that holds {DESCRIPTION_FILE}")
    return folder


def _rebuild(folder: Path, module: str | None) -> tuple[PatchClassifier, ModelDescription]:
    needs("safetensors", "timm", "torch", extra="torch", what="a trained run")
    from landsift.models.backbone import create_backbone
    from landsift.models.classifier import PatchClassifier

    description = read_description(folder / DESCRIPTION_FILE)
    if not description.classes:
        raise ModelError(
            f"{folder} holds a pretrained backbone without classes",
            f"train a classifier that starts from it: landsift run --set model.backbone={description.backbone} "
            f"--set model.weights={folder}",
        )
    config = description.network_config
    if description.module is not None or module is not None:
        config = _with_code(config, description, module)
    try:
        tensors = read_tensors(folder / WEIGHTS_FILE)
        _refuse_larger(config, description.image_size, sum(tensor.numel() for tensor in tensors.values()))
    except ValueError as error:
        raise _no_fit(folder, error) from None
    for part in ("backbone", "head"):
        found, count = layers_of_one_value({name: t for name, t in tensors.items() if name.startswith(f"{part}.")})
        if found and len(found) == count:
            message = f"{folder / WEIGHTS_FILE} contains no information: each layer of its {part} holds a single value"
            raise ModelError(f"{message} (such as {found[0]})", "was the model changed after its training?")
    backbone = create_backbone(config, description.image_size)
    classifier = PatchClassifier(backbone.network, backbone.features, len(description.classes), config.head)
    try:
        classifier.load_state_dict(tensors)
    except (RuntimeError, TypeError) as error:
        raise _no_fit(folder, error) from None
    return classifier, description


def _with_code(config: ModelConfig, description: ModelDescription, given: str | None) -> ModelConfig:
    """The network with the module that registers it, which the user has named, now or for a training."""
    module = given or description.module
    assert module is not None
    if given is None:
        own_networks.check_trusted(module)
    if description.code is not None and own_networks.fingerprint(module) != description.code:
        logger.warning("%s has changed since the model was trained: its predictions may differ", module)
    return config.model_copy(update={"module": module})


def _refuse_larger(config: ModelConfig, image_size: int, values: int) -> None:
    """Raise ValueError where a backbone has more values than there are, before memory is taken for them."""
    check_backbone(config)
    network = unfilled(config, image_size)
    if network is None:
        return
    needed = sum(value.numel() for value in network.state_dict().values())
    needed += (config.head.hidden or 0) * int(getattr(network, "num_features", 1))
    if needed > values:
        raise ValueError(f"{config.backbone} and its head have {needed:,} values, the file {values:,}")


def _no_fit(folder: Path, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:160]
    return ModelError(f"{folder / WEIGHTS_FILE} does not fit {DESCRIPTION_FILE}: {reason}")
