"""The picture for people: right size, boxes where they belong."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from distill_tracker_ros.core.frame import ArrayFrame
from distill_tracker_ros.core.session import Target
from distill_tracker_ros.core.tracker import Track, TrackState
from distill_tracker_ros.drawing import STATE_COLOURS
from distill_tracker_ros.nodes.overlay import OverlayConfig, render


def picture(width: int, height: int, config: OverlayConfig, *targets: tuple[Target, Track]) -> np.ndarray:
    frame = ArrayFrame(np.full((height, width, 3), 128, np.uint8))
    return cv2.imdecode(np.frombuffer(render(frame, targets, config), np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize(
    ("width_px", "expected"), [(640, (360, 640)), (0, (720, 1280)), (4000, (720, 1280)), (1, (1, 1))]
)
def test_size(width_px: int, expected: tuple[int, int]) -> None:
    assert picture(1280, 720, OverlayConfig(width_px=width_px)).shape[:2] == expected


@pytest.mark.parametrize("state", TrackState)
def test_the_box_is_drawn_in_the_colour_of_the_state(state: TrackState) -> None:
    track = Track(np.array([800.0, 400, 400, 600]), 0.5, state, 0, 0, 1)
    image = picture(4096, 2304, OverlayConfig(width_px=2048, jpeg_quality=100), (Target("1", "car"), track))
    for x, y in ((400, 350), (600, 350), (500, 500)):  # left, right and lower edge, at half scale
        assert np.abs(image[y, x].astype(int) - STATE_COLOURS[state]).max() < 20, (x, y)
    for x, y in ((500, 350), (390, 350), (610, 350), (500, 510), (1000, 600)):  # beside it
        assert np.abs(image[y, x].astype(int) - 128).max() < 10, (x, y)
