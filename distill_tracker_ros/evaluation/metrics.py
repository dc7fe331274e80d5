"""How good predicted boxes are: success, precision and normalised precision of one-pass evaluation.

All boxes are (N, 4) xywh arrays in frame pixels; a row of the truth that is not finite or has no size
says that the target is not to be seen in that frame. docs/metrics.md has every number's definition.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.boxes import Boxes, iou, xywh_to_cxcywh

# What becomes of frames without truth. Numbers of different policies are not comparable.
Policy = Literal["clean", "compat-default", "compat-uav", "compat-lasot", "compat-otb"]
POLICIES: tuple[Policy, ...] = get_args(Policy)

# A quotient of integers, so that 0.5 is exactly 0.5: an overlap at a threshold is not above it.
SUCCESS_THRESHOLDS = np.arange(21) / 20  # IoU
PRECISION_THRESHOLDS_PX = np.arange(51.0)
NORMALISED_THRESHOLDS = np.arange(51) / 100  # of the side of the true box

Curve = NDArray[np.float64]

_HIT, _MISS = -1.0, np.inf
# Centre error and normalised centre error of a frame without truth; "clean" leaves such frames out. All
# others count it as a failure of success.
_HIDDEN_ERRORS: dict[Policy, tuple[float, float]] = {
    "clean": (_MISS, _MISS),
    "compat-default": (_MISS, _HIT),  # pytracking, for most benchmarks
    "compat-uav": (_HIT, _HIT),  # pytracking, for UAV123
    "compat-lasot": (_MISS, _MISS),  # pytracking, for LaSOT
    "compat-otb": (_HIT, _HIT),  # the MATLAB toolkit of OTB, with which DTB70 is published
}


@dataclass(frozen=True)
class Curves:
    """The share of frames (0..1) at each threshold, of one sequence or averaged over several.

    Raises:
        ValueError: a value is not finite.
    """

    success: Curve  # (21,): IoU > threshold
    precision: Curve  # (51,): centre error <= threshold
    normalised_precision: Curve  # (51,): centre error in sides of the true box <= threshold
    frames: int  # that were counted

    def __post_init__(self) -> None:
        for name in ("success", "precision", "normalised_precision"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"the {name} curve has values that are not finite")

    @property
    def success_auc(self) -> float:
        """Mean of the success curve; at most 20/21, as no overlap is above 1."""
        return float(self.success.mean())

    @property
    def op50(self) -> float:
        """Overlap precision: IoU > 0.5."""
        return float(self.success[10])

    @property
    def op75(self) -> float:
        """Overlap precision: IoU > 0.75."""
        return float(self.success[15])

    @property
    def precision_20px(self) -> float:
        return float(self.precision[20])

    @property
    def normalised_precision_020(self) -> float:
        """At 0.20, the convention of LaSOT and pytracking."""
        return float(self.normalised_precision[20])

    @property
    def normalised_precision_auc(self) -> float:
        """Mean over 0..0.5, the convention of TrackingNet."""
        return float(self.normalised_precision.mean())


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


def found_overlap(predicted_xywh: ArrayLike, truth_xywh: ArrayLike, seen: ArrayLike) -> NDArray[np.float64]:
    """IoU, (N,); 0 where the target is not to be seen: no box is right there.

    Args:
        seen: (N,) where it can be seen and its box is known.

    Raises:
        ValueError: a prediction is not finite or has a negative size.
    """
    return np.where(np.asarray(seen, bool), iou(checked_predictions(predicted_xywh), truth_xywh), 0.0)


def score(
    predicted_xywh: ArrayLike,
    truth_xywh: ArrayLike,
    policy: Policy = "clean",
    present: ArrayLike | None = None,
    rounded: bool = False,
) -> Curves:
    """The curves of one sequence; its first frame is the one on which the box was given.

    The given box counts as right, a box without size repeats the one before it, missing boxes at the
    end count as failures and boxes beyond the truth are not looked at (both with a warning).

    Args:
        policy: what becomes of frames without truth.
        present: (N,) the benchmark's labels of presence; False = a frame without truth.
        rounded: cut predictions to whole numbers first, as reference tools do when they write files.

    Raises:
        ValueError: a prediction is not finite or has a negative size, the first frame has no truth,
            the arrays are not (N, 4) and (N,), or boxes are missing under "compat-lasot".
    """
    if policy not in POLICIES:
        raise ValueError(f"there is no policy {policy!r}: {', '.join(POLICIES)}")
    truth, predicted = _rows(truth_xywh, "truth"), checked_predictions(predicted_xywh)
    seen = visible(truth)
    if present is not None:
        seen &= _labels(present, len(truth))
    if not len(truth) or not seen[0]:
        raise ValueError("the first frame of a sequence needs a true box: evaluation starts on it")
    if policy == "compat-otb":
        seen &= (truth > 0).all(axis=1)  # there, a box at the border of the frame is no truth
    predicted = _filled(np.trunc(predicted) if rounded else predicted, truth, policy)
    found = seen.copy()
    found[len(predicted) :] = False
    hidden_error, hidden_normalised_error = _HIDDEN_ERRORS[policy]
    overlaps = np.full(len(truth), -1.0)
    error = np.where(seen, _MISS, hidden_error)
    normalised_error = np.where(seen, _MISS, hidden_normalised_error)
    made, true = predicted[found[: len(predicted)]], truth[found]
    overlaps[found] = iou(made, true)
    error[found] = centre_error(made, true)
    normalised_error[found] = normalised_centre_error(made, true)
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


def checked_predictions(boxes_xywh: ArrayLike) -> Boxes:
    """(N, 4) boxes that can be scored.

    Raises:
        ValueError: a box is not finite or has a negative side, or the array is not (N, 4).
    """
    boxes = _rows(boxes_xywh, "predictions")
    bad = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < 0).any(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"prediction {row} is {boxes[row].tolist()}: it must be finite, no side negative")
    return boxes


def _rows(boxes_xywh: ArrayLike, name: str) -> Boxes:
    rows = np.asarray(boxes_xywh, np.float64)
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise ValueError(f"{name} must be an array of shape (N, 4); got {rows.shape}")
    return rows


def _labels(present: ArrayLike, frames: int) -> NDArray[np.bool_]:
    labels = np.asarray(present, bool)
    if labels.shape != (frames,):
        raise ValueError(f"labels of presence must have the shape ({frames},); got {labels.shape}")
    return labels


def _filled(predicted: Boxes, truth: Boxes, policy: Policy) -> Boxes:
    """The predictions, each with a size, by the rules of `score`; not more than there are frames."""
    if len(predicted) != len(truth):
        rule = "missing ones count as failures" if len(predicted) < len(truth) else "the rest is ignored"
        message = f"{len(predicted)} predictions for {len(truth)} frames"
        if policy == "compat-lasot" and len(predicted) < len(truth):
            raise ValueError(f"{message}: compat-lasot needs one a frame")
        warnings.warn(f"{message}: {rule}", stacklevel=3)
    filled = predicted[: len(truth)].copy()
    filled[:1] = truth[:1]
    has_size = (filled[:, 2:] > 0).all(axis=1)
    repeated: Boxes = filled[np.maximum.accumulate(np.where(has_size, np.arange(len(filled)), 0))]
    return repeated
