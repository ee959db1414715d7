"""Run the pipeline as told by a JSON list of steps, and print one JSON object per step.

A step: `out`, and optionally `set` (overrides of the configuration), `cache`, `delete` (a path, deleted before).
"""

import json
import logging
import shutil
import sys
from pathlib import Path

notices: list[str] = []
handler = logging.Handler()
handler.emit = lambda record: notices.append(record.getMessage())  # type: ignore[method-assign]
logging.getLogger("landsift").addHandler(handler)
logging.getLogger("landsift").setLevel(logging.INFO)

if __name__ == "__main__":
    from conftest import TINY

    from landsift.config import RunConfig
    from landsift.pipeline.run import run

    for step in json.loads(sys.argv[1]):
        notices.clear()
        if doomed := step.get("delete"):
            shutil.rmtree(doomed) if Path(doomed).is_dir() else Path(doomed).unlink()
        config = RunConfig.load(None, (*TINY, *step.get("set", ())))
        finished = run(config, Path(step["out"]), cache=step.get("cache", True), command=["landsift", "run"])
        stages = finished.manifest["stages"]
        print(json.dumps({"stages": stages, "notices": notices, "torch": "torch" in sys.modules}), flush=True)
