"""The demo's numbers and files, from recordings made by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.demo.pictures import draw_plot, draw_video
from distill_tracker_ros.demo.recording import COLUMNS, Recording, Report, summary, write_csv
from distill_tracker_ros.evaluation.sequences import VideoFrames

KEYS = [
    "frames",
    "detections",
    "success_auc",
    "precision_20px",
    "latency_ms_median",
    "latency_ms_p95",
    "processing_ms_median",
    "fps",
    "dropped",
    "model",
    "backend",
]
PERIOD_NS = 40_000_000  # 25 frames a second
GIVEN = np.array([10.0, 20, 30, 40])


def report(x: float, state: TrackState = TrackState.TRACKING, latency_ms: float = 8.0) -> Report:
    box = np.array([x, 20, 30, 40])
    return Report(box, 0.9, state, state is not TrackState.LOST, latency_ms, 5.0)


def recording(*reports: Report | None, pause_ns: int = 10**9) -> Recording:
    """A frame with the given box, then one for each report; None = dropped."""
    stamps = [7 * 10**9, *(7 * 10**9 + pause_ns + i * PERIOD_NS for i in range(len(reports)))]
    by_stamp = {stamp: r for stamp, r in zip(stamps[1:], reports, strict=True) if r}
    return Recording(stamps, GIVEN, by_stamp, "tiny", "onnxruntime")


def test_the_summary_has_these_keys():
    assert list(summary(recording(report(10)), None)) == KEYS


def test_without_truth_there_is_no_score():
    numbers = summary(recording(report(10)), None)
    assert numbers["success_auc"] is None
    assert numbers["precision_20px"] is None


def test_a_dropped_frame_has_the_box_of_the_one_before():
    run = recording(report(11), None, None, report(14))
    assert run.boxes_xywh[:, 0].tolist() == [10, 11, 11, 11, 14]
    numbers = summary(
        run, np.tile(GIVEN, (5, 1)) + [[0, 0, 0, 0], [1, 0, 0, 0], [100, 0, 0, 0], *[[1, 0, 0, 0]] * 2]
    )
    assert numbers["dropped"] == 2
    assert numbers["frames"] == 5
    assert numbers["precision_20px"] == 4 / 5  # the target was elsewhere at the first dropped frame


def test_lost_targets_are_not_detected_but_have_their_last_box():
    run = recording(report(11), report(11, TrackState.LOST), report(11, TrackState.UNCERTAIN))
    assert summary(run, None)["detections"] == 2
    assert run.boxes_xywh[2, 0] == 11


def test_times_are_those_of_the_frames_after_the_pause():
    numbers = summary(recording(*[report(10, latency_ms=n) for n in (1.0, 2.0, 3.0, 4.0, 90.0)]), None)
    assert numbers["latency_ms_median"] == 3.0
    assert numbers["latency_ms_p95"] == pytest.approx(np.quantile([1, 2, 3, 4, 90], 0.95))
    assert numbers["processing_ms_median"] == 5.0
    assert numbers["fps"] == pytest.approx(25.0)


def test_dropped_frames_lower_the_rate():
    numbers = summary(recording(report(10), None, report(10), None, report(10)), None)
    assert numbers["fps"] == pytest.approx(12.5)


def test_seconds_leave_the_pause_out():
    np.testing.assert_allclose(recording(*[report(10)] * 3).seconds, [0, 0.04, 0.08, 0.12], atol=1e-9)


@pytest.mark.parametrize("reports", [(), (report(10, latency_ms=np.nan),), (None, None)])
def test_a_run_with_next_to_nothing_has_no_speed(reports: tuple[Report | None, ...]):
    numbers = summary(recording(*reports), None)
    assert numbers["latency_ms_median"] is None
    assert numbers["fps"] is None
    assert numbers["frames"] == len(reports) + 1


def test_the_csv_has_a_row_for_each_frame(tmp_path: Path):
    path = tmp_path / "detections.csv"
    write_csv(path, recording(report(11.25), None, report(12, TrackState.LOST)))
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["state"] for row in rows] == ["GIVEN", "TRACKING", "DROPPED", "LOST"]
    assert [row["x"] for row in rows] == ["10.000", "11.250", "11.250", "12.000"]
    assert rows[2]["latency_ms"] == ""
    assert rows[1]["stamp_ns"] == "8000000000"


def test_video_and_plot_are_drawn(tmp_path: Path):
    run = recording(report(11), None, report(12, TrackState.LOST))
    truth = np.tile(GIVEN, (4, 1))
    frames = [np.full((96, 128, 3), 50 * i, np.uint8) for i in range(4)]
    draw_video(tmp_path / "v.mp4", [*frames, frames[0]], run, truth, 25.0)  # one frame more than was sent
    drawn = list(VideoFrames(tmp_path / "v.mp4"))
    assert len(drawn) == 4
    assert all(np.ptp(frame) > 60 for frame in drawn)
    for name, boxes in (("with.png", truth), ("without.png", None)):
        draw_plot(tmp_path / name, run, boxes, "test")
        assert cv2.imread(str(tmp_path / name)) is not None
