"""All targets of one camera over one engine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from . import boxes
from .config import SessionConfig, TrackerConfig
from .engine import Engine
from .frame import Frame
from .texts import InputError, shown
from .tracker import Snapshot, Track, Tracker, describe_change, update_together


class TargetError(InputError):
    """A target that cannot be set or cleared; the text says why and what is accepted."""


class NotNowError(TargetError):
    """A request with nothing wrong in it: the same one may succeed later."""


@dataclass(frozen=True)
class Target:
    """What the caller asked for."""

    id: str
    label: str


@dataclass(frozen=True)
class SavedTarget:
    """A target with what it takes to go on with it."""

    target: Target
    snapshot: Snapshot


class Session:
    """Targets by id, in the order in which they were set; the first one is the primary target."""

    def __init__(
        self,
        engine: Engine,
        tracker_config: TrackerConfig | None = None,
        config: SessionConfig | None = None,
    ) -> None:
        self.engine = engine
        self.config = config or SessionConfig()
        self.notice = ""  # why targets were dropped without being asked to; for the status
        self._tracker_config = tracker_config or TrackerConfig()
        self._targets: dict[str, Target] = {}
        self._trackers: dict[str, Tracker] = {}
        self._next_id = 1

    def __len__(self) -> int:
        return len(self._trackers)

    @property
    def targets(self) -> list[Target]:
        return list(self._targets.values())

    def target(self, id: str = "") -> Target:
        """The target of this id; with an empty one the primary target.

        Raises:
            TargetError: no target has this id.
        """
        if not (id or self._targets):
            raise TargetError("there is no target")
        if id and id not in self._targets:
            raise TargetError(f"no target has the id {shown(id)}; tracked are {sorted(self._targets)}")
        return self._targets[id] if id else next(iter(self._targets.values()))

    @property
    def tracks(self) -> dict[str, Track]:
        """Target id -> the track after the last frame."""
        return {id: tracker.track for id, tracker in self._trackers.items()}

    def tracker(self, id: str) -> Tracker:
        """What follows a target, to look at; KeyError if no target has this id."""
        return self._trackers[id]

    @property
    def saved(self) -> tuple[SavedTarget, ...]:
        """All targets as they are now, for the `resume` of another session."""
        return tuple(SavedTarget(self._targets[id], t.snapshot) for id, t in self._trackers.items())

    def resume(self, saved: Sequence[SavedTarget]) -> None:
        """Go on with the targets of another session; those of the same id are replaced.

        Raises:
            ValueError: they are of another model; nothing is changed.
        """
        trackers = {
            each.target.id: Tracker.resume(self.engine, each.snapshot, self._tracker_config) for each in saved
        }
        self._trackers |= trackers
        self._targets |= {each.target.id: each.target for each in saved}

    def configure(self, tracker_config: TrackerConfig) -> None:
        """Change the numbers of running and future trackers."""
        self._tracker_config = tracker_config
        for tracker in self._trackers.values():
            tracker.config = tracker_config

    def set_target(
        self,
        frame: Frame,
        box_xywh: ArrayLike,
        stamp_ns: int,
        id: str = "",
        label: str = "",
        later: Iterable[tuple[Frame, int]] = (),
    ) -> str:
        """Start tracking what is in a box (frame pixels) of this frame; a known id is replaced.

        Args:
            frame, box_xywh, stamp_ns: the frame on which the box was drawn; it may be an old one.
            id: empty = the session chooses a new one.
            label: free text, kept with the target.
            later: the frames since then with their stamps (ns); the target is run through them, so that
                a late designation catches up before the next `update`.

        Returns:
            The id of the target.

        Raises:
            TargetError: the box is not finite, too small or outside the frame, there are too many targets, or
                the frames of `later` do not hang together.
        """
        box = self._check_box(box_xywh, frame)
        if id not in self._trackers and len(self._trackers) >= self.config.max_targets:
            raise TargetError(
                f"{len(self._trackers)} targets are tracked already (max_targets = {self.config.max_targets})"
                f": clear one of {sorted(self._trackers)} or give its id to replace it"
            )
        tracker = Tracker(self.engine, frame, box, stamp_ns, self._tracker_config)
        for later_frame, later_stamp_ns in later:
            if reason := tracker.discontinuity(later_frame, later_stamp_ns):
                raise TargetError(f"the target cannot be followed from its frame to now: {reason}")
            tracker.update(later_frame, later_stamp_ns)
        id = id or self._new_id()
        self._trackers[id], self._targets[id] = tracker, Target(id, label)
        return id

    def clear_target(self, id: str = "") -> int:
        """Drop a target, or all of them if the id is empty; returns how many were dropped.

        Raises:
            TargetError: no target has this id.
        """
        dropped = [self.target(id).id] if id else list(self._trackers)
        for key in dropped:
            del self._trackers[key], self._targets[key]
        return len(dropped)

    def update(self, frame: Frame, stamp_ns: int) -> dict[str, Track]:
        """Find every target in the next frame; target id -> track.

        Time that goes back, or a frame of another shape, drops all targets and says so in `notice`;
        a frame of another size but the same shape rescales them.
        """
        self._carry_over(frame, stamp_ns)
        tracks = update_together(list(self._trackers.values()), frame, stamp_ns)
        return dict(zip(self._trackers, tracks, strict=True))

    def _carry_over(self, frame: Frame, stamp_ns: int) -> None:
        """Drop the targets that cannot go on with this frame; `notice` says so, and if boxes are rescaled."""
        breaks = {id: tracker.discontinuity(frame, stamp_ns) for id, tracker in self._trackers.items()}
        dropped = [id for id, reason in breaks.items() if reason]
        for id in dropped:
            self.clear_target(id)
        if dropped:
            self.notice = f"{breaks[dropped[0]]}: {len(dropped)} target(s) dropped"
        size = (frame.width, frame.height)
        for old in {tracker.frame_size for tracker in self._trackers.values()} - {size}:
            self.notice = f"{describe_change(old, size)}: boxes were rescaled"

    def _new_id(self) -> str:
        while str(self._next_id) in self._trackers:
            self._next_id += 1
        self._next_id += 1
        return str(self._next_id - 1)

    def _check_box(self, box_xywh: ArrayLike, frame: Frame) -> boxes.Boxes:
        """The part of the box that lies in the frame."""
        box = np.array(box_xywh, np.float64)
        x, y, w, h = (float(v) for v in box)
        text = f"box left={x:g} top={y:g} width={w:g} height={h:g}"
        if not all(map(math.isfinite, (x, y, w, h))):
            raise TargetError(f"{text}: every number must be finite")
        smallest = self.config.min_target_px
        if w < smallest or h < smallest:
            raise TargetError(f"{text}: width and height must be at least {smallest:g} px")
        inside = boxes.intersection(box, frame.width, frame.height)
        if inside[2] < smallest or inside[3] < smallest:
            raise TargetError(
                f"{text} lies outside the frame of {frame.width}x{frame.height}: "
                f"at least {smallest:g} px of each side must be inside"
            )
        return inside
