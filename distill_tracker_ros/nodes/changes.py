"""What became of the targets between two images, for the log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ..core.session import Target
from ..core.tracker import TrackState
from .logs import Log, Value, cut
from .tracking import Followed

LONGEST_NAME = 40  # characters of an id in a sentence


@dataclass(frozen=True)
class Change:
    """Something that happened to one target."""

    severity: Literal["debug", "info", "warning"]
    event: str
    sentence: str
    fields: dict[str, Value]

    def tell(self, log: Log) -> None:
        getattr(log, self.severity)(self.event, self.sentence, **self.fields)


def changes(before: Sequence[Followed], after: Sequence[Followed]) -> Iterator[Change]:
    """Targets that were set, cleared, doubted, lost or found; nothing for those that are as they were.

    Doubt is frequent, hence of severity debug.
    """
    old = {followed.target.id: followed for followed in before}
    new = {followed.target.id: followed for followed in after}
    for id in [id for id in old if id not in new]:
        yield Change("info", "target_cleared", f"{_name(id)} is no longer followed", {"id": id})
    for id, now in new.items():
        last = old.get(id)
        if last is None or now.track.age_frames < last.track.age_frames:
            yield _set(now.target)
            last = None
        if now.track.state is not (last.track.state if last else TrackState.TRACKING):
            yield _turned(last, now)


def _set(target: Target) -> Change:
    label: dict[str, Value] = {"label": target.label} if target.label else {}
    return Change("info", "target_set", f"{_name(target.id)} is followed", {"id": target.id, **label})


def _turned(last: Followed | None, now: Followed) -> Change:
    """Into another state than it had; a target that was just set had been TRACKING."""
    track, name = now.track, _name(now.target.id)
    seen_before_ns = last.track.last_seen_ns if last else track.last_seen_ns
    found = track.state is TrackState.TRACKING
    unseen_s = ((track.last_seen_ns if found else track.stamp_ns) - seen_before_ns) / 1e9
    fields: dict[str, Value] = {"id": now.target.id, "confidence": track.confidence, "unseen_s": unseen_s}
    because = f": {track.reason}" if track.reason else ""
    if track.state is TrackState.LOST:
        return Change("warning", "target_lost", f"{name} is LOST{because}", fields)
    if track.state is TrackState.UNCERTAIN:
        return Change("debug", "target_uncertain", f"{name} is UNCERTAIN{because}", fields)
    if last is not None and last.track.state is TrackState.LOST:
        return Change("info", "target_found", f"{name} was found again after {unseen_s:.1f} s", fields)
    return Change("debug", "target_seen", f"{name} is seen again", fields)


def _name(id: str) -> str:
    return f"target {cut(id, LONGEST_NAME)!r}"
