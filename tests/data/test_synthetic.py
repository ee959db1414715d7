"""Generated patches: deterministic, balanced, one at a time, and harder as `difficulty` says."""

import tracemalloc
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_sources import data_config, refused

from landsift.config import SyntheticConfig
from landsift.data.sources import synthetic
from landsift.data.store.patch_store import build_store

configs = st.builds(
    SyntheticConfig,
    patches=st.integers(6, 5000),
    size=st.integers(8, 40),
    difficulty=st.floats(0.0, 1.0),
    seed=st.integers(0, 2**40),
)


@settings(max_examples=50)
@given(configs, st.integers(0, 10_000))
def test_a_patch_depends_on_its_number_and_the_settings_alone(config, i):
    first = synthetic.patch(config, i)
    synthetic.patch(config, i + 1)
    np.testing.assert_array_equal(synthetic.patch(config.model_copy(update={"patches": 6}), i), first)
    assert first.shape == (config.size, config.size, 3)
    assert first.dtype == np.uint8


def test_seeds_numbers_and_difficulties_give_different_patches():
    base = SyntheticConfig(size=16)
    others = [base.model_copy(update=u) for u in ({"seed": 1}, {"difficulty": 0.6})]
    assert all((synthetic.patch(other, 0) != synthetic.patch(base, 0)).any() for other in others)
    assert len({synthetic.patch(base, i).tobytes() for i in range(300)}) == 300


@given(configs)
def test_classes_are_exactly_balanced(config):
    names = [synthetic.class_of(i) for i in range(synthetic.count(config))]
    assert config.patches - 6 < len(names) <= config.patches
    assert {names.count(c) for c in synthetic.CLASSES} == {config.patches // 6}


def test_no_patch_is_black():
    for difficulty in (0.0, 0.5, 1.0):
        config = SyntheticConfig(size=16, difficulty=difficulty, patches=125)
        for i in range(synthetic.count(config)):
            assert synthetic.patch(config, i).mean() > 20
            assert synthetic.patch(config, i).std() > 2


def test_memory_does_not_grow_with_the_number_of_patches():
    config = SyntheticConfig(patches=10**9, size=64)
    tracemalloc.start()
    for i in (0, 10**6, 10**9 - 1):
        synthetic.patch(config, i)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 2**20  # bytes


@cache
def probe_accuracy(difficulty: float) -> float:
    """Test accuracy of logistic regression on each band's mean and standard deviation: 600 labels, 600 tests."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    config = SyntheticConfig(patches=1200, size=32, difficulty=difficulty)
    patches = np.stack([synthetic.patch(config, i) for i in range(1200)]).astype(np.float32)
    features = np.concatenate([patches.mean(axis=(1, 2)), patches.std(axis=(1, 2))], axis=1)
    labels = np.arange(1200) % 6
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(features[:600], labels[:600])
    return float(probe.score(features[600:], labels[600:]))


def test_colours_tell_the_classes_apart_at_0_and_less_and_less_above():
    easy, default, hard = (probe_accuracy(d) for d in (0.0, 0.5, 1.0))
    assert easy > 0.995
    assert 0.75 < default < 0.95
    assert 2 / 6 < hard < default - 0.2  # chance is 1/6


class TestFolder:
    def test_a_written_folder_holds_the_same_patches(self, tmp_path):
        config = SyntheticConfig(patches=20, size=16, seed=3)
        assert synthetic.write_folder(config, tmp_path / "out") == 18
        written = build_store(data_config(f"data.source={tmp_path}/out"), tmp_path / "a")
        generated = build_store(
            data_config("data.synthetic.patches=20", "data.synthetic.size=16", "data.synthetic.seed=3"), tmp_path / "b"
        )
        assert written.classes == generated.classes == synthetic.CLASSES
        np.testing.assert_array_equal(written.images, generated.images)
        np.testing.assert_array_equal(written.labels, generated.labels)
        first = Image.open(tmp_path / "out" / synthetic.file_name(7))
        np.testing.assert_array_equal(np.asarray(first), synthetic.patch(config, 7))

    def test_it_may_be_an_empty_folder(self, tmp_path):
        (tmp_path / "out").mkdir()
        assert synthetic.write_folder(SyntheticConfig(patches=6, size=8), tmp_path / "out") == 6

    def test_a_folder_in_use_is_refused(self, tmp_path):
        (tmp_path / "used").mkdir()
        (tmp_path / "used/x").write_text("precious")
        config = SyntheticConfig(patches=6, size=8)
        refused(lambda: synthetic.write_folder(config, tmp_path / "used"), tmp_path / "used", "is not empty")
        refused(lambda: synthetic.write_folder(config, tmp_path / "used/x"), "is a file")
        refused(lambda: synthetic.write_folder(config, tmp_path / "used/x/y"), "cannot write")
        assert [p.name for p in tmp_path.rglob("*")] == ["used", "x"]


def test_a_store_of_another_size_is_resized(tmp_path):
    store = build_store(data_config("data.synthetic.patches=12", "data.patch_size=16"), tmp_path / "store")
    assert store.images.shape == (12, 16, 16, 3)
    assert store.info["resized"] == 12


@pytest.mark.parametrize("size", [8, 9, 64, 100])
def test_any_size_has_texture_within_range(size):
    for i in range(6):
        patch = synthetic.patch(SyntheticConfig(size=size, difficulty=0.0), i)
        assert patch.std() > 3
