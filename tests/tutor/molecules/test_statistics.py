"""The measures of the benchmark, on few molecules by hand."""

import numpy as np
import pytest
from scipy.stats import binomtest

from tutor.molecules import statistics
from tutor.molecules.statistics import benchmark, internal_diversity, means, optimum, uniqueness

pytest.importorskip("rdkit", reason='needs pip install "highway-tutor[molecules]"')


class Known:
    """Measures molecules as told."""

    def __init__(self, values):
        self.values = values

    def measure(self, molecules):
        return [self.values[one] for one in molecules]


A, B, C = (bytes([0b11000000]).hex(), bytes([0b10100000]).hex(), bytes([0b11000000]).hex())
VALUES = {"a": ("A", 1.0, A), "b": ("B", 0.0, B), "c": ("A", 1.0, C), "x": None}


def test_measures(monkeypatch):
    monkeypatch.setattr(statistics, "UNIQUE", {"unique_1k": 2, "unique_10k": 3, "unique_x": 4})
    found = benchmark(["a", "x", "b", "c"], Known(VALUES), "made", {"B"})
    ends = means({"filters": np.array([1, 0, 1]), "valid": np.array([1, 0, 1, 1])}, "made")
    assert found == ends | {
        "made/valid": 3 / 4, "made/unique_1k": 2 / 2, "made/unique_10k": 2 / 3,
        "made/filters": pytest.approx(2 / 3),
        "made/novelty": 1 / 2,  # of A and B the training molecules have B
        # A and B share one of three bits.
        "made/internal_diversity": pytest.approx(1 - (5 * 1 + 4 / 3) / 9),
    }  # fmt: skip
    assert set(benchmark(["x"], Known(VALUES), "made")) == {
        "made/valid", "made_low/valid", "made_high/valid",
    }  # fmt: skip
    assert "made/novelty" not in benchmark(["a"], Known(VALUES), "made")


def test_diversity_in_pieces_is_that_of_the_whole(monkeypatch):
    drawn = np.random.default_rng(0).integers(0, 256, (50, 8), np.uint8)
    bits = np.unpackbits(drawn, axis=1).astype(bool)
    shared = (bits[:, None] & bits).sum(2) / (bits[:, None] | bits).sum(2)
    monkeypatch.setattr(statistics, "_ROWS", 16)
    found = internal_diversity([row.tobytes() for row in drawn])
    np.testing.assert_allclose(found, 1 - shared.mean(), rtol=1e-6)


def test_the_best_policy_of_a_few_molecules():
    """Each of four molecules is drawn as often as the prior 1/2, 1/4, 1/8, 1/8 makes it."""
    prior, rewards, c = np.array([4, 2, 1, 1]) / 8, np.array([0.0, 1.0, 2.0, -1.0]), 0.5
    best = prior * np.exp(rewards / c)
    best /= best.sum()
    drawn = np.repeat(rewards, [4, 2, 1, 1])
    found = optimum(drawn, c, {"first": np.repeat([1.0, 0, 0, 0], [4, 2, 1, 1])})
    assert found["reward"] == pytest.approx(best @ rewards)
    assert found["kl_policy_prior"] == pytest.approx(best @ np.log(best / prior))
    assert found["first"] == pytest.approx(best[0])
    assert found["effective_samples"] == pytest.approx(1 / np.sum(best**2 / [4, 2, 1, 1]))
    # Less the baseline, the value of the beginning, log E_p exp(r/c), is 0; the policy is the same.
    shifted = optimum(drawn - found["baseline"], c)
    assert shifted["baseline"] == pytest.approx(0, abs=1e-12)
    assert shifted["kl_policy_prior"] == pytest.approx(found["kl_policy_prior"])
    assert optimum(drawn, 1e-3)["reward"] == pytest.approx(2)  # no overflow


def test_uniqueness_is_of_the_valid_ones():
    assert uniqueness(["a", "a", "b", "x"], np.array([1.0, 1, 1, 0])) == 2 / 3
    assert uniqueness(["x"], np.array([0.0])) == 0


def test_means_are_of_those_that_have_the_property():
    values = {"qed": np.array([1.0, np.nan, 3.0]), "sa": np.array([np.nan])}
    found = means(values, "eval")
    half = 1.96 * np.sqrt(2) / np.sqrt(2)
    assert found == {
        "eval/qed": 2.0, "eval_low/qed": pytest.approx(2 - half, abs=1e-4),
        "eval_high/qed": pytest.approx(2 + half, abs=1e-4),
    }  # fmt: skip
    assert means({"qed": np.array([1.0])}, "eval") == {"eval/qed": 1.0}


@pytest.mark.parametrize("share", ["valid", "filters"])
@pytest.mark.parametrize("passing", [0, 7, 20])
def test_a_share_has_wilsons_interval(share, passing):
    """Also where all pass, or none: 20 molecules don't show that each one would."""
    found = means({share: np.arange(20.0) < passing}, "eval")
    low, high = binomtest(passing, 20).proportion_ci(method="wilson")
    assert found[f"eval/{share}"] == passing / 20
    assert found[f"eval_low/{share}"] == pytest.approx(low)
    assert found[f"eval_high/{share}"] == pytest.approx(high)
    assert low < high
