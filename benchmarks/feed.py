"""One camera, the tracker that watches it, and what somebody who listens and gives orders sees of them."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, NamedTuple

from camera import ImageTopic
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from traffic import Traffic
from vision_msgs.msg import BoundingBox2D

from distill_tracker_msgs.srv import ClearTarget, SetTarget
from distill_tracker_ros.command_line import CommandError
from distill_tracker_ros.demo.client import Client, TrackerStatus
from distill_tracker_ros.messages import fill_box, stamp_ns
from distill_tracker_ros.processes import NodeProcess

ANSWER_S = 10.0  # for an order; the node itself answers within its service_timeout_s
_START_S = 90.0  # for a node to take its first image; several may start at once
_SENT = 300  # images of which it is known when they were sent


class Heard(NamedTuple):
    """What one ~/status says, and when it came."""

    stamp_ns: int  # of the image
    arrived_ns: int  # on the clock of the stamps
    received: int
    processed: int
    dropped: int
    rejected: int
    states: dict[str, int]  # target -> TrackedTarget.TRACKING, UNCERTAIN or LOST

    @property
    def latency_ms(self) -> float:
        """From the image's stamp to the arrival of its result."""
        return (self.arrived_ns - self.stamp_ns) / 1e6


class Feed:
    """Images are sent, and results are heard, while the client waits for something."""

    def __init__(
        self, client: Client, tracker: NodeProcess, traffic: Traffic, rate_hz: float, namespace: str = ""
    ) -> None:
        self.tracker = tracker
        self.heard: list[Heard] = []
        self.absent: set[int] = set()  # cars that are not shown
        self.sent = 0
        self._client, self._traffic = client, traffic
        self._prefix = f"{namespace}/tracker" if namespace else "tracker"
        self._clock = client.node.get_clock()
        topic = f"{namespace}/image" if namespace else "image"
        self._images = ImageTopic(client, traffic.size, topic, "best_effort")
        self._shown: deque[tuple[int, int]] = deque(maxlen=_SENT)  # stamp, number of the picture
        client.node.create_subscription(TrackerStatus, self.topic("status"), self._hear, 100)
        client.node.create_timer(1 / rate_hz, self._send)

    def topic(self, name: str) -> str:
        """A topic or a service of the tracker."""
        return f"{self._prefix}/{name}"

    def wait_for_result(self) -> None:
        """Until the tracker has taken an image."""
        self._client.wait_until(lambda: self.heard, f"a result of {self._prefix}", _START_S)

    def mark(self, car: int, late_s: float = 0.0) -> str:
        """Mark a car, whose number is the target's id, on a picture that is so old.

        Returns:
            Why the tracker does not follow it; empty if it does.
        """
        latest_ns = min(self.heard[-1].stamp_ns, self.now_ns() - round(late_s * 1e9))
        stamp, number = max(shown for shown in self._shown if shown[0] <= latest_ns)
        request = SetTarget.Request(id=str(car), box=BoundingBox2D())
        request.stamp.sec, request.stamp.nanosec = divmod(stamp, 1_000_000_000)
        fill_box(request.box, self._traffic.box_xywh(car, number))
        return self._order(SetTarget, "set_target", request)

    def drop(self, car: int) -> str:
        """Why the tracker still follows a car; empty if it does not."""
        return self._order(ClearTarget, "clear_target", ClearTarget.Request(id=str(car)))

    def set_parameter(self, name: str, value: float) -> str:
        """Why the parameter has not that value now; empty if it has."""
        as_double = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
        request = SetParameters.Request(parameters=[Parameter(name=name, value=as_double)])
        return self._order(SetParameters, "set_parameters", request)

    def _order(self, kind: type, service: str, request: Any) -> str:
        """Give an order; why it was not carried out, or nothing."""
        try:
            answer = self._client.call(kind, self.topic(service), request, ANSWER_S)
        except CommandError as error:
            self.tracker.check()  # that it is dead is another matter
            return str(error)
        if kind is SetParameters:
            return "" if answer.results[0].successful else str(answer.results[0].reason)
        return "" if answer.success else str(answer.message)

    def _send(self) -> None:
        self._traffic.paint(self._images.pixels, self.sent, self.absent)
        self._shown.append((self._images.publish(), self.sent))
        self.sent += 1

    def _hear(self, status: TrackerStatus) -> None:
        self.heard.append(
            Heard(
                stamp_ns(status.header.stamp),
                self.now_ns(),
                status.frames_received,
                status.frames_processed,
                status.frames_dropped,
                status.frames_rejected,
                {target.id: target.state for target in status.targets},
            )
        )

    def now_ns(self) -> int:
        """On the clock of the stamps."""
        return int(self._clock.now().nanoseconds)


def listen(client: Client, seconds: float) -> None:
    """Let images and results come and go."""
    end = time.monotonic() + seconds
    client.wait_until(lambda: time.monotonic() > end, "the end of the measurement", seconds + 30)
