"""Cameras that stop, stutter, change what they send, or are not the only ones."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import array
import random
import time
from collections.abc import Iterable

import cv2
import numpy as np
import pytest
from flight import FEW, Flight, Rgb, activate_with, begin_anew
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_harness import RELIABLE, Client, NodeProcess, image_msg
from sensor_msgs.msg import Image
from synthetic import background
from vision_msgs.msg import Detection2DArray
from waiting import wait_until

from distill_tracker_ros.messages import stamp_ns

pytestmark = pytest.mark.ros

LONGEST_GAP_S = 0.4


def test_the_camera_stops(flight: Flight) -> None:
    passed = flight.through(lambda: time.sleep(3))
    assert any("ERROR input: no image for" in said for said in passed.said)
    passed.record("the camera stops for 3 s")


def test_the_camera_stutters(flight: Flight) -> None:
    gaps = random.Random(0)

    def stutter() -> None:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            flight.fly(0.05)
            time.sleep(gaps.uniform(0, LONGEST_GAP_S))

    passed = flight.through(stutter)
    assert "none" not in passed.states and passed.states[-1] == "TRACKING"
    passed.record("the camera stutters for 3 s: gaps of up to 0.4 s")


def test_another_resolution_of_the_same_aspect(flight: Flight) -> None:
    """Boxes are in pixels of the image that they belong to, there and back."""

    def half_as_large(msg: Image, number: int) -> Iterable[Image]:
        flight.know(stamp_ns(msg.header.stamp), scale=0.5)
        return [image_msg(pixels(msg)[::2, ::2], stamp_ns(msg.header.stamp))]

    passed = flight.through(lambda: flight.fly(1.5, half_as_large))
    for sizes in ("from 320x240 to 160x120", "from 160x120 to 320x240"):
        assert f"the frame changed {sizes}: boxes were rescaled" in flight.everything_said()
    assert passed.states == ("TRACKING",) and passed.frames_lost <= FEW
    passed.record("the camera changes to half the resolution and back")


def test_another_aspect(flight: Flight) -> None:
    """Where the target is in such a picture cannot be known: it is given up, and can be marked again."""

    def cropped(msg: Image, number: int) -> Iterable[Image]:
        return [image_msg(pixels(msg)[:200], stamp_ns(msg.header.stamp))]

    passed = flight.through(lambda: flight.fly(1, cropped), comes_back=False)
    sentence = "the frame changed from 320x240 to 320x200, another aspect: 1 target(s) dropped"
    assert sentence in passed.said and passed.states[-1] == "none"
    flight.follow()
    passed.record("the camera changes its aspect and back")


def test_other_encodings(flight: Flight) -> None:
    for encoding in ("bgr8", "bgra8", "yuv422_yuy2", "nv12"):

        def encoded(msg: Image, number: int, encoding: str = encoding) -> Iterable[Image]:
            return [encode(msg, encoding)]

        passed = flight.through(lambda spoil=encoded: flight.fly(0.5, spoil))
        assert passed.states == ("TRACKING",) and passed.frames_lost <= FEW
        passed.record(f"the camera changes from rgb8 to {encoding} and back")


def test_another_frame_id(flight: Flight) -> None:
    """Boxes have the header of their image."""
    boxes = flight.client.listen(Detection2DArray, "/tracker/detections")

    def renamed(msg: Image, number: int) -> Iterable[Image]:
        msg.header.frame_id = "another_camera"
        return [msg]

    passed = flight.through(lambda: flight.fly(1, renamed))
    named = [msg.header.frame_id for msg in boxes]
    assert named[0] == "another_camera" and named[-1] == "camera"
    assert all(each.header == msg.header for msg in boxes for each in msg.detections)
    assert passed.states == ("TRACKING",) and passed.frames_lost <= FEW
    passed.record("the camera changes its frame_id and back")


def test_other_rates(flight: Flight) -> None:
    def change() -> None:
        flight.fly(2, rate_hz=5)
        flight.fly(1, rate_hz=60)

    passed = flight.through(change)
    assert passed.states == ("TRACKING",)
    passed.record("the camera's rate changes from 20 to 5 to 60 to 20 Hz")


def test_two_cameras_on_one_topic(flight: Flight) -> None:
    """The other one sees no target. What is right cannot be known; that there are two can."""
    other = flight.client.node.create_publisher(Image, "/image", RELIABLE)
    elsewhere = background(320, 240, seed=1)

    def with_another_view(msg: Image, number: int) -> Iterable[Image]:
        other.publish(image_msg(elsewhere, flight.now_ns))
        return [msg]

    def fly() -> None:
        wait_until(other.get_subscription_count, "the subscription to the other camera")
        flight.fly(4, with_another_view)
        flight.client.node.destroy_publisher(other)

    passed = flight.through(fly)
    assert any("2 publishers" in said for said in passed.said), passed.said
    assert "none" not in passed.states
    passed.record("two cameras send on one topic for 4 s")


def test_a_camera_of_another_qos(client: Client, node: NodeProcess) -> None:
    """Nothing comes, diagnostics say what to do about it, and that helps."""
    begin_anew(client, image_reliability="reliable")
    flight = Flight(client, node)
    flight.follow()

    def change() -> None:
        client.node.destroy_publisher(flight.images)
        best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        flight.images = client.node.create_publisher(Image, "/image", best_effort)
        flight.fly(2.5)
        activate_with(client, image_reliability="best_effort")

    passed = flight.through(change)
    assert any("QoS" in said and "set image_reliability to best_effort" in said for said in passed.said)
    assert "none" not in passed.states
    passed.record("the camera is best effort and the node asks for reliable, until it is told to take both")


def pixels(msg: Image) -> Rgb:
    return np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.width, 3)


def encode(msg: Image, encoding: str) -> Image:
    """The same image in another encoding."""
    rgb = pixels(msg)
    if encoding in ("bgr8", "bgra8"):
        data = rgb[..., ::-1] if encoding == "bgr8" else cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA)
    else:
        i420 = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
        brightness, colours = i420[: msg.height], i420[msg.height :].reshape(2, msg.height // 2, -1)
        if encoding == "nv12":
            data = np.concatenate([brightness, np.stack(colours, axis=-1).reshape(-1, msg.width)])
        else:
            both = np.stack(colours, axis=-1).reshape(-1, msg.width).repeat(2, axis=0)
            data = np.stack([brightness, both], axis=-1)
    step = data.nbytes // len(data)
    return Image(
        header=msg.header,
        width=msg.width,
        height=msg.height,
        encoding=encoding,
        step=step,
        data=array.array("B", np.ascontiguousarray(data).tobytes()),
    )
