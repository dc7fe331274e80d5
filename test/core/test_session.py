"""All targets of one camera: set, replaced, cleared, carried over, refused; and the late designation."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import cv2
import numpy as np
import pytest
from stub_engine import StubEngine
from synthetic import BLUE, RED, background, draw_square, moving_square

from distill_tracker_ros.core import boxes
from distill_tracker_ros.core.config import SessionConfig, StoreConfig, TrackerConfig
from distill_tracker_ros.core.frame import ArrayFrame
from distill_tracker_ros.core.session import Session, TargetError
from distill_tracker_ros.core.tracker import Track, TrackState

STEP_NS = 40_000_000
BOX = (100.0, 80.0, 24.0, 24.0)


def frame(width: int = 320, height: int = 240) -> ArrayFrame:
    """A frame with a red square in BOX."""
    rgb = background(width, height)
    draw_square(rgb, np.array(BOX), RED)
    return ArrayFrame(rgb)


def resized(source: np.ndarray, width: int, height: int) -> ArrayFrame:
    return ArrayFrame(cv2.resize(source, (width, height), interpolation=cv2.INTER_NEAREST))


def same(a: Track, b: Track) -> bool:
    """Whether two tracks are equal to the last bit."""
    box = a.box_xywh.tobytes() == b.box_xywh.tobytes()
    return box and replace(a, box_xywh=None) == replace(b, box_xywh=None)  # type: ignore[arg-type]


def test_several_targets_share_one_search_call_per_frame() -> None:
    engine = StubEngine()
    session = Session(engine)
    red = moving_square(40)
    blue = moving_square(40, colour=BLUE, path=lambda n: (60 + 4 * n, 40))
    for n, ((rgb, red_box), (_, blue_box)) in enumerate(zip(red, blue, strict=True)):
        draw_square(rgb, blue_box, BLUE)
        if n == 0:
            assert session.set_target(ArrayFrame(rgb), red_box, 0, label="car") == "1"
            assert session.set_target(ArrayFrame(rgb), blue_box, 0, id="drone") == "drone"
        else:
            tracks = session.update(ArrayFrame(rgb), n * STEP_NS)
            assert list(tracks) == ["1", "drone"]
            assert boxes.iou(tracks["1"].box_xywh, red_box) > 0.85
            assert boxes.iou(tracks["drone"].box_xywh, blue_box) > 0.85
    assert engine.search_batches == [2] * 39
    assert [(t.id, t.label) for t in session.targets] == [("1", "car"), ("drone", "")]


def test_without_targets_the_engine_rests() -> None:
    engine = StubEngine()
    assert Session(engine).update(frame(), 0) == {} and engine.search_calls == 0


def test_a_known_id_is_replaced_in_its_place() -> None:
    session = Session(StubEngine(), config=SessionConfig(max_targets=2))
    session.set_target(frame(), BOX, 0, id="a", label="old")
    session.set_target(frame(), BOX, 0, id="b")
    session.set_target(frame(), (10, 10, 30, 30), 0, id="a", label="new")
    assert [(t.id, t.label) for t in session.targets] == [("a", "new"), ("b", "")]
    assert session.tracks["a"].box_xywh.tolist() == [10, 10, 30, 30] and len(session) == 2


def test_chosen_ids_avoid_those_in_use() -> None:
    session = Session(StubEngine())
    session.set_target(frame(), BOX, 0, id="1")
    assert session.set_target(frame(), BOX, 0) == "2"
    session.clear_target("2")
    assert session.set_target(frame(), BOX, 0) == "3"  # an id is not used again for another target


def test_clearing_one_all_none_and_an_unknown() -> None:
    session = Session(StubEngine())
    for id in ("a", "b", "c"):
        session.set_target(frame(), BOX, 0, id=id)
    assert session.clear_target("b") == 1 and list(session.tracks) == ["a", "c"]
    with pytest.raises(TargetError, match=r"no target has the id 'b'; tracked are \['a', 'c'\]"):
        session.clear_target("b")
    assert session.clear_target() == 2 and session.clear_target() == 0
    assert session.targets == [] and session.tracks == {}


def test_too_many_targets_are_refused_and_those_tracked_stay() -> None:
    session = Session(StubEngine(), config=SessionConfig(max_targets=2))
    for id in ("a", "b"):
        session.set_target(frame(), BOX, 0, id=id)
    with pytest.raises(TargetError, match=r"2 targets are tracked already \(max_targets = 2\)"):
        session.set_target(frame(), BOX, 0)
    assert list(session.tracks) == ["a", "b"]


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((np.nan, 0, 20, 20), "left=nan .*every number must be finite"),
        ((0, 0, np.inf, 20), "width=inf .*every number must be finite"),
        ((10, 10, 0, 20), "width=0 .*at least 4 px"),
        ((10, 10, 20, -20), "height=-20: .*at least 4 px"),
        ((10, 10, 3.9, 20), "width=3.9 .*at least 4 px"),
        ((-50, 10, 40, 40), "left=-50 .*outside the frame of 320x240"),
        ((-37, 10, 40, 40), "outside the frame of 320x240: at least 4 px of each side must be inside"),
        ((320, 240, 40, 40), "outside the frame of 320x240"),
    ],
)
def test_a_box_that_cannot_be_a_target_is_refused_by_name(box: tuple[float, ...], reason: str) -> None:
    session = Session(StubEngine())
    session.set_target(frame(), BOX, 0, id="kept")
    with pytest.raises(TargetError, match=reason):
        session.set_target(frame(), box, 0, id="kept")
    assert session.tracks["kept"].box_xywh.tolist() == list(BOX)


def test_of_a_box_that_reaches_outside_the_inside_is_tracked() -> None:
    session = Session(StubEngine())
    session.set_target(frame(), (-10, 220, 40, 40), 0, id="a")
    assert session.tracks["a"].box_xywh.tolist() == [0, 220, 30, 20]


def test_another_resolution_rescales_and_says_so() -> None:
    session = Session(StubEngine())
    video = list(moving_square(30))
    session.set_target(ArrayFrame(video[0][0]), video[0][1], 0)
    for n, (rgb, true) in enumerate(video[1:], start=1):
        large = n >= 15
        current = resized(rgb, 640, 480) if large else ArrayFrame(rgb)
        track = session.update(current, n * STEP_NS)["1"]
        assert track.state is TrackState.TRACKING
        assert boxes.iou(track.box_xywh, true * 2 if large else true) > 0.85
    assert session.notice == "the frame changed from 320x240 to 640x480: boxes were rescaled"


def test_another_aspect_drops_the_targets_and_says_so() -> None:
    session = Session(StubEngine())
    session.set_target(frame(), BOX, 0)
    session.update(frame(), STEP_NS)
    assert session.update(frame(320, 180), 2 * STEP_NS) == {}
    assert session.notice == "the frame changed from 320x240 to 320x180, another aspect: 1 target(s) dropped"


@pytest.mark.parametrize(
    ("old", "new"), [((853, 480), (427, 240)), ((427, 240), (853, 480)), ((241, 135), (1927, 1081))]
)
def test_an_aspect_that_differs_by_the_rounding_of_a_pixel_is_the_same(
    old: tuple[int, int], new: tuple[int, int]
) -> None:
    session = Session(StubEngine())
    session.set_target(frame(*old), BOX, 0)
    assert list(session.update(frame(*new), STEP_NS)) == ["1"]


def test_time_that_goes_back_drops_the_targets_and_says_so() -> None:
    session = Session(StubEngine())
    session.set_target(frame(), BOX, 10 * STEP_NS)
    session.update(frame(), 11 * STEP_NS)
    assert session.update(frame(), 11 * STEP_NS)["1"].age_frames == 2  # the same stamp again is no jump
    assert session.update(frame(), STEP_NS) == {}
    assert session.notice == "time went back by 0.400 s: 1 target(s) dropped"
    # It goes on from there.
    session.set_target(frame(), BOX, STEP_NS)
    assert session.update(frame(), 2 * STEP_NS)["2"].state is TrackState.TRACKING


def test_without_targets_nothing_is_noticed() -> None:
    session = Session(StubEngine())
    for size, stamp_ns in (((320, 240), 5), ((320, 180), 3), ((640, 360), 1)):
        session.update(frame(*size), stamp_ns)
    assert session.notice == ""


# Late designation: the box was drawn on an old frame.


@pytest.mark.parametrize("delay", [1, 12, 29])
@pytest.mark.parametrize("others", [0, 1])
def test_a_late_designation_equals_one_in_time(delay: int, others: int) -> None:
    video = [(ArrayFrame(rgb), box) for rgb, box in moving_square(60, out_of_view=range(15, 20))]
    in_time, late = Session(StubEngine()), Session(StubEngine())
    for session in (in_time, late):
        for other in range(others):
            session.set_target(video[0][0], (200, 20, 30, 30), 0, id=f"other {other}")
    in_time.set_target(*video[0], 0, id="a")
    for n in range(1, 60):
        if n == delay + 1:
            history = [(video[k][0], k * STEP_NS) for k in range(1, n)]
            late.set_target(*video[0], 0, id="a", later=history)
            assert same(late.tracks["a"], in_time.tracks["a"])
        expected = in_time.update(video[n][0], n * STEP_NS)
        found = late.update(video[n][0], n * STEP_NS)
        if n > delay:
            assert same(found["a"], expected["a"])
    assert boxes.iou(in_time.tracks["a"].box_xywh, video[-1][1]) > 0.9


def test_a_late_designation_survives_a_change_of_resolution() -> None:
    """Bug: the box stayed in the pixels of the old frame."""
    video = list(moving_square(30))
    frames = [resized(rgb, 640, 480) if n >= 10 else ArrayFrame(rgb) for n, (rgb, _) in enumerate(video)]
    for with_other in (False, True):
        session = Session(StubEngine())
        if with_other:  # so that the session knows the new size already
            session.set_target(frames[0], (200, 20, 30, 30), 0, id="other")
            for n in range(1, 20):
                session.update(frames[n], n * STEP_NS)
        session.set_target(
            frames[0], video[0][1], 0, id="a", later=[(frames[n], n * STEP_NS) for n in range(1, 20)]
        )
        assert boxes.iou(session.tracks["a"].box_xywh, video[19][1] * 2) > 0.85
        for n in range(20, 30):
            track = session.update(frames[n], n * STEP_NS)["a"]
            assert boxes.iou(track.box_xywh, video[n][1] * 2) > 0.85


def test_a_target_set_on_an_old_smaller_frame_fits_the_next_larger_one() -> None:
    """Bug: only a change since the session's last frame was seen, not one since the target's own."""
    video = list(moving_square(3))
    session = Session(StubEngine())
    session.set_target(resized(video[0][0], 640, 480), (400, 40, 60, 60), 0, id="other")
    session.update(resized(video[1][0], 640, 480), STEP_NS)
    session.set_target(ArrayFrame(video[0][0]), video[0][1], 0, id="a")
    track = session.update(resized(video[2][0], 640, 480), 2 * STEP_NS)["a"]
    assert boxes.iou(track.box_xywh, video[2][1] * 2) > 0.85


@pytest.mark.parametrize(
    ("later", "reason"),
    [
        ([(frame(320, 180), STEP_NS)], "changed from 320x240 to 320x180, another aspect"),
        ([(frame(), 3 * STEP_NS), (frame(), STEP_NS)], "time went back by 0.080 s"),
    ],
)
def test_a_history_that_does_not_hang_together_is_refused(
    later: list[tuple[ArrayFrame, int]], reason: str
) -> None:
    session = Session(StubEngine())
    with pytest.raises(TargetError, match=reason):
        session.set_target(frame(), BOX, 0, later=later)
    assert len(session) == 0


def test_numbers_can_be_changed_while_tracking() -> None:
    session = Session(StubEngine())
    session.set_target(frame(), BOX, 0, id="a")
    session.configure(TrackerConfig(lost_threshold=0.99))
    session.set_target(frame(), BOX, 0, id="b")
    tracks = session.update(frame(), STEP_NS)
    assert [t.state for t in tracks.values()] == [TrackState.UNCERTAIN] * 2


def test_memory_does_not_grow_with_the_number_of_frames() -> None:
    """X-10: after the store is full, 200 frames and refreshes later, no more is held than before."""
    store = StoreConfig(capacity=4, min_gap_frames=1, interval_frames=5)
    session = Session(StubEngine(update=store))
    video = [(ArrayFrame(rgb), box) for rgb, box in moving_square(100, out_of_view=range(40, 80))]
    session.set_target(*video[0], 0)
    session.engine.search_batches = type("Nothing", (list,), {"append": lambda *_: None})()
    held = []
    tracemalloc.start()
    for n in range(1, 501):
        session.update(video[n % 100][0], n * STEP_NS)
        if n in (300, 500):
            held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[1] - held[0] < 20_000  # one view alone has 12 kB


def test_a_target_is_found_by_its_id_and_the_primary_one_without() -> None:
    session = Session(StubEngine())
    with pytest.raises(TargetError, match="^there is no target$"):
        session.target()
    for id in ("b", "a"):
        session.set_target(frame(), BOX, 0, id=id, label=id.upper())
    assert session.target() == session.target("b") == session.targets[0]
    assert session.target("a").label == "A"
    with pytest.raises(TargetError, match=r"^no target has the id 'c'; tracked are \['a', 'b'\]$"):
        session.target("c")


def test_an_id_of_any_length_is_answered_with_a_sentence() -> None:
    with pytest.raises(TargetError, match=r"^no target has the id 'x{76}\.\.\.; tracked are \[\]$"):
        Session(StubEngine()).clear_target("x" * 100_000)
