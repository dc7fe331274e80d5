"""Pictures for a camera that runs for hours: coloured cars that circle on a ground which sways under them.

Every picture is a function of its number, and a few copies of arrays: a camera of it costs next to nothing.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Collection

import cv2
import numpy as np
from numpy.typing import NDArray

from distill_tracker_ros.core.boxes import Boxes

CAR_PX = (48, 32)  # length and width
_SWAY_PX = 24  # how far the ground moves to each side
_SWAY_FRAMES = (310, 430)  # of a swing, across and down
_LAP_FRAMES = 240
_LAP_SHARE = 0.3  # half axes of a car's way, in shares of its own cell of the picture


class Traffic:
    """Each car keeps to a cell of its own, and has a colour that no other one has."""

    def __init__(self, size: tuple[int, int], cars: int) -> None:
        """`size`: width and height of the pictures, px."""
        self.size, self.cars = size, cars
        self._ground = _ground(size[0] + 2 * _SWAY_PX, size[1] + 2 * _SWAY_PX)
        self._pictures = [_car(number / cars) for number in range(cars)]

    def paint(self, pixels: NDArray[np.uint8], number: int, absent: Collection[int] = ()) -> None:
        """Write picture `number` into (height, width, 3) BGR pixels, without the cars that are absent."""
        left, top = (
            round(_SWAY_PX * (1 + math.sin(2 * math.pi * number / period))) for period in _SWAY_FRAMES
        )
        width, height = self.size
        pixels[:] = self._ground[top : top + height, left : left + width]
        for car in range(self.cars):
            if car not in absent:
                x, y, w, h = self.box_xywh(car, number).astype(int)
                pixels[y : y + h, x : x + w] = self._pictures[car]

    def box_xywh(self, car: int, number: int) -> Boxes:
        """Where a car is in picture `number`; whole pixels."""
        columns = math.ceil(math.sqrt(self.cars))
        cell = np.array(self.size) / (columns, math.ceil(self.cars / columns))
        middle = (np.array([car % columns, car // columns]) + 0.5) * cell
        angle = 2 * math.pi * (number / _LAP_FRAMES + car / self.cars)
        centre = middle + _LAP_SHARE * cell * (math.cos(angle), math.sin(angle))
        return np.array([*np.round(centre - np.array(CAR_PX) / 2), *CAR_PX], np.float64)


def _ground(width: int, height: int) -> NDArray[np.uint8]:
    """Coarse and fine patches of grey, a little green: far from the colours of cars."""
    rng = np.random.default_rng(0)
    grey = np.full((height, width), 60.0, np.float32)
    for cell, strength in ((64, 70), (12, 40), (3, 20)):
        patches = rng.random((height // cell + 2, width // cell + 2), np.float32)
        grey += strength * cv2.resize(patches, (width, height), interpolation=cv2.INTER_CUBIC)
    bgr = grey[..., None] * np.array([0.85, 1.0, 0.9], np.float32)
    return np.clip(bgr, 0, 255).astype(np.uint8)


def _car(hue: float) -> NDArray[np.uint8]:
    """A car from above, BGR: the body in its colour, with a dark pane before and behind the roof."""
    length, width = CAR_PX
    r, g, b = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.9, 0.95))
    picture = np.full((width, length, 3), (b, g, r), np.uint8)
    for left in (length // 8, length * 3 // 4):
        picture[4 : width - 4, left : left + length // 8] = 35
    return picture
