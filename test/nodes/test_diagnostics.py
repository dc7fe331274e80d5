"""What is said about which numbers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from stub_engine import StubEngine

pytest.importorskip("diagnostic_msgs.msg", reason="diagnostic_msgs is missing: it comes with ROS 2")

from distill_tracker_ros.core.frame import ArrayFrame  # noqa: E402
from distill_tracker_ros.core.session import Target  # noqa: E402
from distill_tracker_ros.core.tracker import Track, TrackState  # noqa: E402
from distill_tracker_ros.nodes import diagnostics  # noqa: E402
from distill_tracker_ros.nodes.diagnostics import ERROR, OK, WARN, Events, Source  # noqa: E402
from distill_tracker_ros.nodes.tracking import Arrival, Counts, Followed, Outcome  # noqa: E402
from distill_tracker_ros.runtime.load import Loaded  # noqa: E402

SECOND = 1_000_000_000
NOW = 1000 * SECOND
SOURCE = Source("/cam/image", "best_effort", 1)


def outcome(*followed: Followed) -> Outcome:
    frame = ArrayFrame(np.zeros((480, 640, 3), np.uint8))
    return Outcome(Arrival(SimpleNamespace(encoding="bgr8"), NOW), frame, followed, 5_000_000, 3_000_000)


def followed(id: str, state: TrackState, seen_ns: int = NOW) -> Followed:
    track = Track(np.array([1.0, 2, 3, 4]), 0.5, state, NOW, seen_ns, 9)
    return Followed(Target(id, ""), track, 0)


def streaming(rate_hz: float = 20.0, until_ns: int = NOW) -> Events:
    events = Events(began_ns=until_ns - 10 * SECOND, processed=outcome())
    for back in range(int(9 * rate_hz), -1, -1):
        events.arrivals.add(until_ns - round(back * 1e9 / rate_hz))
    return events


def values(status: object) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}  # type: ignore[attr-defined]


class TestInput:
    def test_all_is_well(self) -> None:
        status = diagnostics.input_status(NOW, streaming(), Counts(received=7, dropped=2), SOURCE)
        assert (status.level, status.message) == (OK, "20.0 images/s of bgr8 640x480")
        got = values(status)
        assert (got["received"], got["dropped"], got["rate_hz"], got["topic"]) == (
            "7",
            "2",
            "20.00",
            "/cam/image",
        )

    def test_silence(self) -> None:
        status = diagnostics.input_status(NOW + 2 * SECOND, streaming(), Counts(), SOURCE)
        expected = "no image for 2.0 s on /cam/image, which has 1 publisher(s)"
        assert (status.level, status.message) == (ERROR, expected)

    def test_silence_from_the_start(self) -> None:
        status = diagnostics.input_status(NOW, Events(began_ns=NOW - 3 * SECOND), Counts(), SOURCE)
        assert status.level == ERROR and status.message.startswith("no image for 3.0 s")
        assert diagnostics.input_status(NOW, Events(began_ns=NOW), Counts(), SOURCE).level == OK

    def test_a_slow_camera_is_not_silent(self) -> None:
        events = streaming(rate_hz=1.0)
        assert diagnostics.input_status(NOW + 3 * SECOND, events, Counts(), SOURCE).level == OK

    @pytest.mark.parametrize(("rejected", "level"), [(1, WARN), (500, ERROR)])
    def test_unusable_images(self, rejected: int, level: bytes) -> None:
        events = streaming()
        events.rejection = "too purple"
        for _ in range(rejected):
            events.rejections.add(NOW)
        status = diagnostics.input_status(NOW, events, Counts(), SOURCE)
        assert (status.level, status.message) == (level, f"{rejected} image(s) could not be used: too purple")
        later = diagnostics.input_status(NOW + 6 * SECOND, events, Counts(), SOURCE)
        assert "purple" not in later.message and values(later)["last_rejection"] == "too purple"

    def test_every_problem_is_told_and_the_worst_counts(self) -> None:
        events = streaming()
        events.unstamped.add(NOW)
        events.incompatible_qos = "other QoS"
        status = diagnostics.input_status(NOW + 2 * SECOND, events, Counts(), SOURCE)
        assert status.level == ERROR
        assert [
            part in status.message for part in ("no image for", "other QoS", "1 image(s) had no stamp")
        ] == [True] * 3

    def test_no_clock(self) -> None:
        status = diagnostics.input_status(0, Events(), Counts(), SOURCE)
        assert status.level == WARN and "no time has come on /clock" in status.message

    def test_a_clock_that_went_back_is_no_silence(self) -> None:
        assert diagnostics.input_status(NOW - 500 * SECOND, streaming(), Counts(), SOURCE).level == OK


def test_engine() -> None:
    events = Events()
    loaded = Loaded(StubEngine(), "onnxruntime", "CPU", ("there is no GPU",))
    fine = diagnostics.engine_status(NOW, events, loaded)
    assert fine.message == "stub on onnxruntime"
    told = values(fine)
    assert (told["device"], told["not_faster_because"]) == ("CPU", "there is no GPU")
    events.failure = "device lost"
    events.failures.add(NOW)
    broken = diagnostics.engine_status(NOW, events, loaded)
    assert (broken.level, broken.message) == (ERROR, "device lost")
    mended = diagnostics.engine_status(NOW + 6 * SECOND, events, loaded)
    assert mended.level == OK and values(mended)["last_failure"] == "device lost"


class TestLatency:
    def events(self) -> Events:
        events = Events()
        for ms in (10.0, 20.0, 90.0):
            events.latency_ms.add(NOW, ms)
            events.engine_ms.add(NOW, ms / 10)
            events.node_ms.add(NOW, ms / 100)
        return events

    def test_within_the_budget(self) -> None:
        status = diagnostics.latency_status(NOW, self.events(), 50.0)
        assert (status.level, status.message) == (OK, "results are 20.0 ms old")
        got = values(status)
        assert (got["latency_ms_worst"], got["engine_ms_median"], got["node_ms_median"]) == (
            "90.000",
            "2.000",
            "0.200",
        )

    def test_over_the_budget(self) -> None:
        status = diagnostics.latency_status(NOW, self.events(), 15.0)
        assert (status.level, status.message) == (
            WARN,
            "results are 20.0 ms old: more than the budget of 15 ms",
        )
        assert diagnostics.latency_status(NOW, self.events(), 0.0).level == OK

    def test_unknown(self) -> None:
        assert "unknown" in diagnostics.latency_status(NOW, Events(), 15.0).message


def test_targets() -> None:
    assert diagnostics.targets_status(NOW, Events()).message == "0 target(s)"
    good = followed("a", TrackState.TRACKING)
    lost = followed("b", TrackState.LOST, seen_ns=NOW - 2 * SECOND)
    status = diagnostics.targets_status(NOW, Events(processed=outcome(good, lost)))
    assert (status.level, status.message) == (WARN, "2 target(s), 1 of them lost")
    assert values(status) == {
        "target a": "TRACKING, confidence 0.50, seen 0.00 s before the last image",
        "target b": "LOST, confidence 0.50, seen 2.00 s before the last image",
    }
    assert diagnostics.targets_status(NOW, Events(processed=outcome(good))).level == OK
