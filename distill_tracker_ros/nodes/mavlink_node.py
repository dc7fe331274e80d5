"""The tracker as a camera of the vehicle for MAVLink ground stations such as QGroundControl."""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import Header

from ..core.tracker import TrackState
from ..mavlink.camera import Camera
from ..mavlink.link import Link, LinkFacts
from ..mavlink.options import FIXED_AT_START, MavlinkOptions
from ..mavlink.tracker import Answer, Box, Report, Seen
from ..mavlink.transport import opener
from ..messages import box_from_msg, stamp_ns
from .interfaces import TrackedTarget, TrackerStatus
from .logs import Log
from .parameters import Parameters
from .results import QOS
from .running import run
from .tracker_client import TrackerClient

DIAGNOSTICS_PERIOD_S = 1.0
STAMPS_KEPT = 4096  # of images, as many as the longest history of the tracker has at 60 Hz


class RosTracker:
    """The tracker behind its topics and services, as the camera asks for it."""

    def __init__(self, node: Node, options: Callable[[], MavlinkOptions]) -> None:
        self._options = options
        self._stamps: deque[int] = deque(maxlen=STAMPS_KEPT)
        self._report: Report | None = None
        self._client = TrackerClient(node, options().service_timeout_s, self._hear)

    @property
    def report(self) -> Report | None:
        return self._report

    @property
    def silent_s(self) -> float:
        return self._client.silent_s

    def follow(self, box_xywh: Box, id: str) -> Future[Answer]:
        return self._client.set_target(box_xywh, self._seen_stamp_ns(), id)  # type: ignore[return-value]

    def drop(self, id: str) -> Future[Answer]:
        return self._client.clear_target(id)  # type: ignore[return-value]

    def _hear(self, msg: TrackerStatus) -> None:
        if stamp := stamp_ns(msg.header.stamp):
            if self._stamps and stamp < self._stamps[-1]:  # a bag that begins again, or a clock that was set
                self._stamps.clear()
            if not self._stamps or stamp > self._stamps[-1]:
                self._stamps.append(stamp)
        self._report = Report(msg.width, msg.height, tuple(_seen(target) for target in msg.targets))

    def _seen_stamp_ns(self) -> int:
        """The stamp of the image that the pilot sees now; 0 = the newest."""
        delay_ms, now_ns = self._options().video_delay_ms, self._client.image_time_ns()
        if not delay_ms or not now_ns:
            return 0
        return nearest(tuple(self._stamps), max(now_ns - delay_ms * 1_000_000, 1))


def nearest(stamps_ns: Sequence[int], wanted_ns: int) -> int:
    """The one of these stamps, in the order of time, that is nearest; the wanted one if it is older than all.

    The tracker knows images by their stamps. It refuses a time before its first image with a sentence.
    """
    place = bisect_left(stamps_ns, wanted_ns)
    if not place:
        return wanted_ns
    return min(stamps_ns[place - 1 : place + 1], key=lambda each: abs(each - wanted_ns))


def _seen(target: TrackedTarget) -> Seen:
    x, y, w, h = box_from_msg(target.box).tolist()
    return Seen(target.id, TrackState(target.state), (x, y, w, h), target.reason)


class MavlinkNode(Node):
    """Joins the camera on its link to the tracker of its namespace, and tells /diagnostics how both are."""

    def __init__(self) -> None:
        super().__init__("mavlink")
        self._settings = Parameters(self, MavlinkOptions(), _refusal)
        connection = self._settings.value.connection
        open_link = opener(connection)
        log = Log(self.get_logger())
        camera = Camera(lambda: self._settings.value, RosTracker(self, lambda: self._settings.value), log)
        self._link = Link(connection, open_link, camera, log)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", QOS)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=steady)
        self._link.start()

    def destroy_node(self) -> None:
        self._link.stop()
        super().destroy_node()

    def _publish_diagnostics(self) -> None:
        status = link_status(self._settings.value.connection, self._link.facts())
        name = self.get_name()
        status.name, status.hardware_id = f"{name}: link", name
        header = Header(stamp=self.get_clock().now().to_msg())
        self._diagnostics.publish(DiagnosticArray(header=header, status=[status]))


def link_status(connection: str, facts: LinkFacts) -> DiagnosticStatus:
    """What /diagnostics says of the link."""
    camera = facts.camera
    peers = ", ".join(map(str, camera.peers))
    level, message = DiagnosticStatus.OK, f"ground stations and vehicles: {peers}"
    if facts.trouble:
        level, message = DiagnosticStatus.ERROR, facts.trouble
    elif not camera.system_id:
        text = "no vehicle was heard: without its HEARTBEAT on this link, set system_id"
        level, message = DiagnosticStatus.WARN, text
    elif not peers:
        level, message = DiagnosticStatus.WARN, "no HEARTBEAT of a ground station or vehicle"
    values = {
        "connection": connection,
        "system_id": camera.system_id,
        "peers": peers,
        "heartbeats": camera.heartbeats,
        "accepted": camera.accepted,
        "refused": camera.refused,
        "unsupported": camera.unsupported,
        "last_refusal": camera.last_refusal,
        "bad_bytes": facts.bad_bytes,
    }
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, message=message, values=pairs)


def _refusal(parameter: str) -> str:
    if parameter in FIXED_AT_START:
        return f"{parameter} is fixed when the node starts: start it again with '-p {parameter}:=...'"
    return ""


def main() -> int:
    """Run the node until it is told to end."""
    return run(MavlinkNode)


if __name__ == "__main__":
    sys.exit(main())
