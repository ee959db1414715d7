"""A notebook's kernel, asked as a notebook asks it."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

import landsift


class Kernel:
    """A kernel with a folder of its own; what tests need of a Jupyter server is here.

    Attributes:
        home: landsift's cache folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        # One thread, because several wait for each other where a machine has other work.
        own = {
            "OMP_NUM_THREADS": "1",
            "LANDSIFT_HOME": str(self.home),
            "PYTHONPATH": str(Path(landsift.__file__).parents[1]),
        }
        own |= {name: str(folder / "jupyter") for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "FLYTE", "JUPYTER"))}
        # By files: of two kernels that look for free ports at once, both may find the same.
        self._sockets = tempfile.TemporaryDirectory(prefix="k")
        by_file = {"transport": "ipc", "ip": f"{self._sockets.name}/s"}
        self._manager = KernelManager(kernel_name="python3", connection_file=str(folder / "connection.json"), **by_file)
        self._manager.start_kernel(env=environment | own, cwd=str(folder))
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=120)
        self.printed = self.complained = ""

    def start(self, code: str) -> str:
        """Begin a cell; what `end` is to wait for."""
        return str(self._client.execute(code))

    def end(self, cell: str, timeout: float = 120) -> dict[str, Any]:
        """Wait until a cell has ended; its reply. What it has printed is in `printed` and `complained`."""
        deadline = time.monotonic() + timeout
        reply = None
        while reply is None or reply["parent_header"]["msg_id"] != cell:
            reply = self._client.get_shell_msg(timeout=max(0.1, deadline - time.monotonic()))
        said: dict[str, str] = {"stdout": "", "stderr": ""}
        while True:
            message = self._client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") != cell:
                continue
            if message["msg_type"] == "stream":
                said[message["content"]["name"]] += message["content"]["text"]
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
        self.printed, self.complained = said["stdout"], said["stderr"]
        return dict(reply["content"])

    def run(self, code: str, timeout: float = 120) -> dict[str, Any]:
        """A cell from its beginning to its end."""
        return self.end(self.start(code), timeout)

    def wait(self, until: Callable[[], object], timeout: float = 120) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + timeout
        while not until():
            assert self._manager.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def stop(self) -> None:
        """What the button does."""
        self._manager.interrupt_kernel()

    @property
    def pid(self) -> int:
        """Of the kernel's process."""
        return int(self._manager.provisioner.pid)

    def close(self) -> None:
        """End the kernel."""
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
