"""A flight through faults: a real tracker node, a camera in this process, and what became of the target.

The target moves on whatever the camera does, as in the world. Every claim about a fault (what the node said,
how long it took, how many images were lost) is read off the messages that came, and goes into docs/field.md.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from numpy.typing import NDArray
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from ros_harness import RELIABLE, ROOT, Client, NodeProcess, compressed_msg, image_msg
from sensor_msgs.msg import CompressedImage, Image
from synthetic import RED, background, circle, draw_square
from vision_msgs.msg import BoundingBox2D, Detection2DArray
from waiting import DEADLINE_S, wait_until

from distill_tracker_msgs.msg import TrackedTarget, TrackerStatus
from distill_tracker_msgs.srv import ClearTarget, SetTarget
from distill_tracker_ros.core.boxes import cxcywh_to_xywh, iou, xywh_to_cxcywh
from distill_tracker_ros.messages import stamp_ns
from distill_tracker_ros.nodes.logs import cut

RATE_HZ = 20.0
SIDE = 24  # px of the target
RIGHT_OVERLAP = 0.5
FEW = 20  # images that a busy machine may lose, of the 45 and more of a fault that harms none
_STATES = {
    TrackedTarget.TRACKING: "TRACKING",
    TrackedTarget.UNCERTAIN: "UNCERTAIN",
    TrackedTarget.LOST: "LOST",
}
_LEVELS = {b"\0": "OK", b"\1": "WARN", b"\2": "ERROR"}
_PAST = re.compile("(; )?(OK again|better) for .* after: .*")  # what was until a moment ago is no news
_MOST_SAID, _LONGEST_SAID = 3, 140  # sentences and characters of each in the table
_USUAL = {"image_transport": "raw", "image_reliability": "best_effort", "use_sim_time": False}
_RESULTS = ROOT / "build" / "field" / "faults"

Rgb = NDArray[np.uint8]
Spoil = Callable[[Any, int], Iterable[Any]]  # an image and its number since the fault began -> what is sent


@dataclass(frozen=True)
class Passed:
    """What became of the target in a fault and after it."""

    recovered_s: (
        float | None
    )  # from the first good image to the first right box; None = it was not followed again
    # Images from the begin of the fault on that no right box was published for; None = the node has ended.
    frames_lost: int | None
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


class _Boxes(NamedTuple):
    """A message on ~/detections."""

    came_s: float  # by time.monotonic
    msg: Detection2DArray
    is_right: bool


class Flight:
    """A camera, a target that moves on a circle, and the node that follows it."""

    ahead_ns = 0  # of the camera's clock before the world's

    def __init__(
        self,
        client: Client,
        process: NodeProcess,
        name: str = "/tracker",
        topic: str = "/image",
        jpeg: bool = False,
    ) -> None:
        self.client, self.process, self.name, self._jpeg = client, process, name, jpeg
        self.images = client.node.create_publisher(CompressedImage if jpeg else Image, topic, RELIABLE)
        self.statuses = client.listen(TrackerStatus, f"{name}/status")
        self._diagnostics = client.listen(DiagnosticArray, "/diagnostics")
        self._boxes: list[_Boxes] = []
        client.node.create_subscription(
            Detection2DArray,
            f"{name}/detections",
            lambda msg: self._boxes.append(_Boxes(time.monotonic(), msg, self._is_right(msg))),
            RELIABLE,
        )
        self._still, self._path = background(320, 240), circle(320, 240, frames_per_turn=round(8 * RATE_HZ))
        self._truth: dict[int, NDArray[np.float64]] = {}  # stamp of what was sent -> xywh, px
        self._shots: list[int] = []  # the stamp of each
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

    def shoot(self) -> Any:
        """An image of now with a stamp of now; what is sent of it is held against this truth."""
        (rgb, box), at_ns = self.look(), self.now_ns + self.ahead_ns
        self._truth[at_ns] = box
        self._shots.append(at_ns)
        return compressed_msg(jpeg(rgb), at_ns) if self._jpeg else image_msg(rgb, at_ns)

    def fly(self, seconds: float, spoil: Spoil | None = None, rate_hz: float = RATE_HZ) -> None:
        """Send images for so long."""
        begin = time.monotonic()
        for number in range(round(seconds * rate_hz)):
            msg = self.shoot()
            for count, sent in enumerate([msg] if spoil is None else spoil(msg, number)):
                if count:  # else the middleware, which keeps one, would let the node see the last alone
                    time.sleep(0.015)
                self.images.publish(sent)
            time.sleep(max(0.0, begin + (number + 1) / rate_hz - time.monotonic()))

    def know(self, sent_stamp_ns: int, scale: float = 1.0) -> None:
        """Say that the last image is sent with another stamp or in another size."""
        self._truth[sent_stamp_ns] = self._truth.pop(self._shots[-1]) * scale
        self._shots[-1] = sent_stamp_ns

    @property
    def answered(self) -> set[int]:
        """The stamps of the images for which boxes were published, or that there are none."""
        return {stamp_ns(boxes.msg.header.stamp) for boxes in list(self._boxes)}

    def worst_gap_s(self, since_s: float) -> float:
        """The longest time without a result since then (time.monotonic)."""
        came_s = [since_s, *(each.came_s for each in list(self._boxes) if each.came_s >= since_s)]
        return max(later - earlier for earlier, later in pairwise([*came_s, time.monotonic()]))

    def oldest_s(self, since_s: float) -> float:
        """The greatest age of a result when it came, since then (time.monotonic)."""
        to_ros_ns = self.now_ns + self.ahead_ns - time.monotonic_ns()
        came = [each for each in list(self._boxes) if each.came_s >= since_s]
        return max(each.came_s - (stamp_ns(each.msg.header.stamp) - to_ros_ns) / 1e9 for each in came)

    # The target.

    def follow(self, id: str = "1") -> None:
        """Mark the target, and fly until it is followed."""
        wait_until(lambda: self.fly(0.1) or self.statuses, "a status")
        begin = time.monotonic()
        while True:
            self.fly(0.2)
            msg = self.shoot()
            self.images.publish(msg)
            answer = self.client.call(
                SetTarget, f"{self.name}/set_target", box=self.box_in(msg), stamp=msg.header.stamp, id=id
            )
            if answer.success:
                break
            assert time.monotonic() - begin < DEADLINE_S, answer.message
        assert self.until_right(time.monotonic(), DEADLINE_S) is not None, "the target was never followed"

    def box_in(self, shot: Any) -> BoundingBox2D:
        """Where the target is in an image of `shoot`."""
        cx, cy, width, height = (float(v) for v in xywh_to_cxcywh(self._truth[stamp_ns(shot.header.stamp)]))
        box = BoundingBox2D(size_x=width, size_y=height)
        box.center.position.x, box.center.position.y = cx, cy
        return box

    def hide(self, shot: Image, number: int) -> Iterable[Image]:
        """A spoiler: the target is not in the picture."""
        return [image_msg(self._still, stamp_ns(shot.header.stamp))]

    def until_right(self, since_s: float, deadline_s: float) -> float | None:
        """Fly until a right box comes that is not older than `since_s`: when it came. None = it never did."""
        end, since_ns = time.monotonic() + deadline_s, self.now_ns + self.ahead_ns
        while time.monotonic() < end:
            self.fly(0.1)
            for came_s, msg, is_right in list(self._boxes):
                if is_right and came_s >= since_s and stamp_ns(msg.header.stamp) >= since_ns:
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
        statuses, diagnoses = len(self.statuses), len(self._diagnostics)
        boxes, shots = len(self._boxes), len(self._shots)
        fault()
        well_s = time.monotonic()
        right_s = self.until_right(well_s, deadline_s if comes_back else 1.0)
        assert (right_s is not None) is comes_back, f"followed again: {right_s is not None}"
        self.fly(1.2)  # until diagnostics have told of it
        self._check_honesty()
        sent = Counter(self._shots[shots:-2])  # the last ones may be on their way
        right = Counter(stamp_ns(each.msg.header.stamp) for each in self._boxes[boxes:] if each.is_right)
        return Passed(
            None if right_s is None else right_s - well_s,
            (sent - right).total(),
            tuple(key for key, _ in groupby(map(_state, self.statuses[statuses:]))),
            tuple(_news(self._said(statuses, diagnoses), known=self._said(0, 0, statuses, diagnoses))),
        )

    def _check_honesty(self) -> None:
        """Every box is one of a target that is not LOST, and every image is accounted for."""
        told: dict[int, list[set[str]]] = defaultdict(list)
        for status in list(self.statuses):
            followed = {target.id for target in status.targets if target.state != TrackedTarget.LOST}
            told[stamp_ns(status.header.stamp)].append(followed)
        for _, msg, _ in list(self._boxes):
            known, ids = told.get(stamp_ns(msg.header.stamp)), {each.id for each in msg.detections}
            assert known is None or ids in known, f"boxes of {ids} while {known} are followed"
        counts = self.statuses[-1]
        handled = counts.frames_processed + counts.frames_dropped + counts.frames_rejected
        assert 0 <= counts.frames_received - handled <= 2, counts

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
        for status in self.statuses[statuses:to_status]:
            yield from (f"{_STATES[each.state]}: {each.reason}" for each in status.targets if each.reason)
        for msg in self._diagnostics[diagnoses:to_diagnosis]:
            for told in msg.status:
                text = _PAST.sub("", told.message)
                if told.level != b"\0" and text:
                    yield f"{_LEVELS[told.level]} {told.name.removeprefix('tracker: ')}: {text}"


def _news(said: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    """What was not said before, with other numbers at most."""
    heard = {re.sub(r"\d+", "0", text) for text in known}
    for text in said:
        if (key := re.sub(r"\d+", "0", text)) not in heard:
            heard.add(key)
            yield text


def _state(status: TrackerStatus) -> str:
    return _STATES[status.targets[0].state] if status.targets else "none"


def jpeg(rgb: Rgb) -> bytes:
    return cv2.imencode(".jpg", rgb[..., ::-1])[1].tobytes()


def begin_anew(client: Client, node: str = "/tracker", **parameters: Any) -> None:
    """Make a node active without targets, counts and diagnoses of before; see `activate_with`."""

    def is_active() -> bool:
        state = client.call(GetState, f"{node}/get_state").current_state
        return bool(state.id == State.PRIMARY_STATE_ACTIVE)

    wait_until(is_active, "an active node")
    assert client.call(ClearTarget, f"{node}/clear_target").success
    activate_with(client, node, **parameters)


def activate_with(client: Client, node: str = "/tracker", **parameters: Any) -> None:
    """Deactivate a node, set these parameters and the others of _USUAL, activate it; its targets stay."""

    def change(transition: int) -> None:
        request = Transition(id=transition)
        assert client.call(ChangeState, f"{node}/change_state", transition=request).success

    change(Transition.TRANSITION_DEACTIVATE)
    values = [Parameter(key, value=v).to_parameter_msg() for key, v in (_USUAL | parameters).items()]
    answer = client.call(SetParameters, f"{node}/set_parameters", parameters=values)
    assert all(result.successful for result in answer.results), answer
    change(Transition.TRANSITION_ACTIVATE)
