"""What a confidence is worth."""

from __future__ import annotations

import numpy as np
import pytest
from tracked import tracked, walk

from distill_tracker_ros.core.calibration import Calibration
from distill_tracker_ros.evaluation import calibration
from distill_tracker_ros.evaluation.calibration import Labelled, apply, fit, held_out, reliability


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


TRUE = Calibration(2.0, 0.7, 1.0)


def video(seed: int, frames: int = 400, truth: Calibration = TRUE, weight: float = 1.0) -> Labelled:
    """Scores, and boxes that are right as often as `truth` says."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.02, 0.98, frames)
    right = rng.uniform(0, 1, frames) < apply(truth, scores)
    return Labelled(scores, np.where(right, 0.8, 0.2), weight)


def test_a_fit_finds_the_calibration_that_the_scores_have():
    found = fit([video(seed, 4000) for seed in range(5)])
    scores = np.linspace(0.05, 0.95, 50)
    np.testing.assert_allclose(apply(found, scores), apply(TRUE, scores), atol=0.02)


def test_scores_that_say_nothing_are_refused():
    """The higher the score, the more often wrong: no calibration that rises is better than a constant."""
    scores = np.linspace(0.05, 0.95, 200)
    with pytest.raises(ValueError, match="right boxes do not have higher scores than wrong ones"):
        fit([Labelled(scores, np.where(scores < 0.5, 0.8, 0.2))])


def test_scores_of_0_and_1_are_no_trouble():
    found = fit([Labelled(np.array([0.0, 1.0, 0.5, 0.4, 1.0]), np.array([0.0, 0.9, 0.9, 0.1, 0.2]))])
    assert np.isfinite([found.low, found.high, found.offset]).all()


def test_a_video_weighs_what_it_is_given_however_long_it_is():
    other = Calibration(2.0, 0.7, -2.0)
    light = fit([video(0, 4000), video(1, 100, other, weight=0.01)])
    heavy = fit([video(0, 4000), video(1, 100, other, weight=100.0)])
    assert light(0.5) == pytest.approx(TRUE(0.5), abs=0.05)
    assert heavy(0.5) == pytest.approx(other(0.5), abs=0.15)
    doubled = [video(0, 100), video(1, 100, other)]
    longer = Labelled(np.tile(doubled[0].scores, 5), np.tile(doubled[0].overlaps, 5))
    assert fit([longer, doubled[1]])(0.5) == pytest.approx(fit(doubled)(0.5), abs=1e-3)


def test_the_error_after_is_that_of_videos_that_were_not_fitted():
    """One video of another kind: the others know nothing of it."""
    videos = [video(seed) for seed in range(6)] + [video(9, truth=Calibration(2.0, 0.7, -4.0))]
    confidences = held_out(videos)
    assert [each.shape for each in confidences] == [each.scores.shape for each in videos]
    usual, odd = (reliability(confidences[i], videos[i].overlaps).expected_error for i in (0, 6))
    assert usual < 0.15 < odd
    np.testing.assert_array_equal(confidences[6], apply(fit(videos[:6]), videos[6].scores))


@pytest.mark.parametrize("overlap", [0.9, 0.1])
def test_a_fit_needs_right_and_wrong_boxes(overlap: float):
    with pytest.raises(ValueError, match="of 3 boxes .* are right: a calibration needs right and wrong"):
        fit([Labelled(np.array([0.2, 0.5, 0.9]), np.full(3, overlap))])
