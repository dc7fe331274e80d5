"""From a network's score to the probability that its box is right."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Calibration:
    """Beta calibration: logit p = low ln(s) - high ln(1 - s) + offset, for a score s in (0, 1).

    Kull, Silva Filho, Flach: Beta calibration, AISTATS 2017. It rises with s, so that a threshold that goes
    through it decides as before. The default changes nothing, not even a bit.

    Raises:
        ValueError: a number is not finite, `low` or `high` is negative, or both are 0: it would not rise.
    """

    low: float = 1.0  # how fast it leaves 0
    high: float = 1.0  # how fast it nears 1
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not (
            math.isfinite(self.low + self.high + self.offset)
            and min(self.low, self.high) >= 0 < max(self.low, self.high)
        ):
            raise ValueError(
                f"calibration low = {self.low:g}, high = {self.high:g}, offset = {self.offset:g}: accepted "
                "are finite numbers, low and high at least 0 and one of them above it"
            )

    def __call__(self, score: float) -> float:
        """The probability, 0..1, for a score, 0..1. A score of 0 is no detection: it stays 0."""
        if score <= 0 or (self.low == self.high == 1 and self.offset == 0):
            return score
        odds = self.low * math.log(score) + self.offset
        if score < 1:
            odds -= self.high * math.log1p(-score)
        elif self.high > 0:
            return 1.0
        # Of the two forms, the one whose exponential cannot overflow.
        return 1 / (1 + math.exp(-odds)) if odds >= 0 else math.exp(odds) / (1 + math.exp(odds))

    def raw(self, probability: float) -> float:
        """The least score, 0..1, whose probability is at least this one; 1 if there is none."""
        low, high = 0.0, 1.0
        while low < (middle := (low + high) / 2) < high:
            low, high = (low, middle) if self(middle) >= probability else (middle, high)
        return high
