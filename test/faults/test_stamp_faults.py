"""Cameras whose images come in another order than they were taken, or with stamps that are not their time."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

from collections.abc import Callable, Iterable

import pytest
from flight import FEW, Flight, Passed, Spoil
from ros_harness import time_msg
from sensor_msgs.msg import Image

from distill_tracker_ros.messages import stamp_ns

pytestmark = pytest.mark.ros

HOUR_NS = 3600 * 10**9
EVERY = 8  # images: one of so many is odd
LATE = 6  # images: 0.3 s


def flown(flight: Flight, spoil: Spoil, sentence: str) -> Passed:
    """Two seconds that are no reason to lose the target, but to say something."""
    passed = flight.through(lambda: flight.fly(2, spoil))
    assert any(sentence in said for said in passed.said), passed.said
    assert passed.states == ("TRACKING",)
    return passed


def test_pairs_out_of_order(flight: Flight) -> None:
    """The newest is tracked on; one that it overtook is left out."""
    held: list[Image] = []

    def swap(msg: Image, number: int) -> Iterable[Image]:
        held.append(msg)
        return [held.pop(), held.pop()] if number % 2 else []

    passed = flown(flight, swap, "older than the newest one, out of order: it was skipped")
    passed.record("images come in pairs out of order for 2 s")


def test_every_image_twice(flight: Flight) -> None:
    before = len(flight.answered)
    passed = flown(flight, lambda msg, number: [msg, msg], "has the stamp of the one before and was skipped")
    assert passed.frames_lost <= FEW < len(flight.answered) - before
    passed.record("every image comes twice for 2 s")


def test_late_single_images(flight: Flight) -> None:
    held: list[Image] = []

    def hold_one(msg: Image, number: int) -> Iterable[Image]:
        if number % EVERY == 0:
            held.append(msg)
            return []
        return [msg, held.pop()] if number % EVERY == LATE else [msg]

    passed = flown(flight, hold_one, " s older than the newest one, out of order: it was skipped")
    passed.record("one image of 8 comes 0.3 s late, for 2 s")


def test_no_stamps(flight: Flight) -> None:
    """The time of arrival serves; boxes keep the header of their image."""
    passed = flown(
        flight, stamped(flight, lambda at_ns, number: 0), "had no stamp: the time of their arrival"
    )
    assert 0 in flight.answered and passed.frames_lost <= FEW
    passed.record("images have no stamp for 2 s")


@pytest.mark.parametrize(
    ("odd_ns", "name"),
    [
        (lambda at_ns: at_ns + HOUR_NS, "one image of 8 has a stamp an hour ahead, for 2 s"),
        (lambda at_ns: 10**9 + at_ns % 10**9, "one image of 8 has a stamp of 1970, for 2 s"),
    ],
)
def test_single_stamps_of_another_time(flight: Flight, odd_ns: Callable[[int], int], name: str) -> None:
    """They are left out, and nothing else changes."""

    def odd(at_ns: int, number: int) -> int:
        return odd_ns(at_ns) if number % EVERY == 0 else at_ns

    passed = flown(flight, stamped(flight, odd), "s from the image before: skipped until the next one agrees")
    assert max(flight.answered) - min(flight.answered) < HOUR_NS / 2
    passed.record(name)


def test_a_camera_whose_clock_is_set(flight: Flight) -> None:
    """Ahead: the target stays. Back: it may be a recording that begins again, so it is given up."""

    def set_to(ahead_ns: int) -> None:
        flight.ahead_ns = ahead_ns

    passed = flight.through(lambda: set_to(HOUR_NS), comes_back=True)
    assert any("the stamp leaps by +3600." in said for said in passed.said)
    assert passed.states == ("TRACKING",) and passed.frames_lost <= FEW
    flight.fly(3)  # diagnostics give it some time
    assert any("in the future: the camera has another clock" in said for said in flight.everything_said())
    passed.record("the camera's clock is set an hour ahead and stays so")

    passed = flight.through(lambda: set_to(0), comes_back=False)
    assert any("time went back by 3599." in said or "3600." in said for said in passed.said)
    assert passed.states[-1] == "none"
    flight.follow()
    passed.record("the camera's clock is set back by an hour")


def stamped(flight: Flight, stamp: Callable[[int, int], int]) -> Spoil:
    """Images with this stamp instead of theirs, given theirs and their number."""

    def spoil(msg: Image, number: int) -> Iterable[Image]:
        at_ns = stamp(stamp_ns(msg.header.stamp), number)
        flight.know(at_ns)
        msg.header.stamp = time_msg(at_ns)
        return [msg]

    return spoil
