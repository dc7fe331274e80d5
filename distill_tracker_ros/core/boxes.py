"""Boxes as arrays of shape (..., 4), float64, in frame pixels unless a name says otherwise.

Coordinates are continuous: pixel (0, 0) covers [0, 1) x [0, 1), its centre is (0.5, 0.5).
`xywh` = left, top, width, height; `xyxy` = left, top, right, bottom; `cxcywh` = centre and size.
No function changes its arguments.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Boxes = NDArray[np.float64]


def xywh_to_xyxy(boxes_xywh: ArrayLike) -> Boxes:
    """Left, top, width, height -> left, top, right, bottom."""
    b = np.asarray(boxes_xywh, np.float64)
    return np.concatenate([b[..., :2], b[..., :2] + b[..., 2:]], axis=-1)


def xyxy_to_xywh(boxes_xyxy: ArrayLike) -> Boxes:
    """Left, top, right, bottom -> left, top, width, height."""
    b = np.asarray(boxes_xyxy, np.float64)
    return np.concatenate([b[..., :2], b[..., 2:] - b[..., :2]], axis=-1)


def xywh_to_cxcywh(boxes_xywh: ArrayLike) -> Boxes:
    """Left, top, width, height -> centre x, centre y, width, height."""
    b = np.asarray(boxes_xywh, np.float64)
    return np.concatenate([b[..., :2] + b[..., 2:] / 2, b[..., 2:]], axis=-1)


def cxcywh_to_xywh(boxes_cxcywh: ArrayLike) -> Boxes:
    """Centre x, centre y, width, height -> left, top, width, height."""
    b = np.asarray(boxes_cxcywh, np.float64)
    return np.concatenate([b[..., :2] - b[..., 2:] / 2, b[..., 2:]], axis=-1)


def resize_towards(box_xywh: ArrayLike, old_xywh: ArrayLike, share: float) -> Boxes:
    """A box with its centre, and a size from an old one's (share 0) to its own (share 1), in logarithms."""
    box = xywh_to_cxcywh(box_xywh)
    old = np.asarray(old_xywh, np.float64)
    box[..., 2:] = old[..., 2:] ** (1 - share) * box[..., 2:] ** share
    return cxcywh_to_xywh(box)


def clip(box_xywh: ArrayLike, width: int, height: int, margin: float = 10.0) -> Boxes:
    """Keep a box inside the frame, with sides of at least `margin` pixels.

    Left in [0, W - margin], right in [margin, W], the same vertically (OSTrack's rule, which uses 10).
    For frames of at least 2 * margin a side the result always lies in the frame.
    """
    corners, size = xywh_to_xyxy(box_xywh), np.array([width, height], np.float64)
    # Without np.clip, which is slow on so few numbers: 11 us instead of 27.
    start = np.minimum(np.maximum(corners[..., :2], 0), size - margin)
    end = np.minimum(np.maximum(corners[..., 2:], margin), size)
    return np.concatenate([start, np.maximum(end - start, margin)], axis=-1)


def intersection(box_xywh: ArrayLike, width: int, height: int) -> Boxes:
    """The part of a box that lies in the frame; zero width or height where there is none."""
    corners = xywh_to_xyxy(box_xywh)
    inside = np.clip(corners, 0, np.array([width, height, width, height], np.float64))
    return xyxy_to_xywh(inside)


def iou(a_xywh: ArrayLike, b_xywh: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union, element by element (broadcasting); 0 where the union is empty."""
    a, b = xywh_to_xyxy(a_xywh), xywh_to_xyxy(b_xywh)
    overlap = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    inter = np.prod(np.maximum(overlap, 0), axis=-1)
    union = np.prod(a[..., 2:] - a[..., :2], axis=-1) + np.prod(b[..., 2:] - b[..., :2], axis=-1) - inter
    ratio: NDArray[np.float64] = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return ratio
