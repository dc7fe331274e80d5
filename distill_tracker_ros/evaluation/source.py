"""Where sequences come from, in words that a command line and another process understand."""

from __future__ import annotations

import collections.abc
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .bags import is_bag, rosbags_needed
from .replay import DEFAULT_RATE_HZ, stamps_ns
from .sequences import Sequence, SequenceError, open_sequence, open_sequences


@dataclass(frozen=True)
class Source:
    """A sequence, a bag or a benchmark, and what to read of it."""

    path: Path
    format: str = "auto"
    truth_file: Path | None = None  # of a single video or folder of images
    image_topic: str = ""  # of a bag; empty = the only one
    truth_topic: str = ""
    box_xywh: tuple[float, float, float, float] | None = None  # instead of the first true box
    from_s: float | None = None  # stamp of the frame to begin on
    rate_hz: float | None = None  # instead of the sequences' own

    def open(self) -> collections.abc.Sequence[Sequence]:
        """The sequences, each opened when it is asked for.

        Raises:
            SequenceError: they cannot be found or told apart, or something is asked of several that makes
                sense for one.
        """
        found: collections.abc.Sequence[Sequence]
        if self.format in ("auto", "bag") and is_bag(self.path):
            with rosbags_needed():
                from .bags.reading import open_bag
            found = [open_bag(self.path, self.image_topic, self.truth_topic)]
        elif self.image_topic or self.truth_topic:
            raise SequenceError(f"{self.path} is no bag: topics belong to a bag")
        elif self.truth_file:
            found = [open_sequence(self.path, self.truth_file)]
        else:
            found = open_sequences(self.path, self.format)
        if self.from_s is None and self.box_xywh is None:
            return found
        if len(found) != 1:
            raise SequenceError(
                f"{self.path} has {len(found)} sequences: a box and a stamp to begin on are for a single one"
            )
        return [self._begun(found[0])]

    def _begun(self, sequence: Sequence) -> Sequence:
        """From the frame with the stamp that was asked for on."""
        if self.from_s is None:
            return sequence
        stamps_s = stamps_ns(sequence, self.rate_hz or sequence.rate_hz or DEFAULT_RATE_HZ) / 1e9
        nearest = int(np.abs(stamps_s - self.from_s).argmin())
        if abs(stamps_s[nearest] - self.from_s) > 0.001:
            raise SequenceError(
                f"{sequence.name} has no frame with the stamp {self.from_s:.3f} s: they go from "
                f"{stamps_s[0]:.3f} to {stamps_s[-1]:.3f} s, the nearest is {stamps_s[nearest]:.3f} s"
            )
        return sequence.part(slice(nearest, None))
