"""What a training's key says of the network: whose code it is, and which weights it begins with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from landsift.config import WEIGHTS_BY_NAME, ModelConfig, digest
from landsift.errors import ModelError
from landsift.models import hub, own_networks


def network_fingerprint(config: ModelConfig) -> dict[str, Any]:
    """What decides the network beside the settings.

    Returns:
        `weights`: their content; `code`: of `model.module`, or None.

    Raises:
        ModelError: the weights or the module cannot be had, or the network is registered by code that nobody named.
    """
    if config.module is None:
        own_networks.check_known(config)
    own_networks.trust(config.module)
    return {"weights": weights_fingerprint(config), "code": own_networks.fingerprint(config.module)}


def weights_fingerprint(config: ModelConfig) -> Any:
    """What the weights are: SHA-256 (hex) of a file or folder; of the hub's with repository and commit; or "none".

    Raises:
        ModelError: `model.weights` is neither a name nor a readable file or folder, or the hub's cannot be had.
    """
    from landsift.models.backbone import check_backbone, weights_source

    if config.weights == "imagenet":
        try:
            return hub.pretrained(config).to_dict()
        except ModelError:
            check_backbone(config)  # names what else is wrong, such as the backbone's name
            raise
    if config.weights in WEIGHTS_BY_NAME:
        return config.weights
    path = Path(config.weights).expanduser()
    if path.is_file():
        return hub.sha256_of(path)
    if path.is_dir():
        # A run directory may serve as weights: of it, the model is read and the rest is not.
        root = path / "model" if (path / "model").is_dir() else path
        return digest({str(f.relative_to(root)): hub.sha256_of(f) for f in sorted(root.rglob("*")) if f.is_file()})
    return str(weights_source(config.weights))  # raises the error that names the alternatives
