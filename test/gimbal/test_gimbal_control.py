"""The gimbal example's control: signs, limits, and when it stands still."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.gimbal.control import STILL, Aim, Angles, Gains, angles, rates

GAINS = Gains(per_s=2.0, most_rad_s=1.0, dead_band_rad=0.01, stale_s=0.4)
RIGHT, UP = (0.1, 0.0, 1.0), (0.0, -0.1, 1.0)


def test_signs_are_those_of_mavlink() -> None:
    """Right of the middle: yaw to the right; above it (y is down): pitch upwards."""
    assert angles((0.0, 0.0, 1.0)) == STILL
    assert angles(RIGHT) == pytest.approx((0.0, math.atan(0.1)))
    assert angles(UP) == pytest.approx((math.atan(0.1), 0.0))
    assert angles((1.0, 0.0, -1.0)) == pytest.approx((0.0, math.radians(135)))  # behind: a fisheye sees it


def test_rates_are_proportional_beyond_the_dead_band_up_to_a_limit() -> None:
    assert rates(Angles(0.01, -0.01), GAINS) == STILL
    assert rates(Angles(0.11, -0.21), GAINS) == pytest.approx((0.2, -0.4))
    assert rates(Angles(3.0, -3.0), GAINS) == (1.0, -1.0)


@given(st.floats(-4, 4), st.floats(-4, 4))
def test_rates_turn_towards_the_target_and_never_too_fast(pitch: float, yaw: float) -> None:
    for error, rate in zip((pitch, yaw), rates(Angles(pitch, yaw), GAINS), strict=True):
        assert rate * error >= 0 and abs(rate) <= GAINS.most_rad_s


def test_a_bearing_is_acted_upon_for_a_while() -> None:
    aim = Aim(GAINS)
    assert aim.rates(100.0) == STILL
    aim.see(RIGHT, 100.0)
    assert aim.rates(100.3) == rates(angles(RIGHT), GAINS) != STILL
    assert aim.rates(100.41) == STILL and not aim.is_fresh(100.41)


def test_a_bearing_of_another_clock_is_not_acted_upon() -> None:
    aim = Aim(GAINS)
    aim.see(RIGHT, 100.0)
    assert aim.rates(5.0) == STILL


def test_a_lost_target_stops_it_at_once() -> None:
    aim = Aim(GAINS)
    aim.see(RIGHT, 100.0)
    aim.lose(100.1)
    assert aim.rates(100.1) == STILL
    aim.see(UP, 100.2)
    aim.lose(100.1)  # comes late
    assert aim.rates(100.2) == rates(angles(UP), GAINS)


@pytest.mark.parametrize("field", ["per_s", "most_rad_s", "dead_band_rad", "stale_s"])
def test_gains_that_make_no_sense_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"Gains.{field} = nan is out of range"):
        Gains(**{field: math.nan})
