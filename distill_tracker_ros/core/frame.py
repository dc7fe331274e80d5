"""What the core needs of a camera image: its size, and the pixels of one rectangle."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


class Frame(Protocol):
    """A camera image of which only the rectangles that are looked at are converted."""

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    def cut(self, x: int, y: int, width: int, height: int, shrink: float = 1.0) -> Pixels:
        """RGB uint8 pixels of a rectangle that lies inside the frame.

        Args:
            x, y, width, height: frame pixels, 0 <= x, x + width <= frame width, the same vertically.
            shrink: how many times the caller will shrink what it gets. A frame that can be decoded
                coarser for less work may return the rectangle up to this many times smaller.

        Returns:
            (h, w, 3), where (h, w) is (height, width) or that divided by at most `shrink`.
        """
        ...


class ArrayFrame:
    """A frame over an RGB array of shape (H, W, 3), uint8 (not copied)."""

    def __init__(self, rgb: Pixels) -> None:
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise ValueError(f"a frame is an RGB array (H, W, 3) of uint8; got {rgb.shape} of {rgb.dtype}")
        self._rgb = rgb
        self.height, self.width = rgb.shape[:2]

    def cut(self, x: int, y: int, width: int, height: int, shrink: float = 1.0) -> Pixels:
        """A view of the rectangle, at full scale."""
        return self._rgb[y : y + height, x : x + width]
