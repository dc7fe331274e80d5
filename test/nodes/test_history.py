"""Which frame a stamp means, and what is forgotten when."""

from __future__ import annotations

import pytest

from distill_tracker_ros.core.session import TargetError
from distill_tracker_ros.nodes.history import History, HistoryConfig

SECOND = 1_000_000_000


def filled(*stamps_ns: int, config: HistoryConfig | None = None, bytes: int = 10) -> History[int]:
    """Items that are their own stamps."""
    history: History[int] = History(config or HistoryConfig())
    for stamp_ns in stamps_ns:
        history.add(stamp_ns, stamp_ns, bytes)
    return history


class TestAt:
    def test_zero_means_the_newest(self) -> None:
        assert filled(100, 200, 300).at(0) == 300

    @pytest.mark.parametrize(
        ("stamp_ns", "expected"), [(200, 200), (151, 200), (249, 200), (250, 200), (350, 300), (50, 100)]
    )
    def test_the_exact_one_or_the_nearest_within_half_a_period(self, stamp_ns: int, expected: int) -> None:
        assert filled(100, 200, 300).at(stamp_ns) == expected

    @pytest.mark.parametrize(
        ("stamp_ns", "words"),
        [
            (8 * SECOND, ["8.000000000", "older", "10.000000000 to 10.100000000", "0 for the newest"]),
            (11 * SECOND + 1, ["11.000000001", "newer", "10.000000000 to 10.100000000"]),
            (-SECOND, ["older", "10.000000000"]),
        ],
    )
    def test_outside_the_range_is_refused_with_the_range(self, stamp_ns: int, words: list[str]) -> None:
        history = filled(10 * SECOND, 10 * SECOND + 50_000_000, 10 * SECOND + 100_000_000)
        with pytest.raises(TargetError) as caught:
            history.at(stamp_ns)
        assert all(word in str(caught.value) for word in words), str(caught.value)

    def test_in_a_gap_is_refused_with_the_nearest(self) -> None:
        stamps = (n * SECOND for n in (1, 2, 3, 4, 9, 10))
        history = filled(*stamps, config=HistoryConfig(seconds=60.0))
        with pytest.raises(TargetError, match="half a frame period of the stamp 6.000000000: .* 4.000000000"):
            history.at(6 * SECOND)

    def test_a_single_image_must_be_met_exactly(self) -> None:
        assert filled(100).at(100) == 100
        with pytest.raises(TargetError, match="newer"):
            filled(100).at(101)

    def test_nothing_yet(self) -> None:
        with pytest.raises(TargetError, match="no image has been tracked on yet"):
            filled().at(0)


def test_first_from() -> None:
    history = filled(100, 200, 300)
    assert [history.first_from(stamp) for stamp in (0, 100, 101, 300, 301)] == [100, 100, 200, 300, None]


def test_the_oldest_leave_when_the_time_is_exceeded() -> None:
    history = filled(*(n * SECOND for n in range(1, 8)), config=HistoryConfig(seconds=2.0))
    assert len(history) == 3 and history.first_from(0) == 5 * SECOND


def test_the_oldest_leave_when_the_memory_is_exceeded() -> None:
    config = HistoryConfig(seconds=60.0, megabytes=0.00005)
    history = filled(*range(1, 100), config=config, bytes=20)
    assert len(history) == 2 and history.first_from(0) == 98


@pytest.mark.parametrize("config", [HistoryConfig(seconds=0.0), HistoryConfig(megabytes=0.0)])
def test_the_newest_always_stays(config: HistoryConfig) -> None:
    history = filled(1, 2, 3, config=config)
    assert (len(history), history.at(0)) == (1, 3)


def test_time_that_goes_back_begins_anew_and_a_repeated_stamp_is_left_out() -> None:
    history = filled(100, 200, 200, 300, 50, 60, bytes=10)
    assert [history.first_from(0), history.at(0), len(history)] == [50, 60, 2]
    history.clear()
    assert len(history) == 0
    history.add(5, 5, 10)
    assert history.at(0) == 5


def test_a_smaller_limit_counts_from_the_next_item() -> None:
    history = filled(*(n * SECOND for n in (1, 2, 3)), config=HistoryConfig(seconds=10.0))
    history.config = HistoryConfig(seconds=1.0)
    history.add(4 * SECOND, 4 * SECOND, 10)
    assert history.first_from(0) == 3 * SECOND
