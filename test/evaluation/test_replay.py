"""Frames through the session, synchronously: the given box first, the same boxes every time."""

from __future__ import annotations

import numpy as np
import pytest
from stub_engine import StubEngine
from synthetic import moving_square

from distill_tracker_ros.core.config import TrackerConfig
from distill_tracker_ros.core.session import TargetError
from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.evaluation.metrics import score
from distill_tracker_ros.evaluation.replay import replay, steps


@pytest.fixture(scope="module")
def video() -> tuple[list[np.ndarray], np.ndarray]:
    frames, boxes = zip(*moving_square(frames=40), strict=True)
    return list(frames), np.array(boxes)


def test_a_square_is_followed(video: tuple[list[np.ndarray], np.ndarray]):
    frames, truth = video
    run = replay(StubEngine(), frames, truth[0])
    assert run.boxes_xywh.shape == truth.shape
    assert score(run.boxes_xywh, truth).success_auc > 0.8
    assert (run.step_ms > 0).all()
    assert len(run.step_ms) == len(frames)


def test_the_first_track_is_the_given_box(video: tuple[list[np.ndarray], np.ndarray]):
    frames, _ = video
    run = replay(StubEngine(), frames[:1], (10.5, 20.25, 30, 40))
    assert run.boxes_xywh.tolist() == [[10.5, 20.25, 30, 40]]


def test_every_run_gives_the_same_tracks(video: tuple[list[np.ndarray], np.ndarray]):
    frames, truth = video
    runs = [replay(StubEngine(), frames, truth[0]) for _ in range(2)]
    assert runs[0].boxes_xywh.tobytes() == runs[1].boxes_xywh.tobytes()
    for a, b in zip(runs[0].tracks, runs[1].tracks, strict=True):
        assert (a.confidence, a.state, a.stamp_ns) == (b.confidence, b.state, b.stamp_ns)


@pytest.mark.parametrize(
    "rate_hz, stamps_ns", [(30.0, [0, 33_333_333, 66_666_667]), (10.0, [0, 10**8, 2 * 10**8])]
)
def test_stamps_come_from_the_rate(
    video: tuple[list[np.ndarray], np.ndarray], rate_hz: float, stamps_ns: list[int]
):
    frames, truth = video
    run = replay(StubEngine(), frames[:3], truth[0], rate_hz)
    assert [track.stamp_ns for track in run.tracks] == stamps_ns


def test_the_rate_decides_when_a_target_is_lost():
    gone = range(10, 30)
    frames, truth = zip(*moving_square(frames=30, out_of_view=gone), strict=True)
    config = TrackerConfig(lost_after_ms=1000)
    slow = replay(StubEngine(), frames, truth[0], 10.0, config)
    fast = replay(StubEngine(), frames, truth[0], 100.0, config)
    assert slow.tracks[-1].state is TrackState.LOST
    assert fast.tracks[-1].state is TrackState.UNCERTAIN


def test_frames_are_taken_one_by_one(video: tuple[list[np.ndarray], np.ndarray]):
    """The caller owns the loop: nothing is read ahead."""
    frames, truth = video
    taken = []

    def reading():
        for number, frame in enumerate(frames):
            taken.append(number)
            yield frame

    for step in steps(StubEngine(), reading(), truth[0]):
        assert taken[-1] == step.index
        assert step.rgb is frames[step.index]
        if step.index == 5:
            break
    assert taken == list(range(6))


def test_a_box_outside_of_the_first_frame_is_refused(video: tuple[list[np.ndarray], np.ndarray]):
    frames, _ = video
    with pytest.raises(TargetError, match="lies outside the frame of 320x240"):
        replay(StubEngine(), frames, (900, 20, 30, 40))


def test_frames_that_change_their_shape_end_the_run(video: tuple[list[np.ndarray], np.ndarray]):
    frames, truth = video
    with pytest.raises(TargetError, match="frame 2: the frame changed from 320x240 to 240x240"):
        replay(StubEngine(), [*frames[:2], frames[2][:, :240].copy()], truth[0])


def test_no_frame_gives_no_track():
    run = replay(StubEngine(), [], (0, 0, 10, 10))
    assert run.tracks == []
    assert run.boxes_xywh.shape == (0, 4)
