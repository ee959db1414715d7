"""Run the pipeline as told by a list of steps; as a program, the list is JSON and one JSON line per step is printed.

A step: `out`, and optionally `set` (overrides of the configuration), `cache`, `delete` (a path, deleted before).
"""

import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def take(steps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Run the pipeline once per step; say which stages were cached, what the notices were, and the seconds taken."""
    from pipeline_helpers import TINY

    from landsift.config import RunConfig
    from landsift.pipeline.run import run

    notices: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: notices.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("landsift").addHandler(handler)
    logging.getLogger("landsift").setLevel(logging.INFO)
    for step in steps:
        start = time.monotonic()
        if doomed := step.get("delete"):
            shutil.rmtree(doomed) if Path(doomed).is_dir() else Path(doomed).unlink()
        config = RunConfig.load(None, (*TINY, *step.get("set", ())))
        finished = run(config, Path(step["out"]), cache=step.get("cache", True), command=["landsift", "run"])
        yield {
            "stages": finished.manifest["stages"],
            "notices": list(notices),
            "loaded": sorted({name.split(".")[0] for name in sys.modules} | {"plotly.graph_objs"} & set(sys.modules)),
            "seconds": time.monotonic() - start,
        }
        notices.clear()


def forked(steps: list[dict[str, Any]], env: dict[str, str], cwd: str, errors: str, answer: Any) -> None:
    """The same in a process that comes with torch and its kin loaded, but without landsift."""
    assert not [name for name in sys.modules if name.split(".")[0] == "landsift"]
    descriptor = os.open(errors, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, 2)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path.insert(0, env["PYTHONPATH"])
    answer.send(list(take(steps)))


if __name__ == "__main__":
    for outcome in take(json.loads(sys.argv[1])):
        print(json.dumps(outcome), flush=True)
