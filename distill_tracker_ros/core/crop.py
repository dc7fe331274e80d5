"""The one crop: the square region around a box, and the way of boxes into it and back.

Training cuts with these functions too, so a model sees on the drone what it saw when it learned.
The convention: a region is a square of whole frame pixels; a point p of the frame lies at
(p - origin) / side of the region, in [0, 1]. No half-pixel is added on either way, so frame -> region
-> frame is exact (OSTrack adds half a crop pixel on one way only).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike

from .boxes import Boxes
from .frame import Frame, Pixels

HALVE_FROM = 3.0  # times that a region is shrunk, from which on its pixels are halved first


class Region(NamedTuple):
    """A square of frame pixels; it may reach outside the frame."""

    x: int
    y: int
    side: int


class Padding(NamedTuple):
    """Pixels of a region that are filled with zeros, on each side."""

    left: int
    top: int
    right: int
    bottom: int


def region_around(box_xywh: ArrayLike, factor: float) -> Region:
    """The square of side ceil(sqrt(w h) factor), centred on the box, rounded half to even.

    Raises:
        ValueError: the box is not finite, or so small that the side is below one pixel.
    """
    x, y, w, h = (float(v) for v in np.asarray(box_xywh, np.float64))
    if not all(map(math.isfinite, (x, y, w, h))) or w <= 0 or h <= 0:
        raise ValueError(f"a region needs a finite box of positive size; got x={x}, y={y}, w={w}, h={h}")
    side = math.ceil(math.sqrt(w * h) * factor)
    return Region(round(x + w / 2 - side / 2), round(y + h / 2 - side / 2), side)


def padding(region: Region, width: int, height: int) -> Padding:
    """How much of a region is filled with zeros.

    A region that reaches or passes the right or bottom border gives up one more column or row than it
    must. Every OSTrack descendant was trained so; it is kept here, and only here.
    """
    return Padding(
        max(0, -region.x),
        max(0, -region.y),
        max(0, region.x + region.side - width + 1),
        max(0, region.y + region.side - height + 1),
    )


def cut(frame: Frame, region: Region, size: int) -> Pixels:
    """The pixels of a region, resized to (size, size, 3), RGB uint8, zeros outside the frame.

    Enlarging is bilinear. Shrinking is bilinear to twice the size, then halved: on average within half a grey
    level of averaging areas, which keeps fine texture from aliasing too but takes OpenCV several times as
    long. From HALVE_FROM on the pixels are halved first: nearly the same result, in a bounded time and memory
    for every region.
    """
    pad = padding(region, frame.width, frame.height)
    width = region.side - pad.left - pad.right
    height = region.side - pad.top - pad.bottom
    if width <= 0 or height <= 0:
        return np.zeros((size, size, 3), np.uint8)
    pixels: cv2.typing.MatLike = frame.cut(
        region.x + pad.left, region.y + pad.top, width, height, region.side / size
    )
    while max(pixels.shape[:2]) * region.side >= HALVE_FROM * size * max(width, height):
        if max(pixels.shape[:2]) == 1:  # what lies in the frame is less than a pixel of the result
            return np.zeros((size, size, 3), np.uint8)
        pixels = halved(pixels)
    if any(pad):
        # Below 1 when shrunk already; of its own on each axis, for a narrow strip is rounded much.
        scale_x, scale_y = pixels.shape[1] / width, pixels.shape[0] / height
        left, right = round(pad.left * scale_x), round(pad.right * scale_x)
        top, bottom = round(pad.top * scale_y), round(pad.bottom * scale_y)
        pixels = cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_CONSTANT)
    if pixels.shape[1] > size:
        pixels = cv2.resize(pixels, (2 * size, 2 * size))
    return cv2.resize(pixels, (size, size))  # type: ignore[return-value]


def halved(pixels: cv2.typing.MatLike) -> Pixels:
    """Half as many rows and columns, rounded up: the means of 2 x 2 pixels where the sides are even."""
    return cv2.resize(pixels, ((pixels.shape[1] + 1) // 2, (pixels.shape[0] + 1) // 2))  # type: ignore[return-value]


def box_to_region(box_xywh: ArrayLike, region: Region) -> Boxes:
    """Frame xywh -> cxcywh relative to the region (1 = its side)."""
    x, y, w, h = np.asarray(box_xywh, np.float64)
    return np.array([x + w / 2 - region.x, y + h / 2 - region.y, w, h]) / region.side


def box_to_frame(box_cxcywh: ArrayLike, region: Region) -> Boxes:
    """cxcywh relative to a region (1 = its side) -> frame xywh. The inverse of `box_to_region`."""
    cx, cy, w, h = np.asarray(box_cxcywh, np.float64) * region.side
    return np.array([region.x + cx - w / 2, region.y + cy - h / 2, w, h])
