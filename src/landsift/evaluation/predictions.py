"""The table of predictions, as files hold it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landsift.extras import needs

if TYPE_CHECKING:
    import pandas as pd


def predictions_table(
    paths: Sequence[str],
    classes: Sequence[str],
    probabilities: NDArray[np.float32],
    judged: Mapping[str, Any] | None = None,
    **known: Any,
) -> pd.DataFrame:
    """One row per patch: path, what else is known of it, predicted, what is judged of it, p_<class>.

    Args:
        paths: of N patches.
        classes: K names.
        probabilities: float [N, K].
        judged: columns by name, `set`, `abstain` and `ood` (`landsift.models.trust.columns`).
        known: columns by name, such as `label`: N values, or one for all.
    """
    needs("pandas", extra="train", what="a table of predictions")
    import pandas as pd

    names = np.asarray(classes, dtype=object)
    table = pd.DataFrame(
        {"path": paths} | known | {"predicted": names[probabilities.argmax(axis=1)]} | dict(judged or {})
    )
    for k, name in enumerate(classes):
        table[f"p_{name}"] = probabilities[:, k]
    return table
