"""The configuration of a run: typed, frozen, unknown keys refused.

The same nesting serves YAML files, `--set key=value` and Python. Each field says what it means, its
unit and where its default comes from. "The tutorial" is the two-phase EfficientNet-B0 recipe that
landsift started from (batch 64, 7 + 10 epochs, label smoothing 0.1), "the case study" a comparison
of five strategies on a ViT-B/16.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from landsift.config_overrides import apply, read_mapping
from landsift.errors import ConfigError

BUILT_IN_SOURCES = ("synthetic", "eurosat")
"""Sources that need no file of the user's."""
WEIGHTS_BY_NAME = ("imagenet", "none")
"""What `model.weights` may be beside a file or a folder."""

FirstLayer = Literal["zero", "mean", "timm"]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _paths_as_text(cls, value: object) -> object:
        """From Python, a path may be a `Path` wherever YAML has a text."""
        return os.fspath(value) if isinstance(value, os.PathLike) else value


def _from_any_folder(path: Path) -> Path:
    """The path from the root, so that a run's config.yaml names the same file in any folder."""
    return Path(_absolute(path))


File = Annotated[Path, AfterValidator(_from_any_folder)]


class SplitLists(_Section):
    """Files that list the patches of each part: text, a path or name of a file a line, or CSV or Parquet tables."""

    train: File
    val: File | None = None
    """null: it is taken from train, in the proportion of the fractions."""
    test: File


class SplitConfig(_Section):
    """Who is in train, val and test."""

    kind: Literal["auto", "stratified", "column", "group", "spatial"] = "auto"
    """`stratified` by class; `column` takes the table's `split` column; `group` keeps rows of one `group` together;
    `spatial` keeps blocks of the Earth's surface together.

    `auto`: `column` where there is one, else `group` where there is one, else `stratified`.
    """
    rows: File | None = None
    """A CSV or Parquet table with columns `path` and `split` that gives the split; with `kind: auto`.

    Patches that are not in it are in no part.
    """
    lists: SplitLists | None = None
    """Lists of the patches of each part, as published with a data set; with `kind: auto`, in place of `rows`.

    Patches that are in none of them are in no part.
    """
    block_km: float = Field(100.0, gt=0.0, le=10_000.0)
    """Of `spatial`: side of the blocks in kilometres. 100: about a Sentinel-2 tile."""
    buffer_km: float = Field(0.0, ge=0.0, le=10_000.0)
    """Of `spatial`: training patches within this distance of one in val or test are left out, and those of val within
    it of one in test; in kilometres."""
    fractions: tuple[Fraction, Fraction, Fraction] = (0.6, 0.2, 0.2)
    """Shares of train, val and test; they add up to 1 (the case study's 60/20/20). Not used by `column`."""
    seed: int = Field(0, ge=0)
    folds: int | None = Field(None, ge=2, le=100)
    """Number of folds of a cross-validation; one is the test, and val is taken from the others in the proportion of
    train and val in the fractions. `landsift compare --folds` sets it. null: no cross-validation."""
    fold: int | None = Field(None, ge=0)
    """The fold that is the test, counted from 0."""

    @field_validator("fractions")
    @classmethod
    def _add_up(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if abs(sum(value) - 1.0) > 1e-6 or min(value) <= 0:
            raise ValueError("three shares above 0 that sum to 1 are needed, such as [0.6, 0.2, 0.2]")
        return value

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        named = [name for name in ("rows", "lists") if getattr(self, name) is not None]
        if len(named) > 1:
            raise ValueError("rows and lists both decide the split: leave one of them out")
        if named and self.kind != "auto":
            raise ValueError(f"{named[0]} decides the split, so kind must be auto, not {self.kind}")
        if (self.folds is None) != (self.fold is None) or (self.fold or 0) >= (self.folds or 1):
            raise ValueError("folds is the number of folds, and fold the one that is the test, counted from 0")
        if self.folds is not None and (named or self.kind == "column"):
            raise ValueError("a given split has no folds: they are drawn at random, by group or by place")
        for name in ("block_km", "buffer_km"):
            if self.kind != "spatial" and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} belongs to kind: spatial, and changes nothing with kind: {self.kind}")
        return self


class SyntheticConfig(_Section):
    """The generated six-class data set (forest, cropland, urban, water, barren, wetland)."""

    patches: int = Field(1200, ge=6)
    """How many patches; divided equally, so rounded down to a multiple of six."""
    size: int = Field(64, ge=8, le=4096)
    """Height and width in pixels."""
    difficulty: Fraction = 0.5
    """0: pure class signatures; 1: signatures mixed so far that classes overlap."""
    seed: int = Field(0, ge=0)
    bands: Literal["rgb", "all"] = "rgb"
    """`rgb`: 8-bit pictures; `all`: the 13 bands of Sentinel-2 Level-1C as uint16 reflectance × 10⁻⁴."""


class EuroSATConfig(_Section):
    """Where the original EuroSAT archive comes from (Helber et al. 2019)."""

    bands: Literal["rgb", "all"] = "rgb"
    """`rgb`: the JPEG pictures (`EuroSAT.zip`, 94 MB); `all`: the GeoTIFFs of all 13 bands (`EuroSATallBands.zip`,
    2 GB), with `data.sensor: eurosat` unless another is set."""
    base_url: str = "https://madm.dfki.de/files/sentinel"
    """Folder that holds the archive; a mirror serves the same file."""
    sha256: str | None = None
    """Expected SHA-256 of the archive; null: the original's published MD5."""
    root: Path | None = None
    """A folder to look for unpacked patches in and to download to; null: landsift's own cache folder."""


READING = ("bands", "sensor", "reflectance", "indices")
"""The keys of `data` that say how files are read; a model keeps them for the files that it is given."""


class DataConfig(_Section):
    """Labelled patches and how they are decoded and divided."""

    source: str = "synthetic"
    """`synthetic`, `eurosat`, a folder with one folder per class, a CSV or Parquet table, or a store's folder."""
    budget: int | None = Field(None, ge=2)
    """How many training labels may be used, stratified and nested; null: all."""
    budget_seed: int | None = Field(None, ge=0)
    """Draws the labels of the budget; null: `split.seed`. Other seeds draw other labels from the same train."""
    patch_size: int | None = Field(None, ge=8, le=4096)
    """Height and width that patches are stored at, in pixels; null: the most common size of the source where at least
    half of the files have it, else a square as high as the median of their shorter sides."""
    bands: Literal["all"] | tuple[int | str, ...] | None = None
    """Which bands are stored, in this order: numbers as GDAL counts them, from 1, names, or `name=number`, which says
    what a band is; `all`: every band as it stands; null: every band of files that name theirs, and pictures as RGB."""
    sensor: str | None = None
    """What the files hold, where they do not say so: `sentinel2_l1c`, `sentinel2_l2a`, `eurosat`, `landsat8`,
    `landsat9` or `naip` (names, order, scale and offset: `data/sensors/sensors.yaml`); null: they say it, or nobody."""
    reflectance: tuple[Positive, float] | None = None
    """Scale and offset that make reflectance of the numbers, such as `[0.0001, -0.1]` for Sentinel-2 since processing
    baseline 04.00; null: as the files say, else the sensor. The numbers themselves are stored unchanged."""
    indices: tuple[str, ...] = ()
    """Spectral indices that are computed from reflectance and stored as further bands, by their names in the Awesome
    Spectral Indices, such as `[NDVI, NDWI]`."""
    max_unreadable: Fraction = 0.01
    """Share of files that may fail to decode before the build stops."""
    locations: File | None = None
    """A CSV or Parquet table that says where patches lie: paths or names of files, and `lon, lat` or `x, y, crs`."""
    gsd: Positive | None = None
    """Ground sampling distance of the stored patches in metres; null: what is known of the source."""
    split: SplitConfig = SplitConfig()
    synthetic: SyntheticConfig = SyntheticConfig()
    eurosat: EuroSATConfig = EuroSATConfig()

    @field_validator("bands", mode="before")
    @classmethod
    def _bands_once(cls, value: object) -> object:
        if value is None or value == "all":
            return value
        look = "all, or a list of numbers from 1, names or name=number, such as [4, 3, 2] or [red=1, nir=4]"
        if not isinstance(value, list | tuple) or not value:
            raise ValueError(f"bands are {look}")
        for entry in value:
            number = isinstance(entry, int) and not isinstance(entry, bool) and entry >= 1
            named = isinstance(entry, str) and re.fullmatch(r"\s*[^=]*[^=\s][^=]*(=\s*0*[1-9]\d{0,4}\s*)?", entry)
            if not number and not named:
                raise ValueError(f"{entry!r} is no band; bands are {look}")
        value = [entry.strip() if isinstance(entry, str) else entry for entry in value]
        if twice := [entry for entry in value if value.count(entry) > 1]:
            raise ValueError(f"band {twice[0]!r} stands twice in them")
        return tuple(value)

    @field_validator("indices", mode="before")
    @classmethod
    def _indices_once(cls, value: object) -> object:
        if not isinstance(value, list | tuple) or not all(isinstance(entry, str) and entry for entry in value):
            raise ValueError("indices are a list of names, such as [NDVI, NDWI]")
        if twice := [entry for entry in value if value.count(entry) > 1]:
            raise ValueError(f"index '{twice[0]}' stands twice in them")
        return tuple(value)

    @property
    def reading(self) -> dict[str, Any]:
        """What is said of how files are read, by the names of the four keys (`READING`); plain values for JSON."""
        stored = self.model_dump(mode="json", include={*READING}) | {"sensor": self.effective_sensor}
        return {name: value for name, value in stored.items() if value}

    @property
    def effective_sensor(self) -> str | None:
        """The sensor that files are read as; EuroSAT's 13 bands are those of `eurosat`, as its files do not say."""
        thirteen = self.source == "eurosat" and self.eurosat.bands == "all"
        return "eurosat" if thirteen and self.sensor is None else self.sensor

    @property
    def effective_budget_seed(self) -> int | None:
        """The seed that the labels of the budget are drawn with; None without a budget."""
        if self.budget is None:
            return None
        return self.split.seed if self.budget_seed is None else self.budget_seed


class HeadConfig(_Section):
    """The classifier on the backbone's features."""

    hidden: int | None = Field(256, ge=1)
    """Width in dropout → hidden → batch norm → ReLU → half the dropout → classes; null: one linear layer."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.3


class Normalization(_Section):
    """Per-band statistics that inputs in [0, 1] are normalised with."""

    mean: tuple[float, ...]
    std: tuple[Positive, ...]


class ModelConfig(_Section):
    """Backbone, weights and head."""

    backbone: str = "efficientnet_b0"
    """Any timm model name."""
    module: str | None = None
    """A module that registers networks of your own with timm (`@register_model`): its name, or the path of its .py
    file. It is imported wherever a network is made, and its code counts as part of the training's; null: none."""
    weights: str = "imagenet"
    """`imagenet` (timm's hub), `none` (random), a file of weights in timm's layout, or a run directory."""
    backbone_args: dict[str, Any] = {}
    """Passed on to `timm.create_model`, such as `{pad_type: same}`."""
    normalization: Literal["auto"] | Normalization = "auto"
    """`auto`: what the backbone was trained with, for random weights the training patches' own; or `{mean: [...],
    std: [...]}` for inputs in [0, 1]."""
    first_layer: FirstLayer = "mean"
    """Weights of RGB on other bands: the first layer's kernels of red, green and blue stay with these bands, and those
    of the others begin with `zero` or the `mean` of the three; `timm`: the three in turn, whatever the bands are."""
    head: HeadConfig = HeadConfig()


class AugmentConfig(_Section):
    """Augmentation of training batches on the training device."""

    flips: bool = True
    """Horizontal and vertical flips and 90° rotations: the eight symmetries of the square, drawn per patch."""
    crop: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Smallest share of the area that a random crop keeps; null: no crops."""
    color_jitter: tuple[Fraction, Fraction, Fraction, Annotated[float, Field(ge=0.0, le=0.5)]] = (0.2, 0.2, 0.2, 0.1)
    """Strength of brightness, contrast, saturation and hue (the tutorial's .2, .2, .2, .1); zeros: off."""
    noise: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    """Standard deviation of noise that is added to each number, in standard deviations of its band; 0: off."""
    band_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Probability with which a patch's band becomes the band's mean everywhere; one band at least stays. 0: off."""
    mixup: Annotated[float, Field(ge=0.0)] = 0.0
    """Beta parameter of mixup (Zhang et al. 2018); 0: off."""
    cutmix: Annotated[float, Field(ge=0.0)] = 0.0
    """Beta parameter of cutmix (Yun et al. 2019); 0: off. With both on, each batch draws one."""


class EarlyStopping(_Section):
    """Stop a run whose validation loss no longer falls."""

    patience: int = Field(3, ge=1)
    """Epochs without improvement, in the last phase."""
    min_delta: Annotated[float, Field(ge=0.0)] = 0.0


class TrainingConfig(_Section):
    """How the classifier is trained."""

    image_size: int = Field(224, ge=16, le=2048)
    """Height and width of the network's input in pixels."""
    batch_size: int = Field(64, ge=2)
    precision: Literal["auto", "32", "bf16"] = "auto"
    """`auto`: bfloat16 autocast on a GPU that computes in it, else float32."""
    compile: Literal["auto"] | bool = "auto"
    """`torch.compile` the network; `auto`: in phases long enough to pay its cost back (docs/results.md)."""
    cache_features: bool = True
    """In phases that train only the head, run the backbone once per patch and view and cache its features.

    Not possible, which a notice says, with colour jitter, crops, mixup or CutMix: they change every view.
    """
    feature_views: int = Field(2, ge=1, le=8)
    """Number of views (of the eight flips and rotations) per patch in such phases."""
    ema: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Decay per step of an exponential moving average (EMA) of the weights, such as 0.998. The average is then
    validated, tested and saved; null: no EMA."""
    sampler: Literal["shuffle", "balanced"] = "shuffle"
    """`balanced`: an epoch draws as many patches as train has, the same number from every class: patches of rare
    classes are repeated, of common classes only a part is used. The best epoch is then selected by balanced
    accuracy."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced`: the training loss weights a patch by n / (K · n_k), for n patches of K classes, n_k of them of its
    class. The best epoch is then selected by balanced accuracy. Not together with `sampler: balanced`."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    weight_decay: Annotated[float, Field(ge=0.0)] = 1e-4
    """AdamW's decay, on matrices and kernels only."""
    gradient_clip: Positive | None = None
    """Largest gradient norm; null: not clipped."""
    early_stopping: EarlyStopping | None = None
    checkpoint_minutes: Positive | None = 10.0
    """Minutes between checkpoints within an epoch, from which an interrupted run resumes; null: only after epochs."""
    max_skipped_steps: int = Field(10, ge=0)
    """Steps per epoch that may be skipped because loss or gradients are not finite; one more ends the run with an
    error, and its last good checkpoint is kept."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = Field(1, ge=1)
    """Processes on this machine that train together (DDP), one per GPU; `batch_size` is each one's."""
    num_nodes: int = Field(1, ge=1)
    """Machines that train together, without the pipeline: docs/scaling.md shows how."""
    lr_scaling: Literal["none", "linear", "sqrt"] = "none"
    """How all learning rates scale with (patches per step, `batch_size` × `devices` × `num_nodes`) / 64.

    `linear`: Goyal et al. 2017; `sqrt`: usual for AdamW (Malladi et al. 2022).
    """
    augment: AugmentConfig = AugmentConfig()

    @property
    def balances_classes(self) -> bool:
        """Whether all classes count the same in training; then they do where the best epoch is chosen, too."""
        return "balanced" in {self.sampler, self.class_weights}

    @field_validator("precision", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int) else value


class EvaluationConfig(_Section):
    """How the trained model predicts, in the test and later."""

    tta: Literal["none", "flips"] = "none"
    """Test-time augmentation. `flips`: average the probabilities over the eight flips and rotations of a patch."""


class TrackingConfig(_Section):
    """Experiment tracking in Weights & Biases, and the embedding snapshots."""

    wandb: Literal["offline", "online", "disabled"] = "offline"
    project: str = "landsift"
    entity: str | None = None
    tsne_every: int = Field(3, ge=0)
    """Epochs between t-SNE frames of the validation embeddings; 0: none."""
    tsne_per_class: int = Field(50, ge=5)
    """Patches per class in a t-SNE frame."""


class ClusterConfig(_Section):
    """What the stages ask of a Flyte cluster; nothing of it touches a run on one machine."""

    gpu: str = "T4:1"
    """Flyte's name and number of the training task's GPU; `none` for a CPU node."""


STRATEGIES_LOOK = "such as strategies.mine=[{epochs: 5, lr_head: 0.001}]"


class RunConfig(_Section):
    """Everything that decides what a run does."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    strategy: str | tuple[dict[str, Any], ...] = "two_phase"
    """A name from the strategy table or from `strategies`, or a list of phases."""
    strategies: dict[str, tuple[dict[str, Any], ...]] = {}
    """Strategies of one's own: lists of phases by name."""
    training: TrainingConfig = TrainingConfig()
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
            data = data.model_copy(update={"source": _absolute(data.source)})
        if (root := data.eurosat.root) is not None:
            data = data.model_copy(update={"eurosat": data.eurosat.model_copy(update={"root": Path(_absolute(root))})})
        if model.weights not in WEIGHTS_BY_NAME and _is_there(model.weights):
            model = model.model_copy(update={"weights": _absolute(model.weights)})
        if model.module is not None and is_source_file(model.module):
            model = model.model_copy(update={"module": _absolute(model.module)})
        return self.model_copy(update={"data": data, "model": model})

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


def _absolute(path: str | Path) -> str:
    """The path from the root of the file system; links stay as they are."""
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH111 (which is told no home without an error)


def _is_there(path: str) -> bool:
    return bool(path.strip()) and Path(_absolute(path)).exists()


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
    known = list(_known_keys(RunConfig))
    # Positions in a list and pydantic's names of a union's members are no keys.
    parts = [part for part in worst["loc"] if isinstance(part, str) and part not in UNION_MEMBERS]
    if worst["type"] == "extra_forbidden":
        return ConfigError(f"unknown configuration key '{'.'.join(parts)}'", _nearest_key(".".join(parts), known))
    if worst["type"] == "invalid_key":
        key = ".".join(map(str, worst["loc"]))
        return ConfigError(f"unknown configuration key {key}: keys should be strings", _nearest_key("", known))
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


def _nearest_key(key: str, known: list[str]) -> str:
    """The nearest key beside `key`, else one of the same name elsewhere, else all that stand beside it."""
    if key in known:  # written with dots, as `--set` takes it
        return f"keys are nested here: {': {'.join(key.split('.'))}: ...{'}' * key.count('.')}"
    parent, _, leaf = key.rpartition(".")
    for names in ([k for k in known if k.rpartition(".")[0] == parent], known):
        by_leaf = {k.rpartition(".")[2]: k for k in names}
        if close := get_close_matches(leaf, by_leaf, n=1):
            return f"did you mean '{by_leaf[close[0]]}'?"
    return f"known here: {', '.join(k for k in known if k.rpartition('.')[0] == parent)}"
