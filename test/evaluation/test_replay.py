"""Frames through the session, synchronously: the given box first, the same boxes every time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from stub_engine import SPEC, StubEngine
from synthetic import moving_square

from distill_tracker_ros.core.config import BestInIntervalConfig, StoreConfig, TrackerConfig
from distill_tracker_ros.core.frame import ArrayFrame, Frame, Pixels
from distill_tracker_ros.core.session import TargetError
from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.evaluation.metrics import score
from distill_tracker_ros.evaluation.replay import SessionTracker, regular_stamps_ns, replay, steps
from distill_tracker_ros.evaluation.sequences import FrameError, Frames, Sequence, SequenceError


class Pictures(Frames):
    """Arrays; None is one that cannot be read."""

    def __init__(self, pictures: list[Pixels | None]) -> None:
        self.pictures, self.read = pictures, []

    def __len__(self) -> int:
        return len(self.pictures)

    def _read(self, index: int) -> Pixels:
        picture = self.pictures[index]
        if picture is None:
            raise SequenceError(f"picture {index} is damaged")
        self.read.append(index)
        return picture


def square(frames: int = 40, **options) -> Sequence:
    pictures, boxes = zip(*moving_square(frames=frames, **options), strict=True)
    return Sequence("square", Pictures(list(pictures)), np.array(boxes))


def tracker(**overrides) -> SessionTracker:
    return SessionTracker(StubEngine(**overrides))


def test_a_square_is_followed():
    sequence = square()
    tracked = replay(tracker(), sequence)
    assert tracked.boxes_xywh.shape == sequence.truth_xywh.shape
    assert score(tracked.boxes_xywh, sequence.truth_xywh).success_auc > 0.8
    assert tracked.frame_size == (320, 240)
    assert not tracked.broken


def test_the_parts_of_the_time_are_told():
    times = replay(tracker(), square(frames=5)).times
    assert (times.before_ms > 0).all() and (times.engine_ms > 0).all() and (times.after_ms > 0).all()
    assert times.step_ms == pytest.approx(times.before_ms + times.engine_ms + times.after_ms)


def test_the_first_track_is_the_given_box():
    assert replay(tracker(), square(frames=1), (10.5, 20.25, 30, 40)).boxes_xywh.tolist() == [
        [10.5, 20.25, 30, 40]
    ]


def test_every_run_gives_the_same_tracks():
    one = tracker()
    runs = [replay(one, square()) for _ in range(2)]  # nothing is left of the first in the second
    assert runs[0].boxes_xywh.tobytes() == runs[1].boxes_xywh.tobytes()
    assert runs[0].confidence.tobytes() == runs[1].confidence.tobytes()
    assert runs[0].states.tobytes() == runs[1].states.tobytes()


@pytest.mark.parametrize(
    "rate_hz, stamps_ns", [(30.0, [0, 33_333_333, 66_666_667]), (10.0, [0, 10**8, 2 * 10**8])]
)
def test_stamps_come_from_the_rate(rate_hz: float, stamps_ns: list[int]):
    assert replay(tracker(), square(frames=3), rate_hz=rate_hz).stamps_ns.tolist() == stamps_ns


def test_a_recording_has_stamps_of_its_own():
    sequence = square(frames=3)
    recorded = Sequence("bag", sequence.frames, sequence.truth_xywh, stamps_ns=np.array([5, 7, 10**9]))
    assert replay(tracker(), recorded, rate_hz=10.0).stamps_ns.tolist() == [5, 7, 10**9]


def test_the_rate_decides_when_a_target_is_lost():
    sequence = square(frames=30, out_of_view=range(10, 30))
    following = SessionTracker(StubEngine(), TrackerConfig(lost_after_ms=1000))
    assert replay(following, sequence, rate_hz=10.0).states[-1] == TrackState.LOST
    assert replay(following, sequence, rate_hz=100.0).states[-1] == TrackState.UNCERTAIN


def test_events_of_the_target_store_are_told():
    config = StoreConfig(interval_frames=10, min_gap_frames=4, capacity=3)
    events = replay(tracker(update=config), square(frames=22)).events
    assert len(events) == 22
    assert [i for i, event in enumerate(events) if "activation" in event] == [10, 20]
    views = [i for i, event in enumerate(events) if "view" in event]
    assert views[0] == 1 and (np.diff(views) == 4).all()
    assert SPEC.update != config  # the stub's own store would have other events


def test_events_of_the_best_in_interval_are_told():
    """Also of a view that is taken in the frame that ends its interval."""
    config = BestInIntervalConfig(interval_frames=5, decay=0.5)
    events = replay(tracker(update=config, embedding_size=0), square(frames=12)).events
    assert list(events) == [""] + [*["view"] * 4, "view+activation"] * 2 + ["view"]


def test_frames_are_taken_one_by_one():
    """The caller owns the loop: nothing is read ahead."""
    frames, taken = square().frames.pictures, []

    def reading() -> Iterator[Frame]:
        for number, frame in enumerate(frames):
            taken.append(number)
            yield ArrayFrame(frame)

    for index, _ in enumerate(steps(tracker(), reading(), square().truth_xywh[0], regular_stamps_ns(40, 30))):
        assert taken[-1] == index
        if index == 5:
            break
    assert taken == list(range(6))


def test_progress_is_told_after_every_frame():
    sequence, seen = square(frames=7), []
    replay(tracker(), sequence, after_frame=lambda: seen.append(len(sequence.frames.read)))
    assert seen == list(range(1, 8))


def test_without_a_first_box_there_is_nothing_to_track():
    sequence = square(frames=3)
    sequence.truth_xywh[0] = np.nan
    with pytest.raises(SequenceError, match="square has no true box in its first frame"):
        replay(tracker(), sequence)


def test_a_box_outside_of_the_first_frame_is_refused():
    with pytest.raises(TargetError, match="lies outside the frame of 320x240"):
        replay(tracker(), square(), (900, 20, 30, 40))


def test_a_frame_that_cannot_be_read_ends_the_sequence():
    sequence = square(frames=9)
    sequence.frames.pictures[6] = None
    tracked = replay(tracker(), sequence)
    assert len(tracked) == len(tracked.truth_xywh) == len(tracked.visible) == len(tracked.events) == 6
    assert tracked.broken == "frame 6: picture 6 is damaged"


def test_a_frame_that_cannot_be_used_is_left_out():
    """As the node does it; the row of such a frame is the one before, at its own time."""
    sequence, whole = square(), replay(tracker(), square())

    class SomeUnusable(Pictures):
        def view(self, index: int) -> Frame:
            if index in (5, 6, 20):
                raise FrameError(f"image {index} has a step of 3")
            return super().view(index)

    tracked = replay(tracker(), replace(sequence, frames=SomeUnusable(sequence.frames.pictures)))
    assert len(tracked) == len(whole)
    assert tracked.broken == "3 of 40 frames could not be used, the first is frame 5: image 5 has a step of 3"
    assert tracked.boxes_xywh[6].tolist() == tracked.boxes_xywh[4].tolist()
    assert (tracked.stamps_ns == whole.stamps_ns).all()
    assert score(tracked.boxes_xywh, sequence.truth_xywh).success_auc > 0.8


def test_a_first_frame_that_cannot_be_used_is_an_error():
    class Unusable(Pictures):
        def view(self, index: int) -> Frame:
            raise FrameError(f"image {index} has a step of 3")

    sequence = square(frames=3)
    with pytest.raises(FrameError, match="image 0 has a step of 3"):
        replay(tracker(), replace(sequence, frames=Unusable(sequence.frames.pictures)))


def test_frames_that_change_their_shape_end_the_sequence():
    sequence = square(frames=9)
    sequence.frames.pictures[2] = sequence.frames.pictures[2][:, :240].copy()
    assert replay(tracker(), sequence).broken.startswith("frame 2: the frame changed from 320x240 to 240x240")


def test_a_source_with_fewer_frames_than_it_says_is_broken():
    sequence = square(frames=9)
    short = Sequence("short", Pictures(sequence.frames.pictures[:4]), sequence.truth_xywh)
    short.frames.__class__ = type("Announced", (Pictures,), {"__len__": lambda self: 9})
    tracked = replay(tracker(), short)
    assert (len(tracked), tracked.broken) == (4, "the frames end after 4 of 9")


def test_a_frame_with_an_odd_stamp_is_left_out():
    """As the node does it: the track stays as it was, and the next frame goes on."""
    sequence = square(frames=8)
    stamps = regular_stamps_ns(8, 30.0)
    stamps[3] += 3600 * 10**9
    stamps[5] = stamps[2] + 1
    tracked = replay(tracker(), replace(sequence, stamps_ns=stamps))
    assert tracked.broken.startswith("2 of 8 frames could not be used, the first is frame 3: the stamp leaps")
    assert tracked.boxes_xywh[[3, 5]].tolist() == tracked.boxes_xywh[[2, 4]].tolist()
    assert len(np.unique(tracked.boxes_xywh, axis=0)) == 6
    assert (tracked.times.engine_ms[[3, 5]] == 0).all()
