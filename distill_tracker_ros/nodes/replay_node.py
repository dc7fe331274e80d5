"""A recording played through the live tracker node, and what the node published of it scored."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock as ClockMsg
from sensor_msgs.msg import CompressedImage, Image
from tqdm import tqdm

from ..command_line import CommandError, write_json
from ..core.config import choice, option
from ..core.tracker import TrackState
from ..dds import prepare_large_images
from ..evaluation.bags.types import IMAGE
from ..evaluation.bags.writing import image_headers, recorded_images
from ..evaluation.live import Report, at_hand, tracked_live
from ..evaluation.metrics import score
from ..evaluation.replay import DEFAULT_RATE_HZ
from ..evaluation.runs import RunError, RunFolder
from ..evaluation.sequences import Sequence, SequenceError
from ..evaluation.source import Source
from ..messages import box_from_msg, fill_box, stamp_ns
from ..processes import NodeProcess
from ..runtime.load import BACKENDS, find_model
from .interfaces import Detection2DArray, SetTarget, TrackerStatus
from .parameters import Parameters
from .running import NodeError, run

START_PATIENCE_S = 120.0  # for a tracker to appear: it may have an engine to build
PATIENCE_S = 30.0  # for an answer
REPEAT_PERIOD_S = 0.5  # of the first image, until the tracker has seen it
LOOK_PERIOD_S = 0.05  # at signals and at the tracker's health, while waiting
CLOCK_LEAD_S = 0.5  # before the first image: a tracker forgets its images when the clock jumps back
CLOCK_PERIOD_S = 0.01  # of /clock between two images
BEHIND_S = 0.1  # of the player's own delay, from which on it is told
LOG_PERIOD_S = 5.0  # of what could be said with every image
SILENCE_S = 2.0  # after the last image, until nothing more is waited for
KEEP_ALL = QoSProfile(depth=1000)  # reliable: no result is missed

Waiting = Generator[None, None, bool]


@dataclass(frozen=True)
class ReplayOptions:
    """Everything that can be set on the replay node, at start."""

    path: str = option("", "bag, video, folder of images or sequence of a benchmark; it needs true boxes")
    image_topic: str = option("", "of a bag; empty = the only one with images")
    truth_topic: str = option("", "of a bag; empty = the one that is called ground_truth")
    model: str = option("", "start a tracker with this model bundle; empty = use the one that is running")
    backend: str = choice("of the tracker that is started", *BACKENDS)
    speed: float = option(1.0, "1 = as recorded, 2 = twice as fast", 0.01, 100.0)
    lockstep: bool = option(False, "send an image when the result of the one before has come: none is lost")
    output: str = option("build/replay", "folder of the run that is written")


class ReplayNode(Node):
    """Plays images and /clock, sets the target with the first true box, listens, scores, and ends.

    Images of a bag are sent as they were recorded. `evaluation.live` has the rules of the score.
    """

    def __init__(self) -> None:
        super().__init__("replay")
        self._options = Parameters(self, ReplayOptions(), "{} cannot change: set it at start".format).value
        self._sequence = _open(self._options)
        headers = image_headers(self._sequence)
        self._stamps_ns = [header.stamp_ns for header in headers]
        self._images = recorded_images(self._sequence.frames, headers)
        self._run = RunFolder(Path(self._options.output))

        # By frame, with times of time.monotonic_ns: what was sent, and what came back of it.
        self._sent_ns: dict[int, int] = {}
        self._detections: dict[int, tuple[int, Detection2DArray]] = {}
        self._statuses: dict[int, TrackerStatus] = {}
        self._frame_of: dict[int, int] = {}  # stamp -> the newest frame that was sent with it
        self._last_status = TrackerStatus()
        self._rejected = 0  # images that the tracker could not use, when the newest one was sent
        self._news = threading.Event()

        is_raw = self._images.msgtype == IMAGE
        topic = self.resolve_topic_name("image") + ("" if is_raw else "/compressed")
        self._outlet = self.create_publisher(Image if is_raw else CompressedImage, topic, QoSProfile(depth=1))
        self._clock_outlet = self.create_publisher(ClockMsg, "/clock", QoSProfile(depth=1))
        self.create_subscription(Detection2DArray, "tracker/detections", self._on_detections, KEEP_ALL)
        self.create_subscription(TrackerStatus, "tracker/status", self._on_status, KEEP_ALL)
        self._set_target = self.create_client(SetTarget, "tracker/set_target")
        self._tracker = self._start_tracker("raw" if is_raw else "compressed")
        self._script = self._play()
        alone, steady = MutuallyExclusiveCallbackGroup(), Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(0.0, self._go_on, callback_group=alone, clock=steady)

    def destroy_node(self) -> None:
        if self._tracker:
            self._tracker.stop()
        super().destroy_node()

    def _start_tracker(self, image_transport: str) -> NodeProcess | None:
        if not self._options.model:
            return None
        find_model(self._options.model)  # raises ValueError
        logs = self._run.path / "log"
        logs.mkdir(parents=True, exist_ok=True)
        return NodeProcess(
            "tracker_node",
            logs,
            model=self._options.model,
            backend=self._options.backend,
            image_transport=image_transport,
            image_reliability="reliable",
            use_sim_time=True,
            autostart=True,
        )

    # The script. At each `yield` the process looks at its signals; other callbacks run beside it.

    def _go_on(self) -> None:
        try:
            if next(self._script, "ended") == "ended":
                self.context.try_shutdown()
        except (SequenceError, RunError, CommandError) as error:
            raise NodeError(str(error)) from error

    def _play(self) -> Iterator[None]:
        what = f"an active tracker with use_sim_time that takes images on {self._outlet.topic_name}"
        yield from self._until(self._is_heard, what, START_PATIENCE_S)
        self._publish_clock(self._stamps_ns[0])
        yield from self._wait(lambda: False, CLOCK_LEAD_S)
        yield from self._show_first_image()
        target = yield from self._mark_target()
        self._run.begin(self._conditions())
        due_ns = yield from self._play_rest()
        yield from self._wait(lambda: self._is_done(len(due_ns) - 1), SILENCE_S)
        self._write(target, due_ns)

    def _show_first_image(self) -> Iterator[None]:
        message, end = self._images.message(0), time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            self._send(0, message)
            if (yield from self._wait(lambda: self._is_told(0), REPEAT_PERIOD_S)):
                return
        said = self._last_status.message or "nothing"
        raise NodeError(f"the tracker did not track on the first image; it said: {said}")

    def _mark_target(self) -> Generator[None, None, str]:
        """Gives the id of the target."""
        assert self._sequence.truth_xywh is not None
        request = SetTarget.Request(stamp=_time(self._stamps_ns[0]), label=self._sequence.name)
        fill_box(request.box, self._sequence.truth_xywh[0])
        future = self._set_target.call_async(request)
        yield from self._until(future.done, "an answer of tracker/set_target")
        response = future.result()
        if not response.success:
            raise NodeError(f"the tracker refused the target: {response.message}")
        return str(response.id)

    def _play_rest(self) -> Generator[None, None, list[int]]:
        """Send all but the first image; gives the time when the box of each frame was needed."""
        offsets_ns = _offsets_ns(self._stamps_ns, self._options.speed)
        begin_ns = time.monotonic_ns() - offsets_ns[1]
        for frame in tqdm(range(1, len(self._stamps_ns)), self._sequence.name, unit="frame", disable=None):
            try:
                message = self._images.message(frame)
            except IndexError:  # a video may have fewer frames than it says
                break
            if not self._options.lockstep:
                yield from self._pass_time(frame, begin_ns + offsets_ns[frame])
            self._send(frame, message)
            if self._options.lockstep:
                yield from self._until(partial(self._is_done, frame), f"the result of frame {frame}")
        count = len(self._sent_ns)
        end_ns = time.monotonic_ns() if self._options.lockstep else begin_ns + offsets_ns[count]
        return [*(self._sent_ns[frame] for frame in range(1, count)), end_ns]

    def _pass_time(self, frame: int, due_ns: int) -> Iterator[None]:
        """Let the clock run until a frame is due."""
        behind_s = (time.monotonic_ns() - due_ns) / 1e9
        if behind_s > BEHIND_S:
            text = f"the player is {behind_s:.1f} s behind: play slower to see what the tracker can do"
            self.get_logger().warning(text, throttle_duration_sec=LOG_PERIOD_S)
        while (left_ns := due_ns - time.monotonic_ns()) > 0:
            self._publish_clock(self._stamps_ns[frame] - round(left_ns * self._options.speed))
            yield
            time.sleep(min(left_ns / 1e9, CLOCK_PERIOD_S))

    def _send(self, frame: int, message: bytes) -> None:
        stamp = self._stamps_ns[frame]
        self._publish_clock(stamp)
        self._frame_of[stamp] = frame
        self._rejected = self._last_status.frames_rejected
        self._sent_ns[frame] = time.monotonic_ns()
        self._outlet.publish(message)

    def _publish_clock(self, now_ns: int) -> None:
        self._clock_outlet.publish(ClockMsg(clock=_time(max(now_ns, 0))))

    def _wait(self, condition: Callable[[], Any], patience_s: float) -> Waiting:
        """Until a condition holds, or patience has run out; gives whether it holds."""
        end = time.monotonic() + patience_s
        while not condition():
            if time.monotonic() > end:
                return False
            if self._tracker:
                self._tracker.check()
            yield
            self._news.wait(LOOK_PERIOD_S)
            self._news.clear()
        return True

    def _until(
        self, condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S
    ) -> Iterator[None]:
        if not (yield from self._wait(condition, patience_s)):
            text = f"waited {patience_s:g} s in vain for {what}"
            raise self._tracker.failure(text) if self._tracker else NodeError(text)

    # What comes back.

    def _is_heard(self) -> bool:
        outlets = (self._outlet, self._clock_outlet)
        return self._set_target.service_is_ready() and all(o.get_subscription_count() for o in outlets)

    def _is_told(self, frame: int) -> bool:
        """Whether the result of a frame is there."""
        return frame in self._statuses and frame in self._detections

    def _is_done(self, frame: int) -> bool:
        """Whether the tracker is through with the newest frame, perhaps because it cannot be used."""
        return self._is_told(frame) or self._last_status.frames_rejected > self._rejected

    def _on_detections(self, msg: Detection2DArray) -> None:
        now_ns, frame = time.monotonic_ns(), self._frame_of.get(stamp_ns(msg.header.stamp))
        if frame is not None:
            self._detections.setdefault(frame, (now_ns, msg))
        self._news.set()

    def _on_status(self, msg: TrackerStatus) -> None:
        frame = self._frame_of.get(stamp_ns(msg.header.stamp))
        if frame is not None:
            self._statuses.setdefault(frame, msg)
        self._last_status = msg
        self._news.set()

    def _reports(self, target: str) -> list[Report]:
        frames = self._detections.keys() & self._statuses.keys()
        return [_report(f, *self._detections[f], self._statuses[f], target) for f in sorted(frames)]

    def _conditions(self) -> dict[str, Any]:
        status, options = self._last_status, self._options
        return {
            "label": f"{status.model} live",
            "model": status.model,
            "backend": status.backend,
            "protocol": "live",
            "speed": options.speed,
            "lockstep": options.lockstep,
        }

    def _write(self, target: str, due_ns: list[int]) -> None:
        assert self._sequence.truth_xywh is not None
        result = at_hand(self._sequence.truth_xywh[0], due_ns, self._reports(target))
        first = self._sequence.frames.view(0)
        size = first.width, first.height
        tracked = tracked_live(self._sequence, self._stamps_ns, result, size)
        self._run.write(tracked)
        auc = score(tracked.boxes_xywh, tracked.truth_xywh).success_auc
        numbers = {"success_auc": auc, "frames": len(tracked), "dropped": result.dropped, "late": result.late}
        write_json(self._run.path / "live" / f"{tracked.name}.json", {**self._conditions(), **numbers})
        print(
            f"{tracked.name}: success AUC {auc:.3f}, {len(tracked)} frames, {result.dropped} dropped, "
            f"{result.late} late; written to {self._run.path}",
            flush=True,
        )


def _open(options: ReplayOptions) -> Sequence:
    """The sequence from its first true box on."""
    source = Source(Path(options.path), image_topic=options.image_topic, truth_topic=options.truth_topic)
    try:
        found = source.open()
        if len(found) != 1:
            raise SequenceError(f"it has {len(found)} sequences: name one of them")
        return found[0].from_first_box()
    except SequenceError as error:
        raise NodeError(f"path = {options.path!r}: {error}") from error


def _offsets_ns(stamps_ns: list[int], speed: float) -> list[int]:
    """(N + 1,) when each frame is sent after the first, and when one more would be.

    Where the stamps do not go forward, a frame comes after the usual time.
    """
    gaps = np.diff(np.array(stamps_ns, np.int64))
    usual = float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 1e9 / DEFAULT_RATE_HZ
    gaps_ns = np.where(gaps > 0, gaps, usual)
    return [round(offset / speed) for offset in np.cumsum([0.0, *gaps_ns, usual])]


def _report(
    frame: int, arrived_ns: int, detections: Detection2DArray, status: TrackerStatus, id: str
) -> Report:
    """What the node told of its target in a frame; a detection has more digits than the status."""
    target = next((t for t in status.targets if t.id == id), None)
    if target is None:
        return Report(frame, arrived_ns, None, 0.0, TrackState.LOST, status.processing_ms)
    detection = next((d for d in detections.detections if d.id == id), None)
    box, confidence = target.box, target.confidence
    if detection:
        box, confidence = detection.bbox, detection.results[0].hypothesis.score
    state = TrackState(target.state)
    return Report(frame, arrived_ns, box_from_msg(box), confidence, state, status.processing_ms)


def _time(at_ns: int) -> Time:
    return Time(sec=at_ns // 1_000_000_000, nanosec=at_ns % 1_000_000_000)


def main() -> int:
    """Run the node until the recording has been played or it is told to end."""
    prepare_large_images()
    return run(ReplayNode)


if __name__ == "__main__":
    sys.exit(main())
