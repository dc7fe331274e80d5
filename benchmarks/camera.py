"""Cameras for the benchmarks: images published from this process, and one that shows the demo's clip."""

from __future__ import annotations

import array
from itertools import cycle

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from distill_tracker_ros.core.boxes import Boxes
from distill_tracker_ros.demo.client import Client, TrackerStatus

_FRAMES = 12  # of the clip; they are shown forth and back, so that the target never jumps


class ImageTopic:
    """A topic of `bgr8` images; the next one is written in place, so that none is made anew."""

    def __init__(
        self, client: Client, size: tuple[int, int], topic: str = "image", reliability: str = "reliable"
    ) -> None:
        """`size`: width and height, px."""
        width, height = size
        self._clock = client.node.get_clock()
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy[reliability.upper()])
        self._publisher = client.node.create_publisher(Image, topic, qos)
        self._msg = Image(width=width, height=height, encoding="bgr8", step=3 * width)
        self._msg.data = array.array("B", bytes(3 * width * height))
        self._msg.header.frame_id = "camera"
        # (height, width, 3): what the next image shows.
        self.pixels: NDArray[np.uint8] = np.frombuffer(self._msg.data, np.uint8).reshape(height, width, 3)

    def publish(self) -> int:
        """Send the image with the present time as its stamp, which is returned in ns."""
        now = self._clock.now()
        self._msg.header.stamp = now.to_msg()
        self._publisher.publish(self._msg)
        return int(now.nanoseconds)


class Camera:
    """Publishes one image of the demo's clip after the other on `image`."""

    def __init__(self, client: Client, size: tuple[int, int], reliability: str = "reliable") -> None:
        """`size`: width and height, px."""
        from distill_tracker_ros.demo import clip  # it needs scikit-image, which a robot does not have

        self._topic = ImageTopic(client, size, reliability=reliability)
        shots = [clip.shot(index) for index in range(_FRAMES)]
        scale = np.array(size) / shots[0].bgr.shape[1::-1]
        self._box_xywh: Boxes = shots[0].box_xywh * np.tile(scale, 2)  # of the target in the first image
        images = [cv2.resize(shot.bgr, size, interpolation=cv2.INTER_AREA) for shot in shots]
        self._coming = cycle(images + images[-2:0:-1])

    def mark_target(self, client: Client, statuses: list[TrackerStatus]) -> None:
        """Send the first image until the tracker has taken one, and mark the target on it."""
        self.send()

        def taken() -> bool:
            if not statuses:
                self._topic.publish()  # until sender and receiver have found each other, images are lost
            return bool(statuses)

        client.wait_until(taken, "the tracker to take an image")
        client.set_target(self._box_xywh, statuses[-1].header.stamp)

    def send(self) -> None:
        """Publish the next image."""
        self._topic.pixels[:] = next(self._coming)
        self._topic.publish()
