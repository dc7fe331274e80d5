"""Long-term tracking: does the tracker know when its target is away?

Tracking precision, recall and F of Lukezic et al., Performance evaluation methodology for long-term
visual object tracking; the measures of the VOT long-term challenges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.tracker import TrackState
from .metrics import Curve, found_overlap
from .runs import TrackedSequence

_THRESHOLDS = 100


@dataclass(frozen=True)
class Decision:
    """How good it is to call the target present in some frames; 0..1."""

    precision: float  # mean overlap where the tracker says that the target is there
    recall: float  # mean overlap where the target is there

    @property
    def f(self) -> float:
        """Harmonic mean of precision and recall."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


@dataclass(frozen=True)
class LongTerm:
    """Averages over sequences, each with equal weight."""

    by_state: Decision  # the target is called present in the state TRACKING
    thresholds: Curve  # (K,) of the confidence, ascending; none for a tracker without confidence
    by_confidence: tuple[Decision, ...]  # K: the target is called present from this confidence on

    @property
    def best(self) -> int | None:
        """The threshold with the greatest F; None for a tracker without confidence."""
        return int(np.argmax([d.f for d in self.by_confidence])) if self.by_confidence else None


def score(sequences: Sequence[TrackedSequence]) -> LongTerm | None:
    """The numbers of several sequences; None if in none of them the target goes away and can be seen.

    A frame without a true box is one without a target: a truth that was only written down now and then is
    no use here. The first frame, in which the box is given, does not count, nor does a sequence whose
    target is not seen again after it.

    Raises:
        ValueError: a prediction is not finite or has a negative size.
    """
    sequences = [s for s in sequences if s.visible[1:].any()]
    if all(s.visible.all() for s in sequences):
        return None
    overlaps = [found_overlap(s.boxes_xywh, s.truth_xywh, s.visible)[1:] for s in sequences]
    visible = [s.visible[1:] for s in sequences]
    confidence = [s.confidence[1:] for s in sequences]
    tracking = [s.states[1:] == TrackState.TRACKING for s in sequences]
    thresholds = _spread(np.concatenate(confidence))

    def decision(present: Sequence[NDArray[np.bool_]]) -> Decision:
        each = [decide(o, p, v) for o, p, v in zip(overlaps, present, visible, strict=True)]
        return Decision(float(np.mean([d.precision for d in each])), float(np.mean([d.recall for d in each])))

    return LongTerm(
        decision(tracking),
        thresholds,
        tuple(decision([c >= threshold for c in confidence]) for threshold in thresholds),
    )


def decide(overlaps: ArrayLike, present: ArrayLike, visible: ArrayLike) -> Decision:
    """Precision and recall of one sequence.

    Args:
        overlaps: (N,) IoU; 0 where the target is away.
        present: (N,) where the tracker says that the target is there; precision is 1 if nowhere.
        visible: (N,) where it is there, which must be somewhere.
    """
    overlaps, present = np.asarray(overlaps, np.float64), np.asarray(present, bool)
    total = float(overlaps[present].sum())
    precision = total / int(present.sum()) if present.any() else 1.0
    return Decision(precision, total / int(np.sum(np.asarray(visible, bool))))


def _spread(confidence: NDArray[np.float64]) -> Curve:
    """(K,) at most 100 of the values, evenly spread over their order, ascending; nan is left out."""
    known = np.sort(confidence[np.isfinite(confidence)])
    return np.unique(known[np.linspace(0, len(known) - 1, _THRESHOLDS).astype(int)]) if known.size else known
