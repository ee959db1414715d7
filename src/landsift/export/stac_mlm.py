"""A run's model as a STAC item with the Machine Learning Model extension, for catalogues of models.

https://github.com/stac-extensions/mlm, version 1.5.0.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from landsift.data.store.store_of_run import store_of_run
from landsift.export.described import Described
from landsift.models.model_json import DESCRIPTION_FILE, WEIGHTS_FILE
from landsift.runs import Run

MLM = "https://stac-extensions.github.io/mlm/v1.5.0/schema.json"
CLASSIFICATION = "https://stac-extensions.github.io/classification/v1.1.0/schema.json"
FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
_VERSION = re.compile(r"\d+\.\d+\.\d+")


def mlm_item(about: Described, run: Path, out: Path) -> dict[str, Any]:
    """The item, plain values for JSON.

    Its geometry is the box of the training's patches if they have places and the run's store is on this machine, else
    there is none.

    Args:
        about: the model.
        run: the run directory.
        out: the folder that the item is written to; assets are named from there.
    """
    import pystac

    box = _box(run)
    item = pystac.Item(
        id=f"{about.name}-{about.fingerprint}",
        geometry=None if box is None else _polygon(box),
        bbox=None if box is None else list(box),
        datetime=datetime.fromisoformat(about.created),
        properties=_properties(about),
        stac_extensions=[MLM, CLASSIFICATION, FILE],
    )
    kinds = {
        "weights": (WEIGHTS_FILE, "application/octet-stream; application=safetensors", ["mlm:model", "mlm:weights"]),
        "description": (DESCRIPTION_FILE, "application/json", ["metadata"]),
    }
    for key, (name, media, roles) in kinds.items():
        file = Run(run).model_dir / name
        more: dict[str, Any] = {"file:size": file.stat().st_size, "file:checksum": f"1220{_sha256(file)}"}
        if "mlm:model" in roles:
            # The extension looks for bands in the properties, and STAC allows them there if an asset has some too.
            more["bands"] = [{"name": band} for band in about.model.bands.names]
            more["mlm:artifact_type"] = "safetensors.torch.save_file"
        href = Path(os.path.relpath(file.absolute(), out.absolute())).as_posix()
        asset = pystac.Asset(quote(os.fsencode(href)), media_type=media, roles=roles, extra_fields=more)
        item.add_asset(key, asset)
    found: dict[str, Any] = item.to_dict(include_self_link=False)
    return found


def _properties(about: Described) -> dict[str, Any]:
    model = about.model
    height, width = model.patch_size
    accuracy, (low, high) = about.figures["accuracy"]
    torch_version = _VERSION.match(about.versions.get("torch", ""))
    properties: dict[str, Any] = {
        "title": about.name,
        "description": f"Classifies satellite patches of {about.patch} into {len(about.classes)} classes; accuracy "
        f"{100 * accuracy:.2f} % ({100 * low:.2f} to {100 * high:.2f}) on {about.tested} test patches of {about.data}. "
        f"{about.split}".strip(),
        "bands": [_band(about, i) for i in range(len(model.bands))],
        "mlm:name": about.name,
        "mlm:architecture": model.backbone,
        "mlm:tasks": ["scene-classification", "classification"],
        "mlm:framework": "PyTorch",
        "mlm:total_parameters": about.parameters,
        "mlm:pretrained": about.weights is not None,
        "mlm:pretrained_source": about.weights,
        "mlm:accelerator": None,
        "mlm:input": [
            {
                "name": "stored patches",
                "description": "Pixels as files hold them. landsift, or a file that it exported, makes units of them, "
                "resizes them to mlm:hyperparameters' image_size, and normalises them by its mean and std.",
                "bands": list(model.bands.names),
                "input": {
                    "shape": [-1, height, width, len(model.bands)],
                    "dim_order": ["batch", "height", "width", "bands"],  # the list above is of its last axis
                    "data_type": model.bands.dtype,
                },
                "value_scaling": None,
                "resize_type": None,
                "pre_processing_function": None,
            }
        ],
        "mlm:output": [
            {
                "name": "probabilities",
                "description": "Of the classes, in their order; each row sums to 1. Test-time augmentation and "
                "temperature, as in mlm:hyperparameters, are part of them.",
                "tasks": ["scene-classification", "classification"],
                "result": {
                    "shape": [-1, len(model.classes)],
                    "dim_order": ["batch", "class"],
                    "data_type": "float32",
                },
                "classification:classes": [
                    {"value": k, "name": short, "description": name}
                    for k, (name, short) in enumerate(zip(model.classes, _class_names(model.classes), strict=True))
                ],
                "post_processing_function": None,
            }
        ],
        "mlm:hyperparameters": {
            "epochs": about.epochs,
            "strategy": list(about.strategy),
            "seed": about.seed,
            "image_size": model.image_size,
            "mean": list(model.mean),
            "std": list(model.std),
            "tta": model.tta,
            "temperature": model.temperature,
        },
    }
    if torch_version:
        properties["mlm:framework_version"] = torch_version[0]
    if about.license:
        properties["license"] = about.license
    return properties


def _band(about: Described, number: int) -> dict[str, Any]:
    """As of STAC's common metadata."""
    bands = about.model.bands
    band: dict[str, Any] = {
        "name": bands.names[number],
        "data_type": bands.dtype,
        "unit": bands.units,
        "description": f"{bands.units} = {bands.scale[number]:.6g} x + {bands.offset[number]:g}",
    }
    if bands.nodata is not None:
        band["nodata"] = bands.nodata if math.isfinite(bands.nodata) else str(bands.nodata)
    if bands.gsd is not None:
        band["gsd"] = bands.gsd
    return band


def _class_names(names: Sequence[str]) -> list[str]:
    """As the classification extension wants them: letters, digits, dashes and underscores; none twice."""
    found: list[str] = []
    for number, name in enumerate(names):
        plain = unicodedata.normalize("NFKD", name).encode("ascii", errors="ignore").decode()
        short = re.sub(r"[^0-9A-Za-z_-]+", "_", plain).strip("_") or "class"
        while short in found:  # such as names in other alphabets
            short = f"{short}_{number}"
        found.append(short)
    return found


def _box(run: Path) -> tuple[float, float, float, float] | None:
    """West, south, east and north of the patches' centres in degrees; None where they are not known or go around."""
    store = store_of_run(Run(run))
    if store is None:
        return None
    places = np.asarray(store.places(), dtype=np.float64)
    places = places[np.isfinite(places).all(axis=1)]
    if not len(places):
        return None
    west, south = places.min(axis=0)
    east, north = places.max(axis=0)
    if east - west > 180:  # about the antimeridian, a box would be the rest of the world
        return None
    return float(west), float(south), float(east), float(north)


def _polygon(box: tuple[float, float, float, float]) -> dict[str, Any]:
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
