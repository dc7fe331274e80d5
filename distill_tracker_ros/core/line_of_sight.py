"""From a pixel of a calibrated camera to the direction in which it looks.

Distortion is undone by damped Newton steps that begin on the optical axis and stay where the model rises, so
that a polynomial that turns back outside of the calibrated part of the picture gives no wrong direction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

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
_LEAST_SHARE = 1e-6  # of a step
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
        self._lens  # noqa: B018  made now: it refuses what no lens does

    @property
    def image_size(self) -> tuple[int, int]:
        """Width and height of the images that the camera sends, px."""
        _, _, width, height = self._window
        return width // self.binning[0], height // self.binning[1]

    @property
    def _window(self) -> tuple[int, int, int, int]:
        return self.window_xywh if all(self.window_xywh[2:]) else (0, 0, *self.size)

    @cached_property
    def _lens(self) -> _Lens | None:
        """None: no distortion."""
        by_angle = self.model in _BY_ANGLE
        return _lens(self.coefficients, by_angle) if any(self.coefficients) or by_angle else None

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
    x, y, z = (across - 0.5 - cx) / fx, (down - 0.5 - cy) / fy, 1.0
    lens = camera._lens
    solution = (x, y) if lens is None else _undistorted(lens, *_levelled(lens, x, y), max(fx, fy))
    if solution is None or not math.isfinite(math.hypot(*solution)):
        covers = "outside of what the calibration covers"
        raise CameraError(f"the pixel ({point[0]:.1f}, {point[1]:.1f}) is {covers} ({camera})")
    x, y = solution
    if lens is not None and lens.by_angle:  # so far they were angles
        angle = math.hypot(x, y)
        ratio = math.sin(angle) / angle if angle else 1.0
        x, y, z = x * ratio, y * ratio, math.cos(angle)
    vector = np.array([x, y, z]) / math.hypot(x, y, z)
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


class _Lens(NamedTuple):
    """Both kinds of distortion as one map of a plane.

    A pinhole's plane is z = 1; that of a model by angle has the angle from the axis as its radius. The map
    is radius -> radius * numerator / denominator (polynomials of the squared radius that begin with 1), and
    small terms that are not round.
    """

    by_angle: bool
    numerator: tuple[float, ...]
    denominator: tuple[float, ...]
    tangential: tuple[float, float]
    prism: tuple[float, float, float, float]
    level: NDArray[np.float64] | None  # (3, 3) undoes the tilt of the sensor; None: it has none
    limit: float  # radius below which the round part rises


def _lens(coefficients: Sequence[float], by_angle: bool) -> _Lens:
    if by_angle:
        limit = min(math.pi, _turning_radius(coefficients, ()))
        return _Lens(True, tuple(coefficients), (), (0, 0), (0, 0, 0, 0), None, limit)
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4, tilt_x, tilt_y = [*coefficients, *[0.0] * 14][:14]
    numerator, denominator = (k1, k2, k3), (k4, k5, k6)
    level = _levelling(tilt_x, tilt_y) if tilt_x or tilt_y else None
    limit = _turning_radius(numerator, denominator)
    return _Lens(False, numerator, denominator, (p1, p2), (s1, s2, s3, s4), level, limit)


def _turning_radius(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """Where radius * numerator / denominator stops rising, or has a pole; infinite if it never does."""
    above, below = np.array([1.0, *numerator])[::-1], np.array([1.0, *denominator])[::-1]
    with np.errstate(all="ignore"):
        bend: NDArray[np.float64] = np.polysub(
            np.polymul(np.polyder(above), below),
            np.polymul(above, np.polyder(below)),
        )
        slope = np.polyadd(np.polymul(above, below), np.append(2 * bend, 0.0))
        try:
            # Read backwards, the roots are reciprocal: the first one is the largest, and the most exact.
            roots = np.concatenate([np.roots(slope[::-1]), np.roots(below[::-1])])
        except np.linalg.LinAlgError as error:
            raise CameraError("distortion coefficients are too large") from error
    real = roots.real[(np.abs(roots.imag) <= 1e-6 * np.abs(roots)) & (roots.real > 0)]
    return float(1 / math.sqrt(real.max())) if real.size else math.inf


def _levelling(tilt_x: float, tilt_y: float) -> NDArray[np.float64]:
    """(3, 3) the inverse of the homography of a sensor that is tilted about x, then about y, rad."""
    if max(abs(tilt_x), abs(tilt_y)) > _MOST_TILT:
        raise CameraError(f"tilt of ({tilt_x:g}, {tilt_y:g}) rad: accepted is up to {_MOST_TILT}")
    (cos_x, sin_x), (cos_y, sin_y) = ((math.cos(a), math.sin(a)) for a in (tilt_x, tilt_y))
    about_x = np.array([[1, 0, 0], [0, cos_x, sin_x], [0, -sin_x, cos_x]])
    about_y = np.array([[cos_y, 0, -sin_y], [0, 1, 0], [sin_y, 0, cos_y]])
    turn = about_y @ about_x
    onto = np.array([[turn[2, 2], 0, -turn[0, 2]], [0, turn[2, 2], -turn[1, 2]], [0, 0, 1]])
    return np.asarray(np.linalg.inv(onto @ turn))


def _levelled(lens: _Lens, x: float, y: float) -> tuple[float, float]:
    if lens.level is None:
        return x, y
    across, down, scale = (lens.level @ (x, y, 1.0)).tolist()
    return (across / scale, down / scale) if scale > 0 else (math.inf, math.inf)


class _Distorted(NamedTuple):
    """Where a point of the plane comes to lie, and the derivatives of that."""

    x: float
    y: float
    x_by_x: float
    x_by_y: float
    y_by_x: float
    y_by_y: float
    determinant: float

    @property
    def rises(self) -> bool:
        """Neither folded nor turned round here."""
        return self.determinant > 0 and self.x_by_x + self.y_by_y > 0

    def step(self, x: float, y: float) -> tuple[float, float]:
        """Newton's, towards a point that comes to lie at (x, y)."""
        dx, dy = x - self.x, y - self.y
        return (
            (self.y_by_y * dx - self.x_by_y * dy) / self.determinant,
            (self.x_by_x * dy - self.y_by_x * dx) / self.determinant,
        )


def _distorted(lens: _Lens, x: float, y: float) -> _Distorted:
    """Within the lens's limit."""
    q = x * x + y * y
    (above, above_slope), (below, below_slope) = _series(lens.numerator, q), _series(lens.denominator, q)
    below = below or math.nan  # at a pole nothing rises
    ratio = above / below
    slope = 2 * (above_slope - ratio * below_slope) / below  # of the ratio by q, twice
    (p1, p2), (s1, s2, s3, s4) = lens.tangential, lens.prism
    both = x * y * slope + 2 * (p1 * x + p2 * y)
    prism_x, prism_y = 2 * (s1 + 2 * s2 * q), 2 * (s3 + 2 * s4 * q)
    x_by_x = ratio + x * x * slope + 2 * p1 * y + 6 * p2 * x + x * prism_x
    x_by_y = both + y * prism_x
    y_by_x = both + x * prism_y
    y_by_y = ratio + y * y * slope + 6 * p1 * y + 2 * p2 * x + y * prism_y
    return _Distorted(
        x * ratio + 2 * p1 * x * y + p2 * (q + 2 * x * x) + q * (s1 + s2 * q),
        y * ratio + p1 * (q + 2 * y * y) + 2 * p2 * x * y + q * (s3 + s4 * q),
        *(x_by_x, x_by_y, y_by_x, y_by_y),
        x_by_x * y_by_y - x_by_y * y_by_x,
    )


def _series(coefficients: tuple[float, ...], q: float) -> tuple[float, float]:
    """1 + c1 q + c2 q^2 + ..., and its derivative."""
    value, slope = 0.0, 0.0
    for c in reversed(coefficients):
        slope = slope * q + value + c
        value = (value + c) * q
    return 1.0 + value, slope


def _undistorted(lens: _Lens, x: float, y: float, focal_px: float) -> tuple[float, float] | None:
    """The point of the plane that comes to lie at (x, y), if it is reached from the axis without a fold."""
    at, found = (0.0, 0.0), _distorted(lens, 0.0, 0.0)
    miss = math.hypot(x - found.x, y - found.y)
    for _ in range(_MOST_STEPS):
        if miss * focal_px < _CLOSE_PX:
            break
        towards = found.step(x, y)
        # Never so far that a fold is leapt over.
        share = min(1.0, max(0.25, math.hypot(*at) / 2) / max(math.hypot(*towards), 1e-12))
        while share > _LEAST_SHARE:
            ahead = at[0] + share * towards[0], at[1] + share * towards[1]
            if math.hypot(*ahead) < lens.limit:
                there = _distorted(lens, *ahead)
                left = math.hypot(x - there.x, y - there.y)
                if there.rises and left < miss:
                    break
            share /= 2
        else:  # an edge, or the end of what floats can tell
            break
        at, found, miss = ahead, there, left
    return at if miss * focal_px < _MOST_MISS_PX else None
