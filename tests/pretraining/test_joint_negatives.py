"""SimCLR in two processes: negatives of both, so that loss and gradients are those of one with the joint batch."""

import os

import pytest
import torch

from landsift.config_pretraining import SimclrConfig
from landsift.errors import ConfigError
from landsift.pretraining.objectives import Simclr


def outputs():
    return [view.requires_grad_() for view in torch.randn(2, 12, 8, generator=torch.Generator().manual_seed(0))]


def in_rank(rank, folder, share):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none"}
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    whole = outputs()
    mine = slice(0, share) if rank == 0 else slice(share, 12)
    loss = Simclr(SimclrConfig())([view[mine] for view in whole], [], 0.0)
    loss.backward()
    torch.save([loss.detach(), *(view.grad for view in whole)], f"{folder}/{rank}.pt")


@pytest.mark.slow
@pytest.mark.parametrize("share", [6, 7])
def test_two_processes_look_among_the_views_of_both(tmp_path, share):
    torch.multiprocessing.spawn(in_rank, (str(tmp_path), share), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    whole = outputs()
    loss = Simclr(SimclrConfig())(whole, [], 0.0)
    loss.backward()
    if share == 6:
        torch.testing.assert_close((first[0] + second[0]) / 2, loss.detach())
        for i, view in enumerate(whole, start=1):  # DDP takes the mean over processes
            torch.testing.assert_close((first[i] + second[i]) / 2, view.grad)
    else:  # unequal shares: each among its own
        own = Simclr(SimclrConfig())([view[:7] for view in outputs()], [], 0.0)
        torch.testing.assert_close(first[0], own.detach())


def test_a_temperature_of_nothing_is_refused_in_two_lines():
    with pytest.raises(ConfigError, match=r"pretraining\.simclr\.temperature: Illegal temperature"):
        Simclr(SimclrConfig(temperature=1e-12))
