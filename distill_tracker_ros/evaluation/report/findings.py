"""What a report shows beside the scores: the overlap of each frame, and where a target was lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .. import metrics, vot
from ..runs import Floats, Run, Times, TrackedSequence

FOUND_OVERLAP = 0.5  # IoU above which a lost target counts as found


@dataclass(frozen=True)
class Loss:
    """Where a target was lost, and when it was found again."""

    frame: int  # the first of 10 on end with an IoU of 0.1 or less
    found: int | None  # the next frame with an IoU above 0.5; None = never


def overlaps(tracked: TrackedSequence) -> Floats:
    """(N,) IoU; nan where the target cannot be seen."""
    return np.where(tracked.visible, metrics.overlap(tracked.boxes_xywh, tracked.truth_xywh), np.nan)


def first_loss(tracked: TrackedSequence) -> Loss | None:
    """The first failure as VOT defines it; None if there is none."""
    found = overlaps(tracked)
    frame = vot.progress(found, tracked.visible)
    if frame == len(tracked):
        return None
    again = np.flatnonzero(found[frame:] > FOUND_OVERLAP)
    return Loss(frame, frame + int(again[0]) if len(again) else None)


def worst_frame(tracked: TrackedSequence) -> int:
    """That of the first loss, else that of the lowest IoU; 0 where the target is never to be seen."""
    loss = first_loss(tracked)
    return loss.frame if loss else int(np.argmin(np.nan_to_num(overlaps(tracked), nan=np.inf)))


def stretches(mask: ArrayLike) -> Iterator[tuple[int, int]]:
    """First and past-the-last index of each run of true values."""
    edges = np.diff(np.concatenate([[0], np.asarray(mask, bool).astype(np.int8), [0]]))
    for first, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        yield int(first), int(end)


def confidence_and_overlap(run: Run) -> tuple[Floats, Floats]:
    """(N,) each, of all frames but the first of each sequence; the IoU is 0 where the target is away."""
    confidence = [np.empty(0), *(s.confidence[1:] for s in run.sequences)]
    found = [np.empty(0), *(np.nan_to_num(overlaps(s)[1:]) for s in run.sequences)]
    return np.concatenate(confidence), np.concatenate(found)


def step_times(run: Run) -> Times:
    """The times of all frames but the first of each sequence, on which the target is set."""
    parts = [s.times for s in run.sequences]
    return Times(
        np.concatenate([t.before_ms[1:] for t in parts]),
        np.concatenate([t.engine_ms[1:] for t in parts]),
        np.concatenate([t.after_ms[1:] for t in parts]),
    )
