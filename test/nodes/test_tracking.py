"""The live session: what is processed, dropped and refused; late targets that catch up. No ROS graph."""

from __future__ import annotations

import array
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from stub_engine import StubEngine
from synthetic import BLUE, moving_square
from waiting import DEADLINE_S, wait_until

from distill_tracker_ros.core.boxes import iou
from distill_tracker_ros.core.config import SessionConfig, TrackerConfig
from distill_tracker_ros.core.engine import SearchOutput, State
from distill_tracker_ros.core.session import NotNowError, Session, TargetError
from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.messages import MessageFrame
from distill_tracker_ros.nodes import supervisor
from distill_tracker_ros.nodes.history import HistoryConfig
from distill_tracker_ros.nodes.options import Options
from distill_tracker_ros.nodes.supervisor import MOST_HUNG, OutOfEngines, Supervisor
from distill_tracker_ros.nodes.tracking import Arrival, Outcome, Tracking, answer
from distill_tracker_ros.nodes.watchdog import WatchdogConfig
from distill_tracker_ros.runtime.load import Loaded

PERIOD_NS = 1_000_000_000  # so long that no machine is too slow to catch up with every image
START_NS = 1_000_000_000_000
Clip = list[tuple[NDArray[np.uint8], NDArray[np.float64]]]


class SlowEngine(StubEngine):
    """Waits before every search until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()

    def search(self, search: NDArray[np.uint8], states: Sequence[State]) -> SearchOutput:
        self.waiting.set()
        assert self.gate.wait(DEADLINE_S)
        return super().search(search, states)


class FailingEngine(StubEngine):
    failing = False

    def search(self, search: NDArray[np.uint8], states: Sequence[State]) -> SearchOutput:
        if self.failing:
            raise RuntimeError("device lost")
        return super().search(search, states)


class Rig:
    """A `Tracking` with a list of what it reports."""

    def __init__(self, engine: StubEngine, options: Options) -> None:
        self.engine, self.options = engine, options
        self.outcomes: list[Outcome] = []
        self.failures: list[str] = []
        self.tracking = Tracking(
            engine, lambda: self.options, self.outcomes.append, lambda text, error: self.failures.append(text)
        )

    def send(self, rgb: NDArray[np.uint8], number: float, **changes: Any) -> Outcome:
        """Hand in one image and wait for its outcome."""
        count = len(self.outcomes)
        self.tracking.arrive(arrival(rgb, number, **changes))
        wait_until(lambda: len(self.outcomes) > count, "an outcome")
        return self.outcomes[-1]

    def set_target(self, box_xywh: Any, number: int | None = None, id: str = "", label: str = "") -> str:
        stamp_ns = 0 if number is None else stamp(number)
        return answer(self.tracking.set_target(box_xywh, stamp_ns, id, label), DEADLINE_S)

    def clear_target(self, id: str = "") -> int:
        return answer(self.tracking.clear_target(id), DEADLINE_S)


def stamp(number: float) -> int:
    return START_NS + round(number * PERIOD_NS)


def image(rgb: NDArray[np.uint8], **changes: Any) -> SimpleNamespace:
    height, width = rgb.shape[:2]
    data = array.array("B", np.ascontiguousarray(rgb).tobytes())
    header = SimpleNamespace(frame_id="camera")
    msg = SimpleNamespace(
        header=header, width=width, height=height, encoding="rgb8", step=3 * width, data=data
    )
    vars(msg).update(changes)
    return msg


def arrival(rgb: NDArray[np.uint8], number: float, **changes: Any) -> Arrival:
    return Arrival(image(rgb, **changes), stamp(number))


@pytest.fixture(scope="module")
def clip() -> Clip:
    return list(moving_square(30))


@pytest.fixture
def make_rig() -> Iterator[Any]:
    rigs: list[Rig] = []

    def make(engine: StubEngine | None = None, **options: Any) -> Rig:
        rigs.append(Rig(engine or StubEngine(), replace(Options(), **options)))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.tracking.stop()


def boxes_of(outcomes: list[Outcome]) -> list[list[float]]:
    return [f.track.box_xywh.tolist() for outcome in outcomes for f in outcome.targets]


def offline(clip: Clip, start: int) -> list[list[float]]:
    """The boxes of a session that is set on frame `start` and sees every later one."""
    session = Session(StubEngine())
    frames = [MessageFrame(image(rgb)) for rgb, _ in clip]
    session.set_target(frames[start], clip[start][1], stamp(start))
    return [
        session.update(frame, stamp(n))["1"].box_xywh.tolist()
        for n, frame in enumerate(frames[start + 1 :], start=start + 1)
    ]


def test_live_boxes_are_those_of_the_session(make_rig: Any, clip: Clip) -> None:
    rig = make_rig()
    rig.send(clip[0][0], 0)
    assert rig.set_target(clip[0][1], label="red") == "1"
    for number, (rgb, _) in enumerate(clip[1:], start=1):
        outcome = rig.send(rgb, number)
        assert outcome.engine_ns <= outcome.processing_ns
    assert boxes_of(rig.outcomes) == offline(clip, 0)
    (followed,) = rig.outcomes[-1].targets
    assert (followed.target.id, followed.target.label, followed.lost_frames) == ("1", "red", 0)


class TestLateTargets:
    def test_a_late_target_ends_where_an_early_one_does(self, make_rig: Any, clip: Clip) -> None:
        """Set on frame 5 after frame 24: from 25 on the boxes are those of a session that was there."""
        rig = make_rig(history=HistoryConfig(seconds=60.0))
        for number, (rgb, _) in enumerate(clip[:25]):
            rig.send(rgb, number)
        rig.set_target(clip[5][1], 5)
        assert rig.engine.search_calls == 19
        after = [rig.send(rgb, number) for number, (rgb, _) in enumerate(clip[25:], start=25)]
        assert boxes_of(after) == offline(clip, 5)[-5:]
        assert [outcome.targets[0].track.age_frames for outcome in after] == [20, 21, 22, 23, 24]

    def test_images_that_were_dropped_can_be_started_on_and_are_caught_up(
        self, make_rig: Any, clip: Clip
    ) -> None:
        """The operator saw them all, also those that the tracker had no time for."""
        engine = SlowEngine()
        rig = make_rig(engine, history=HistoryConfig(seconds=60.0))
        rig.send(clip[0][0], 0)
        rig.set_target([200, 150, 20, 20])
        engine.gate.clear()
        engine.waiting.clear()
        for number in range(1, 11):  # 1 is being worked on, 2 to 9 are replaced, 10 waits
            rig.tracking.arrive(arrival(clip[number][0], number))
            assert engine.waiting.wait(DEADLINE_S)
        engine.gate.set()
        wait_until(lambda: len(rig.outcomes) == 3, "frame 10")
        assert rig.tracking.counts.dropped == 8
        rig.clear_target()
        rig.set_target(clip[3][1], 3)
        assert boxes_of([rig.send(clip[11][0], 11)]) == [offline(clip[:12], 3)[-1]]

    def test_a_slow_engine_skips_images_and_does_not_stall(self, make_rig: Any, clip: Clip) -> None:
        """30 images within 29 ms of stamps: no engine keeps up with that, so it must not try to."""
        rig = make_rig(history=HistoryConfig(seconds=60.0))
        for number, (rgb, _) in enumerate(clip):
            count = len(rig.outcomes)
            rig.tracking.arrive(Arrival(image(rgb), START_NS + number * 1_000_000))
            wait_until(lambda n=count: len(rig.outcomes) > n, "an outcome")
        answer(rig.tracking.set_target(clip[0][1], START_NS, "", ""), DEADLINE_S)
        assert rig.engine.search_calls < 29

    def test_the_newest_image_needs_no_catching_up(self, make_rig: Any, clip: Clip) -> None:
        rig = make_rig()
        for number in range(3):
            rig.send(clip[number][0], number)
        rig.set_target(clip[2][1])
        assert rig.engine.search_calls == 0 and rig.engine.template_calls == 1

    def test_too_old(self, make_rig: Any, clip: Clip) -> None:
        rig = make_rig(history=HistoryConfig(seconds=5.0))
        for number in range(10):
            rig.send(clip[number][0], number)
        with pytest.raises(TargetError, match="1002.000000000 is older .* 1004.000000000 to 1009.000000000"):
            rig.set_target(clip[2][1], 2)

    def test_images_of_another_size_are_forgotten(self, make_rig: Any, clip: Clip) -> None:
        rig = make_rig()
        rig.send(clip[0][0], 0)
        rig.send(clip[1][0], 1)
        rig.send(clip[2][0][::2, ::2], 2)
        with pytest.raises(TargetError, match="older"):
            rig.set_target(clip[0][1], 0)
        rig.set_target(clip[2][1] / 2, 2)

    def test_an_unusable_image_cannot_be_started_on_and_is_skipped(self, make_rig: Any, clip: Clip) -> None:
        rig = make_rig(history=HistoryConfig(seconds=60.0))
        for number in range(10):
            rig.send(clip[number][0], number, **({"encoding": "mono16"} if number == 5 else {}))
        with pytest.raises(TargetError, match="of that stamp cannot be used: encoding 'mono16'"):
            rig.set_target(clip[5][1], 5)
        rig.set_target(clip[2][1], 2)
        assert rig.engine.search_calls == 6


class TestRefusals:
    def test_no_image_yet(self, make_rig: Any) -> None:
        with pytest.raises(TargetError, match="no image has been tracked on yet"):
            make_rig().set_target([10, 10, 20, 20])

    def test_the_session_s_own(self, make_rig: Any, clip: Clip) -> None:
        rig = make_rig(session=SessionConfig(max_targets=1))
        rig.send(clip[0][0], 0)
        rig.set_target(clip[0][1], id="a")
        with pytest.raises(TargetError, match="max_targets = 1"):
            rig.set_target(clip[0][1], id="b")
        with pytest.raises(TargetError, match="lies outside the frame of 320x240"):
            rig.set_target([400, 10, 20, 20], id="a")
        with pytest.raises(TargetError, match="no target has the id 'b'"):
            rig.clear_target("b")
        assert [f.target.id for f in rig.send(clip[1][0], 1).targets] == ["a"]
        assert rig.clear_target("a") == 1 and rig.clear_target() == 0

    def test_a_busy_tracker_is_said_and_the_call_withdrawn(self, make_rig: Any, clip: Clip) -> None:
        engine = SlowEngine()
        rig = make_rig(engine)
        rig.send(clip[0][0], 0)
        rig.set_target(clip[0][1])
        engine.gate.clear()
        engine.waiting.clear()
        rig.tracking.arrive(arrival(clip[1][0], 1))
        assert engine.waiting.wait(DEADLINE_S)
        with pytest.raises(TargetError, match="busy for 0.05 s: nothing was changed"):
            answer(rig.tracking.set_target(clip[0][1], 0, "late", ""), 0.05)
        engine.gate.set()
        assert [f.target.id for f in rig.send(clip[2][0], 2).targets] == ["1"]

    def test_a_stopped_tracker_is_said(self, make_rig: Any) -> None:
        rig = make_rig()
        rig.tracking.stop()
        with pytest.raises(NotNowError, match="tracking ended"):
            rig.set_target([1, 1, 20, 20])


class TestImages:
    def test_every_image_is_accounted_for(self, make_rig: Any, clip: Clip) -> None:
        engine = SlowEngine()
        rig = make_rig(engine)
        rig.send(clip[0][0], 0)
        rig.set_target(clip[0][1])
        engine.gate.clear()
        for number in range(1, 8):
            rig.tracking.arrive(arrival(clip[number][0], number))
        engine.gate.set()
        rig.send(clip[8][0], 8, encoding="32FC1")
        counts = rig.tracking.counts
        rig.tracking.pause()
        assert counts.received == 9 and counts.rejected <= 1
        assert counts.received == counts.processed + counts.dropped + counts.rejected
        assert len(rig.outcomes) == counts.processed + counts.rejected

    def test_unusable_ones_are_told_and_change_nothing(self, make_rig: Any, clip: Clip) -> None:
        rig = make_rig()
        rig.send(clip[0][0], 0)
        rig.set_target(clip[0][1])
        before = rig.send(clip[1][0], 1).targets[0].track
        outcome = rig.send(clip[2][0], 2, step=7)
        assert outcome.frame is None and "step of 7" in rig.tracking.message
        assert outcome.targets[0].track.box_xywh.tolist() == before.box_xywh.tolist()
        assert rig.send(clip[3][0], 3).frame is not None
        assert (rig.tracking.counts.processed, rig.tracking.counts.rejected) == (3, 1)
        assert rig.failures == []

    def test_a_repeated_stamp_is_skipped(self, make_rig: Any, clip: Clip) -> None:
        rig = make_rig()
        rig.send(clip[0][0], 0)
        assert rig.send(clip[0][0], 0).frame is None
        assert "stamp of the one before" in rig.tracking.message
        assert (rig.tracking.counts.rejected, rig.tracking.counts.odd_stamps) == (1, 1)

    def test_an_odd_stamp_changes_nothing(self, make_rig: Any, clip: Clip) -> None:
        """Late, far ahead, far back: one such image takes neither the targets nor the history away."""
        rig = make_rig()
        for number in (0, 1):
            rig.send(clip[number][0], 1000 + number)
        rig.set_target(clip[1][1])
        for odd, words in ((1000.6, "out of order"), (9999, "leaps by"), (1, "leaps by -1000.000 s")):
            outcome = rig.send(clip[2][0], odd)
            assert outcome.frame is None and len(outcome.targets) == 1
            assert words in rig.tracking.message
        assert rig.send(clip[2][0], 1002).targets[0].track.age_frames == 1
        rig.set_target(clip[0][1], 1000)
        assert rig.tracking.counts.odd_stamps == rig.tracking.counts.rejected == 3

    def test_a_frame_id_that_is_no_name(self, make_rig: Any, clip: Clip) -> None:
        """A hostile camera must not fill the history with it."""
        rig = make_rig()
        rig.send(clip[0][0], 0)
        outcome = rig.send(clip[1][0], 1, header=SimpleNamespace(frame_id="x" * 257))
        assert outcome.frame is None
        assert rig.tracking.message == "the image's frame_id has 257 characters: accepted are 256"
        assert rig.send(clip[2][0], 2, header=SimpleNamespace(frame_id="x" * 256)).frame is not None

    def test_a_target_is_lost_when_no_image_can_be_used(self, make_rig: Any, clip: Clip) -> None:
        """What is said does not stay true for ever when nothing is looked at any more."""
        rig = make_rig(tracker=TrackerConfig(lost_after_ms=200))
        rig.send(clip[0][0], 0)
        rig.set_target(clip[0][1])
        rig.send(clip[1][0], 1)
        assert rig.send(clip[2][0], 2, step=7).targets[0].track.state is TrackState.TRACKING
        time.sleep(0.25)
        track = rig.send(clip[2][0], 3, step=7).targets[0].track
        assert track.state is TrackState.LOST
        assert track.reason.startswith("no image could be used for 0.")
        assert rig.send(clip[2][0], 4).targets[0].track.state is TrackState.TRACKING

    def test_time_that_goes_back_drops_targets_and_history(self, make_rig: Any, clip: Clip) -> None:
        rig = make_rig()
        for number in (5, 6):
            rig.send(clip[number][0], number)
        rig.set_target(clip[6][1])
        rig.send(clip[0][0], -1)  # may be a single odd stamp
        assert rig.send(clip[0][0], 0).targets == ()
        assert rig.tracking.message == "time went back by 6.000 s: 1 target(s) dropped"
        with pytest.raises(TargetError, match="newer"):
            rig.set_target(clip[6][1], 6)
        rig.set_target(clip[0][1], 0)

    def test_restart(self, make_rig: Any, clip: Clip) -> None:
        rig = make_rig()
        rig.send(clip[0][0], 0)
        rig.set_target(clip[0][1])
        rig.tracking.restart("the clock jumped by -3.000 s").result(DEADLINE_S)
        assert rig.tracking.message == "the clock jumped by -3.000 s: 1 target(s) dropped"
        with pytest.raises(TargetError, match="no image"):
            rig.set_target(clip[0][1])
        assert rig.send(clip[0][0], 0).frame is not None  # its stamp is no repetition now

    def test_a_pause_keeps_targets_and_forgets_images(self, make_rig: Any, clip: Clip) -> None:
        rig = make_rig()
        rig.send(clip[0][0], 0)
        rig.set_target(clip[0][1], id="kept")
        rig.tracking.pause()
        with pytest.raises(TargetError, match="no image"):
            rig.set_target(clip[0][1])
        assert [f.target.id for f in rig.send(clip[1][0], 1).targets] == ["kept"]


class TestEngineFailure:
    def test_while_tracking(self, make_rig: Any, clip: Clip) -> None:
        engine = FailingEngine()
        rig = make_rig(engine)
        rig.send(clip[0][0], 0)
        rig.set_target(clip[0][1])
        engine.failing = True
        outcome = rig.send(clip[1][0], 1)
        assert outcome.frame is None and [f.target.id for f in outcome.targets] == ["1"]
        assert rig.tracking.message == "the engine failed on an image (RuntimeError: device lost)"
        assert rig.failures == [rig.tracking.message]
        engine.failing = False
        assert rig.send(clip[2][0], 2).targets[0].track.state is TrackState.TRACKING

    def test_while_a_target_catches_up(self, make_rig: Any, clip: Clip) -> None:
        engine = FailingEngine()
        rig = make_rig(engine)
        for number in range(3):
            rig.send(clip[number][0], number)
        rig.set_target(clip[2][1], id="old")
        engine.failing = True
        with pytest.raises(TargetError, match="RuntimeError: device lost.*nothing was changed"):
            rig.set_target(clip[0][1], 0, id="new")
        engine.failing = False
        assert [f.target.id for f in rig.send(clip[3][0], 3).targets] == ["old"]
        assert len(rig.failures) == 1


def test_options_change_while_running(make_rig: Any, clip: Clip) -> None:
    rig = make_rig()
    rig.send(clip[0][0], 0)
    rig.set_target(clip[0][1])
    assert rig.send(clip[1][0], 1).targets[0].track.state is TrackState.TRACKING
    rig.options = replace(rig.options, tracker=TrackerConfig(lost_threshold=1.0, lost_after_ms=3000))
    states = [rig.send(clip[number][0], number).targets[0] for number in range(2, 6)]
    assert [f.track.state.name for f in states] == ["UNCERTAIN", "UNCERTAIN", "LOST", "LOST"]
    assert [f.lost_frames for f in states] == [1, 2, 3, 4]
    rig.options = replace(rig.options, session=SessionConfig(max_targets=1))
    with pytest.raises(TargetError, match="max_targets = 1"):
        rig.set_target(clip[5][1])


def test_two_targets_share_the_engine_call(make_rig: Any) -> None:
    rig = make_rig()
    clips = [list(moving_square(6, colour=BLUE, path=lambda n: (60 + 4 * n, 60.0)))]
    for number, (rgb, box) in enumerate(clips[0]):
        rig.send(rgb, number)
        if number == 0:
            rig.set_target(box, id="a")
            rig.set_target(box + [1, 1, -2, -2], id="b")
    assert rig.engine.search_batches == [2] * 5


class TestAnotherEngine:
    """What a supervisor does when an engine fails or hangs."""

    def test_a_failing_engine_is_replaced(self, clip: Clip) -> None:
        first = FailingEngine()
        with Watched(first, StubEngine()) as watched:
            watched.start(clip)
            first.failing = True
            for number in (2, 3, 4):
                assert watched.supervisor.trouble == ""
                assert watched.send(clip[number][0], number).frame is None
                watched.supervisor.watch()
            assert watched.supervisor.tracking.trouble(0, 3) == ""
            assert "failed on 3 images in a row: stub (2) (memory) took over" in watched.supervisor.replaced
            assert first.closed
            after = watched.send(clip[5][0], 5)
            assert float(iou(after.targets[0].track.box_xywh, clip[5][1])) > 0.9
            counts = watched.supervisor.tracking.counts
            assert (counts.received, counts.processed, counts.rejected) == (6, 3, 3)
            watched.set_target(clip[4][1], 4)  # the history was handed over

    def test_one_failure_is_no_reason(self, clip: Clip) -> None:
        first = FailingEngine()
        with Watched(first) as watched:
            watched.start(clip)
            for number in (2, 3, 4, 5, 6, 7):
                first.failing = number % 2 == 0
                watched.send(clip[number][0], number)
                watched.supervisor.watch()
            assert watched.supervisor.loaded.engine is first and watched.supervisor.replaced == ""

    def test_a_hanging_engine_is_left_behind(self, clip: Clip) -> None:
        """It is not heard of any more when it comes back, and its engine is not closed under its feet."""
        first = SlowEngine()
        with Watched(first, StubEngine()) as watched:
            watched.start(clip)
            first.gate.clear()
            first.waiting.clear()
            watched.arrive(clip[2][0], 2)
            assert first.waiting.wait(DEADLINE_S)
            asked = watched.supervisor.tracking.clear_target("")
            watched.arrive(clip[3][0], 3)
            hung = watched.supervisor.tracking
            wait_until(lambda: watched.watched() and watched.supervisor.replaced, "another engine")
            assert "has not returned for" in watched.supervisor.replaced
            with pytest.raises(NotNowError, match="tracking ended"):
                answer(asked, DEADLINE_S)
            outcome = watched.send(clip[4][0], 4)
            assert float(iou(outcome.targets[0].track.box_xywh, clip[4][1])) > 0.9
            outcomes, counts = len(watched.outcomes), replace(watched.supervisor.tracking.counts)
            assert (counts.received, counts.processed, counts.dropped, counts.rejected) == (5, 3, 1, 1)
            first.gate.set()
            wait_until(lambda: not hung._worker._thread.is_alive(), "the thread that was left behind")
            assert len(watched.outcomes) == outcomes and not first.closed
            assert watched.supervisor.tracking.counts == counts
            assert watched.supervisor.stop() is False

    def test_a_call_that_hangs_for_a_command_costs_no_image(self, clip: Clip) -> None:
        """Bug: an image was counted that never came."""
        first = SlowEngine()
        with Watched(first, StubEngine()) as watched:
            watched.start(clip)
            watched.send(clip[2][0], 2)
            first.gate.clear()
            first.waiting.clear()
            late = watched.supervisor.tracking.set_target(clip[1][1], stamp(1), "late", "")
            assert first.waiting.wait(DEADLINE_S)
            wait_until(lambda: watched.watched() and watched.supervisor.replaced, "another engine")
            with pytest.raises(NotNowError, match="tracking ended"):
                answer(late, DEADLINE_S)
            assert len(watched.send(clip[3][0], 3).targets) == 1
            counts = watched.supervisor.tracking.counts
            assert (counts.received, counts.processed, counts.dropped, counts.rejected) == (4, 4, 0, 0)
            first.gate.set()

    def test_a_supervisor_that_was_stopped_starts_nothing(self, clip: Clip) -> None:
        """Bug: a look that came a moment too late took another engine."""
        with Watched(StubEngine(), StubEngine()) as watched:
            watched.start(clip)
            assert watched.supervisor.stop()
            watched.supervisor.watch()
            assert watched.supervisor.tracking.stopped and len(watched.engines) == 1

    def test_engines_that_all_hang_are_an_end(self, clip: Clip) -> None:
        engines = [SlowEngine() for _ in range(MOST_HUNG)]
        with Watched(*engines) as watched:
            watched.start(clip)
            for engine in engines:
                engine.gate.clear()
            with pytest.raises(OutOfEngines, match="the 3. engine that hangs"):
                for number in range(2, 2000):
                    watched.arrive(clip[2][0], number)
                    time.sleep(0.02)
                    watched.supervisor.watch()
            for engine in engines:
                engine.gate.set()

    def test_targets_stay_when_no_engine_can_be_had(self, clip: Clip, monkeypatch: Any) -> None:
        monkeypatch.setattr(supervisor, "RETRY_S", 0.0)
        first = FailingEngine()
        with Watched(first) as watched:
            watched.start(clip)
            first.failing = True
            for number in (2, 3, 4):
                watched.send(clip[number][0], number)
            watched.supervisor.watch()
            assert "no other engine can take over: there is none" in watched.failures[-1]
            watched.engines = [StubEngine()]
            watched.supervisor.watch()
            assert watched.supervisor.replaced
            assert len(watched.send(clip[5][0], 5).targets) == 1


class Watched:
    """A supervisor that takes one engine after the other."""

    def __init__(self, *engines: StubEngine) -> None:
        self.outcomes: list[Outcome] = []
        self.failures: list[str] = []
        first, *self.engines = engines
        limits = WatchdogConfig(call_timeout_s=0.5, failures=3)
        self.supervisor = Supervisor(
            Loaded(first, "stub (1)", "memory"),
            self.reload,
            lambda: replace(Options(), watchdog=limits),
            self.outcomes.append,
            lambda text, error: self.failures.append(text),
        )

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *error: object) -> None:
        self.supervisor.stop()

    def reload(self, loaded: Loaded) -> Loaded:
        if not self.engines:
            raise ValueError("there is none")
        return Loaded(self.engines.pop(0), "stub (2)", "memory")

    def watched(self) -> bool:
        self.supervisor.watch()
        return True

    def start(self, clip: Clip) -> None:
        for number in (0, 1):
            self.send(clip[number][0], number)
        self.set_target(clip[1][1], 1)

    def arrive(self, rgb: NDArray[np.uint8], number: int) -> None:
        self.supervisor.tracking.arrive(arrival(rgb, number))

    def send(self, rgb: NDArray[np.uint8], number: int) -> Outcome:
        count = len(self.outcomes)
        self.arrive(rgb, number)
        wait_until(lambda: len(self.outcomes) > count, "an outcome")
        return self.outcomes[-1]

    def set_target(self, box_xywh: Any, number: int) -> None:
        answer(self.supervisor.tracking.set_target(box_xywh, stamp(number), "", ""), DEADLINE_S)
