"""Intervals and tests over crossed seeds and patches keep what they promise, with three seeds as well."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from landsift.evaluation.two_way import (
    differences,
    groups_df,
    holm,
    mcnemar,
    over_groups,
    own_estimate,
    shared_df,
    spread_of,
)

ALPHA = 0.05
gaps = st.tuples(st.integers(1, 4), st.integers(2, 12)).flatmap(
    lambda shape: arrays(np.int8, shape, elements=st.integers(-1, 1))
)


def trainings(rng, seeds_sd, seeds=3, patches=1000, easier=None):
    """{row: {seed: right [N]}}: rows of equal expected accuracy (91 %), whose seeds spread by `seeds_sd` points.

    Patches are hard or easy for all rows, a little more so for one; a seed moves all patches of a row together.
    `easier` gives rows so many points more of expected accuracy.
    """
    patch = rng.normal(0, np.sqrt(3.0), patches)
    values = {}
    for number, sd in enumerate(seeds_sd):
        row = patch + rng.normal(0, np.sqrt(0.5), patches)
        spread = np.sqrt(4.5)  # of a patch's margin: 3 + 0.5 + 1
        accuracy = 0.9 + (easier or {}).get(number, 0) / 100
        slope = stats.norm.pdf(stats.norm.ppf(accuracy)) / spread
        shift = sd / 100 / slope
        level = stats.norm.ppf(accuracy) * np.hypot(spread, shift)
        values[f"row{number}"] = {
            seed: (row + rng.normal(0, shift) + rng.normal(0, 1, patches) + level > 0).astype(np.int8)
            for seed in range(seeds)
        }
    return values


def test_the_variances_are_those_of_the_analysis_of_variance():
    values = np.array([[1, 0, 1, 1], [0, 0, 1, 1], [1, 0, 0, 1]])
    spread = spread_of(values)
    mean = 7 / 12
    seeds, patches = np.array([3, 2, 2]) / 4, np.array([2, 0, 2, 3]) / 3
    total = ((values - mean) ** 2).sum()
    of_seeds, of_patches = 4 * ((seeds - mean) ** 2).sum(), 3 * ((patches - mean) ** 2).sum()
    rest = (total - of_seeds - of_patches) / (2 * 3)
    assert spread.mean == pytest.approx(mean)
    assert spread.ms_rest == pytest.approx(rest)
    assert spread.ms_units == pytest.approx(of_patches / 3)
    assert spread.seed_variance == pytest.approx((of_seeds / 2 - rest) / 4)


def test_without_differences_between_patches_it_is_the_t_test_of_the_seeds():
    found = own_estimate(np.tile([[0.1], [0.2], [0.6]], 50))
    expected = stats.ttest_1samp([0.1, 0.2, 0.6], 0)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval(ALPHA) == pytest.approx(tuple(expected.confidence_interval()))
    assert found.from_seeds == 1


def test_with_one_seed_it_is_the_t_test_of_the_patches():
    values = np.random.default_rng(0).integers(-1, 2, (1, 40))
    found, expected = own_estimate(values), stats.ttest_1samp(values[0], 0)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval(ALPHA) == pytest.approx(tuple(expected.confidence_interval()))
    assert found.above(-0.1) == pytest.approx(stats.ttest_1samp(values[0], -0.1, alternative="greater").pvalue)


@given(gaps)
def test_an_interval_holds_its_mean_and_turns_with_the_sign(values):
    there, back = own_estimate(values), own_estimate(-values)
    (low, high), (back_low, back_high) = there.interval(ALPHA), back.interval(ALPHA)
    assert low <= there.mean <= high
    assert 0 <= there.p <= 1
    assert there.p == pytest.approx(back.p)
    assert (low, high) == pytest.approx((-back_high, -back_low))


@given(gaps, st.sampled_from([0.01, 0.05, 0.2]))
def test_the_interval_leaves_zero_out_when_the_test_says_so(values, alpha):
    found = own_estimate(values)
    low, high = found.interval(alpha)
    outside = not low <= 0 <= high
    agree = found.error == 0  # where all patches agree, the test is the more careful one
    assert outside == (found.p < alpha) or agree or found.p == pytest.approx(alpha)


def test_values_that_all_agree_divide_by_nothing():
    assert own_estimate(np.zeros((3, 10))).p == 1
    assert own_estimate(np.ones((3, 10))).p == pytest.approx(stats.binomtest(10, 10).pvalue)


def test_seeds_that_differ_widen_the_interval_and_more_seeds_narrow_it():
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (3, 2000))
    many = np.tile(values, (4, 1)) + rng.normal(0, 0.2, (12, 1))
    steady, unsteady, more = (
        np.ptp(own_estimate(v).interval(ALPHA)) for v in (values, values + np.array([[-0.2], [0.0], [0.2]]), many)
    )
    assert more < unsteady > 2 * steady


def test_a_pair_uses_the_seeds_it_shares_and_pairs_without_any_are_left_out():
    rng = np.random.default_rng(0)
    cells = {s: rng.integers(0, 2, 50) for s in range(4)}
    found = differences({"a": {0: cells[0], 1: cells[1]}, "b": {1: cells[2], 2: cells[0]}, "c": {3: cells[3]}})
    assert [(pair.a, pair.b, pair.seeds) for pair in found] == [("a", "b", (1,))]
    assert found[0].estimate.mean == pytest.approx(cells[1].mean() - cells[2].mean())
    assert not found[0].covers_seeds


def by_hand(table):
    """Estimates of all pairs of a complete table [R, S] of values without an effect of the patches."""
    R, S = table.shape
    gaps = {(a, b): table[a] - table[b] for a in range(R) for b in range(a + 1, R)}
    typical = stats.chi2.median(S - 1) / (S - 1)  # a median of variances lies below their mean
    shared, df = 0.0, S - 1
    if R > 2:
        shared, df = np.median([gap.var(ddof=1) for gap in gaps.values()]) / typical, shared_df(R, S)
    errors = {pair: np.sqrt(max(shared, gap.var(ddof=1)) / S) for pair, gap in gaps.items()}
    return {(f"r{a}", f"r{b}"): 2 * stats.t.sf(abs(gap.mean()) / errors[a, b], df) for (a, b), gap in gaps.items()}


@pytest.mark.parametrize("rows", [2, 3, 5])
def test_pairs_share_the_median_variance_unless_their_own_is_larger(rows):
    table = np.random.default_rng(0).normal(0, 1, (rows, 3))
    values = {f"r{r}": {s: np.full(5, table[r, s]) for s in range(3)} for r in range(rows)}
    found = {(pair.a, pair.b): pair.estimate.p for pair in differences(values)}
    assert found == pytest.approx(by_hand(table))


def test_two_rows_are_compared_by_what_they_know_alone():
    values = trainings(np.random.default_rng(0), [0.5] * 2)
    [pair] = differences(values)
    a, b = (np.stack(list(cells.values())).astype(int) for cells in values.values())
    assert pair.estimate == own_estimate(a - b)


def test_an_unsteady_row_does_not_hide_what_the_others_say():
    steady = trainings(np.random.default_rng(0), [0.3] * 5)
    unsteady = {**steady, "row4": trainings(np.random.default_rng(1), [0.3] * 4 + [5.0])["row4"]}
    alone, beside = (
        {(d.a, d.b): np.ptp(d.estimate.interval(ALPHA)) for d in differences(values)} for values in (steady, unsteady)
    )
    assert beside["row0", "row1"] < 1.5 * alone["row0", "row1"]
    assert beside["row0", "row4"] > 3 * beside["row0", "row1"]


def test_a_missing_cell_leaves_the_other_pairs_their_means():
    rng = np.random.default_rng(1)
    values = trainings(rng, [1.0] * 3, patches=200)
    whole = {(d.a, d.b): d.estimate for d in differences(values)}
    del values["row2"][0]
    part = {(d.a, d.b): d for d in differences(values)}
    assert part["row0", "row1"].estimate.mean == whole["row0", "row1"].mean
    assert part["row0", "row2"].seeds == (1, 2)
    assert all(d.covers_seeds for d in part.values())


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (5, 0, 2 * 0.5**5), (8, 2, 2 * (1 + 10 + 45) / 1024)],
)
def test_mcnemar_by_hand(only_a, only_b, p):
    a = np.array([1] * only_a + [0] * only_b + [1] * 7)
    b = np.array([0] * only_a + [1] * only_b + [1] * 7)
    assert mcnemar(a, b) == pytest.approx(p)
    assert mcnemar(b, a) == pytest.approx(p)


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.04 x 4, 3, 2, 1 = 0.04, 0.06, 0.06, 0.04, and none below the one before it.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_lies_between_the_p_value_and_bonferroni(p):
    corrected = holm(p)
    for before, after in zip(p, corrected, strict=True):
        assert before <= after <= min(1.0, before * len(p)) + 1e-12
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()
    assert corrected[order[0]] == pytest.approx(min(1.0, min(p) * len(p)))


def rejected(seeds_sd, repeats, **more):
    """How often a test at 5 % calls two rows different: [repeats, pairs]."""
    rng = np.random.default_rng(0)
    return np.array(
        [[pair.estimate.p <= ALPHA for pair in differences(trainings(rng, seeds_sd, **more))] for _ in range(repeats)]
    )


@pytest.mark.parametrize("seeds_sd", [[0.3] * 2, [1.0] * 2, [0.6] * 4])
def test_three_seeds_of_equal_rows_are_rarely_called_different(seeds_sd):
    assert rejected(seeds_sd, 300).mean() <= 0.08


def test_one_unsteady_row_of_eight_is_rarely_called_different():
    """The family of tests holds its level where one row's seeds spread ten times as far as the others'."""
    rng, errs = np.random.default_rng(0), []
    for _ in range(150):
        values = trainings(rng, [0.3] * 7 + [3.0])
        errs.append(min(holm([pair.estimate.p for pair in differences(values)])) <= ALPHA)
    assert np.mean(errs) <= 0.07


def test_a_difference_cannot_vary_less_than_it_has_to():
    same = {row: {0: np.ones(100)} for row in "ab"}
    [free], [floored] = differences(same), differences(same, least=0.01 * 0.99 / 100)
    assert free.estimate.error == 0
    assert floored.estimate.error == pytest.approx(np.sqrt(0.01 * 0.99 / 100))
    assert floored.estimate.above(-0.01) > 0.1


def test_groups_keep_the_mean_and_bring_the_variance_of_their_sums():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), rng.integers(2, 9, 12))
    values = rng.integers(0, 2, (3, len(groups))).astype(float)
    of_groups = over_groups(values, groups)
    assert of_groups.mean(axis=1) == pytest.approx(values.mean(axis=1))
    sums = np.array([(values[0] - values[0].mean())[groups == g].sum() for g in range(12)])
    error = np.sqrt(12 / 11 * np.square(sums).sum()) / len(groups)  # of a ratio of sums over clusters
    assert own_estimate(of_groups[:1]).error == pytest.approx(error)
    assert over_groups(values, np.arange(len(groups))) == pytest.approx(values)


def test_groups_of_unequal_size_count_as_fewer():
    assert groups_df(np.repeat(np.arange(5), 4)) == pytest.approx(4)
    assert groups_df(np.array([0] * 100 + [1, 2])) == 1


def test_two_points_are_found_with_three_seeds():
    assert rejected([0.3] * 2, 20, patches=4860, easier={0: 2}).mean() >= 0.6


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 100))
def test_the_order_of_rows_and_seeds_does_not_matter(seed):
    values = trainings(np.random.default_rng(seed), [0.5] * 3, patches=60)
    turned = {row: dict(reversed(cells.items())) for row, cells in reversed(values.items())}
    assert differences(values) == differences(turned)
