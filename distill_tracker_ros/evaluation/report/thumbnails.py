"""Small pictures of a target: the true box white, the tracker's in the colour of its state."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ...core.boxes import Boxes, cxcywh_to_xywh, intersection
from ...core.crop import Region, box_to_region, cut, region_around
from ...core.frame import Frame
from ...core.tracker import TrackState
from ...drawing import STATE_COLOURS, Colour, draw_box
from ..runs import TrackedSequence
from ..sequences import Frames

SIZE_PX = 240  # of a side of a picture
_FACTOR = 5.0  # of a picture's side over the target's
_STEP_S = 0.2  # between the pictures


@dataclass(frozen=True)
class Thumbnail:
    """One picture of a strip."""

    frame: int
    jpeg: bytes


def strip(tracked: TrackedSequence, frames: Frames, middle: int) -> list[Thumbnail]:
    """The first frame, and five around `middle`, where there are so many.

    Args:
        tracked: begins with a frame in which the target can be seen.
        frames: those of the sequence, one for each of its rows.
        middle: the row that matters.

    Raises:
        SequenceError: a frame cannot be read.
        IndexError: there is no such frame.
    """
    step = max(1, round(_STEP_S * tracked.rate_hz))
    wanted = {0, *(middle + step * offset for offset in (-2, -1, 0, 1, 3))}
    chosen = sorted(row for row in wanted if 0 <= row < len(tracked))
    return [Thumbnail(row, _picture(tracked, frames.view(row), row)) for row in chosen]


def _picture(tracked: TrackedSequence, frame: Frame, row: int) -> bytes:
    """JPEG of the frame around the target, or around where it was last seen."""
    last_seen = np.flatnonzero(tracked.visible[: row + 1])[-1]
    region = _region(frame, tracked.truth_xywh[last_seen])
    picture = np.ascontiguousarray(cut(frame, region, SIZE_PX)[..., ::-1])
    colour = STATE_COLOURS[TrackState(tracked.states[row])]
    ours = _in_picture(tracked.boxes_xywh[row], region)
    if tracked.visible[row]:
        truth = _in_picture(tracked.truth_xywh[row], region)
        draw_box(picture, truth, (0, 0, 0), thickness=4)
        draw_box(picture, truth, thickness=2)
    draw_box(picture, ours, colour, thickness=3)
    if not intersection(ours, SIZE_PX, SIZE_PX)[2:].all():
        _point_to(picture, ours, colour)
    _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return jpeg.tobytes()


def _region(frame: Frame, box_xywh: Boxes) -> Region:
    """The square around a box, its side limited to that of the frame."""
    side = float(np.sqrt(np.prod(box_xywh[2:])))
    return region_around(box_xywh, min(_FACTOR, max(1.5, min(frame.width, frame.height) / side)))


def _in_picture(box_xywh: Boxes, region: Region) -> Boxes:
    """Frame pixels -> pixels of the picture."""
    return cxcywh_to_xywh(box_to_region(box_xywh, region) * SIZE_PX)


def _point_to(picture: NDArray[np.uint8], box_xywh: Boxes, colour: Colour) -> None:
    """An arrow at the border, towards a box outside of the picture."""
    away = box_xywh[:2] + box_xywh[2:] / 2 - SIZE_PX / 2
    unit = away / max(float(np.hypot(*away)), 1.0)
    tail, tip = (SIZE_PX * (0.5 + share * unit) for share in (0.32, 0.46))
    cv2.arrowedLine(picture, _pixel(tail), _pixel(tip), colour, 3, cv2.LINE_AA, tipLength=0.4)


def _pixel(point: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
