"""What a worker calls when it has written a map, as a module has it: the end of its process."""

import os
import signal


def at_b(path, scene):
    """At the scene b, each time."""
    if scene.name == "b.tif":
        os.kill(os.getpid(), signal.SIGKILL)
