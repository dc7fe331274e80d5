"""The anchor protocol of VOT: where runs begin, what a failure is, and what is made of it."""

from __future__ import annotations

import numpy as np
import pytest
from tracked import shifted, tracked, walk

from distill_tracker_ros.evaluation import vot
from distill_tracker_ros.evaluation.sequences import NoFrames, Sequence, SequenceError
from distill_tracker_ros.evaluation.vot import Attempt, anchors, progress


def sequence(frames: int, hidden: tuple[int, ...] = (), **fields) -> Sequence:
    truth = walk(frames)
    truth[list(hidden)] = np.nan
    return Sequence("walk", NoFrames(frames, "no pictures"), truth, **fields)


def failed(overlaps: list[float]) -> Attempt:
    """A run with these overlaps before its failure, and then 20 bad frames."""
    return Attempt(np.array(overlaps + [0.0] * 20), len(overlaps))


def ended(overlaps: list[float]) -> Attempt:
    return Attempt(np.array(overlaps), len(overlaps))


def test_an_anchor_every_50_frames_towards_the_further_end():
    assert anchors(sequence(201)) == (0, 50, 100, -150, -200)
    assert anchors(sequence(200)) == (0, 50, -100, -150)
    assert anchors(sequence(30)) == (0,)
    assert anchors(sequence(1)) == (0,)


def test_an_anchor_moves_to_the_next_frame_with_a_target():
    assert anchors(sequence(120, hidden=(0, 1, 50, 100))) == (2, 51, -101)
    assert anchors(sequence(120, hidden=tuple(range(40, 110)))) == (0, -110)
    assert anchors(sequence(120, hidden=tuple(range(90, 120)))) == (0, 50)
    present = np.ones(120, bool)
    present[50] = False
    assert anchors(sequence(120, present=present)) == (0, 51, -100)


def test_anchors_of_the_benchmark_are_kept():
    assert anchors(sequence(200, anchors=(0, -70, 70, -199))) == (0, -70, 70, -199)


def test_anchors_without_a_target_are_refused():
    with pytest.raises(SequenceError, match="walk has no true box in its anchor, frame 7"):
        anchors(sequence(20, hidden=(7,), anchors=(0, -7)))
    with pytest.raises(SequenceError, match="frame 20"):
        anchors(sequence(20, anchors=(20,)))
    with pytest.raises(SequenceError, match="walk has no true box to start from"):
        anchors(sequence(3, hidden=(0, 1, 2)))
    with pytest.raises(SequenceError, match="walk has no true box to start from"):
        anchors(Sequence("walk", NoFrames(3, "no pictures")))


def test_v1_perfect_predictions():
    found = vot.score(
        {"a": [tracked("a@0", walk(200)), tracked("a@50", walk(150))], "b": [tracked("b@0", walk(130))]}
    )
    assert found.accuracy == found.robustness == found.eao == 1.0
    assert len(found.eao_curve) == 199
    assert found.eao_range == (115, 200)


@pytest.mark.parametrize("bad, before", [(9, 60), (10, 20), (11, 20)])
def test_v9_ten_bad_frames_in_a_row_are_a_failure(bad: int, before: int):
    overlaps = np.full(60, 0.8)
    overlaps[20 : 20 + bad] = 0.1
    assert progress(overlaps, np.ones(60)) == before


def test_v9_an_empty_ground_truth_ends_the_row():
    overlaps, visible = np.full(60, 0.8), np.ones(60, bool)
    overlaps[20:38] = 0.0
    visible[29] = False
    assert progress(overlaps, visible) == 28 + 32  # 9 bad frames, an empty one, 8 bad frames
    overlaps[38:40] = 0.0
    assert progress(overlaps, visible) == 30


def test_an_overlap_just_above_is_no_bad_frame():
    overlaps = np.full(30, 0.1)
    assert progress(overlaps, np.ones(30)) == 0
    overlaps[9::10] = 0.1000001
    assert progress(overlaps, np.ones(30)) == 30


def test_an_attempt_is_what_is_seen_in_the_frame():
    truth = np.array([[10.0, 10, 20, 20], [90, 90, 20, 20], [np.nan] * 4, [10, 10, 20, 20]])
    boxes = np.array([[0.0, 0, 1, 1], [90, 90, 10, 10], [10, 10, 20, 20], [10, 10, 20, 10]])
    found = vot.attempt(boxes, truth, [True, True, False, True], (100, 100))
    assert found.overlaps.tolist() == [1.0, 1.0, 0.0, 0.5]
    assert found.progress == 4
    assert not found.has_failed
    assert vot.attempt(boxes, truth, [True, True, False, True], (0, 0)).overlaps[1] == 0.25
    with pytest.raises(ValueError, match="prediction 2 is"):
        vot.attempt(truth, boxes, np.ones(4, bool), (0, 0))


def test_accuracy_and_robustness_have_different_weights():
    long, short = [failed([1.0] * 20), ended([0.5] * 80)], [failed([0.6] * 5)]  # 40 and 80; 25 frames
    accuracy, robustness = vot.accuracy_robustness([long, short])
    assert accuracy == pytest.approx((20 * 1.0 + 80 * 0.5 + 5 * 0.6) / 105)  # frames before failures
    assert robustness == pytest.approx((100 / 120 * 80 + 5 / 25 * 25) / (80 + 25))  # length of the sequence


def test_runs_that_failed_go_on_with_nothing_and_others_end():
    curve = vot.eao_curve([failed([1.0, 0.8, 0.4]), ended([1.0, 0.5, 0.5, 0.5])])
    assert curve[:3] == pytest.approx([(0.8 + 0.5) / 2, (1.2 / 2 + 0.5) / 2, (1.2 / 3 + 0.5) / 2])
    assert curve[3] == pytest.approx(1.2 / 4)  # 5 frames: the second run is too short
    assert curve[-1] == pytest.approx(1.2 / 22)
    assert len(curve) == 22  # the longest run has 23 frames: beyond it there are failures alone
    assert len(vot.eao_curve([ended([1.0, 0.5, 0.5])])) == 2


def test_eao_is_the_formula():
    """Against the words of the definition, run by run and length by length."""
    rng = np.random.default_rng(0)
    parts, runs = {}, []
    for name, frames, dx in (("a", 300, 0), ("b", 500, 900), ("c", 700, 0), ("d", 130, 0)):
        truth = walk(frames, seed=frames)
        boxes = truth + rng.normal(0, 4, truth.shape).clip(-9, 9)
        boxes[200:260, 0] += dx
        parts[name] = [tracked(f"{name}@0", truth, boxes)]
        runs.append(vot.attempt(boxes, truth, np.ones(frames), (0, 0)))
    assert [run.has_failed for run in runs] == [False, True, False, False]
    phi = []
    for length in range(115, 701):
        averages = []
        for run in runs:
            kept = run.overlaps[1 : min(length, run.progress)]
            if run.has_failed or length <= len(run.overlaps):
                averages.append(sum(kept) / (length - 1))
        phi.append(np.mean(averages))
    found = vot.score(parts)
    assert found.eao == pytest.approx(np.mean(phi))
    assert found.eao_range == (115, 700)


def test_short_runs_have_no_eao():
    found = vot.score({"a": [tracked("a@0", walk(114))]})
    assert found.eao is found.eao_range is None
    assert found.accuracy == 1.0
    assert vot.score({"a": [tracked("a@0", walk(115))]}).eao_range == (115, 115)
    assert not vot.score({"a": [tracked("a@0", walk(1))]}).eao_curve.size


def test_a_lost_target_costs_robustness_and_not_accuracy():
    truth = walk(120)
    found = vot.score({"a": [tracked("a@0", truth, shifted(truth, 900))]})
    assert found.accuracy == 1.0  # of the first frame, which is given
    assert found.robustness == 1 / 120
    assert found.eao == 0.0


def test_nothing_to_score():
    with pytest.raises(ValueError, match="no run from an anchor"):
        vot.score({})
