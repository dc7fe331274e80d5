"""Affine views of images. Points are continuous (pixel centres at +0.5), matrices 3 x 3 on (x, y, 1)."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from distill_tracker_ros.core.boxes import Boxes, xywh_to_cxcywh
from distill_tracker_ros.core.crop import Region

Matrix = NDArray[np.float64]


def warp_about(centre: ArrayLike, linear: Matrix, shift: ArrayLike = (0.0, 0.0)) -> Matrix:
    """p -> linear (p - centre) + centre + shift."""
    c = np.asarray(centre, np.float64)
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = c + np.asarray(shift, np.float64) - linear @ c
    return matrix


def linear_map(degrees: float, scale_x: float, scale_y: float, shear: float = 0.0) -> Matrix:
    """Scale, then shear, then turn; 2 x 2. A negative `scale_x` mirrors."""
    a = math.radians(degrees)
    turn = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    return turn @ np.array([[1.0, shear], [0.0, 1.0]]) @ np.diag([scale_x, scale_y])


def warp_box(box_xywh: ArrayLike, matrix: Matrix) -> Boxes:
    """The box around the ellipse inscribed in a box, after an affine map.

    Exact for scaling, mirroring and quarter turns; for other turns the ellipse stays closer to a real
    object's outline than the corners of the box would.
    """
    cx, cy, w, h = xywh_to_cxcywh(box_xywh)
    centre = matrix[:2, :2] @ (cx, cy) + matrix[:2, 2]
    half = np.hypot(matrix[:2, 0] * w / 2, matrix[:2, 1] * h / 2)
    return np.concatenate([centre - half, 2 * half])


def region_matrix(region: Region, size: int) -> Matrix:
    """Frame pixels -> pixels of the region's crop of size x size; the map of `core.crop.cut`."""
    scale = size / region.side
    return np.array([[scale, 0, -region.x * scale], [0, scale, -region.y * scale], [0, 0, 1]])


def render(
    image: NDArray[np.uint8], matrix: Matrix, size: int, canvas: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Draw an image through a matrix (image pixels -> canvas pixels) on a canvas of size x size.

    Without a canvas, what the image does not cover is zero. Strong shrinking averages first.
    """
    shrink = 1 / math.sqrt(max(abs(np.linalg.det(matrix[:2, :2])), 1e-12))
    if shrink > 1.7:
        factor = min(2 ** round(math.log2(shrink)), min(image.shape[:2]))
        small = cv2.resize(
            image,
            (max(1, image.shape[1] // factor), max(1, image.shape[0] // factor)),
            interpolation=cv2.INTER_AREA,
        )
        matrix = matrix @ np.diag([image.shape[1] / small.shape[1], image.shape[0] / small.shape[0], 1.0])
        image = small
    at_centres = matrix[:2].copy()  # OpenCV counts pixel centres from 0, we from 0.5
    at_centres[:, 2] += at_centres[:, :2] @ (0.5, 0.5) - 0.5
    if canvas is None:
        return cv2.warpAffine(image, at_centres, (size, size), flags=cv2.INTER_LINEAR)
    return cv2.warpAffine(
        image,
        at_centres,
        (size, size),
        dst=canvas.copy(),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_TRANSPARENT,
    )
