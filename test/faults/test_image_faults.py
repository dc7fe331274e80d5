"""Images that are none, and pictures that show nothing."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from flight import Flight, Rgb, begin_anew
from ros_harness import Client, NodeProcess, image_msg
from sensor_msgs.msg import CompressedImage, Image

from distill_tracker_msgs.msg import TrackedTarget
from distill_tracker_ros.messages import stamp_ns

pytestmark = pytest.mark.ros

BROKEN: dict[str, tuple[Callable[[Image], Any], str]] = {
    "a wrong step": (lambda msg: setattr(msg, "step", 100), "has a step of 100: a row needs at least 960"),
    "too few data": (lambda msg: setattr(msg, "data", msg.data[:5000]), "has 5000 bytes of data: it needs"),
    "a width of 0": (lambda msg: setattr(msg, "width", 0), "the image of 0x240 has no pixels"),
    "an unknown encoding": (lambda msg: setattr(msg, "encoding", "purple"), "encoding 'purple' is unknown"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_no_image_can_be_used(flight: Flight, what: str) -> None:
    """The target is looked for as soon as there are pictures again."""
    breaks, sentence = BROKEN[what]
    broken: set[int] = set()

    def spoil(msg: Image, number: int) -> Iterable[Image]:
        breaks(msg)
        broken.add(stamp_ns(msg.header.stamp))
        return [msg]

    passed = flight.through(lambda: flight.fly(2, spoil))
    assert any(sentence in said for said in passed.said), passed.said
    assert any("input:" in said and "image(s) could not be used" in said for said in passed.said)
    assert not broken & flight.answered
    assert "none" not in passed.states
    passed.record(f"images have {what} for 2 s")


def test_every_other_image_cannot_be_used(flight: Flight) -> None:
    """The others are tracked on."""
    ways, broken = list(BROKEN.values()), set()

    def spoil(msg: Image, number: int) -> Iterable[Image]:
        if number % 2:
            ways[number // 2 % len(ways)][0](msg)
            broken.add(stamp_ns(msg.header.stamp))
        return [msg]

    passed = flight.through(lambda: flight.fly(2, spoil))
    for _, sentence in ways:
        assert any(sentence in said for said in passed.said), sentence
    assert not broken & flight.answered
    assert passed.states == ("TRACKING",)
    passed.record(f"every other image has one of: {', '.join(BROKEN)}, for 2 s")


def black(number: int) -> Rgb:
    return np.zeros((240, 320, 3), np.uint8)


def white(number: int) -> Rgb:
    return np.full((240, 320, 3), 255, np.uint8)


def noise(number: int) -> Rgb:
    return np.random.default_rng(number).integers(0, 256, (240, 320, 3), np.uint8)


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (black, "the picture shows nothing where it is searched for (grey level 0 of 255)"),
        (white, "the picture shows nothing where it is searched for (grey level 255 of 255)"),
        (noise, "nothing looks enough like it"),
    ],
)
def test_pictures_that_show_nothing(flight: Flight, picture: Callable[[int], Rgb], reason: str) -> None:
    """The target is LOST within the time that is promised, which the status explains; no box is invented."""
    shown: dict[int, list[TrackedTarget]] = {}

    def spoil(msg: Image, number: int) -> Iterable[Image]:
        shown[stamp_ns(msg.header.stamp)] = []
        return [image_msg(picture(number), stamp_ns(msg.header.stamp))]

    passed = flight.through(lambda: flight.fly(2, spoil))
    for status in flight.statuses:
        if (at := stamp_ns(status.header.stamp)) in shown:
            shown[at] += status.targets
    told = [target for targets in shown.values() for target in targets]
    assert told and all(target.state != TrackedTarget.TRACKING for target in told)
    assert all(reason in target.reason for target in told), {target.reason for target in told}
    last = stamp_ns(told[0].last_seen)
    for at, targets in shown.items():
        expected = TrackedTarget.LOST if at - last >= 10**9 else TrackedTarget.UNCERTAIN
        assert all(target.state == expected for target in targets)
    assert passed.states[-3:] == ("UNCERTAIN", "LOST", "TRACKING")
    passed.record(f"all pictures are {picture.__name__} for 2 s")


@pytest.fixture
def compressed(client: Client, node: NodeProcess) -> Iterator[Flight]:
    begin_anew(client, image_transport="compressed")
    flight = Flight(client, node, topic="/image/compressed", jpeg=True)
    flight.follow()
    yield flight
    assert node.alive, node.output


def truncated(data: bytes, number: int) -> bytes:
    return data[: len(data) // 2]


def headless(data: bytes, number: int) -> bytes:
    return data[:4] + bytes(300) + data[304:]


def empty(data: bytes, number: int) -> bytes:
    return b""


@pytest.mark.parametrize(
    ("broken", "what", "sentence"),
    [
        (truncated, "cut in half", "is truncated: it has no end marker"),
        (headless, "without a header", "is corrupt"),
        (empty, "empty", "begins with nothing: accepted are JPEG and PNG"),
    ],
)
def test_jpegs_that_cannot_be_decoded(
    compressed: Flight, broken: Callable[[bytes, int], bytes], what: str, sentence: str
) -> None:
    sent: set[int] = set()

    def spoil(msg: CompressedImage, number: int) -> Iterable[CompressedImage]:
        sent.add(stamp_ns(msg.header.stamp))
        msg.data = broken(msg.data.tobytes(), number)
        return [msg]

    passed = compressed.through(lambda: compressed.fly(1, spoil))
    assert any(sentence in said for said in passed.said), passed.said
    assert not sent & compressed.answered
    assert "none" not in passed.states
    passed.record(f"JPEGs are {what} for 1 s")


def test_jpegs_with_wrong_bytes(compressed: Flight) -> None:
    """Such a picture decodes into something: what it shows of the target counts, and nothing breaks."""
    rng = np.random.default_rng(0)

    def spoil(msg: CompressedImage, number: int) -> Iterable[CompressedImage]:
        data = np.frombuffer(msg.data, np.uint8).copy()
        data[rng.integers(len(data) // 2, len(data) - 2)] ^= 0x55
        msg.data = data.tobytes()
        return [msg]

    passed = compressed.through(lambda: compressed.fly(2, spoil))
    assert "none" not in passed.states
    passed.record("JPEGs have a wrong byte each for 2 s")
