"""What a number of sequences can show: intervals of means, and whether one tracker is better than another.

Sequences are what is resampled: frames of one sequence hang together. Efron: Bootstrap methods.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 10_000
_SEED = 0
# With fewer, even if one tracker wins on all, chance does the same in more than 5 % of cases: 2 * 0.5^5.
LEAST_SEQUENCES = 6

Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """One tracker less another, on the same sequences."""

    mean: float
    interval: Interval  # 95 %
    sequences: int

    @property
    def verdict(self) -> str:
        """What is to be said of the first tracker."""
        low, high = self.interval
        if low > 0 and self.sequences >= LEAST_SEQUENCES:
            return "better"
        if high < 0 and self.sequences >= LEAST_SEQUENCES:
            return "worse"
        return "no difference that this many sequences can show"


def mean_interval(values: ArrayLike) -> Interval:
    """The 95 % bootstrap interval of a mean (percentiles of 10,000 resamples, the same on every call).

    Of a few sequences it is too narrow; of a single one it has no width, and says nothing.

    Args:
        values: (S,) a score of each sequence.

    Raises:
        ValueError: there is none, or one is not finite.
    """
    scores = _scores(values)
    picked = np.random.default_rng(_SEED).integers(0, len(scores), (RESAMPLES, len(scores)))
    low, high = np.percentile(scores[picked].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def paired(a: ArrayLike, b: ArrayLike) -> Difference:
    """How much better tracker a is than tracker b.

    Args:
        a, b: (S,) scores of the same sequences in the same order, more is better.

    Raises:
        ValueError: they differ in number, there is none, or one is not finite.
    """
    first, second = _scores(a), _scores(b)
    if len(first) != len(second):
        raise ValueError(f"scores of {len(first)} and of {len(second)} sequences cannot be paired")
    return Difference(float((first - second).mean()), mean_interval(first - second), len(first))


def _scores(values: ArrayLike) -> NDArray[np.float64]:
    scores = np.asarray(values, np.float64)
    if scores.ndim != 1 or not scores.size or not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite numbers, one a sequence; got {scores.tolist()}")
    return scores
