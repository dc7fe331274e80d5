"""A video file or a folder of images as a camera."""

from __future__ import annotations

import array
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import SetBool

from ..core.config import choice, option
from ..core.frame import Pixels
from ..evaluation.sequences import SequenceError, open_sequence
from .parameters import Parameters
from .running import NodeError, run

IMAGES_RATE_HZ = 30.0  # of a folder of images
REPEAT_PERIOD_S = 0.5  # of the held image while paused
INFOS_KEPT = 100  # small messages, for subscribers that must not miss any
LAST_WORDS_S = 2.0  # for reliable subscribers to get the last image


@dataclass(frozen=True)
class VideoOptions:
    """Everything that can be set on the video node, at start."""

    path: str = option("", "video file, or folder of images in the order of the numbers in their names")
    rate: float = option(0.0, "images per second; 0 = what the video says, 30 for a folder", 0.0, 1000.0)
    loop: bool = option(False, "begin again at the end, instead of ending the node")
    start_paused: bool = option(False, "hold the first image until ~/pause is called with false")
    wait_for_subscriber: bool = option(False, "send nothing before somebody listens")
    encoding: str = choice("of the raw images", "bgr8", "rgb8", "mono8")
    transport: str = choice(
        "raw on image, compressed (JPEG) on image/compressed", "raw", "compressed", "both"
    )
    jpeg_quality: int = option(90, "of the compressed images", 1, 100)
    size: str = option("", "width and height of the images, for example 1280x720; empty = the video's")
    frame_id: str = option("camera", "of the headers")
    stamps: str = choice("now: when it is sent; video: start time plus place in the video", "now", "video")
    reliability: str = choice("QoS; best_effort is what most cameras offer", "reliable", "best_effort")


class VideoNode(Node):
    """Sends one image after the other at a steady rate, and ends the process after the last one.

    While paused it repeats the image it is at, with the stamp that it had, so that late subscribers see it.
    Each image has its `camera_info`, with the same header, no calibration: to count images takes no pixels.
    """

    def __init__(self) -> None:
        super().__init__("video")
        refusal = "{} cannot change while the video runs: set it at start".format
        self._options = Parameters(self, VideoOptions(), refusal).value
        self._size = _parse_size(self._options.size)
        try:
            sequence = open_sequence(Path(self._options.path))
            self._frames = sequence.frames
            self._coming: Iterator[Pixels] = iter(self._frames)
            self._next: Pixels | None = next(self._coming, None)
        except SequenceError as error:
            raise NodeError(f"path = {self._options.path!r}: {error}") from error
        self._rate_hz = self._options.rate or sequence.rate_hz or IMAGES_RATE_HZ
        self._paused = self._options.start_paused
        self._sent = 0
        self._sent_at_s = 0.0
        self._start_ns = 0
        self._raw, self._compressed = Image(), CompressedImage(format="jpeg")
        self._shape = (0, 0)  # of the present image

        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy[self._options.reliability.upper()])
        topic = self.resolve_topic_name("image")
        wanted = {"raw": [Image], "compressed": [CompressedImage]}.get(
            self._options.transport, [Image, CompressedImage]
        )
        names = {Image: topic, CompressedImage: f"{topic}/compressed"}
        self._outlets = {kind: self.create_publisher(kind, names[kind], qos) for kind in wanted}
        self._infos = self.create_publisher(CameraInfo, "camera_info", QoSProfile(depth=INFOS_KEPT))
        self.create_service(SetBool, "~/pause", self._on_pause)
        self.create_timer(1 / self._rate_hz, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _tick(self) -> None:
        if self._options.wait_for_subscriber and not self._sent and not self._has_subscriber():
            return
        if not self._paused or not self._sent:
            self._send_next()
        elif time.monotonic() - self._sent_at_s >= REPEAT_PERIOD_S:
            self._publish()

    def _send_next(self) -> None:
        if self._next is None and self._options.loop:
            self._coming = iter(self._frames)
            self._advance()
        if self._next is None:
            self._end()
            return
        self._fill(self._next)
        self._publish()
        self._sent += 1
        self._advance()  # now, so that the next image leaves on time

    def _advance(self) -> None:
        try:
            self._next = next(self._coming, None)
        except SequenceError as error:
            raise NodeError(f"after {self._sent} images: {error}") from error

    def _fill(self, rgb: Pixels) -> None:
        """Write an image and its stamp into the messages."""
        if self._size and self._size != (rgb.shape[1], rgb.shape[0]):
            rgb = cv2.resize(rgb, self._size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        now_ns = self.get_clock().now().nanoseconds
        self._start_ns = self._start_ns or now_ns
        if self._options.stamps == "video":
            now_ns = self._start_ns + round(self._sent * 1e9 / self._rate_hz)
        for msg in (self._raw, self._compressed):
            msg.header.frame_id = self._options.frame_id
            msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(now_ns, 1_000_000_000)
        self._shape = (rgb.shape[0], rgb.shape[1])
        if Image in self._outlets:
            self._fill_raw(rgb)
        if CompressedImage in self._outlets:
            bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
            jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, self._options.jpeg_quality])[1]
            self._compressed.data = array.array("B", jpeg.tobytes())

    def _fill_raw(self, rgb: Pixels) -> None:
        codes = {"bgr8": cv2.COLOR_RGB2BGR, "mono8": cv2.COLOR_RGB2GRAY}
        code = codes.get(self._options.encoding)
        pixels: NDArray[Any] = np.ascontiguousarray(rgb) if code is None else cv2.cvtColor(rgb, code)
        msg = self._raw
        msg.encoding = self._options.encoding
        msg.height, msg.width = pixels.shape[:2]
        msg.step = pixels.size // msg.height
        if len(msg.data) != pixels.size:
            msg.data = array.array("B", bytes(pixels.size))
        # Into the buffer that is there: any other way of setting `data` costs several times more.
        np.frombuffer(msg.data, np.uint8)[:] = pixels.ravel()

    def _publish(self) -> None:
        for kind, outlet in self._outlets.items():
            outlet.publish(self._raw if kind is Image else self._compressed)
        self._infos.publish(CameraInfo(header=self._raw.header, height=self._shape[0], width=self._shape[1]))
        self._sent_at_s = time.monotonic()

    def _has_subscriber(self) -> bool:
        return any(outlet.get_subscription_count() for outlet in self._outlets.values())

    def _end(self) -> None:
        for outlet in (*self._outlets.values(), self._infos):
            outlet.wait_for_all_acked(Duration(seconds=LAST_WORDS_S))
        self.get_logger().info(f"{self._sent} images sent, the video has ended")
        self.context.try_shutdown()

    def _on_pause(self, request: Any, response: Any) -> Any:
        self._paused = request.data
        response.success = True
        response.message = f"{'paused' if self._paused else 'playing'}, {self._sent} images sent"
        return response


def _parse_size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if match is None:
        raise NodeError(f"size = {text!r}: accepted is WIDTHxHEIGHT, for example 1280x720")
    return int(match[1]), int(match[2])


def main() -> int:
    """Run the node until the video ends or it is told to end."""
    return run(VideoNode)


if __name__ == "__main__":
    sys.exit(main())
