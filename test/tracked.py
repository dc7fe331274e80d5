"""Tracked sequences from arrays, for tests of what is made of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.evaluation import metrics
from distill_tracker_ros.evaluation.runs import Times, TrackedSequence


def walk(frames: int = 40, seed: int = 0) -> np.ndarray:
    """Whole-pixel boxes on a random path, (frames, 4) xywh."""
    rng = np.random.default_rng(seed)
    corner = 200 + rng.integers(-8, 9, (frames, 2)).cumsum(axis=0)
    return np.hstack([corner, rng.integers(20, 60, (frames, 2))]).astype(np.float64)


def shifted(boxes: np.ndarray, dx: float, dy: float = 0.0) -> np.ndarray:
    """All boxes but the first one moved."""
    moved = boxes.copy()
    moved[1:, :2] += (dx, dy)
    return moved


def tracked(
    name: str = "walk",
    truth_xywh: ArrayLike | None = None,
    boxes_xywh: ArrayLike | None = None,
    visible: ArrayLike | None = None,
    confidence: ArrayLike = 0.9,
    states: ArrayLike = TrackState.TRACKING,
    step_ms: ArrayLike = 4.0,
    **fields,
) -> TrackedSequence:
    """Boxes of None are the true ones; a single confidence, state or time is that of all frames.

    Of the time half is the engine's.
    """
    truth = np.asarray(walk() if truth_xywh is None else truth_xywh, np.float64)
    frames = len(truth)
    quarter = np.broadcast_to(np.asarray(step_ms, np.float64), frames) / 4
    return TrackedSequence(
        name=name,
        truth_xywh=truth,
        visible=metrics.visible(truth) if visible is None else np.asarray(visible, bool),
        boxes_xywh=np.asarray(truth if boxes_xywh is None else boxes_xywh, np.float64),
        confidence=np.broadcast_to(np.asarray(confidence, np.float64), frames),
        states=np.broadcast_to(np.asarray(states, np.int8), frames),
        stamps_ns=np.arange(frames, dtype=np.int64) * 10**8,
        times=Times(quarter, 2 * quarter, quarter),
        **fields,
    )
