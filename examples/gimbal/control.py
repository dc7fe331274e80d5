"""From the direction of a target to the rates of a gimbal: proportional control that stops when in doubt.

Angles and rates are about the axes of the camera: pitch is positive upwards, yaw to the right, as in MAVLink.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from distill_tracker_ros.core.config import check_ranges, option


@dataclass(frozen=True)
class Gains:
    """How hard the gimbal is turned."""

    per_s: float = option(2.0, "rate for each radian of error, 1/s; below 0.5 / the loop's delay", 0.01, 20.0)
    most_rad_s: float = option(1.0, "most for each rate, rad/s", 0.0, 10.0)
    dead_band_rad: float = option(0.005, "error that is left alone, rad", 0.0, 0.5)
    stale_s: float = option(0.4, "age of a bearing from which on the gimbal stands still, s", 0.05, 5.0)

    def __post_init__(self) -> None:
        check_ranges(self)


class Angles(NamedTuple):
    """An error (rad) or rates (rad/s)."""

    pitch: float
    yaw: float


STILL = Angles(0.0, 0.0)


def angles(direction: Sequence[float]) -> Angles:
    """How far the camera must turn to face a direction (x right, y down, z forward in its frame)."""
    x, y, z = direction
    return Angles(math.atan2(-y, math.hypot(x, z)), math.atan2(x, z))


def rates(error: Angles, gains: Gains) -> Angles:
    """What turns the camera towards its target."""
    return Angles(*(_rate(angle, gains) for angle in error))


def _rate(angle: float, gains: Gains) -> float:
    # The dead band is taken off, so that the rate does not jump at its edge.
    beyond = math.copysign(max(0.0, abs(angle) - gains.dead_band_rad), angle)
    return max(-gains.most_rad_s, min(gains.most_rad_s, gains.per_s * beyond))


class Aim:
    """The newest bearing, for as long as it may be acted upon."""

    def __init__(self, gains: Gains) -> None:
        self._gains = gains
        self._error, self._seen_s = STILL, -math.inf

    def see(self, direction: Sequence[float], at_s: float) -> None:
        """Take a bearing of an image of this time."""
        self._error, self._seen_s = angles(direction), at_s

    def lose(self, at_s: float) -> None:
        """The target is lost in an image of this time: forget bearings that are not newer."""
        if self._seen_s <= at_s:
            self._seen_s = -math.inf

    def is_fresh(self, now_s: float) -> bool:
        """Whether there is a bearing that is neither too old nor of the future."""
        return abs(now_s - self._seen_s) < self._gains.stale_s

    def rates(self, now_s: float) -> Angles:
        """For the gimbal, now; zero without a fresh bearing."""
        return rates(self._error, self._gains) if self.is_fresh(now_s) else STILL
