"""The whole loop with real processes: pictures, the tracker with the shipped model, the gimbal example.

An image is sent when the rates for the one before have come, so no machine is too slow for it, and the flight
is always the same.
"""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped, Vector3Stamped
from ros_harness import RELIABLE, Client, NodeProcess, image_msg, running, time_msg
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from vision_msgs.msg import BoundingBox2D
from waiting import wait_until

from distill_tracker_msgs.msg import TrackedTarget, TrackerStatus
from distill_tracker_msgs.srv import SetTarget
from distill_tracker_ros.messages import fill_box
from examples.gimbal.control import STILL, Angles, angles
from examples.gimbal.simulation import Gimbal, Lens

pytest.importorskip("skimage", reason="scikit-image is missing: the pictures are made of its photographs")
from examples.gimbal.world import World  # noqa: E402

pytestmark = pytest.mark.ros

RATE_HZ, FRAMES = 15.0, 100
DELAY_S = 0.15
RAD_S = 0.2  # of the target, round the camera
START = Angles(math.radians(-28), 0.0)
LENS = Lens()


class Loop:
    """The simulated camera and gimbal on one side, the tracker and the gimbal's node on the other."""

    def __init__(self, client: Client) -> None:
        self.client, node = client, client.node
        self._images = node.create_publisher(Image, "/camera/image_raw", RELIABLE)
        self._infos = node.create_publisher(CameraInfo, "/camera/camera_info", RELIABLE)
        self._clock = node.create_publisher(Clock, "/clock", RELIABLE)
        self._rates = client.listen(TwistStamped, "/gimbal/rates")
        self._bearings = client.listen(Vector3Stamped, "/tracker/bearing")
        self._statuses = client.listen(TrackerStatus, "/tracker/status")
        self._diagnostics = client.listen(DiagnosticArray, "/diagnostics")
        self._now_ns = 1_000_000_000_000

    def tick(self, seconds: float) -> int:
        """Let time pass; the new time in ns."""
        self._now_ns += round(seconds * 1e9)
        # A little ahead, so that zeros of the gimbal's timer have the stamp of no image.
        self._clock.publish(Clock(clock=time_msg(self._now_ns + 1_000_000)))
        return self._now_ns

    def begin(self) -> None:
        """Return when everybody hears everybody."""
        wait_until(
            lambda: self.tick(0.05) and self._rates, "zeros of the gimbal's node, which knows the time"
        )
        assert self._rates[0].twist.angular.x == self._rates[0].twist.angular.y == 0
        wait_until(self._images.get_subscription_count, "the tracker")

        def known() -> bool:
            width, height = LENS.size
            fields = {"k": np.array(LENS.k), "d": LENS.d, "r": np.eye(3).ravel()}
            self._infos.publish(
                CameraInfo(width=width, height=height, distortion_model="plumb_bob", **fields)
            )
            statuses = self._diagnostics[-1].status if self._diagnostics else ()
            return any(pair.value == "640x360, plumb_bob" for each in statuses for pair in each.values)

        wait_until(known, "the calibration")

    def show(self, rgb: Any) -> TrackerStatus:
        """Send an image, and return what the tracker says of it."""
        stamp_ns = self.tick(1 / RATE_HZ)
        self._images.publish(image_msg(rgb, stamp_ns, "camera_optical"))
        return self._of(self._statuses, time_msg(stamp_ns), "a status")

    def mark(self, box_xywh: Any, stamp: Any) -> None:
        """Follow what is in a box of the image with this stamp."""
        box = BoundingBox2D()
        fill_box(box, box_xywh)
        answer = self.client.call(SetTarget, "/tracker/set_target", box=box, stamp=stamp)
        assert answer.success, answer.message

    def bearing(self, stamp: Any) -> list[float]:
        vector = self._of(self._bearings, stamp, "a bearing").vector
        return [vector.x, vector.y, vector.z]

    def rates(self, stamp: Any) -> Angles:
        found = self._of(self._rates, stamp, "rates")
        assert found.header.frame_id == "camera_optical"
        return Angles(found.twist.angular.x, found.twist.angular.y)

    @staticmethod
    def _of(messages: list[Any], stamp: Any, what: str) -> Any:
        def found() -> list[Any]:
            return [msg for msg in messages[-5:] if msg.header.stamp == stamp]

        return wait_until(found, f"{what} of {stamp.sec}.{stamp.nanosec:09}")[0]


@pytest.fixture(scope="module")
def world() -> World:
    return World(RAD_S)


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    client = Client()
    arguments = ["--ros-args", "-r", "image:=/camera/image_raw", "--"]
    settings = {"model": "eatrack_nano", "autostart": True, "image_reliability": "reliable"}
    command = [sys.executable, "-m", "examples.gimbal.gimbal_node"]
    gimbal = NodeProcess.of([*command, "--ros-args", "-p", "use_sim_time:=true"], tmp_path)
    try:
        with running("tracker_node", tmp_path, *arguments, **settings):
            yield Loop(client)
        assert gimbal.stop() == 0, gimbal.output
    finally:
        gimbal.kill()
        client.close()


def test_the_gimbal_keeps_a_target_in_the_picture_that_would_leave_it(loop: Loop, world: World) -> None:
    """Round the drone by 76 degrees, 100 images, through the lens, the network, and 150 ms of delay."""
    gimbal, off_deg, wrong_deg = Gimbal(START, DELAY_S), [], []
    loop.begin()
    for number in range(FRAMES):
        now_s = number / RATE_HZ
        gimbal.advance(now_s)
        ray = gimbal.axes @ world.target(now_s)
        assert LENS.shows(ray), f"it has left the picture at {now_s:.2f} s"
        status = loop.show(world.picture(now_s, gimbal, LENS))
        stamp = status.header.stamp
        if number == 0:
            loop.mark(world.box_xywh(now_s, gimbal, LENS), stamp)
            continue
        assert status.targets[0].state != TrackedTarget.LOST
        truth = angles(ray.tolist())
        off_deg.append(math.degrees(math.hypot(*truth)))
        wrong = np.subtract(angles(loop.bearing(stamp)), truth)
        wrong_deg.append(math.degrees(math.hypot(*wrong)))
        gimbal.command(loop.rates(stamp), now_s)
    assert max(off_deg) < 8.5 and max(wrong_deg) < 1.0
    assert math.degrees(gimbal.at.yaw) > 60
    unmoved = Gimbal(START).axes
    assert not any(LENS.shows(unmoved @ world.target(number / RATE_HZ)) for number in range(60, FRAMES))

    # The target hides: the tracker says so, bearings end, and the gimbal stands still.
    empty = np.full((LENS.size[1], LENS.size[0], 3), 110, np.uint8)

    def lost() -> bool:
        return loop.show(empty).targets[0].state == TrackedTarget.LOST

    wait_until(lost, "a lost target")
    seen = len(loop._rates)
    wait_until(lambda: loop.tick(0.05) and len(loop._rates) > seen + 5, "zeros")
    assert {(m.twist.angular.x, m.twist.angular.y) for m in loop._rates[-3:]} == {STILL}
