"""What a run's page says of its data, model, machine and stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from landsift.bands import BandSpec
from landsift.reports.wording import duration, percent
from landsift.runs import Run

MOST_BANDS = 16
"""Bands whose mean and standard deviation are listed."""


def data_facts(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The data of a run: names and values."""
    split = data.get("split", {})
    rows = [
        ("source", data.get("source")),
        ("patches", f"{data['patches']:,}" if "patches" in data else None),
        ("patch size", " × ".join(str(n) for n in data.get("patch_shape", [])) + " (height, width, bands)"),
        ("bands", _bands(data)),
        ("without a label", f"{data['unlabelled']:,}" if data.get("unlabelled") else None),
        ("split", " / ".join(f"{split.get(key, 0):,} {key}" for key in ("train", "val", "test"))),
        ("label budget", f"{data['budget']:,}" if data.get("budget") else "none: all training labels"),
        ("skipped files", f"{len(data.get('skipped', [])):,}"),
        ("fingerprint", data.get("fingerprint")),
    ]
    return [(name, str(value)) for name, value in rows if value is not None]


def _bands(data: Mapping[str, Any]) -> str | None:
    """What the patches hold, where that is not 8-bit RGB."""
    try:
        bands = BandSpec.from_dict(data["bands"])
    except (KeyError, ValueError):  # of an older version
        return None
    return None if bands.is_rgb8 else str(bands)


def _in_short(values: Sequence[float]) -> str:
    """Numbers of bands in words; of hundreds of bands the first, and how many more are in model.json."""
    more = f" and {len(values) - MOST_BANDS} more (model.json)" if len(values) > MOST_BANDS else ""
    return ", ".join(f"{value:.4g}" for value in values[:MOST_BANDS]) + more


def model_facts(manifest: Mapping[str, Any], run: Run) -> list[tuple[str, str]]:
    """The model of a run: names and values."""
    model, best = manifest.get("model", {}), manifest.get("best", {})
    normalization = model.get("normalization") or {}
    numbers = {key: _in_short(normalization.get(key) or []) for key in ("mean", "std")}
    checkpoint = best.get("checkpoint") or run.evaluation.get("checkpoint")
    rows = [
        ("backbone", model.get("backbone")),
        ("weights", model.get("weights")),
        ("pretraining", _pretraining(manifest)),
        ("seen without labels", _seen_before(model)),
        ("parameters", f"{model['parameters']:,}" if "parameters" in model else None),
        ("input size", f"{model['image_size']} × {model['image_size']} pixels" if "image_size" in model else None),
        ("normalization", f"mean {numbers['mean']}; std {numbers['std']}" if numbers["mean"] else None),
        ("EMA of the weights", f"decay {model['ema']:g} per step" if model.get("ema") else None),
        ("test-time augmentation", "mean over 8 flips and rotations" if model.get("tta") == "flips" else None),
        ("temperature", _temperature(run.evaluation)),
        ("best checkpoint", checkpoint),
        ("seed", manifest.get("seed")),
    ]
    return [(name, str(value)) for name, value in rows if value is not None]


def _temperature(evaluation: Mapping[str, Any]) -> str | None:
    value = (evaluation.get("calibration") or {}).get("temperature")
    return None if value is None else f"{value:.3f}"


def machine_facts(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The machine of a run: names and values."""
    hardware = manifest.get("hardware", {})
    memory, compiled = hardware.get("memory_gib"), hardware.get("compiled_from_epoch")
    rows = [
        ("processor", hardware.get("cpu")),
        ("cores", hardware.get("cores")),
        ("memory", f"{memory:.1f} GiB" if memory is not None else None),
        ("GPU", hardware.get("gpu") or "none"),
        ("precision", hardware.get("precision")),
        ("interruptions", _interruptions(manifest)),
        ("compiled", f"from epoch {compiled + 1}" if compiled is not None else None),
    ]
    return [(name, str(value)) for name, value in rows if value is not None]


def phases(manifest: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """A row per phase: its name, epochs, trained parameters, rates and time."""
    parameters = manifest.get("model", {}).get("parameters")
    table = []
    for number, phase in enumerate(manifest.get("phases", []), start=1):
        rows = [row for row in metrics if row["phase"] == number]
        planned, trainable = phase.get("epochs", len(rows)), phase.get("trainable")
        table.append(
            {
                "name": f"{number} {phase['name']}",
                "epochs": f"{planned}" if len(rows) == planned else f"{len(rows)} of {planned}",
                "trainable": f"{trainable:,}" if trainable is not None else "–",
                "share": percent(trainable / parameters, 1) if trainable is not None and parameters else "–",
                "lr_head": f"{phase.get('lr_head') or 0:.1e}",
                "lr_backbone": f"{phase['lr_backbone']:.1e}" if phase.get("lr_backbone") else "frozen",
                "seconds": duration(sum(row.get("seconds") or 0.0 for row in rows)),
            }
        )
    return table


def _interruptions(manifest: Mapping[str, Any]) -> str | None:
    times = manifest.get("interruptions")
    return f"{times}, resumed after {'it' if times == 1 else 'each'}" if times else None


def stages(manifest: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row per stage of the pipeline: its name and time, and whether it came from the cache."""
    return [
        {"name": name, "seconds": duration(stage.get("seconds")), "cached": "yes" if stage.get("cached") else "no"}
        for name, stage in (manifest.get("stages") or {}).items()
    ]


def cache_note(manifest: Mapping[str, Any]) -> str:
    """How much time the cache saved."""
    stages = (manifest.get("stages") or {}).values()
    saved = sum(stage.get("seconds") or 0.0 for stage in stages if stage.get("cached"))
    return f"The cache saved {duration(saved)}." if saved else "Nothing came from the cache."


def repeats_note(manifest: Mapping[str, Any]) -> str:
    """Which run this one repeats, and whether with the same metrics; empty where it repeats none."""
    repeats = manifest.get("repeats")
    if not repeats:
        return ""
    same = "bit-identical metrics in every epoch" if repeats["same_metrics"] else "different metrics"
    found = [f"{d['what']} was {_shown(d['then'])} and is now {_shown(d['now'])}" for d in repeats["differs"]]
    differs = "; ".join(found) or "data, versions and machine are the same"
    return f"This run repeats {repeats['run']}, with {same}. {differs[0].upper()}{differs[1:]}."


def _shown(value: object) -> str:
    """A readable value: None as "none", a fingerprint by its first characters."""
    text = "none" if value is None else str(value)
    return f"{text[:12]}…" if len(text) == 64 else text


def count_rows(data: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row per class: its name, number of patches and their share."""
    counts = data.get("classes", {})
    total = sum(counts.values()) or 1
    return [{"name": name, "count": f"{n:,}", "share": percent(n / total, 1)} for name, n in counts.items()]


def _pretraining(manifest: Mapping[str, Any]) -> str | None:
    """The pretraining that the run began with, in words; None where there was none."""
    said = manifest.get("pretraining")
    return said and f"{said['method']} on {said['patches']:,} patches without their labels"


def _seen_before(model: Mapping[str, Any]) -> str | None:
    """Patches of val and test that the weights have learned from without labels; None where there are none."""
    said = model.get("learned_from_before") or {}
    if not any(said.values()):
        return None
    return f"{said['val']:,} patches of val and {said['test']:,} of test: figures on them may be optimistic"
