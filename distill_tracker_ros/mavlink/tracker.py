"""What the camera needs to know of the tracker, and to ask of it."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from ..core.tracker import TrackState

Box = tuple[float, float, float, float]  # xywh, pixels of the tracker's images


@dataclass(frozen=True)
class Seen:
    """A target as the tracker sees it."""

    id: str
    state: TrackState
    box_xywh: Box
    reason: str = ""  # why it is not TRACKING


@dataclass(frozen=True)
class Report:
    """The tracker's newest status."""

    width: int  # of its images, px; 0 before the first one
    height: int
    targets: tuple[Seen, ...]  # the first is the primary one


class Answer(Protocol):
    """What the tracker said to a call."""

    @property
    def success(self) -> bool: ...
    @property
    def message(self) -> str:
        """A sentence for the operator."""

    @property
    def retry(self) -> bool:
        """Whether the same call may succeed later, as when no tracker is there or it is busy."""


class Tracker(Protocol):
    """Calls return at once; their futures always get an answer."""

    @property
    def report(self) -> Report | None:
        """None before the first."""

    @property
    def silent_s(self) -> float:
        """Time since the newest report; infinite before the first."""

    def follow(self, box_xywh: Box, id: str) -> Future[Answer]:
        """Follow what is in this box in the picture that the pilot sees."""

    def drop(self, id: str) -> Future[Answer]:
        """Drop a target."""
