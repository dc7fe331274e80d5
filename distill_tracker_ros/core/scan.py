"""Re-detection: the whole frame, tile by tile, a few tiles per update."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from .boxes import Boxes, xywh_to_cxcywh
from .config import TrackerConfig
from .crop import Region, region_around


def tiles(width: int, height: int, box_xywh: ArrayLike, factor: float, limit: int) -> list[Region]:
    """Half-overlapping square regions that cover a frame, the nearest to the box first.

    Tiles have the side of a usual search region of the box, larger if more than `limit` would be
    needed, so a whole scan has a bound for every frame and target size.
    """
    side = region_around(box_xywh, factor).side
    while (n := _count(width, side) * _count(height, side)) > limit:
        side = max(side + 1, math.floor(side * math.sqrt(n / limit)))
    xs = np.linspace(-side / 4, width - 3 * side / 4, _count(width, side))
    ys = np.linspace(-side / 4, height - 3 * side / 4, _count(height, side))
    cx, cy, _, _ = xywh_to_cxcywh(box_xywh)
    found = [Region(round(x), round(y), side) for y in ys for x in xs]
    return sorted(found, key=lambda r: math.hypot(r.x + side / 2 - cx, r.y + side / 2 - cy))


def _count(length: int, side: int) -> int:
    """Tiles along one axis: the middle halves of the tiles cover the axis."""
    return max(1, math.ceil(length / (side / 2)))


class Scan:
    """The search for a LOST target: a round over the tiles, and a second look at what was found.

    A place is believed only when it is confident twice: in a tile, and in the next frame in a search
    region of its own. One lucky tile does not move the track.
    """

    def __init__(self, regions: list[Region], factor: float, per_update: int) -> None:
        self._tiles = regions
        self._factor = factor
        self._per_update = min(per_update, len(regions))
        self._position = 0
        self._candidate_xywh: Boxes | None = None
        self.frames_without_tiles = 0

    @classmethod
    def of_frame(
        cls, width: int, height: int, box_xywh: ArrayLike, factor: float, config: TrackerConfig
    ) -> Scan:
        regions = tiles(width, height, box_xywh, factor, config.redetect_max_tiles)
        return cls(regions, factor, config.redetect_tiles)

    @property
    def has_candidate(self) -> bool:
        """Whether a place was found that is still to be looked at again."""
        return self._candidate_xywh is not None

    def next_regions(self, around_box: Region, tiles: bool = True) -> list[Region]:
        """The candidate's own region if there is one; else where the target was last and, if it may, some
        tiles."""
        if self._candidate_xywh is not None:
            return [region_around(self._candidate_xywh, self._factor)]
        if not tiles:
            self.frames_without_tiles += 1
            return [around_box]
        self.frames_without_tiles = 0
        picked = [self._tiles[(self._position + i) % len(self._tiles)] for i in range(self._per_update)]
        self._position = (self._position + self._per_update) % len(self._tiles)
        return [around_box, *picked]

    def judge(self, box_xywh: Boxes, confidence: float, threshold: float) -> bool:
        """Take the best box of the regions looked at; True when it confirms the candidate."""
        confident = confidence >= threshold
        confirmed = confident and self._candidate_xywh is not None
        self._candidate_xywh = box_xywh if confident and not confirmed else None
        return confirmed
