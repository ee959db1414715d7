"""A trained model on disk, and the predictor that needs nothing else.

model/
  model.safetensors   weights of backbone and head
  model.json          how to rebuild them: backbone, head, classes, input size, normalisation
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from landsift.config import ModelConfig
from landsift.errors import ModelError
from landsift.models import own_networks
from landsift.models.backbone import check_backbone
from landsift.models.model_json import DESCRIPTION_FILE, WEIGHTS_FILE, ModelDescription, read_description
from landsift.models.timm_networks import unfilled
from landsift.models.weights_file import read_tensors
from landsift.runs import MODEL, write_json, write_whole
from landsift.shapes import by, is_scene

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from landsift.models.classifier import PatchClassifier

logger = logging.getLogger("landsift")

_BATCH_PIXELS = 64 * 512**2


def save_model(classifier: PatchClassifier, description: ModelDescription, folder: Path) -> None:
    """Write `model.safetensors` and `model.json` into `folder`."""
    from safetensors.torch import save_file

    tensors = {k: v.detach().cpu().contiguous() for k, v in classifier.state_dict().items()}
    write_whole(folder / WEIGHTS_FILE, lambda partial: save_file(tensors, partial))
    write_json(folder / DESCRIPTION_FILE, asdict(description))


class Predictor:
    """Class probabilities of patches.

    Attributes:
        classes: names, in the order of the probabilities.
        description: how the model was built and what its input must look like.
    """

    def __init__(self, classifier: PatchClassifier, description: ModelDescription, device: str = "auto") -> None:
        import torch

        from landsift.models.classifier import Normalize
        from landsift.models.inference import find_folds, folded

        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self.device = torch.device(chosen)
        self.description = description
        self.classes = description.classes
        self._classifier = classifier.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        backbone = self._classifier.backbone
        self._network = torch.nn.Sequential(folded(backbone, find_folds(backbone)), self._classifier.head)
        self._normalize = Normalize(description.mean, description.std).to(self.device)

    def __call__(self, images: NDArray[np.uint8], batch_size: int = 64) -> NDArray[np.float32]:
        """Probabilities of patches.

        Args:
            images: uint8 [B, H, W, C]; any B. Patches of any size are resized, with a notice where there is room
                for several of those that the model was trained on.
            batch_size: patches on the device at a time; fewer where the network's input is above 512 pixels, or above
                what a CPU's caches hold.

        Returns:
            float32 [B, K]; rows add up to 1.

        Raises:
            ModelError: the array is of another type or shape.
        """
        import numpy as np
        import torch

        out = np.empty((len(images), len(self.classes)), dtype=np.float32)
        with torch.inference_mode():
            for rows, prepared in self._prepared(images, batch_size):
                views = [prepared]
                if self.description.tta == "flips":
                    views = symmetries(prepared, square=len(set(self.description.patch_size)) == 1)
                total = sum(self._network(view).float().softmax(dim=1) for view in views)
                out[rows] = (total / len(views)).cpu().numpy()
        return out

    def features(self, images: NDArray[np.uint8], batch_size: int = 64) -> NDArray[np.float32]:
        """What the backbone makes of patches, before the head: float32 [B, D]; arguments and errors as of a call."""
        import numpy as np
        import torch

        with torch.inference_mode():
            batches = [self._network[0](p).float().cpu().numpy() for _, p in self._prepared(images, batch_size)]
        return np.concatenate(batches) if batches else np.empty((0, 0), dtype=np.float32)

    def _prepared(self, images: NDArray[np.uint8], batch_size: int) -> Iterator[tuple[slice, Tensor]]:
        """Patches as the network takes them, float [b, C, S, S], some at a time, with where they stand among all."""
        import numpy as np
        import torch

        from landsift.models.classifier import resize, to_float
        from landsift.models.inference import cpu_batch

        bands = len(self.description.mean)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != bands:
            raise ModelError(f"the model takes uint8 [B, H, W, {bands}], not {images.dtype} {list(images.shape)}")
        if is_scene(images.shape[1:3], self.description.patch_size):
            logger.warning(
                "images of %s pixels become a single patch each; the model was trained on patches of %s pixels: "
                "cut scenes into such patches first",
                by(images.shape[1:3]),
                by(self.description.patch_size),
            )
        size = self.description.image_size
        batch_size = max(1, min(batch_size, _BATCH_PIXELS // size**2))
        if self.device.type == "cpu":
            batch_size = min(batch_size, cpu_batch(size))
        for start in range(0, len(images), batch_size):
            rows = slice(start, start + batch_size)
            batch = torch.from_numpy(np.ascontiguousarray(images[rows])).to(self.device)
            yield rows, self._normalize(resize(to_float(batch), size))


def symmetries(images: Tensor, *, square: bool = True) -> list[Tensor]:
    """The eight flips and turns of images [B, C, S, S], channels last in memory.

    Where the patches were not `square` before they were resized, only the four that keep their sides, as in training.
    """
    import torch

    turns = range(0, 4, 1 if square else 2)
    turned = [torch.rot90(base, turn, dims=(-2, -1)) for base in (images, images.flip(-1)) for turn in turns]
    return [view.contiguous(memory_format=torch.channels_last) for view in turned]


def load_model(path: Path | str, device: str = "auto", *, module: str | None = None) -> Predictor:
    """Load the model of a run directory, or a `model/` folder; nothing in it is executed.

    Args:
        path: RUN, or RUN/model.
        device: "auto" (a GPU if there is one), or a torch device.
        module: what registers the model's network with timm, as `model.module`. None: what the model names, which is
            imported if a training on this machine has used it.

    Raises:
        ModelError: there is no model, or its files do not fit each other.
    """
    path = Path(path)
    folder = path / MODEL if (path / MODEL).is_dir() else path
    if not (folder / DESCRIPTION_FILE).is_file() or not (folder / WEIGHTS_FILE).is_file():
        raise ModelError(f"no model at {path}", f"give a run directory or the folder that holds {DESCRIPTION_FILE}")
    return Predictor(*_rebuild(folder, module), device=device)


def _rebuild(folder: Path, module: str | None) -> tuple[PatchClassifier, ModelDescription]:
    from landsift.models.backbone import create_backbone
    from landsift.models.classifier import PatchClassifier

    description = read_description(folder / DESCRIPTION_FILE)
    config = description.network_config
    if description.module is not None or module is not None:
        config = _with_code(config, description, module)
    try:
        tensors = read_tensors(folder / WEIGHTS_FILE)
        _refuse_larger(config, description.image_size, sum(tensor.numel() for tensor in tensors.values()))
    except ValueError as error:
        raise _no_fit(folder, error) from None
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
        logger.warning("%s has changed since the model was trained: its predictions may be other ones", module)
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
