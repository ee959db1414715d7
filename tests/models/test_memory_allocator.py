"""Freed memory is kept where glibc manages it."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from landsift.runtime.memory_allocator import keep_freed_memory
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

TRIMMING = """
import ctypes
from landsift.runtime.memory_allocator import keep_freed_memory
libc = ctypes.CDLL(None)
for function in (libc.malloc, libc.sbrk):
    function.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes, libc.sbrk.argtypes = [ctypes.c_size_t], [ctypes.c_void_p], [ctypes.c_ssize_t]
assert keep_freed_memory()
block = libc.malloc(5 * 2**29)  # 2.5 GiB, never touched
end = libc.sbrk(0)
libc.free(block)
print(end - libc.sbrk(0))
"""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")


def printed(*arguments) -> int:
    return int(subprocess.run([sys.executable, "-c", *arguments], capture_output=True, check=True, text=True).stdout)


@glibc
def test_large_blocks_are_used_again_instead_of_mapped_anew():
    """Counted in page faults, which do not depend on how fast the machine is."""
    kept, given_back = printed(FAULTS, "keep"), printed(FAULTS, "give back")
    assert given_back > 10_000
    assert kept < given_back / 10


@glibc
def test_more_than_two_gibibytes_are_not_given_back_either():
    assert printed(TRIMMING) == 0
