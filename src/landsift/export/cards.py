"""Cards of a run's model: README.md for people and hubs, model.stac.json for catalogues."""

from __future__ import annotations

import re
from pathlib import Path

from landsift.config import WEIGHTS_BY_NAME
from landsift.errors import LandsiftError, plain
from landsift.export.described import ClassFigures, Described, Interval, describe_run, limits, markdown
from landsift.export.stac_mlm import mlm_item
from landsift.runs import write_json, write_text
from landsift.runtime.outputs import as_path
from landsift.version import __version__

README, ITEM = "README.md", "model.stac.json"


def write_cards(run: Path | str, out: Path | str, *, license: str | None = None) -> list[Path]:
    """Write both cards of a run's model into a folder, which may be the run's own.

    Args:
        run: a run directory.
        out: the folder; made if it is not there.
        license: of the weights, as hubs name it, such as "apache-2.0"; None: not named.

    Raises:
        LandsiftError: there is a README.md in the folder that is no card of landsift's, or `license` is no name that
            hubs and STAC take.
        ModelError: the model is damaged.
        RunError: `run` is no run directory, or the folder cannot be written.
    """
    if license is not None and not re.fullmatch(r"[\w.+-]+", license, re.ASCII):
        raise LandsiftError(
            f"'{plain(license)}' names no licence: such names have letters, digits, '.', '-', '+' and '_' alone",
            "give its SPDX identifier, such as apache-2.0 or cc-by-4.0, or other",
        )
    about = describe_run(run, license)
    out = as_path(out)
    readme, item = out / README, out / ITEM
    if readme.is_file() and "library_name: landsift" not in readme.read_text(encoding="utf-8", errors="replace"):
        raise LandsiftError(f"{readme} is there, and is no card of landsift's", "give another folder with --out")
    stored = mlm_item(about, as_path(run), out)
    write_text(readme, model_card(about))
    write_json(item, stored)
    return [readme, item]


def model_card(about: Described) -> str:
    """The card, with the front matter that Hugging Face's hub reads."""
    from huggingface_hub import EvalResult, ModelCardData

    metrics = {"accuracy": "accuracy", "macro_f1": "f1", "ece": "expected_calibration_error"}
    names = {"accuracy": "Accuracy", "macro_f1": "Macro F1", "ece": "ECE"}
    results = [
        EvalResult(
            task_type="image-classification",
            task_name="Classification of satellite patches",
            dataset_type=about.data,
            dataset_name=about.data,
            dataset_split="test",
            metric_type=metrics[name],
            metric_name=names[name],
            metric_value=round(value, 5),
            metric_args={"interval_95": [round(low, 5), round(high, 5)]},
        )
        for name, (value, (low, high)) in about.figures.items()
    ]
    front = ModelCardData(
        model_name=about.name,
        library_name="landsift",
        license=about.license,
        pipeline_tag="image-classification",
        tags=["landsift", "timm", "remote-sensing", "satellite-imagery", "land-use", "image-classification"],
        metrics=["accuracy", "f1"],
        eval_results=results,
    )
    return f"---\n{front.to_yaml(line_break=chr(10))}\n---\n\n{_body(about)}"


def _body(about: Described) -> str:
    model, data = about.model, markdown(about.data)
    (accuracy, interval), (f1, f1_interval), (ece, ece_interval) = (
        about.figures[name] for name in ("accuracy", "macro_f1", "ece")
    )
    begun = {None: "random weights", "imagenet": "timm's weights (ImageNet)"}.get(
        about.weights, markdown(str(about.weights))
    )
    begun += " as weights to begin with" if about.weights and about.weights not in WEIGHTS_BY_NAME else ""
    views = {"none": "one look at each patch", "flips": "the mean over flips and rotations of each patch (TTA)"}
    lines = [
        f"# {about.name}",
        "",
        f"Classifies satellite patches of {about.patch} into {len(about.classes)} classes: "
        f"**{_per_cent(accuracy, interval)} accuracy** on {about.tested:,} test patches of {data}.",
        "",
        "## Intended use",
        "",
        f"Patches of {by_words(model.bands)}, and maps of whole scenes, patch by patch. Not for single pixels or "
        "outlines of objects, nor for other bands, types or units: landsift refuses those.",
        "",
        "```console",
        "$ landsift predict MODEL FOLDER --out predictions.csv",
        "$ landsift map MODEL SCENE --out map.tif",
        "```",
        "",
        "MODEL is the run directory, its folder `model/`, or a file that `landsift export` wrote.",
        "",
        "## Figures",
        "",
        f"On the {about.tested:,} test patches, with 95 % intervals over {about.over}:",
        "",
        "| figure | value |",
        "| --- | --- |",
        f"| accuracy | {_per_cent(accuracy, interval)} |",
        f"| macro F1 | {_share(f1, f1_interval)} |",
        f"| ECE | {_share(ece, ece_interval)} |",
        *(f"| {name} | {value} |" for name, value in about.judged),
        "",
        "| class | patches | tested | precision | recall | F1 |",
        "| --- | ---: | ---: | --- | --- | --- |",
        *(_row(each) for each in about.classes),
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in limits(about)),
        "",
        "## Data",
        "",
        f"- Source: {data}, {about.patches:,} patches"
        + (f"; {about.skipped:,} files were left out." if about.skipped else "."),
        f"- Patches: {about.patch}; {markdown(str(model.bands))}.",
        f"- Split: {markdown(about.split) or 'not recorded.'}",
        "",
        "## Training",
        "",
        f"- Network: {model.backbone}, {about.parameters:,} parameters, input {model.image_size} × {model.image_size} "
        f"pixels, {'a linear head' if model.head.get('hidden') is None else 'a head of two layers'}; {begun}.",
        f"- Strategy: {', '.join(about.strategy)}; {about.epochs} epochs; seed {about.seed}.",
        f"- Answers: {views[model.tta]}"
        + (f"; logits divided by {model.temperature:.4g}." if model.temperature is not None else "."),
        f"- Made with landsift {model.landsift}"
        + "".join(f", {name} {about.versions[name]}" for name in ("torch", "timm") if name in about.versions)
        + f"; {about.created[:10]}. Fingerprint of the model: `{about.fingerprint}`.",
        "",
        f"Written by `landsift card` {__version__} from the run.",
        "",
    ]
    return "\n".join(lines)


def by_words(bands: object) -> str:
    """The bands in a sentence."""
    return f"these bands and no others: {markdown(str(bands))}"


def _row(each: ClassFigures) -> str:
    figures = (
        ["–"] * 3
        if not each.tested
        else [_share(getattr(each, name), each.intervals.get(name)) for name in ("precision", "recall", "f1")]
    )
    return f"| {markdown(each.name)} | {each.patches:,} | {each.tested:,} | {' | '.join(figures)} |"


def _per_cent(value: float, interval: Interval) -> str:
    return f"{100 * value:.2f} % ({100 * interval[0]:.2f} to {100 * interval[1]:.2f})"


def _share(value: float, interval: Interval | None) -> str:
    return f"{value:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")
