"""The numbers of GOT-10k, and the formulas of its toolkit held against ours."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tracked import shifted, tracked, walk

from distill_tracker_ros.evaluation import got10k
from distill_tracker_ros.evaluation.metrics import centre_error, normalised_centre_error, overlap, score

FRAME = (320, 240)


def toolkit_iou(a, b, bound=None) -> float:
    """The toolkit's overlap of two boxes, written down from its documentation, number by number."""

    def bounded(box):
        x, y, w, h = box
        if bound is not None:
            x, y = min(max(x, 0), bound[0]), min(max(y, 0), bound[1])
            w, h = min(max(w, 0), bound[0] - x), min(max(h, 0), bound[1] - y)
        return x, y, w, h

    (ax, ay, aw, ah), (bx, by, bw, bh) = bounded(a), bounded(b)
    w = max(min(ax + aw, bx + bw) - max(ax, bx), 0)
    h = max(min(ay + ah, by + bh) - max(ay, by), 0)
    return min(max(w * h / (aw * ah + bw * bh - w * h + np.finfo(float).eps), 0), 1)


def toolkit_offset(a, b) -> tuple[float, float]:
    """Between centres, which the toolkit takes as those of inclusive pixels."""
    return (
        (a[0] + (a[2] - 1) / 2) - (b[0] + (b[2] - 1) / 2),
        (a[1] + (a[3] - 1) / 2) - (b[1] + (b[3] - 1) / 2),
    )


def random_boxes(count: int, seed: int, largest: float = 120) -> np.ndarray:
    """Inside the frame, across each of its borders, and outside of it."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-80, 340, (count, 2))
    return np.hstack([corner, rng.uniform(0.5, largest, (count, 2))])


EDGE_CASES = [
    ([10, 10, 20, 20], [10, 10, 20, 20]),  # the same
    ([10, 10, 20, 20], [30, 10, 20, 20]),  # a common edge
    ([10, 10, 20, 20], [30, 30, 20, 20]),  # a common corner
    ([10, 10, 40, 40], [20, 20, 10, 10]),  # one in the other
    ([10, 10, 0, 20], [10, 10, 20, 20]),  # no width
    ([10, 10, 0, 0], [50, 50, 1, 1]),  # a point
    ([-30, -30, 40, 40], [0, 0, 10, 10]),  # across the corner of the frame
    ([300, 220, 90, 90], [300, 220, 20, 20]),  # across the other corner
    ([-90, 10, 20, 20], [10, 10, 20, 20]),  # outside to the left
    ([400, 10, 20, 20], [300, 10, 20, 20]),  # outside to the right
    ([0, 0, 320, 240], [0, 0, 320, 240]),  # the whole frame
    ([10, 10, 1e-3, 1e-3], [10, 10, 1e-3, 1e-3]),  # tiny
    ([1e6, 1e6, 1e5, 1e5], [1e6, 1e6, 2e5, 1e5]),  # far away
]


def pairs() -> tuple[np.ndarray, np.ndarray]:
    edge = np.array(EDGE_CASES, np.float64)
    near = random_boxes(400, 3)
    moved = near + np.random.default_rng(4).normal(0, 8, near.shape)
    moved[:, 2:] = np.abs(moved[:, 2:])
    predicted = np.vstack([edge[:, 0], random_boxes(400, 1), moved])
    return predicted, np.vstack([edge[:, 1], random_boxes(400, 2), near])


def test_v1_perfect_predictions():
    found = got10k.score([tracked("a", walk(20)), tracked("b", walk(30, seed=1))])
    assert found.average_overlap == found.sr50 == found.sr75 == 1.0
    assert found.frames == 19 + 29


def test_overlaps_are_those_of_the_toolkit():
    predicted, truth = pairs()
    ours = overlap(predicted, truth)
    np.testing.assert_allclose(
        ours, [toolkit_iou(a, b) for a, b in zip(predicted, truth, strict=True)], atol=1e-6
    )
    assert 0.1 < (ours > 0).mean() < 0.9


def test_bounded_overlaps_are_those_of_the_toolkit():
    predicted, truth = pairs()
    first = [[0, 0, 1, 1]]  # which does not count
    kept = predicted.copy(), truth.copy()
    ours = got10k.overlaps(
        np.vstack([first, predicted]), np.vstack([first, truth]), np.ones(len(truth) + 1, bool), FRAME
    )
    theirs = [toolkit_iou(a, b, FRAME) for a, b in zip(predicted, truth, strict=True)]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert np.abs(np.array(theirs) - overlap(predicted, truth)).max() > 0.1  # the frame does matter
    np.testing.assert_array_equal(predicted, kept[0])
    np.testing.assert_array_equal(truth, kept[1])


def test_centre_errors_are_those_of_the_toolkit():
    predicted, truth = pairs()
    offsets = np.array([toolkit_offset(a, b) for a, b in zip(predicted, truth, strict=True)])
    np.testing.assert_allclose(centre_error(predicted, truth), [math.hypot(*o) for o in offsets], atol=1e-6)
    sides = truth[:, 2:]
    theirs = np.hypot(*(offsets / np.maximum(1, sides)).T)
    comparable = (sides >= 1).all(axis=1)  # the toolkit takes smaller sides as 1 px
    ours = normalised_centre_error(predicted, truth)
    np.testing.assert_allclose(ours[comparable], theirs[comparable], rtol=1e-9, atol=1e-6)
    assert comparable.sum() > 700
    assert (ours[~comparable] > theirs[~comparable])[offsets[~comparable].any(axis=1)].all()


def test_one_pass_curves_are_those_of_the_toolkit():
    truth = random_boxes(500, 5) + [0, 0, 1, 1]
    predicted = truth + np.random.default_rng(6).normal(0, 9, truth.shape)
    predicted[:, 2:] = np.abs(predicted[:, 2:])
    curves = score(predicted, truth)
    predicted[0] = truth[0]
    offsets = np.array([toolkit_offset(a, b) for a, b in zip(predicted, truth, strict=True)])
    ious = np.array([toolkit_iou(a, b) for a, b in zip(predicted, truth, strict=True)])
    errors, normalised = np.hypot(*offsets.T), np.hypot(*(offsets / np.maximum(1, truth[:, 2:])).T)
    for ours, values, thresholds, is_within in (
        (curves.success, ious, np.linspace(0, 1, 21), np.greater),
        (curves.precision, errors, np.arange(0, 51), np.less_equal),
        (curves.normalised_precision, normalised, np.linspace(0, 0.5, 51), np.less_equal),
    ):
        np.testing.assert_allclose(ours, [is_within(values, t).mean() for t in thresholds], atol=1e-6)


def test_frames_are_pooled():
    """Frames have equal weight, not sequences: 9 of 108 are right."""
    good, bad = walk(10), walk(100)
    found = got10k.score([tracked("good", good), tracked("bad", bad, shifted(bad, 1000))])
    assert found.average_overlap == pytest.approx(9 / 108)
    assert found.sr50 == found.sr75 == pytest.approx(9 / 108)


def test_success_rates_are_strict():
    found = got10k.pooled([[0.5, 0.75, 0.500001], [0.750001]])
    assert (found.sr50, found.sr75, found.frames) == (3 / 4, 1 / 4, 4)
    assert found.success[0] == 1.0
    assert found.success[100] == 0.0


def test_the_first_frame_and_covered_ones_do_not_count():
    truth = walk(5)
    boxes = truth.copy()
    boxes[[0, 2]] += 500
    found = got10k.score([tracked("covered", truth, boxes, visible=[True, True, False, True, True])])
    assert (found.average_overlap, found.frames) == (1.0, 3)


def test_a_frame_of_unknown_size_bounds_nothing():
    truth = np.tile([-10.0, -10, 20, 20], (2, 1))
    boxes = np.tile([-10.0, -10, 10, 10], (2, 1))
    assert got10k.overlaps(boxes, truth, [True, True], (0, 0)) == [0.25]
    assert got10k.overlaps(boxes, truth, [True, True], (100, 100)) == [0.25]  # both are moved, not cut off
    assert got10k.overlaps(
        [[0, 0, 1, 1], [90, 90, 20, 20]], [[0, 0, 1, 1], [90, 90, 10, 10]], [1, 1], (100, 100)
    ) == [1]


def test_nothing_to_count():
    assert got10k.score([]) is None
    assert got10k.score([tracked("short", walk(1))]) is None
    with pytest.raises(ValueError, match="prediction 1 is"):
        got10k.score([tracked("bad", walk(3), walk(3) * [[1], [np.nan], [1]])])
