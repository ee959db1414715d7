"""What is not installed with landsift alone, and how to say that it is missing.

Prediction, training, reports and the pipeline come with extras, each of which includes the one before it:
landsift[torch], landsift[train], landsift[report], landsift[pipeline] (docs/decisions/0013-extras.md). Beside them are
landsift[pretrain], which pretrains without labels, landsift[tune], which searches settings, landsift[cluster] for more
than one machine, landsift[cloud] for object stores, landsift[bands], which reads rasters of any bands, landsift[maps],
which maps whole scenes, and landsift[export]. Exported models predict with landsift[runtime] and map with
landsift[runtime-maps], without torch.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from landsift.errors import LandsiftError

Extra = Literal[
    "torch",
    "train",
    "report",
    "pipeline",
    "pretrain",
    "tune",
    "cluster",
    "cloud",
    "bands",
    "maps",
    "export",
    "runtime",
    "runtime-maps",
]


class MissingExtraError(LandsiftError, ImportError):
    """Packages are missing that come with an extra of landsift."""


def lacks(*packages: str) -> list[str]:
    """Those of the packages, by their names in `import`, that are not installed."""
    return [name for name in packages if find_spec(name) is None]


def needs(*packages: str, extra: Extra, what: str) -> None:
    """Refuse to go on without packages; called where a room of the house is entered, or a function is that needs more.

    Args:
        packages: their names in `import`, none with a dot.
        extra: the extra that brings them.
        what: what needs them, such as "training".

    Raises:
        MissingExtraError: some are not installed.
    """
    missing = lacks(*packages)
    if missing:
        names = f"{', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed"
        raise MissingExtraError(f"{what} needs {names}", f"pip install 'landsift[{extra}]'")
