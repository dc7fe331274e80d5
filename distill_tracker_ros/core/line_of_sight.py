"""From a pixel of a calibrated camera to the direction in which it looks.

OpenCV's model of the lens is undone along ways that begin on the optical axis and end where it stops to rise,
so that a polynomial that turns back outside of the calibrated part of the picture gives no wrong direction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from .texts import InputError, shown

# Distortion model -> how many coefficients it may have; the names are those of sensor_msgs/CameraInfo.
MODELS = {
    "plumb_bob": (4, 5),
    "rational_polynomial": (8, 12, 14),
    "equidistant": (4,),
    "fisheye": (4,),  # another name of the same
}
_BY_ANGLE = ("equidistant", "fisheye")
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
_MOST_STEPS = 60
_CLOSE_PX, _MOST_MISS_PX = 1e-4, 0.01  # where the search ends, and what it must have reached
_OUTWARD = np.tan(np.linspace(0, 1.25, 64))[:, None]  # radii where the search looks first
_SHARES = np.linspace(0, 1, 33)[1:, None] ** 3  # of a step: closest at first, where a fold may be near
_ANGLES = np.linspace(0, math.pi, 2**14)  # so close that a lens by angle is straight from one to the next
_NOWHERE = np.full(3, math.nan)
_MOST_COEFFICIENT = 1e100
_MOST_TILT = 0.8  # rad, of the sensor against the lens
_ROUNDING = 1e-3  # of rotation matrices


class CameraError(InputError):
    """A calibration that cannot be used, or a pixel or an image that it does not cover."""


class NotCalibratedError(CameraError):
    """There is no calibration."""


@dataclass(frozen=True)
class Camera:
    """A calibration in plain numbers, and which part of the sensor the images show.

    Frames of reference: x right, y down, z forward (REP 103's optical frame). Lengths are pixels of the
    calibration's images, whose first pixel has its centre at (0, 0), as in OpenCV and sensor_msgs/CameraInfo.
    """

    size: tuple[int, int]  # width and height of the calibration's images
    matrix: tuple[float, ...]  # fx 0 cx, 0 fy cy, 0 0 1
    model: str = ""  # of MODELS; empty = no distortion
    coefficients: tuple[float, ...] = ()  # in the order of OpenCV
    rotation: tuple[float, ...] = IDENTITY  # 3x3, row by row: from the lens to the frame of the results
    window_xywh: tuple[int, int, int, int] = (0, 0, 0, 0)  # region of interest; without a size: all
    binning: tuple[int, int] = (1, 1)  # pixels of the calibration in one of the image, across and down

    def __post_init__(self) -> None:
        """Raise CameraError for what is no calibration; the text names the field."""
        width, height = self.size
        if min(self.size) < 1:
            raise CameraError(f"the calibration is for images of {width}x{height}: they have no pixels")
        for name, numbers, count in (
            ("camera matrix", self.matrix, 9),
            ("distortion coefficients", self.coefficients, len(self.coefficients)),
            ("rotation", self.rotation, 9),
        ):
            if len(numbers) != count or not all(map(math.isfinite, numbers)):
                raise CameraError(f"{name} {shown(numbers)}: accepted are {count} finite numbers")
        self._check_matrix()
        self._check_model()
        rotation = np.array(self.rotation).reshape(3, 3)
        if np.abs(rotation @ rotation.T - np.eye(3)).max() > _ROUNDING or np.linalg.det(rotation) < 0:
            raise CameraError(f"rotation {shown(self.rotation)} is no rotation matrix")
        left, top, across, down = self._window
        if min(left, top) < 0 or left + across > width or top + down > height:
            region = f"{across}x{down} at ({left}, {top})"
            raise CameraError(f"the region of interest {region} is not inside the images of {width}x{height}")
        if min(self.binning) < 1 or min(self.image_size) < 1:
            raise CameraError(f"binning {self.binning}: accepted is 1 to the size of the images")

    def _check_matrix(self) -> None:
        fx, skew, _, other, fy, _, *last = self.matrix
        if not (fx > 0 and fy > 0):
            raise CameraError(f"focal lengths fx = {fx:g}, fy = {fy:g}: both must be above 0")
        if (skew, other, *last) != (0, 0, 0, 0, 1):
            raise CameraError(f"camera matrix {shown(self.matrix)}: accepted is fx 0 cx, 0 fy cy, 0 0 1")

    def _check_model(self) -> None:
        count = len(self.coefficients)
        if not self.model and any(self.coefficients):
            accepted = ", ".join(MODELS)
            raise CameraError(f"{count} coefficients without a distortion model: accepted are {accepted}")
        if self.model and self.model not in MODELS:
            what = f"distortion model {shown(self.model)} is unknown"
            raise CameraError(f"{what}: accepted are {', '.join(MODELS)}")
        if self.model and count not in MODELS[self.model] and (count or self.model in _BY_ANGLE):
            accepted = " or ".join(map(str, MODELS[self.model]))
            raise CameraError(f"{self.model} has {accepted} coefficients; got {count}")
        if any(abs(c) > _MOST_COEFFICIENT for c in self.coefficients):
            raise CameraError("distortion coefficients are too large")
        tilt = self.coefficients[12:]
        if any(abs(angle) > _MOST_TILT for angle in tilt):
            raise CameraError(f"tilt of ({tilt[0]:g}, {tilt[1]:g}) rad: accepted is up to {_MOST_TILT}")

    @property
    def image_size(self) -> tuple[int, int]:
        """Width and height of the images that the camera sends, px."""
        _, _, width, height = self._window
        return width // self.binning[0], height // self.binning[1]

    @property
    def _window(self) -> tuple[int, int, int, int]:
        return self.window_xywh if all(self.window_xywh[2:]) else (0, 0, *self.size)

    @cached_property
    def _rising(self) -> NDArray[np.float64]:
        """Of a lens by angle: where the first of _ANGLES come to lie, until it turns back."""
        radii = self._radius(_ANGLES)
        return radii[: np.append(np.diff(radii) <= 0, True).argmax() + 1]

    def _radius(self, angle: NDArray[np.float64]) -> NDArray[np.float64]:
        return angle * np.polyval([*self.coefficients[::-1], 1.0], angle**2)

    def __str__(self) -> str:
        return f"{self.size[0]}x{self.size[1]}, {self.model or 'no distortion'}"


def line_of_sight(
    camera: Camera, point: tuple[float, float], image_size: tuple[int, int]
) -> NDArray[np.float64]:
    """The unit vector (3,) from the camera towards what is seen at a point of an image.

    Args:
        point: x and y in pixels of the image, continuous: (0, 0) is its upper left corner.
        image_size: width and height, px. Images of the same shape as the calibration's, but larger or
            smaller, are taken for the same picture scaled.

    Raises:
        CameraError: the point is outside of what the calibration covers, or the image does not fit it.
    """
    fx, _, cx, _, fy, cy, *_ = camera.matrix
    across, down = _unscaled(camera, point, image_size)
    # Half a pixel: the calibration counts from the centre of the first one.
    x, y = (across - 0.5 - cx) / fx, (down - 0.5 - cy) / fy
    if camera.model in _BY_ANGLE:
        vector = _undistorted_by_angle(camera, x, y)
    elif any(camera.coefficients):
        vector = _undistorted(camera, x, y)
    else:
        vector = np.array([x, y, 1.0])
    length = math.hypot(*vector)
    if not math.isfinite(length):
        covers = "outside of what the calibration covers"
        raise CameraError(f"the pixel ({point[0]:.1f}, {point[1]:.1f}) is {covers} ({camera})")
    vector = vector / length
    if camera.rotation != IDENTITY:
        vector = np.array(camera.rotation).reshape(3, 3) @ vector
        vector /= np.linalg.norm(vector)
    return vector


def _unscaled(camera: Camera, point: tuple[float, float], image_size: tuple[int, int]) -> tuple[float, float]:
    """A point of an image, in pixels of the calibration, continuous."""
    expected, (left, top, *_) = camera.image_size, camera._window
    # One side may be rounded.
    if abs(image_size[0] * expected[1] - image_size[1] * expected[0]) > max(expected):
        size, fits = f"{image_size[0]}x{image_size[1]}", f"{expected[0]}x{expected[1]}"
        raise CameraError(f"an image of {size} has another shape than the calibration's, which is {fits}")
    scales = [b * e / i for b, e, i in zip(camera.binning, expected, image_size, strict=True)]
    return left + point[0] * scales[0], top + point[1] * scales[1]


@np.errstate(all="ignore")
def _undistorted(camera: Camera, x: float, y: float) -> NDArray[np.float64]:
    """The point (3,) of the plane z = 1 that comes to lie at (x, y); nan if there is none before a fold."""
    none, no_matrix, coefficients = np.zeros(3), np.eye(3), np.array(camera.coefficients)
    at, miss, focal_px = _NOWHERE, math.inf, max(camera.matrix[0], camera.matrix[4])
    ahead = [0, 0, 1] + _OUTWARD * np.array([x, y, 0]) / (math.hypot(x, y) or 1.0)
    for _ in range(_MOST_STEPS):
        places, slopes = cv2.projectPoints(ahead, none, none, no_matrix, coefficients)
        slopes = slopes[:, 3:5].reshape(-1, 2, 2)  # by the shift of the camera: where z is 1, by x and y
        rises = (np.linalg.det(slopes) > 0) & (slopes.trace(axis1=1, axis2=2) > 0)
        left = (x, y) - places[:, 0]
        misses = np.where(np.logical_and.accumulate(rises), np.hypot(*left.T), math.inf)
        best = misses.argmin()
        if not misses[best] < miss:
            break
        at, miss = ahead[best], float(misses[best])
        if miss * focal_px < _CLOSE_PX:
            break
        step = np.append(np.linalg.solve(slopes[best], left[best]), 0)
        longest = max(0.25, math.hypot(at[0], at[1]) / 2)
        ahead = at + _SHARES * step * min(1.0, longest / math.hypot(*step))
    return at if miss * focal_px < _MOST_MISS_PX else _NOWHERE


def _undistorted_by_angle(camera: Camera, x: float, y: float) -> NDArray[np.float64]:
    """The unit vector (3,) that comes to lie at (x, y); nan if none does before the model turns back."""
    radius, rising = math.hypot(x, y), camera._rising
    angle = np.interp(radius, rising, _ANGLES[: len(rising)], right=math.nan)
    miss = float(abs(camera._radius(angle) - radius))
    if not miss * max(camera.matrix[0], camera.matrix[4]) < _MOST_MISS_PX:
        return _NOWHERE
    ratio = math.sin(angle) / radius if radius else 0.0
    return np.array([x * ratio, y * ratio, math.cos(angle)])
