"""How good predicted boxes are: success, precision and normalised precision of one-pass evaluation.

All boxes are (N, 4) xywh arrays in frame pixels; a row of the truth that is not finite or has no size
says that the target is not to be seen in that frame.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.boxes import Boxes, iou, xywh_to_cxcywh

# Frames without truth: "clean" leaves them out; "compat-default" counts them as a failure of success and
# precision and as a hit of normalised precision, as pytracking does. Numbers of the two are not comparable.
Policy = Literal["clean", "compat-default"]

# A quotient of integers, so that 0.5 is exactly 0.5: an overlap at a threshold is not above it.
SUCCESS_THRESHOLDS = np.arange(21) / 20  # IoU
PRECISION_THRESHOLDS_PX = np.arange(51.0)
NORMALISED_THRESHOLDS = np.arange(51) / 100  # of the side of the true box

Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """The share of frames (0..1) at each threshold, of one sequence or averaged over several."""

    success: Curve  # (21,): IoU > threshold
    precision: Curve  # (51,): centre error <= threshold
    normalised_precision: Curve  # (51,): centre error in sides of the true box <= threshold
    frames: int  # that were counted

    @property
    def success_auc(self) -> float:
        """Mean of the success curve; at most 20/21, as no overlap is above 1."""
        return float(self.success.mean())

    @property
    def precision_20px(self) -> float:
        return float(self.precision[20])

    @property
    def normalised_precision_020(self) -> float:
        """At 0.20, the convention of LaSOT and pytracking (TrackingNet reports a mean instead)."""
        return float(self.normalised_precision[20])


def visible(truth_xywh: ArrayLike) -> NDArray[np.bool_]:
    """(N,) whether each row of a truth is a box."""
    truth = np.asarray(truth_xywh, np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.isfinite(truth).all(axis=-1) & (truth[..., 2:] > 0).all(axis=-1))


def centre_error(predicted_xywh: ArrayLike, truth_xywh: ArrayLike) -> NDArray[np.float64]:
    """Distance of the centres, pixels, (N,)."""
    offset = xywh_to_cxcywh(predicted_xywh)[..., :2] - xywh_to_cxcywh(truth_xywh)[..., :2]
    return np.asarray(np.hypot(offset[..., 0], offset[..., 1]))


def normalised_centre_error(predicted_xywh: ArrayLike, truth_xywh: ArrayLike) -> NDArray[np.float64]:
    """Distance of the centres, each axis in sides of the true box, (N,)."""
    truth = xywh_to_cxcywh(truth_xywh)
    offset = (xywh_to_cxcywh(predicted_xywh)[..., :2] - truth[..., :2]) / truth[..., 2:]
    return np.asarray(np.hypot(offset[..., 0], offset[..., 1]))


def overlap(predicted_xywh: ArrayLike, truth_xywh: ArrayLike) -> NDArray[np.float64]:
    """IoU, (N,); nan where the truth is no box."""
    return np.where(visible(truth_xywh), iou(predicted_xywh, truth_xywh), np.nan)


def score(predicted_xywh: ArrayLike, truth_xywh: ArrayLike, policy: Policy = "clean") -> Curves:
    """The curves of one sequence; its first frame is the one on which the box was given.

    The given box counts as right, a box without size repeats the one before it, missing boxes at the
    end count as failures and boxes beyond the truth are not looked at (both with a warning).

    Raises:
        ValueError: a prediction is not finite or has a negative size, the first frame has no truth, or
            the arrays are not (N, 4).
    """
    truth = _rows(truth_xywh, "truth")
    seen = visible(truth)
    if not len(truth) or not seen[0]:
        raise ValueError("the first frame of a sequence needs a true box: evaluation starts on it")
    predicted = _filled(_rows(predicted_xywh, "predictions"), truth)
    overlaps, error = np.full(len(truth), -1.0), np.full(len(truth), np.inf)
    normalised_error = np.full(len(truth), -1.0)
    overlaps[seen] = iou(predicted[seen], truth[seen])
    error[seen] = centre_error(predicted[seen], truth[seen])
    normalised_error[seen] = normalised_centre_error(predicted[seen], truth[seen])
    counted = seen if policy == "clean" else np.ones(len(truth), bool)
    return Curves(
        (overlaps[counted, None] > SUCCESS_THRESHOLDS).mean(axis=0),
        (error[counted, None] <= PRECISION_THRESHOLDS_PX).mean(axis=0),
        (normalised_error[counted, None] <= NORMALISED_THRESHOLDS).mean(axis=0),
        int(counted.sum()),
    )


def mean(curves: Sequence[Curves]) -> Curves:
    """The average over sequences, each with equal weight whatever its length.

    Raises:
        ValueError: there is nothing to average.
    """
    if not curves:
        raise ValueError("no sequence has a true box to score against")
    return Curves(
        np.mean([c.success for c in curves], axis=0),
        np.mean([c.precision for c in curves], axis=0),
        np.mean([c.normalised_precision for c in curves], axis=0),
        sum(c.frames for c in curves),
    )


def _rows(boxes_xywh: ArrayLike, name: str) -> Boxes:
    rows = np.asarray(boxes_xywh, np.float64)
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise ValueError(f"{name} must be an array of shape (N, 4); got {rows.shape}")
    return rows


def _filled(predicted: Boxes, truth: Boxes) -> Boxes:
    """One box with a size for each frame of the truth, by the rules of `score`."""
    bad = ~np.isfinite(predicted).all(axis=1) | (predicted[:, 2:] < 0).any(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"prediction {row} is {predicted[row].tolist()}: it must be finite, no side negative"
        )
    if len(predicted) != len(truth):
        rule = "missing ones count as failures" if len(predicted) < len(truth) else "the rest is ignored"
        warnings.warn(f"{len(predicted)} predictions for {len(truth)} frames: {rule}", stacklevel=3)
    filled = np.zeros_like(truth)
    given = min(len(predicted), len(truth))
    filled[:given] = predicted[:given]
    filled[0] = truth[0]
    for row in range(1, given):
        if not filled[row, 2:].all():
            filled[row] = filled[row - 1]
    return filled
