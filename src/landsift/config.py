"""The configuration of a run: typed, frozen, unknown keys refused.

The same nesting serves YAML files, `--set key=value` and Python. Each field says what it means, its
unit and where its default comes from. "The tutorial" is the two-phase EfficientNet-B0 recipe that
landsift started from (configs/eurosat.yaml), "the case study" a comparison of five strategies on a
ViT-B/16. Where neither is named, see docs/decisions/0024-defaults.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from landsift.config_data import BUILT_IN_SOURCES as BUILT_IN_SOURCES
from landsift.config_data import READING as READING
from landsift.config_data import DataConfig as DataConfig
from landsift.config_data import EuroSATConfig as EuroSATConfig
from landsift.config_data import Section, from_root
from landsift.config_data import SplitConfig as SplitConfig
from landsift.config_data import SplitLists as SplitLists
from landsift.config_data import SyntheticConfig as SyntheticConfig
from landsift.config_keys import nearest_key
from landsift.config_overrides import apply, read_mapping
from landsift.config_pretraining import PretrainingConfig as PretrainingConfig
from landsift.config_training import WEIGHTS_BY_NAME as WEIGHTS_BY_NAME
from landsift.config_training import AugmentConfig as AugmentConfig
from landsift.config_training import EarlyStopping as EarlyStopping
from landsift.config_training import FirstLayer as FirstLayer
from landsift.config_training import HeadConfig as HeadConfig
from landsift.config_training import ModelConfig as ModelConfig
from landsift.config_training import Normalization as Normalization
from landsift.config_training import TrainingConfig as TrainingConfig
from landsift.errors import ConfigError


class EvaluationConfig(Section):
    """How the trained model predicts, in the test and later."""

    tta: Literal["none", "flips"] = "none"
    """Test-time augmentation. `flips`: average the probabilities over the eight flips and rotations of a patch."""
    calibration: Literal["auto", "none"] = "auto"
    """`auto`: a temperature is fitted on validation, and the model has it if cross-validation on validation shows that
    it lowers the log loss and does not raise the calibration error."""
    coverage: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.95
    """Share of patches whose set of classes is to hold the true one."""
    sets: Literal["marginal", "class"] = "marginal"
    """Whether `coverage` is over all patches, or over those of each class."""
    risk: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.01
    """Share of mistakes that is to be kept among the patches which the model answers; it abstains from the others."""


class TrackingConfig(Section):
    """What a run is called, experiment tracking in Weights & Biases, and the embedding snapshots."""

    name: str | None = Field(None, min_length=1, max_length=120)
    """What the report and W&B call the run; None: the report names network and source, W&B the run's folder."""
    note: str | None = Field(None, min_length=1, max_length=2000)
    """What the report and W&B say of the run: why it was made, what is to be looked at."""
    wandb: Literal["offline", "online", "disabled"] = "offline"
    project: str = "landsift"
    entity: str | None = None
    tsne_every: int = Field(3, ge=0)
    """Epochs between t-SNE frames of the validation embeddings; 0: none."""
    tsne_per_class: int = Field(50, ge=5)
    """Patches per class in a t-SNE frame."""


class ClusterConfig(Section):
    """What the stages ask of a Flyte cluster; nothing of it touches a run on one machine."""

    gpu: str = "T4:1"
    """Flyte's name and number of the training task's GPU; `none` for a CPU node."""


STRATEGIES_LOOK = "such as strategies.mine=[{epochs: 5, lr_head: 0.001}]"


class RunConfig(Section):
    """Everything that decides what a run does."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    strategy: str | tuple[dict[str, Any], ...] = "layer_decay"
    """A name from the strategy table or from `strategies`, or a list of phases."""
    strategies: dict[str, tuple[dict[str, Any], ...]] = Field(default_factory=dict)
    """Strategies of one's own: lists of phases by name."""
    training: TrainingConfig = TrainingConfig()
    pretraining: PretrainingConfig = PretrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    tracking: TrackingConfig = TrackingConfig()
    cluster: ClusterConfig = ClusterConfig()
    seed: int = Field(0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _strategy_not_empty(self) -> Self:
        if not self.strategy:
            raise ValueError("strategy: a name or at least one phase is needed")
        return self

    @model_validator(mode="after")
    def _balanced_once(self) -> Self:
        if self.training.sampler == self.training.class_weights == "balanced":
            raise ConfigError(
                "training.sampler and training.class_weights both balance the classes: rare ones would count twice",
                "leave one of them at its default",
            )
        return self

    @field_validator("strategy", mode="before")
    @classmethod
    def _phases_as_values(cls, value: object) -> object:
        """From Python, a phase may be a `landsift.Phase`."""
        if isinstance(value, Mapping):  # of --set strategy.0.epochs=2, where strategy is a name
            raise ConfigError(
                "strategy: a name or a list of phases is needed; single phases of a named strategy cannot be set",
                "write the phases out: `landsift config strategy` prints those of a name",
            )
        if not isinstance(value, list | tuple):
            return value
        return tuple(asdict(phase) if is_dataclass(phase) and not isinstance(phase, type) else phase for phase in value)

    @field_validator("strategies", mode="before")
    @classmethod
    def _lists_by_name(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            raise ConfigError(f"strategies: lists of phases by name are needed, not {value!r}", STRATEGIES_LOOK)
        for name, phases in value.items():
            if not re.fullmatch(r"[A-Za-z0-9_-]+", str(name)):
                raise ConfigError(f"strategies: {name!r} is no name", "letters, digits, - and _ make one")
            is_list = isinstance(phases, list | tuple) and len(phases) > 0
            if not is_list or not all(isinstance(phase, Mapping) for phase in phases):
                raise ConfigError(f"strategies.{name}: a list of phases is needed", STRATEGIES_LOOK)
        return value

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunConfig:
        """Check nested values; raises ConfigError that names the key and, if it is unknown, the nearest one."""
        try:
            return cls.model_validate(dict(values) if isinstance(values, Mapping) else values)
        except ValidationError as error:
            raise _as_config_error(error) from None

    @classmethod
    def load(cls, path: Path | str | None = None, overrides: str | Iterable[str] = ()) -> RunConfig:
        """Read a YAML file (or the defaults) and lay `key=value` overrides over it.

        Args:
            path: the file, or None.
            overrides: such as "training.image_size=128"; one or several.

        Raises:
            ConfigError: the file cannot be read or parsed, or a key or value is wrong.
        """
        values = {} if path is None else read_mapping(_path(path), "--config")
        for override in [overrides] if isinstance(overrides, str) else overrides:
            apply(values, override)
        return cls.from_dict(values)

    @classmethod
    def load_stored(cls, path: Path) -> tuple[RunConfig, list[str]]:
        """Read the configuration of a finished run, which another version of landsift may have written.

        Returns:
            The configuration, and the keys in it that this version does not know; they are left out.

        Raises:
            ConfigError: the file cannot be read or parsed, or a value is wrong.
        """
        values = read_mapping(path, "--config")
        if not values:  # a run's says everything; who takes defaults for it is told of another run
            raise ConfigError(f"{path} is empty", "it was damaged: take it from a copy of the run, or train again")
        unknown: list[str] = []
        while True:
            try:
                return cls.model_validate(values), unknown
            except ValidationError as error:
                extra = [e["loc"] for e in error.errors() if e["type"] == "extra_forbidden"]
                taken = [".".join(map(str, key)) for key in (_without(values, loc) for loc in extra) if key]
                if not taken:
                    raise _as_config_error(error) from None
                unknown += taken

    @classmethod
    def of(cls, given: RunConfig | Mapping[str, Any] | Path | str | None) -> RunConfig:
        """What a configuration is given as: itself, nested values, a YAML file, or None for the defaults.

        Raises:
            ConfigError: it is none of them, the file cannot be read, or a key or value is wrong.
        """
        if isinstance(given, RunConfig):
            return given
        return cls.from_dict(given) if isinstance(given, Mapping) else cls.load(given)

    def to_dict(self) -> dict[str, Any]:
        """The complete configuration as plain JSON values."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """The complete configuration as YAML that `load` reads back to an equal one."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)

    def absolute(self) -> RunConfig:
        """A copy whose paths (of patches, weights and code) hold in any working folder."""
        data, model = self.data, self.model
        if data.source not in BUILT_IN_SOURCES and _is_there(data.source):
            data = data.model_copy(update={"source": from_root(data.source)})
        if (root := data.eurosat.root) is not None:
            data = data.model_copy(update={"eurosat": data.eurosat.model_copy(update={"root": Path(from_root(root))})})
        if model.weights not in WEIGHTS_BY_NAME and _is_there(model.weights):
            model = model.model_copy(update={"weights": from_root(model.weights)})
        if model.module is not None and is_source_file(model.module):
            model = model.model_copy(update={"module": from_root(model.module)})
        own = self.pretraining
        if (probe := own.watch.probe) is not None and probe not in BUILT_IN_SOURCES and _is_there(probe):
            watch = own.watch.model_copy(update={"probe": from_root(probe)})
            own = own.model_copy(update={"watch": watch})
        return self.model_copy(update={"data": data, "model": model, "pretraining": own})

    def replace(self, *overrides: str) -> RunConfig:
        """A copy with `key=value` overrides laid over it; what neither they nor anybody before has set stays unset."""
        values, said = self.to_dict(), self.model_dump(mode="json", exclude_unset=True)
        for override in overrides:
            apply(values, override)
            _set(said, values, override.partition("=")[0].strip().split("."))
        return self.from_dict(said)


def _set(said: dict[str, Any], values: Mapping[str, Any], key: Sequence[str]) -> None:
    """Give `said` the value that `values` has at a key; a list, into which a key may lead, as a whole."""
    first, *rest = key
    if rest and isinstance(values[first], Mapping) and isinstance(said.get(first, {}), dict):
        _set(said.setdefault(first, {}), values[first], rest)
    else:
        said[first] = values[first]


def _path(given: object) -> Path:
    if not isinstance(given, str | Path):
        raise ConfigError(
            f"a configuration is a RunConfig, nested values or the path of a YAML file, not {type(given).__name__}"
        )
    return Path(given).expanduser()


def cache_folder() -> Path:
    """Where stores, trained stages and downloads are kept: `$LANDSIFT_HOME`, else the user's cache folder.

    Raises:
        ConfigError: neither is known.
    """
    import platformdirs

    home = os.environ.get("LANDSIFT_HOME")
    try:
        if home:
            return Path(home).expanduser().absolute()
        folder = Path(platformdirs.user_cache_dir("landsift"))
        if folder.is_absolute():
            return folder
    except (RuntimeError, FileNotFoundError):  # nobody's home; no working folder
        pass
    raise ConfigError(
        f"no folder for results: {home or 'the home folder'} cannot be resolved",
        "set LANDSIFT_HOME to a folder",
    )


def is_source_file(module: str) -> bool:
    """Whether `model.module` is a path and not the name of a module."""
    return module.endswith(".py") or os.sep in module


def _is_there(path: str) -> bool:
    return bool(path.strip()) and Path(from_root(path)).exists()


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON-serialisable value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _known_keys(section: type[BaseModel], prefix: str = "") -> Iterable[str]:
    for name, field in section.model_fields.items():
        yield prefix + name
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from _known_keys(part, f"{prefix}{name}.")


UNION_MEMBERS = {
    "Normalization",
    "literal['auto']",
    "bool",
    "str",
    "tuple[dict[str,any],...]",
    "tuple[dict[str,any], ...]",
}
"""What pydantic calls the members of our unions."""


def _as_config_error(error: ValidationError) -> ConfigError:
    # Of the errors of a union's members, the one that got furthest says most.
    worst = max(error.errors(), key=lambda e: (e["type"] == "extra_forbidden", len(e["loc"])))
    # Positions in a list and pydantic's names of a union's members are no keys.
    parts = [part for part in worst["loc"] if isinstance(part, str) and part not in UNION_MEMBERS]
    if worst["type"] == "extra_forbidden":
        return unknown_key(".".join(parts))
    if worst["type"] == "invalid_key":
        key = ".".join(map(str, worst["loc"]))
        return ConfigError(f"unknown configuration key {key}: keys should be strings", nearest_key("", known_keys()))
    reason = worst["msg"].removeprefix("Value error, ")
    if not parts:
        return ConfigError(reason)
    return ConfigError(
        f"configuration key '{'.'.join(parts)}': {reason[0].lower()}{reason[1:]} (got {_short(worst['input'])})"
    )


def _without(values: dict[str, Any], location: tuple[int | str, ...]) -> list[str]:
    """Take the key at pydantic's location out of nested values; the parts of the key, none if it is not there."""
    node: Any = values
    key: list[str] = []
    for part in location[:-1]:
        if isinstance(node, dict) and part in node:  # else the name of a union's member
            node = node[part]
            key.append(str(part))
    if not isinstance(node, dict) or location[-1] not in node:
        return []
    del node[location[-1]]
    return [*key, str(location[-1])]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


def known_keys() -> list[str]:
    """All keys and sections of a configuration, with dots."""
    return list(_known_keys(RunConfig))


def unknown_key(key: str) -> ConfigError:
    """What to say of a key that is none."""
    return ConfigError(f"unknown configuration key '{key}'", nearest_key(key, known_keys()))
