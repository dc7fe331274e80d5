"""VOT short-term challenge, anchor protocol of 2020 to 2022: accuracy, robustness, expected average overlap.

A sequence is tracked from several frames, the anchors, forwards or backwards to its end. Kristan et al.:
The eighth visual object tracking VOT2020 challenge results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.boxes import intersection
from . import sequences
from .metrics import Curve, checked_predictions, found_overlap
from .runs import TrackedSequence

ANCHOR_DISTANCE = 50  # frames, where the benchmark has no anchors of its own
FAILURE_OVERLAP = 0.1
FAILURE_FRAMES = 10  # in a row
EAO_RANGE = (115, 755)  # frames, of the challenges of 2021 and 2022


@dataclass(frozen=True)
class Attempt:
    """One run from an anchor."""

    overlaps: NDArray[np.float64]  # (N,) IoU; 0 where the truth is empty, 1 in the first frame
    progress: int  # frames before the failure; N if there was none

    @property
    def has_failed(self) -> bool:
        return self.progress < len(self.overlaps)


@dataclass(frozen=True)
class Vot:
    """The numbers of a benchmark; 0..1."""

    accuracy: float
    robustness: float
    eao: float | None  # None: no run reaches the range
    eao_curve: Curve  # expected average overlap of runs of 2, 3, ... frames, as far as there are runs

    @property
    def eao_range(self) -> tuple[int, int] | None:
        """The lengths over which `eao` is the mean: EAO_RANGE, as far as there are runs."""
        low, high = EAO_RANGE
        longest = min(high, len(self.eao_curve) + 1)
        return (low, longest) if longest >= low else None


def anchors(sequence: sequences.Sequence) -> tuple[int, ...]:
    """Where runs begin: a is frame a, from there forwards; -a is frame a, from there back to frame 0.

    Those of the benchmark. Where it has none, one every 50 frames from the first on, each moved to the
    next frame in which the target can be seen; from there to the further end of the sequence.

    Raises:
        SequenceError: the target is nowhere to be seen, or not in an anchor of the benchmark.
    """
    seen, count = sequence.visible, len(sequence.frames)
    frames = np.flatnonzero(seen)
    if not frames.size:
        raise sequences.SequenceError(f"{sequence.name} has no true box to start from")
    for anchor in sequence.anchors:
        if abs(anchor) >= count or not seen[abs(anchor)]:
            raise sequences.SequenceError(
                f"{sequence.name} has no true box in its anchor, frame {abs(anchor)}"
            )
    if sequence.anchors:
        return sequence.anchors
    next_seen = np.searchsorted(frames, np.arange(0, count, ANCHOR_DISTANCE))
    starts = np.unique(frames[next_seen[next_seen < len(frames)]])
    return tuple(int(frame) if count - frame > frame else -int(frame) for frame in starts)


def score(parts: Mapping[str, Sequence[TrackedSequence]]) -> Vot:
    """The numbers of a benchmark.

    Args:
        parts: name of a sequence -> what was tracked from its anchors.

    Raises:
        ValueError: there is no run, or a prediction is not finite or has a negative size.
    """
    if not parts:
        raise ValueError("there is no run from an anchor to score")
    attempts = {
        name: [attempt(p.boxes_xywh, p.truth_xywh, p.visible, p.frame_size) for p in runs]
        for name, runs in parts.items()
    }
    accuracy, robustness = accuracy_robustness(list(attempts.values()))
    curve = eao_curve([a for runs in attempts.values() for a in runs])
    low, high = EAO_RANGE
    within = curve[low - 2 : high - 1]  # the curve begins with runs of two frames
    return Vot(accuracy, robustness, float(within.mean()) if within.size else None, curve)


def attempt(
    predicted_xywh: ArrayLike, truth_xywh: ArrayLike, visible: ArrayLike, frame_size: tuple[int, int]
) -> Attempt:
    """One run, scored.

    Args:
        predicted_xywh, truth_xywh: (N, 4) frame pixels, in the order of tracking.
        visible: (N,) False where the ground truth is empty.
        frame_size: width and height, outside of which boxes do not count; (0, 0) = unknown, they do.

    Raises:
        ValueError: a prediction is not finite or has a negative size.
    """
    seen = np.asarray(visible, bool)
    predicted, truth = checked_predictions(predicted_xywh), np.asarray(truth_xywh, np.float64)
    if frame_size != (0, 0):
        predicted, truth = intersection(predicted, *frame_size), intersection(truth, *frame_size)
    overlaps = found_overlap(predicted, truth, seen)
    overlaps[:1] = 1.0  # the given box
    return Attempt(overlaps, progress(overlaps, seen))


def progress(overlaps: ArrayLike, visible: ArrayLike) -> int:
    """Frames before the failure: the first of 10 in a row with an overlap of 0.1 or less.

    An empty ground truth ends the row. The number of frames if there is no failure.
    """
    bad = (np.asarray(overlaps) <= FAILURE_OVERLAP) & np.asarray(visible, bool)
    row = 0
    for frame, is_bad in enumerate(bad):
        row = row + 1 if is_bad else 0
        if row == FAILURE_FRAMES:
            return frame + 1 - FAILURE_FRAMES
    return len(bad)


def accuracy_robustness(attempts: Sequence[Sequence[Attempt]]) -> tuple[float, float]:
    """Accuracy and robustness of a benchmark, from the runs of each of its sequences.

    Accuracy: mean overlap before failures, each frame with equal weight. Robustness: share of frames
    before failures, of each sequence, then averaged with the lengths of the sequences as weights (a
    sequence is as long as its longest run, which is the one from its first frame).
    """
    before = [sum(a.progress for a in runs) for runs in attempts]
    total = sum(float(a.overlaps[: a.progress].sum()) for runs in attempts for a in runs)
    shares = [p / sum(len(a.overlaps) for a in runs) for p, runs in zip(before, attempts, strict=True)]
    lengths = [max(len(a.overlaps) for a in runs) for runs in attempts]
    return total / sum(before), float(np.average(shares, weights=lengths))


def eao_curve(attempts: Sequence[Attempt]) -> Curve:
    """Expected average overlap of runs of 2, 3, ... frames, up to 755 or the longest that there is.

    The mean over runs of their average overlap from the second frame on. A run that failed goes on
    with overlaps of 0; one that ended well is left out where it is too short. Beyond the longest run there
    would be failures alone, so the curve ends there.
    """
    longest = min(max(len(a.overlaps) for a in attempts), EAO_RANGE[1])
    lengths = np.arange(2, longest + 1)
    total, runs = np.zeros(len(lengths)), np.zeros(len(lengths))
    for a in attempts:
        overlaps = np.zeros(longest)
        kept = a.overlaps[: min(a.progress, longest)]
        overlaps[: len(kept)] = kept
        counted = (lengths <= len(a.overlaps)) | a.has_failed
        total += np.where(counted, overlaps[1:].cumsum() / (lengths - 1), 0)
        runs += counted
    return (total / runs).astype(np.float64)
