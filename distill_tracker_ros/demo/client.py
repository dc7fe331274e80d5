"""What a user of the tracker node does: bring it up, mark a target, listen. The demo's only use of rclpy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import ArrayLike

from ..command_line import CommandError
from ..messages import fill_box
from ..processes import NodeProcess

try:
    import rclpy
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState
    from rclpy.context import Context
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import CameraInfo
    from std_srvs.srv import SetBool
    from vision_msgs.msg import BoundingBox2D, Detection2DArray

    from distill_tracker_msgs.msg import TrackerStatus
    from distill_tracker_msgs.srv import SetTarget
except ImportError as error:
    raise CommandError(
        f"ROS 2 is not at hand ({error}): run make setup, then . install/setup.bash"
    ) from error

__all__ = ["CameraInfo", "Client", "Detection2DArray", "SetBool", "TrackerStatus"]

_DEADLINE_S = 30.0  # for a node to appear and to answer
_KEEP_ALL = QoSProfile(depth=1000)  # reliable: nothing is missed between two looks


class Client:
    """A node in this process. Messages are taken while it waits for something, and only then."""

    def __init__(self, processes: Sequence[NodeProcess] = ()) -> None:
        """`processes`: those whose death ends every wait."""
        self.processes = list(processes)
        self._context = Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("demo", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)

    def listen(self, kind: type, topic: str) -> list[Any]:
        """The messages that come on a topic from now on."""
        messages: list[Any] = []
        self.node.create_subscription(kind, topic, messages.append, _KEEP_ALL)
        return messages

    def statuses(self) -> list[TrackerStatus]:
        return self.listen(TrackerStatus, "tracker/status")

    def detections(self) -> list[Detection2DArray]:
        return self.listen(Detection2DArray, "tracker/detections")

    def wait_until(self, condition: Callable[[], Any], what: str, deadline_s: float = _DEADLINE_S) -> None:
        """Take messages until a condition holds.

        Raises:
            CommandError: it does not in time, or a node died.
        """
        end = time.monotonic() + deadline_s
        while not condition():
            for process in self.processes:
                process.check()
            if time.monotonic() > end:
                raise CommandError(f"waited {deadline_s:g} s in vain for {what}")
            self._executor.spin_once(timeout_sec=0.05)

    def call(self, kind: type, name: str, request: Any, deadline_s: float = _DEADLINE_S) -> Any:
        """The answer of a service.

        Raises:
            CommandError: there is none in time, or a node died.
        """
        client = self.node.create_client(kind, name)
        try:
            self.wait_until(client.service_is_ready, f"the service {name}", deadline_s)
            future = client.call_async(request)
            self.wait_until(future.done, f"an answer of {name}", deadline_s)
            return future.result()
        finally:
            self.node.destroy_client(client)

    def activate(self, tracker: NodeProcess) -> None:
        """Take the tracker node through configure and activate.

        Raises:
            CommandError: it refuses; with the last lines of its log, which say why.
        """
        for name in ("configure", "activate"):
            transition = Transition(id=getattr(Transition, f"TRANSITION_{name.upper()}"))
            request = ChangeState.Request(transition=transition)
            if not self.call(ChangeState, "tracker/change_state", request).success:
                raise tracker.failure(f"the tracker node could not {name}")

    def set_target(self, box_xywh: ArrayLike, stamp: Any, label: str = "") -> str:
        """Mark the target on the frame of that stamp, and return its id.

        Raises:
            CommandError: the node refuses, in its own words.
        """
        request = SetTarget.Request(stamp=stamp, box=BoundingBox2D(), label=label)
        fill_box(request.box, box_xywh)
        response = self.call(SetTarget, "tracker/set_target", request)
        if not response.success:
            raise CommandError(f"the tracker refused the target: {response.message}")
        return str(response.id)
