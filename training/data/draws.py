"""Random numbers that are functions of (seed, number of the sample, name of the draw), and of nothing else.

So a sample does not depend on the batch, the process or the worker that it is made in, nor on what was drawn
before; to resume, no state of a generator is needed.
"""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache

import torch
from torch import Tensor

_STEP, _MIX1, _MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_BITS = 24  # what a float32 holds exactly


class Draws:
    """The draws of B samples: SplitMix64 (Steele, Lea and Flood, 2014) as a counter-based generator.

    Integers are the same on every device, so uniform numbers are too; normal numbers agree to float rounding.
    """

    def __init__(self, seed: int, numbers: Tensor) -> None:
        """
        Args:
            seed: of the whole run.
            numbers: [B] int64, which samples.
        """
        self.seed, self.numbers = seed, numbers
        self._samples = _mixed(numbers * _signed(_STEP) + _key(f"seed {seed}")).unsqueeze(1)

    def rows(self, index: Tensor) -> Draws:
        """The draws of some of the samples."""
        return Draws(self.seed, self.numbers[index])

    def uniform(self, name: str, count: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """[B, count] float32 in [low, high)."""
        return low + (high - low) * (self._bits(name, count).float() / (1 << _BITS))

    def normal(self, name: str, count: int) -> Tensor:
        """[B, count] float32 with mean 0 and deviation 1 (Box and Muller, 1958)."""
        bits = self._bits(name, 2 * count).double()
        radius = (-2 * ((bits[:, :count] + 1) / (1 << _BITS)).log()).sqrt()
        return (radius * (bits[:, count:] * (2 * math.pi / (1 << _BITS))).cos()).float()

    def chance(self, name: str, probability: float) -> Tensor:
        """[B] bool."""
        return self.uniform(name, 1)[:, 0] < probability

    def _bits(self, name: str, count: int) -> Tensor:
        """[B, count] int64 in [0, 2^24)."""
        counter = torch.arange(1, count + 1, device=self.numbers.device) * _signed(_STEP) + _key(name)
        return _shifted(_mixed(self._samples + counter), 64 - _BITS)


@lru_cache(maxsize=1024)
def _key(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little", signed=True)


def _mixed(x: Tensor) -> Tensor:
    """A bijection of 64-bit integers that scatters them; products wrap around."""
    x = (x ^ _shifted(x, 30)) * _signed(_MIX1)
    x = (x ^ _shifted(x, 27)) * _signed(_MIX2)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, places: int) -> Tensor:
    """A right shift that brings in zeros; that of torch brings in the sign."""
    return (x >> places) & ((1 << (64 - places)) - 1)


def _signed(bits: int) -> int:
    """The 64-bit integer of these bits."""
    return bits - (1 << 64) if bits >> 63 else bits
