"""Which box is at hand when, and what counts as late and as dropped."""

from __future__ import annotations

import numpy as np
import pytest

from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.evaluation.live import Report, at_hand, tracked_live
from distill_tracker_ros.evaluation.sequences import NoFrames, Sequence

GIVEN = (5.0, 6.0, 20.0, 20.0)
DUE = [10, 20, 30, 40, 50]  # frame n is sent at 10 n


def report(frame: int, arrived_ns: int, x: float | None = None, **changes: object) -> Report:
    """A box whose left edge is 100 times its frame."""
    box = np.array([100.0 * frame if x is None else x, 0, 10, 10])
    values = dict(box_xywh=box, confidence=0.5, state=TrackState.TRACKING, processing_ms=3.0)
    return Report(frame, arrived_ns, **values | changes)  # type: ignore[arg-type]


def lefts(*reports: Report) -> list[float]:
    return at_hand(GIVEN, DUE, reports).boxes_xywh[:, 0].tolist()


def test_in_time_each_frame_has_its_own_box() -> None:
    result = at_hand(GIVEN, DUE, [report(n, 10 * n + 4) for n in range(1, 5)])
    assert result.boxes_xywh[0].tolist() == list(GIVEN)
    assert result.boxes_xywh[:, 0].tolist() == [5, 100, 200, 300, 400]
    assert (result.late, result.dropped) == (0, 0)
    assert np.isnan(result.processing_ms[0]) and result.processing_ms[1:].tolist() == [3.0] * 4


def test_without_any_report_the_given_box_is_repeated() -> None:
    result = at_hand(GIVEN, DUE, [])
    assert result.boxes_xywh.tolist() == [list(GIVEN)] * 5
    assert (result.late, result.dropped) == (0, 4)
    assert np.isnan(result.processing_ms).all()
    assert set(result.states) == {TrackState.TRACKING}


def test_the_order_in_which_reports_are_given_does_not_matter() -> None:
    reports = [report(n, 10 * n + 4) for n in range(1, 5)]
    assert lefts(*reversed(reports)) == lefts(*reports)


def test_a_dropped_frame_repeats_the_box_before() -> None:
    result = at_hand(GIVEN, DUE, [report(1, 14), report(4, 44)])
    assert result.boxes_xywh[:, 0].tolist() == [5, 100, 100, 100, 400]
    assert (result.late, result.dropped) == (0, 2)


def test_a_late_box_counts_for_the_frame_that_is_there_by_then() -> None:
    """Frame 1 is told of when frame 2 has been sent; frame 2 is dropped meanwhile."""
    result = at_hand(GIVEN, DUE, [report(1, 25), report(3, 38), report(4, 47)])
    assert result.boxes_xywh[:, 0].tolist() == [5, 5, 100, 300, 400]
    assert (result.late, result.dropped) == (1, 1)


@pytest.mark.parametrize(("arrived_ns", "late"), [(19, 0), (20, 1), (21, 1)])
def test_what_comes_when_the_next_frame_is_sent_is_late(arrived_ns: int, late: int) -> None:
    result = at_hand(GIVEN, DUE, [report(1, arrived_ns)])
    assert result.late == late
    assert result.boxes_xywh[1, 0] == (5 if late else 100)


def test_of_several_boxes_the_newest_counts() -> None:
    assert lefts(report(1, 26), report(2, 28)) == [5, 5, 200, 200, 200]


def test_a_box_after_the_end_is_late_and_counts_nowhere() -> None:
    result = at_hand(GIVEN, DUE, [report(n, 10 * n + 1) for n in (1, 2, 3)] + [report(4, 60)])
    assert result.boxes_xywh[:, 0].tolist() == [5, 100, 200, 300, 300]
    assert (result.late, result.dropped) == (1, 0)


def test_reports_on_the_first_frame_do_not_count() -> None:
    assert lefts(report(0, 3, x=77.0), report(1, 14)) == [5, 100, 100, 100, 100]


def test_the_first_frame_waits_as_long_as_setting_the_target_takes() -> None:
    result = at_hand(GIVEN, [1000, 1010], [report(1, 1004)])
    assert result.boxes_xywh[:, 0].tolist() == [5, 100]


def test_a_tracker_without_the_target_leaves_the_last_box() -> None:
    gone = report(2, 24, box_xywh=None, confidence=0.0, state=TrackState.LOST)
    result = at_hand(GIVEN, DUE, [report(1, 14), gone])
    assert result.boxes_xywh[:, 0].tolist() == [5, 100, 100, 100, 100]
    assert result.states.tolist() == [1, 1, 3, 3, 3]
    assert result.confidence.tolist() == [1.0, 0.5, 0.0, 0.0, 0.0]
    assert result.dropped == 2


def test_the_result_is_a_tracked_sequence() -> None:
    truth = np.tile(GIVEN, (5, 1))
    truth[3] = np.nan
    sequence = Sequence("boat", NoFrames(5, "no images"), truth, 25.0, broken="cut off")
    result = at_hand(GIVEN, DUE, [report(1, 14), report(2, 24)])
    tracked = tracked_live(sequence, [7, 8, 9, 10, 11], result, (320, 240))
    assert len(tracked) == 5
    assert tracked.visible.tolist() == [True, True, True, False, True]
    assert tracked.stamps_ns.tolist() == [7, 8, 9, 10, 11]
    assert (tracked.name, tracked.rate_hz, tracked.frame_size) == ("boat", 25.0, (320, 240))
    assert tracked.broken == "cut off"
    np.testing.assert_array_equal(tracked.times.step_ms, [np.nan, 3.0, 3.0, np.nan, np.nan])
