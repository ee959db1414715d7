"""A trained model on disk, and the predictor that needs nothing else.

model/
  model.safetensors   weights of backbone and head
  model.json          how to rebuild them: backbone, head, classes, input size, normalisation
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift.config import HeadConfig, ModelConfig
from landsift.errors import ModelError
from landsift.runs import MODEL, read_json, write_json, write_whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from landsift.models.classifier import PatchClassifier

FORMAT = 1
WEIGHTS_FILE = "model.safetensors"
DESCRIPTION_FILE = "model.json"


@dataclass(frozen=True)
class ModelDescription:
    """All that is needed beside the weights to rebuild a classifier and prepare its input.

    Attributes:
        backbone: timm's name.
        backbone_args: arguments of `timm.create_model`.
        head: hidden width (None: linear) and dropout.
        classes: names, in the order of the logits.
        patch_size: height and width in pixels that patches were stored at; files are resized to it first.
        image_size: height and width of the network's input in pixels.
        mean: per band, of inputs in [0, 1].
        std: per band, of inputs in [0, 1].
        landsift: version that wrote it.
        tta: "flips": probabilities are averaged over the eight flips and turns; "none": one look.
        format: version of this layout.
    """

    backbone: str
    backbone_args: dict[str, Any]
    head: dict[str, Any]
    classes: tuple[str, ...]
    patch_size: tuple[int, int]
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    landsift: str
    tta: str = "none"
    format: int = FORMAT


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

        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self.device = torch.device(chosen)
        self.description = description
        self.classes = description.classes
        self._classifier = classifier.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._normalize = Normalize(description.mean, description.std).to(self.device)

    def __call__(self, images: NDArray[np.uint8], batch_size: int = 64) -> NDArray[np.float32]:
        """Probabilities of patches.

        Args:
            images: uint8 [B, H, W, C]; any B, any size.
            batch_size: patches on the device at a time.

        Returns:
            float32 [B, K]; rows add up to 1.

        Raises:
            ModelError: the array is of another type or shape.
        """
        import numpy as np
        import torch

        from landsift.models.classifier import resize, to_float

        bands = len(self.description.mean)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != bands:
            raise ModelError(f"the model takes uint8 [B, H, W, {bands}], not {images.dtype} {list(images.shape)}")
        out = np.empty((len(images), len(self.classes)), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(images), batch_size):
                batch = torch.from_numpy(np.ascontiguousarray(images[start : start + batch_size])).to(self.device)
                prepared = self._normalize(resize(to_float(batch), self.description.image_size))
                views = [prepared]
                if self.description.tta == "flips":
                    views = symmetries(prepared, square=len(set(self.description.patch_size)) == 1)
                total = sum(self._classifier(view).float().softmax(dim=1) for view in views)
                out[start : start + len(batch)] = (total / len(views)).cpu().numpy()
        return out


def symmetries(images: Tensor, *, square: bool = True) -> list[Tensor]:
    """The eight flips and turns of images [B, C, S, S], channels last in memory.

    Where the patches were not `square` before they were resized, only the four that keep their sides, as in training.
    """
    import torch

    turns = range(0, 4, 1 if square else 2)
    turned = [torch.rot90(base, turn, dims=(-2, -1)) for base in (images, images.flip(-1)) for turn in turns]
    return [view.contiguous(memory_format=torch.channels_last) for view in turned]


def load_model(path: Path | str, device: str = "auto") -> Predictor:
    """Load the model of a run directory, or a `model/` folder; nothing in it is executed.

    Args:
        path: RUN, or RUN/model.
        device: "auto" (a GPU if there is one), or a torch device.

    Raises:
        ModelError: there is no model, or its files do not fit each other.
    """
    path = Path(path)
    folder = path / MODEL if (path / MODEL).is_dir() else path
    if not (folder / DESCRIPTION_FILE).is_file() or not (folder / WEIGHTS_FILE).is_file():
        raise ModelError(f"no model at {path}", f"give a run directory or the folder that holds {DESCRIPTION_FILE}")
    return Predictor(*_rebuild(folder), device=device)


def _rebuild(folder: Path) -> tuple[PatchClassifier, ModelDescription]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from landsift.models.backbone import create_backbone
    from landsift.models.classifier import PatchClassifier

    stored = read_json(folder / DESCRIPTION_FILE)
    if stored.get("format") != FORMAT:
        raise ModelError(f"{folder / DESCRIPTION_FILE}: format {stored.get('format')} is not known", "update landsift")
    try:
        description = ModelDescription(
            **stored | {key: tuple(stored[key]) for key in ("classes", "patch_size", "mean", "std")},
        )
        config = ModelConfig(
            backbone=description.backbone,
            backbone_args=description.backbone_args,
            weights="none",
            head=HeadConfig(**description.head),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / DESCRIPTION_FILE} is damaged: {type(error).__name__}: {error}") from None
    backbone = create_backbone(config, description.image_size)
    classifier = PatchClassifier(backbone.network, backbone.features, len(description.classes), config.head)
    try:
        classifier.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"{folder / WEIGHTS_FILE} does not fit {DESCRIPTION_FILE}: {reason}") from None
    return classifier, description
