"""Re-detection: every place is looked at, at a bounded cost, and believed only at the second look."""

from __future__ import annotations

import math

import numpy as np
import pytest

from distill_tracker_ros.core.config import TrackerConfig
from distill_tracker_ros.core.crop import Region, region_around
from distill_tracker_ros.core.scan import Scan, tiles

FRAMES = [(640, 480), (1920, 1080), (101, 999), (64, 64), (333, 20)]
BOXES = [(10, 10, 5, 5), (300, 200, 31, 17), (0, 0, 200, 300)]


@pytest.mark.parametrize("limit", [1, 5, 64, 4096])
@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize(("width", "height"), FRAMES)
def test_every_point_of_the_frame_lies_in_the_middle_half_of_a_tile(
    width: int, height: int, box: tuple[int, ...], limit: int
) -> None:
    found = tiles(width, height, box, 4.0, limit)
    assert 1 <= len(found) <= limit
    assert len({r.side for r in found}) == 1
    assert found[0].side >= region_around(box, 4.0).side
    for axis, length in ((0, width), (1, height)):
        centres = np.unique([r[axis] + r.side / 2 for r in found])
        gaps = np.abs((np.arange(length) + 0.5)[:, None] - centres).min(axis=1)
        assert gaps.max() <= found[0].side / 4 + 0.5  # half a pixel, for the corners are whole numbers
    assert len(found) == len({r.x for r in found}) * len({r.y for r in found})  # a full grid


@pytest.mark.parametrize("box", BOXES)
def test_tiles_have_the_usual_region_where_the_limit_allows(box: tuple[int, ...]) -> None:
    assert tiles(640, 480, box, 4.0, 4096)[0].side == region_around(box, 4.0).side


def test_tiles_near_the_box_come_first() -> None:
    distances = [
        math.hypot(r.x + r.side / 2 - 500, r.y + r.side / 2 - 100)
        for r in tiles(640, 480, (490, 90, 20, 20), 4.0, 4096)
    ]
    assert distances == sorted(distances) and len(distances) > 50


@pytest.mark.parametrize("per_update", [1, 3, 64])
def test_a_round_visits_every_tile_and_each_update_is_bounded(per_update: int) -> None:
    config = TrackerConfig(redetect_tiles=per_update)
    box = (300, 200, 40, 40)
    expected = set(tiles(640, 480, box, 4.0, config.redetect_max_tiles))
    scan = Scan.of_frame(640, 480, box, 4.0, config)
    last, visited = Region(1, 2, 3), set()
    for _ in range(math.ceil(len(expected) / per_update)):
        regions = scan.next_regions(last)
        assert regions[0] == last and len(regions) == 1 + min(per_update, len(expected))
        visited.update(regions[1:])
    assert visited == expected


def test_a_place_is_believed_when_it_is_confident_twice() -> None:
    scan = Scan.of_frame(640, 480, (300, 200, 40, 40), 4.0, TrackerConfig())
    around, candidate = Region(0, 0, 160), np.array([500.0, 100, 40, 40])
    assert not scan.judge(candidate, 0.69, 0.7)
    assert len(scan.next_regions(around)) == 4  # nothing found: tiles again
    assert not scan.judge(candidate, 0.7, 0.7)
    assert scan.next_regions(around) == [region_around(candidate, 4.0)]
    assert scan.judge(candidate + 1, 0.7, 0.7)


def test_a_place_that_fails_the_second_look_is_dropped() -> None:
    scan = Scan.of_frame(640, 480, (300, 200, 40, 40), 4.0, TrackerConfig())
    around, candidate = Region(0, 0, 160), np.array([500.0, 100, 40, 40])
    scan.judge(candidate, 0.95, 0.7)
    scan.next_regions(around)
    assert not scan.judge(candidate, 0.6, 0.7)
    assert len(scan.next_regions(around)) == 4
    assert not scan.judge(candidate, 0.95, 0.7)  # a first look again
