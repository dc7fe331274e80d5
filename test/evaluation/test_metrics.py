"""The identities and edge rules of the one-pass evaluation."""

from __future__ import annotations

import numpy as np
import pytest
from tracked import shifted, walk

from distill_tracker_ros.core.boxes import iou
from distill_tracker_ros.evaluation.metrics import (
    NORMALISED_THRESHOLDS,
    POLICIES,
    PRECISION_THRESHOLDS_PX,
    SUCCESS_THRESHOLDS,
    Curves,
    Policy,
    checked_predictions,
    found_overlap,
    mean,
    overlap,
    score,
    visible,
)


def test_v1_perfect_predictions_score_twenty_of_twenty_one():
    curves = score(walk(), walk())
    assert curves.success_auc == pytest.approx(20 / 21)
    assert curves.success[-1] == 0.0  # no overlap is above 1
    assert curves.precision_20px == curves.normalised_precision_020 == curves.normalised_precision_auc == 1.0
    assert curves.op50 == curves.op75 == 1.0
    assert curves.frames == 40


@pytest.mark.parametrize("shift, at_20, at_21", [(20.0, 1.0, 1.0), (20.0001, 0.0, 1.0)])
def test_v2_a_centre_error_at_the_threshold_counts(shift: float, at_20: float, at_21: float):
    truth = walk(2)
    curves = score(shifted(truth, shift), truth)
    right = 1 / 2  # the first frame is given
    assert curves.precision[20] == right + right * at_20
    assert curves.precision[21] == right + right * at_21


def test_v3_an_overlap_at_the_threshold_does_not_count():
    truth = np.array([[0, 0, 10, 10], [0, 0, 20, 10]], np.float64)
    predicted = np.array([[0, 0, 10, 10], [0, 0, 10, 10]], np.float64)  # half of the true box
    assert iou(predicted[1], truth[1]) == 0.5
    curves = score(predicted, truth)
    assert curves.success[9] == 1.0
    assert curves.success[10] == 0.5


@pytest.mark.parametrize("factor", [0.25, 3.0])
def test_v4_scale_leaves_success_and_normalised_precision(factor: float):
    truth, predicted = walk(), shifted(walk(), 6, -4)
    curves, scaled = score(predicted, truth), score(predicted * factor, truth * factor)
    np.testing.assert_array_equal(scaled.success, curves.success)
    np.testing.assert_array_equal(scaled.normalised_precision, curves.normalised_precision)
    assert not np.array_equal(scaled.precision, curves.precision)


HIDDEN = [[np.nan] * 4, [0.0] * 4, [10.0, 10, 0, 20], [10.0, 10, 20, -5]]


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize(
    "policy, frames, success, precision, normalised",
    [
        ("clean", 3, 1, 1, 1),
        ("compat-default", 4, 3 / 4, 3 / 4, 1),
        ("compat-uav", 4, 3 / 4, 1, 1),
        ("compat-lasot", 4, 3 / 4, 3 / 4, 3 / 4),
        ("compat-otb", 4, 3 / 4, 1, 1),
    ],
)
def test_v5_frames_without_truth_by_policy(
    policy: Policy, frames: int, success: float, precision: float, normalised: float, hidden: list[float]
):
    """Of four frames one has no truth; the tracker is right wherever it can be."""
    truth = np.tile([10.0, 10, 20, 20], (4, 1))
    predicted = truth.copy()
    truth[2] = hidden
    curves = score(predicted, truth, policy)
    assert curves.frames == frames
    assert (curves.success[:-1] == success).all()
    assert (curves.precision == precision).all()
    assert (curves.normalised_precision == normalised).all()


@pytest.mark.parametrize("policy", POLICIES)
def test_labels_of_presence_narrow_the_frames_with_truth(policy: Policy):
    truth = walk(4)
    marked, labelled = truth.copy(), score(truth, truth, policy, present=[True, True, False, True])
    marked[2] = np.nan
    same = score(truth, marked, policy)
    assert labelled.frames == same.frames
    np.testing.assert_array_equal(labelled.success, same.success)
    np.testing.assert_array_equal(labelled.precision, same.precision)
    np.testing.assert_array_equal(labelled.normalised_precision, same.normalised_precision)


def test_labels_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"labels of presence must have the shape \(4,\); got \(3,\)"):
        score(walk(4), walk(4), present=[True] * 3)


def test_in_the_convention_of_otb_a_box_at_the_border_is_no_truth():
    truth = walk(4)
    truth[2, 0] = 0.0
    assert score(truth, truth, "compat-otb").success[0] == 3 / 4
    assert score(truth, truth, "compat-otb").precision[0] == 1.0
    assert score(truth, truth, "compat-uav").success[0] == 1.0
    truth[0, 0] = 0.0  # it can be started on, but even so it counts as a failure
    assert score(truth[:2], truth[:2], "compat-otb").success[0] == 0.5


def test_an_unknown_policy_names_the_known_ones():
    with pytest.raises(ValueError, match="no policy 'strict': clean, compat-default"):
        score(walk(4), walk(4), "strict")  # type: ignore[arg-type]


def test_v6_sequences_count_the_same_whatever_their_length():
    good = walk(10)
    bad = walk(100)
    missed = shifted(bad, 1000)
    by_sequence = mean([score(good, good), score(missed, bad)])
    # Of the bad sequence one frame is right: that on which the box was given.
    assert by_sequence.precision[20] == pytest.approx((10 / 10 + 1 / 100) / 2)
    pooled = score(np.vstack([good, missed]), np.vstack([good, bad]))
    assert pooled.precision[20] == pytest.approx((10 + 1) / (10 + 100))


def test_v7_moving_both_changes_nothing():
    truth, predicted = walk(), shifted(walk(), 5, 3)
    moved = score(predicted + [1, 1, 0, 0], truth + [1, 1, 0, 0])
    for name in ("success", "precision", "normalised_precision"):
        np.testing.assert_array_equal(getattr(moved, name), getattr(score(predicted, truth), name))


def test_v8_a_true_box_without_width_is_no_truth():
    truth = walk(5)
    truth[3, 2] = 0.0
    with np.errstate(all="raise"):
        curves = score(walk(5), truth)
    assert curves.frames == 4
    assert (curves.normalised_precision == 1.0).all()


def test_v10_inclusive_pixels_give_the_same_overlap():
    """The MATLAB tool kits count the last pixel in: right = x + w - 1, length = right - left + 1."""
    rng = np.random.default_rng(3)
    a, b = (np.hstack([rng.integers(0, 80, (1000, 2)), rng.integers(1, 60, (1000, 2))]) for _ in range(2))
    last_a, last_b = a[:, :2] + a[:, 2:] - 1, b[:, :2] + b[:, 2:] - 1
    lengths = np.maximum(np.minimum(last_a, last_b) - np.maximum(a[:, :2], b[:, :2]) + 1, 0)
    inter = lengths.prod(axis=1)
    inclusive = inter / (a[:, 2:].prod(axis=1) + b[:, 2:].prod(axis=1) - inter)
    np.testing.assert_array_equal(iou(a, b), inclusive)
    assert (inclusive > 0).sum() > 100


def test_v11_three_decimals_change_little():
    rng = np.random.default_rng(5)
    truth = walk(500)
    predicted = np.abs(truth + rng.normal(0, 6, truth.shape))
    read = np.array([[float(f"{v:.3f}") for v in row] for row in predicted])
    difference = score(read, truth).success_auc - score(predicted, truth).success_auc
    assert abs(difference) < 0.0005
    assert not np.array_equal(read, predicted)


def test_the_named_numbers_are_those_of_their_thresholds():
    rng = np.random.default_rng(7)
    truth = walk(300)
    curves = score(np.abs(truth + rng.normal(0, 9, truth.shape)), truth)
    for value, curve, thresholds, at in (
        (curves.op50, curves.success, SUCCESS_THRESHOLDS, 0.5),
        (curves.op75, curves.success, SUCCESS_THRESHOLDS, 0.75),
        (curves.precision_20px, curves.precision, PRECISION_THRESHOLDS_PX, 20),
        (curves.normalised_precision_020, curves.normalised_precision, NORMALISED_THRESHOLDS, 0.2),
    ):
        assert 0.02 < value == curve[thresholds == at] < 0.98
    assert curves.normalised_precision_auc == pytest.approx(curves.normalised_precision.mean())
    assert curves.success_auc == pytest.approx(curves.success.mean())


def test_whole_numbers_are_cut_off_and_not_rounded():
    truth = np.tile([10.0, 10, 20, 20], (3, 1))
    predicted = truth + [0.9, 0.9, 0.9, 0.9]
    assert score(predicted, truth).op75 == 1.0
    np.testing.assert_array_equal(score(predicted, truth, rounded=True).success, score(truth, truth).success)
    thin = np.array([[10.0, 10, 20, 20], [30, 10, 0.9, 20], [10, 10, 20, 20]])
    assert score(thin, truth, rounded=True).success[0] == 1.0  # without width it repeats the one before


def test_curves_that_are_not_finite_are_refused():
    good = score(walk(4), walk(4))
    with pytest.raises(ValueError, match="precision curve has values that are not finite"):
        Curves(good.success, good.precision * np.nan, good.normalised_precision, 4)


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
    with pytest.raises(ValueError, match="5 predictions for 10 frames: compat-lasot needs one a frame"):
        score(truth[:5], truth, "compat-lasot")


def test_missing_predictions_are_no_boxes_in_the_corner():
    truth = np.tile([0.0, 0, 10, 10], (4, 1))
    with pytest.warns(UserWarning):
        curves = score(truth[:1], truth)
    assert curves.precision[50] == curves.normalised_precision[50] == curves.success[0] == 1 / 4


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
    assert found_overlap(np.tile([1.0, 1, 4, 4], (4, 1)), truth, visible(truth)).tolist() == [1, 0, 0, 0]


def test_predictions_are_checked_without_a_truth():
    assert checked_predictions([[0, 0, 0, 4]]).shape == (1, 4)
    with pytest.raises(ValueError, match="prediction 1 is"):
        checked_predictions([[0, 0, 1, 4], [0, 0, np.nan, 4]])
