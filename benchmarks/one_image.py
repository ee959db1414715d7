"""How long `landsift predict` of a single image takes, against an earlier landsift.

    python benchmarks/one_image.py RUN FILE [--other SRC] [--repeats 10] [--json FILE]

RUN is a trained run, FILE one image. SRC is the source of another landsift, such as that of an earlier commit:

    mkdir -p /tmp/earlier && git archive COMMIT src | tar x -C /tmp/earlier    (SRC is then /tmp/earlier/src)

Both are started in turns, from the command line to the table, after one of each that does not count. Printed are
medians of wall and processor seconds, the median and range of the ratios of the pairs, and whether a scheduler's
library (distributed) was loaded.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

import common

HERE = common.HERE.parent / "src"


def predicted(source: Path, run: Path, file: Path, out: Path, *options: str) -> tuple[float, float, str]:
    """Wall seconds, processor seconds and standard error of one prediction."""
    command = [sys.executable, *options, "-m", "landsift", "predict", str(run), str(file), "--out", str(out)]
    wall, used, done = common.timed(command, os.environ | {"PYTHONPATH": str(source)})
    return wall, used, done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--other", type=Path, metavar="SRC")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    sources = {"this": HERE} | ({"other": arguments.other.absolute()} if arguments.other else {})
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sources}
    with tempfile.TemporaryDirectory(prefix="landsift-bench-") as folder:
        for repeat in range(arguments.repeats + 1):
            for name, source in sources.items():
                wall, used, _ = predicted(source, arguments.run, arguments.file, Path(folder) / f"{name}-{repeat}.csv")
                if repeat:
                    found[name].append((wall, used))
        said = predicted(HERE, arguments.run, arguments.file, Path(folder) / "modules.csv", "-X", "importtime")[2]
        tables = {(Path(folder) / f"{name}-0.csv").read_text() for name in sources}
    loaded = any(line.rsplit("|", 1)[-1].strip() == "distributed" for line in said.splitlines())
    rows = [
        [name, *(common.number(statistics.median(each), 2) for each in zip(*found[name], strict=True))]
        for name in sources
    ]
    print(common.table(("landsift", "wall s", "processor s"), rows))
    result = {"seconds": found, "scheduler_loaded": loaded}
    if arguments.other:
        for kind, what in enumerate(("wall", "processor")):
            ratios = [one[kind] / two[kind] for one, two in zip(found["this"], found["other"], strict=True)]
            result[f"{what}_ratios"] = ratios
            middle = statistics.median(ratios)
            print(f"{what} seconds, this / other: {middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        print("tables: " + ("the same" if len(tables) == 1 else "DIFFERENT"))
    print(f"scheduler's library loaded: {'yes' if loaded else 'no'}")
    common.write_json(arguments.json, result)


if __name__ == "__main__":
    main()
