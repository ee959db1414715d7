"""A prediction by four hosts of an engine, and by three of them after one was cut off: whether the table is the same.

    python benchmarks/prediction_on_hosts.py RUN PATCHES --workdir FOLDER [--count 40000] [--chunks 4] [--json FILE]

The hosts are network namespaces of this machine (Linux, as root, with `ip`), each with an address, a host name and
process numbers of its own, and a `dask worker` of one thread. The scheduler and the command are in a fifth. They share
the disk and the cores. RUN is a trained run, PATCHES a folder with image files, whose bytes stand under as many names
as are asked for: one half as members of tar archives, the other as single files. `landsift predict` is run

    without an engine, in one thread;
    with --engine, on four hosts;
    the same, and the link of one of the hosts is taken down when a third of the parts is there;
    the same, and the link is up again after ten seconds.

Each table is compared with the first, row by row: paths, classes, probabilities. A part has --chunks times 256 rows;
landsift's own has 16 times 256. All namespaces and processes are gone when the script ends.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from distributed import get_task_stream

import common
from streaming import as_both

HOSTS = 4
NET = f"ls{os.getpid() % 10_000}"
"""Names of this script's namespaces and links begin with it; those of an interface have 15 letters at most."""
SUBNET = "10.213.77"
PREDICT = """
import sys
from landsift.evaluation import stream
stream.CHUNKS = int(sys.argv.pop(1))
from landsift.cli.main import main
main()
"""
DASK = "from distributed.cli.dask_{} import main; main()"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def predict(chunks: int, run: Path, given: list[str], out: Path, *options: str) -> list[str]:
    """The command, with parts of so many chunks."""
    return [sys.executable, "-c", PREDICT, str(chunks), "predict", str(run), *given, "--out", str(out), *options]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Hosts:
    """A bridge, and namespaces on it: number 0 for scheduler and command, the others for workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"tcp://{SUBNET}.10:8786"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.workers: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Hosts":
        try:
            ip("link", "add", NET, "type", "bridge")
            ip("addr", "add", f"{SUBNET}.1/24", "dev", NET)
            ip("link", "set", NET, "up")
            for n in range(HOSTS + 1):
                ip("netns", "add", f"{NET}-{n}")
                ip("link", "add", f"{NET}-v{n}", "type", "veth", "peer", "name", "eth0", "netns", f"{NET}-{n}")
                ip("link", "set", f"{NET}-v{n}", "master", NET, "up")
                ip("-n", f"{NET}-{n}", "addr", "add", f"{SUBNET}.{10 + n}/24", "dev", "eth0")
                for device in ("lo", "eth0"):
                    ip("-n", f"{NET}-{n}", "link", "set", device, "up")
            self.start(0, "scheduler", "--host", f"{SUBNET}.10", "--port", "8786")
            for n in range(1, HOSTS + 1):
                self.worker(n)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()  # what it has started ends with it
            process.wait()
        for n in range(HOSTS + 1):
            subprocess.run(["ip", "netns", "del", f"{NET}-{n}"], check=False)  # the link's two ends go with it
        subprocess.run(["ip", "link", "del", NET], check=False)

    def inside(self, number: int, command: list[str]) -> list[str]:
        """A command on a host."""
        own = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        named = ["sh", "-c", 'hostname "$0"; exec "$@"', f"host-{number}"]
        return ["ip", "netns", "exec", f"{NET}-{number}", *own, *named, *command]

    def start(self, number: int, kind: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", DASK.format(kind), *options, "--dashboard-address", ":0"]
        with (self.folder / f"{kind}-{number}.log").open("ab") as log:
            self.processes.append(subprocess.Popen(self.inside(number, command), stdout=log, stderr=log))
        return self.processes[-1]

    def worker(self, number: int) -> None:
        local = self.folder / f"host-{number}"
        local.mkdir(exist_ok=True)
        where = ["--host", f"{SUBNET}.{10 + number}", "--local-directory", str(local)]
        self.workers[number] = self.start(number, "worker", self.address, *where, "--nthreads", "1")

    def link(self, number: int, state: str) -> None:
        """Have a host's link up or down."""
        ip("link", "set", f"{NET}-v{number}", state)

    @contextlib.contextmanager
    def client(self) -> Iterator[Any]:
        """A client of the scheduler, when all workers have joined."""
        from distributed import Client

        with Client(self.address, timeout=120, set_as_default=False) as client:
            client.wait_for_workers(HOSTS, timeout=300)
            yield client


def count(out: Path) -> int:
    return len(list(out.glob("part-*")))


def followed(command: list[str], log: Path, out: Path, at: int, then: Callable[[], None]) -> dict[str, float]:
    """Run a command, and do something when so many parts are there; seconds of the whole, and after it."""
    begun, cut = time.perf_counter(), None
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
    try:
        while process.poll() is None:
            if cut is None and at and count(out) >= at:
                cut = time.perf_counter()
                then()
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        sys.exit(f"{log}: status {process.returncode}\n{log.read_text()[-2000:]}")
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "after": 0.0 if cut is None else begun + seconds - cut}


def compared(out: Path, whole: Path) -> dict[str, Any]:
    """How a table differs from another, and what lies beside it."""
    table, other = pd.read_parquet(out), pd.read_parquet(whole)
    numbers = [name for name in other if name.startswith("p_")]
    same = len(table) == len(other)
    return {
        "rows": len(table),
        "twice": int(table["path"].duplicated().sum()),
        "paths": "the same" if same and (table["path"] == other["path"]).all() else "OTHER",
        "classes": int((table["predicted"] != other["predicted"]).sum()) if same else "–",
        "difference": float((table[numbers] - other[numbers]).abs().max().max()) if same else "–",
        "left": sorted(str(each.relative_to(out)) for each in out.rglob("*") if each.name.startswith(".")),
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("patches", type=Path)
    parser.add_argument("--workdir", type=Path, required=True, help="a new folder, deleted in the end")
    parser.add_argument("--count", type=int, default=40_000, help="patches")
    parser.add_argument("--chunks", type=int, default=4, help="of 256 patches, in a part")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    os.environ.update(ONE_THREAD)
    work = given.workdir.absolute()
    paths = as_both(work, given.count, given.patches)
    parts = -(-given.count // (256 * given.chunks))
    run, rows = given.run.absolute(), {}
    whole = work / "whole"
    taken = followed(predict(given.chunks, run, paths, whole), work / "whole.log", whole, 0, lambda: None)
    rows["no engine"] = {**taken, "hosts": {}, **compared(whole, whole)}
    with Hosts(work) as hosts:
        for name, at, back in (
            ("four hosts", 0, False),
            ("one cut off", parts // 3, False),
            ("cut for 10 s", parts // 3, True),
        ):
            with hosts.client() as client, get_task_stream(client) as stream:
                out = work / name.replace(" ", "-")

                def cut(back: bool = back) -> None:
                    hosts.link(HOSTS, "down")
                    if back:
                        time.sleep(10)
                        hosts.link(HOSTS, "up")

                command = hosts.inside(0, predict(given.chunks, run, paths, out, "--engine", hosts.address))
                taken = followed(command, out.with_suffix(".log"), out, at, cut)
            done = Counter(
                row["worker"].split("//")[1].split(":")[0] for row in stream.data if "landsift" in str(row["key"])
            )
            rows[name] = {**taken, "hosts": done, **compared(out, whole)}
            if at and not back:  # the host comes back for the next command, started anew: it may not know yet
                hosts.link(HOSTS, "up")
                hosts.workers[HOSTS].kill()
                hosts.workers[HOSTS].wait()
                hosts.worker(HOSTS)
    print(f"{given.count:,} patches in {parts} parts; {os.cpu_count()} cores")
    for row in rows.values():
        row["tasks of hosts"] = "+".join(str(n) for _, n in sorted(row.pop("hosts").items())) or "–"
    names = ["seconds", "after", "tasks of hosts", "rows", "twice", "paths", "classes", "difference", "left"]
    heads = ["", "seconds", "after the cut", *names[2:5], "paths", "other classes", "largest difference", "left behind"]
    shown = ([f"{v:.0f}" if n in names[:2] else v or 0 for n in names for v in [row[n]]] for row in rows.values())
    print(common.table(heads, [[name, *values] for name, values in zip(rows, shown, strict=True)]))
    common.write_json(given.json, rows)
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
