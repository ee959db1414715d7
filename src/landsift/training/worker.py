"""One process of a training in several: `python -m landsift.training.worker TASK`, started by `start`."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from landsift.errors import to_record
from landsift.runtime.interruption import STATUS, Terminated
from landsift.runtime.notices import show_on_stderr
from landsift.runtime.parent import end_with_parent


def main(task: Path) -> None:
    """Train as one of several; the first writes the run.

    Args:
        task: a JSON file with `config`, the `store`'s folder and the `root` of its files, the run's `folder`, what it
            `repeats`, and the `level` of notices.
    """
    asked = json.loads(task.read_text(encoding="utf-8"))
    show_on_stderr(asked["level"] if os.environ["RANK"] == "0" else logging.CRITICAL)
    from landsift.config import RunConfig
    from landsift.data.store.patch_store import PatchStore
    from landsift.training import fit, ranks

    config = RunConfig.from_dict(asked["config"])
    store = PatchStore.open(asked["store"])
    store.info["root"] = asked["root"]
    fit.train_here(config, store, Path(asked["folder"]), repeats=asked["repeats"])
    ranks.leave_group()


@contextlib.contextmanager
def reporting() -> Iterator[None]:
    """Around all that a rank does: report what ends it to the process that waits, and end at once.

    Without a clean-up, because that would wait for the others, who wait for this one.
    """
    end_with_parent()
    try:
        yield
    except KeyboardInterrupt:
        os._exit(130)
    except Terminated:
        os._exit(STATUS)
    except Exception as error:  # noqa: BLE001 (whatever it is, it must reach the waiting process)
        # Not printed: the loss of another rank raises something here as well, and that other is the one to name.
        report = to_record(error) | {"time": time.time(), "traceback": traceback.format_exc()}
        file = Path(os.environ["TORCHELASTIC_ERROR_FILE"])
        # torch's agent reads `message`
        text = {"message": {"message": str(error), "extraInfo": {"timestamp": str(int(time.time()))}}}
        file.write_text(json.dumps(text | {"landsift": report}), encoding="utf-8")
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    with reporting():
        main(Path(sys.argv[1]))
