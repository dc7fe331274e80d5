"""An engine that fails, and one whose call never returns: real faults of ONNX Runtime."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from faulty_bundle import FAILS, HANGS, picture
from flight import Flight
from ros_harness import Client, image_msg, running
from sensor_msgs.msg import Image
from waiting import wait_until

from distill_tracker_ros.messages import stamp_ns

pytestmark = pytest.mark.ros

CALL_TIMEOUT_S = 1.0


@pytest.fixture
def flight(client: Client, bundle: Path, tmp_path: Path) -> Iterator[Flight]:
    settings = {"watchdog__call_timeout_s": CALL_TIMEOUT_S, "restore__folder": str(tmp_path)}
    with running("tracker_node", tmp_path, model=str(bundle), autostart=True, **settings) as process:
        flight = Flight(client, process)
        flight.follow()
        yield flight


def showing(colour: tuple[int, int, int]) -> Image:
    """A spoiler: the picture is all of this colour."""

    def spoil(msg: Image, number: int) -> Iterable[Image]:
        return [image_msg(picture(colour), stamp_ns(msg.header.stamp))]

    return spoil


def test_an_engine_that_fails_once(flight: Flight) -> None:
    """One image is lost; nothing else changes."""
    passed = flight.through(lambda: flight.fly(0.05, showing(FAILS)))
    assert any("ERROR engine: the engine failed on an image" in said for said in passed.said)
    assert "took over" not in str(passed.said)
    assert passed.states == ("TRACKING",) and passed.frames_lost <= 3
    passed.record("an engine call fails once")


def test_an_engine_that_fails_on_every_image(flight: Flight) -> None:
    passed = flight.through(lambda: flight.fly(2.0, showing(FAILS)))
    assert any(re.search(r"failed on \d+ images in a row: onnxruntime", said) for said in passed.said)
    assert flight.process.alive
    passed.record("the engine fails on every image for 2 s")


def test_an_engine_that_hangs(flight: Flight) -> None:
    """Another one takes over with the target; the process lives, and ends when it is told to."""
    passed = flight.through(lambda: flight.fly(CALL_TIMEOUT_S, showing(HANGS)))
    assert any("a call of the engine has not returned for 1." in said for said in passed.said)
    assert any(" engine: " in said and "took over" in said for said in passed.said)
    counts = flight.statuses[-1]
    told = counts.frames_processed + counts.frames_dropped + counts.frames_rejected
    assert 0 <= counts.frames_received - told <= 2
    passed.record("an engine call never returns")
    assert flight.process.stop() == 0


def test_engines_that_all_hang_end_the_process(flight: Flight) -> None:
    """Then launch starts a new one."""
    wait_until(
        lambda: flight.fly(0.5, showing(HANGS)) or not flight.process.alive, "the end of the process", 60.0
    )
    assert flight.process.wait() == 1
    assert "it is the 3. engine that hangs: the process ends, for launch to start it again" in (
        flight.process.output
    )
