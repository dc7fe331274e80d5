"""Intervals of means, and verdicts."""

from __future__ import annotations

import numpy as np
import pytest

from distill_tracker_ros.evaluation.statistics import RESAMPLES, mean_interval, paired

NO_DIFFERENCE = "no difference that this many sequences can show"


def test_the_interval_is_that_of_the_normal_distribution_for_many_sequences():
    values = np.random.default_rng(0).normal(0.5, 0.1, 400)
    low, high = mean_interval(values)
    error = values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_the_interval_holds_the_true_mean_in_19_of_20_cases():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(300):
        low, high = mean_interval(rng.uniform(0, 1, 40))
        hits += low <= 0.5 <= high
    assert 0.90 < hits / 300 < 0.98


def test_two_values_give_the_known_distribution_of_their_resamples():
    """Means of two draws from 0 and 1: 0, 0.5 and 1 in the shares 1/4, 1/2, 1/4."""
    assert mean_interval([0.0, 1.0]) == (0.0, 1.0)
    low, high = mean_interval([0.0] * 19 + [1.0])  # P(mean = 0) = 0.95^20 = 0.36 > 0.025
    assert (low, high) == (0.0, pytest.approx(0.15))  # binomial: P(k > 3) = 0.016


def test_the_interval_is_the_same_on_every_call():
    values = np.random.default_rng(2).uniform(0, 1, 30)
    state = np.random.get_state()[1].copy()
    assert mean_interval(values) == mean_interval(values)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert RESAMPLES == 10_000


def test_a_constant_has_no_width():
    assert mean_interval([0.4] * 10) == pytest.approx((0.4, 0.4))
    assert mean_interval([0.4]) == (0.4, 0.4)


@pytest.mark.parametrize("values", [[], [0.5, np.nan], [[0.5]], [np.inf]])
def test_scores_that_are_none_are_refused(values):
    with pytest.raises(ValueError, match="scores must be finite numbers, one a sequence"):
        mean_interval(values)


def test_verdicts():
    """A small difference on every sequence shows, though the sequences differ by much more."""
    rng = np.random.default_rng(3)
    b = rng.uniform(0.1, 0.9, 40)
    a = b + rng.normal(0.02, 0.02, 40)
    found = paired(a, b)
    assert found.verdict == "better"
    assert found.mean == pytest.approx((a - b).mean())
    assert found.sequences == 40
    low, high = found.interval
    assert 0 < low < found.mean < high < 0.04
    assert paired(b, a).verdict == "worse"
    assert paired(b, b).verdict == NO_DIFFERENCE
    assert paired(b + rng.normal(0, 0.1, 40), b).verdict == NO_DIFFERENCE


@pytest.mark.parametrize("sequences, verdict", [(1, NO_DIFFERENCE), (5, NO_DIFFERENCE), (6, "better")])
def test_a_few_sequences_show_nothing(sequences: int, verdict: str):
    b = np.linspace(0.2, 0.8, sequences)
    assert paired(b + 0.1, b).verdict == verdict


def test_other_sequences_cannot_be_paired():
    with pytest.raises(ValueError, match="scores of 2 and of 3 sequences cannot be paired"):
        paired([0.1, 0.2], [0.1, 0.2, 0.3])
