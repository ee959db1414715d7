"""Whether `landsift tune` beats the configuration that it begins with: searches of several seeds, tested once each.

    python benchmarks/tuning.py --data eurosat --minutes 30 --seeds 0,1,2 --out SEARCHES \\
        --set data.eurosat.root=EUROSAT --set data.budget=500 --set "data.split.fractions=[0.75,0.05,0.2]" \\
        --set model.backbone=mobilenetv2_100 --set model.weights=FILE --set "model.backbone_args={pad_type: same}" \\
        --set "model.normalization={mean: [0.5,0.5,0.5], std: [0.5,0.5,0.5]}" --set training.image_size=64

All seeds share the split. Each draws other labels of the budget and other random numbers (`data.budget_seed`, `seed`),
and searches anew. By place: `--set "data.split.lists={train: ..., val: ..., test: ...}"` in place of the fractions, and
`--val N` draws so many patches of the validation list: who has 500 labels does not have 5,000 more. The last line is
the difference over all seeds, with an interval over seeds and patches, or groups. Finished searches are not made again,
and an interrupted one resumes.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common import table, write_json
from landsift.config import RunConfig
from landsift.evaluation.two_way import groups_df, over_groups, own_estimate
from landsift.runs import Run
from landsift.runtime.notices import show_on_stderr

if TYPE_CHECKING:
    from landsift.pipeline.tuning.record import Record

BEST, DEFAULT = "best", "default"
"""Folders of a search's runs."""


def searched(arguments: argparse.Namespace, seed: int) -> Record:
    """The search of a seed, from its folder if it is there."""
    from landsift.pipeline.tuning.search import tune

    own = [f"data.source={arguments.data}", f"seed={seed}", "tracking.wandb=disabled", "tracking.tsne_every=0"]
    config = RunConfig.load(arguments.config, [*own, *arguments.set])
    if config.data.budget is not None:
        config = config.replace(f"data.budget_seed={seed}")
    if arguments.val is not None:
        lists = config.data.split.lists
        if lists is None or lists.val is None:
            raise SystemExit("--val draws from a list: set data.split.lists, with val")
        config = config.replace(f"data.split.lists.val={_drawn(Path(lists.val), arguments)}")
    limits = {"minutes": arguments.minutes, "trials": arguments.trials}
    return tune(config, arguments.out / f"seed-{seed}", **limits)


def _drawn(given: Path, arguments: argparse.Namespace) -> Path:
    """A list of so many patches of the validation list, the same for all seeds."""
    file = arguments.out / f"val-{arguments.val}.txt"
    if not file.is_file():  # searches of other seeds may be reading it
        entries = given.read_text().split()
        if not 0 < arguments.val <= len(entries):
            raise SystemExit(f"--val is {arguments.val}, and {given} lists {len(entries):,} patches")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(random.Random(0).sample(entries, arguments.val)) + "\n")
    return file.absolute()


def right_of(folder: Path) -> np.ndarray:
    """Whether a run is right about each test patch, bool [N]."""
    predictions = Run.open(folder).predictions
    test = predictions[predictions["split"] == "test"]
    return (test["label"] == test["predicted"]).to_numpy()


def row(seed: int, record: Record) -> list[str]:
    """A seed's line of the table."""
    found = record.finished
    first = found["test"].get(DEFAULT, found["test"][BEST])  # where it is the chosen one itself
    low, high = found["test"].get("interval") or (0.0, 0.0)
    trial = record.trials[found["chosen"]]
    return [
        str(seed),
        str(len(record.trials)),
        f"{record.spent / 60:.0f}",
        _with_interval(first),
        _with_interval(found["test"][BEST]),
        f"{100 * found['test'].get('difference', 0.0):+.2f} ({100 * low:+.2f} to {100 * high:+.2f})",
        "as it was" if found["chosen"] == 0 else f"{trial.number + 1}: {trial.values}",
    ]


def pooled(folders: list[Path]) -> tuple[float, float, float, float]:
    """Difference of the tuned and the first model over all seeds, low and high of its 95 % interval, and p."""
    from landsift.pipeline.tuning.final import units_of_part

    gaps = []
    for folder in folders:
        best = right_of(folder / BEST).astype(np.float64)
        other = folder / DEFAULT
        gaps.append(best - right_of(other) if other.is_dir() else np.zeros_like(best))
    values, df = np.stack(gaps), None
    units = units_of_part(Run.open(folders[0] / BEST), "test")
    if units is not None:
        number = np.unique(units, return_inverse=True)[1].astype(np.int64)
        values, df = over_groups(values, number), groups_df(number)
    found = own_estimate(values, df)
    return found.mean, *found.interval(0.05), found.p


def _with_interval(said: dict) -> str:
    low, high = (100 * end for end in said["interval"])
    return f"{100 * said['accuracy']:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Search with each seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="as of `landsift tune`")
    parser.add_argument("--out", required=True, type=Path, help="a folder for the searches")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--minutes", type=float, help="of each search")
    parser.add_argument("--trials", type=int, help="of each search")
    parser.add_argument("--val", type=int, metavar="N", help="patches of the validation list; all without it")
    parser.add_argument("--config", type=Path, help="what it sets is fixed")
    parser.add_argument("--set", action="append", default=[], help="key=value, which is fixed")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    show_on_stderr()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    records = {seed: searched(arguments, seed) for seed in seeds}
    headers = ["seed", "trials", "minutes", "test, as it was, %", "test, tuned, %", "difference", "chosen trial"]
    print(table(headers, [row(seed, record) for seed, record in records.items()]))
    mean, low, high, p = pooled([record.folder for record in records.values()])
    print(
        f"\ntuned minus as it was, over {len(seeds)} seeds: {100 * mean:+.2f} points, "
        f"95 % interval {100 * low:+.2f} to {100 * high:+.2f}, p {p:.2g}"
    )
    found = {str(seed): record.finished for seed, record in records.items()}
    write_json(arguments.json, {"searches": found, "difference": mean, "interval": [low, high], "p": p})


if __name__ == "__main__":
    main()
