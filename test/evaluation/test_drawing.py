"""Boxes on pictures."""

from __future__ import annotations

import numpy as np
import pytest

from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.drawing import STATE_COLOURS, draw_box, draw_lines, draw_track


def picture() -> np.ndarray:
    return np.full((360, 640, 3), 100, np.uint8)


def bounds_xyxy(changed: np.ndarray) -> list[int]:
    ys, xs = np.nonzero(changed)
    return [xs.min(), ys.min(), xs.max(), ys.max()]


def test_a_box_lies_where_it_should():
    image = picture()
    draw_box(image, (100, 50, 80, 60))
    np.testing.assert_allclose(bounds_xyxy((image != 100).any(axis=-1)), (100, 50, 180, 110), atol=1)
    assert (image[60:100, 110:170] == 100).all()  # nothing inside


@pytest.mark.parametrize("state", TrackState)
def test_the_state_gives_the_colour(state: TrackState):
    image = picture()
    draw_track(image, (100, 50, 80, 60), "car", 0.5, state)
    assert tuple(image[80, 100]) == STATE_COLOURS[state]


def test_doubt_is_written():
    sure, doubtful = picture(), picture()
    draw_track(sure, (100, 50, 80, 60), "", 0.5, TrackState.TRACKING)
    draw_track(doubtful, (100, 50, 80, 60), "", 0.5, TrackState.UNCERTAIN)
    widths = [bounds_xyxy((image != 100).any(axis=-1))[2] for image in (sure, doubtful)]
    assert widths[1] > widths[0]


@pytest.mark.parametrize(
    "box",
    [(-50, -50, 80, 60), (620, 340, 80, 60), (0, 0, 640, 360), (1e12, 0, 5, 5), (-1e12, -1e12, 2e12, 2e12)],
)
def test_boxes_beyond_the_picture_are_drawn_as_far_as_they_can_be(box: tuple[float, ...]):
    image = picture()
    draw_track(image, box, "a long label that needs room", 1.0, TrackState.LOST)
    assert (image != 100).any()


def test_a_box_that_is_none_draws_nothing():
    image = picture()
    draw_track(image, (np.nan,) * 4, "car", 0.5, TrackState.TRACKING)
    draw_box(image, (np.nan, 1, 2, 3))
    assert (image == 100).all()


def test_a_picture_smaller_than_the_caption():
    image = np.zeros((12, 16, 3), np.uint8)
    draw_track(image, (2, 2, 8, 8), "car", 0.5, TrackState.TRACKING)
    assert image.shape == (12, 16, 3)
    assert image.any()


def test_lines_stand_in_the_corner():
    image = picture()
    draw_lines(image, ["one", "two"])
    assert (image[:60, :120] != 100).any()
    assert (image[:, 300:] == 100).all()
