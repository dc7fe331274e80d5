"""Frames -> tracker, synchronously: no clock, no thread, no dropped frame; the same boxes on every run."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.boxes import Boxes
from ..core.config import TrackerConfig
from ..core.engine import Engine
from ..core.frame import Frame
from ..core.session import Session, TargetError
from ..core.timeline import StampError, Timeline
from ..core.tracker import Track, TrackState
from ..messages import ImageError
from ..runtime.timing import TimedEngine
from .runs import Times, TrackedSequence
from .sequences import FrameError, Frames, Sequence, SequenceError

DEFAULT_RATE_HZ = 30.0
NOWHERE_XYWH = (-1e6, -1e6, 1.0, 1.0)  # overlaps no target


@dataclass(frozen=True)
class Step:
    """What a tracker made of one frame, and the milliseconds that it took."""

    track: Track
    before_ms: float  # until the network begins; 0 for a tracker that does not tell the parts
    engine_ms: float  # in the network; all of the time for a tracker that does not tell the parts
    after_ms: float
    event: str = ""  # of the update rule: "view" (took one), "activation" (refreshed the template), or both
    left_out: str = ""  # why the frame could not be used: the track is the one before


class SequenceTracker(Protocol):
    """Follows one target through the frames of a sequence."""

    @property
    def label(self) -> str:
        """Its name in tables and legends."""

    def start(self, frame: Frame, box_xywh: ArrayLike, stamp_ns: int) -> Step:
        """Take the target in a box (frame pixels) of this frame, and forget the one before.

        Raises:
            ValueError: that is no box that can be tracked.
        """

    def step(self, frame: Frame, stamp_ns: int) -> Step:
        """Find it in the next frame.

        Raises:
            ValueError: this frame cannot follow the one before.
        """


class SessionTracker:
    """The tracker that flies: the same Session that the node has, with one target."""

    def __init__(self, engine: Engine, config: TrackerConfig | None = None, label: str = "") -> None:
        """The engine stays the caller's, who closes it."""
        self.label = label or engine.spec.name
        self._engine, self._config = TimedEngine(engine), config

    def start(self, frame: Frame, box_xywh: ArrayLike, stamp_ns: int) -> Step:
        """See SequenceTracker. Raises TargetError."""
        began = self._begin()
        self._timeline = Timeline()
        self._timeline.check(stamp_ns)
        self._session = Session(self._engine, self._config)
        self._id = self._session.set_target(frame, box_xywh, stamp_ns)
        return self._step(self._session.tracks[self._id], began, "")

    def step(self, frame: Frame, stamp_ns: int) -> Step:
        """See SequenceTracker.

        Raises:
            StampError: the frame is to be left out, as the node does it.
            TargetError: time went back, or frames of another shape.
        """
        self._timeline.check(stamp_ns)
        began = self._begin()
        tracks = self._session.update(frame, stamp_ns)
        if self._id not in tracks:
            raise TargetError(self._session.notice)
        views = self._session.tracker(self._id).update_rule.views
        took_view = bool(views) and views[-1].frame_number == tracks[self._id].age_frames
        events = ["view"] * took_view + ["activation"] * (self._engine.template_calls > 0)
        return self._step(tracks[self._id], began, "+".join(events))

    def _begin(self) -> int:
        self._engine.reset()
        return time.perf_counter_ns()

    def _step(self, track: Track, began: int, event: str) -> Step:
        engine, ended = self._engine, time.perf_counter_ns()
        before, after = engine.began_ns - began, ended - engine.began_ns - engine.elapsed_ns
        return Step(track, before / 1e6, engine.elapsed_ns / 1e6, after / 1e6, event)


def steps(
    tracker: SequenceTracker,
    frames: Iterable[Frame | FrameError],
    box_xywh: ArrayLike,
    stamps_ns: Iterable[int],
) -> Iterator[Step]:
    """Track one target through frames, frame by frame: the caller owns the loop.

    Args:
        frames: the target is set on the first; each is read when its turn comes. A later one that cannot be
            used is left out, as the node does it.
        box_xywh: pixels of the first frame.
        stamps_ns: one a frame; they decide when a target counts as LOST.

    Raises:
        ValueError: the box is not one that can be tracked, or the frames changed so that it was dropped.
    """
    last: Step | None = None
    for frame, stamp_ns in zip(frames, stamps_ns, strict=False):  # frames may end first
        try:
            if isinstance(frame, FrameError):
                raise frame
            last = tracker.step(frame, stamp_ns) if last else tracker.start(frame, box_xywh, stamp_ns)
        except (FrameError, StampError, ImageError) as error:
            if last is None:  # an image that is compressed shows only here that it cannot be used
                raise
            track = replace(last.track, stamp_ns=stamp_ns)
            last = Step(track, 0.0, 0.0, 0.0, left_out=str(error))
        yield last


def replay(
    tracker: SequenceTracker,
    sequence: Sequence,
    box_xywh: ArrayLike | None = None,
    rate_hz: float | None = None,
    after_frame: Callable[[], None] = lambda: None,
) -> TrackedSequence:
    """A whole sequence, tracked; frames are not kept.

    Args:
        box_xywh: pixels of the first frame; None = its true box.
        rate_hz: gives the stamps where the sequence has none; None = its own, else 30.
        after_frame: called after each frame; what it raises ends the replay.

    Returns:
        All rows up to the end of the sequence, or up to where its frames break off, which `broken` tells. So
        it does of frames that cannot be used: their rows are the ones before.

    Raises:
        ValueError: there is no box to start from, or it cannot be tracked.
        SequenceError: the first frame cannot be read.
    """
    if box_xywh is None:
        if not len(sequence.visible) or not sequence.visible[0] or sequence.truth_xywh is None:
            raise SequenceError(f"{sequence.name} has no true box in its first frame to start from")
        box_xywh = sequence.truth_xywh[0]
    rate_hz = rate_hz or sequence.rate_hz or DEFAULT_RATE_HZ
    stamps = stamps_ns(sequence, rate_hz)
    made: list[Step] = []
    size, broken = (0, 0), ""

    def measured(frames: Iterator[Frame | FrameError]) -> Iterator[Frame | FrameError]:
        nonlocal size
        for frame in frames:
            if not made and not isinstance(frame, FrameError):
                size = frame.width, frame.height
            yield frame

    try:
        for step in steps(tracker, measured(views(sequence.frames)), box_xywh, stamps.tolist()):
            made.append(step)
            after_frame()
    except ValueError as error:  # also SequenceError and TargetError
        if not made:
            raise
        broken = f"frame {len(made)}: {error}"
    if len(made) < len(stamps) and not broken:
        broken = f"the frames end after {len(made)} of {len(stamps)}"
    problems = filter(None, (_left_out(made), broken or sequence.broken))
    return _tracked(sequence, made, size, rate_hz, "; ".join(problems))


def _left_out(made: list[Step]) -> str:
    """What is to be said of the frames that could not be used; empty if there are none."""
    found = [(index, step.left_out) for index, step in enumerate(made) if step.left_out]
    if not found:
        return ""
    first, reason = found[0]
    return f"{len(found)} of {len(made)} frames could not be used, the first is frame {first}: {reason}"


def foreign(sequence: Sequence, boxes_xywh: Boxes) -> TrackedSequence:
    """A sequence with the boxes that another tool has written for it.

    Boxes beyond the truth are left out, and missing ones are nowhere, which counts as a failure, as published
    evaluations do it. `broken` tells of the latter.
    """
    count = len(sequence.frames)
    boxes = np.tile(NOWHERE_XYWH, (count, 1))
    given = boxes_xywh[:count]
    boxes[: len(given)] = given
    unknown = np.full(count, np.nan)
    return TrackedSequence(
        name=sequence.name,
        truth_xywh=np.full((count, 4), np.nan) if sequence.truth_xywh is None else sequence.truth_xywh,
        visible=sequence.visible,
        boxes_xywh=boxes,
        confidence=unknown,
        states=np.full(count, TrackState.TRACKING, np.int8),
        stamps_ns=stamps_ns(sequence, sequence.rate_hz or DEFAULT_RATE_HZ),
        times=Times(unknown, unknown, unknown),
        attributes=sequence.attributes,
        parent=sequence.parent,
        broken=f"it has {len(boxes_xywh)} boxes for {count} frames" if len(given) < count else "",
    )


def views(frames: Frames) -> Iterator[Frame | FrameError]:
    """The frames as the tracker sees them, or why they cannot be used, one after the other, to their end."""
    for index in itertools.count():
        try:
            yield frames.view(index)
        except FrameError as error:
            yield error
        except IndexError:
            return


def stamps_ns(sequence: Sequence, rate_hz: float) -> NDArray[np.int64]:
    """(N,) the sequence's own stamps, else those of frames at this rate, from 0 on."""
    if sequence.stamps_ns is not None:
        return sequence.stamps_ns
    return regular_stamps_ns(len(sequence.frames), rate_hz)


def regular_stamps_ns(count: int, rate_hz: float) -> NDArray[np.int64]:
    """(count,) stamps of frames at this rate, from 0 on."""
    return np.array([round(index * 1e9 / rate_hz) for index in range(count)], np.int64)


def _tracked(
    sequence: Sequence, made: list[Step], size: tuple[int, int], rate_hz: float, broken: str
) -> TrackedSequence:
    tracks, count = [step.track for step in made], len(made)
    unknown = np.full((count, 4), np.nan)
    return TrackedSequence(
        name=sequence.name,
        truth_xywh=unknown if sequence.truth_xywh is None else sequence.truth_xywh[:count],
        visible=sequence.visible[:count],
        boxes_xywh=np.array([track.box_xywh for track in tracks]).reshape(-1, 4),
        confidence=np.array([track.confidence for track in tracks], np.float64),
        states=np.array([track.state for track in tracks], np.int8),
        stamps_ns=np.array([track.stamp_ns for track in tracks], np.int64),
        times=Times(
            np.array([step.before_ms for step in made]),
            np.array([step.engine_ms for step in made]),
            np.array([step.after_ms for step in made]),
        ),
        events=tuple(step.event for step in made),
        frame_size=size,
        rate_hz=rate_hz,
        attributes=sequence.attributes,
        parent=sequence.parent,
        broken=broken,
    )
