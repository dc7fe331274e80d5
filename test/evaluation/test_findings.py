"""What is found out of single sequences and of runs beside their scores."""

from __future__ import annotations

import numpy as np
import pytest
from tracked import shifted, tracked, walk

from distill_tracker_ros.evaluation.report import findings
from distill_tracker_ros.evaluation.report.findings import Loss
from distill_tracker_ros.evaluation.report.results import Results, sequence_rows
from distill_tracker_ros.evaluation.runs import Run

AWAY = (500.0, 500.0, 0.0, 0.0)


def away(frames: slice, hidden: slice = slice(0, 0), name: str = "walk", **fields):
    """The boxes of some frames are far off, the target of some cannot be seen."""
    truth, boxes = walk(), walk()
    boxes[frames] += AWAY
    truth[hidden] = np.nan
    return tracked(name, truth, boxes, **fields)


def test_overlaps_are_unknown_where_the_target_is_hidden():
    found = findings.overlaps(away(slice(10, 20), hidden=slice(30, 35)))
    assert found[:10].tolist() == [1.0] * 10
    assert found[10:20].tolist() == [0.0] * 10
    assert np.flatnonzero(np.isnan(found)).tolist() == [*range(30, 35)]


@pytest.mark.parametrize(
    ("wrong", "loss"),
    [
        (slice(0), None),
        (slice(10, 19), None),  # nine frames
        (slice(10, 20), Loss(10, 20)),
        (slice(25, None), Loss(25, None)),
    ],
)
def test_a_loss_lasts_ten_frames(wrong: slice, loss: Loss | None):
    assert findings.first_loss(away(wrong)) == loss


def test_the_worst_frame_is_that_of_the_loss():
    assert findings.worst_frame(away(slice(25, None))) == 25
    assert findings.worst_frame(away(slice(13, 15))) == 13


def test_the_worst_frame_of_a_target_that_is_never_seen():
    assert findings.worst_frame(away(slice(0), hidden=slice(None))) == 0


def test_stretches():
    assert list(findings.stretches([1, 1, 0, 1, 0, 0, 1])) == [(0, 2), (3, 4), (6, 7)]
    assert list(findings.stretches([])) == []


def test_first_frames_are_left_out():
    run = Run("a", [away(slice(0), hidden=slice(5, 6), confidence=0.7), tracked("b", confidence=0.2)])
    confidence, overlap = findings.confidence_and_overlap(run)
    assert confidence.tolist() == [0.7] * 39 + [0.2] * 39
    assert np.flatnonzero(overlap != 1).tolist() == [4]
    times = findings.step_times(Run("a", [tracked(step_ms=[100.0] + [4.0] * 39)]))
    assert times.step_ms.tolist() == [4.0] * 39


def results(baseline: str = "") -> Results:
    """Ours loses "lost" and is better on "good"; only we have "own"."""
    ours = [away(slice(20, None), name="lost"), tracked("good"), tracked("own")]
    worse = shifted(walk(), 5)
    theirs = [tracked("lost"), tracked("good", boxes_xywh=worse), tracked("extra", boxes_xywh=worse)]
    return Results([Run("ours", ours), Run("theirs", theirs)], baseline=baseline)


def test_the_last_run_is_the_baseline():
    assert results().baseline == "theirs"
    assert Results([Run("only", [tracked()])]).baseline == ""


def test_rows_begin_with_the_greatest_loss():
    rows = sequence_rows(results())
    assert [(row.number, row.name, row.subject) for row in rows] == [
        (1, "lost", "ours"),
        (2, "good", "ours"),
        (3, "extra", "theirs"),
        (4, "own", "ours"),
    ]
    assert rows[0].lost == {"ours": 20, "theirs": None}
    assert rows[0].difference == pytest.approx(rows[0].aucs["ours"] - 20 / 21)
    assert rows[1].difference > 0
    assert rows[2].difference is None
    assert rows[3].aucs == {"ours": pytest.approx(20 / 21), "theirs": None}


def test_another_baseline_turns_the_signs():
    rows = sequence_rows(results("ours"))
    assert [row.name for row in rows[:2]] == ["good", "lost"]
    assert rows[0].difference == pytest.approx(-sequence_rows(results())[1].difference)


def test_rows_of_one_run_begin_with_the_lowest_score():
    run = Run("ours", [tracked("good"), away(slice(20, None), name="lost")])
    assert [row.name for row in sequence_rows(Results([run]))] == ["lost", "good"]


def test_runs_with_one_label_are_told_apart():
    assert Results([Run("a", [tracked()])] * 3).labels == ["a", "a (2)", "a (3)"]


def test_a_baseline_that_is_not_there():
    with pytest.raises(ValueError, match="no run 'x' to compare with: ours, theirs"):
        results("x")
    with pytest.raises(ValueError, match="at least one run"):
        Results([])
