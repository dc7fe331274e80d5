"""Levels that rise when a problem lasts and fall when it has been gone for a while."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_tracker_ros.nodes.hysteresis import ERROR, OK, WARN, Alarms, Hysteresis, Problem

SECOND = 1_000_000_000
HOLD_S, RAISE_S = 5.0, 2.0


def told(levels: list[int], raise_s: float = 0.0, hold_s: float = HOLD_S) -> list[int]:
    """What is told if these levels are observed once a second."""
    hysteresis = Hysteresis()
    return [hysteresis.update(s * SECOND, level, raise_s, hold_s).level for s, level in enumerate(levels)]


class TestHysteresis:
    @pytest.mark.parametrize(
        ("observed", "expected"),
        [
            ([0, 1, 0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1, 1, 0]),
            ([0, 2, 1, 1, 1, 1, 1, 1, 0], [0, 2, 2, 2, 2, 2, 2, 1, 1]),
            ([2, 0, 0, 0, 0, 0], [2, 2, 2, 2, 2, 2]),
            ([2, 0, 0, 0, 0, 0, 0], [2, 2, 2, 2, 2, 2, 0]),
            ([2, 0, 0, 0, 1, 0, 0], [2, 2, 2, 2, 2, 2, 1]),  # better than an error, but not well for long
        ],
    )
    def test_up_at_once_and_down_late(self, observed: list[int], expected: list[int]) -> None:
        assert told(observed) == expected

    def test_up_when_it_lasts(self) -> None:
        assert told([0, 1, 1, 0, 1, 1, 1, 2, 2, 2], RAISE_S) == [0, 0, 0, 0, 0, 0, 1, 1, 1, 2]

    def test_a_level_that_flaps_is_told_once(self) -> None:
        assert told([0, 1] * 500) == [0] + [1] * 999
        assert told([0, 1] * 500, RAISE_S) == [0] * 1000

    def test_neither_delay(self) -> None:
        levels = [0, 2, 1, 0, 2, 0, 1]
        assert told(levels, 0.0, 0.0) == levels

    def test_how_long_it_has_been_better(self) -> None:
        hysteresis = Hysteresis()
        observed = [2, 1, 1, 0, 2, 0]
        held = [
            hysteresis.update(s * SECOND, level, 0.0, HOLD_S).better_for_s for s, level in enumerate(observed)
        ]
        assert held == [0.0, 0.0, 1.0, 2.0, 0.0, 0.0]

    def test_a_time_that_goes_back_begins_anew(self) -> None:
        hysteresis = Hysteresis()
        assert hysteresis.update(100 * SECOND, ERROR, 0.0, HOLD_S).level == ERROR
        assert hysteresis.update(50 * SECOND, OK, 0.0, HOLD_S) == (OK, 0.0)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Times in ns that go forward, and the levels observed then."""
    gaps = st.integers(0, 4 * SECOND)
    steps = draw(st.lists(st.tuples(gaps, st.sampled_from([OK, WARN, ERROR])), max_size=40))
    now_ns, history = 0, []
    for gap_ns, level in steps:
        now_ns += gap_ns
        history.append((now_ns, level))
    return history


class TestAnyHistory:
    @settings(deadline=None)
    @given(histories())
    def test_told_is_the_worst_of_the_time_held(self, history: list[tuple[int, int]]) -> None:
        """Never better than what is observed; a level falls if, and only if, all was better for so long."""
        hysteresis, before = Hysteresis(), OK
        for i, (now_ns, level) in enumerate(history):
            held = hysteresis.update(now_ns, level, 0.0, HOLD_S)
            assert held.level >= level
            since_ns = now_ns - round(HOLD_S * 1e9)
            began = max((k for k in range(i + 1) if history[k][0] <= since_ns), default=None)
            if began is not None:
                assert held.level <= max(level for _, level in history[began : i + 1])
            if held.level < before:
                assert began is not None
                recent = [level for at_ns, level in history[: i + 1] if at_ns > since_ns]
                assert max(recent) < before
            before = held.level

    @settings(deadline=None)
    @given(histories())
    def test_a_rise_needs_the_level_for_all_that_time(self, history: list[tuple[int, int]]) -> None:
        hysteresis, before = Hysteresis(), OK
        for i, (now_ns, level) in enumerate(history):
            held = hysteresis.update(now_ns, level, RAISE_S, HOLD_S).level
            if held > before:
                since_ns = now_ns - round(RAISE_S * 1e9)
                assert min(level for at_ns, level in history[: i + 1] if at_ns >= since_ns) >= held
            before = held

    @settings(deadline=None)
    @given(histories(), st.sampled_from([0.0, RAISE_S]))
    def test_it_does_not_flap(self, history: list[tuple[int, int]], raise_s: float) -> None:
        """Between a rise and the next fall lies the time for which a level is held."""
        hysteresis, before, rose_ns = Hysteresis(), OK, 0
        for now_ns, level in history:
            held = hysteresis.update(now_ns, level, raise_s, HOLD_S).level
            if held > before:
                rose_ns = now_ns
            if held < before:
                assert now_ns - rose_ns >= HOLD_S * 1e9
            before = held

    @settings(deadline=None)
    @given(histories())
    def test_what_is_better_is_said(self, history: list[tuple[int, int]]) -> None:
        hysteresis = Hysteresis()
        for now_ns, level in history:
            held = hysteresis.update(now_ns, level, RAISE_S, HOLD_S)
            assert 0.0 <= held.better_for_s < HOLD_S
            if held.better_for_s:
                assert level < held.level


class TestAlarms:
    def judge(self, alarms: Alarms, second: int, *problems: Problem) -> tuple[int, list[str]]:
        return alarms.judge(second * SECOND, problems, RAISE_S, HOLD_S)

    def test_each_problem_has_its_own_time(self) -> None:
        alarms = Alarms()
        silent, slow = Problem("silence", ERROR, "no image"), Problem("rate", WARN, "too slow", spiky=True)
        assert self.judge(alarms, 0) == (OK, [])
        assert self.judge(alarms, 1, silent, slow) == (ERROR, ["no image"])
        assert self.judge(alarms, 3, slow) == (ERROR, ["too slow", "OK again for 0 s of 5 after: no image"])
        assert self.judge(alarms, 7, slow) == (ERROR, ["too slow", "OK again for 4 s of 5 after: no image"])
        assert self.judge(alarms, 8) == (WARN, ["OK again for 0 s of 5 after: too slow"])
        assert self.judge(alarms, 13) == (OK, [])

    def test_the_worst_is_remembered_beside_the_present(self) -> None:
        alarms = Alarms()
        self.judge(alarms, 0, Problem("rejected", ERROR, "all of 9"))
        assert self.judge(alarms, 1, Problem("rejected", WARN, "1 of 9")) == (
            ERROR,
            ["1 of 9", "better for 0 s of 5 after: all of 9"],
        )
        assert self.judge(alarms, 6, Problem("rejected", WARN, "2 of 9")) == (WARN, ["2 of 9"])

    def test_a_spike_is_not_told(self) -> None:
        alarms, slow = Alarms(), Problem("rate", WARN, "too slow", spiky=True)
        found = [self.judge(alarms, s, *([slow] if s % 2 else [])) for s in range(20)]
        assert found == [(OK, [])] * 20

    def test_nothing_is_kept_of_what_is_over(self) -> None:
        alarms = Alarms()
        for second in range(0, 100, 10):
            self.judge(alarms, second, Problem(f"key {second}", WARN, "x"))
        assert self.judge(alarms, 200)[1] and self.judge(alarms, 300) == (OK, [])
        assert not alarms._known

    def test_a_clock_that_goes_back_forgets_the_past(self) -> None:
        alarms = Alarms()
        assert self.judge(alarms, 100, Problem("silence", ERROR, "no image"))[0] == ERROR
        assert self.judge(alarms, 10) == (OK, [])
