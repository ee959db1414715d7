"""Where the time of the test stage goes: the share of what calibration, sets, abstention and explanations cost.

    python benchmarks/seconds_of_test.py RUN [--out FOLDER]

Tests the model of a run again, on the patches of the run's store in the cache, and counts the seconds of its parts in
that one process. `--out` keeps what the test writes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import table

PARTS = {
    "features of training patches": ("_features", "fit_distances"),
    "temperature, sets, abstention, their figures": (
        "choose_temperature", "calibration_figures", "fit_trust", "trust_figures", "write_trust",
    ),
    "distances of validation and test patches": ("distance",),
    "explained mistakes": ("write_mistakes",),
    "answers to validation and test patches": ("_answers",),
    "other figures (accuracy, intervals)": ("evaluate",),
}  # fmt: skip
"""What is counted together: functions of `landsift.evaluation.final_test`."""


def main() -> None:
    """Test once and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, help="a folder for what the test writes")
    given = parser.parse_args()
    from landsift import runs
    from landsift.data.store.store_of_run import store_of_run
    from landsift.evaluation import final_test
    from landsift.models.trust import Distances

    run = runs.Run.open(given.run)
    store = store_of_run(run)
    if store is None:
        raise SystemExit(f"the patches of {given.run} are not in the cache")
    seconds: dict[str, float] = defaultdict(float)

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                seconds[name] += time.perf_counter() - begun

        return timed

    for name in {name for names in PARTS.values() for name in names} - {"distance"}:
        setattr(final_test, name, counted(name, getattr(final_test, name)))
    Distances.__call__ = counted("distance", Distances.__call__)  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory(prefix="landsift-") as scratch:
        trained = Path(scratch)
        shutil.copyfile(run.path / runs.MANIFEST, trained / runs.MANIFEST)
        shutil.copyfile(run.model_dir / "model.safetensors", trained / runs.WEIGHTS)
        folder = trained / "tested" if given.out is None else given.out
        begun = time.perf_counter()
        final_test.final_test(run.config, store, trained, folder)
        whole = time.perf_counter() - begun
    seconds["_answers"] -= seconds["distance"]
    shares = {part: sum(seconds[name] for name in names) for part, names in PARTS.items()}
    shares["all else"] = whole - sum(shares.values())
    split = json.loads((run.path / runs.MANIFEST).read_text())["data"]["split"]
    print(f"{split}, test-time augmentation {run.config.evaluation.tta}\n")
    print(
        table(["part", "seconds", "share, %"], [[p, f"{s:.1f}", f"{100 * s / whole:.1f}"] for p, s in shares.items()])
    )


if __name__ == "__main__":
    main()
