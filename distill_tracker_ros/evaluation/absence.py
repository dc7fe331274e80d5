"""Where a target goes away: how soon the tracker says so, and how soon it has it again.

The rows of a sequence after its first one, in which the box is given, fall into frames in which the target
can be seen and absences: runs of frames in which it cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.tracker import TrackState
from .calibration import RIGHT_OVERLAP
from .metrics import found_overlap
from .runs import TrackedSequence


@dataclass(frozen=True)
class Absence:
    """One run of frames in which the target cannot be seen."""

    sequence: str
    first: int  # frame
    frames: int
    claimed: int  # of them in the state TRACKING
    lost_after_s: (
        float | None
    )  # from its first frame to the first in the state LOST; None = it was never said
    returned: bool  # the target can be seen again later
    found_after_s: (
        float | None
    )  # from then to the first frame that is TRACKING with a right box; None = never


@dataclass(frozen=True)
class Absences:
    """Those of several sequences."""

    each: tuple[Absence, ...]
    false_losses: int  # times that the state became LOST in a frame in which the target can be seen

    @property
    def claimed_share(self) -> float | None:
        """Share of the absent frames that are TRACKING; None without absences."""
        frames = sum(absence.frames for absence in self.each)
        return sum(absence.claimed for absence in self.each) / frames if frames else None

    @property
    def lost_after_s(self) -> list[float]:
        """Of the absences in which LOST was said."""
        return [a.lost_after_s for a in self.each if a.lost_after_s is not None]

    @property
    def found_after_s(self) -> list[float]:
        """Of the absences after which the target was found again, before it left anew."""
        return [a.found_after_s for a in self.each if a.found_after_s is not None]

    @property
    def returns(self) -> int:
        """Absences after which the target can be seen again."""
        return sum(absence.returned for absence in self.each)


def score(sequences: Sequence[TrackedSequence]) -> Absences:
    """The absences of several sequences. A frame without a true box is one without a target.

    Raises:
        ValueError: a prediction is not finite or has a negative size.
    """
    each = [absence for tracked in sequences for absence in absences(tracked)]
    return Absences(tuple(each), sum(map(false_losses, sequences)))


def absences(tracked: TrackedSequence) -> Iterator[Absence]:
    """Those of one sequence, in their order; see `score`."""
    right = found_overlap(tracked.boxes_xywh, tracked.truth_xywh, tracked.visible) > RIGHT_OVERLAP
    lost, tracking = (tracked.states == state for state in (TrackState.LOST, TrackState.TRACKING))
    seconds = tracked.stamps_ns / 1e9
    visible, last = tracked.visible, len(tracked)
    if not visible[1:].any():
        return  # a truth of the first frame alone
    turns = [1, *np.flatnonzero(visible[2:] != visible[1:-1]) + 2, last]
    for start, end, back in zip(turns[:-1], turns[1:], [*turns[2:], last], strict=True):
        if visible[start]:
            continue
        yield Absence(
            sequence=tracked.name,
            first=int(start),
            frames=int(end - start),
            claimed=int(tracking[start:end].sum()),
            lost_after_s=_first(lost[start:end], seconds[start:end]),
            returned=bool(back > end),
            found_after_s=_first((tracking & right)[end:back], seconds[end:back]),
        )


def false_losses(tracked: TrackedSequence) -> int:
    """How often the state became LOST in a frame in which the target can be seen."""
    lost = tracked.states == TrackState.LOST
    return int((lost[1:] & ~lost[:-1] & tracked.visible[1:]).sum())


def _first(happened: NDArray[np.bool_], seconds: NDArray[np.float64]) -> float | None:
    """Seconds until it first happened; None if it did not."""
    at = np.flatnonzero(happened)
    return float(seconds[at[0]] - seconds[0]) if at.size else None
