"""Objects cut out of photographs: a soft outline that fills its box, and blending."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

OUTLINE_PX = 64


def outline(rng: Generator) -> NDArray[np.uint8]:
    """A random soft mask (64, 64), 0..255, that touches all four sides of its box.

    A superellipse |x|^p + |y|^p <= 1 with wavy rim: p = 2 is an ellipse, large p a rectangle.
    """
    steps = (np.arange(OUTLINE_PX) + 0.5) / OUTLINE_PX * 2 - 1
    x, y = np.meshgrid(steps, steps)
    power = float(np.exp(rng.uniform(np.log(1.6), np.log(8.0))))
    distance = (np.abs(x) ** power + np.abs(y) ** power) ** (1 / power)
    # Waves of even order vanish on the axes, where the outline touches its box.
    angle = np.arctan2(y, x)
    wave = rng.uniform(0, 0.25) * np.sin(rng.integers(1, 3) * 2 * angle) ** 2
    inside = np.clip((1 - distance - wave) * OUTLINE_PX / 4 + 0.5, 0, 1)
    return cv2.GaussianBlur((inside * 255).astype(np.uint8), (3, 3), 0)  # type: ignore[return-value]


def blend(below: NDArray[np.uint8], above: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`above` over `below`, (H, W, 3) each, with opacity (H, W) 0..255."""
    a = alpha[..., None].astype(np.uint16)
    return ((above * a + below * (255 - a) + 127) // 255).astype(np.uint8)
