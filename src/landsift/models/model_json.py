"""`model.json`: how a trained model is rebuilt and what its input must look like, checked as it is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from landsift.bands import MOST, BandSpec
from landsift.config import READING, DataConfig, HeadConfig, ModelConfig
from landsift.errors import ModelError, RunError, nearest
from landsift.runs import read_json
from landsift.version import __version__

FORMAT = 3
"""Grows with every change that an older landsift would misread, such as a new key; files without it are of format 1."""
Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
UPGRADES: dict[int, Upgrade] = {
    1: lambda keys: {"bands": BandSpec.pictures().to_dict()} | keys,
    2: lambda keys: keys,
}
"""By format, what makes of its keys those of the next one: a line here for every new format. Of format 1 are models of
8-bit RGB, and nothing says so; up to format 2 no model is calibrated."""
WEIGHTS_FILE = "model.safetensors"
DESCRIPTION_FILE = "model.json"

_MAX_BYTES = 2**26
_MAX_ARGUMENT = 8192  # of a network's arguments: a depth of a billion would never be built

Side = Annotated[int, Field(ge=1, le=4096)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Spread = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class ModelDescription:
    """All that is needed beside the weights to rebuild a classifier and prepare its input.

    Attributes:
        backbone: timm's name.
        backbone_args: arguments of `timm.create_model`.
        head: hidden width (None: linear) and dropout.
        classes: names, in the order of the logits; none of a pretrained backbone, which has no head.
        patch_size: height and width in pixels that patches were stored at; files are resized to it first.
        image_size: height and width of the network's input in pixels.
        mean: per band, of inputs in units of the bands (of pictures in [0, 1]).
        std: per band, in the same.
        landsift: version that wrote it.
        tta: "flips": probabilities are averaged over the eight flips and rotations; "none": one look.
        module: as `model.module`: what registers the network with timm; None for a network of timm's own.
        bands: what the numbers of its patches mean, which those of others must mean as well.
        reading: how the files of its training were read: the keys of `landsift.config.READING` that were set, and
            `of`, how many bands they had, where `bands` is.
        code: fingerprint of that module's code (`own_networks.fingerprint`) as the model was trained.
        temperature: temperature that logits are divided by; None: not calibrated.
        format: version of this layout.
    """

    backbone: str
    backbone_args: dict[str, Any]
    head: dict[str, Any]
    classes: Annotated[tuple[str, ...], Field(max_length=100_000)]
    patch_size: tuple[Side, Side]
    image_size: Annotated[int, Field(ge=1, le=2048)]
    mean: Annotated[tuple[Finite, ...], Field(min_length=1, max_length=MOST)]
    std: Annotated[tuple[Spread, ...], Field(min_length=1, max_length=MOST)]
    landsift: str
    tta: Literal["none", "flips"] = "none"
    module: str | None = None
    code: str | None = None
    temperature: float | None = None
    bands: BandSpec = field(default_factory=BandSpec.pictures)
    reading: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def __post_init__(self) -> None:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes contains a class twice")
        if len(self.mean) != len(self.std):
            raise ValueError("mean and std have different lengths")
        if len(self.mean) != len(self.bands):
            raise ValueError(f"bands are {len(self.bands)}, and mean has {len(self.mean)} numbers")
        if not self.bands.takes_nodata:
            raise ValueError(f"bands: nodata {self.bands.nodata:g} is not a {self.bands.dtype}")
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature {self.temperature:g} is no finite number above 0")
        _check_arguments(self.backbone_args)
        _check_reading(self.reading)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as model.json has them."""
        return asdict(self) | {"bands": self.bands.to_dict()}

    @property
    def network_config(self) -> ModelConfig:
        """The network as a configuration describes it, with random weights."""
        head = HeadConfig(**self.head)
        return ModelConfig(
            backbone=self.backbone,
            module=self.module,
            backbone_args=self.backbone_args,
            weights="none",
            head=head,
        )


def _check_reading(keys: Mapping[str, Any]) -> None:
    """Raise ValueError for keys that are none of a configuration's, or have values that are none."""
    if unknown := set(keys) - {*READING, "of"}:
        raise ValueError(f"reading: unknown key '{min(unknown)[:40]}'")
    if not isinstance(keys.get("of"), int | None):
        raise ValueError("reading.of: no number of bands")
    try:
        DataConfig(**{key: value for key, value in keys.items() if key != "of"})
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"reading.{'.'.join(map(str, first['loc']))}: {first['msg']}"[:200]) from None


def _check_arguments(value: Any) -> None:
    """Raise ValueError for what makes no network of a size that can be."""
    if isinstance(value, dict | list | tuple):
        if len(value) > 100:
            raise ValueError("backbone_args is too long")
        for part in value.values() if isinstance(value, dict) else value:
            _check_arguments(part)
    elif isinstance(value, int | float) and not abs(value) <= _MAX_ARGUMENT:
        raise ValueError(f"backbone_args: {value} is too large")


def read_description(file: Path) -> ModelDescription:
    """Read `model.json`, of this format or an older one.

    Raises:
        ModelError: it cannot be read, is of a newer format, has keys that this landsift does not know, or holds values
            that describe no model.
    """
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ModelError(f"{file} is damaged: larger than {_MAX_BYTES >> 20} MiB")
        stored = read_json(file)
    except (OSError, RunError, RecursionError) as error:
        raise ModelError(f"{file} is damaged: {error}") from None
    return description_of(file, stored)


def description_of(file: Path, stored: Any) -> ModelDescription:
    """What the keys of `model.json` say, in that file or in another one.

    Raises:
        ModelError: as of `read_description`.
    """
    if not isinstance(stored, dict):
        raise ModelError(f"{file} is damaged: it holds no keys")
    stored = upgraded(file, stored)
    _refuse_unknown(file, stored)
    try:
        description = TypeAdapter(ModelDescription).validate_python(stored, strict=None)
        description.network_config  # noqa: B018 (checks the head)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelError(f"{file} is damaged: {where + ': ' if where else ''}{first['msg']}"[:300]) from None
    return description


def upgraded(
    file: Path, stored: Mapping[str, Any], upgrades: Mapping[int, Upgrade] = UPGRADES, newest: int = FORMAT
) -> dict[str, Any]:
    """What a file holds in the newest format.

    Raises:
        ModelError: its format is newer, or no number.
    """
    keys = {"format": 1} | dict(stored)
    number = keys["format"]
    if type(number) is not int or number < 1:
        raise ModelError(f"{file} is damaged: format: {str(number)[:20]} is no number of a format")
    if number > newest:
        writer = str(keys.get("landsift", "a newer version"))[:20]
        raise ModelError(
            f"{file}: format {str(number)[:20]}, and landsift {__version__} reads formats up to {newest}",
            f"update landsift: {writer} wrote it, and that version or a later one reads it",
        )
    for step in range(number, newest):
        keys = upgrades[step](keys) | {"format": step + 1}
    return keys


def _refuse_unknown(file: Path, stored: Mapping[str, Any]) -> None:
    """Raise ModelError for a key that nothing would follow: answers would be wrong in silence."""
    head = stored.get("head")
    known = {field.name for field in fields(ModelDescription)} | {f"head.{name}" for name in HeadConfig.model_fields}
    found = [*stored, *(f"head.{name}" for name in head)] if isinstance(head, dict) else [*stored]
    unknown = sorted(set(found) - known)
    if not unknown:
        return
    names = ", ".join(f"'{name[:40]}'" for name in unknown[:5])
    writer = str(stored.get("landsift", "?"))[:20]
    raise ModelError(
        f"{file}: unknown key{'s' if len(unknown) > 1 else ''} {names}",
        f"either a newer landsift wrote it (the file names {writer}, this is {__version__}): update landsift; or it is "
        "misspelt" + (f": {near}" if (near := nearest(unknown[0].lower(), known)) else ""),
    )
