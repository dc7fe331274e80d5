"""Between shares of the video (0..1 from its left and top edge) and pixels of the tracker's images."""

from __future__ import annotations

import math

from ..core.texts import InputError
from .options import VideoConfig
from .tracker import Box

_ROUNDING = 1e-6  # that a share may lie outside: what a single-precision sum of shares can be off by


class Refused(InputError):
    """A mark that is no place in the video; the text says why."""


def rectangle(corners: tuple[float, float, float, float], video: VideoConfig, width: int, height: int) -> Box:
    """Corners x1, y1, x2, y2 in shares of the video -> box in an image of this size.

    Raises:
        Refused: a number is not from 0 to 1, or the second corner is not right of and below the first.
    """
    names = ("x1", "y1", "x2", "y2")
    x1, y1, x2, y2 = (_share(name, value) for name, value in zip(names, corners, strict=True))
    for axis, low, high in (("x", x1, x2), ("y", y1, y2)):
        if high <= low:
            raise Refused(f"{axis}1 = {low:g}, {axis}2 = {high:g}: accepted is {axis}2 > {axis}1")
    left, top, full_width, full_height = _area(video, width, height)
    return (
        left + x1 * full_width,
        top + y1 * full_height,
        (x2 - x1) * full_width,
        (y2 - y1) * full_height,
    )


def square(
    point: tuple[float, float, float], default_side: float, video: VideoConfig, width: int, height: int
) -> Box:
    """Point x, y and radius in shares of the video (the radius: of its width) -> square in an image.

    A radius of 0 makes one of the default side, a share of the video's width. What lies outside the image is
    cut off.

    Raises:
        Refused: a coordinate is not a number from 0 to 1, or the radius is negative or not finite.
    """
    x, y = _share("x", point[0]), _share("y", point[1])
    radius = point[2]
    if not 0 <= radius < math.inf:
        raise Refused(f"radius = {radius:g}: accepted is a number from 0")
    left, top, full_width, full_height = _area(video, width, height)
    half = (radius or default_side / 2) * full_width
    cx, cy = left + x * full_width, top + y * full_height
    x1, x2 = max(cx - half, 0.0), min(cx + half, float(width))
    y1, y2 = max(cy - half, 0.0), min(cy + half, float(height))
    return x1, y1, x2 - x1, y2 - y1


def shown(box_xywh: Box, video: VideoConfig, width: int, height: int) -> tuple[float, ...] | None:
    """Corners x1, y1, x2, y2 of what is seen of a box, in shares of the video; None if nothing is."""
    left, top, full_width, full_height = _area(video, width, height)
    x, y, w, h = box_xywh
    x1, x2 = (min(max((value - left) / full_width, 0.0), 1.0) for value in (x, x + w))
    y1, y2 = (min(max((value - top) / full_height, 0.0), 1.0) for value in (y, y + h))
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None


def _area(video: VideoConfig, width: int, height: int) -> Box:
    """The shown part of an image, pixels."""
    return (
        video.crop_left * width,
        video.crop_top * height,
        video.crop_width * width,
        video.crop_height * height,
    )


def _share(name: str, value: float) -> float:
    if not -_ROUNDING <= value <= 1 + _ROUNDING:  # a nan is not inside either
        raise Refused(f"{name} = {value:g}: accepted is a number from 0 to 1")
    return min(max(value, 0.0), 1.0)
