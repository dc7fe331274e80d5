"""What a live tracker achieved: the box that its user had at hand when the next frame came. No ROS here.

A tracker that is slow loses twice: frames that come while it works are dropped, and what it finds is late.
So the box that counts for a frame is the newest one that arrived before the next frame was sent, as in the
real-time experiments of VOT; until another one arrives, the last one is repeated.
"""

from __future__ import annotations

import collections.abc
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.boxes import Boxes
from ..core.tracker import TrackState
from .replay import DEFAULT_RATE_HZ
from .runs import Times, TrackedSequence
from .sequences import Sequence


@dataclass(frozen=True)
class Report:
    """What the tracker told of one frame."""

    frame: int
    arrived_ns: int  # on the clock by which the frames were sent
    box_xywh: Boxes | None  # frame pixels; None: it has no target any more
    confidence: float
    state: TrackState
    processing_ms: float


@dataclass(frozen=True)
class LiveResult:
    """All arrays have N rows, one a frame; the first has the given box."""

    boxes_xywh: Boxes
    confidence: NDArray[np.float64]
    states: NDArray[np.int8]
    processing_ms: NDArray[np.float64]  # of the frame itself, nan where it was dropped
    late: int  # frames whose own box came when the next frame had been sent
    dropped: int  # frames of which the tracker told nothing


def at_hand(
    given_xywh: ArrayLike, due_ns: collections.abc.Sequence[int], reports: Iterable[Report]
) -> LiveResult:
    """The box at hand for each frame.

    Args:
        given_xywh: the box that was given on the first frame; reports on that frame do not count.
        due_ns: (N,) when the box of each frame is needed: when the next one is sent.
        reports: at most one a frame.
    """
    given = np.asarray(given_xywh, np.float64)
    coming = sorted((r for r in reports if r.frame > 0), key=lambda report: report.arrived_ns)
    processing_ms = np.full(len(due_ns), np.nan)
    for report in coming:
        processing_ms[report.frame] = report.processing_ms
    box, present, arrived = given, Report(0, 0, given, 1.0, TrackState.TRACKING, np.nan), 0
    rows = []
    for due in due_ns:
        while arrived < len(coming) and coming[arrived].arrived_ns < due:
            present, arrived = coming[arrived], arrived + 1
            box = box if present.box_xywh is None else present.box_xywh
        rows.append((box, present.confidence, present.state))
    boxes, confidence, states = zip(*rows, strict=True)
    return LiveResult(
        np.array(boxes).reshape(-1, 4),
        np.array(confidence, np.float64),
        np.array(states, np.int8),
        processing_ms,
        late=sum(report.arrived_ns >= due_ns[report.frame] for report in coming),
        dropped=len(due_ns) - 1 - len(coming),
    )


def tracked_live(
    sequence: Sequence, stamps_ns: ArrayLike, result: LiveResult, frame_size: tuple[int, int]
) -> TrackedSequence:
    """The result for a run folder: to be scored, compared and drawn like every other one.

    Args:
        sequence: what was sent; it has a truth.
        stamps_ns: (N,) of the images as they were sent.
    """
    assert sequence.truth_xywh is not None
    count = len(result.boxes_xywh)
    none = np.where(np.isnan(result.processing_ms), np.nan, 0.0)
    return TrackedSequence(
        name=sequence.name,
        truth_xywh=sequence.truth_xywh[:count],
        visible=sequence.visible[:count],
        boxes_xywh=result.boxes_xywh,
        confidence=result.confidence,
        states=result.states,
        stamps_ns=np.asarray(stamps_ns, np.int64)[:count],
        times=Times(none, result.processing_ms, none),  # the node does not tell the parts
        frame_size=frame_size,
        rate_hz=sequence.rate_hz or DEFAULT_RATE_HZ,
        attributes=sequence.attributes,
        parent=sequence.parent,
        broken=sequence.broken,
    )
