"""Steps whose loss or gradients are not finite numbers are left out, and too many of them end the training."""

import logging
import math

import pytest
import torch
from interruptions import Killed, after_steps, assert_equal, kill, numbers_lost, sigterm
from small_runs import small, train
from torch import nn

from landsift.errors import ModelError
from landsift.runtime.interruption import Terminated
from landsift.training.nonfinite import BadSteps

TRAINED = (
    "strategy=[{name: all, epochs: 3, lr_head: 2.0e-3, lr_backbone: 1.0e-3, blocks: all}]",
    "training.ema=0.9",
    "tracking.tsne_every=0",
)
"""Five steps an epoch."""


def test_a_bad_step_changes_nothing():
    """No weight, no state of the optimizer, no statistic of a batch norm, which has seen the bad numbers by then."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    steps = BadSteps(most=1)
    steps.begin(network)

    def step(inputs):
        optimizer.zero_grad()
        network(inputs).square().mean().backward()
        parameters = list(network.parameters())
        steps.look(parameters, nn.utils.get_total_norm([p.grad for p in parameters]), "step 7")
        optimizer.step()

    def state():
        optimizers = [v.clone() for values in optimizer.state.values() for v in values.values()]
        return [*(v.clone() for v in network.state_dict().values()), *optimizers]

    step(torch.randn(8, 3))
    assert not steps.was_bad
    before = state()
    step(torch.full((8, 3), math.inf))
    assert steps.was_bad
    assert all(torch.equal(a, b) for a, b in zip(before, state(), strict=True))
    step(torch.randn(8, 3))
    assert not steps.was_bad
    assert not torch.equal(before[0], state()[0])
    with pytest.raises(ModelError, match="at step 7, after 1 steps"):
        step(torch.full((8, 3), math.nan))


def test_a_training_goes_on_after_a_bad_step_without_a_trace_of_it(store, tmp_path, caplog):
    with numbers_lost({3, 8}), caplog.at_level(logging.WARNING, "landsift"):
        run = train(small(*TRAINED), store, tmp_path / "r")
    assert [r.getMessage() for r in caplog.records] == [
        "skipped step 3 of epoch 1 (all; learning rates 0.0019 of the head, 0.00096 of the backbone): "
        "its loss or gradients are not finite",
        "skipped step 3 of epoch 2 (all; learning rates 0.0011 of the head, 0.00055 of the backbone): "
        "its loss or gradients are not finite",
    ]
    assert all(math.isfinite(value) for row in run.metrics for value in row.values() if isinstance(value, float))
    saved = torch.load(run.path / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(v.isfinite().all() for v in saved["state_dict"].values())
    assert saved["state_dict"]["classifier.head.2.num_batches_tracked"] == 13  # of 15 steps


def test_too_many_end_it_with_the_step_the_rates_and_the_last_good_checkpoint(store, tmp_path):
    config = small(*TRAINED, "training.max_skipped_steps=2")
    with numbers_lost({6, 7, 9}), pytest.raises(ModelError) as caught:
        train(config, store, tmp_path / "r")
    assert caught.value.message == (
        "the loss or gradients are not finite at step 4 of epoch 2 (all; learning rates 0.0009 of "
        "the head, 0.00045 of the backbone), after 2 steps of this epoch were skipped for that reason"
    )
    assert caught.value.hint == "lower the learning rates or training.gradient_clip, or set training.precision=32"
    saved = torch.load(tmp_path / "r" / "checkpoints" / "last.ckpt", weights_only=True)
    assert (saved["epoch"], saved["global_step"]) == (0, 5)
    assert all(v.isfinite().all() for v in saved["state_dict"].values())
    train(config, store, tmp_path / "r")  # whatever lost the numbers is mended: it goes on from there
    train(config, store, tmp_path / "whole")
    assert_equal(tmp_path / "r", tmp_path / "whole")


def test_an_epoch_counts_its_bad_steps_across_an_interruption(store, tmp_path):
    config = small(*TRAINED, "training.max_skipped_steps=1")
    with numbers_lost({2}), after_steps(3, sigterm), pytest.raises(Terminated):
        train(config, store, tmp_path / "r")
    with numbers_lost({2}), pytest.raises(ModelError, match="at step 5 of epoch 1 "):
        train(config, store, tmp_path / "r")


def test_an_epoch_of_bad_steps_alone_is_an_error_that_names_it(store, tmp_path):
    with numbers_lost(set(range(1, 9))), pytest.raises(ModelError, match=r"epoch 1 \(all\): the loss is not finite"):
        train(small(*TRAINED), store, tmp_path / "r")


def test_a_bad_step_does_not_take_averages_a_step_back(store, tmp_path):
    """They move at the end of a step, after what a bad step is undone to was kept; found by cutting just before one."""
    config = small(*TRAINED)
    with numbers_lost({3}):
        train(config, store, tmp_path / "whole")
    with after_steps(2, sigterm), pytest.raises(Terminated):
        train(config, store, tmp_path / "r")
    with numbers_lost({1}):
        train(config, store, tmp_path / "r")
    assert_equal(tmp_path / "r", tmp_path / "whole")


def test_a_training_with_bad_steps_is_resumed_to_the_same_bits(store, tmp_path):
    with numbers_lost({3, 8}):
        train(small(*TRAINED), store, tmp_path / "whole")
    with numbers_lost({3, 8}), after_steps(9, kill), pytest.raises(Killed):
        train(small(*TRAINED, "training.checkpoint_minutes=1.0e-9"), store, tmp_path / "r")
    train(small(*TRAINED), store, tmp_path / "r")
    assert_equal(tmp_path / "r", tmp_path / "whole")
