"""Freed memory is kept where glibc manages it."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from landsift.models.memory import keep_freed_memory
import torch
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(2**24)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_large_blocks_are_used_again_instead_of_mapped_anew():
    """Counted in page faults, which do not depend on how fast the machine is."""
    counts = {
        mode: int(
            subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, check=True, text=True).stdout
        )
        for mode in ("keep", "give back")
    }
    assert counts["give back"] > 10_000
    assert counts["keep"] < counts["give back"] / 10
