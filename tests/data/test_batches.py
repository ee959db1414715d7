"""Batches: every patch once, in an order that (seed, epoch) decides, over however many processes."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landsift.config import AugmentConfig
from landsift.data import batches as batches_module
from landsift.data.augment import augment, batch_generator
from landsift.data.batches import Batch, PatchBatches, Resident, one_ahead
from landsift.data.patch_reader import PatchReader
from landsift.errors import DataError


def batches(count, size, shuffle=True, seed=0, rows=None, **share):
    images = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(3, axis=3)
    labels = np.arange(count, dtype=np.int64)
    return PatchBatches(
        images, labels, np.arange(count) if rows is None else rows, batch_size=size, shuffle=shuffle, seed=seed, **share
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


# Balanced classes


def balanced(labels, size, seed=0, epoch=0, **share):
    labels = np.asarray(labels, dtype=np.int64)
    images = np.zeros((len(labels), 1, 1, 3), np.uint8)
    options = {"batch_size": size, "shuffle": True, "balanced": True, "seed": seed}
    loader = PatchBatches(images, labels, np.flatnonzero(labels >= 0), **options, **share)
    loader.sampler.set_epoch(epoch)
    return loader


@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=6), epoch=st.integers(0, 5), seed=st.integers(0, 99))
def test_a_balanced_epoch_has_every_class_equally_and_repeats_only_what_it_must(counts, epoch, seed):
    labels = np.repeat(np.arange(len(counts)) * 2, counts)  # classes between them have no rows
    order = balanced(labels, 8, seed, epoch).sampler()
    assert len(order) == len(labels)
    drawn = [order[labels[order] == 2 * k] for k in range(len(counts))]
    assert max(map(len, drawn)) - min(map(len, drawn)) <= 1
    for rows, count in zip(drawn, counts, strict=True):
        times = np.bincount(rows - rows.min(), minlength=1)
        assert len(np.unique(rows)) == min(count, len(rows))
        assert times.max() == -(-len(rows) // count)


def test_balanced_epochs_depend_on_seed_and_epoch_alone_and_see_all_rows_in_time():
    labels = [0] * 40 + [1] * 8 + [-1] * 5 + [2] * 3
    orders = [balanced(labels, 8, epoch=epoch).sampler().tolist() for epoch in range(20)]
    assert orders[3] == balanced(labels, 8, epoch=3).sampler().tolist()
    assert len({tuple(order) for order in orders}) == 20
    assert orders[3] != balanced(labels, 8, seed=1, epoch=3).sampler().tolist()
    assert set().union(*orders) == set(range(48)) | {53, 54, 55}


def test_a_class_is_not_seen_in_one_stretch():
    order = balanced([0] * 60 + [1] * 60, 8).sampler()
    assert 40 < np.count_nonzero(np.diff(order >= 60)) < 80


def test_processes_draw_the_same_balanced_epoch_and_share_it():
    labels = [0] * 30 + [1] * 7
    whole = balanced(labels, 8)
    ranks = [balanced(labels, 4, rank=rank, world=2) for rank in range(2)]
    for batch, *parts in zip(whole, *ranks, strict=True):
        assert torch.cat([part.rows for part in parts]).tolist() == batch.rows.tolist()
        assert torch.equal(batch.labels, torch.tensor(labels)[batch.rows])


def test_patches_that_live_on_a_device_may_come_more_than_once(mapped):
    rows = np.array([3, 9, 4])
    live = Resident(PatchReader(mapped), np.arange(8000), rows, torch.device("cpu"))
    images, labels = live(np.array([9, 9, 3]))
    assert labels.tolist() == [9, 9, 3]
    assert images[:, 0, 0, 0].tolist() == [9, 9, 3]


# Several processes


@given(count=st.integers(2, 300), size=st.integers(2, 20), world=st.integers(1, 9), epoch=st.integers(0, 3))
def test_processes_share_each_step_as_evenly_as_can_be_and_make_equally_many(count, size, world, epoch):
    if count < 2 * world:
        return
    loaders = [batches(count, size, rank=rank, world=world) for rank in range(world)]
    for loader in loaders:
        loader.sampler.set_epoch(epoch)
    steps = list(zip(*loaders, strict=True))
    assert len(steps) == len(loaders[0])
    order = loaders[0].sampler()
    for i, step in enumerate(steps):
        sizes = [len(batch) for batch in step]
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= min(2, size)
        expected = order[i * size * world : (i + 1) * size * world]
        assert torch.cat([batch.rows for batch in step]).tolist() == expected.tolist()
        assert [batch.part for batch in step] == [(sum(sizes[:r]), len(expected)) for r in range(world)]
    left_out = count - sum(len(batch) for step in steps for batch in step)
    assert left_out in {0, count % (size * world)}
    assert left_out < 2 * world


@given(count=st.integers(1, 300), size=st.integers(1, 20), world=st.integers(1, 9))
def test_processes_validate_every_row_once(count, size, world):
    if count < world:
        return
    loaders = [batches(count, size, shuffle=False, rank=rank, world=world) for rank in range(world)]
    got = [list(loader) for loader in loaders]
    assert [len(g) for g in got] == [len(loader) for loader in loaders]
    assert all(len(batch) for rank in got for batch in rank)
    assert min(len(g) for g in got) >= 1
    assert sorted(int(row) for rank in got for batch in rank for row in batch.rows) == list(range(count))


@pytest.mark.parametrize(("shuffle", "least"), [(True, 8), (False, 4)])
def test_too_few_rows_for_the_processes_are_an_error(shuffle, least):
    batches(least, 5, shuffle=shuffle, rank=3, world=4)
    with pytest.raises(DataError, match=f"4 processes need at least {least} .* patches, there are {least - 1}"):
        batches(least - 1, 5, shuffle=shuffle, rank=3, world=4)


def test_a_patch_is_augmented_the_same_however_many_processes_there_are():
    config = AugmentConfig(crop=0.5)
    images = torch.rand(7, 3, 8, 8)
    whole = augment(images, config, 8, batch_generator(0, 1, 2))
    parts = [(0, 3), (3, 2), (5, 2)]
    shares = [augment(images[a : a + n], config, 8, batch_generator(0, 1, 2), (a, 7)) for a, n in parts]
    torch.testing.assert_close(torch.cat(shares), whole)
    generator = batch_generator(0, 1, 2)
    augment(images[:3], config, 8, generator, (0, 7))
    alone = batch_generator(0, 1, 2)
    augment(images, config, 8, alone)
    assert torch.equal(generator.get_state(), alone.get_state())  # so that mixup draws alike in all


# Where patches come from


@pytest.fixture
def mapped(tmp_path: Path) -> np.ndarray:
    """A memory map of 96 MB."""
    images = np.lib.format.open_memmap(tmp_path / "images.npy", mode="w+", dtype=np.uint8, shape=(8000, 64, 64, 3))
    images[:] = np.arange(8000, dtype=np.uint32).astype(np.uint8)[:, None, None, None]
    images.flush()
    del images
    return np.load(tmp_path / "images.npy", mmap_mode="r")


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_does_not_grow_with_the_patches_read(mapped):
    loader = PatchBatches(mapped, np.zeros(8000, np.int64), np.arange(8000), batch_size=64, shuffle=True)
    read = iter(loader)
    next(read)
    before, most = resident_bytes(), 0
    for batch in read:
        assert torch.equal(batch.images[:, 0, 0, 0], batch.rows.to(torch.uint8))
        most = max(most, resident_bytes() - before)
    assert most < 2**23  # of 96 MB


def test_a_file_that_was_cut_short_is_an_error_in_words_and_no_signal(mapped):
    read = PatchReader(mapped)
    os.truncate(mapped.filename, mapped.offset + 100 * 64 * 64 * 3)
    assert read(np.array([99])).shape == (1, 64, 64, 3)
    with pytest.raises(DataError, match=r"images\.npy is shorter than it was"):
        read(np.array([5, 100]))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
def test_readers_leave_no_files_open(mapped):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        PatchReader(mapped)(np.array([1]))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_patches_are_read_in_the_order_asked_for_and_more_than_once():
    images = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
    assert PatchReader(images)(np.array([7, 2, 7, 9])).ravel().tolist() == [7, 2, 7, 9]
    out = np.zeros((2, 1, 1, 1), np.uint8)
    assert PatchReader(images)(np.array([4, 3]), out) is out
    assert out.ravel().tolist() == [4, 3]


def test_patches_that_live_on_a_device_are_the_same_batches(mapped):
    rows, labels = np.random.default_rng(0).permutation(8000)[:100], np.arange(8000)
    live = Resident(PatchReader(mapped), labels, rows, torch.device("cpu"))
    images, found = live(rows[[5, 99, 0]])
    assert torch.equal(images, torch.from_numpy(mapped[rows[[5, 99, 0]]]))
    assert found.tolist() == rows[[5, 99, 0]].tolist()


def test_a_batch_that_is_there_already_is_not_moved():
    batch = next(iter(batches(4, 2, rank=1, world=2)))
    assert batch.to(torch.device("cpu")) is batch
    moved = batch.to(torch.device("meta"))
    assert (moved.images.device.type, moved.labels.device.type, moved.rows.device.type) == ("meta", "meta", "cpu")
    assert moved.part == batch.part == (2, 4)


# One ahead


def test_one_ahead_keeps_the_order_and_is_one_ahead():
    made = []

    def items():
        for i in range(5):
            made.append((i, threading.current_thread().name.startswith("landsift-batches")))
            yield i

    taken = []
    for item in one_ahead(items()):
        taken.append(item)
        assert len(made) <= len(taken) + 1
    assert taken == [0, 1, 2, 3, 4]
    assert all(in_thread for _, in_thread in made)
    assert list(one_ahead(iter([]))) == []


def test_one_ahead_carries_an_exception_over_after_what_came_before_it():
    def items():
        yield 1
        yield 2
        raise DataError("the disk is gone")

    taken = []
    with pytest.raises(DataError, match="the disk is gone"):
        taken.extend(one_ahead(items()))
    ahead = one_ahead(items())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(DataError, match="the disk is gone"):
        next(ahead)
    assert not workers()


def test_the_thread_ends_when_the_consumer_stops_early():
    ahead = one_ahead(iter(range(1000)))
    assert next(ahead) == 0
    assert len(workers()) == 1
    ahead.close()
    assert not workers()
    for _ in one_ahead(iter(range(1000))):
        break
    assert not workers()


def workers():
    return [t for t in threading.enumerate() if t.name.startswith("landsift-batches")]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("share", [1.0, 0.0], ids=["resident", "streamed"])
def test_on_a_gpu_the_batches_are_the_same(mapped, monkeypatch, share):
    monkeypatch.setattr(batches_module, "DEVICE_SHARE", share)
    labels, rows = np.arange(8000), np.arange(0, 8000, 3)
    options = {"batch_size": 64, "shuffle": True}
    on_gpu = PatchBatches(mapped, labels, rows, device=torch.device("cuda", 0), **options)
    for ours, theirs in zip(on_gpu, PatchBatches(mapped, labels, rows, **options), strict=True):
        assert isinstance(ours, Batch)
        assert ours.images.is_cuda
        assert torch.equal(ours.images.cpu(), theirs.images)
        assert torch.equal(ours.labels.cpu(), theirs.labels)
        assert torch.equal(ours.rows, theirs.rows)
