"""The gimbal example's closed loop, simulated: it keeps what moves in the picture, whatever the delay."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import count

import numpy as np
import pytest

from examples.gimbal.control import STILL, Angles, Gains
from examples.gimbal.simulation import Gimbal, Lens, Look, Sample, Vector, fly, through

DELAYS_S = (0.1, 0.2)
SPEEDS_DEG_S = (3, 10, 20, 30)
GAINS = Gains()
LENS = Lens()
SETTLED_S = 4.0
Target = Callable[[float], Vector]  # time, s -> direction in the world


def ideal() -> Look:
    """The bearing itself, while the target is in the picture."""
    return lambda ray: ray if LENS.shows(ray) else None


def bent() -> Look:
    return through(LENS)


both_looks = pytest.mark.parametrize("look", [ideal, bent], ids=["ideal", "lens"])


def on_a_circle(deg_s: float, elevation_deg: float = -25) -> Target:
    """A target that goes round the camera, and a little up and down."""

    def at(time_s: float) -> Vector:
        around = math.radians(deg_s) * time_s
        up = math.radians(elevation_deg + 5 * math.sin(0.5 * time_s))
        return np.array([math.cos(around) * math.cos(up), -math.sin(around) * math.cos(up), math.sin(up)])

    return at


def still(yaw_deg: float, pitch_deg: float) -> Target:
    yaw, pitch = math.radians(yaw_deg), math.radians(pitch_deg)
    direction = [math.cos(yaw) * math.cos(pitch), -math.sin(yaw) * math.cos(pitch), math.sin(pitch)]
    return lambda time_s: np.array(direction)


def errors_deg(samples: list[Sample]) -> Vector:
    """(N, 2) pitch and yaw."""
    return np.degrees([sample.error for sample in samples])


@pytest.mark.parametrize("delay_s", DELAYS_S)
@pytest.mark.parametrize("deg_s", SPEEDS_DEG_S)
@both_looks
def test_a_moving_target_stays_near_the_middle(
    look: Callable[[], Look], deg_s: float, delay_s: float
) -> None:
    """In the picture from the first to the last image; behind by its speed over the gain, and no more."""
    gimbal = Gimbal(Angles(math.radians(-25), 0.0), delay_s)
    samples = fly(gimbal, on_a_circle(deg_s), look(), GAINS, seconds=15)
    assert all(sample.seen for sample in samples)
    late = errors_deg([sample for sample in samples if sample.time_s > SETTLED_S])
    behind = (deg_s + 5 * 0.5) / GAINS.per_s + math.degrees(GAINS.dead_band_rad)
    assert np.abs(late).max() < behind + 1.0
    assert late[:, 1].mean() > 0.5 * deg_s / GAINS.per_s - 1.0  # the target goes first


@pytest.mark.parametrize("deg_s", SPEEDS_DEG_S[1:])
def test_without_the_loop_it_leaves(deg_s: float) -> None:
    gimbal = Gimbal(Angles(math.radians(-25), 0.0))
    samples = fly(gimbal, on_a_circle(deg_s), lambda ray: None, GAINS, seconds=9)
    rays = [gimbal.axes @ on_a_circle(deg_s)(sample.time_s) for sample in samples]
    assert LENS.shows(rays[0]) and not any(map(LENS.shows, rays[5 * 30 :]))


@pytest.mark.parametrize("delay_s", DELAYS_S)
@both_looks
def test_a_step_settles_without_swinging(look: Callable[[], Look], delay_s: float) -> None:
    """Half the picture aside: a tenth of it is overshot at most, and then it is quiet."""
    gimbal = Gimbal(delay_s=delay_s)
    samples = fly(gimbal, still(25, -12), look(), GAINS, seconds=8)
    found = errors_deg(samples)
    assert found[0] == pytest.approx([-12, 25], abs=3)
    assert found[:, 1].min() > -2.5 and found[:, 0].max() < 1.2
    quiet = np.array([sample.at for sample in samples if sample.time_s > SETTLED_S])
    assert np.degrees(np.ptp(quiet, axis=0)).max() < 0.6
    assert np.abs(found[-30:]).max() < 1.0


def test_too_much_gain_for_the_delay_swings() -> None:
    """The simulation shows it, so the tests above would."""
    samples = fly(Gimbal(delay_s=0.2), still(10, 0), ideal(), Gains(per_s=9.0), seconds=15)
    found = errors_deg(samples)[-120:, 1]
    assert found.max() > 8 and found.min() < -8


def test_the_gimbal_obeys_late_and_within_its_limits() -> None:
    gimbal = Gimbal(delay_s=0.2, most_rad_s=0.5)
    gimbal.command(Angles(0.1, 9.0), 0.0)
    gimbal.advance(0.2)
    assert gimbal.at == STILL
    gimbal.advance(1.2)
    assert gimbal.at == pytest.approx((0.1, 0.5))
    gimbal.command(STILL, 1.2)
    gimbal.advance(9.0)
    assert gimbal.at == pytest.approx((0.12, 0.6))
    gimbal.command(Angles(-0.5, 0.0), 9.0)
    gimbal.advance(99.0)
    assert gimbal.at.pitch == -math.pi / 2


def test_axes_of_the_gimbal() -> None:
    """At rest it looks along x with z up; to the right is -y."""
    right, down, forward = Gimbal().axes
    assert (right.tolist(), down.tolist(), forward.tolist()) == ([0, -1, 0], [0, 0, -1], [1, 0, 0])
    turned = Gimbal(Angles(math.radians(30), math.radians(90))).axes
    assert turned[2] == pytest.approx([0, -math.cos(math.radians(30)), 0.5])
    assert turned @ turned.T == pytest.approx(np.eye(3)) and np.linalg.det(turned) == pytest.approx(1)


def test_when_the_target_is_gone_the_gimbal_stops() -> None:
    """It may turn on for as long as a bearing is good, and for the delay."""
    gone_s = 3.0
    ticks = count()

    def look(ray: Vector) -> Vector | None:
        return ray if next(ticks) / 30 < gone_s else None

    samples = fly(Gimbal(Angles(math.radians(-25), 0.0), 0.1), on_a_circle(20), look, GAINS, seconds=6)
    moved = [sample.at for sample in samples if sample.time_s > gone_s + GAINS.stale_s + 0.1 + 0.1]
    assert len(set(moved)) == 1 and samples[-1].at.yaw > math.radians(30)
