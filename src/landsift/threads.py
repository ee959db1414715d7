"""How torch's threads wait for each other."""

from __future__ import annotations

import os

SPINS = "1000"


def spin_briefly() -> None:
    """Have waiting threads look for work for some microseconds and then sleep; to be called before torch is loaded.

    By default they spin for milliseconds, which slows a machine that does other work as well; to sleep at once slows an
    idle one, because a small network's step is hundreds of short waits (benchmarks/thread_waiting.py,
    docs/results.md). What the user has set in the environment stays.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS
