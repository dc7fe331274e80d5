"""GOT-10k: average overlap and success rates over the pooled frames of all sequences.

Huang, Zhao, Huang: GOT-10k, a large high-diversity benchmark for generic object tracking in the wild.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.boxes import Boxes, iou
from .metrics import Curve, checked_predictions
from .runs import TrackedSequence

THRESHOLDS = np.arange(101) / 100  # IoU


@dataclass(frozen=True)
class Got10k:
    """Over all counted frames, each with equal weight whatever the length of its sequence; 0..1."""

    average_overlap: float
    success: Curve  # (101,): share of frames with IoU > threshold
    frames: int  # that were counted

    @property
    def sr50(self) -> float:
        """Success rate: IoU > 0.5."""
        return float(self.success[50])

    @property
    def sr75(self) -> float:
        """Success rate: IoU > 0.75."""
        return float(self.success[75])


def score(sequences: Sequence[TrackedSequence]) -> Got10k | None:
    """The numbers of several sequences; None if there is no frame to count.

    Raises:
        ValueError: a prediction is not finite or has a negative size.
    """
    return pooled([overlaps(s.boxes_xywh, s.truth_xywh, s.visible, s.frame_size) for s in sequences])


def pooled(overlaps: Sequence[ArrayLike]) -> Got10k | None:
    """The numbers of several sequences' overlaps; None if there is no frame to count."""
    frames = np.concatenate([np.asarray(o, np.float64) for o in overlaps]) if overlaps else np.empty(0)
    if not frames.size:
        return None
    return Got10k(float(frames.mean()), (frames[:, None] > THRESHOLDS).mean(axis=0), frames.size)


def overlaps(
    predicted_xywh: ArrayLike, truth_xywh: ArrayLike, visible: ArrayLike, frame_size: tuple[int, int]
) -> NDArray[np.float64]:
    """IoU of the counted frames of one sequence: all but the first in which the target can be seen.

    Args:
        predicted_xywh, truth_xywh: (N, 4) frame pixels.
        visible: (N,) whether the target can be seen (GOT-10k: cover above 0) and its box is known.
        frame_size: width and height, to which both boxes are bounded; (0, 0) = unknown, they are not.

    Raises:
        ValueError: a prediction is not finite or has a negative size.
    """
    counted = np.array(visible, bool)
    counted[:1] = False
    predicted, truth = checked_predictions(predicted_xywh)[counted], np.asarray(truth_xywh)[counted]
    if frame_size != (0, 0):
        predicted, truth = _bounded(predicted, frame_size), _bounded(truth, frame_size)
    return iou(predicted, truth)


def _bounded(boxes_xywh: Boxes, frame_size: tuple[int, int]) -> Boxes:
    """As the got10k toolkit does it: the corner is moved into the frame, the size kept as far as it fits.

    A box that crosses the left or upper border is thus moved and not cut off.
    """
    corner = np.clip(boxes_xywh[:, :2], 0, frame_size)
    return np.hstack([corner, np.clip(boxes_xywh[:, 2:], 0, frame_size - corner)])
