"""The estimators of accuracy and area against the worked examples of the papers."""

import numpy as np
import pytest
from scipy import stats

from landsift.errors import DataError
from landsift.mapping.estimation import INTERVALS, assess

OLOFSSON = ("deforestation", "forest gain", "stable forest", "stable non-forest")
PIXELS = dict(zip(OLOFSSON, (200_000, 150_000, 3_200_000, 6_450_000), strict=True))
COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])


def units(counts, classes):
    """One mapped and one reference class per sampled unit of an error matrix of counts."""
    rows, columns = np.indices(counts.shape)
    names = np.array(classes, object)
    return np.repeat(names[rows.ravel()], counts.ravel()), np.repeat(names[columns.ravel()], counts.ravel())


def test_the_worked_example_of_olofsson_2014():
    mapped, reference = units(COUNTS, OLOFSSON)
    found = assess(mapped, mapped, reference, PIXELS, OLOFSSON)
    assert (found.counts == COUNTS).all()
    half = [1.959964 * e.error for e in found.users]
    assert [round(e.value, 2) for e in found.users] == [0.88, 0.73, 0.93, 0.96]
    assert np.round(half, 2).tolist() == [0.07, 0.10, 0.04, 0.02]
    assert [round(e.value, 2) for e in found.producers] == [0.75, 0.85, 0.93, 0.96]
    # 0.21, 0.25, 0.03 and 0.02, to all digits those of R's mapaccuracy. The paper prints 0.23 for forest gain and 0.01
    # for stable non-forest; its own equation 7, written out here for forest gain, gives neither.
    assert [1.959964 * e.error for e in found.producers] == pytest.approx(
        [0.21330593, 0.25440369, 0.03432379, 0.01836120], abs=1e-7
    )
    gain = 150_000 * 55 / 75 + 6_450_000 / 325
    p, u, q = 150_000 * 55 / 75 / gain, 55 / 75, 1 / 325
    inside = (150_000 * (1 - p)) ** 2 * u * (1 - u) / 74
    outside = (p * 6_450_000) ** 2 * q * (1 - q) / 324
    assert found.producers[1].error == pytest.approx((inside + outside) ** 0.5 / gain)
    assert (round(found.overall.value, 2), round(1.959964 * found.overall.error, 2)) == (0.95, 0.02)
    hectares = [0.09 * found.total * e.value for e in found.areas]
    assert [round(each) for each in hectares] == [21_158, 11_686, 285_770, 581_386]
    halves = [1.96 * 0.09 * found.total * e.error for e in found.areas]
    assert halves == pytest.approx([6_158, 3_756, 15_510, 16_282], abs=1)


def test_the_worked_example_of_stehman_2014():
    reference = list("AAAAACBABCABBBBBAABBCCCCCDDBBADDDDDDDCCB")
    mapped = list("AAAAAAABBBABBBBBBBBBBBCCCCCCBBDDDDDDDDDD")
    strata = [str(1 + k // 10) for k in range(40)]
    sizes = {"1": 40_000, "2": 30_000, "3": 20_000, "4": 10_000}
    found = assess(strata, mapped, reference, sizes, "ABCD", cells=sizes)
    assert found.areas[0].value == pytest.approx(0.35)
    assert found.areas[2].value == pytest.approx(0.20)
    assert found.overall.value == pytest.approx(0.63)
    assert round(found.users[1].value, 3) == 0.574
    assert round(found.producers[1].value, 3) == 0.794
    assert found.proportions[1, 2] == pytest.approx(0.08)
    assert [round(e.error, 3) for e in (found.areas[0], found.areas[2], found.overall)] == [0.082, 0.064, 0.085]
    assert round(found.users[1].error, 3) == 0.125
    # The producer's accuracy of B, by the ratio estimator's variance written out with covariances. It is that of R's
    # mapaccuracy. The paper prints 0.114, because it takes a variance in stratum 4 as 0 that is 0.1 in its own table 3.
    x = np.reshape([r == "B" for r in reference], (4, 10)).astype(float)
    y = x * np.reshape([m == "B" for m in mapped], (4, 10))
    size = np.array(list(sizes.values()))
    ratio = (size @ y.mean(1)) / (size @ x.mean(1))

    def error(of_x):
        spread = np.var(y, axis=1, ddof=1) + ratio**2 * of_x
        spread -= 2 * ratio * np.array([np.cov(a, b)[0, 1] for a, b in zip(x, y, strict=True)])
        return np.sqrt(np.sum(size**2 * (1 - 10 / size) * spread / 10)) / (size @ x.mean(1))

    of_x = np.var(x, axis=1, ddof=1)
    assert of_x[3] == pytest.approx(0.1)
    assert found.producers[1].error == pytest.approx(error(of_x))
    assert found.producers[1].error == pytest.approx(0.1165479, abs=1e-7)
    assert round(error(np.where([True, True, True, False], of_x, 0)), 3) == 0.114


def test_one_stratum_is_simple_random_sampling():
    mapped, reference = units(COUNTS, OLOFSSON)
    found = assess(["all"] * len(mapped), mapped, reference, {"all": 1.0}, OLOFSSON)
    n = COUNTS.sum()
    p = COUNTS[:, 0].sum() / n
    assert found.areas[0].value == pytest.approx(p)
    assert found.areas[0].error == pytest.approx(np.sqrt(p * (1 - p) / (n - 1)))


def test_equal_areas_of_cells_change_nothing():
    mapped, reference = units(COUNTS, OLOFSSON)
    plain = assess(mapped, mapped, reference, PIXELS, OLOFSSON)
    weighted = assess(mapped, mapped, reference, PIXELS, OLOFSSON, areas=np.full(len(mapped), 7.0))
    assert weighted.areas[0].error == pytest.approx(plain.areas[0].error)


def test_a_stratum_of_one_unit_is_refused_by_name():
    with pytest.raises(DataError, match="'b' has 1"):
        assess(["a", "a", "b"], ["a", "a", "b"], ["a", "b", "b"], {"a": 5, "b": 5}, ["a", "b"])


def test_strata_of_no_size_and_classes_never_found_say_nothing():
    found = assess(["a"] * 3, ["a"] * 3, ["a", "a", "b"], {"a": 9, "c": 0}, ["a", "b", "c"])
    assert np.isnan(found.users[2].value)
    assert np.isnan(found.producers[2].value)
    assert found.areas[2].value == 0


@pytest.mark.parametrize("interval", INTERVALS)
def test_intervals_stay_within_0_and_1(interval):
    mapped, reference = units(np.array([[9, 1], [0, 30]]), ["a", "b"])
    found = assess(mapped, mapped, reference, {"a": 10, "b": 1000}, ["a", "b"], interval=interval)
    for e in (found.overall, *found.users, *found.producers, *found.areas):
        assert 0 <= e.low <= e.value <= e.high <= 1


def test_a_class_that_is_not_known_is_refused_by_name():
    with pytest.raises(DataError, match="'lake'"):
        assess(["a", "a"], ["a", "a"], ["a", "lake"], {"a": 5}, ["a"])


def test_the_default_interval_of_one_stratum_is_wilsons():
    found = assess(["all"] * 50, ["a"] * 50, ["a"] * 47 + ["b"] * 3, {"all": 1.0}, ["a", "b"])
    expected = stats.binomtest(47, 50).proportion_ci(method="wilson")
    for e in (found.overall, found.users[0], found.areas[0]):
        assert (e.low, e.high) == pytest.approx(tuple(expected), abs=1e-9)


def test_a_large_stratum_without_an_error_is_not_taken_for_certain():
    mapped, reference = units(np.array([[40, 10], [0, 250]]), ["rare", "rest"])
    sizes = {"rare": 3_000, "rest": 997_000}
    found = assess(mapped, mapped, reference, sizes, ["rare", "rest"])
    assert found.areas[0].value == pytest.approx(0.0024)
    assert found.areas[0].high > 0.997 * 0.01
    assert found.producers[0].low < 0.2
    assert assess(mapped, mapped, reference, sizes, ["rare", "rest"], interval="normal").areas[0].high < 0.003


def test_the_intervals_hold_the_truth_of_simulated_maps_about_95_times_in_100():
    rng = np.random.default_rng(0)
    cells, names = np.array([[1_700, 300], [2_000, 96_000]]), ["rare", "rest"]
    sizes, truth = dict(zip(names, map(int, cells.sum(axis=1)), strict=True)), cells.sum(axis=0)[0] / cells.sum()
    held = {"strata": 0, "random": 0}
    for _ in range(200):
        counts = np.stack([rng.multivariate_hypergeometric(row, n) for row, n in zip(cells, (75, 325), strict=True)])
        mapped, reference = units(counts, names)
        e = assess(mapped, mapped, reference, sizes, names, cells=sizes).areas[0]
        held["strata"] += e.low <= truth <= e.high
        mapped, reference = units(rng.multivariate_hypergeometric(cells.ravel(), 400).reshape(2, 2), names)
        e = assess(["map"] * 400, mapped, reference, {"map": 1.0}, names).areas[0]
        held["random"] += e.low <= truth <= e.high
    assert all(0.92 * 200 <= count <= 0.985 * 200 for count in held.values()), held
