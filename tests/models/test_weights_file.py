"""Our own weights files are there whole or not at all, and a kill leaves nothing that is not cleared away."""

import signal
import subprocess
import sys

import torch
from safetensors.torch import load_file, save_file

from landsift.models.weights_file import write_state
from landsift.runtime.whole import remove_partials

KILLED_AT_4_KB = """
import resource, signal, sys
from pathlib import Path
import torch
from landsift.models.weights_file import write_state
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
write_state(torch.nn.Linear(100, 100), Path(sys.argv[1]) / "weights.safetensors")
"""


def test_a_module_is_written_as_safetensors_writes_it(tmp_path):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.BatchNorm2d(4)).to(
        memory_format=torch.channels_last
    )
    write_state(module, tmp_path / "ours")
    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, tmp_path / "theirs")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert all(torch.equal(load_file(tmp_path / "ours")[name], value) for name, value in module.state_dict().items())


def test_a_kill_while_weights_are_written_leaves_nothing_that_the_next_attempt_does_not_clear(tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED_AT_4_KB, tmp_path], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGXFSZ, killed.stderr
    assert [file.stat().st_size for file in tmp_path.iterdir()] == [4096]
    remove_partials(tmp_path)
    assert list(tmp_path.iterdir()) == []
