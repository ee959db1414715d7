"""Exported models beside torch: equal classes, probabilities, accuracy, patches per second and size.

    python benchmarks/export.py RUN... [--random BACKBONE,...] [--patches N] [--tta none|flips] [--json FILE]

Each RUN has its test patches in the cache of this machine. Networks of `--random` have random weights and the patches,
classes and sizes of the first RUN; their accuracy says nothing and is not shown. Every model is exported as float32 and
as INT8 (ranges from training patches), and compared on N test patches chunk by chunk in turns, in one process: what
else the machine does slows torch and the export alike. Of runs with thresholds a second table says
what sets, abstention and out-of-distribution flags are like.
"""

import argparse
import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import common


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--random", default="", help="backbones with random weights")
    parser.add_argument("--patches", type=int, default=2000)
    parser.add_argument("--tta", default="none", choices=["none", "flips"])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    from landsift.runtime import threads

    threads.settle()
    logging.getLogger("landsift").setLevel(logging.ERROR)
    rows = []
    with tempfile.TemporaryDirectory(prefix="landsift-bench-") as scratch:
        for run in given.runs:
            rows += measured(run, run, Path(scratch), given.patches, given.tta)
        for backbone in filter(None, given.random.split(",")):
            run = with_random_weights(given.runs[0], backbone, Path(scratch) / backbone)
            rows += measured(run, given.runs[0], Path(scratch), given.patches, given.tta, is_random=True)
    headers = ["network", "input", "format", "same class", "largest difference", "accuracy", "by torch", "points lost"]
    headers += ["patches/s", "torch", "times torch", "MiB"]
    print(common.table(headers, [line_of(row) for row in rows]))
    if judged := [row for row in rows if row["thresholds"] is not None]:
        headers = ["network", "format", "same set, abstain and ood", "sets hold", "answered", "wrong answers", "ood"]
        print("\n" + common.table(headers, [judged_line(row) for row in judged]))
    common.write_json(given.json, {"rows": rows})


def measured(
    run: Path, data: Path, scratch: Path, count: int, tta: str, *, is_random: bool = False
) -> list[dict[str, Any]]:
    """A model in both formats."""
    from landsift.evaluation.trust import judged_figures
    from landsift.export import patches
    from landsift.export.check import compare
    from landsift.export.graph import graph_of
    from landsift.export.quantize import quantized
    from landsift.export.write import with_metadata
    from landsift.models.onnx_predictor import OnnxPredictor
    from landsift.models.predictor import answers, load_model
    from landsift.runs import Run

    predictor = load_model(run, "cpu")
    predictor.description = replace(predictor.description, tta=tta)
    about = predictor.description
    tested = patches.of_run(Run.open(data), about, "test", count)
    looks = patches.CALIBRATION if tta == "none" else patches.CALIBRATION // 4
    trained = patches.of_run(Run.open(data), about, "train", looks)
    if tested is None or trained is None:
        raise SystemExit(f"the patches of {data} are not in this machine's cache")
    graph = graph_of(predictor)
    rows = []
    for name, made in (("onnx", lambda: graph), ("onnx-int8", lambda: quantized(graph, trained.images))):
        file = scratch / f"{about.backbone}.{name}.onnx"
        file.write_bytes(with_metadata(made(), about, {}, predictor.trust))
        exported = OnnxPredictor(file)
        found = compare(predictor, exported, tested).to_dict()
        row = {"network": about.backbone, "input": about.image_size, "format": name, "random": is_random}
        row["thresholds"] = None
        if exported.trust is not None:
            probabilities, distances = answers(exported, tested.images)
            judged = exported.trust.judge(probabilities, distances)
            row["thresholds"] = judged_figures(exported.trust, judged, probabilities, tested.labels, None)
        rows.append(row | found | {"bytes": file.stat().st_size})
        print(line_of(rows[-1]), flush=True)
    return rows


def with_random_weights(like: Path, backbone: str, folder: Path) -> Path:
    """A run directory with a network of random weights, whose answers differ from patch to patch."""
    import torch

    from landsift.config import HeadConfig, ModelConfig
    from landsift.models.backbone import create_backbone
    from landsift.models.classifier import PatchClassifier
    from landsift.models.predictor import load_model, save_model

    predictor = load_model(like, "cpu")
    about = predictor.description
    torch.manual_seed(0)
    made = create_backbone(ModelConfig(backbone=backbone, weights="none"), about.image_size)
    head = HeadConfig(hidden=None, dropout=0.0)
    classifier = PatchClassifier(made.network, made.features, len(about.classes), head)
    spread_out(classifier, predictor, like)
    own = replace(about, backbone=backbone, backbone_args={}, head={"hidden": None, "dropout": 0.0}, module=None)
    save_model(classifier, own, folder / "model")
    return folder


def spread_out(classifier: Any, predictor: Any, like: Path) -> None:
    """Give batch norms the statistics of training patches, and draw the last layer so that they get many classes.

    Without, the features of a deep random network hardly differ, and rounding decides.
    """
    import torch

    from landsift.export import patches
    from landsift.runs import Run

    sample = patches.of_run(Run.open(like), predictor.description, "train", 128)
    if sample is None:
        raise SystemExit(f"the patches of {like} are not in this machine's cache")
    for module in classifier.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # plain means
    with torch.inference_mode():
        classifier.backbone.train()(predictor.preprocess(torch.from_numpy(sample.images)))
        features = classifier.eval().backbone(predictor.preprocess(torch.from_numpy(sample.images)))  # [N, D]
        linear = classifier.head[-1]
        directions = torch.randn(linear.weight.shape, generator=torch.Generator().manual_seed(1))
        centred = features - features.mean(dim=0)
        linear.weight.data = 3 * directions / (centred @ directions.T).std(dim=0, keepdim=True).T
        linear.bias.data = -(features.mean(dim=0) @ linear.weight.T)


def judged_line(row: dict[str, Any]) -> list[str]:
    """A row of the table of thresholds."""
    found = row["thresholds"]
    answered = found["abstention"] or {"answered": 1.0, "risk": None}
    return [
        row["network"],
        row["format"],
        f"{100 * row['judged']:.2f} %",
        f"{100 * found['sets']['coverage']:.2f} %",
        f"{100 * answered['answered']:.1f} %",
        "–" if answered["risk"] is None else f"{100 * answered['risk']:.2f} %",
        f"{100 * found['ood']:.1f} %",
    ]


def line_of(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    known = row["accuracy"] is not None and not row["random"]
    accuracy = [f"{100 * row[name]:.2f} %" if known else "–" for name in ("accuracy", "accuracy_torch")]
    lost = f"{100 * (row['accuracy_torch'] - row['accuracy']):.2f}" if known else "–"
    own, torch_own = row["patches_per_second"], row["patches_per_second_torch"]
    return [
        row["network"] + (" (random weights)" if row["random"] else ""),
        f"{row['input']}",
        row["format"],
        f"{100 * row['same']:.2f} %",
        f"{row['largest']:.1e}",
        *accuracy,
        lost,
        f"{own:,.0f}",
        f"{torch_own:,.0f}",
        f"{own / torch_own:.2f}",
        f"{row['bytes'] / 2**20:.1f}",
    ]


if __name__ == "__main__":
    main()
