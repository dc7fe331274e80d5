"""Frames -> Session, synchronously: no clock, no thread, no dropped frame; the same boxes on every run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.boxes import Boxes
from ..core.config import TrackerConfig
from ..core.engine import Engine
from ..core.frame import ArrayFrame, Pixels
from ..core.session import Session, TargetError
from ..core.tracker import Track

DEFAULT_RATE_HZ = 30.0


@dataclass(frozen=True)
class Step:
    """One frame and what the tracker made of it."""

    index: int
    rgb: Pixels
    track: Track
    step_ms: float  # time in the session, without reading the frame


@dataclass(frozen=True)
class Replay:
    """A whole sequence, tracked."""

    tracks: list[Track]  # one a frame; the first has the given box
    step_ms: NDArray[np.float64]  # (N,)

    @property
    def boxes_xywh(self) -> Boxes:
        """(N, 4), frame pixels."""
        return np.array([track.box_xywh for track in self.tracks]).reshape(-1, 4)


def steps(
    engine: Engine,
    frames: Iterable[Pixels],
    box_xywh: ArrayLike,
    rate_hz: float = DEFAULT_RATE_HZ,
    config: TrackerConfig | None = None,
) -> Iterator[Step]:
    """Track one target through frames, frame by frame: the caller owns the loop.

    Args:
        frames: RGB arrays; the target is set on the first.
        box_xywh: pixels of the first frame.
        rate_hz: gives the stamps, which decide when a target counts as LOST.

    Raises:
        TargetError: the box is not one that can be tracked, or the frames changed so that it was dropped.
    """
    session = Session(engine, config)
    for index, rgb in enumerate(frames):
        frame, stamp_ns = ArrayFrame(rgb), round(index * 1e9 / rate_hz)
        start = time.perf_counter()
        if index == 0:
            id = session.set_target(frame, box_xywh, stamp_ns)
            tracks = session.tracks
        else:
            tracks = session.update(frame, stamp_ns)
        step_ms = 1000 * (time.perf_counter() - start)
        if id not in tracks:
            raise TargetError(f"frame {index}: {session.notice}")
        yield Step(index, rgb, tracks[id], step_ms)


def replay(
    engine: Engine,
    frames: Iterable[Pixels],
    box_xywh: ArrayLike,
    rate_hz: float = DEFAULT_RATE_HZ,
    config: TrackerConfig | None = None,
) -> Replay:
    """`steps` to the end of the frames, without keeping the frames."""
    tracks, times_ms = [], []
    for step in steps(engine, frames, box_xywh, rate_hz, config):
        tracks.append(step.track)
        times_ms.append(step.step_ms)
    return Replay(tracks, np.array(times_ms))
