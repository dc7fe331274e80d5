"""What is said about which numbers, and at which level."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from stub_engine import StubEngine

pytest.importorskip("diagnostic_msgs.msg", reason="diagnostic_msgs is missing: it comes with ROS 2")

from diagnostic_msgs.msg import DiagnosticStatus  # noqa: E402

from distill_tracker_ros.core.frame import ArrayFrame  # noqa: E402
from distill_tracker_ros.core.session import Target  # noqa: E402
from distill_tracker_ros.core.tracker import Track, TrackState  # noqa: E402
from distill_tracker_ros.nodes import diagnostics  # noqa: E402
from distill_tracker_ros.nodes.diagnostics import (  # noqa: E402
    NAMES,
    EngineUse,
    Events,
    Finding,
    Source,
    Stored,
    statuses,
)
from distill_tracker_ros.nodes.resources import Resources  # noqa: E402
from distill_tracker_ros.nodes.thresholds import DiagnosticsConfig  # noqa: E402
from distill_tracker_ros.nodes.tracking import Arrival, Counts, Followed, Outcome  # noqa: E402
from distill_tracker_ros.runtime.load import Loaded  # noqa: E402

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
SECOND = 1_000_000_000
NOW = 1000 * SECOND
SOURCE = Source("/cam/image", "best_effort", 1)
USUAL = DiagnosticsConfig()
AT_ONCE = DiagnosticsConfig(raise_s=0.0, hold_s=0.0)


def outcome(*followed: Followed) -> Outcome:
    frame = ArrayFrame(np.zeros((480, 640, 3), np.uint8))
    return Outcome(Arrival(SimpleNamespace(encoding="bgr8"), NOW), frame, followed, 5_000_000, 3_000_000)


def followed(id: str, state: TrackState, seen_ns: int = NOW, label: str = "", reason: str = "") -> Followed:
    track = Track(np.array([1.0, 2, 3, 4]), 0.5, state, NOW, seen_ns, 9, reason)
    return Followed(Target(id, label), track, 0)


def streaming(rate_hz: float = 20.0, until_ns: int = NOW) -> Events:
    events = Events(began_ns=until_ns - 10 * SECOND, processed=outcome())
    for back in range(int(9 * rate_hz), -1, -1):
        events.arrivals.add(until_ns - round(back * 1e9 / rate_hz))
    return events


def at_once(finding: Finding) -> DiagnosticStatus:
    """The status of what was found, without a past."""
    return next(s for s in statuses(NOW, [finding], Events(), AT_ONCE, "") if s.name == finding.name)


def examined(
    now_ns: int, events: Events, counts: Counts | None = None, config: DiagnosticsConfig = USUAL
) -> DiagnosticStatus:
    return at_once(diagnostics.examine_input(now_ns, events, counts or Counts(), SOURCE, config))


def values(status: DiagnosticStatus) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


class TestInput:
    def test_all_is_well(self) -> None:
        status = examined(NOW, streaming(), Counts(received=7, dropped=2))
        assert (status.level, status.message) == (OK, "20.0 images/s of bgr8 640x480")
        got = values(status)
        assert (got["received"], got["dropped"], got["rate_hz"], got["topic"]) == (
            "7",
            "2",
            "20.00",
            "/cam/image",
        )

    def test_silence(self) -> None:
        status = examined(NOW + 2 * SECOND, streaming())
        expected = "no image for 2.0 s on /cam/image, which has 1 publisher(s)"
        assert (status.level, status.message) == (ERROR, expected)
        patient = DiagnosticsConfig(silence_s=2.5)
        assert examined(NOW + 2 * SECOND, streaming(), config=patient).level == OK

    def test_silence_from_the_start(self) -> None:
        status = examined(NOW, Events(began_ns=NOW - 3 * SECOND))
        assert status.level == ERROR and status.message.startswith("no image for 3.0 s")
        assert examined(NOW, Events(began_ns=NOW)).level == OK

    def test_two_cameras_on_one_topic(self) -> None:
        source = Source("/cam/image", "best_effort", 2)
        status = at_once(diagnostics.examine_input(NOW, streaming(), Counts(), source, USUAL))
        expected = "2 publishers send on /cam/image: their pictures are mixed"
        assert status.level == WARN and status.message.startswith(expected)

    def test_a_clock_that_stands_still(self) -> None:
        events, levels = streaming(), []
        for at_ns in (NOW, NOW, NOW + SECOND):
            finding = diagnostics.examine_input(at_ns, events, Counts(), SOURCE, AT_ONCE)
            status = next(s for s in statuses(at_ns, [finding], events, AT_ONCE, "") if s.name == "input")
            levels.append(status.level)
            assert ("the clock stands still" in status.message) is (status.level == WARN)
        assert levels == [OK, WARN, OK]

    def test_a_slow_camera_is_not_silent(self) -> None:
        assert examined(NOW + 3 * SECOND, streaming(rate_hz=1.0)).level == OK

    def test_a_camera_that_is_slower_than_it_should_be(self) -> None:
        expected = DiagnosticsConfig(least_rate_hz=25.0)
        status = examined(NOW, streaming(20.0), config=expected)
        assert (status.level, status.message) == (WARN, "20.0 images/s: at least 25 are expected")
        assert examined(NOW, streaming(25.5), config=expected).level == OK

    @pytest.mark.parametrize(("dropped", "level"), [(49, OK), (51, WARN)])
    def test_images_that_come_too_fast(self, dropped: int, level: bytes) -> None:
        events = streaming()
        for _ in range(dropped):
            events.drops.add(NOW)
        status = examined(NOW, events)
        assert status.level == level and values(status)["dropped_share"] == f"{dropped / 100:.2f}"
        if level == WARN:
            told = "51% of the images were dropped: they come faster than the tracker is"
            assert status.message == told
        assert examined(NOW, events, config=DiagnosticsConfig(most_dropped=1.0)).level == OK

    @pytest.mark.parametrize(("rejected", "level"), [(1, WARN), (500, ERROR)])
    def test_unusable_images(self, rejected: int, level: bytes) -> None:
        events = streaming()
        events.rejection = "too purple"
        for _ in range(rejected):
            events.rejections.add(NOW)
        status = examined(NOW, events)
        assert (status.level, status.message) == (level, f"{rejected} image(s) could not be used: too purple")
        later = examined(NOW + 6 * SECOND, events)
        assert "purple" not in later.message and values(later)["last_rejection"] == "too purple"

    def test_every_problem_is_told_and_the_worst_counts(self) -> None:
        events = streaming()
        events.unstamped.add(NOW)
        events.incompatible_qos = "other QoS"
        status = examined(NOW + 2 * SECOND, events)
        assert status.level == ERROR
        assert [
            part in status.message for part in ("no image for", "other QoS", "1 image(s) had no stamp")
        ] == [True] * 3

    def test_no_clock(self) -> None:
        status = examined(0, Events())
        assert status.level == WARN and "no time has come on /clock" in status.message

    def test_a_clock_that_went_back(self) -> None:
        """What was before counts no more: neither as images nor as their absence."""
        events = streaming()
        events.rejections.add(NOW)
        assert examined(NOW - 500 * SECOND, events).level == OK
        events.began_ns = NOW - 500 * SECOND
        assert "no image for 3.0 s" in examined(NOW - 497 * SECOND, events).message


class TestEngine:
    loaded = Loaded(StubEngine(), "onnxruntime", "CPU", ("there is no GPU",))

    def examined(self, now_ns: int, events: Events, **use: object) -> DiagnosticStatus:
        return at_once(diagnostics.examine_engine(now_ns, events, self.loaded, EngineUse(**use)))  # type: ignore[arg-type]

    def test_it_runs(self) -> None:
        fine = self.examined(NOW, Events(), in_use_s=61.7)
        assert (fine.level, fine.message) == (OK, "stub on onnxruntime")
        told = values(fine)
        assert (told["device"], told["not_faster_because"]) == ("CPU", "there is no GPU")
        assert (told["in_use_s"], told["not_the_first_because"]) == ("62", "")

    def test_it_failed(self) -> None:
        events = Events(failure="device lost")
        events.failures.add(NOW)
        broken = self.examined(NOW, events)
        assert (broken.level, broken.message) == (ERROR, "device lost")
        mended = self.examined(NOW + 6 * SECOND, events)
        assert mended.level == OK and values(mended)["last_failure"] == "device lost"

    def test_it_hangs(self) -> None:
        status = self.examined(NOW, Events(), trouble="a call has not returned for 2 s")
        assert (status.level, status.message) == (ERROR, "a call has not returned for 2 s")

    def test_it_is_not_the_first(self) -> None:
        status = self.examined(NOW, Events(), replaced="it hung: onnxruntime took over")
        assert (status.level, status.message) == (WARN, "it hung: onnxruntime took over")
        assert values(status)["not_the_first_because"] == "it hung: onnxruntime took over"

    def test_it_could_not_be_loaded(self) -> None:
        status = at_once(diagnostics.failed("engine", "no model 'x'"))
        assert (status.level, status.message) == (ERROR, "no model 'x'")


class TestLatency:
    def events(self, *latencies_ms: float) -> Events:
        events = Events()
        for ms in latencies_ms or (10.0, 20.0, 90.0):
            events.latency_ms.add(NOW, ms)
            events.processing_ms.add(NOW, ms / 5)
            events.engine_ms.add(NOW, ms / 10)
            events.node_ms.add(NOW, ms / 100)
        return events

    def examined(
        self, events: Events, budget_ms: float = 50.0, config: DiagnosticsConfig = USUAL
    ) -> DiagnosticStatus:
        return at_once(diagnostics.examine_latency(NOW, events, budget_ms, config))

    def test_within_the_budget(self) -> None:
        status = self.examined(self.events())
        assert (status.level, status.message) == (OK, "results are 20.0 ms old")
        got = values(status)
        assert (got["latency_ms_worst"], got["engine_ms_median"], got["node_ms_median"]) == (
            "90.000",
            "2.000",
            "0.200",
        )
        assert (got["processing_ms_p95"], got["latency_ms_p95"]) == ("18.000", "90.000")

    def test_over_the_budget(self) -> None:
        status = self.examined(self.events(), 15.0)
        assert (status.level, status.message) == (
            WARN,
            "results are 20.0 ms old: more than the budget of 15 ms",
        )
        assert self.examined(self.events(), 0.0).level == OK

    def test_a_few_that_are_old(self) -> None:
        often_late = self.events(*[20.0] * 18, 260.0, 270.0)
        status = self.examined(often_late)
        assert (status.level, status.message) == (
            WARN,
            "5 % of the results are 260.0 ms old: more than 250 ms",
        )
        assert self.examined(often_late, config=DiagnosticsConfig(latency_p95_ms=0.0)).level == OK
        assert self.examined(self.events(*[20.0] * 99, 9000.0)).level == OK

    def test_too_much_work(self) -> None:
        status = self.examined(self.events(), config=DiagnosticsConfig(processing_p95_ms=17.0))
        assert (status.level, status.message) == (WARN, "5 % of the images took 18.0 ms: more than 17 ms")
        assert self.examined(self.events(), config=DiagnosticsConfig(processing_p95_ms=19.0)).level == OK

    def test_stamps_of_the_future(self) -> None:
        status = self.examined(self.events(-5000.0))
        assert (status.level, status.message) == (
            WARN,
            "stamps lie 5000.0 ms in the future: the camera has another clock",
        )
        assert self.examined(self.events(-3.0)).level == OK

    def test_unknown(self) -> None:
        assert "unknown" in self.examined(Events()).message


def test_targets() -> None:
    def examined(*targets: Followed) -> DiagnosticStatus:
        return at_once(diagnostics.examine_targets(Events(processed=outcome(*targets))))

    assert at_once(diagnostics.examine_targets(Events())).message == "0 target(s)"
    good = followed("a", TrackState.TRACKING, label="red car")
    lost = followed("b", TrackState.LOST, seen_ns=NOW - 2 * SECOND, reason="it left at the right")
    status = examined(good, lost)
    assert (status.level, status.message) == (WARN, "2 target(s), 1 of them lost")
    assert values(status) == {
        "target 'a'": "red car: TRACKING, confidence 0.50, seen 0.00 s before the last image",
        "target 'b'": "LOST, confidence 0.50, seen 2.00 s before the last image: it left at the right",
    }
    assert examined(good).level == OK


def test_targets_with_hostile_names_each_have_a_line_of_their_own() -> None:
    names = ["a\nb", "a\\nb", "x" * 256, "x" * 255 + "y", "\x1b[2J"]
    targets = [followed(name, TrackState.TRACKING, label="\x1b[31m" + "z" * 250) for name in names]
    found = values(at_once(diagnostics.examine_targets(Events(processed=outcome(*targets)))))
    assert len(found) == 5 and all(key.isprintable() and text.isprintable() for key, text in found.items())


def test_store() -> None:
    status = at_once(diagnostics.examine_store({"a": Stored(7, 3.21), "b": Stored(0, None)}))
    assert (status.level, status.message) == (OK, "7 view(s) of 2 target(s)")
    assert values(status) == {
        "target 'a'": "7 view(s), template refreshed 3.2 s before the last image",
        "target 'b'": "0 view(s), template never refreshed",
    }


class TestNode:
    now = Resources(memory_mb=321.5, descriptors=40, threads=12)

    def examined(
        self, now: Resources | None, events: Events, memory_mb: float = 4096.0, **told: str
    ) -> DiagnosticStatus:
        return at_once(diagnostics.examine_node(now, events, DiagnosticsConfig(memory_mb=memory_mb), **told))

    def test_what_the_process_holds(self) -> None:
        events = Events(began_with=Resources(300.0, 30, 10))
        status = self.examined(self.now, events)
        assert (status.level, status.message) == (OK, "322 MB in memory")
        assert values(status) == {
            "memory_mb": "321.5",
            "memory_growth_mb": "21.5",
            "descriptors": "40",
            "threads": "12",
        }

    def test_too_much_memory(self) -> None:
        status = self.examined(self.now, Events(), memory_mb=300.0)
        assert (status.level, status.message) == (WARN, "322 MB in memory: more than 300")
        assert self.examined(self.now, Events(), memory_mb=0.0).level == OK

    def test_another_of_its_name(self) -> None:
        status = self.examined(self.now, Events(), namesake="two nodes are named /tracker")
        assert (status.level, status.message) == (ERROR, "two nodes are named /tracker")

    def test_targets_that_cannot_be_kept(self) -> None:
        status = self.examined(self.now, Events(), not_kept="the disk is full")
        assert (status.level, status.message) == (WARN, "the disk is full")

    def test_a_system_that_does_not_tell(self) -> None:
        status = self.examined(None, Events())
        assert (status.level, status.message) == (OK, "memory is unknown: /proc is missing")


class TestOverTime:
    def told(self, second: float, events: Events, *findings: Finding) -> dict[str, DiagnosticStatus]:
        found = statuses(NOW + round(second * SECOND), findings, events, USUAL, "the node is inactive")
        assert tuple(status.name for status in found) == NAMES
        return {status.name: status for status in found}

    def test_there_is_always_a_status_for_everything(self) -> None:
        idle = self.told(0, Events())
        assert {(s.level, s.message) for s in idle.values()} == {(OK, "the node is inactive")}
        (broken,) = [
            s for s in self.told(0, Events(), diagnostics.failed("engine", "x")).values() if s.level != OK
        ]
        assert broken.name == "engine"

    def test_a_rate_that_flaps_is_no_alarm_and_one_that_stays_low_is(self) -> None:
        events, config = Events(), DiagnosticsConfig(least_rate_hz=25.0)

        def rate(second: int, hz: float) -> DiagnosticStatus:
            now_ns = NOW + second * SECOND
            finding = diagnostics.examine_input(now_ns, streaming(hz, now_ns), Counts(), SOURCE, config)
            return self.told(second, events, finding)["input"]

        assert [rate(s, 26.0 if s % 2 else 24.0).level for s in range(20)] == [OK] * 20
        assert [rate(s, 24.0).level for s in range(20, 24)] == [OK, OK, WARN, WARN]
        assert (
            rate(23, 26.0).message == "OK again for 0 s of 5 after: 24.0 images/s: at least 25 are expected"
        )
        assert [rate(s, 26.0).level for s in range(24, 29)] == [WARN] * 4 + [OK]

    def test_a_target_that_comes_and_goes(self) -> None:
        events = Events()
        levels = []
        for second in range(20):
            state = TrackState.LOST if second in (3, 5, 7) else TrackState.TRACKING
            events.processed = outcome(followed("a", state))
            levels.append(self.told(second, events, diagnostics.examine_targets(events))["targets"].level)
        assert levels == [OK] * 3 + [WARN] * 10 + [OK] * 7

    def test_each_status_has_its_own_past(self) -> None:
        events = Events(processed=outcome(followed("a", TrackState.LOST)))
        broken = diagnostics.failed("engine", "device lost")
        self.told(0, events, broken, diagnostics.examine_targets(events))
        events.processed = None
        after = self.told(1, events, diagnostics.examine_targets(events))
        assert after["targets"].message == "OK again for 0 s of 5 after: 1 target(s), 1 of them lost"
        assert (after["engine"].level, after["engine"].message) == (OK, "the node is inactive")
