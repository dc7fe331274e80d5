"""Clocks that stand still, jump, or never come, and recordings that begin again."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import itertools
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from flight import FEW, Flight, begin_anew
from ros_harness import RELIABLE, Client, NodeProcess, running, time_msg
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from waiting import wait_until

from distill_tracker_ros.messages import stamp_ns

pytestmark = pytest.mark.ros

SECOND = 1_000_000_000
TICK_S = 0.01
_begins_ns = itertools.count(100_000 * SECOND, 100_000 * SECOND)  # of each flight after the one before


class SimulatedFlight(Flight):
    """One whose images are stamped by a clock that can jump; `ticks` says whether it comes on /clock."""

    def __init__(self, client: Client, node: NodeProcess, ticks: bool = True) -> None:
        self.ticks, self._zero_ns = ticks, next(_begins_ns) - time.monotonic_ns()
        super().__init__(client, node)
        self.clock = client.node.create_publisher(Clock, "/clock", RELIABLE)
        client.node.create_timer(TICK_S, self._tick)

    @property
    def now_ns(self) -> int:
        return self._zero_ns + time.monotonic_ns()

    def jump(self, seconds: float) -> None:
        self._zero_ns += round(seconds * SECOND)

    def _tick(self) -> None:
        if self.ticks:
            self.clock.publish(Clock(clock=time_msg(self.now_ns)))


@pytest.fixture
def without_clock(client: Client, bundle: Path, tmp_path: Path) -> Iterator[Flight]:
    """One whose node waits for /clock in vain; to be used before `node`, which has the same name."""
    settings = {"model": str(bundle), "autostart": True, "use_sim_time": True}
    with running("tracker_node", tmp_path, **settings) as process:
        yield Flight(client, process)
        assert process.alive, process.output


def test_a_clock_that_never_comes(without_clock: Flight) -> None:
    """Images have stamps: the target is followed."""
    passed = without_clock.through(lambda: without_clock.follow() or without_clock.fly(2))
    assert any("use_sim_time is set, but no time has come on /clock" in said for said in passed.said)
    assert passed.states == ("none", "TRACKING")
    passed.record("/clock never comes (use_sim_time); then a target is marked")


def test_neither_a_clock_nor_stamps(without_clock: Flight) -> None:
    without_clock.follow()

    def spoil(msg: Image, number: int) -> Iterable[Image]:
        without_clock.know(0)
        msg.header.stamp = time_msg(0)
        return [msg]

    passed = without_clock.through(lambda: without_clock.fly(2, spoil))
    assert passed.states == ("TRACKING",) and passed.frames_lost <= FEW
    passed.record("images have no stamp, and /clock never comes (use_sim_time), for 2 s")


@pytest.fixture
def simulated(client: Client, node: NodeProcess) -> Iterator[SimulatedFlight]:
    flight = SimulatedFlight(client, node)
    begin_anew(client, use_sim_time=True)
    told = client.listen(DiagnosticArray, "/diagnostics")
    wait_until(
        lambda: told and abs(stamp_ns(told[-1].header.stamp) - flight.now_ns) < SECOND, "the node's clock"
    )
    flight.follow()
    yield flight
    assert node.alive, node.output


def test_the_clock_stands_still(simulated: SimulatedFlight) -> None:
    """Images are tracked on by their own stamps; diagnostics cannot measure times, and say so."""

    def stand_still() -> None:
        simulated.ticks = False
        simulated.fly(3)
        simulated.ticks = True

    passed = simulated.through(stand_still)
    # A WARN, under an ERROR if the silence before the first image is still held.
    assert any("input: the clock stands still" in said for said in passed.said), passed.said
    assert passed.states == ("TRACKING",) and passed.frames_lost <= FEW
    passed.record("/clock stands still for 3 s while images come (use_sim_time)")


def test_the_clock_jumps_back(simulated: SimulatedFlight) -> None:
    """A recording that begins again: what was followed is not there any more, and can be marked anew."""
    passed = simulated.through(lambda: simulated.jump(-5), comes_back=False)
    assert re.match(
        r"the clock jumped by -(4.9|5.0).*: 1 target\(s\) dropped", simulated.statuses[-1].message
    )
    assert passed.states[-1] == "none"
    simulated.follow()
    passed.record("the clock jumps back by 5 s (use_sim_time)")


def test_the_clock_jumps_ahead(simulated: SimulatedFlight) -> None:
    passed = simulated.through(lambda: simulated.jump(60))
    assert any("the stamp leaps by +60." in said for said in passed.said)
    assert passed.states == ("TRACKING",) and passed.frames_lost <= FEW
    passed.record("the clock jumps ahead by 60 s (use_sim_time)")


def test_two_clocks_that_differ_a_little(simulated: SimulatedFlight) -> None:
    """No recording begins again a few milliseconds back."""
    behind = simulated.client.node.create_timer(
        0.2, lambda: simulated.clock.publish(Clock(clock=time_msg(simulated.now_ns - 20_000_000)))
    )
    passed = simulated.through(lambda: simulated.fly(2) or behind.cancel(), deadline_s=3)
    assert passed.states == ("TRACKING",)
    passed.record("/clock steps back by 20 ms five times a second (use_sim_time)")


def test_a_recording_that_begins_again_twice(client: Client, node: NodeProcess) -> None:
    """With the clock on the wall: only its stamps go back."""
    begin_anew(client)
    flight = SimulatedFlight(client, node, ticks=False)
    flight.follow()

    def begin_again() -> None:
        flight.fly(1)
        flight.jump(-3)
        flight.fly(0.3)
        assert re.match(r"time went back by 2.\d* s: 1 target\(s\) dropped", flight.statuses[-1].message)
        flight.follow()

    passed = flight.through(lambda: begin_again() or begin_again())
    assert passed.states == ("TRACKING", "none", "TRACKING", "none", "TRACKING")
    passed.record("a recording begins again, twice, and the target is marked anew each time (wall clock)")
