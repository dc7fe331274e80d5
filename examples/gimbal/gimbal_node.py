"""Turns the tracker's bearings into rates of a gimbal: tracker/bearing in, ~/rates out.

python3 -m examples.gimbal.gimbal_node --ros-args -p per_s:=1.5
"""

from __future__ import annotations

import sys

from geometry_msgs.msg import TwistStamped, Vector3Stamped
from rclpy.node import Node
from std_msgs.msg import Header

from distill_tracker_ros.messages import stamp_ns
from distill_tracker_ros.nodes.interfaces import TrackedTarget, TrackerStatus
from distill_tracker_ros.nodes.parameters import Parameters
from distill_tracker_ros.nodes.results import QOS
from distill_tracker_ros.nodes.running import run

from .control import STILL, Aim, Angles, Gains

PERIOD_S = 0.1  # of the zeros while there is nothing to follow


class GimbalNode(Node):
    """Sends rates for every bearing, and zeros without one: a gimbal that hears nothing may turn on."""

    def __init__(self) -> None:
        super().__init__("gimbal")
        gains = Parameters(self, Gains(), "{} is fixed when the node starts".format).value
        self._aim = Aim(gains)
        self._frame_id = ""
        self._rates = self.create_publisher(TwistStamped, "~/rates", QOS)
        self.create_subscription(Vector3Stamped, "tracker/bearing", self._on_bearing, QOS)
        self.create_subscription(TrackerStatus, "tracker/status", self._on_status, QOS)
        self.create_timer(PERIOD_S, self._on_timer)

    def _on_bearing(self, msg: Vector3Stamped) -> None:
        self._frame_id = msg.header.frame_id
        self._aim.see((msg.vector.x, msg.vector.y, msg.vector.z), stamp_ns(msg.header.stamp) / 1e9)
        self._send(msg.header, self._aim.rates(self._now_s()))

    def _on_status(self, msg: TrackerStatus) -> None:
        if not msg.targets or msg.targets[0].state == TrackedTarget.LOST:
            self._aim.lose(stamp_ns(msg.header.stamp) / 1e9)

    def _on_timer(self) -> None:
        if not self._aim.is_fresh(self._now_s()):
            now = self.get_clock().now().to_msg()
            self._send(Header(stamp=now, frame_id=self._frame_id), STILL)

    def _send(self, header: Header, rates: Angles) -> None:
        """In the camera's optical frame: about x is pitch upwards, about y is yaw to the right."""
        msg = TwistStamped(header=header)
        msg.twist.angular.x, msg.twist.angular.y = rates
        self._rates.publish(msg)

    def _now_s(self) -> float:
        return float(self.get_clock().now().nanoseconds) / 1e9


def main() -> int:
    """Run the node until it is told to end."""
    return run(GimbalNode)


if __name__ == "__main__":
    sys.exit(main())
