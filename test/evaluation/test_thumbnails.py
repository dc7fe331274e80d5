"""Pictures of a target: what is on them, and of which frames they are."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from synthetic import RED, moving_square
from tracked import tracked

from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.drawing import STATE_COLOURS
from distill_tracker_ros.evaluation.report import thumbnails
from distill_tracker_ros.evaluation.sequences import Frames, NoFrames, SequenceError

FRAMES = 30
MIDDLE = thumbnails.SIZE_PX // 2


class Kept(Frames):
    def __init__(self) -> None:
        self._frames = [rgb for rgb, _ in moving_square(frames=FRAMES)]

    def __len__(self) -> int:
        return len(self._frames)

    def _read(self, index: int) -> np.ndarray:
        return self._frames[index]


TRUTH = np.array([box for _, box in moving_square(frames=FRAMES)])


def pictures(middle: int = 15, moved: float = 0.0, **fields) -> dict[int, np.ndarray]:
    """Frame -> BGR."""
    of_sequence = tracked("square", TRUTH, TRUTH + [moved, 0, 0, 0], **fields)
    strip = thumbnails.strip(of_sequence, Kept(), middle)
    return {p.frame: cv2.imdecode(np.frombuffer(p.jpeg, np.uint8), cv2.IMREAD_COLOR) for p in strip}


def share(picture: np.ndarray, colour_bgr: tuple[int, ...]) -> float:
    """Of the pixels that are near a colour."""
    return float((np.abs(picture.astype(int) - colour_bgr).max(axis=-1) < 60).mean())


@pytest.mark.parametrize(
    ("middle", "rate_hz", "frames"),
    [
        (15, 30.0, [0, 3, 9, 15, 21]),
        (15, 5.0, [0, 13, 14, 15, 16, 18]),
        (0, 10.0, [0, 2, 6]),
        (29, 10.0, [0, 25, 27, 29]),
    ],
)
def test_frames_lie_around_the_moment(middle: int, rate_hz: float, frames: list[int]):
    assert list(pictures(middle, rate_hz=rate_hz)) == frames


def test_the_target_is_in_the_middle_and_at_one_size():
    for picture in pictures().values():
        assert picture.shape == (thumbnails.SIZE_PX, thumbnails.SIZE_PX, 3)
        assert share(picture[MIDDLE - 12 : MIDDLE + 12, MIDDLE - 12 : MIDDLE + 12], RED[::-1]) > 0.9
        assert share(picture, RED[::-1]) == pytest.approx(1 / 25, rel=0.35)  # a fifth of each side


@pytest.mark.parametrize("state", TrackState)
def test_the_state_gives_the_colour_of_the_box(state: TrackState):
    picture = pictures(moved=40.0, states=state)[15]
    assert share(picture, STATE_COLOURS[state]) > 0.003
    assert share(picture, (255, 255, 255)) > 0.003  # the true one


def test_a_hidden_target_has_no_true_box():
    seen, hidden = (
        pictures(moved=40.0, visible=[True] * 10 + [visible] * 20)[15] for visible in (True, False)
    )
    assert share(hidden, (255, 255, 255)) < share(seen, (255, 255, 255)) / 3


def test_an_arrow_points_to_a_box_outside():
    picture = pictures(moved=1000.0)[15]
    green = STATE_COLOURS[TrackState.TRACKING]
    assert share(picture[:, MIDDLE:], green) > 0.003
    assert share(picture[:, :MIDDLE], green) == 0


def test_boxes_without_size():
    empty = TRUTH.copy()
    empty[1:, :2] += empty[1:, 2:] / 2  # the centre of the true box
    empty[1:, 2:] = 0
    strip = thumbnails.strip(tracked("square", TRUTH, empty), Kept(), 15)
    assert [p.frame for p in strip] == [0, 3, 9, 15, 21]


def test_frames_that_cannot_be_read():
    with pytest.raises(SequenceError, match="no images"):
        thumbnails.strip(tracked("square", TRUTH), NoFrames(FRAMES, "no images"), 15)
