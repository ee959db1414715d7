"""A process that trains cells of a comparison, one after the other: `python -m` and the name of this module.

Each line of standard input asks for a training, each line of standard output answers. What libraries print goes to
standard error.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from landsift.errors import to_record
from landsift.runtime.threads import spin_briefly


def main() -> None:
    """Answer until standard input ends."""
    spin_briefly()
    from landsift.training.worker import end_with_parent

    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    end_with_parent()
    for line in sys.stdin:
        print(json.dumps({"error": _train(json.loads(line))}), file=answers, flush=True)


def _train(asked: dict[str, str]) -> dict[str, str] | None:
    """Train what is asked for; the error's record, or None if all went well."""
    from landsift.config import RunConfig
    from landsift.pipeline.comparison.cell import train_here

    try:
        config = RunConfig.model_validate_json(asked["config"])
        train_here(config, Path(asked["store"]), Path(asked["folder"]), asked["label"], asked["group"])
    except Exception as error:  # noqa: BLE001 (whatever it is, the comparison continues and reports it)
        return to_record(error)
    return None


if __name__ == "__main__":
    main()
