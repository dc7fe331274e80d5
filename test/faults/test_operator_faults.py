"""People who turn every knob at the wrong time, and machines that stall or starve the process."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from flight import Flight, Passed
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from peer import TRACKER, corner
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.task import Future
from ros_harness import Client, running, time_msg
from sensor_msgs.msg import CompressedImage
from vision_msgs.msg import Detection2D
from waiting import DEADLINE_S, wait_until

from distill_tracker_msgs.msg import TrackedTarget
from distill_tracker_msgs.srv import ClearTarget, SetTarget
from distill_tracker_ros.messages import stamp_ns
from distill_tracker_ros.nodes.options import (
    FIXED_AT_START,
    FIXED_WHILE_ACTIVE,
    FIXED_WHILE_CONFIGURED,
    Option,
    Options,
    flat,
)

pytestmark = pytest.mark.ros

SECOND = 1_000_000_000
STATES = {
    "none": None,
    "TRACKING": TrackedTarget.TRACKING,
    "UNCERTAIN": TrackedTarget.UNCERTAIN,
    "LOST": TrackedTarget.LOST,
}
HIDDEN = ("UNCERTAIN", "LOST")  # states of a target that is not in the picture
END_S = 5.0  # in which the process ends
SPOILS = "tracker.min_side_px"  # it makes the box as large as the picture, and that size is then looked for
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE
CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
SHUTDOWN = Transition.TRANSITION_ACTIVE_SHUTDOWN


@contextmanager
def flown(client: Client, bundle: Path, folder: Path, **parameters: Any) -> Iterator[Flight]:
    """A flight with a node of its own."""
    with running("tracker_node", folder, model=str(bundle), autostart=True, **parameters) as process:
        flight = Flight(client, process)
        flight.follow()
        yield flight


# What an operator does.


def set_parameters(flight: Flight, **values: Any) -> list[str]:
    """Why they were refused, each; empty = accepted."""
    messages = [Parameter(name.replace("__", "."), value=v).to_parameter_msg() for name, v in values.items()]
    answer = flight.client.call(SetParameters, f"{TRACKER}/set_parameters", parameters=messages)
    return ["" if result.successful else result.reason for result in answer.results]


def present(flight: Flight) -> list[ParameterValue]:
    """The values of all parameters."""
    names = list(flat(Options()))
    return flight.client.call(GetParameters, f"{TRACKER}/get_parameters", names=names).values


def running_options() -> dict[str, Option]:
    """Those that may change while the node is active."""
    fixed = (*FIXED_AT_START, *FIXED_WHILE_CONFIGURED, *FIXED_WHILE_ACTIVE, "autostart")
    return {name: option for name, option in flat(Options()).items() if not name.startswith(fixed)}


def change_state(flight: Flight, transition: int) -> bool:
    request = Transition(id=transition)
    return flight.client.call(ChangeState, f"{TRACKER}/change_state", transition=request).success


def state(flight: Flight) -> str:
    return flight.client.call(GetState, f"{TRACKER}/get_state").current_state.label


def mark(flight: Flight, stamp: int = 0, **request: Any) -> SetTarget.Response:
    """Set the target where it is now, or what is in the box that is given."""
    msg = flight.shoot()
    flight.images.publish(msg)
    request.setdefault("box", flight.box_in(msg))
    return flight.client.call(SetTarget, f"{TRACKER}/set_target", stamp=time_msg(stamp), **request)


def end(flight: Flight, number: int, within_s: float = END_S) -> Passed:
    """Send a signal while images flow."""
    began_s, statuses = time.monotonic(), len(flight.statuses) - 1
    os.kill(flight.process.pid, number)
    wait_until(lambda: flight.fly(0.05) or not flight.process.alive, "the end of the process", within_s)
    assert flight.process.wait() == 0
    told = f"it ends with exit code 0 after {time.monotonic() - began_s:.1f} s"
    return Passed(None, None, tuple(states(flight, statuses)), (told,))


# What becomes of the target.


def states(flight: Flight, since: int) -> Iterator[str]:
    """Of the target, in the statuses from this one on, repetitions left out."""
    names = {number: name for name, number in STATES.items()}
    for told, _ in groupby(s.targets[0].state if s.targets else None for s in flight.statuses[since:]):
        yield names[told]


def bring_to(flight: Flight, wanted: str) -> None:
    """Fly until the target is in this state; it stays so while it is hidden."""
    if wanted == "none":
        assert flight.client.call(ClearTarget, f"{TRACKER}/clear_target").success
    elif wanted != "TRACKING":
        lost_after_ms = 0 if wanted == "LOST" else 600_000
        assert set_parameters(flight, tracker__lost_after_ms=lost_after_ms) == [""]
    spoil = flight.hide if wanted in HIDDEN else None

    def is_there() -> bool:
        flight.fly(0.1, spoil)
        return list(states(flight, -1)) == [wanted]

    wait_until(is_there, f"a target that is {wanted}")


# With nodes of their own, which are all called /tracker: before the one that the others share is started.


@pytest.mark.parametrize("wanted", STATES)
def test_every_transition_in_every_state(wanted: str, client: Client, bundle: Path, tmp_path: Path) -> None:
    with flown(client, bundle, tmp_path) as flight:
        bring_to(flight, wanted)
        spoil = flight.hide if wanted in HIDDEN else None

        def pause() -> None:
            impossible(flight, "active", CONFIGURE, ACTIVATE, CLEANUP)
            flight.fly(0.3, spoil)
            assert list(states(flight, -1)) == [wanted]
            assert change_state(flight, DEACTIVATE)
            impossible(flight, "inactive", CONFIGURE, DEACTIVATE, SHUTDOWN)
            flight.fly(0.3)  # into nothing
            assert set_parameters(flight, tracker__lost_after_ms=1000) == [""]
            assert change_state(flight, ACTIVATE)

        passed = flight.through(pause, comes_back=wanted != "none")
        assert passed.states[-1] == ("none" if wanted == "none" else "TRACKING")
        passed.record(f"the node is deactivated and activated; the target was: {wanted}")

        bring_to(flight, wanted)
        for transition in (DEACTIVATE, CLEANUP, CONFIGURE, ACTIVATE):
            assert change_state(flight, transition)
        wait_until(lambda: flight.fly(0.1) or list(states(flight, -1)) == ["none"], "a node without targets")
        passed = flight.through(flight.follow)
        passed.record(f"the node is cleaned up and configured, and the target marked anew; it was: {wanted}")

        bring_to(flight, wanted)
        assert change_state(flight, SHUTDOWN)
        impossible(flight, "finalized", CONFIGURE, ACTIVATE, DEACTIVATE, CLEANUP)
        refused = mark(flight, id="1")
        assert not refused.success and "the node is not configured" in refused.message
        assert flight.process.alive
        end(flight, signal.SIGTERM)


def impossible(flight: Flight, now: str, *transitions: int) -> None:
    """Each is answered, and changes nothing."""
    for transition in transitions:
        assert not change_state(flight, transition) and state(flight) == now


def test_transitions_while_a_late_target_catches_up(client: Client, bundle: Path, tmp_path: Path) -> None:
    with flown(client, bundle, tmp_path, history__seconds=10.0) as flight:
        calls = client.node.create_client(SetTarget, f"{TRACKER}/set_target")
        assert calls.wait_for_service(DEADLINE_S)

        def mark_late() -> Future:
            flight.fly(3.0, rate_hz=60.0)
            stamp = flight.statuses[-1].header.stamp
            stamp.sec -= 2
            future = calls.call_async(SetTarget.Request(stamp=stamp, box=corner(), id="late"))
            time.sleep(0.05)
            return future

        def pause() -> None:
            future = mark_late()
            assert change_state(flight, DEACTIVATE)
            answer = wait_until(lambda: future.done() and future.result(), "an answer")
            assert answer.message
            assert change_state(flight, ACTIVATE)
            flight.fly(0.2)
            assert ("late" in {target.id for target in flight.statuses[-1].targets}) == answer.success

        passed = flight.through(pause)
        assert "none" not in passed.states
        passed.record("the node is deactivated and activated while a target that was marked late catches up")

        future = mark_late()
        assert change_state(flight, SHUTDOWN)
        assert wait_until(lambda: future.done() and future.result(), "an answer").message
        assert state(flight) == "finalized"
        end(flight, signal.SIGINT)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_it_in_order(name: str, client: Client, bundle: Path, tmp_path: Path) -> None:
    with flown(client, bundle, tmp_path) as flight:
        end(flight, signal.Signals[name]).record(f"{name} while tracking")


def test_the_end_does_not_wait_for_late_targets(client: Client, bundle: Path, tmp_path: Path) -> None:
    settings = {"history__seconds": 10.0, "service_timeout_s": 2.0}
    with flown(client, bundle, tmp_path, **settings) as flight:
        publisher = client.node.create_publisher(Detection2D, f"{TRACKER}/target", QoSProfile(depth=100))
        flight.fly(2.0)
        slow = {"tracker__lost_threshold": 1.0, "tracker__lost_after_ms": 0, "tracker__redetect_tiles": 64}
        assert set_parameters(flight, **slow) == [""] * 3  # to catch up takes its time
        msg = Detection2D(bbox=corner(), id="late")
        msg.header.stamp = flight.statuses[-30].header.stamp  # 1.5 s ago
        for _ in range(50):
            publisher.publish(msg)
            time.sleep(0.005)
        flight.fly(2.0)  # until it is at those that have waited
        end(flight, signal.SIGTERM, within_s=4.0).record(
            "SIGTERM while 32 targets wait that were marked late"
        )


def test_a_watchdog_that_is_too_eager_is_refused(client: Client, tmp_path: Path) -> None:
    service = "/eager/tracker/set_parameters"
    with running("tracker_node", tmp_path, "--ros-args", "-r", "__ns:=/eager") as process:
        eager = [Parameter("watchdog.frozen_s", value=0.01).to_parameter_msg()]
        with suppress(AssertionError):  # there is no answer from a node that is gone
            answer = client.call(SetParameters, service, deadline_s=5.0, parameters=eager)
            assert not answer.results[0].successful and answer.results[0].reason
        time.sleep(1.0)
        assert process.alive


def test_a_process_that_is_starved(client: Client, bundle: Path, tmp_path: Path) -> None:
    """It drops images, and no result waits for another one: none is older than it takes to make it."""
    with flown(client, bundle, tmp_path) as flight:
        for nice, oldest_s in ((10, 1.0), (19, 5.0)):
            measured: list[str] = []

            def starve(nice: int = nice, measured: list[str] = measured) -> None:
                with starved(flight.process.pid, nice):
                    flight.fly(0.5)
                    began_s, before = time.monotonic(), flight.statuses[-1].frames_processed
                    flight.fly(4.0)
                    rate, age_s = (
                        (flight.statuses[-1].frames_processed - before) / 4,
                        flight.oldest_s(began_s),
                    )
                    measured.append(f"{rate:.1f} results/s, none older than {age_s:.2f} s")

            passed = flight.through(starve)
            assert flight.oldest_s(0.0) < oldest_s
            replace(passed, said=(*measured, *passed.said)).record(
                f"the process is starved for 4 s: nice {nice} beside a busy loop on its only processor"
            )


@contextmanager
def starved(pid: int, nice: int) -> Iterator[None]:
    """Everything of a process at so low a priority, on one processor, beside a busy loop."""
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(loop.pid, {min(everywhere)})
    _lower(pid, nice, {min(everywhere)})
    try:
        yield
    finally:
        loop.kill()
        loop.wait()
        _lower(pid, 0, everywhere)


def _lower(pid: int, nice: int, processors: set[int]) -> None:
    for thread in map(int, os.listdir(f"/proc/{pid}/task")):
        with suppress(ProcessLookupError):  # a thread that has just ended
            os.sched_setaffinity(thread, processors)
            os.setpriority(os.PRIO_PROCESS, thread, nice)
    with suppress(OSError):  # where Linux shares out by session first
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


# Parameters.


def test_every_running_parameter_at_its_limits(flight: Flight) -> None:
    """Whatever it does to the target, the node lives, counts, and follows again when it is back."""
    flight.client.listen(CompressedImage, f"{TRACKER}/overlay/compressed")

    def turn_every_knob() -> None:
        for name, option in running_options().items():
            if name == SPOILS:
                continue
            for value in limits(option):
                assert set_parameters(flight, **{name: value}) == [""], (name, value)
                flight.fly(0.05)
            assert set_parameters(flight, **{name: option.value}) == [""]

    passed = flight.through(turn_every_knob)
    assert not [said for said in passed.said if "failed" in said]
    passed.record("every running parameter but one is set to both of its limits while tracking")

    def turn_the_last_one() -> None:
        for value in (1000.0, 4.0):
            assert set_parameters(flight, **{SPOILS: value}) == [""]
            flight.fly(1.5)
        assert list(states(flight, -1)) == ["LOST"]
        flight.follow()

    passed = flight.through(turn_the_last_one)
    passed.record("tracker.min_side_px is set to 1000 and back: the operator marks the target anew")


def limits(option: Option) -> Iterator[Any]:
    if option.accepted:
        yield from option.accepted
    elif isinstance(option.value, bool):
        yield from (False, True)
    elif option.low is not None and option.high is not None:
        yield from (type(option.value)(option.low), type(option.value)(option.high))


def test_values_that_are_refused_change_nothing(flight: Flight) -> None:
    before = present(flight)

    def turn_wrongly() -> None:
        for name, option in running_options().items():
            values = list(wrong(option))
            messages = [Parameter(name, value=value).to_parameter_msg() for value in values]
            answer = flight.client.call(SetParameters, f"{TRACKER}/set_parameters", parameters=messages)
            for value, result in zip(values, answer.results, strict=True):
                assert not result.successful and result.reason, (name, value)
            flight.fly(0.05)
        both = [
            Parameter(name, value=value).to_parameter_msg()
            for name, value in {"tracker.lost_after_ms": 10, "session.max_targets": 0}.items()
        ]
        service = f"{TRACKER}/set_parameters_atomically"
        assert not flight.client.call(SetParametersAtomically, service, parameters=both).result.successful

    passed = flight.through(turn_wrongly)
    assert present(flight) == before and passed.states == ("TRACKING",)
    passed.record("parameters are deleted, or set to values of another type or out of range, while tracking")


def wrong(option: Option) -> Iterator[Any]:
    """Values that a parameter does not accept; None deletes it."""
    yield None
    yield ["x"]
    yield 1 if isinstance(option.value, str | bool | float) else "x"
    if isinstance(option.value, float):
        yield from (math.nan, math.inf)
    elif option.accepted:
        yield "x"
    if option.low is not None and option.high is not None:
        kind = type(option.value)
        yield from (kind(option.low - 1), kind(option.high + 1))


def test_fewer_targets_than_there_are(flight: Flight) -> None:
    """Those that are followed stay; no new one is taken until there is room."""
    ids = ["1", "2", "3"]
    for id in ids[1:]:
        assert mark(flight, id=id, box=corner()).success

    def lower() -> None:
        assert set_parameters(flight, session__max_targets=2) == [""]
        flight.fly(0.5)
        assert [target.id for target in flight.statuses[-1].targets] == ids
        for cleared in ids[1:]:
            refused = mark(flight, id="4", box=corner())
            assert not refused.success and "(max_targets = 2): clear one of" in refused.message
            assert mark(flight, id="1").success, "one that is followed may be replaced"
            assert flight.client.call(ClearTarget, f"{TRACKER}/clear_target", id=cleared).success
        assert mark(flight, id="4", box=corner()).success

    try:
        passed = flight.through(lower)
    finally:
        assert set_parameters(flight, session__max_targets=Options().session.max_targets) == [""]
    assert passed.states == ("TRACKING",)
    passed.record("session.max_targets is set below the number of targets")


# Targets.


def test_stamps_that_fit_no_image(flight: Flight) -> None:
    def mark_wrongly() -> None:
        flight.fly(0.5)
        now_ns = stamp_ns(flight.statuses[-1].header.stamp)
        odd_ns, msg = now_ns + 100 * SECOND, flight.shoot()
        flight.know(odd_ns)
        msg.header.stamp = time_msg(odd_ns)
        flight.images.publish(msg)  # leaps in time: it is left out
        flight.fly(0.1)
        for stamp, words in (
            (1, "is older than every image that is kept"),
            (now_ns - 10 * SECOND, "is older than every image that is kept"),
            (now_ns + 10 * SECOND, "is newer than every image that is kept"),
            (odd_ns, "is newer than every image that is kept"),
        ):
            refused = mark(flight, stamp, box=corner(), id="1")
            assert not refused.success and words in refused.message, refused

    passed = flight.through(mark_wrongly)
    assert passed.states == ("TRACKING",)
    assert mark(flight, 0, id="1").success
    passed.record(
        "the operator gives a stamp that is too old, in the future, or of an image that was left out"
    )


def test_a_lost_target_is_marked_again(flight: Flight) -> None:
    assert set_parameters(flight, tracker__redetect=False) == [""]  # it stays LOST until somebody helps
    bring_to(flight, "LOST")
    try:
        passed = flight.through(lambda: wait_until(lambda: mark(flight, id="1", label="new").success, "it"))
    finally:
        assert set_parameters(flight, tracker__redetect=True, tracker__lost_after_ms=1000) == ["", ""]
    (target,) = flight.statuses[-1].targets
    assert (target.id, target.label) == ("1", "new") and passed.states[-1] == "TRACKING"
    passed.record("a LOST target is marked again under its id")


# Machines.


def test_a_machine_that_stalls(flight: Flight) -> None:
    def stall() -> None:
        os.kill(flight.process.pid, signal.SIGSTOP)
        try:
            flight.fly(2.0)
        finally:
            os.kill(flight.process.pid, signal.SIGCONT)

    passed = flight.through(stall)
    assert "none" not in passed.states and passed.states[-1] == "TRACKING"
    passed.record("the process stands still for 2 s (SIGSTOP, SIGCONT)")
