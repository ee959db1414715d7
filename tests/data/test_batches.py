"""Batches: every patch once, in an order that (seed, epoch) decides."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from landsift.data.batches import PatchBatches


def batches(count, size, shuffle=True, seed=0, rows=None):
    images = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(3, axis=3)
    labels = np.arange(count, dtype=np.int64)
    return PatchBatches(
        images, labels, np.arange(count) if rows is None else rows, batch_size=size, shuffle=shuffle, seed=seed
    )


@given(count=st.integers(2, 200), size=st.integers(2, 50), epoch=st.integers(0, 20))
def test_an_epoch_holds_every_patch_once(count, size, epoch):
    loader = batches(count, size)
    loader.sampler.set_epoch(epoch)
    got = list(loader)
    rows = torch.cat([b.rows for b in got]).tolist()
    assert len(got) == len(loader)
    assert len(rows) == len(set(rows))
    assert len(rows) == count - (count > size and count % size == 1)
    assert all(torch.equal(b.labels, b.rows) and torch.equal(b.images[:, 0, 0, 0].long(), b.rows) for b in got)


def test_the_order_changes_with_epoch_and_seed_and_repeats_for_both():
    def order(seed, epoch):
        loader = batches(50, 7, seed=seed)
        loader.sampler.set_epoch(epoch)
        return torch.cat([b.rows for b in loader]).tolist()

    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4)
    assert order(0, 3) != order(1, 3)


def test_without_shuffling_the_order_is_that_of_the_rows_and_none_is_left_out():
    loader = batches(20, 3, shuffle=False, rows=np.array([4, 2, 9, 11]))
    assert [b.rows.tolist() for b in loader] == [[4, 2, 9], [11]]
    assert [b.images[:, 0, 0, 0].tolist() for b in loader] == [[4, 2, 9], [11]]
