"""How soon a tracker says that its target is away, and has it again."""

from __future__ import annotations

import numpy as np
import pytest
from tracked import shifted, tracked, walk

from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.evaluation import absence
from distill_tracker_ros.evaluation.absence import Absence, absences, false_losses

TRACKING, UNCERTAIN, LOST = TrackState


def away(*gone: range, frames: int = 20, boxes: np.ndarray | None = None, **fields):
    """The target is away in some frames, a tenth of a second each; boxes are right where it is there."""
    truth = walk(frames)
    boxes = truth.copy() if boxes is None else boxes
    for each in gone:
        truth[list(each)] = np.nan
    return tracked("away", truth, boxes, **fields)


def test_an_absence_by_hand():
    """Away in frames 5 to 11; UNCERTAIN from 7, LOST from 9, and TRACKING the right box again in frame 14."""
    states = [TRACKING] * 7 + [UNCERTAIN] * 2 + [LOST] * 5 + [TRACKING] * 6
    assert list(absences(away(range(5, 12), states=states))) == [
        Absence("away", 5, 7, 2, pytest.approx(0.4), True, pytest.approx(0.2))
    ]


def test_a_tracker_that_is_lost_already_and_never_finds_it_again():
    (found,) = absences(away(range(5, 12), states=[TRACKING] * 3 + [LOST] * 17))
    assert (found.claimed, found.lost_after_s, found.found_after_s) == (0, 0.0, None)


def test_a_wrong_box_is_not_found_again():
    boxes = shifted(walk(20), 500)
    (found,) = absences(away(range(5, 12), boxes=boxes, states=TRACKING))
    assert (found.claimed, found.lost_after_s) == (7, None)
    assert (found.returned, found.found_after_s) == (True, None)


def test_what_is_right_but_not_tracking_is_not_found_yet():
    states = [TRACKING] * 5 + [LOST] * 9 + [UNCERTAIN] * 3 + [TRACKING] * 3
    (found,) = absences(away(range(5, 12), states=states))
    assert found.found_after_s == pytest.approx(0.5)


def test_it_leaves_twice_and_stays_away():
    """Found only after the second return would not count for the first one."""
    states = [TRACKING] * 3 + [LOST] * 17
    first, second = absences(away(range(3, 6), range(9, 20), states=states))
    assert (first.first, first.frames, first.returned, first.found_after_s) == (3, 3, True, None)
    assert (second.first, second.frames, second.returned, second.found_after_s) == (9, 11, False, None)


def test_away_from_the_second_frame_on():
    (found,) = absences(away(range(1, 4), states=[TRACKING] + [LOST] * 3 + [TRACKING] * 16))
    assert (found.first, found.frames, found.lost_after_s, found.found_after_s) == (1, 3, 0.0, 0.0)


def test_a_false_loss_begins_where_the_target_can_be_seen():
    states = [TRACKING] * 3 + [LOST] * 2 + [TRACKING] * 3 + [LOST] * 4 + [TRACKING] * 8
    assert false_losses(away(states=states)) == 2
    assert false_losses(away(range(7, 14), states=states)) == 1
    assert false_losses(away(range(7, 10), states=[LOST] * 20)) == 0  # it was lost from the start


def test_several_sequences_are_pooled():
    stays = tracked("stays", walk(30), states=[TRACKING] * 10 + [LOST] * 20)
    states = [TRACKING] * 7 + [LOST] * 7 + [TRACKING] * 6
    found = absence.score([stays, away(range(5, 12), states=states), away(range(18, 20), states=states)])
    assert [each.frames for each in found.each] == [7, 2]
    assert found.claimed_share == pytest.approx(4 / 9)
    assert found.lost_after_s == [pytest.approx(0.2)]
    assert (found.returns, found.found_after_s) == (1, [pytest.approx(0.2)])
    assert found.false_losses == 2


def test_without_absences():
    stays = absence.score([tracked("stays", walk(30))])
    assert (stays.each, stays.claimed_share, stays.false_losses) == ((), None, 0)
    assert absence.score([away(range(1, 20))]).each == ()  # a truth of the first frame alone
    with pytest.raises(ValueError, match="prediction 1 is"):
        absence.score([tracked("bad", walk(3), walk(3) * [[1], [np.inf], [1]])])
