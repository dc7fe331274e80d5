"""Whether a tracker knows that its target is away."""

from __future__ import annotations

import numpy as np
import pytest
from tracked import tracked, walk

from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.evaluation import long_term
from distill_tracker_ros.evaluation.long_term import Decision, decide

TRACKING, UNCERTAIN, LOST = TrackState


def away(frames: int = 11, first: int = 6, **fields):
    """The target is away from frame 6 on; boxes are right before."""
    truth = walk(frames)
    boxes = truth.copy()
    truth[first:] = np.nan
    return tracked("away", truth, boxes, **fields)


def test_precision_and_recall_by_hand():
    overlaps = [0.8, 0.6, 0.0, 0.4, 0.0]
    visible = [True, True, True, True, False]
    found = decide(overlaps, [True, True, True, False, True], visible)
    assert found.precision == pytest.approx(1.4 / 4)
    assert found.recall == pytest.approx(1.4 / 4)
    found = decide(overlaps, [True, False, False, False, False], visible)
    assert (found.precision, found.recall) == pytest.approx((0.8, 0.2))
    assert found.f == pytest.approx(2 * 0.8 * 0.2 / 1.0)


def test_saying_nothing_is_precise_and_useless():
    assert decide([0.9, 0.9], [False, False], [True, True]) == Decision(1.0, 0.0)
    assert Decision(1.0, 0.0).f == Decision(0.0, 0.0).f == 0.0


def test_a_tracker_that_knows_that_its_target_is_away():
    states = [TRACKING] * 6 + [LOST] * 5
    found = long_term.score([away(states=states, confidence=[0.9] * 6 + [0.1] * 5)])
    assert found.by_state == Decision(1.0, 1.0)
    assert found.by_confidence[found.best] == Decision(1.0, 1.0)
    assert found.thresholds[found.best] == 0.9


def test_a_tracker_that_does_not_know():
    found = long_term.score([away(states=TRACKING, confidence=0.9)])
    assert found.by_state == Decision(0.5, 1.0)  # 5 of 10 frames have a target, the given one left out
    assert found.by_state.f == pytest.approx(2 / 3)
    assert found.by_confidence == (Decision(0.5, 1.0),)


def test_only_tracking_says_present():
    found = long_term.score([away(states=[TRACKING] * 4 + [UNCERTAIN] * 3 + [LOST] * 4)])
    assert found.by_state == Decision(1.0, 3 / 5)


def test_the_best_threshold_is_the_one_with_the_greatest_f():
    """Confidence falls from frame to frame: best is to say present in just the frames with a target."""
    confidence = np.linspace(1, 0, 11)
    found = long_term.score([away(confidence=confidence)])
    assert found.thresholds[found.best] == pytest.approx(confidence[5])
    assert found.by_confidence[0] == Decision(0.5, 1.0)  # the least threshold: everywhere
    f = [decision.f for decision in found.by_confidence]
    assert max(f) == f[found.best] == 1.0
    recalls = [decision.recall for decision in found.by_confidence]
    assert recalls == sorted(recalls, reverse=True)


def test_sequences_have_equal_weight():
    never_away = tracked("stays", walk(101), states=TRACKING)
    found = long_term.score([never_away, away(states=[LOST] * 11)])
    assert found.by_state == Decision(1.0, 0.5)


def test_many_frames_give_a_hundred_thresholds():
    confidence = np.random.default_rng(0).uniform(0, 1, 5000)
    found = long_term.score([away(5000, 2500, confidence=confidence)])
    assert len(found.thresholds) == 100
    assert found.thresholds[[0, -1]].tolist() == [confidence[1:].min(), confidence[1:].max()]
    assert np.isin(found.thresholds, confidence).all()


def test_a_tracker_without_confidence_has_its_states():
    found = long_term.score([away(confidence=np.nan)])
    assert found.best is None
    assert found.by_confidence == ()
    assert found.by_state.precision == 0.5


def test_it_makes_sense_where_targets_go_away():
    assert long_term.score([tracked("stays", walk(10))]) is None
    assert long_term.score([away(first=1)]) is None  # it is never seen again: there is nothing to recall
    assert long_term.score([]) is None


def test_predictions_that_are_no_boxes_are_refused():
    with pytest.raises(ValueError, match="prediction 1 is"):
        long_term.score(
            [
                tracked(
                    "bad",
                    [[0, 0, 1, 1], [0, 0, 1, 1], [np.nan] * 4],
                    [[0, 0, 1, 1], [0, 0, -1, 1], [0, 0, 1, 1]],
                )
            ]
        )
