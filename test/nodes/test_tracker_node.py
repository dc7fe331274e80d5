"""The real tracker node in a process of its own, with a model that follows colours.

One process serves most tests: each begins with no target, an active node and the default parameters.
"""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import itertools
import math
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_harness import (
    RELIABLE,
    ROOT,
    Client,
    NodeProcess,
    compressed_msg,
    image_msg,
    running,
    time_msg,
)
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from synthetic import BLUE, RED, background, draw_square, moving_square
from vision_msgs.msg import (
    BoundingBox2D,
    Detection2D,
    Detection2DArray,
    ObjectHypothesisWithPose,
)
from waiting import wait_until

from distill_tracker_msgs.msg import TrackedTarget, TrackerStatus
from distill_tracker_msgs.srv import ClearTarget, GetViews, SetTarget
from distill_tracker_ros.core.boxes import cxcywh_to_xywh, iou, xywh_to_cxcywh
from distill_tracker_ros.core.session import Session
from distill_tracker_ros.messages import open_image, stamp_ns
from distill_tracker_ros.nodes.options import Options, flat
from distill_tracker_ros.runtime.load import load_engine

pytestmark = pytest.mark.ros

SECOND = 1_000_000_000
PERIOD_NS = SECOND // 10
Frames = list[tuple[Any, Any]]


class Tracker:
    """The node under test as its users see it."""

    def __init__(self, client: Client, process: NodeProcess, name: str = "/tracker") -> None:
        self.client, self.process, self.name = client, process, name
        self.detections = client.listen(Detection2DArray, f"{name}/detections")
        self.primary = client.listen(Detection2D, f"{name}/detection")
        self.statuses = client.listen(TrackerStatus, f"{name}/status")
        self._diagnostics = client.listen(DiagnosticArray, "/diagnostics")
        self.images = client.node.create_publisher(Image, "/image", RELIABLE)
        self.stamp_ns = 1_000 * SECOND

    def next_stamp(self) -> int:
        self.stamp_ns += PERIOD_NS
        return self.stamp_ns

    def send(self, rgb: Any, at_ns: int | None = None) -> tuple[Detection2DArray, TrackerStatus]:
        """Publish an image and wait for what comes of it."""
        return self.send_msg(image_msg(rgb, self.next_stamp() if at_ns is None else at_ns))

    def send_msg(self, msg: Image) -> tuple[Detection2DArray, TrackerStatus]:
        before = len(self.detections)
        status = self.publish(msg)
        detections = wait_until(lambda: self.detections[before:], "detections")[0]
        return detections, status

    def publish(self, msg: Any, publisher: Any = None) -> TrackerStatus:
        """Publish an image and wait for the status, which comes for unusable images, too."""
        before = len(self.statuses)
        (publisher or self.images).publish(msg)
        return wait_until(lambda: self.statuses[before:], "a status")[0]

    def set_target(self, box_xywh: Any, **request: Any) -> SetTarget.Response:
        return self.client.call(SetTarget, f"{self.name}/set_target", box=box_msg(box_xywh), **request)

    def clear_target(self, id: str = "") -> ClearTarget.Response:
        return self.client.call(ClearTarget, f"{self.name}/clear_target", id=id)

    def change_state(self, transition: int) -> bool:
        request = Transition(id=transition)
        return self.client.call(ChangeState, f"{self.name}/change_state", transition=request).success

    @property
    def state(self) -> str:
        return self.client.call(GetState, f"{self.name}/get_state").current_state.label

    def set_parameters(self, **values: Any) -> list[str]:
        """The reasons why they were refused; empty = accepted."""
        parameters = [Parameter(n.replace("__", "."), value=v).to_parameter_msg() for n, v in values.items()]
        answers = self.client.call(SetParameters, f"{self.name}/set_parameters", parameters=parameters)
        return [result.reason if not result.successful else "" for result in answers.results]

    def diagnosis(self, part: str, matches: Callable[[DiagnosticStatus], Any] = lambda status: True) -> Any:
        """A status of /diagnostics from now on that matches."""
        seen = len(self._diagnostics)

        def found() -> DiagnosticStatus | None:
            statuses = [status for msg in self._diagnostics[seen:] for status in msg.status]
            return next((s for s in statuses if s.name == f"tracker: {part}" and matches(s)), None)

        return wait_until(found, f"a diagnosis of {part}")


def box_msg(box_xywh: Any, theta: float = 0.0) -> BoundingBox2D:
    cx, cy, w, h = (float(v) for v in xywh_to_cxcywh(box_xywh))
    msg = BoundingBox2D(size_x=w, size_y=h)
    msg.center.position.x, msg.center.position.y, msg.center.theta = cx, cy, theta
    return msg


def box_of(detection: Detection2D | TrackedTarget) -> Any:
    box = detection.bbox if isinstance(detection, Detection2D) else detection.box
    return cxcywh_to_xywh([box.center.position.x, box.center.position.y, box.size_x, box.size_y])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnx", reason="onnx is missing: it is among the test requirements")
    from tiny_bundle import write_tiny_bundle

    return write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def shared(client: Client, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracker]:
    folder = tmp_path_factory.mktemp("tracker")
    settings = {
        "model": str(bundle),
        "autostart": True,
        "image_reliability": "reliable",
        "history__seconds": 60.0,
        "diagnostics__hold_s": 0.0,
        "diagnostics__raise_s": 0.0,
    }
    with running("tracker_node", folder, **settings) as process:
        tracker = Tracker(client, process)
        wait_until(tracker.images.get_subscription_count, "the subscription")
        yield tracker
        assert process.stop() == 0, process.output


@pytest.fixture
def tracker(shared: Tracker) -> Iterator[Tracker]:
    assert shared.clear_target().success
    for _ in range(2):  # the first may be a leap back from the times of the test before
        shared.publish(image_msg(background(320, 240), shared.next_stamp()))
    yield shared
    assert shared.process.alive, shared.process.output


@pytest.fixture(scope="module")
def clip() -> Frames:
    return list(moving_square(24))


class TestTargets:
    def test_without_a_target_every_image_gets_an_empty_array(self, tracker: Tracker, clip: Frames) -> None:
        before = len(tracker.primary)
        for rgb, _ in clip[:3]:
            detections, status = tracker.send(rgb)
            assert list(detections.detections) == [] and list(status.targets) == []
        assert len(tracker.primary) == before
        assert (status.model, status.backend) == ("tiny", "onnxruntime")

    def test_set_replace_and_clear(self, tracker: Tracker, clip: Frames) -> None:
        tracker.send(clip[0][0])
        response = tracker.set_target(clip[0][1], label="red thing")
        assert response.success and response.id and response.message == f"target {response.id!r} is followed"
        for rgb, truth in clip[1:6]:
            detections, status = tracker.send(rgb)
            (detection,) = detections.detections
            assert float(iou(box_of(detection), truth)) > 0.9
        assert detection.id == response.id
        (hypothesis,) = (result.hypothesis for result in detection.results)
        assert hypothesis.class_id == "red thing" and hypothesis.score > 0.9
        assert tracker.primary[-1] == detection
        (target,) = status.targets
        assert (target.id, target.label, target.state) == (response.id, "red thing", TrackedTarget.TRACKING)
        assert (target.age_frames, target.lost_frames) == (5, 0)
        assert (
            target.last_seen == detections.header.stamp
            and box_of(target).tolist() == box_of(detection).tolist()
        )

        rgb, _ = clip[6]
        draw_square(rgb := rgb.copy(), other := np.array([20.0, 20, 30, 30]), BLUE)
        tracker.send(rgb)
        replaced = tracker.set_target(other, id=response.id)
        assert replaced.success and replaced.id == response.id
        detections, _ = tracker.send(rgb)
        assert float(iou(box_of(detections.detections[0]), other)) > 0.9
        assert [d.results[0].hypothesis.class_id for d in detections.detections] == [response.id]

        cleared = tracker.clear_target(response.id)
        assert (cleared.success, cleared.message) == (True, "1 target(s) cleared")
        detections, status = tracker.send(rgb)
        assert list(detections.detections) == [] and list(status.targets) == []

    def test_several_targets_and_the_primary_one(self, tracker: Tracker) -> None:
        rgb = background(320, 240)
        boxes = {"first": np.array([50.0, 60, 24, 24]), "second": np.array([200.0, 150, 24, 24])}
        for box, colour in zip(boxes.values(), (RED, BLUE), strict=True):
            draw_square(rgb, box, colour)
        tracker.send(rgb)
        for id, box in boxes.items():
            assert tracker.set_target(box, id=id).id == id
        detections, _ = tracker.send(rgb)
        assert [d.id for d in detections.detections] == ["first", "second"]
        assert tracker.primary[-1] == detections.detections[0]
        assert all(float(iou(box_of(d), boxes[d.id])) > 0.9 for d in detections.detections)

    def test_the_header_goes_through_whole(self, tracker: Tracker, clip: Frames) -> None:
        tracker.send(clip[0][0])
        tracker.set_target(clip[0][1])
        msg = image_msg(clip[1][0], tracker.next_stamp() + 123_456_789, frame_id="/weird frame\n")
        tracker.stamp_ns += SECOND
        detections, status = tracker.send_msg(msg)
        assert detections.header == status.header == detections.detections[0].header == msg.header
        assert tracker.primary[-1].header == msg.header

    def test_the_views_of_a_target_are_there_to_be_looked_at(self, tracker: Tracker, clip: Frames) -> None:
        def views(id: str = "") -> Any:
            return tracker.client.call(GetViews, f"{tracker.name}/get_views", id=id)

        _, status = tracker.send(clip[0][0])
        assert (status.width, status.height) == clip[0][0].shape[1::-1]
        assert (views().success, views().message) == (False, "there is no target")
        tracker.set_target(clip[0][1], id="car")
        for rgb, _ in clip[1:3]:
            tracker.send(rgb)
        answer = views()
        assert (answer.success, answer.id, answer.message) == (True, "car", "")
        initial, *others = answer.views
        assert (initial.initial, initial.in_template, initial.confidence) == (True, True, 1.0)
        assert others and not any(view.initial for view in others)
        assert all(0 < view.confidence <= 1 and view.age_frames in (1, 2) for view in others)
        for view in answer.views:
            picture = cv2.imdecode(np.frombuffer(view.picture.data, np.uint8), cv2.IMREAD_COLOR)
            middle = picture[tuple(side // 2 for side in picture.shape[:2])][::-1]
            assert view.picture.format == "jpeg" and np.abs(middle.astype(int) - RED).max() < 40
        refused = views("bike")
        assert not refused.success and "no target has the id 'bike'; tracked are ['car']" in refused.message
        assert list(refused.views) == []

    def test_boxes_are_those_of_the_offline_session(
        self, tracker: Tracker, bundle: Path, clip: Frames
    ) -> None:
        """Every float is equal: what replay shows is what flies."""
        session, expected, seen = Session(load_engine(bundle)), [], []
        for number, (rgb, box) in enumerate(clip):
            msg = image_msg(rgb, tracker.next_stamp())
            session.update(open_image(msg), stamp_ns(msg.header.stamp))
            detections, _ = tracker.send_msg(msg)
            if number == 0:
                id = tracker.set_target(box).id
                session.set_target(open_image(msg), box, stamp_ns(msg.header.stamp), id)
                continue
            track = session.tracks[id]
            expected.append((*xywh_to_cxcywh(track.box_xywh).tolist(), track.confidence))
            (found,) = detections.detections
            centre, score = found.bbox.center.position, found.results[0].hypothesis.score
            seen.append((centre.x, centre.y, found.bbox.size_x, found.bbox.size_y, score))
        assert seen == expected

    def test_a_late_target_catches_up(self, tracker: Tracker, bundle: Path, clip: Frames) -> None:
        """Set on frame 3 when frame 20 has been seen, it is in frame 21 where an early one would be.

        A second between the stamps, so that the slowest machine catches up with every image.
        """
        session, messages = Session(load_engine(bundle)), []
        for rgb, _ in clip[:21]:
            tracker.stamp_ns += SECOND
            messages.append(image_msg(rgb, tracker.stamp_ns))
            tracker.send_msg(messages[-1])
        response = tracker.set_target(clip[3][1], stamp=messages[3].header.stamp, id="late")
        assert response.success, response.message
        tracker.stamp_ns += SECOND
        messages.append(image_msg(clip[21][0], tracker.stamp_ns))
        detections, status = tracker.send_msg(messages[-1])

        session.set_target(open_image(messages[3]), clip[3][1], stamp_ns(messages[3].header.stamp), "late")
        for msg in messages[4:]:
            session.update(open_image(msg), stamp_ns(msg.header.stamp))
        assert box_of(detections.detections[0]).tolist() == pytest.approx(
            session.tracks["late"].box_xywh.tolist(), abs=1e-9
        )
        assert status.targets[0].age_frames == 18

    def test_a_nearly_right_stamp_means_the_nearest_image(self, tracker: Tracker, clip: Frames) -> None:
        stamps = [tracker.next_stamp() for _ in range(3)]
        for (rgb, _), at_ns in zip(clip, stamps, strict=False):
            tracker.send(rgb, at_ns)
        assert tracker.set_target(clip[1][1], stamp=time_msg(stamps[1] + PERIOD_NS // 3)).success

    def test_the_topic_does_what_the_service_does(self, tracker: Tracker, clip: Frames) -> None:
        publisher = tracker.client.node.create_publisher(Detection2D, "/tracker/target", RELIABLE)
        wait_until(publisher.get_subscription_count, "the subscription to ~/target")
        stamp = tracker.send(clip[0][0])[0].header.stamp
        hypothesis = ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id = "from a detector"
        msg = Detection2D(bbox=box_msg(clip[0][1]), id="d", results=[hypothesis])
        msg.header.stamp = stamp
        publisher.publish(msg)
        numbers = iter(clip[1:])
        status = wait_until(
            lambda: (s := tracker.send(next(numbers)[0])[1]).targets and s, "the target of the topic"
        )
        assert (status.targets[0].id, status.targets[0].label) == ("d", "from a detector")
        publisher.publish(Detection2D(bbox=box_msg([0, 0, 0, 0])))
        wait_until(lambda: "~/target: box left=0" in tracker.process.output, "the refusal in the log")


class TestRefusals:
    """Everything that cannot be done gets one sentence that says why."""

    @pytest.mark.parametrize(
        ("box_xywh", "theta", "words"),
        [
            ([400, 50, 20, 20], 0.0, "box left=400 top=50 .* lies outside the frame of 320x240"),
            ([-19, 50, 20, 20], 0.0, "lies outside the frame .* at least 4 px of each side must be inside"),
            ([50, 50, 0, 0], 0.0, "width=0 height=0: width and height must be at least 4 px"),
            ([50, 50, 20, -20], 0.0, "height=-20: width and height must be at least 4 px"),
            ([math.nan, 50, 20, 20], 0.0, "centre x=nan .*every number must be finite"),
            ([50, 50, math.inf, 20], 0.0, "every number must be finite"),
            ([50, 50, 20, 20], 0.3, r"the box is rotated \(theta = 0.3 rad\): accepted is an upright one"),
            ([50, 50, 20, 20], math.nan, "theta=nan.*every number must be finite"),
            ([1e300, -1e300, 1e-300, 1e300], 0.0, "must be at least 4 px"),
        ],
    )
    def test_boxes(self, tracker: Tracker, clip: Frames, box_xywh: Any, theta: float, words: str) -> None:
        tracker.send(clip[0][0])
        tracker.set_target(clip[0][1], id="kept")
        response = tracker.client.call(
            SetTarget, "/tracker/set_target", box=box_msg(box_xywh, theta), id="kept", label="new"
        )
        self.check(response, words)
        assert response.id == ""
        _, status = tracker.send(clip[1][0])
        assert [(t.id, t.label, t.age_frames) for t in status.targets] == [("kept", "", 1)]

    def test_too_many_targets(self, tracker: Tracker, clip: Frames) -> None:
        tracker.send(clip[0][0])
        for id in "abcd":
            assert tracker.set_target(clip[0][1], id=id).success
        response = tracker.set_target(clip[0][1], id="e")
        self.check(response, r"4 targets are tracked already \(max_targets = 4\)")
        assert tracker.set_target(clip[0][1], id="d").success

    def test_unknown_id(self, tracker: Tracker, clip: Frames) -> None:
        tracker.send(clip[0][0])
        tracker.set_target(clip[0][1], id="known")
        self.check(
            tracker.clear_target("unknown"), r"no target has the id 'unknown'; tracked are \['known'\]"
        )
        nonsense = "\u202e\n'; rm -rf /\t" + "x" * 200
        self.check(tracker.clear_target(nonsense), "no target has the id")
        self.check(tracker.set_target(clip[0][1], id="x" * 257), "256 characters; got 257 and 0")
        assert tracker.set_target(clip[0][1], id=nonsense).id == nonsense
        assert tracker.clear_target(nonsense).success

    def test_stamps_that_are_not_kept(self, tracker: Tracker, clip: Frames) -> None:
        for rgb, _ in clip[:3]:
            tracker.send(rgb)
        newest = f"{tracker.stamp_ns // SECOND}.{tracker.stamp_ns % SECOND:09d}"
        too_old = tracker.set_target(clip[0][1], stamp=time_msg(5))
        self.check(
            too_old, f"0.000000005 is older than every image that is kept: accepted are .* to {newest}"
        )
        future = tracker.set_target(clip[0][1], stamp=time_msg(tracker.stamp_ns + SECOND))
        self.check(future, "is newer than every image that is kept")

    def test_no_image_yet_and_not_active(self, tracker: Tracker, clip: Frames) -> None:
        tracker.send(clip[0][0])
        tracker.set_target(clip[0][1], id="kept")
        assert tracker.change_state(Transition.TRANSITION_DEACTIVATE)
        inactive = "the node is inactive: 'ros2 lifecycle set /tracker activate'"
        self.check(tracker.set_target(clip[0][1]), inactive, retry=True)
        self.check(tracker.clear_target(), inactive, retry=True)
        assert tracker.diagnosis("input").message == "the node is inactive"
        assert tracker.change_state(Transition.TRANSITION_ACTIVATE)
        self.check(tracker.set_target(clip[0][1]), "no image has been tracked on yet", retry=True)
        wait_until(tracker.images.get_subscription_count, "the subscription")
        _, status = tracker.send(clip[1][0])
        assert [t.id for t in status.targets] == ["kept"]
        assert (status.frames_received, status.frames_processed) == (1, 1)

    def check(self, response: Any, words: str, retry: bool = False) -> None:
        assert not response.success and response.retry is retry
        assert re.search(words, response.message), response.message


class TestImages:
    def test_unusable_ones_are_rejected_and_told(self, tracker: Tracker, clip: Frames) -> None:
        rgb, box = clip[0]
        tracker.send(rgb)
        tracker.set_target(box, id="1")
        good = tracker.send(clip[1][0])[1]
        published = len(tracker.detections)
        for changes, words in (
            ({"encoding": "16UC1"}, "encoding '16UC1': pixels of 16 bits"),
            ({"encoding": "purple"}, "encoding 'purple' is unknown"),
            ({"step": 100}, "step of 100: a row needs at least 960 bytes"),
            ({"step": 1000}, "it needs 239960"),
            ({"width": 0}, "0x240 has no pixels"),
            ({"height": 4_000_000_000}, "320x4000000000"),
        ):
            msg = image_msg(rgb, tracker.next_stamp())
            for field, value in changes.items():
                setattr(msg, field, value)
            status = tracker.publish(msg)
            assert words in status.message
            assert status.header == good.header and [t.id for t in status.targets] == ["1"]
        assert status.frames_rejected == good.frames_rejected + 6
        assert status.frames_processed == good.frames_processed
        assert len(tracker.detections) == published
        told = tracker.diagnosis("input", lambda s: s.level == DiagnosticStatus.WARN)
        assert "could not be used: the image of 320x4000000000" in told.message or "of data" in told.message
        assert tracker.send(clip[2][0])[1].targets[0].state == TrackedTarget.TRACKING

    def test_every_image_is_accounted_for(self, tracker: Tracker, clip: Frames) -> None:
        before = len(tracker.statuses)
        for rgb, _ in clip:
            tracker.images.publish(image_msg(rgb, tracker.next_stamp()))
        status = wait_until(
            lambda: next(
                (s for s in tracker.statuses[before:] if stamp_ns(s.header.stamp) == tracker.stamp_ns), None
            ),
            "the last image",
        )
        handled = status.frames_processed + status.frames_dropped + status.frames_rejected
        assert status.frames_received == handled

    def test_the_same_aspect_in_another_size_rescales(self, tracker: Tracker) -> None:
        rgb = background(320, 240)
        draw_square(rgb, box := np.array([100.0, 80, 32, 32]), RED)
        tracker.send(rgb)
        tracker.set_target(box)
        detections, status = tracker.send(cv2.resize(rgb, (640, 480), interpolation=cv2.INTER_NEAREST))
        assert float(iou(box_of(detections.detections[0]), box * 2)) > 0.9
        assert status.message == "the frame changed from 320x240 to 640x480: boxes were rescaled"
        older = time_msg(tracker.stamp_ns - PERIOD_NS)
        assert "older than every image" in tracker.set_target(box, stamp=older).message

    def test_another_aspect_drops_the_targets(self, tracker: Tracker, clip: Frames) -> None:
        tracker.send(clip[0][0])
        tracker.set_target(clip[0][1])
        _, status = tracker.send(clip[1][0][:200])
        assert list(status.targets) == []
        assert (
            status.message == "the frame changed from 320x240 to 320x200, another aspect: 1 target(s) dropped"
        )

    def test_time_that_goes_back_drops_the_targets(self, tracker: Tracker, clip: Frames) -> None:
        tracker.send(clip[0][0])
        tracker.set_target(clip[0][1])
        status = tracker.publish(image_msg(clip[1][0], tracker.stamp_ns - 5 * SECOND))
        assert len(status.targets) == 1  # it may be a single odd stamp
        assert "leaps by -5.000 s from the image before: skipped until the next one agrees" in status.message
        tracker.stamp_ns -= 5 * SECOND
        _, status = tracker.send(clip[1][0])
        assert list(status.targets) == []
        assert status.message == "time went back by 4.900 s: 1 target(s) dropped"
        assert tracker.set_target(clip[1][1]).success
        assert len(tracker.send(clip[2][0])[0].detections) == 1

    def test_a_repeated_stamp_is_skipped(self, tracker: Tracker, clip: Frames) -> None:
        _, before = tracker.send(clip[0][0])
        status = tracker.publish(image_msg(clip[1][0], tracker.stamp_ns))
        assert status.frames_rejected == before.frames_rejected + 1
        assert status.message == "the image has the stamp of the one before and was skipped"

    def test_images_without_a_stamp_are_tracked_and_told(self, tracker: Tracker, clip: Frames) -> None:
        """Their stamp stays zero; the time of their arrival is far after the stamps of the other tests."""
        tracker.publish(image_msg(clip[0][0], 0))  # a leap in time, which the next one confirms
        tracker.send(clip[0][0], 0)
        assert tracker.set_target(clip[0][1]).success
        detections, status = tracker.send(clip[1][0], 0)
        assert stamp_ns(detections.header.stamp) == 0 and status.latency_ms == -1.0
        assert status.targets[0].state == TrackedTarget.TRACKING
        assert "had no stamp" in tracker.diagnosis("input", lambda s: "stamp:" in s.message).message
        assert tracker.process.output.count("images have no stamp") == 1  # not with every image

    def test_latency_counts_from_the_stamp(self, tracker: Tracker, clip: Frames) -> None:
        now_ns = tracker.client.node.get_clock().now().nanoseconds
        tracker.publish(image_msg(clip[0][0], now_ns - SECOND))  # a leap in time, which the next one confirms
        _, status = tracker.send(clip[0][0], now_ns - SECOND // 2)
        assert 500 < status.latency_ms < 5000
        assert 0 < status.processing_ms < 1000

    def test_the_overlay_is_a_picture_of_it(self, tracker: Tracker) -> None:
        rgb = background(1280, 960)
        draw_square(rgb, box := np.array([600.0, 400, 100, 100]), RED)
        tracker.send(rgb)
        tracker.set_target(box)
        pictures = tracker.client.listen(CompressedImage, "/tracker/overlay/compressed")
        wait_until(lambda: tracker.send(rgb) and pictures, "a picture")
        bgr = cv2.imdecode(np.frombuffer(pictures[-1].data, np.uint8), cv2.IMREAD_COLOR)
        assert bgr.shape == (480, 640, 3)
        assert pictures[-1].header.frame_id == "camera"
        plain = cv2.resize(rgb[..., ::-1], (640, 480), interpolation=cv2.INTER_AREA)
        difference = np.abs(bgr.astype(int) - plain).max(axis=2)
        drawn = np.argwhere(difference > 90)
        assert len(drawn) > 100
        assert np.abs(drawn.mean(axis=0) - [225, 325]).max() < 60  # around the box, and nowhere else


class TestCompressed:
    def test_boxes_are_those_of_the_offline_session(
        self, tracker: Tracker, bundle: Path, clip: Frames
    ) -> None:
        pictures = [cv2.imencode(".jpg", rgb[..., ::-1])[1].tobytes() for rgb, _ in clip[:8]]
        session, expected, seen = Session(load_engine(bundle)), [], []
        with switched(tracker, image_transport="compressed"):
            publisher = tracker.client.node.create_publisher(CompressedImage, "/image/compressed", RELIABLE)
            wait_until(publisher.get_subscription_count, "the subscription")
            for number, data in enumerate(pictures):
                msg = compressed_msg(data, tracker.next_stamp())
                tracker.publish(msg, publisher)
                frame, at_ns = open_image(msg), stamp_ns(msg.header.stamp)
                if number == 0:
                    id = tracker.set_target(clip[0][1]).id
                    session.set_target(frame, clip[0][1], at_ns, id)
                    continue
                expected.append(session.update(frame, at_ns)[id].box_xywh)
                seen.append(box_of(tracker.statuses[-1].targets[0]))
            np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-9)
            status = tracker.publish(compressed_msg(pictures[0][:700], tracker.next_stamp()), publisher)
            assert "truncated" in status.message


class switched:
    """Set parameters that need an inactive node, and set them back."""

    def __init__(self, tracker: Tracker, **values: Any) -> None:
        self.tracker, self.values = tracker, values

    def __enter__(self) -> None:
        self._apply(self.values)

    def __exit__(self, *error: object) -> None:
        defaults = {"image_transport": "raw", "image_reliability": "reliable"}
        self._apply({name: defaults[name] for name in self.values})
        wait_until(self.tracker.images.get_subscription_count, "the subscription")

    def _apply(self, values: dict[str, Any]) -> None:
        assert self.tracker.change_state(Transition.TRANSITION_DEACTIVATE)
        assert self.tracker.set_parameters(**values) == [""] * len(values)
        assert self.tracker.change_state(Transition.TRANSITION_ACTIVATE)


class TestParameters:
    def test_the_declared_ones_are_the_options_with_descriptions_and_ranges(self, tracker: Tracker) -> None:
        listed = tracker.client.call(ListParameters, "/tracker/list_parameters").result.names
        names = sorted(set(listed) - {"use_sim_time", "start_type_description_service"})
        known = flat(Options())
        assert names == sorted(known)
        described = tracker.client.call(DescribeParameters, "/tracker/describe_parameters", names=names)
        for descriptor in described.descriptors:
            option = known[descriptor.name]
            assert descriptor.description == option.help
            ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
            assert [(r.from_value, r.to_value) for r in ranges] == (
                [] if option.low is None else [(option.low, option.high)]
            )

    @pytest.mark.parametrize(
        ("name", "value", "words"),
        [
            ("tracker.lost_threshold", math.nan, "out of range"),
            ("tracker.lost_threshold", 1.5, "out of range"),
            ("tracker.lost_threshold", "high", "Wrong parameter type"),
            ("tracker.lost_after_ms", -1, "out of range"),
            ("history.seconds", math.inf, "out of range"),
            ("session.max_targets", 0, "out of range"),
            ("model", "other", "model cannot change while a model is loaded"),
            ("onnx.intra_op_threads", 2, "onnx.intra_op_threads cannot change while a model is loaded"),
            ("backend", "abacus", "backend cannot change"),
            ("restore.folder", "/tmp", "restore.folder is fixed when the node starts"),
            ("tensorrt.cache_folder", "/tmp", "tensorrt.cache_folder is fixed when the node starts"),
            ("image_transport", "compressed", "image_transport cannot change while the node is active"),
            ("image_reliability", "best_effort", "image_reliability cannot change while the node is active"),
        ],
    )
    def test_what_is_refused_changes_nothing(
        self, tracker: Tracker, name: str, value: Any, words: str
    ) -> None:
        def present() -> ParameterValue:
            return tracker.client.call(GetParameters, "/tracker/get_parameters", names=[name]).values[0]

        before = present()
        (reason,) = tracker.set_parameters(**{name: value})
        assert words in reason, reason
        assert present() == before

    def test_a_change_while_running_counts_from_the_next_image(self, tracker: Tracker, clip: Frames) -> None:
        tracker.send(clip[0][0])
        tracker.set_target(clip[0][1])
        states = {}
        try:
            for threshold in (0.0, 1.0, 0.0):
                assert tracker.set_parameters(tracker__lost_threshold=threshold) == [""]
                states[threshold] = tracker.send(clip[0][0])[1].targets[0].state
        finally:
            tracker.set_parameters(tracker__lost_threshold=0.0)
        assert states == {0.0: TrackedTarget.TRACKING, 1.0: TrackedTarget.UNCERTAIN}

    def test_a_lost_target_is_in_the_status_and_not_among_the_detections(
        self, tracker: Tracker, clip: Frames
    ) -> None:
        tracker.send(clip[0][0])
        tracker.set_target(clip[0][1])
        empty = background(320, 240)
        try:
            assert tracker.set_parameters(tracker__lost_after_ms=250) == [""]
            sent = [tracker.send(empty) for _ in range(4)]
        finally:
            tracker.set_parameters(tracker__lost_after_ms=1000)
        states = [status.targets[0].state for _, status in sent]
        assert states == [TrackedTarget.UNCERTAIN] * 2 + [TrackedTarget.LOST] * 2
        assert [len(detections.detections) for detections, _ in sent] == [1, 1, 0, 0]
        assert [status.targets[0].lost_frames for _, status in sent] == [1, 2, 3, 4]
        assert (
            "1 of them lost"
            in tracker.diagnosis("targets", lambda s: s.level == DiagnosticStatus.WARN).message
        )


class TestDiagnostics:
    def test_all_is_well(self, tracker: Tracker, clip: Frames) -> None:
        tracker.send(clip[0][0])
        tracker.set_target(clip[0][1], label="car")
        frames = itertools.cycle(clip + clip[::-1])
        wanted = {"input", "engine", "latency", "targets", "store", "node"}
        found: dict[str, DiagnosticStatus] = {}
        seen = len(tracker._diagnostics)

        def complete() -> bool:
            now = tracker.client.node.get_clock().now().nanoseconds
            tracker.publish(image_msg(next(frames)[0], now))
            tracker.stamp_ns = now
            for msg in tracker._diagnostics[seen:]:
                found.update({s.name.removeprefix("tracker: "): s for s in msg.status})
            return set(found) == wanted and all(s.level == DiagnosticStatus.OK for s in found.values())

        wait_until(complete, f"six statuses that are OK: {found}")
        assert "images/s of rgb8 320x240" in found["input"].message
        assert found["engine"].message == "tiny on onnxruntime"
        assert found["targets"].values[0].value.startswith("car: TRACKING, confidence")
        latency = {pair.key: float(pair.value) for pair in found["latency"].values}
        assert 0 < latency["engine_ms_median"] < latency["latency_ms_worst"]
        assert all(s.hardware_id for s in found.values())

    def test_silence_is_an_error(self, tracker: Tracker) -> None:
        told = tracker.diagnosis("input", lambda s: s.level == DiagnosticStatus.ERROR)
        assert re.match(r"no image for \d+\.\d s on /image, which has 1 publisher\(s\)", told.message)

    def test_results_over_the_budget_are_a_warning(self, tracker: Tracker, clip: Frames) -> None:
        tracker.stamp_ns -= 3600 * SECOND
        for rgb, _ in clip * 10:  # more than the test before has left in the window
            tracker.publish(image_msg(rgb, tracker.next_stamp()))
        told = tracker.diagnosis("latency", lambda s: "more than the budget of 100 ms" in s.message)
        assert told.level == DiagnosticStatus.WARN

    def test_other_qos_is_told(self, tracker: Tracker) -> None:
        best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        publisher = tracker.client.node.create_publisher(Image, "/image", best_effort)
        try:
            told = tracker.diagnosis("input", lambda s: "QoS" in s.message)
            assert "set image_reliability to best_effort" in told.message
        finally:
            tracker.client.node.destroy_publisher(publisher)
        with switched(tracker, image_reliability="best_effort"):
            pass  # which also begins new diagnostics


def test_a_clock_that_jumps_back_drops_the_targets(tracker: Tracker, clip: Frames) -> None:
    clock = tracker.client.node.create_publisher(Clock, "/clock", RELIABLE)
    try:
        assert tracker.set_parameters(use_sim_time=True) == [""]
        wait_until(clock.get_subscription_count, "the subscription to /clock")
        began_ns = tracker.stamp_ns + SECOND
        clock.publish(Clock(clock=time_msg(began_ns)))
        wait_until(lambda: tracker.diagnosis("latency"), "diagnostics without time of their own")
        tracker.send(clip[0][0])
        assert tracker.set_target(clip[0][1]).success
        clock.publish(Clock(clock=time_msg(began_ns - 4 * SECOND)))
        wait_until(lambda: "no image" in tracker.set_target(clip[0][1]).message, "the restart")
        _, status = tracker.send(clip[1][0], tracker.stamp_ns - 3 * SECOND)
        assert list(status.targets) == []
        assert status.message == "the clock jumped by -4.000 s: 1 target(s) dropped"
    finally:
        tracker.set_parameters(use_sim_time=False)


@pytest.fixture(scope="module")
def alone(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracker]:
    """A process that begins unconfigured."""
    arguments = ["--ros-args", "-r", "__node:=alone"]
    with running("tracker_node", tmp_path_factory.mktemp("alone"), *arguments) as process:
        yield Tracker(client, process, "/alone")
        assert process.stop(signal.SIGTERM) == 0, process.output


class TestLifecycle:
    def test_every_order(self, alone: Tracker, bundle: Path, clip: Frames) -> None:
        assert alone.state == "unconfigured"
        how = "'ros2 lifecycle set /alone configure', then activate"
        for refused in (alone.set_target([1, 1, 20, 20]), alone.clear_target()):
            assert (refused.message, refused.retry) == (f"the node is not configured: {how}", True)

        self.impossible(alone, Transition.TRANSITION_ACTIVATE, "unconfigured")
        self.impossible(alone, Transition.TRANSITION_DEACTIVATE, "unconfigured")
        self.impossible(alone, 250, "unconfigured")

        # A model that is not there: refused, told, and can be mended without a new process.
        assert alone.set_parameters(model="nowhere") == [""]
        assert not alone.change_state(Transition.TRANSITION_CONFIGURE)
        assert alone.state == "unconfigured"
        assert "no model 'nowhere'" in alone.process.output
        told = self.diagnosis(alone, lambda s: s.level == DiagnosticStatus.ERROR)
        assert told.message.startswith("no model 'nowhere': accepted are a folder with a manifest.yaml")
        assert alone.set_parameters(model=str(bundle)) == [""]

        assert alone.change_state(Transition.TRANSITION_CONFIGURE)
        assert alone.state == "inactive"
        assert "is inactive" in alone.set_target([1, 1, 20, 20]).message
        assert "cannot change while a model is loaded" in alone.set_parameters(model="other")[0]
        self.impossible(alone, Transition.TRANSITION_CONFIGURE, "inactive")

        for _ in range(3):
            assert alone.change_state(Transition.TRANSITION_ACTIVATE)
            assert alone.state == "active"
            self.impossible(alone, Transition.TRANSITION_ACTIVATE, "active")
            self.impossible(alone, Transition.TRANSITION_CLEANUP, "active")
            wait_until(lambda: "no image" in alone.set_target([1, 1, 20, 20]).message, "an active node")
            assert alone.change_state(Transition.TRANSITION_DEACTIVATE)

        assert alone.change_state(Transition.TRANSITION_CLEANUP)
        assert alone.state == "unconfigured"
        assert "is not configured" in alone.set_target([1, 1, 20, 20]).message
        assert alone.change_state(Transition.TRANSITION_CONFIGURE)
        assert alone.change_state(Transition.TRANSITION_ACTIVATE)
        assert alone.change_state(Transition.TRANSITION_ACTIVE_SHUTDOWN)
        assert alone.state == "finalized"
        assert "is not configured" in alone.set_target([1, 1, 20, 20]).message
        assert alone.process.alive

    def impossible(self, tracker: Tracker, transition: int, state: str) -> None:
        """It is answered, and the node lives on in the state in which it was."""
        assert not tracker.change_state(transition)
        assert tracker.state == state

    def diagnosis(self, tracker: Tracker, matches: Callable[[DiagnosticStatus], bool]) -> DiagnosticStatus:
        def found() -> DiagnosticStatus | None:
            statuses = [s for msg in tracker._diagnostics for s in msg.status if s.name == "alone: engine"]
            return next((s for s in reversed(statuses) if matches(s)), None)

        return wait_until(found, "a diagnosis")


def test_without_a_gpu_tensorrt_is_refused_and_auto_says_why(
    client: Client, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with running("tracker_node", tmp_path, "--ros-args", "-r", "__node:=gpuless") as process:
        node = Tracker(client, process, "/gpuless")

        def engine(level: bytes) -> DiagnosticStatus | None:
            statuses = [s for msg in node._diagnostics for s in msg.status if s.name == "gpuless: engine"]
            return next((s for s in statuses if s.level == level and s.values), None)

        assert node.set_parameters(model=str(bundle), backend="tensorrt") == ["", ""]
        assert not node.change_state(Transition.TRANSITION_CONFIGURE)
        assert re.search(r"configure: no (TensorRT|NVIDIA driver|GPU)", process.output)
        assert node.set_parameters(backend="auto") == [""]
        assert node.change_state(Transition.TRANSITION_CONFIGURE)
        status = wait_until(lambda: engine(DiagnosticStatus.OK), "a diagnosis of the engine")
        told = {value.key: value.value for value in status.values}
        assert (told["backend"], told["device"]) == ("onnxruntime", "CPUExecutionProvider")
        assert re.match(r"no (TensorRT|NVIDIA driver|GPU)", told["not_faster_because"])
        assert "not faster, because: " in process.output


class TestStart:
    """What is wrong at start is one sentence and exit code 1."""

    @pytest.mark.parametrize(
        ("parameters", "words"),
        [
            ({"tracker__lost_threshold": 7.0}, "lost_threshold out of range"),
            ({"tracker__lost_threshold": "nan"}, "lost_threshold"),
            ({"history__seconds": 2}, "history.seconds' to '2' of type 'INTEGER', expecting type 'DOUBLE'"),
            ({"image_transport": "theora"}, "image_transport = 'theora': accepted is raw or compressed"),
        ],
    )
    def test_bad_parameters(self, tmp_path: Path, parameters: dict[str, Any], words: str) -> None:
        with running("tracker_node", tmp_path, **parameters) as process:
            assert process.wait() == 1
            (line,) = [line for line in process.output.splitlines() if line]
            assert line.startswith("error: ") and words in line

    def test_message_types_that_are_not_built(self, tmp_path: Path) -> None:
        (tmp_path / "distill_tracker_msgs").mkdir()
        (tmp_path / "distill_tracker_msgs" / "__init__.py").touch()
        search_path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        process = NodeProcess("tracker_node", tmp_path, env={"PYTHONPATH": search_path})
        try:
            assert process.wait() == 1
            (line,) = process.output.splitlines()
            assert (
                "message types are missing" in line
                and "colcon build --base-paths . distill_tracker_msgs" in line
            )
        finally:
            process.kill()

    def test_a_misspelt_parameter_is_told(self, tmp_path: Path) -> None:
        with running("tracker_node", tmp_path, tracker__lost_treshold=0.5) as process:
            wait_until(lambda: "unknown parameter 'tracker.lost_treshold'" in process.output, "the warning")
            assert process.stop() == 0


def test_the_file_of_defaults_is_accepted(client: Client, bundle: Path, tmp_path: Path) -> None:
    """And a node that is not told to start itself waits for a manager."""
    arguments = ["--ros-args", "--params-file", str(ROOT / "config" / "tracker.yaml"), "-r", "__node:=filed"]
    with running("tracker_node", tmp_path, *arguments) as process:
        tracker = Tracker(client, process, "/filed")
        assert tracker.state == "unconfigured"
        names = list(flat(Options()))
        values = client.call(GetParameters, "/filed/get_parameters", names=names).values
        for name, value in zip(names, values, strict=True):
            assert parameter_value_to_python(value) == flat(Options())[name].value
        assert process.stop() == 0
