"""Pictures for the page: made of image messages, and held until the tracker has seen the same image."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2

from ..messages import open_image, stamp_ns

PATIENCE_S = 0.15  # for the status of a picture's image
MOST_HELD = 16


@dataclass(frozen=True)
class Picture:
    """A JPEG of a camera image."""

    stamp_ns: int
    size: tuple[int, int]  # width and height of the camera's image in pixels
    jpeg: bytes  # may be smaller


def make_picture(msg: Any, width_px: int, quality: int) -> Picture:
    """A picture of a sensor_msgs/Image or CompressedImage.

    A JPEG that is not too large is passed on as it is.

    Args:
        width_px: wider images are made smaller; 0 = never.
        quality: of the JPEG, 1 to 100.

    Raises:
        ImageError: the message cannot be used.
    """
    frame = open_image(msg)
    size = frame.width, frame.height
    scale = min(1.0, (width_px or frame.width) / frame.width)
    if scale == 1.0 and hasattr(msg, "format") and _is_plain_jpeg(data := bytes(msg.data), size):
        return Picture(stamp_ns(msg.header.stamp), size, data)
    rgb = frame.cut(0, 0, *size, shrink=1 / scale)
    small = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    if (rgb.shape[1], rgb.shape[0]) != small:
        rgb = cv2.resize(rgb, small, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return Picture(stamp_ns(msg.header.stamp), size, jpeg.tobytes())


def _is_plain_jpeg(data: bytes, size: tuple[int, int]) -> bool:
    """Whether a browser shows it as it is to be seen, and it is not larger than it should be."""
    # A browser would turn it by the orientation of its EXIF, which the tracker ignores.
    return data[:2] == b"\xff\xd8" and b"Exif\0" not in data[:65536] and len(data) <= size[0] * size[1]


class Holder:
    """Holds pictures for a moment, as the tracker's word on their images comes later. Not thread-safe."""

    def __init__(self) -> None:
        self._held: deque[tuple[float, Picture]] = deque(maxlen=MOST_HELD)  # with the time of arrival, s

    def add(self, picture: Picture, now_s: float) -> None:
        self._held.append((now_s, picture))

    def due(self, now_s: float, is_settled: Callable[[Picture], bool]) -> Picture | None:
        """The newest picture that need not be held any longer; older ones are dropped."""
        for count in range(len(self._held), 0, -1):
            at_s, picture = self._held[count - 1]
            if now_s - at_s >= PATIENCE_S or is_settled(picture):
                for _ in range(count):
                    self._held.popleft()
                return picture
        return None

    def wait_s(self, now_s: float) -> float | None:
        """Time until the next picture's patience ends; None when none is held."""
        return max(0.0, self._held[0][0] + PATIENCE_S - now_s) if self._held else None
