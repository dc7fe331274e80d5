"""What a confidence is worth."""

from __future__ import annotations

import numpy as np
import pytest
from tracked import tracked, walk

from distill_tracker_ros.evaluation import calibration
from distill_tracker_ros.evaluation.calibration import reliability


def test_the_table_by_hand():
    table = reliability([0.72, 0.78, 0.75, 0.75, 0.1, 0.0], [0.9, 0.6, 0.5, 0.2, 0.0, 0.8])
    assert table.frames.tolist() == [1, 1, 0, 0, 0, 0, 0, 4, 0, 0]
    assert table.confidence[7] == pytest.approx(0.75)
    assert table.right[7] == 0.5  # an overlap of just 0.5 is not right
    assert table.overlap[7] == pytest.approx(2.2 / 4)
    assert (table.right[0], table.right[1]) == (1.0, 0.0)
    assert np.isnan(table.right[2])
    assert table.expected_error == pytest.approx((4 * 0.25 + 1 * 0.1 + 1 * 1.0) / 6)


def test_bins_have_their_lower_edge_and_the_last_has_both():
    table = reliability([0.0, 0.1, 0.3, 0.7, 0.9, 1.0], np.ones(6))
    assert table.frames.tolist() == [1, 1, 0, 1, 0, 0, 0, 1, 0, 2]


def test_an_honest_tracker_has_no_error():
    """It says 0.7 and is right in 7 of 10 frames, and so for each confidence."""
    rng = np.random.default_rng(0)
    said = rng.uniform(0, 1, 200_000)
    honest = reliability(said, np.where(rng.uniform(0, 1, said.size) < said, 0.8, 0.2))
    assert honest.expected_error < 0.01
    assert reliability(np.full(10, 0.7), [0.8] * 7 + [0.2] * 3).expected_error == pytest.approx(0.0)
    assert reliability(np.ones(10), np.zeros(10)).expected_error == 1.0


def test_frames_are_pooled_without_the_given_and_the_hidden_ones():
    truth = walk(5)
    truth[3] = np.nan
    first = tracked("a", truth, walk(5), confidence=[1.0, 0.85, 0.85, 0.85, np.nan])
    second = tracked("b", walk(3), walk(3) + 500, confidence=0.85)
    table = calibration.score([first, second])
    assert table.frames.tolist() == [0] * 8 + [4, 0]
    assert table.right[8] == 0.5


def test_what_is_no_probability_has_no_table():
    assert calibration.score([]) is None
    assert calibration.score([tracked(confidence=np.nan)]) is None
    assert calibration.score([tracked(confidence=7.0)]) is None
    assert reliability([0.5, -0.1], [0.5, 0.5]) is None
    with pytest.raises(ValueError, match="prediction 1 is"):
        calibration.score([tracked("bad", walk(2), walk(2) * [[1], [np.inf]])])
