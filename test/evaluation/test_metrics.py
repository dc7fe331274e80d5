"""The identities and edge rules of the one-pass evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from distill_tracker_ros.core.boxes import iou
from distill_tracker_ros.evaluation.metrics import mean, overlap, score, visible


def walk(frames: int = 40, seed: int = 0) -> np.ndarray:
    """Whole-pixel boxes on a random path, (frames, 4) xywh."""
    rng = np.random.default_rng(seed)
    corner = 200 + rng.integers(-8, 9, (frames, 2)).cumsum(axis=0)
    return np.hstack([corner, rng.integers(20, 60, (frames, 2))]).astype(np.float64)


def shifted(boxes: np.ndarray, dx: float, dy: float = 0.0) -> np.ndarray:
    """All boxes but the first one moved."""
    moved = boxes.copy()
    moved[1:, :2] += (dx, dy)
    return moved


def test_perfect_predictions_score_twenty_of_twenty_one():
    curves = score(walk(), walk())
    assert curves.success_auc == pytest.approx(20 / 21)
    assert curves.success[-1] == 0.0  # no overlap is above 1
    assert curves.precision_20px == curves.normalised_precision_020 == 1.0
    assert curves.frames == 40


@pytest.mark.parametrize("shift, at_20, at_21", [(20.0, 1.0, 1.0), (20.0001, 0.0, 1.0)])
def test_a_centre_error_at_the_threshold_counts(shift: float, at_20: float, at_21: float):
    truth = walk(2)
    curves = score(shifted(truth, shift), truth)
    right = 1 / 2  # the first frame is given
    assert curves.precision[20] == right + right * at_20
    assert curves.precision[21] == right + right * at_21


def test_an_overlap_at_the_threshold_does_not_count():
    truth = np.array([[0, 0, 10, 10], [0, 0, 20, 10]], np.float64)
    predicted = np.array([[0, 0, 10, 10], [0, 0, 10, 10]], np.float64)  # half of the true box
    assert iou(predicted[1], truth[1]) == 0.5
    curves = score(predicted, truth)
    assert curves.success[9] == 1.0
    assert curves.success[10] == 0.5


@pytest.mark.parametrize("factor", [0.25, 3.0])
def test_scale_leaves_success_and_normalised_precision(factor: float):
    truth, predicted = walk(), shifted(walk(), 6, -4)
    curves, scaled = score(predicted, truth), score(predicted * factor, truth * factor)
    np.testing.assert_array_equal(scaled.success, curves.success)
    np.testing.assert_array_equal(scaled.normalised_precision, curves.normalised_precision)
    assert not np.array_equal(scaled.precision, curves.precision)


def test_frames_without_truth_by_policy():
    truth = np.array([[10, 10, 20, 20]] * 4, np.float64)
    truth[2] = np.nan
    predicted = np.nan_to_num(truth, nan=10.0)
    clean, compatible = score(predicted, truth), score(predicted, truth, "compat-default")
    assert clean.frames == 3
    assert compatible.frames == 4
    assert clean.success[0] == clean.precision[50] == clean.normalised_precision[0] == 1.0
    assert compatible.success[0] == compatible.precision[50] == 3 / 4
    assert compatible.normalised_precision[0] == 1.0


def test_sequences_count_the_same_whatever_their_length():
    good = walk(10)
    bad = walk(100)
    missed = shifted(bad, 1000)
    by_sequence = mean([score(good, good), score(missed, bad)])
    # Of the bad sequence one frame is right: that on which the box was given.
    assert by_sequence.precision[20] == pytest.approx((10 / 10 + 1 / 100) / 2)
    pooled = score(np.vstack([good, missed]), np.vstack([good, bad]))
    assert pooled.precision[20] == pytest.approx((10 + 1) / (10 + 100))


def test_moving_both_changes_nothing():
    truth, predicted = walk(), shifted(walk(), 5, 3)
    moved = score(predicted + [1, 1, 0, 0], truth + [1, 1, 0, 0])
    for name in ("success", "precision", "normalised_precision"):
        np.testing.assert_array_equal(getattr(moved, name), getattr(score(predicted, truth), name))


def test_inclusive_pixels_give_the_same_overlap():
    """The MATLAB tool kits count the last pixel in: right = x + w - 1, length = right - left + 1."""
    rng = np.random.default_rng(3)
    a, b = (np.hstack([rng.integers(0, 80, (1000, 2)), rng.integers(1, 60, (1000, 2))]) for _ in range(2))
    last_a, last_b = a[:, :2] + a[:, 2:] - 1, b[:, :2] + b[:, 2:] - 1
    lengths = np.maximum(np.minimum(last_a, last_b) - np.maximum(a[:, :2], b[:, :2]) + 1, 0)
    inter = lengths.prod(axis=1)
    inclusive = inter / (a[:, 2:].prod(axis=1) + b[:, 2:].prod(axis=1) - inter)
    np.testing.assert_array_equal(iou(a, b), inclusive)
    assert (inclusive > 0).sum() > 100


def test_the_first_prediction_is_the_given_box():
    truth = walk(3)
    predicted = truth.copy()
    predicted[0] = (0, 0, 1, 1)
    assert score(predicted, truth).precision_20px == 1.0


def test_a_prediction_without_size_repeats_the_one_before():
    truth = np.tile([50.0, 50, 20, 20], (4, 1))
    predicted = truth.copy()
    predicted[2:] = (300, 300, 0, 20)
    assert score(predicted, truth).success_auc == pytest.approx(20 / 21)


def test_missing_predictions_are_failures_and_further_ones_are_ignored():
    truth = walk(10)
    with pytest.warns(UserWarning, match="5 predictions for 10 frames: missing ones count as failures"):
        assert score(truth[:5], truth).success[0] == 0.5
    with pytest.warns(UserWarning, match="10 predictions for 5 frames: the rest is ignored"):
        assert score(truth, truth[:5]).success[0] == 1.0


@pytest.mark.parametrize("box", [[np.nan, 0, 5, 5], [0, np.inf, 5, 5], [0, 0, -1, 5]])
def test_predictions_that_are_no_boxes_are_refused(box: list[float]):
    truth = walk(4)
    predicted = truth.copy()
    predicted[2] = box
    with pytest.raises(ValueError, match="prediction 2 is .* must be finite, no side negative"):
        score(predicted, truth)


def test_the_first_frame_needs_truth():
    truth = walk(3)
    truth[0] = np.nan
    with pytest.raises(ValueError, match="first frame of a sequence needs a true box"):
        score(walk(3), truth)
    with pytest.raises(ValueError, match="first frame"):
        score(np.zeros((0, 4)), np.zeros((0, 4)))


@pytest.mark.parametrize("boxes, name", [(np.zeros((3, 5)), r"\(3, 5\)"), (np.zeros(4), r"\(4,\)")])
def test_wrong_shapes_are_refused(boxes: np.ndarray, name: str):
    with pytest.raises(ValueError, match=rf"predictions must be an array of shape \(N, 4\); got {name}"):
        score(boxes, walk(3))


def test_nothing_to_average():
    with pytest.raises(ValueError, match="no sequence"):
        mean([])


def test_visible_and_overlap():
    truth = np.array([[1, 1, 4, 4], [np.nan] * 4, [1, 1, 0, 4], [1, 1, 4, -2]], np.float64)
    assert visible(truth).tolist() == [True, False, False, False]
    found = overlap(np.tile([1.0, 1, 4, 4], (4, 1)), truth)
    assert found[0] == 1.0
    assert np.isnan(found[1:]).all()
