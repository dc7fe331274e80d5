"""What a node of an operator does with a tracker: watch its status, set, drop and look at targets."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from ..messages import fill_box, stamp_ns
from .interfaces import ClearTarget, GetViews, SetTarget, TrackerStatus
from .results import QOS

LOOK_PERIOD_S = 0.25  # at calls that have waited too long
LONGEST_LATENCY_MS = 10_000  # a greater one is the distance of two clocks


@dataclass(frozen=True)
class Answer:
    """What the tracker said, or why it said nothing."""

    success: bool
    message: str  # a sentence for the operator
    retry: bool = False  # whether the same call may succeed later
    id: str = ""  # of the target
    views: tuple[Any, ...] = ()  # distill_tracker_msgs/TargetView


class TrackerClient:
    """Talks to the tracker by its topics and services: `tracker/...` in the node's namespace, remappable.

    Calls return at once, from any thread; their futures always get an answer, in a thread of the executor.
    """

    def __init__(
        self, node: Node, timeout_s: float, heard: Callable[[TrackerStatus], None] = lambda status: None
    ) -> None:
        """
        Args:
            timeout_s: longest time a call waits for its answer.
            heard: is told every status.
        """
        self._node, self._timeout_s, self._heard = node, timeout_s, heard
        # With the time of its arrival by time.monotonic.
        self._newest: tuple[TrackerStatus | None, float] = None, -math.inf
        self._lock = threading.Lock()
        self._waiting: dict[Future[Answer], tuple[Any, Any, float]] = {}  # client, its future, until when
        group = ReentrantCallbackGroup()
        self._clients = {
            kind: node.create_client(kind, f"tracker/{name}", callback_group=group)
            for kind, name in (
                (SetTarget, "set_target"),
                (ClearTarget, "clear_target"),
                (GetViews, "get_views"),
            )
        }
        node.create_subscription(TrackerStatus, "tracker/status", self._on_status, QOS)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(LOOK_PERIOD_S, self._give_up, callback_group=group, clock=steady)

    @property
    def status(self) -> TrackerStatus | None:
        """The newest status; None before the first."""
        return self._newest[0]

    @property
    def silent_s(self) -> float:
        """Time since the newest status; infinite before the first."""
        return time.monotonic() - self._newest[1]

    def image_time_ns(self) -> int:
        """The present time by the clock that stamps the images; 0 before the first image.

        Extrapolated from the newest image: the camera's clock need not be that of this machine or node.
        """
        status, heard_s = self._newest
        if status is None or not (newest := stamp_ns(status.header.stamp)):
            return 0
        latency_ms = status.latency_ms if 0 <= status.latency_ms <= LONGEST_LATENCY_MS else 0.0
        return newest + round((latency_ms / 1e3 + time.monotonic() - heard_s) * 1e9)

    def set_target(self, box_xywh: ArrayLike, stamp_ns: int, id: str = "", label: str = "") -> Future[Answer]:
        """Follow a box in pixels of the image with this stamp (0 = the newest)."""
        request = SetTarget.Request(id=id, label=label)
        request.stamp.sec, request.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
        fill_box(request.box, box_xywh)
        return self._call(SetTarget, request)

    def clear_target(self, id: str = "") -> Future[Answer]:
        """Drop a target; with an empty id all."""
        return self._call(ClearTarget, ClearTarget.Request(id=id))

    def get_views(self, id: str = "") -> Future[Answer]:
        """The views of a target; with an empty id of the primary one."""
        return self._call(GetViews, GetViews.Request(id=id))

    def _call(self, kind: Any, request: Any) -> Future[Answer]:
        client, answer = self._clients[kind], Future[Answer]()
        answer.set_running_or_notify_cancel()  # nobody who waits for it can cancel it
        if not client.service_is_ready():
            name = self._node.resolve_service_name(client.srv_name)
            text = f"no tracker answers at {name}: is it running, and in this namespace?"
            answer.set_result(Answer(False, text, retry=True))
            return answer
        with self._lock:
            called = client.call_async(request)
            self._waiting[answer] = client, called, time.monotonic() + self._timeout_s
        called.add_done_callback(lambda done: self._finish(answer, done))
        return answer

    def _finish(self, answer: Future[Answer], called: Any) -> None:
        with self._lock:
            if self._waiting.pop(answer, None) is None:  # given up
                return
        response = called.result()
        id, views = getattr(response, "id", ""), tuple(getattr(response, "views", ()))
        answer.set_result(
            Answer(response.success, response.message, getattr(response, "retry", False), id, views)
        )

    def _give_up(self) -> None:
        now = time.monotonic()
        with self._lock:
            late = [(answer, *entry[:2]) for answer, entry in self._waiting.items() if entry[2] < now]
            for answer, *_ in late:
                del self._waiting[answer]
        for answer, client, called in late:
            client.remove_pending_request(called)
            text = f"the tracker did not answer within {self._timeout_s:g} s: the status tells what it did"
            answer.set_result(Answer(False, text, retry=True))

    def _on_status(self, msg: TrackerStatus) -> None:
        self._newest = msg, time.monotonic()
        self._heard(msg)
