"""From a score map and a box map to one box: window, argmax, and the score there."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .boxes import Boxes

Map = NDArray[np.float32]


class Peak(NamedTuple):
    """The chosen candidate of one search region."""

    box_cxcywh: Boxes  # relative to the side of the region
    confidence: float  # score of its cell, without window


@lru_cache(maxsize=32)
def hann_window(grid: int, weight: float = 1.0) -> Map:
    """The prior that the target moved little, shape (grid, grid), in (0, 1]; read-only.

    h_k = (1 - cos(2 pi k / (n + 1))) / 2 for k = 1..n, as an outer product, mixed with a flat window:
    weight 1 is the published full window, 0 no prior. A grid of 1 gives the number 1.
    """
    if grid == 1:
        window = np.ones((1, 1), np.float32)
    else:
        k = np.arange(1, grid + 1)
        hann = 0.5 * (1 - np.cos(2 * np.pi * k / (grid + 1)))
        window = (1 - weight + weight * np.outer(hann, hann)).astype(np.float32)
    window.flags.writeable = False
    return window


def peak(score_map: Map, box_map: Map, window: Map) -> Peak:
    """The candidate whose windowed score is highest.

    Numbers that are not finite there (an overflow in half precision) are no detection: confidence 0.

    Args:
        score_map: (G, G), in (0, 1).
        box_map: (4, G, G), cxcywh relative to the side of the search region.
        window: (G, G).
    """
    row, column = divmod(int(np.argmax(score_map * window)), score_map.shape[1])
    box, confidence = box_map[:, row, column].astype(np.float64), float(score_map[row, column])
    if not (math.isfinite(confidence) and np.isfinite(box).all()):
        return Peak(np.array([0.5, 0.5, 1.0, 1.0]), 0.0)
    return Peak(box, confidence)
