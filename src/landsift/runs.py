"""The run directory: everything about one training. Only this module reads and writes it.

    RUN/
      config.yaml  manifest.json  metrics.json  evaluation.json
      predictions.parquet  embeddings.parquet  checkpoints/  model/  report.html

Files appear whole or not at all (`runtime.whole`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift.config import RunConfig
from landsift.errors import ConfigError, LandsiftError, RunError
from landsift.extras import needs
from landsift.runtime.outputs import as_path
from landsift.runtime.whole import write_whole
from landsift.version import __version__

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger("landsift")

CONFIG = "config.yaml"
MANIFEST = "manifest.json"
METRICS = "metrics.json"
EVALUATION = "evaluation.json"
PREDICTIONS = "predictions.parquet"
EMBEDDINGS = "embeddings.parquet"
WEIGHTS = "weights.safetensors"
"""Weights of the best epoch: written by the training, made into a model by the test."""
VALIDATION_FEATURES = "validation_features"
"""Features that a training saves for the t-SNE frames."""
MISTAKES = "mistakes.safetensors"
"""Where the classes of the most confident mistakes come from: maps by path."""
CHECKPOINTS = "checkpoints"
PRETRAINING = "pretraining"
"""The kind of a pretraining's manifest; in a run directory, history of the pretraining that it began with."""
TUNING = "tuning"
"""The kind of a search of settings, in its metrics.json."""
LEARNED_FEATURES = "features.npz"
"""Features of some patches that a pretraining learned from, for its report."""
MODEL = "model"
REPORT = "report.html"
COMPARISON = "comparison.json"
STORE_META = "store.json"
"""The metadata file in the folder of a patch store."""
FEATURES = "features"
"""A folder that exists only while a head trains on cached features."""


def result_in(folder: Path) -> str:
    """Which kind of result of landsift a folder is, in words; "" if it is none."""
    there = {path.name for path in folder.iterdir()}
    kinds = {
        "a comparison: its tables and its report": {COMPARISON},
        "a pretraining: a backbone, its metrics and its report": {MANIFEST, METRICS, LEARNED_FEATURES},
        "a run directory: a model, its metrics and its report": {MANIFEST, METRICS},
        "a training that has not ended": {METRICS, CHECKPOINTS},
        "a model": {"model.json", "model.safetensors"},
        "the metrics and predictions of `landsift evaluate`": {EVALUATION, PREDICTIONS},
    }
    return next((what for what, files in kinds.items() if files <= there), "")


def is_pretraining(folder: Path) -> bool:
    """Whether a folder is a result of `landsift pretrain`."""
    file = folder / MANIFEST
    return file.is_file() and dict(read_json(file)).get("kind") == PRETRAINING


def is_search(folder: Path) -> bool:
    """Whether a folder is a result of `landsift tune`."""
    file = folder / METRICS
    said = read_json(file) if file.is_file() and not (folder / MANIFEST).is_file() else None
    return isinstance(said, dict) and said.get("kind") == TUNING


def trained_on(folder: Path) -> str:
    """The data source of the run in a folder; "" where it is not recorded."""
    try:
        return Run(folder).config.data.source
    except LandsiftError:
        return ""


@dataclass(frozen=True)
class Run:
    """A finished run directory; every attribute reads its file on first access.

    Raises:
        RunError: (on access) the file is missing or cannot be parsed.
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", as_path(self.path))

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Open a run directory; raises RunError if `path` is not one."""
        path = as_path(path)
        if not path.is_dir():
            raise RunError(f"no run directory at {path}", "give the folder that `landsift run --out` wrote")
        if not (path / MANIFEST).is_file():
            raise RunError(
                f"{path} is not a run directory: it has no {MANIFEST}",
                "give the folder that `landsift run --out` wrote",
            )
        return cls(path)

    @cached_property
    def config(self) -> RunConfig:
        """The resolved configuration, without keys that this version of landsift does not know."""
        config, unknown = RunConfig.load_stored(self._file(CONFIG))
        if unknown:
            message = "%s: written by landsift %s; this is %s, which ignores the keys it does not know: %s"
            _log.info(message, self.path / CONFIG, self.version, __version__, ", ".join(unknown))
        return config

    @property
    def version(self) -> str:
        """The version of landsift that wrote the run; "unknown" where it is not recorded."""
        found = self.manifest.get("landsift")
        return found if isinstance(found, str) else "unknown"

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Data fingerprint, versions, hardware, phases, wall seconds per stage, command."""
        return dict(read_json(self._file(MANIFEST)))

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """One row per epoch: epoch, phase, train_loss, val_loss, val_acc, lr_head, lr_backbone, seconds."""
        return list(read_json(self._file(METRICS)))

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """Metrics of the best checkpoint on `test` and `val`."""
        return dict(read_json(self._file(EVALUATION)))

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """One row per val and test patch: path, split, label, predicted, p_<class>."""
        return read_parquet(self._file(PREDICTIONS))

    @cached_property
    def embeddings(self) -> pd.DataFrame:
        """The t-SNE frames: epoch, path, label, x, y; empty where none were made."""
        return read_parquet(self._file(EMBEDDINGS))

    @property
    def model_dir(self) -> Path:
        """`model.safetensors` and `model.json`: all that inference needs."""
        return self.path / MODEL

    @property
    def checkpoints(self) -> list[Path]:
        """The checkpoints of the best epochs: first the model's own, then by validation accuracy, then by its loss.

        In metrics.json's own digits: those in the files' names are rounded to three.
        """
        rows, model = {row["epoch"]: row for row in self.metrics}, self.manifest["best"]["checkpoint"]

        def rank(file: Path) -> tuple[bool, float, float, int]:
            epoch = int(file.stem.split("-")[1])
            row = rows.get(epoch, {"val_acc": 0.0, "val_loss": 0.0})  # of an epoch that counted no more
            return file.name != model, -row["val_acc"], row["val_loss"], epoch

        return sorted((self.path / CHECKPOINTS).glob("best-[0-9]*-*.ckpt"), key=rank)

    def _file(self, name: str) -> Path:
        file = self.path / name
        if not file.is_file():
            raise RunError(f"{file} is missing", "the run directory is incomplete; run `landsift run` again")
        return file


@dataclass(frozen=True)
class Comparison:
    """A finished comparison; `path` holds `comparison.json`, CSV tables, `predictions.parquet` and `report.html`.

    Raises:
        RunError: (on access) the file is missing or cannot be parsed.
    """

    path: Path

    @cached_property
    def data(self) -> dict[str, Any]:
        """`comparison.json`: rows, budgets, seeds, cells, rule, results, pairs, recommendations, findings."""
        return dict(read_json(self.path / COMPARISON))

    @property
    def results(self) -> list[dict[str, Any]]:
        """One per row and budget: test figures and their intervals, validation figures, what trains, work, time."""
        return list(self.data["results"])

    @property
    def recommendations(self) -> list[dict[str, Any]]:
        """One per budget: the best row on validation, or one that computes less and is within the margin."""
        return list(self.data["recommendations"])

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """One row per training and test patch: row, budget, seed, path, label, predicted, perhaps group."""
        return read_parquet(self.path / PREDICTIONS)


@contextmanager
def read_as_written(run: Path) -> Iterator[None]:
    """Around the reading of a run: where it lacks what another version would have written, say which one wrote it.

    Raises:
        RunError: in place of what comes of missing or other values in the files of another version.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ConfigError) as error:
        try:
            version = Run.open(run).version
        except RunError:
            raise error from None
        if version == __version__:
            raise
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise RunError(
            f"{run} was written by landsift {version}, and this is {__version__}, which cannot read it: {reason}",
            f"use landsift {version} for it, or train again",
        ) from error


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write bytes whole or not at all."""
    write_whole(path, lambda partial: partial.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all; numbers must be finite."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write a table whole or not at all."""
    needs("pyarrow", extra="train", what="a Parquet table")
    write_whole(path, lambda partial: frame.to_parquet(partial, index=False))


def read_json(path: Path) -> Any:
    """Read JSON; raises RunError that names the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"cannot read {path}: {error}") from None


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a table; raises RunError that names the file."""
    needs("pandas", "pyarrow", extra="train", what="a Parquet table")
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except Exception as error:  # pyarrow's errors are of five bases
        raise RunError(f"cannot read {path}: {error}") from error
