"""The workers of this machine: `python -m` and the name of this module, with what is asked for on standard input.

One process watches the workers, each a process of its own: it starts another where one dies, and ends one that needs
more memory than its share. All end with the process that has started them.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from landsift.runtime.parent import end_with_parent
from landsift.runtime.threads import spin_briefly


def main() -> None:
    """Serve until the scheduler ends, or the process that has started this one."""
    end_with_parent()
    spin_briefly()
    asyncio.run(_serve(json.load(sys.stdin)))


async def _serve(asked: dict[str, Any]) -> None:
    import dask
    from distributed import Nanny, Security
    from distributed.system import MEMORY_LIMIT

    # Results are small: nothing is to be spilled, and nothing to be paused, which would wait for memory for ever.
    memory = {f"distributed.worker.memory.{name}": False for name in ("target", "spill", "pause")}
    dask.config.set(memory | {"distributed.worker.memory.terminate": 0.95, "distributed.nanny.pre-spawn-environ": {}})
    dask.config.set(asked["config"])
    count = asked["count"]
    nannies = [
        Nanny(
            asked["scheduler"],
            nthreads=1,
            name=f"worker {number}",
            memory_limit=MEMORY_LIMIT // count,
            local_directory=asked["folder"],
            security=Security(**asked["security"]),
            host="127.0.0.1",
            env={"CUDA_VISIBLE_DEVICES": asked["devices"][number]} if asked["devices"] else None,
        )
        for number in range(count)
    ]
    await asyncio.gather(*nannies)
    await asyncio.gather(*(nanny.finished() for nanny in nannies))


if __name__ == "__main__":
    main()
