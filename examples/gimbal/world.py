"""Pictures for the closed loop: a motorcycle that goes round a drone, through the camera on its gimbal.

Made of the demo's photographs, which scikit-image brings.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from distill_tracker_ros.demo import scene

from .simulation import Gimbal, Lens, Vector

DRONE = np.array([30.0, 20.0, 14.0])  # m
BIKE_M = (2.4, 1.7)  # length, height
_FOCAL_PX = (
    900.0  # of the straight picture of `scene.SIZE` that the lens bends; it must hold all that the lens shows
)
_SUN = (0.3, 0.5)


class World:
    """A meadow with a road and a field; the drone hovers over it."""

    def __init__(self, rad_s: float, distance_m: float = 24.0) -> None:
        """`rad_s`: speed of the motorcycle round the drone, to the right; `distance_m`: along the ground."""
        self._rad_s, self._distance_m = rad_s, distance_m
        self._ground = scene.ground_picture(lambda x: 20 + 0 * x, np.random.default_rng(3))
        self._bike = scene.motorcycle()

    def target(self, time_s: float) -> Vector:
        """The middle of the motorcycle, seen from the drone, (3,) m."""
        return np.asarray(np.array([*self._foot(time_s), BIKE_M[1] / 2]) - DRONE)

    def box_xywh(self, time_s: float, gimbal: Gimbal, lens: Lens) -> Vector:
        """Its true box in the picture, px."""
        bike = self._standing(time_s)
        rows, columns = bike.picture.shape[:2]
        outline = [(u, v) for u in np.linspace(0, columns, 9) for v in np.linspace(0, rows, 9)]
        points = np.array([bike.corner + u * bike.along + v * bike.down - DRONE for u, v in outline])
        pixels = lens.pixels(points @ gimbal.axes.T)
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        return np.concatenate([low, high - low])

    def picture(self, time_s: float, gimbal: Gimbal, lens: Lens) -> NDArray[np.uint8]:
        """What the camera sees, RGB, (height, width, 3)."""
        axes, (width, height) = gimbal.axes, scene.SIZE
        pinhole = np.array([[_FOCAL_PX, 0, width / 2], [0, _FOCAL_PX, height / 2], [0, 0, 1]])
        projection = pinhole @ np.column_stack([axes, -axes @ DRONE])
        image, bike = scene.draw_ground(self._ground, projection), self._standing(time_s)
        for plane in (scene.shadow(bike, _SUN), bike):
            scene.draw(image, plane, projection)
        x, y = np.moveaxis((lens.plane * _FOCAL_PX + pinhole[:2, 2] - 0.5).astype(np.float32), -1, 0)
        bent = cv2.remap(image, x, y, cv2.INTER_LINEAR)
        return cv2.cvtColor(bent, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]

    def _foot(self, time_s: float) -> Vector:
        """Where it touches the ground, (2,) m: it comes nearer and goes away again."""
        around, away = self._rad_s * time_s, self._distance_m - 4 * math.sin(0.7 * time_s)
        return np.asarray(DRONE[:2] + away * np.array([math.cos(around), -math.sin(around)]))

    def _standing(self, time_s: float) -> scene.Plane:
        """It shows its side to the drone."""
        foot = self._foot(time_s)
        x, y = foot - DRONE[:2]
        return scene.standing(self._bike, foot, (y, -x), *BIKE_M)
