"""Numbers of the last seconds only, by a clock that may jump."""

from __future__ import annotations

import pytest

from distill_tracker_ros.nodes.windows import MOST_ENTRIES, Summary, Window

SECOND = 1_000_000_000


def at_rate(rate_hz: float, seconds: float, start_ns: int = SECOND) -> Window:
    window = Window(5 * SECOND)
    for i in range(int(rate_hz * seconds) + 1):
        window.add(start_ns + round(i * 1e9 / rate_hz))
    return window


@pytest.mark.parametrize("rate_hz", [0.5, 10.0, 30.0, 120.0])
def test_the_rate_is_right_at_once_and_in_the_long_run(rate_hz: float) -> None:
    for seconds in (4.0, 60.0):
        now_ns = SECOND + round(seconds * 1e9)
        assert at_rate(rate_hz, seconds).rate_hz(now_ns) == pytest.approx(rate_hz, rel=0.02)


def test_the_rate_falls_when_nothing_more_comes() -> None:
    window = at_rate(30.0, 10.0)
    end = 11 * SECOND
    rates = [window.rate_hz(end + n * SECOND) for n in range(6)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(30.0, rel=0.01) and rates[2] < 20 and rates[-1] == 0.0


def test_the_rate_of_nothing_and_of_one() -> None:
    window = Window(5 * SECOND)
    assert window.rate_hz(SECOND) == 0.0 and window.newest_ns(SECOND) is None
    window.add(SECOND)
    assert window.rate_hz(SECOND) == 0.0 and window.newest_ns(SECOND) == SECOND
    window.add(SECOND)  # two at the same time
    assert window.rate_hz(SECOND) == 0.0


def test_summary_forgets_what_is_old() -> None:
    window = Window(5 * SECOND)
    for second in range(1, 21):
        window.add(second * SECOND, float(second))
    assert window.summary(20 * SECOND) == Summary(18.0, 20.0, 20.0)
    assert window.count(20 * SECOND) == 5
    assert window.summary(24 * SECOND) == Summary(20.0, 20.0, 20.0)
    assert window.summary(25 * SECOND) is None


def test_p95_of_a_hundred() -> None:
    window = Window(5 * SECOND)
    for value in range(100):
        window.add(SECOND, float(value))
    assert window.summary(SECOND) == Summary(49.5, 94.0, 99.0)


def test_a_clock_that_jumps_back_begins_anew() -> None:
    window = at_rate(30.0, 5.0, start_ns=1000 * SECOND)
    window.add(SECOND, 1.0)
    assert window.count(SECOND) == 1
    window.add(2 * SECOND, 3.0)
    assert window.summary(2 * SECOND) == Summary(2.0, 3.0, 3.0)


def test_after_a_jump_back_a_reader_sees_nothing_of_the_future() -> None:
    window = at_rate(30.0, 5.0, start_ns=1000 * SECOND)
    assert window.count(500 * SECOND) == 0 and window.rate_hz(500 * SECOND) == 0.0
    assert window.newest_ns(500 * SECOND) is None


def test_a_reader_a_little_behind_the_writer_forgets_nothing() -> None:
    window = at_rate(30.0, 5.0)
    assert window.count(6 * SECOND - 1_000_000) == 150
    assert window.newest_ns(6 * SECOND - 1_000_000) == 6 * SECOND


def test_a_clock_that_stands_still_does_not_fill_the_memory() -> None:
    window = Window(5 * SECOND)
    for value in range(3 * MOST_ENTRIES):
        window.add(0, float(value))
    assert window.count(0) == MOST_ENTRIES
    assert window.summary(0).worst == 3 * MOST_ENTRIES - 1  # type: ignore[union-attr]
