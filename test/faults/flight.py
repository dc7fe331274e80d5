"""A flight through faults: a real tracker node, a camera in this process, and what became of the target.

The target moves on whatever the camera does, as in the world. Every claim about a fault (what the node said,
how long it took, how many images were lost) is read off the messages that came, and goes into docs/field.md.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from ros_harness import RELIABLE, ROOT, Client, NodeProcess, image_msg
from sensor_msgs.msg import Image
from synthetic import RED, background, circle, draw_square
from vision_msgs.msg import BoundingBox2D, Detection2DArray
from waiting import DEADLINE_S, wait_until

from distill_tracker_msgs.msg import TrackedTarget, TrackerStatus
from distill_tracker_msgs.srv import SetTarget
from distill_tracker_ros.core.boxes import cxcywh_to_xywh, iou, xywh_to_cxcywh
from distill_tracker_ros.messages import stamp_ns
from distill_tracker_ros.nodes.logs import cut

RATE_HZ = 20.0
SIDE = 24  # px of the target
RIGHT_OVERLAP = 0.5
_STATES = {
    TrackedTarget.TRACKING: "TRACKING",
    TrackedTarget.UNCERTAIN: "UNCERTAIN",
    TrackedTarget.LOST: "LOST",
}
_LEVELS = {b"\0": "OK", b"\1": "WARN", b"\2": "ERROR"}
_MOST_SAID, _LONGEST_SAID = 3, 140  # sentences and characters of each in the table
_RESULTS = ROOT / "build" / "field" / "faults"

Rgb = NDArray[np.uint8]
Spoil = Callable[
    [Image, int], Iterable[Image]
]  # an image and its number since the fault began -> what is sent


@dataclass(frozen=True)
class Passed:
    """What became of the target in a fault and after it."""

    recovered_s: (
        float | None
    )  # from the first good image to the first right box; None = it was not followed again
    frames_lost: (
        int  # images of the camera, from the begin of the fault on, that no right box was published for
    )
    states: tuple[str, ...]  # of the target, repetitions left out; "none" while there is no target
    said: tuple[str, ...]  # messages of ~/status and diagnoses that are not OK, as they came first

    def record(self, fault: str) -> None:
        """Put it into the table of the docs."""
        happens = " > ".join(self.states)
        for said in self.said[:_MOST_SAID]:
            happens += f"; {cut(said, _LONGEST_SAID)}"
        _RESULTS.mkdir(parents=True, exist_ok=True)
        content = {
            "fault": fault,
            "happens": happens,
            "recovered_s": None if self.recovered_s is None else round(self.recovered_s, 3),
            "frames_lost": self.frames_lost,
        }
        name = re.sub(r"\W+", "_", fault)
        (_RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1))


class Flight:
    """A camera, a target that moves on a circle, and the node that follows it."""

    def __init__(
        self, client: Client, process: NodeProcess, name: str = "/tracker", topic: str = "/image"
    ) -> None:
        self.client, self.process, self.name = client, process, name
        self.images = client.node.create_publisher(Image, topic, RELIABLE)
        self.statuses = client.listen(TrackerStatus, f"{name}/status")
        self._diagnostics = client.listen(DiagnosticArray, "/diagnostics")
        self._boxes: list[tuple[float, Detection2DArray]] = []  # when they came, by time.monotonic
        client.node.create_subscription(
            Detection2DArray,
            f"{name}/detections",
            lambda msg: self._boxes.append((time.monotonic(), msg)),
            RELIABLE,
        )
        self._still, self._path = background(320, 240), circle(320, 240, frames_per_turn=round(8 * RATE_HZ))
        self._truth: dict[int, NDArray[np.float64]] = {}  # stamp of what was sent -> xywh, px
        self._began_s = time.monotonic()

    # The world and the camera.

    @property
    def now_ns(self) -> int:
        return int(self.client.node.get_clock().now().nanoseconds)

    def look(self) -> tuple[Rgb, NDArray[np.float64]]:
        """The picture of the world as it is now, and the box of the target, px."""
        corner = np.round(np.array(self._path((time.monotonic() - self._began_s) * RATE_HZ)) - SIDE / 2)
        box, rgb = np.array([*corner, SIDE, SIDE], np.float64), self._still.copy()
        draw_square(rgb, box, RED)
        return rgb, box

    def shoot(self) -> Image:
        """An image of now with a stamp of now; what is sent of it is held against this truth."""
        rgb, box = self.look()
        msg = image_msg(rgb, self.now_ns)
        self._truth[stamp_ns(msg.header.stamp)] = box
        return msg

    def fly(self, seconds: float, spoil: Spoil | None = None, rate_hz: float = RATE_HZ) -> None:
        """Send images for so long."""
        begin = time.monotonic()
        for number in range(round(seconds * rate_hz)):
            msg = self.shoot()
            for sent in [msg] if spoil is None else spoil(msg, number):
                self.images.publish(sent)
            time.sleep(max(0.0, begin + (number + 1) / rate_hz - time.monotonic()))

    def know(self, sent_stamp_ns: int, shot: Image, scale: float = 1.0) -> None:
        """Say that an image of another stamp or size shows what `shot` shows."""
        self._truth[sent_stamp_ns] = self._truth[stamp_ns(shot.header.stamp)] * scale

    # The target.

    def follow(self, id: str = "1") -> None:
        """Mark the target, and fly until it is followed."""
        wait_until(self.images.get_subscription_count, "the subscription to the images")
        begin = time.monotonic()
        while True:
            self.fly(0.2)
            msg = self.shoot()
            self.images.publish(msg)
            wait_until(lambda: self.statuses, "a status")
            box = BoundingBox2D()
            box.center.position.x, box.center.position.y, box.size_x, box.size_y = (
                float(v) for v in xywh_to_cxcywh(self._truth[stamp_ns(msg.header.stamp)])
            )
            answer = self.client.call(
                SetTarget, f"{self.name}/set_target", box=box, stamp=msg.header.stamp, id=id
            )
            if answer.success:
                break
            assert time.monotonic() - begin < DEADLINE_S, answer.message
        assert self.until_right(time.monotonic(), DEADLINE_S) is not None, "the target was never followed"

    def until_right(self, since_s: float, deadline_s: float) -> float | None:
        """Fly until a right box comes that is not older than `since_s`: when it came. None = it never did."""
        end, since_ns = time.monotonic() + deadline_s, self.now_ns
        while time.monotonic() < end:
            self.fly(0.1)
            for came_s, msg in list(self._boxes):
                if came_s >= since_s and stamp_ns(msg.header.stamp) >= since_ns and self._is_right(msg):
                    return came_s
        return None

    def _is_right(self, msg: Detection2DArray) -> bool:
        truth = self._truth.get(stamp_ns(msg.header.stamp))
        if truth is None or not msg.detections:
            return False
        found = msg.detections[0].bbox
        centre = found.center.position
        box = cxcywh_to_xywh([centre.x, centre.y, found.size_x, found.size_y])
        return float(iou(box, truth)) > RIGHT_OVERLAP

    # Through a fault.

    def through(
        self, fault: Callable[[], Any], deadline_s: float = DEADLINE_S, comes_back: bool = True
    ) -> Passed:
        """Let a fault happen, fly on until the target is followed again, and tell what became of it.

        Args:
            fault: sends what it likes, or nothing; returns when the camera is well again.
            comes_back: False for faults after which the target is given up: then a second is flown.
        """
        statuses, diagnoses, begin_ns = len(self.statuses), len(self._diagnostics), self.now_ns
        fault()
        well_s = time.monotonic()
        right_s = self.until_right(well_s, deadline_s if comes_back else 1.0)
        assert (right_s is not None) is comes_back, f"followed again: {right_s is not None}"
        self.fly(1.2)  # until diagnostics have told of it
        end_ns = self.now_ns
        right = {stamp_ns(msg.header.stamp) for _, msg in list(self._boxes) if self._is_right(msg)}
        sent = [at for at in self._truth if begin_ns <= at <= end_ns]
        return Passed(
            None if right_s is None else right_s - well_s,
            sum(at not in right for at in sent[:-2]),  # the last ones may be on their way
            tuple(key for key, _ in groupby(map(_state, self.statuses[statuses:]))),
            tuple(_news(self._said(statuses, diagnoses), known=self._said(0, 0, statuses, diagnoses))),
        )

    def everything_said(self) -> list[str]:
        """By the node, since this flight began."""
        return list(self._said(0, 0))

    def _said(
        self, statuses: int, diagnoses: int, to_status: int | None = None, to_diagnosis: int | None = None
    ) -> Iterator[str]:
        """What the node said in these statuses and diagnoses."""
        for status in self.statuses[statuses:to_status]:
            if status.message:
                yield status.message
        for msg in self._diagnostics[diagnoses:to_diagnosis]:
            for told in msg.status:
                # What "was until a moment ago" is no news.
                if told.level != b"\0" and " after: " not in told.message:
                    yield f"{_LEVELS[told.level]} {told.name.removeprefix('tracker: ')}: {told.message}"


def _news(said: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    """What was not said before, with other numbers at most."""
    heard = {re.sub(r"\d+", "0", text) for text in known}
    for text in said:
        if (key := re.sub(r"\d+", "0", text)) not in heard:
            heard.add(key)
            yield text


def _state(status: TrackerStatus) -> str:
    return _STATES[status.targets[0].state] if status.targets else "none"
