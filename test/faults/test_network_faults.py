"""Peers on the network that flood, die, deafen or speak of other things."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from flight import Flight, Passed, begin_anew
from peer import TRACKER, corner
from rclpy.qos import QoSProfile
from ros_harness import Client, NodeProcess, image_msg, running
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2D
from waiting import DEADLINE_S, wait_until

from distill_tracker_msgs.msg import TrackedTarget
from distill_tracker_ros.messages import stamp_ns

pytestmark = pytest.mark.ros

LONGEST_GAP_S = 1.0  # between two results in a flood, on a busy machine
MOST_BYTES_PER_S = 2000.0  # of the log in a flood


@contextmanager
def peers(folder: Path, *what: object, number: int = 1) -> Iterator[list[NodeProcess]]:
    """Strangers in processes of their own, that are gone afterwards."""
    command = [sys.executable, str(Path(__file__).parent / "peer.py"), *map(str, what)]
    processes = [NodeProcess.of(command, folder) for _ in range(number)]
    try:
        yield processes
    finally:
        for process in processes:
            process.stop()  # one that is killed stays in the graph for some seconds


def told(process: NodeProcess) -> dict[str, float]:
    """What a peer saw."""
    return json.loads(next(line for line in process.output.splitlines() if line.startswith("{")))


def fly_until_done(flight: Flight, processes: Iterable[NodeProcess]) -> None:
    wait_until(lambda: flight.fly(0.1) or not any(each.alive for each in processes), "their end", 120.0)


def through_a_flood(flight: Flight, folder: Path, *what: object, number: int = 1) -> tuple[Passed, list]:
    """What became of the target, and what each peer saw; results and log must be as always meanwhile."""
    saw: list[dict[str, float]] = []

    def flood() -> None:
        with peers(folder, *what, number=number) as processes:
            fly_until_done(flight, processes)
            saw.extend(map(told, processes))

    written, began_s = len(flight.process.output), time.monotonic()
    passed = flight.through(flood)
    took_s = time.monotonic() - began_s
    assert flight.worst_gap_s(began_s) < LONGEST_GAP_S
    assert (len(flight.process.output) - written) / took_s < MOST_BYTES_PER_S
    assert set(passed.states) == {"TRACKING"}
    return saying(passed, f"longest time between two results {flight.worst_gap_s(began_s):.2f} s"), saw


def saying(passed: Passed, *measured: str) -> Passed:
    """The same with what was measured; that targets were set is no news in a flood of them."""
    said = (text for text in passed.said if "was set" not in text)
    return replace(passed, said=(*measured, *said))


def targets(flight: Flight) -> dict[str, str]:
    """Id and label of those that are followed now."""
    known = len(flight.statuses)
    wait_until(lambda: flight.fly(0.1) or flight.statuses[known + 2 :], "a new status")
    return {target.id: target.label for target in flight.statuses[-1].targets}


# Services and topics.


@pytest.mark.parametrize("clients", [1, 3])
def test_a_flood_of_set_target(flight: Flight, clients: int, tmp_path: Path) -> None:
    passed, saw = through_a_flood(flight, tmp_path, "set_target", 1000, number=clients)
    sent, answered, busy = (sum(int(each[key]) for each in saw) for key in ("sent", "answered", "busy"))
    assert answered > 0 and not any(each["unexplained"] for each in saw)
    assert sum(each["accepted"] for each in saw) + busy == answered
    # The last that was accepted is the one that is followed.
    assert targets(flight)["flood"] in {str(int(each["newest"])) for each in saw}
    assert clients > 1 or answered == sent
    passed = replace(passed, said=(f"{answered} of {sent} answered, {busy} as busy", *passed.said))
    passed.record(f"{clients} client(s) call set_target 1,000 times at once")


def test_a_flood_of_messages_with_targets(flight: Flight, tmp_path: Path) -> None:
    passed, _ = through_a_flood(flight, tmp_path, "target", 1000)
    assert targets(flight) == {"1": "", "flood": ""}
    passed.record("1,000 messages come on ~/target within a second")


def test_a_flood_of_late_designations(client: Client, node: NodeProcess) -> None:
    """Each of them is run through the images since then, which takes its time."""
    begin_anew(client, **{"history.seconds": 10.0})
    flight = Flight(client, node)
    flight.follow()
    publisher = client.node.create_publisher(Detection2D, f"{TRACKER}/target", QoSProfile(depth=100))
    flight.fly(4.0)
    msg = Detection2D(bbox=corner(), id="late")
    msg.header.stamp = flight.statuses[-60].header.stamp

    def flood() -> None:
        for _ in range(10):
            for _ in range(10):
                publisher.publish(msg)
            flight.fly(0.1)
        wait_until(lambda: "late" in targets(flight), "the late target")

    began_s = time.monotonic()
    passed = flight.through(flood)
    gap_s = flight.worst_gap_s(began_s)
    assert gap_s < LONGEST_GAP_S and "LOST" not in passed.states
    passed = saying(passed, f"longest time between two results {gap_s:.2f} s")
    passed.record("100 targets that are 3 s late come on ~/target within a second")


def test_a_flood_of_clear_target_with_unknown_ids(flight: Flight, tmp_path: Path) -> None:
    passed, (saw,) = through_a_flood(flight, tmp_path, "clear_target", 1000)
    assert saw["accepted"] == 0 and not saw["unexplained"]
    assert targets(flight) == {"1": ""}
    passed.record("clear_target is called 1,000 times at once with ids of 256 characters that no target has")


def test_clients_that_die_before_the_answer(flight: Flight, tmp_path: Path) -> None:
    passed, _ = through_a_flood(flight, tmp_path, "set_target_and_die", 20, number=3)
    flight.follow()
    passed.record("3 clients call set_target 20 times and die before the answers")


# Topics.


def test_a_flood_of_images(flight: Flight) -> None:
    """They are dropped, and what is told is of the newest."""

    def small(msg: Image, number: int) -> Iterable[Image]:
        at_ns, pixels = stamp_ns(msg.header.stamp), np.frombuffer(msg.data, np.uint8).reshape(240, 320, 3)
        flight.know(at_ns, scale=0.2)
        return [image_msg(pixels[2::5, 2::5], at_ns)]

    began_s, before = time.monotonic(), flight.statuses[-1]
    passed = flight.through(lambda: flight.fly(2.0, small, rate_hz=500.0))
    took = flight.statuses[-1].frames_received - before.frames_received
    stamps = [stamp_ns(status.header.stamp) for status in flight.statuses]
    assert stamps == sorted(stamps)
    assert flight.worst_gap_s(began_s) < LONGEST_GAP_S and flight.oldest_s(began_s) < LONGEST_GAP_S
    dropped = flight.statuses[-1].frames_dropped - before.frames_dropped
    assert set(passed.states) == {"TRACKING"}
    measured = (
        f"{took} came, {dropped} were dropped, no result was older than {flight.oldest_s(began_s):.2f} s"
    )
    saying(passed, measured).record("images of 64x48 come at 500 Hz for 2 s")


def test_a_subscriber_of_pictures_that_never_reads(flight: Flight, tmp_path: Path) -> None:
    def look_away() -> None:
        with peers(tmp_path, "deaf", 60) as (peer,):
            wait_until(lambda: flight.fly(0.1) or peer.output, "the peer")
            flight.fly(1.5)
            os.kill(peer.pid, signal.SIGSTOP)
            try:
                flight.fly(1.5)
            finally:
                os.kill(peer.pid, signal.SIGCONT)

    began_s = time.monotonic()
    passed = flight.through(look_away)
    assert flight.worst_gap_s(began_s) < LONGEST_GAP_S and set(passed.states) == {"TRACKING"}
    saying(passed, f"longest time between two results {flight.worst_gap_s(began_s):.2f} s").record(
        "a subscriber of ~/overlay/compressed never reads, and is then stopped (SIGSTOP)"
    )


def test_a_peer_that_sends_another_type(flight: Flight, tmp_path: Path) -> None:
    """It disturbs nothing beside the camera, and without a camera it is what diagnostics tell of."""

    def speak() -> None:
        with peers(tmp_path, "other_type", 60) as (peer,):
            wait_until(lambda: flight.fly(0.1) or peer.output, "the peer")
            flight.fly(1.0)
            assert flight.statuses[-1].targets[0].state == TrackedTarget.TRACKING
            time.sleep(3.0)

    passed = flight.through(speak)
    assert "std_msgs/msg/String" in str(passed.said)
    passed.record("a peer publishes strings on the topic of the images, then the camera stops for 3 s")


# Names.


def test_two_nodes_of_one_name(flight: Flight, bundle: Path, tmp_path: Path) -> None:
    """Diagnostics name it while both live, and stop when one is gone."""
    namesake = "2 nodes are called /tracker, and any of them answers a service"
    elsewhere = ["--ros-args", "-r", "~/status:=/twin/status", "-r", "~/detections:=/twin/detections"]
    diagnoses = flight.client.listen(DiagnosticArray, "/diagnostics")

    def is_said() -> bool:
        return any(namesake in s.message for msg in diagnoses for s in msg.status if s.level == b"\2")

    def both_live() -> None:
        with running("tracker_node", tmp_path, *elsewhere, model=str(bundle), autostart=True) as twin:
            wait_until(lambda: flight.fly(0.2) or is_said(), "the diagnosis")
            flight.fly(1.0)
            assert twin.alive

    passed = flight.through(both_live)
    assert flight.process.alive and set(passed.states) == {"TRACKING"}

    def is_quiet() -> bool:
        newest = [s for msg in diagnoses[-1:] for s in msg.status if s.name == "tracker: node"]
        return all(s.level == b"\0" for s in newest)

    wait_until(lambda: flight.fly(0.2) or is_quiet(), "diagnostics without the namesake", 2 * DEADLINE_S)
    passed.record("a second node of the same name runs for a while")
