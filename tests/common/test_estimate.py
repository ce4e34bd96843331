"""Intervals against SciPy's, and how often they hold the truth."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from common.estimate import Estimate, as_metrics, estimate_mean, estimate_share


@pytest.mark.parametrize(("successes", "draws"), [(0, 50), (1, 50), (20, 50), (50, 50), (1, 1)])
def test_share_of_compositions_has_wilsons_interval(successes, draws):
    part = np.arange(draws) < successes
    low, high = binomtest(successes, draws).proportion_ci(method="wilson")
    expected = (successes / draws, low, high)
    assert estimate_share(part, np.ones(draws, int)) == pytest.approx(expected, abs=1e-12)


def test_share_of_notes_without_variance_counts_compositions():
    part, whole = np.full(40, 8), np.full(40, 32)
    low, high = binomtest(10, 40).proportion_ci(method="wilson")
    assert estimate_share(part, whole) == pytest.approx((0.25, low, high), abs=1e-12)


def test_share_of_notes_that_hardly_varies_counts_no_more_draws_than_notes():
    part, whole = np.where(np.arange(40) < 20, 8, 9), np.full(40, 32)
    low, high = binomtest(340, 1280).proportion_ci(method="wilson")
    assert estimate_share(part, whole) == pytest.approx((340 / 1280, low, high), abs=1e-12)


def test_intervals_hold_the_truth_19_times_in_20():
    """Notes that come in clusters, leaps of different numbers in each composition."""
    random = np.random.default_rng(9)
    hits, means, times = np.zeros(2), 0, 1000
    for _ in range(times):
        rates = random.beta(1, 4, 300)  # 0.2 in the mean
        leaps = random.integers(0, 5, 300)
        notes = random.binomial(32, rates)
        resolved = random.binomial(leaps, rates)
        found = [estimate_share(notes, np.full(300, 32)), estimate_share(resolved, leaps)]
        hits += [low < 0.2 < high for _, low, high in found]
        _, low, high = estimate_mean(np.where(rates > 0.9, np.nan, random.normal(0.2, 1, 300)))
        means += low < 0.2 < high
    assert (0.93 * times < hits).all()
    assert (hits < 0.97 * times).all()
    assert 0.93 * times < means < 0.97 * times


def test_mean_of_few_values():
    assert estimate_mean(np.array([np.nan, 0.25]))[0] == 0.25
    assert math.isnan(estimate_mean(np.array([np.nan, 0.25])).low)
    assert estimate_mean(np.array([0.5, 0.5, np.nan])) == (0.5, 0.5, 0.5)


def test_what_is_undefined_is_no_metric():
    found = {"a": Estimate(1.0, 0.5, 1.5), "b": Estimate(2.0, math.nan, math.nan)}
    assert as_metrics(found, "eval") == {
        "eval/a": 1.0, "eval_low/a": 0.5, "eval_high/a": 1.5, "eval/b": 2.0,
    }  # fmt: skip
