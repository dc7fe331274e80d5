"""When the tracker says 0.7, how often is it right? Confidence held against overlap.

Reliability table and expected calibration error of Guo et al., On calibration of modern neural networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.boxes import iou
from .metrics import Curve, checked_predictions
from .runs import TrackedSequence

BIN_EDGES = np.arange(11) / 10  # of the confidence
RIGHT_OVERLAP = 0.5  # a box is right above this IoU


@dataclass(frozen=True)
class Reliability:
    """A row for each of the 10 bins of confidence; nan in those without a frame."""

    frames: NDArray[np.int64]  # (10,)
    confidence: Curve  # (10,) their mean
    right: Curve  # (10,) share of them with IoU > 0.5
    overlap: Curve  # (10,) their mean IoU

    @property
    def expected_error(self) -> float:
        """Mean distance of confidence and share of right frames, bins weighted by their frames; 0 is best."""
        filled = self.frames > 0
        return float(np.average(np.abs(self.confidence - self.right)[filled], weights=self.frames[filled]))


def score(sequences: Sequence[TrackedSequence]) -> Reliability | None:
    """The table of several sequences' frames, pooled; see `reliability`.

    Frames in which the target can be seen count, but for the first, in which the box is given. (Whether
    a tracker knows that its target is away is for `long_term` to say.)

    Raises:
        ValueError: a prediction is not finite or has a negative size.
    """
    if not sequences:
        return None
    counted = [np.append(False, s.visible[1:]) for s in sequences]
    overlaps = [
        iou(checked_predictions(s.boxes_xywh), s.truth_xywh)[c]
        for s, c in zip(sequences, counted, strict=True)
    ]
    confidence = [s.confidence[c] for s, c in zip(sequences, counted, strict=True)]
    return reliability(np.concatenate(confidence), np.concatenate(overlaps))


def reliability(confidence: ArrayLike, overlaps: ArrayLike) -> Reliability | None:
    """The table of some frames.

    Args:
        confidence: (N,) 0..1; frames with nan are left out.
        overlaps: (N,) IoU.

    Returns:
        None if no frame has a confidence, or one lies outside 0..1: it is a score then, no probability.
    """
    said, found = np.asarray(confidence, np.float64), np.asarray(overlaps, np.float64)
    known = np.isfinite(said)
    said, found = said[known], found[known]
    if not said.size or said.min() < 0 or said.max() > 1:
        return None
    bins, count = np.digitize(said, BIN_EDGES[1:-1]), len(BIN_EDGES) - 1
    frames = np.bincount(bins, minlength=count)

    def mean(values: ArrayLike) -> Curve:
        with np.errstate(invalid="ignore"):
            return np.asarray(np.bincount(bins, values, minlength=count) / frames)

    return Reliability(frames, mean(said), mean(found > RIGHT_OVERLAP), mean(found))
