"""What is tracked of a sequence: the whole, from many starts, or from anchors in both directions."""

from __future__ import annotations

import collections.abc
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from . import vot
from .runs import TrackedSequence
from .sequences import Sequence, SequenceError

# One pass from the first true box; the anchors of VOT; temporal robustness evaluation (TRE) of OTB.
Protocol = Literal["one-pass", "vot", "tre"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

TRE_STARTS = 20
TRE_LEAST_FRAMES = 20  # from the last start to the end


def expand(sequence: Sequence, protocol: str) -> list[Sequence]:
    """The parts of a sequence that a protocol asks for, each beginning with a true box.

    "one-pass" gives the sequence itself from its first true box on; the others give parts that know
    their parent and are called NAME@FRAME, or NAME@FRAME-back for one that goes backwards.

    Raises:
        SequenceError: the target is nowhere to be seen.
        ValueError: there is no such protocol.
    """
    if protocol == "one-pass":
        return [sequence.from_first_box()]
    if protocol == "vot":
        return [_part(sequence, abs(anchor), anchor < 0) for anchor in vot.anchors(sequence)]
    if protocol == "tre":
        return [_part(sequence, frame) for frame in tre_starts(sequence)]
    raise ValueError(f"there is no protocol {protocol!r}: {', '.join(PROTOCOLS)}")


def tre_starts(sequence: Sequence) -> list[int]:
    """At most 20 frames in which the target can be seen, evenly spread from the first one to the last one
    that has 20 frames from it to the end; fewer in a short sequence.

    Raises:
        SequenceError: the target is nowhere to be seen.
    """
    seen = np.flatnonzero(sequence.visible)
    if not seen.size:
        raise SequenceError(f"{sequence.name} has no true box to start from")
    count = max(1, int(np.sum(seen <= len(sequence.frames) - TRE_LEAST_FRAMES)))
    picked = np.minimum(np.arange(TRE_STARTS) * count // (TRE_STARTS - 1), count - 1)
    return [int(frame) for frame in np.unique(seen[picked])]


def by_parent(
    sequences: collections.abc.Iterable[TrackedSequence],
) -> dict[str, list[TrackedSequence]]:
    """Name of a whole sequence -> what was tracked of it, in the order in which they come."""
    groups: dict[str, list[TrackedSequence]] = {}
    for tracked in sequences:
        groups.setdefault(tracked.parent or tracked.name, []).append(tracked)
    return groups


def _part(sequence: Sequence, frame: int, is_backward: bool = False) -> Sequence:
    name = f"{sequence.name}@{frame}{'-back' if is_backward else ''}"
    part = sequence.part(slice(frame, None, -1 if is_backward else None), name)
    if not is_backward or part.stamps_ns is None:
        return part
    return replace(part, stamps_ns=part.stamps_ns[0] - part.stamps_ns)  # a tracker's time never goes back
