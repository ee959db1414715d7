"""How many cores there are to work with: a container's quota counts, whichever way the system says it."""

import os
import subprocess
import sys

import pytest

from landsift.runtime import parallel, threads

ALLOWED = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def system(root, group, files):
    """A root file system with the cgroups of this process and the files that limit them."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "self" / "cgroup").write_text(group)
    for name, text in files.items():
        file = root / "sys" / "fs" / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


ONE, HALF, TWO_AND_A_HALF = "100000 100000\n", "50000 100000\n", "250000 100000\n"
V1 = "5:cpu,cpuacct:{0}\n4:cpuset:/\n1:name=systemd:/\n"


@pytest.mark.parametrize(
    ("group", "files", "found"),
    [
        ("0::/\n", {"cpu.max": ONE}, 1),
        ("0::/\n", {"cpu.max": HALF}, 1),
        ("0::/\n", {"cpu.max": TWO_AND_A_HALF}, 3),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {}, 64),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": ONE, "cpu.max": TWO_AND_A_HALF}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": ONE}, 1),
        ("0::/docker/1234\n", {"cpu.max": ONE}, 1),  # named from outside the container
        ("0::/../../x\n", {"cpu.max": ONE}, 1),
        ("0::/\n", {"cpu.max": "rubbish"}, 64),
        ("0::/\n", {"cpu.max": "0 0"}, 64),
        ("0::/\n", {"cpu.max": ""}, 64),
        (V1.format("/"), {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        (V1.format("/"), {"cpu,cpuacct/cpu.cfs_quota_us": "200000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 2),
        (V1.format("/"), {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        (V1.format("/slurm/job"), {"cpu/slurm/cpu.cfs_quota_us": "150000", "cpu/slurm/cpu.cfs_period_us": "50000"}, 3),
        (V1.format("/") + "0::/\n", {"unified/cpu.max": ONE}, 1),
        ("", {"cpu.max": ONE}, 64),
        ("no lines\nof cgroups::::\n", {}, 64),
    ],
)
def test_a_quota_limits_the_cores(tmp_path, monkeypatch, group, files, found):
    monkeypatch.setattr(threads, "_allowed", lambda: 64)
    assert parallel.cores(system(tmp_path, group, files)) == found


def test_a_quota_above_the_cores_does_not_make_more_of_them(tmp_path):
    assert threads.cores(system(tmp_path, "0::/\n", {"cpu.max": "100000000 100000\n"})) == ALLOWED


def test_a_system_that_says_nothing_has_the_cores_that_the_process_may_run_on(tmp_path):
    assert threads.cores(tmp_path) == ALLOWED


def test_torch_is_told_of_a_quota_and_processes_share_it(monkeypatch):
    monkeypatch.setattr(threads, "_settled", False)
    monkeypatch.setattr(threads, "_allowed", lambda: 64)
    monkeypatch.setattr(threads, "_quotas", lambda root: [6.0])
    monkeypatch.setenv("OMP_NUM_THREADS", "")  # so that it is put back, whether it was set or not
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    assert threads.share(2) == "3"
    threads.settle()
    assert os.environ["OMP_NUM_THREADS"] == "6"
    assert threads.share(2) == "3"


def test_what_the_user_says_of_threads_stays(monkeypatch):
    monkeypatch.setattr(threads, "_settled", False)
    monkeypatch.setattr(threads, "_quotas", lambda root: [1.0])
    monkeypatch.setattr(threads, "_allowed", lambda: 64)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    threads.settle()
    assert os.environ["OMP_NUM_THREADS"] == "5"
    assert threads.share(2) == "5"


FORKED = """
import os, sys, time, torch
from landsift.runtime import threads
threads.after_fork()
torch.set_num_threads(2)
layer, images = torch.nn.Conv2d(3, 16, 3), torch.rand(64, 3, 64, 64)
layer(images).sum().backward()
child = os.fork()
if not child:
    threads.after_fork()
    layer(images).sum().backward()
    os._exit(torch.get_num_threads())
for _ in range(300):
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        sys.exit(os.waitstatus_to_exitcode(status) + 10 * torch.get_num_threads())
    time.sleep(0.1)
os.kill(child, 9)
"""


def test_a_forked_process_computes_in_one_thread_and_says_so():
    """A fork copies no thread but its own, and torch waited for the others for ever."""
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 21, done.stderr
    assert done.stderr.count("it computes in one") == 1
