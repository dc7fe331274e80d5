"""A camera for the benchmarks: frames of the demo's clip as messages, published from this process."""

from __future__ import annotations

import array
from itertools import cycle

import cv2
import numpy as np
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from distill_tracker_ros.core.boxes import Boxes
from distill_tracker_ros.demo import clip
from distill_tracker_ros.demo.client import Client, TrackerStatus

_FRAMES = 12  # of the clip; they are shown forth and back, so that the target never jumps


class Camera:
    """Publishes one `bgr8` image after the other on `image`, each with the present time as its stamp."""

    def __init__(self, client: Client, size: tuple[int, int], reliability: str = "reliable") -> None:
        """`size`: width and height, px."""
        self._clock = client.node.get_clock()
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy[reliability.upper()])
        self._publisher = client.node.create_publisher(Image, "image", qos)
        shots = [clip.shot(index) for index in range(_FRAMES)]
        scale = np.array(size) / shots[0].bgr.shape[1::-1]
        self._box_xywh: Boxes = shots[0].box_xywh * np.tile(scale, 2)  # of the target in the first image
        images = [cv2.resize(shot.bgr, size, interpolation=cv2.INTER_AREA) for shot in shots]
        self._coming = cycle(images + images[-2:0:-1])
        self._msg = Image(width=size[0], height=size[1], encoding="bgr8", step=3 * size[0])
        self._msg.data = array.array("B", bytes(3 * size[0] * size[1]))
        self._msg.header.frame_id = "camera"

    def mark_target(self, client: Client, statuses: list[TrackerStatus]) -> None:
        """Send the first image until the tracker has taken one, and mark the target on it."""
        self.send()

        def taken() -> bool:
            if not statuses:
                self._publish()  # until sender and receiver have found each other, images are lost
            return bool(statuses)

        client.wait_until(taken, "the tracker to take an image")
        client.set_target(self._box_xywh, statuses[-1].header.stamp)

    def send(self) -> None:
        """Publish the next image."""
        np.frombuffer(self._msg.data, np.uint8)[:] = next(self._coming).ravel()
        self._publish()

    def _publish(self) -> None:
        self._msg.header.stamp = self._clock.now().to_msg()
        self._publisher.publish(self._msg)
