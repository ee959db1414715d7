"""timm's pretrained weights: which file of which commit of the hub they are, and where it lies on this machine.

What the hub's cache holds is used as it is, without asking the hub; what it does not hold is downloaded once.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from landsift.config import ModelConfig, cache_folder
from landsift.errors import LandsiftError, ModelError, RunError
from landsift.models import own_networks
from landsift.models.weights import OTHER_WEIGHTS
from landsift.models.weights_file import one_line
from landsift.runs import read_json, write_json

logger = logging.getLogger("landsift")

DEFAULT_FILE = "model.safetensors"
MEMO = "hub.json"
"""In the cache folder: where timm of one version finds its weights, so that a cached run need not load timm."""


@dataclass(frozen=True)
class Pretrained:
    """A file of pretrained weights on this machine.

    Attributes:
        source: the hub's repository, or the address for weights that are not on the hub.
        commit: of the repository; None for an address.
        sha256: of the file.
        file: where it lies.
    """

    source: str
    commit: str | None
    sha256: str
    file: Path

    def to_dict(self) -> dict[str, Any]:
        """What identifies the weights, wherever they lie."""
        return {"source": self.source, "commit": self.commit, "file": self.file.name, "sha256": self.sha256}


def pretrained(config: ModelConfig) -> Pretrained:
    """The weights that `imagenet` means for a backbone; downloaded if they are not on this machine.

    Raises:
        ModelError: they cannot be had.
    """
    repository, name = _place(config)
    file = _cached(repository, name) or _downloaded(config.backbone, repository, name)
    commit = None
    if repository is not None:
        parts = file.parts
        commit = parts[len(parts) - 1 - parts[::-1].index("snapshots") + 1] if "snapshots" in parts else None
    return Pretrained(repository or name, commit, sha256_of(file), file)


def sha256_of(file: Path) -> str:
    """SHA-256 (hex) of a file of weights; raises ModelError."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"cannot read weights {file}: {error.strerror}", "check the file and its rights") from None


def _place(config: ModelConfig) -> tuple[str | None, str]:
    """The repository and the file's name in it; for weights that are not on the hub None and their address."""
    memo = cache_folder() / MEMO
    of_timm = f"timm {version('timm')}"
    known: dict[str, Any] = {}
    with suppress(RunError, AttributeError):
        known = read_json(memo).get(of_timm, {})
    if config.module is None and "timm" not in sys.modules and isinstance(known, dict):
        match known.get(config.backbone):
            case [str(repository), str(name)]:
                return repository, name
    import timm

    own_networks.load(config)
    try:
        cfg = timm.get_pretrained_cfg(config.backbone, allow_unregistered=False)
    except (RuntimeError, KeyError):
        cfg = None
    if cfg is None or not (cfg.hf_hub_id or cfg.url):
        raise ModelError(f"timm has no pretrained weights for '{config.backbone}'", OTHER_WEIGHTS)
    if not cfg.hf_hub_id:
        return None, str(cfg.url)
    place = str(cfg.hf_hub_id), str(cfg.hf_hub_filename or DEFAULT_FILE)
    if config.module is None and (not isinstance(known, dict) or known.get(config.backbone) != [*place]):
        with suppress(LandsiftError):  # it saves seconds, no more
            write_json(memo, {of_timm: (known if isinstance(known, dict) else {}) | {config.backbone: [*place]}})
    return place


def _cached(repository: str | None, name: str) -> Path | None:
    """The file, if it is on this machine."""
    if repository is None:
        from timm.models._hub import check_cached_file, download_cached_file

        return Path(download_cached_file(name)) if check_cached_file(name) else None
    from huggingface_hub import try_to_load_from_cache

    repo, _, revision = repository.partition("@")
    try:
        found = try_to_load_from_cache(repo, name, revision=revision or None)
    except (OSError, ValueError):  # a damaged cache, or no name of a repository: the download says so
        return None
    return Path(found) if isinstance(found, str) and Path(found).is_file() else None


def _downloaded(backbone: str, repository: str | None, name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    logger.info("downloading timm's pretrained weights of %s, which is done once", backbone)
    try:
        if repository is None:
            from timm.models._hub import download_cached_file

            return Path(download_cached_file(name))
        logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)  # its retries are one error here, not ten lines
        repo, _, revision = repository.partition("@")
        return Path(hf_hub_download(repo, name, revision=revision or None))
    except (OSError, ValueError) as error:
        unreachable = isinstance(error, LocalEntryNotFoundError)
        reason = "the hub cannot be reached, and they were not downloaded before" if unreachable else one_line(error)
        raise ModelError(f"the pretrained weights of {backbone} cannot be fetched: {reason}", OTHER_WEIGHTS) from None
