"""A comparison on an engine whose workers are killed at random moments ends as if nothing had happened."""

import json
import random
import threading
import time
from pathlib import Path

import psutil
import pytest
from commands import Command

pytestmark = pytest.mark.slow

SETTINGS = (
    "data.source=synthetic",
    "data.synthetic.patches=60",
    "data.synthetic.size=16",
    "model.backbone=test_resnet",
    "model.weights=none",
    "training.image_size=32",
    "training.batch_size=16",
    "tracking.tsne_every=0",
    "tracking.wandb=disabled",
    "strategies={one: [{name: one, epochs: 6, lr_head: 0.002}], two: [{name: two, epochs: 6, lr_head: 0.001}]}",
)


def command(folder: Path) -> Command:
    options = ["compare", "--out", str(folder / "out"), "--strategies", "one,two", "--budgets", "12,24"]
    options += ["--seeds", "0,1,2"]
    options += [part for setting in SETTINGS for part in ("--set", setting)]
    return Command([*options, "--workers", "2"], folder / "home", folder / "log")


def workers_of(command: Command) -> list[psutil.Process]:
    try:
        found = psutil.Process(command.pid).children(recursive=True)
        return [each for each in found if "spawn_main" in " ".join(each.cmdline())]
    except psutil.Error:
        return []


def table(folder: Path) -> list[dict[str, object]]:
    """What the comparison has found, without what took time."""
    cells = json.loads((folder / "out" / "comparison.json").read_text())["cells"]
    return [{k: v for k, v in cell.items() if "seconds" not in k and k != "cached"} for cell in cells]


def test_killed_workers_change_nothing_but_the_time(tmp_path, complete):
    plain, killed = tmp_path / "plain", tmp_path / "killed"
    for folder in (plain, killed):
        folder.mkdir()
    whole = command(plain)  # by as many processes, so that each computes in as many threads
    assert whole.wait(900) == 0, whole.said()

    chance, kills, running = random.Random(7), [], command(killed)

    def kill() -> None:
        while running.wait(0) is None and len(kills) < (5 if complete else 2):
            time.sleep(chance.uniform(1.0, 12.0))
            # Those that have loaded torch: they train, or are about to.
            busy = [each for each in workers_of(running) if each.is_running() and each.memory_info().rss > 300 * 2**20]
            if busy:
                kills.append(chance.choice(busy))
                kills[-1].kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    assert running.wait(1800) == 0, running.said()
    killer.join(60)
    assert kills
    assert table(killed) == table(plain)
    trained = [line for line in running.said().splitlines() if " of 12" in line]
    assert len(trained) == len({line.split(":")[0] for line in trained}) == 12
    assert not list((killed / "home" / "unfinished").glob("*"))
