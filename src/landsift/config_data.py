"""The section `data` of the configuration: where patches come from, how they are read, and how they are divided."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

BUILT_IN_SOURCES = ("synthetic", "eurosat")
"""Sources that need no file of the user's."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]


class Section(BaseModel):
    """A part of the configuration: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _paths_as_text(cls, value: object) -> object:
        """From Python, a path may be a `Path` wherever YAML has a text."""
        return os.fspath(value) if isinstance(value, os.PathLike) else value


def from_root(path: str | Path) -> str:
    """The path from the root of the file system; links stay as they are."""
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH111 (which is told no home without an error)


def _from_any_folder(path: Path) -> Path:
    """The path from the root, so that a run's config.yaml names the same file in any folder."""
    return Path(from_root(path))


File = Annotated[Path, AfterValidator(_from_any_folder)]


class SplitLists(Section):
    """Files that list the patches of each part: text, a path or name of a file a line, or CSV or Parquet tables."""

    train: File
    val: File | None = None
    """null: it is taken from train, in the proportion of the fractions."""
    test: File


class SplitConfig(Section):
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
    block_km: float = Field(100.0, ge=0.001, le=10_000.0)
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

    @field_validator("fractions", mode="before")
    @classmethod
    def _three(cls, value: object) -> object:
        if isinstance(value, list | tuple) and len(value) != 3:
            raise ValueError("three shares above 0 that sum to 1 are needed, such as [0.6, 0.2, 0.2]")
        return value

    @field_validator("fractions")
    @classmethod
    def _add_up(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if abs(sum(value) - 1.0) > 1e-6 or min(value) <= 0:
            found = f"; these sum to {sum(value):.6g}" if min(value) > 0 else ""
            raise ValueError(f"three shares above 0 that sum to 1 are needed, such as [0.6, 0.2, 0.2]{found}")
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


class SyntheticConfig(Section):
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


class EuroSATConfig(Section):
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


class DataConfig(Section):
    """Labelled patches and how they are decoded and divided."""

    source: str = "synthetic"
    """`synthetic`, `eurosat`, a folder with one folder per class, a CSV or Parquet table, or a store's folder."""
    labels: bool = True
    """false: no labels are read, so that any folder of images or table with a column `path` is a source; for
    `landsift pretrain`, which sets it itself where a source can have none."""
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
