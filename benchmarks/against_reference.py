"""landsift against the usual way: the same network, weights and patches, in one run on one machine.

    python benchmarks/against_reference.py --data FOLDER --weights FILE [--seeds 0 1 2] [--json FILE]
    python benchmarks/against_reference.py --data FOLDER --weights FILE --quick [--sizes 224 64] [--repeats 3]

FOLDER holds one folder per class (EuroSAT's `2750`), FILE ImageNet's weights for timm's mobilenetv2_100. 2,700
patches train and validate, 90/10, and 2,700 others test. Each of these runs alone, in a fresh process:

  reference        the usual way (reference.py): 224 pixels, 7 + 10 epochs
  same recipe      landsift (ours.py) with the same settings: all 7 epochs of the head, and --epochs-phase2 epochs of
                   the fine-tuning, with flips and turns alone
  with jitter      the same with the reference's colour jitter, for a like ratio: in the first phase, features of a few
                   drawn views of each patch are computed once
  fast recipe      landsift's own recipe (--fast-config), from the image files to the test accuracy, for each seed

An epoch's seconds are the median without the first of its kind. `--quick` runs reference, same recipe and with jitter
on 1,280 patches in turns, --repeats times for each of --sizes, and prints the median and the range of the
turns' ratios: what else the machine does then falls on both sides. An epoch begins with a wait for the workers' first
batch, so that with far fewer patches than that the reference looks slower than it is. Nothing else should run beside:
the reference has more processes than cores, and loses more than landsift when it has to share them.

`--reference-json` takes the reference from an earlier `--json` of this script, if it was of the same images.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import common
import patch_lists
import reference

HEAD_EPOCHS, FINE_TUNE_EPOCHS = 7, 10
QUICK_EPOCHS = (2, 2)
FAST_CONFIG = common.HERE.parent / "configs" / "fast.yaml"
FLIPS_ONLY = "training.augment={flips: true, crop: null, color_jitter: [0, 0, 0, 0], mixup: 0, cutmix: 0}"
WITH_JITTER = "training.augment={flips: true, crop: null, color_jitter: [0.2, 0.2, 0.2, 0.1], mixup: 0, cutmix: 0}"
PARTS = ("reference", "recipe", "fast")


def same_settings(image_size: int, batch_size: int, precision: str) -> list[str]:
    """The settings of reference.py, as landsift's configuration says them; neither side is compiled."""
    return [
        f"training.image_size={image_size}",
        f"training.batch_size={batch_size}",
        f"training.precision='{precision}'",
        "training.compile=false",
        f"training.label_smoothing={reference.LABEL_SMOOTHING}",
        f"training.weight_decay={reference.WEIGHT_DECAY}",
        "training.gradient_clip=null",
        "model.head={hidden: 256, dropout: 0.3}",
    ]


def strategy(head: int, fine_tune: int) -> str:
    """landsift's `two_phase` with these numbers of epochs; a phase without epochs is left out."""
    phases = []
    if head:
        phases.append(f"{{name: head, epochs: {head}, lr_head: {reference.LR_HEAD_1}, warmup_steps: 500}}")
    if fine_tune:
        rates = f"lr_head: {reference.LR_HEAD_2}, lr_backbone: {reference.LR_BACKBONE}, lr_min: {reference.LR_MIN}"
        phases.append(f"{{name: fine-tune, epochs: {fine_tune}, blocks: all, {rates}}}")
    return f"strategy=[{', '.join(phases)}]"


class Comparison:
    """The programs that are compared, on one list of patches.

    Args:
        patches: what both sides read.
        arguments: of the command line.
    """

    def __init__(self, patches: patch_lists.PatchList, arguments: argparse.Namespace) -> None:
        self.patches = patches
        self.arguments = arguments

    def reference(self, image_size: int, epochs: tuple[int, int]) -> dict[str, Any]:
        """The usual way, in a fresh process."""
        given = self.arguments
        options: list[object] = ["--data", self.patches.folder, "--weights", given.weights, "--epochs", *epochs]
        options += ["--image-size", image_size, "--batch-size", given.batch_size, "--precision", given.precision]
        if given.workers is not None:
            options += ["--workers", given.workers]
        return common.run_part("reference.py", options)

    def ours(self, settings: list[str], config: Path | None = None) -> dict[str, Any]:
        """landsift, in a fresh process."""
        options: list[object] = ["--table", self.patches.table, "--weights", self.arguments.weights]
        if config is not None:
            options += ["--config", config]
        for setting in settings:
            options += ["--set", setting]
        return common.run_part("ours.py", options)

    def recipe(self, image_size: int, epochs: tuple[int, int]) -> dict[str, dict[str, Any]]:
        """landsift with the reference's settings: both phases with flips alone, and both with colour jitter."""
        settings = [
            *same_settings(image_size, self.arguments.batch_size, self.arguments.precision),
            *self.arguments.recipe_set,
        ]
        return {
            "same_recipe": self.ours([*settings, FLIPS_ONLY, strategy(*epochs)]),
            "with_jitter": self.ours([*settings, WITH_JITTER, strategy(*epochs)]),
        }


def seconds_of(result: dict[str, Any]) -> dict[str, float]:
    """Seconds of a part's stages: phase 1 in all, its validations included; an epoch of phase 2; a validation in it.

    A phase 1 shorter than the recipe's 7 epochs is carried on with its steady epoch.
    """
    head, fine_tune = ([r for r in result["epochs"] if r["phase_name"] == name] for name in reference.PHASES)
    seconds = {}
    if head:
        whole = [row["train_seconds"] + row["val_seconds"] for row in head]
        seconds["phase_1"] = sum(whole) + (HEAD_EPOCHS - len(whole)) * common.steady(whole)
    if fine_tune:
        seconds["phase_2_epoch"] = common.steady([row["train_seconds"] for row in fine_tune])
        seconds["validation"] = common.steady([row["val_seconds"] for row in fine_tune])
    return seconds


def ratios_of(usual: dict[str, Any], same: dict[str, Any], jitter: dict[str, Any]) -> dict[str, dict[str, float]]:
    """How many times longer the usual way takes: by stage, with both seconds and images per second."""
    theirs, ours, ours_jitter = seconds_of(usual), seconds_of(same), seconds_of(jitter)
    train, val = usual["images"]["train"], usual["images"]["val"]
    stages = {
        "phase 1, 7 epochs with validation": ("phase_1", ours_jitter, HEAD_EPOCHS * train),
        "phase 1, ours without jitter": ("phase_1", ours, HEAD_EPOCHS * train),
        "phase 2, an epoch": ("phase_2_epoch", ours_jitter, train),
        "phase 2, an epoch, ours without jitter": ("phase_2_epoch", ours, train),
        "validation": ("validation", ours, val),
    }
    return {
        name: {
            "reference_seconds": theirs[key],
            "landsift_seconds": side[key],
            "reference_images_per_second": images / theirs[key],
            "landsift_images_per_second": images / side[key],
            "ratio": theirs[key] / side[key],
        }
        for name, (key, side, images) in stages.items()
        if key in theirs and key in side
    }


def compare(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """The whole comparison, once."""
    patches = patch_lists.draw(arguments.data, arguments.patches, arguments.test, arguments.split_seed, scratch)
    comparison = Comparison(patches, arguments)
    size = arguments.image_size
    result: dict[str, Any] = {"patches": patches.counts, "digest": patches.digest}
    if arguments.reference_json:
        result["reference"] = earlier_reference(arguments, patches)
    elif "reference" in arguments.parts:
        result["reference"] = comparison.reference(size, tuple(arguments.reference_epochs))
        keep(arguments, result)
    if "recipe" in arguments.parts:
        result |= comparison.recipe(size, (arguments.reference_epochs[0], arguments.epochs_phase2))
        keep(arguments, result)
    if "fast" in arguments.parts:
        result["fast"] = []
        for seed in arguments.seeds:
            run = comparison.ours([*arguments.set, f"seed={seed}"], arguments.fast_config)
            result["fast"].append({"seed": seed} | run)
            keep(arguments, result)
    if "reference" in result and "same_recipe" in result:
        result["ratios"] = ratios_of(result["reference"], result["same_recipe"], result["with_jitter"])
    return result


def keep(arguments: argparse.Namespace, result: dict[str, Any]) -> None:
    """Write what is there so far: a long comparison may be stopped."""
    common.write_json(arguments.json, result)


def earlier_reference(arguments: argparse.Namespace, patches: patch_lists.PatchList) -> dict[str, Any]:
    """The reference of an earlier run, refused if it was of other images, settings or another machine."""
    file: Path = arguments.reference_json
    earlier = json.loads(file.read_text(encoding="utf-8"))
    part: dict[str, Any] = earlier.get("reference", {})
    asked = {
        "image_size": arguments.image_size,
        "batch_size": arguments.batch_size,
        "precision": arguments.precision,
        "epochs": list(arguments.reference_epochs),
    }
    same = {name: part.get("recipe", {}).get(name) for name in asked} == asked
    if not same or earlier.get("digest") != patches.digest or earlier.get("hardware") != common.machine()["hardware"]:
        sys.exit(f"{file} holds no reference of these images, settings and machine: leave --reference-json out")
    return part


def compare_quickly(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Both sides in turns on few patches."""
    patches = patch_lists.draw(arguments.data, arguments.patches, arguments.test, arguments.split_seed, scratch)
    comparison = Comparison(patches, arguments)
    result: dict[str, Any] = {"patches": patches.counts, "digest": patches.digest, "turns": {}}
    for size in arguments.sizes:
        turns = result["turns"][str(size)] = []
        for _ in range(arguments.repeats):
            usual = comparison.reference(size, QUICK_EPOCHS)
            same = comparison.recipe(size, (HEAD_EPOCHS, QUICK_EPOCHS[1]))
            turns.append(ratios_of(usual, same["same_recipe"], same["with_jitter"]))
            keep(arguments, result)
    return result


def print_comparison(result: dict[str, Any]) -> None:
    print(", ".join(f"{count:,} {part}" for part, count in result["patches"].items()) + " patches")
    if "ratios" in result:
        rows = [
            (
                name,
                *(common.number(ratio[f"{side}_seconds"], 2) for side in ("reference", "landsift")),
                *(common.number(ratio[f"{side}_images_per_second"], 0) for side in ("reference", "landsift")),
                common.number(ratio["ratio"], 2),
            )
            for name, ratio in result["ratios"].items()
        ]
        headers = ("stage", "reference s", "landsift s", "reference images/s", "landsift images/s", "ratio")
        print("\n" + common.table(headers, rows))
        print("landsift's phase 1 keeps the features of training.feature_views views of each patch.")
    usual = result.get("reference")
    runs = [("reference", usual), ("same recipe", result.get("same_recipe"))]
    runs += [(f"fast recipe, seed {run['seed']}", run) for run in result.get("fast", [])]
    rows = []
    for name, run in runs:
        if run is None:
            continue
        # The same recipe is cut short: nothing but its seconds per stage says something.
        whole = usual is not None and (name.startswith("fast") or len(run["epochs"]) == len(usual["epochs"]))
        share = usual["process_seconds"] / run["process_seconds"] if usual and whole else None
        row = [name, str(len(run["epochs"])), common.number(run["process_seconds"]), common.number(share, 1)]
        row += [common.number(100 * run["test_acc"], 2)]
        row += ["–" if not whole else "yes" if run["test_acc"] >= usual["test_acc"] else "no"]
        row += [common.number(run[key], 0) for key in ("peak_memory_mib", "peak_main_process_mib")]
        rows.append(row)
    headers = ("run", "epochs", "s in all", "times faster", "test %", "reaches it", "peak MiB", "main process MiB")
    print("\n" + common.table(headers, rows))
    precisions = {name: run["precision"] for name, run in runs if run is not None and "precision" in run}
    print(
        f"Arithmetic: {', '.join(f'{name} {used}' for name, used in precisions.items())}; the reference "
        f"{usual['recipe']['precision'] if usual else '–'}."
    )
    print("Seconds in all: from the start of the process to the test accuracy, decoding and imports included.")
    print("Peak MiB: resident memory of the process and what its workers hold beside it; main process: without them.")


def print_turns(result: dict[str, Any]) -> None:
    print(", ".join(f"{count:,} {part}" for part, count in result["patches"].items()) + " patches")
    rows = []
    for size, turns in result["turns"].items():
        for name in turns[0]:
            rates = [
                common.median(t[name][f"{side}_images_per_second"] for t in turns) for side in ("reference", "landsift")
            ]
            found = [t[name]["ratio"] for t in turns]
            spread = f"{min(found):.2f} to {max(found):.2f}"
            rows.append((size, name, *(common.number(r, 0) for r in rates), f"{common.median(found):.2f}", spread))
    headers = ("pixels", "stage", "reference images/s", "landsift images/s", "ratio", "of the turns")
    print("\n" + common.table(headers, rows))
    print(
        "Medians over the turns. The features that landsift's phase 1 keeps are counted in; the reference's is carried"
    )
    print("on from its epochs to 7.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE")
    parser.add_argument("--patches", type=int, help="to train and validate on: 2,700, or 1,280 with --quick")
    parser.add_argument("--test", type=int, help="others to test on: 2,700, or 64 with --quick")
    parser.add_argument("--split-seed", type=int, default=0)
    parser.add_argument("--image-size", type=int, default=224, help="of the reference and the same recipe")
    parser.add_argument("--batch-size", type=int, default=64, help="of the reference and the same recipe")
    parser.add_argument("--workers", type=int, help="of each loader of the reference; the number of cores if not given")
    parser.add_argument("--precision", choices=("32", "bf16"), default="32", help="of both sides")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--reference-json", type=Path, metavar="FILE")
    parser.add_argument("--reference-epochs", type=int, nargs=2, default=(HEAD_EPOCHS, FINE_TUNE_EPOCHS))
    parser.add_argument("--epochs-phase2", type=int, default=2, help="of the same recipe; 10 for its accuracy too")
    parser.add_argument("--recipe-set", action="append", default=[], metavar="KEY=VALUE", help="of the same recipe")
    parser.add_argument("--fast-config", type=Path, default=FAST_CONFIG, metavar="FILE")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the fast recipe")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the fast recipe")
    parser.add_argument("--quick", action="store_true", help="ratios alone, from short runs in turns")
    parser.add_argument("--repeats", type=int, default=3, help="turns of --quick")
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 64], help="input sizes of --quick, in pixels")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    arguments.patches = arguments.patches or (1280 if arguments.quick else 2700)
    arguments.test = arguments.test or (64 if arguments.quick else 2700)
    if not arguments.weights.is_file():
        parser.error(f"no weights at {arguments.weights}")
    if not arguments.quick and "fast" in arguments.parts and not arguments.fast_config.is_file():
        parser.error(f"no configuration at {arguments.fast_config}")
    with tempfile.TemporaryDirectory(prefix="landsift-bench-") as scratch:
        result = (compare_quickly if arguments.quick else compare)(arguments, Path(scratch))
    (print_turns if arguments.quick else print_comparison)(result)
    keep(arguments, result)


if __name__ == "__main__":
    main()
