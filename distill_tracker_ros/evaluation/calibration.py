"""When the tracker says 0.7, how often is it right? Confidence held against overlap.

Reliability table and expected calibration error of Guo et al., On calibration of modern neural networks; the
calibration that is fitted is the beta calibration of Kull, Silva Filho, Flach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.boxes import iou
from ..core.calibration import Calibration
from .metrics import Curve, checked_predictions
from .runs import TrackedSequence

BIN_EDGES = np.arange(11) / 10  # of the confidence
RIGHT_OVERLAP = 0.5  # a box is right above this IoU
_EDGE = 1e-6  # scores are kept off 0 and 1, where a logarithm has no end


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
    confidence, overlaps = zip(*map(counted_frames, sequences), strict=True)
    return reliability(np.concatenate(confidence), np.concatenate(overlaps))


def counted_frames(tracked: TrackedSequence) -> tuple[Curve, Curve]:
    """(N,) each, of the frames that count, see `score`."""
    counted = np.append(False, tracked.visible[1:])
    overlaps = iou(checked_predictions(tracked.boxes_xywh), tracked.truth_xywh)
    return tracked.confidence[counted], overlaps[counted]


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


@dataclass(frozen=True)
class Labelled:
    """The frames of one video that count, see `score`."""

    scores: Curve  # (N,) 0..1, before any calibration
    overlaps: Curve  # (N,) IoU
    weight: float = 1.0  # of the whole video

    @property
    def right(self) -> NDArray[np.bool_]:
        return self.overlaps > RIGHT_OVERLAP


def fit(videos: Sequence[Labelled]) -> Calibration:
    """The calibration under which the frames of some videos are the most likely.

    The frames of a video hang together: a video has its weight, however long it is, in equal parts for its
    frames.

    Raises:
        ValueError: there are not both right and wrong boxes among the frames, or right ones do not have the
            higher scores.
    """
    from scipy.optimize import minimize  # by this alone, which no drone does

    scores = np.concatenate([video.scores for video in videos])
    right = np.concatenate([video.right for video in videos])
    if right.all() or not right.any():
        raise ValueError(
            f"of {right.size} boxes {right.sum()} are right: a calibration needs right and wrong"
        )
    weights = np.concatenate([np.full(v.scores.size, v.weight / max(1, v.scores.size)) for v in videos])
    inside = np.clip(scores, _EDGE, 1 - _EDGE)
    inputs = np.stack([np.log(inside), -np.log1p(-inside), np.ones_like(inside)], axis=1)

    def loss(numbers: Curve) -> tuple[float, Curve]:
        """The mean negative log likelihood and its gradient."""
        odds = inputs @ numbers
        of_frames = np.logaddexp(0, odds) - right * odds
        slopes = np.exp(-np.logaddexp(0, -odds)) - right
        return float(np.average(of_frames, weights=weights)), inputs.T @ (slopes * weights) / weights.sum()

    at_least = [(0, None), (0, None), (None, None)]
    found = minimize(loss, [1.0, 1.0, 0.0], jac=True, bounds=at_least, method="L-BFGS-B").x
    low, high, offset = (float(f"{number:.4g}") for number in found)
    if low == high == 0:
        raise ValueError(
            "right boxes do not have higher scores than wrong ones: there is nothing to calibrate"
        )
    return Calibration(low, high, offset)


def held_out(videos: Sequence[Labelled]) -> list[Curve]:
    """The confidences of each video, by the calibration that all the others make: what a new video gets.

    Raises:
        ValueError: as of `fit`.
    """
    others = [[*videos[:i], *videos[i + 1 :]] for i in range(len(videos))]
    return [apply(fit(rest), video.scores) for rest, video in zip(others, videos, strict=True)]


def apply(calibration: Calibration, scores: ArrayLike) -> Curve:
    """(N,) scores -> (N,) confidences."""
    return np.array([calibration(float(score)) for score in np.asarray(scores, np.float64)], np.float64)
