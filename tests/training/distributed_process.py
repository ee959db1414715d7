"""What each rank of the tests of several processes does; `python distributed_process.py WHAT FOLDER`."""

import contextlib
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # ranks import nothing from beside their program

from landsift.training.worker import reporting

STUDENT = "student"
"""In place of a backbone: the module that is no classifier."""


def trained(folder: Path, backbone: str, batch_size: int, devices: int):
    """Train through two phases with augmentation and balanced classes; 37 patches leave an uneven last step."""
    import lightning as L
    import numpy as np
    import torch
    from self_distillation import SelfDistillation

    from landsift.config import AugmentConfig, HeadConfig, ModelConfig, Normalization, TrainingConfig
    from landsift.data.batches import PatchBatches
    from landsift.models.backbone import create_backbone
    from landsift.models.classifier import PatchClassifier
    from landsift.training import ddp, ranks
    from landsift.training.callbacks import PhaseChange
    from landsift.training.feature_cache import FrozenFeatures
    from landsift.training.history import History
    from landsift.training.losses import balanced_weights
    from landsift.training.module import PatchModule
    from landsift.training.phases import Phase, total_epochs

    strategy = (
        Phase("head", epochs=2, lr_head=1e-2, batch_norm="recalibrate"),
        Phase("all", epochs=2, lr_head=1e-3, blocks="all", lr_backbone=1e-3, schedule="run"),
    )
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 50)
    torch.manual_seed(0)
    student = backbone == STUDENT
    network = create_backbone(ModelConfig(backbone="test_efficientnet" if student else backbone, weights="none"), 32)
    classifier = PatchClassifier(network.network, network.features, 3, HeadConfig(hidden=None, dropout=0.0))
    augment = AugmentConfig(crop=0.5, color_jitter=(0.2, 0.2, 0.2, 0.1))
    settings = TrainingConfig(
        image_size=32, devices=devices, accelerator="cpu", augment=augment, gradient_clip=1.0, feature_epochs=1
    )
    normal = Normalization(mean=(0.5,) * 3, std=(0.25,) * 3)
    module = PatchModule(
        classifier,
        strategy,
        settings,
        classes=3,
        normalization=normal,
        seed=0,
        keep_rows=torch.arange(40, 50),
        class_weights=balanced_weights(labels[:37], 3),
    )
    if student:
        strategy = tuple(replace(phase, batch_norm="train") for phase in strategy)
        module = SelfDistillation(classifier, strategy, settings, normal, seed=0)
    images = (rng.integers(0, 128, (50, 16, 16, 3)) + 60 * labels[:, None, None, None]).astype(np.uint8)
    history = History(folder, 13)
    share = {"batch_size": batch_size, "rank": ranks.rank(), "world": ranks.world()}
    calibration = PatchBatches(images, labels, np.arange(37), shuffle=True, **share)
    in_order, val = (PatchBatches(images, labels, rows, **share) for rows in (np.arange(37), np.arange(37, 50)))
    features = FrozenFeatures(folder.parent / f"{folder.parent.name}-features", in_order, val, settings, seed=0)
    trainer = L.Trainer(
        **ddp.trainer_arguments(settings),
        max_epochs=total_epochs(strategy),
        callbacks=[PhaseChange(calibration), history, features, *ddp.callbacks(settings, 0)],
        gradient_clip_val=settings.gradient_clip,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    train = PatchBatches(images, labels, np.arange(37), shuffle=True, balanced=True, **share)
    trainer.fit(module, train, val)
    rows = [{k: v for k, v in row.items() if "seconds" not in k} for row in history.rows]
    return module, rows, None if student else ranks.gathered(module.kept_rows, module.kept_embeddings)


def train_in_two(folder: Path) -> None:
    """Leave what each rank holds after a training: of networks without and with batch norms, of one with a teacher."""
    import torch

    from landsift.training import ranks

    torch.distributed.init_process_group("gloo")
    found = {"from_first": ranks.from_first(f"rank {ranks.rank()}")}
    for backbone in ("test_convnext", "test_efficientnet", STUDENT):
        own = folder / backbone / str(ranks.rank())
        module, rows, kept = trained(own, backbone, batch_size=4, devices=2)
        found[backbone] = {"weights": dict(module.state_dict()), "rows": rows, "kept": kept}
        found[backbone]["files"] = [f.name for f in own.glob("*")]
    torch.save(found, folder / f"{ranks.rank()}.pt")


def interrupted_in_two(folder: Path) -> None:
    """Train in one go, and again with interruptions that only one rank hears of, and numbers that only one loses."""
    from interruptions import after_steps, in_validation, numbers_lost, sigterm

    from landsift.config import RunConfig
    from landsift.data.store.patch_store import PatchStore
    from landsift.runtime.interruption import Terminated
    from landsift.training.start import train

    config, store = RunConfig.load(folder / "config.yaml"), PatchStore.open(folder / "store")
    rank = int(os.environ["RANK"])
    lost = {3} if rank else set()
    with numbers_lost(lost):
        train(config, store, folder / "whole")
    stopped = []
    for when in (
        after_steps(2 if rank == 0 else 0, sigterm),
        after_steps(5 if rank == 1 else 0, sigterm),
        in_validation(3 if rank == 1 else 0, sigterm),
    ):
        try:
            # Of the batches that this attempt trains on, the one that is the third of all.
            with when, numbers_lost({n - 2 * len(stopped) for n in lost} if len(stopped) < 2 else set()):
                train(config, store, folder / "again")
        except Terminated:
            stopped.append(when)
    train(config, store, folder / "again")
    (folder / f"{rank}.txt").write_text(str(len(stopped)))


def sum_ranks(folder: Path) -> None:
    """Leave the sum of all ranks' numbers, counted from 1."""
    import torch

    torch.distributed.init_process_group("gloo")
    total = torch.tensor([float(os.environ["RANK"]) + 1])
    torch.distributed.all_reduce(total)
    torch.distributed.destroy_process_group()
    (folder / f"{os.environ['RANK']}.txt").write_text(f"{total.item()} of {os.environ['WORLD_SIZE']}")


def one_node(folder: Path) -> None:
    """Start this node's rank, as `train` and `join` do."""
    from landsift.training.launch import run_ranks

    run_ranks([__file__, "sum_ranks", str(folder)], devices=1, nodes=2)


def share(folder: Path) -> None:
    """Bring the first node's checkpoint to this one."""
    import torch

    from landsift.training.resume import share_between_nodes

    torch.distributed.init_process_group("gloo")
    share_between_nodes(folder / f"node-{os.environ['RANK']}")
    torch.distributed.destroy_process_group()


def one_node_of_shared(folder: Path) -> None:
    """Start this node's rank."""
    from landsift.training.launch import run_ranks

    run_ranks([__file__, "share", str(folder)], devices=1, nodes=2)


def raise_known(folder: Path) -> None:
    """Rank 1 raises an error for people; rank 0, which is ended because of it, fails in a way that says less."""
    from landsift.errors import ModelError

    def fail(*_):
        raise ConnectionError("closed by peer")

    if os.environ["RANK"] == "0":
        signal.signal(signal.SIGTERM, fail)
        (folder / "ready").touch()
        time.sleep(100)
    while not (folder / "ready").exists():
        time.sleep(0.01)
    raise ModelError("the loss is no longer a number", "lower the rates")


def raise_unknown(_folder: Path) -> None:
    """Rank 1 raises something that nobody foresaw, rank 0 waits for it."""
    if os.environ["RANK"] == "0":
        time.sleep(100)
    raise ZeroDivisionError("what was\nthat")


def die(_folder: Path) -> None:
    """Rank 1 is killed, rank 0 waits for it."""
    if os.environ["RANK"] == "0":
        time.sleep(100)
    os.kill(os.getpid(), signal.SIGKILL)


def leave(_folder: Path) -> None:
    """Rank 1 ends with a status and a last word, rank 0 waits for it."""
    if os.environ["RANK"] == "0":
        time.sleep(100)
    print("no space left on device", file=sys.stderr)
    sys.stderr.flush()
    os._exit(3)


def wait(folder: Path) -> None:
    """Wait to be ended."""
    (folder / f"{os.getpid()}.pid").touch()
    time.sleep(100)


def environment(folder: Path) -> None:
    """Leave the number of threads."""
    (folder / f"{os.environ['RANK']}.txt").write_text(os.environ["OMP_NUM_THREADS"])


if __name__ == "__main__":
    what = globals()[sys.argv[1]]
    with reporting() if "RANK" in os.environ else contextlib.nullcontext():
        what(Path(sys.argv[2]))
