"""What the control is tried with: a gimbal with delay and limits, a camera with a lens, and the closed loop.

The world has x and y along the ground and z up, in metres. At yaw 0 and pitch 0 the camera looks along x.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from distill_tracker_ros.core.line_of_sight import Camera, line_of_sight

from .control import STILL, Aim, Angles, Gains, angles

Vector = NDArray[np.float64]
Look = Callable[[Vector], Vector | None]  # the true ray in the camera's frame -> the bearing, if there is one

_LOWEST, _HIGHEST = -math.pi / 2, math.pi / 6  # pitch, rad


class Gimbal:
    """Two axes: yaw about the vertical, then pitch. It turns as it was told `delay_s` ago."""

    def __init__(self, at: Angles = STILL, delay_s: float = 0.1, most_rad_s: float = 1.5) -> None:
        """
        Args:
            at: where it points at first, rad.
            delay_s: of everything between the exposure of an image and the motors.
            most_rad_s: what the motors can do.
        """
        self.at = at
        self._delay_s, self._most_rad_s = delay_s, most_rad_s
        self._now_s, self._turning = 0.0, STILL
        self._coming: deque[tuple[float, Angles]] = deque()

    def command(self, rates: Angles, at_s: float) -> None:
        """Turn at these rates, rad/s, from `at_s` plus the delay on."""
        most = self._most_rad_s
        limited = Angles(*(max(-most, min(most, rate)) for rate in rates))
        self._coming.append((at_s + self._delay_s, limited))

    def advance(self, to_s: float) -> None:
        """Let time pass."""
        while self._coming and self._coming[0][0] <= to_s:
            when, rates = self._coming.popleft()
            self._turn(when)
            self._turning = rates
        self._turn(to_s)

    def _turn(self, to_s: float) -> None:
        lasted_s, self._now_s = to_s - self._now_s, to_s
        pitch, yaw = (angle + rate * lasted_s for angle, rate in zip(self.at, self._turning, strict=True))
        self.at = Angles(max(_LOWEST, min(_HIGHEST, pitch)), yaw)

    @property
    def axes(self) -> NDArray[np.float64]:
        """(3, 3) rows: right, down and forward of the camera in the world; times a ray it is in its frame."""
        (cp, sp), (cy, sy) = ((math.cos(angle), math.sin(angle)) for angle in self.at)
        return np.array([[-sy, -cy, 0.0], [cy * sp, -sy * sp, -cp], [cy * cp, -sy * cp, sp]])


@dataclass(frozen=True)
class Lens:
    """A camera whose lens bends the picture; the names are those of sensor_msgs/CameraInfo."""

    size: tuple[int, int] = (640, 360)
    k: tuple[float, ...] = (538.0, 0.0, 317.4, 0.0, 540.0, 182.1, 0.0, 0.0, 1.0)
    d: tuple[float, ...] = (-0.2, 0.03, 0.001, -0.0005, 0.0)  # plumb_bob

    def pixels(self, rays: Vector) -> Vector:
        """(N, 3) directions before the camera -> (N, 2) continuous pixels, in the picture or beside it."""
        none = np.zeros(3)
        matrix = np.array(self.k).reshape(3, 3)
        found = cv2.projectPoints(np.atleast_2d(rays), none, none, matrix, np.array(self.d))[0]
        return np.asarray(found[:, 0] + 0.5)  # to OpenCV the centre of a pixel is whole

    def shows(self, ray: Vector) -> bool:
        """Whether a direction is in the picture."""
        if ray[2] <= 0:
            return False
        (pixel,) = self.pixels(ray)
        return bool((pixel > 0).all() and (pixel < self.size).all())

    @cached_property
    def plane(self) -> Vector:
        """(height, width, 2) where the ray of each pixel meets the plane z = 1, by OpenCV."""
        width, height = self.size
        pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
        matrix, exactly = np.array(self.k).reshape(3, 3), (cv2.TERM_CRITERIA_COUNT, 50, 0)
        found = cv2.undistortPointsIter(
            pixels.reshape(-1, 1, 2).astype(np.float64),
            matrix,
            np.array(self.d),
            np.eye(3),
            np.eye(3),
            exactly,
        )
        return np.asarray(found.reshape(height, width, 2))


def through(lens: Lens, wrong_px: float = 1.5) -> Look:
    """What a tracker tells: the line of sight of a pixel that is a little wrong, always in the same way."""
    camera, rng = Camera(lens.size, lens.k, "plumb_bob", lens.d), np.random.default_rng(0)

    def look(ray: Vector) -> Vector | None:
        if not lens.shows(ray):
            return None
        ((across, down),) = lens.pixels(ray) + rng.normal(0, wrong_px, 2)
        return line_of_sight(camera, (across, down), lens.size)

    return look


class Sample(NamedTuple):
    """What was when an image was taken; angles in rad."""

    time_s: float
    error: Angles  # of the target against the middle of the picture
    at: Angles  # where the gimbal pointed
    seen: bool


def fly(
    gimbal: Gimbal,
    target: Callable[[float], Vector],
    look: Look,
    gains: Gains,
    seconds: float,
    rate_hz: float = 30.0,
) -> list[Sample]:
    """Close the loop: an image, a bearing, rates, and so on.

    Args:
        target: time, s -> where the target is seen from the camera, (3,) m in the world.
    """
    aim, samples = Aim(gains), []
    for now_s in np.arange(round(seconds * rate_hz)) / rate_hz:
        gimbal.advance(now_s)
        ray = gimbal.axes @ target(now_s)
        bearing = look(ray)
        if bearing is not None:
            aim.see(bearing.tolist(), now_s)
        gimbal.command(aim.rates(now_s), now_s)
        samples.append(Sample(now_s, angles(ray.tolist()), gimbal.at, bearing is not None))
    return samples
