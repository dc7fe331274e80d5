"""Boxes on a picture: the one way this project draws them (overlay topic, demo video, `track` command)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .core.boxes import xywh_to_xyxy
from .core.tracker import TrackState

Colour = tuple[int, int, int]  # blue, green, red

STATE_COLOURS: dict[TrackState, Colour] = {
    TrackState.TRACKING: (96, 220, 60),
    TrackState.UNCERTAIN: (40, 190, 255),
    TrackState.LOST: (70, 70, 240),
}
TRUTH_COLOUR: Colour = (255, 255, 255)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LIMIT_PX = 100_000.0  # far outside of any picture, and still inside OpenCV's fixed-point range


def draw_track(
    image_bgr: NDArray[np.uint8], box_xywh: ArrayLike, label: str, confidence: float, state: TrackState
) -> None:
    """Draw a track in place: its box and a caption with label, confidence, and the state when in doubt.

    Args:
        image_bgr: (H, W, 3) uint8, changed in place.
        box_xywh: pixels of the image; parts outside are cut, a box with a nan draws nothing.
        confidence: 0..1.
    """
    colour = STATE_COLOURS[state]
    draw_box(image_bgr, box_xywh, colour, thickness=_line_width(image_bgr))
    doubt = "" if state is TrackState.TRACKING else state.name
    caption = " ".join(word for word in (label, f"{confidence:.2f}", doubt) if word)
    if corners := _pixel_corners(box_xywh):
        _caption(image_bgr, caption, corners, colour)


def draw_box(
    image_bgr: NDArray[np.uint8], box_xywh: ArrayLike, colour: Colour = TRUTH_COLOUR, thickness: int = 1
) -> None:
    """Draw a bare box in place, for example the truth; a box with a nan draws nothing."""
    if corners := _pixel_corners(box_xywh):
        cv2.rectangle(image_bgr, corners[:2], corners[2:], colour, thickness)


def draw_lines(image_bgr: NDArray[np.uint8], lines: Sequence[str]) -> None:
    """Write lines of text into the upper left corner, in place, legible on any picture."""
    scale = _text_scale(image_bgr)
    for number, line in enumerate(lines, start=1):
        at = (round(16 * scale), round(36 * scale * number))
        cv2.putText(image_bgr, line, at, _FONT, scale, (0, 0, 0), round(4 * scale) + 1, cv2.LINE_AA)
        cv2.putText(image_bgr, line, at, _FONT, scale, (255, 255, 255), max(1, round(2 * scale)), cv2.LINE_AA)


def _pixel_corners(box_xywh: ArrayLike) -> tuple[int, int, int, int] | None:
    """Whole pixels of left, top, right, bottom; None for a box that is not finite."""
    corners = xywh_to_xyxy(box_xywh)
    if not np.isfinite(corners).all():
        return None
    left, top, right, bottom = (int(v) for v in np.clip(np.rint(corners), -_LIMIT_PX, _LIMIT_PX))
    return left, top, right, bottom


def _caption(
    image_bgr: NDArray[np.uint8], text: str, corners: tuple[int, int, int, int], colour: Colour
) -> None:
    """Black text on the colour of the box: above it, or below it at the top border; always in the picture."""
    scale = _text_scale(image_bgr)
    (width, height), below = cv2.getTextSize(text, _FONT, scale, max(1, round(2 * scale)))
    pad = round(4 * scale) + 1
    plate = (width + 2 * pad, height + below + 2 * pad)
    left, top, _, bottom = corners
    x = int(np.clip(left, 0, max(0, image_bgr.shape[1] - plate[0])))
    y = top - plate[1] if top >= plate[1] else bottom
    y = int(np.clip(y, 0, max(0, image_bgr.shape[0] - plate[1])))
    cv2.rectangle(image_bgr, (x, y), (x + plate[0], y + plate[1]), colour, cv2.FILLED)
    origin = (x + pad, y + pad + height)
    cv2.putText(image_bgr, text, origin, _FONT, scale, (0, 0, 0), max(1, round(2 * scale)), cv2.LINE_AA)


def _line_width(image_bgr: NDArray[np.uint8]) -> int:
    return max(1, round(image_bgr.shape[0] / 360))


def _text_scale(image_bgr: NDArray[np.uint8]) -> float:
    return max(0.4, image_bgr.shape[0] / 1080)
