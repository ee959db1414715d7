"""Features of stored patches by a backbone, for probes and reports."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from landsift.data.patch_reader import PatchReader
from landsift.models.inference import in_chunks

AT_ONCE = 512


@torch.no_grad()
def features_of(
    backbone: nn.Module, prepare: Callable[[Tensor], Tensor], read: PatchReader, rows: NDArray[np.int64], size: int
) -> NDArray[np.float32]:
    """Features of rows of a store, float32 [N, D]; the backbone is in eval mode meanwhile.

    Args:
        backbone: maps float [B, C, S, S] to float [B, D].
        prepare: from stored patches, [B, H, W, C], to its input.
        read: of the store's images.
        rows: int64 [N].
        size: S.
    """
    device = next(backbone.parameters()).device
    modes = [(module, module.training) for module in backbone.modules()]
    backbone.eval()
    found = []
    for start in range(0, len(rows), AT_ONCE):
        images = torch.from_numpy(read(rows[start : start + AT_ONCE])).to(device)
        found.append(in_chunks(lambda stored: backbone(prepare(stored)).float(), images, size).cpu().numpy())
    for module, training in modes:
        module.training = training
    return np.concatenate(found)
