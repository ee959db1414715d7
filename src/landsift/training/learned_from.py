"""Which patches a pretraining has learned from, so that a later training can tell whether it tests on some of them."""

from __future__ import annotations

import base64
import io
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from landsift.config import WEIGHTS_BY_NAME, ModelConfig
from landsift.errors import ModelError
from landsift.models.weights_file import said_in
from landsift.runs import MODEL, write_bytes

if TYPE_CHECKING:
    from landsift.data.splits import Split
    from landsift.data.store.patch_store import PatchStore

logger = logging.getLogger("landsift")
LEARNED_FILE = "learned_from.npy"
"""In the folder of a pretrained model: hashes of the patches that it learned from, uint64 [N], ascending."""

LEARNED_KEY = "landsift.learned_from"
"""In the header of a weights file: the same, as text."""


def content_hashes(store: PatchStore, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The first eight bytes of the SHA-256 of patches' pixels, uint64 [M]."""
    texts = store.column("sha256").to_numpy(dtype=str)[rows]
    return np.array([int(text[:16], 16) for text in texts], dtype=np.uint64)


def learned_before(weights: str) -> NDArray[np.uint64] | None:
    """Hashes of the patches that weights have learned from without labels, uint64 [N], ascending.

    Args:
        weights: value of `model.weights`.

    Returns:
        None where the weights are of no pretraining, and of no run that began with one.

    Raises:
        ModelError: the file that says so is damaged.
    """
    if weights in WEIGHTS_BY_NAME:
        return None
    given = Path(weights).expanduser()
    places = (given.parent,) if given.is_file() else (given, given / MODEL)
    file = next((place / LEARNED_FILE for place in places if (place / LEARNED_FILE).is_file()), given)
    try:
        if file.name == LEARNED_FILE:
            kept = file.read_bytes()
        elif file.is_file() and (text := said_in(file).get(LEARNED_KEY)):  # copied without its folder
            kept = base64.b64decode(text, validate=True)
        else:
            return None
        learned: NDArray[np.uint64] = np.load(io.BytesIO(kept), allow_pickle=False)
        if learned.dtype != np.uint64 or learned.ndim != 1:
            raise ValueError("it holds no hashes")
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(f"cannot read {file}: {error}", "pretrain again, or delete that file") from None
    return learned


def write_learned(file: Path, hashes: NDArray[np.uint64]) -> None:
    """Write what `learned_before` reads.

    Raises:
        RunError: the folder cannot be written or the disk is full.
    """
    write_bytes(file, _as_bytes(hashes))


def header_of(hashes: NDArray[np.uint64]) -> dict[str, str]:
    """The same for the header of a weights file, so that a copy of it without its folder says it too."""
    return {LEARNED_KEY: base64.b64encode(_as_bytes(hashes)).decode("ascii")}


def _as_bytes(hashes: NDArray[np.uint64]) -> bytes:
    written = io.BytesIO()
    np.save(written, np.unique(hashes))
    return written.getvalue()


def seen_before(config: ModelConfig, store: PatchStore, split: Split) -> dict[str, int] | None:
    """How many patches of val and test the weights have learned from without labels; a warning says so.

    Args:
        config: names the weights.
        store: the patches.
        split: how they are divided.

    Returns:
        Counts by name of the part; None where the weights are of no pretraining that says so.

    Raises:
        ModelError: as `learned_before`.
    """
    learned = learned_before(config.weights)
    if learned is None:
        return None
    found = {
        name: int(np.isin(content_hashes(store, rows), learned).sum())
        for name, rows in (("val", split.val), ("test", split.test))
    }
    if any(found.values()):
        logger.warning(
            "the weights %s have learned, without labels, from %d of %d patches of val and %d of %d of test: give the "
            "pretraining and this training the same data.split",
            config.weights, found["val"], len(split.val), found["test"], len(split.test),
        )  # fmt: skip
    return found
